/* Time from the kernel: CLOCK_MONOTONIC for everything that is measured or waited for, the wall
 * clock only for what is shown or written. Cores do not read either; their events carry the time.
 */
#include "common/base/clock.h"

#include <errno.h>
#include <time.h>

#include "common/base/status.h"

/* Cannot fail with a clock that exists: a failure is a bug in the caller. */
static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    ASSERT(clock_gettime(id, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

void clock_sleep_ms(unsigned ms)
{
    /* An absolute end: a signal's interruption does not stretch the sleep. */
    const uint64_t end_ns = clock_now_ns() + (uint64_t)ms * NS_PER_MS;
    const struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_S),
                                 .tv_nsec = (long)(end_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR) {
    }
}
