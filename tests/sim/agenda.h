/* The fake clock and the events scheduled on it. Time advances only when no thread can run at the
 * present time, and by the small duration that each turn of a thread takes (fiber.c).
 *
 * In the simulation this file implements common/base/clock.h. */
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

/* Schedules happen(arg) at that time. Events due at the same time run in order of scheduling. */
void agenda_at(uint64_t ns, void (*happen)(void *arg), void *arg);
void agenda_in(uint64_t ns, void (*happen)(void *arg), void *arg);
/* drop(arg) of each event that is scheduled as happen(arg) and will not happen any more. */
void agenda_drop(void (*happen)(void *arg), void (*drop)(void *arg));
uint64_t agenda_next_ns(void); /* of the next event; AGENDA_NEVER: none is scheduled */
/* Runs one event that is due; false: none is. */
bool agenda_run_one(void);

#endif
