/* The other side's clock: its offset from ours, and how long messages take, from the four times of
 * an exchange:
 *
 *     offset = ((received - sent) + (answered - arrived)) / 2
 *     delay  = (arrived - sent) - (answered - received)
 *
 * Of the last ROBOT_CLOCK_SAMPLES exchanges the one with the least delay counts, since its error is
 * at most half its delay. Source: NTP (RFC 5905, section 8). Pure. */
#ifndef HINDCAST_ROBOT_ROBOT_CLOCK_H
#define HINDCAST_ROBOT_ROBOT_CLOCK_H

#include <stdint.h>

#define ROBOT_CLOCK_SAMPLES 64

struct robot_clock {
    uint64_t n; /* exchanges so far */
    int64_t offset_ns[ROBOT_CLOCK_SAMPLES], delay_ns[ROBOT_CLOCK_SAMPLES];
};

/* sent, arrived: by our clock; received, answered: by the other side's. */
void robot_clock_add(struct robot_clock *clock, uint64_t sent_ns, uint64_t received_ns,
                     uint64_t answered_ns, uint64_t arrived_ns);
/* The other side's clock less ours, and the delay of that exchange; 0 before the first one. */
int64_t robot_clock_offset_ns(const struct robot_clock *clock, int64_t *delay_ns);

#endif
