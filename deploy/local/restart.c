/* Delays between starts. Pure: the time is passed in, so that tests need no clock. The supervisor
 * decides what counts as a crash; a process that left with 2 never comes here. */
#include "deploy/local/restart.h"

#include "common/base/clock.h"

/* The first delay gives a port or a lock time to become free. */
#define FIRST_DELAY_NS (NS_PER_S / 2)
/* No delay is longer, so that a run goes on soon after its fault is over. */
#define LAST_DELAY_NS (10 * NS_PER_S)
/* A process that ran for so long was healthy, and its earlier crashes no longer count. */
#define FORGIVEN_AFTER_NS (60 * NS_PER_S)

void restart_init(struct restart *restart, unsigned max_crashes)
{
    *restart = (struct restart){.max_crashes = max_crashes};
}

void restart_started(struct restart *restart, uint64_t now_ns)
{
    restart->started_ns = now_ns;
}

bool restart_died(struct restart *restart, uint64_t now_ns, uint64_t *at_ns)
{
    /* Crashes long after a start have another cause than those before it. */
    if (now_ns - restart->started_ns >= FORGIVEN_AFTER_NS) {
        restart->crashes = 0;
    }
    restart->crashes++;
    if (restart->crashes > restart->max_crashes) {
        return false;
    }
    /* Doubled for each crash in a row: a fault that lasts must not fill the log. */
    uint64_t delay_ns = FIRST_DELAY_NS;
    for (unsigned i = 1; i < restart->crashes && delay_ns < LAST_DELAY_NS; i++) {
        delay_ns *= 2;
    }
    *at_ns = now_ns + (delay_ns < LAST_DELAY_NS ? delay_ns : LAST_DELAY_NS);
    return true;
}
