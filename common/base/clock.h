/* Time. Cores never call these: their events carry `now_ns`. */
#ifndef HINDCAST_BASE_CLOCK_H
#define HINDCAST_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

uint64_t clock_now_ns(void);      /* monotonic; only differences mean anything */
uint64_t clock_wall_ns(void);     /* since 1970, UTC */
void clock_sleep_ms(unsigned ms); /* sleeps at least this long, whatever signals arrive */

#endif
