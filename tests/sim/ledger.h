/* What the clients were promised, and whether the servers keep it: the invariants of a simulation.
 *
 *   - an episode that was acknowledged is in the table, once, until it is removed
 *   - nothing is there that nobody handed over; nothing of an older generation comes after a newer
 *     one has opened
 *   - a writer's sequence, generation and cursor never go back, whatever dies
 *   - the limiter's corridor holds at each insert and each draw; tables stay within their limits
 *   - the sums of a table are the sums of what it holds, in memory and on disk
 *   - a sealed table never changes, and its batches are what the seed says (referee.h)
 *
 * What is found wrong ends the simulation (verdict.h). */
#ifndef HINDCAST_SIM_LEDGER_H
#define HINDCAST_SIM_LEDGER_H

#include "common/clients/replay_sampler.h"
#include "tests/sim/plan.h"

void ledger_begin(const struct plan *plan);

/* ---- Writers ---- */
/* A life of the writer has opened; `next` is what its cursor says comes next. Returns which life
 * it is: 1, 2, .. */
uint32_t ledger_opened(uint32_t writer, uint32_t next);
void ledger_handed(uint32_t writer, uint32_t number);
/* All up to here, `next` not included. */
void ledger_acknowledged(uint32_t writer, uint32_t next);
/* An episode that a life of the writer hands over which will be followed by another life. */
struct episode_identity ledger_stale(uint32_t writer, uint32_t life);
void ledger_sealed(void);

/* ---- Samplers ---- */
void ledger_batch(const struct replay_batch *batch, uint64_t sampler_seed);

/* ---- Looking ---- */
/* After every step: what is cheap always, all of it now and then. */
void ledger_step(void);
/* All of it, now. */
void ledger_look(void);
/* Everything is over and the servers are closed: what the stores hold. */
void ledger_look_at_stores(void);
bool ledger_is_sealed(void); /* has a client heard so? */

#endif
