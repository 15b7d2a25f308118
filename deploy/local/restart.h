/* When to start a process again: a pure rule.
 *
 * After a crash wait 0.5 s, doubling to 10 s; a process that then lives for a minute is forgiven.
 * After `max_crashes` in a row it is given up. */
#ifndef HINDCAST_LOCAL_RESTART_H
#define HINDCAST_LOCAL_RESTART_H

#include <stdbool.h>
#include <stdint.h>

struct restart {
    unsigned max_crashes; /* in a row */
    unsigned crashes;     /* in a row */
    uint64_t started_ns;  /* last start */
};

void restart_init(struct restart *restart, unsigned max_crashes);
void restart_started(struct restart *restart, uint64_t now_ns);
/* It died at `now_ns`. True: start it again at *at_ns. False: give it up. */
bool restart_died(struct restart *restart, uint64_t now_ns, uint64_t *at_ns);

#endif
