/* The fake clock, and what is to happen when. Time moves only when nothing can be done at its
 * present point, or by the little that doing something takes (fiber.c).
 *
 * common/base/clock.h is this file's in a simulation. */
#ifndef HINDCAST_SIM_AGENDA_H
#define HINDCAST_SIM_AGENDA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/clock.h"

#define AGENDA_NEVER UINT64_MAX

void agenda_reset(void);
uint64_t agenda_now(void);
void agenda_pass(uint64_t ns);
void agenda_pass_until(uint64_t ns); /* not backwards */

/* happen(arg) at that time; what is due at the same time comes in order of calling. */
void agenda_at(uint64_t ns, void (*happen)(void *arg), void *arg);
void agenda_in(uint64_t ns, void (*happen)(void *arg), void *arg);
uint64_t agenda_next_ns(void); /* AGENDA_NEVER: nothing */
/* Lets one thing that is due happen; false: there is none. */
bool agenda_run_one(void);

#endif
