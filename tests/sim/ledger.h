/* What the servers have promised to the clients, and whether it holds: the invariants of a
 * simulation.
 *
 *   - an episode that was acknowledged is in the table, once, until it is removed
 *   - a table holds nothing that no client handed over, and takes nothing of an older generation
 *     after a newer one has opened
 *   - a writer's sequence, generation and cursor never go back, whatever dies
 *   - the limiter's corridor holds at each insert and each draw; tables stay within their limits
 *   - the sums of a table are the sums of what it holds, in memory and on disk
 *   - a sealed table never changes, and its batches are what the seed says (referee.h)
 *
 * A violation ends the simulation (verdict.h). */
#ifndef HINDCAST_SIM_LEDGER_H
#define HINDCAST_SIM_LEDGER_H

#include "common/clients/replay_sampler.h"
#include "tests/sim/plan.h"

void ledger_begin(const struct plan *plan);

/* ---- Writers ---- */
/* An incarnation of the writer has opened, and its cursor says that `next` comes next. Returns the
 * number of the incarnation: 1, 2, .. */
uint32_t ledger_opened(uint32_t writer, uint32_t next);
void ledger_handed(uint32_t writer, uint32_t number);
/* All episodes before `next` are acknowledged. */
void ledger_acknowledged(uint32_t writer, uint32_t next);
/* The identity of an episode that an incarnation hands over although its successor has started. */
struct episode_identity ledger_stale(uint32_t writer, uint32_t incarnation);
void ledger_sealed(void);

/* ---- The operator ---- */
/* A priority is on its way to the server; it has answered that it is stored. */
void ledger_priority_sent(const struct episode_identity *identity, double priority);
void ledger_priority_stored(const struct episode_identity *identity, double priority);
/* From now on the episode may be gone. */
void ledger_delete_sent(const struct episode_identity *identity);

/* ---- Samplers ---- */
void ledger_batch(const struct replay_batch *batch, uint64_t sampler_seed);

/* ---- Looking ---- */
/* After every step: checks what is cheap, and everything now and then. */
void ledger_step(void);
/* Checks everything now. */
void ledger_look(void);
/* After the servers are closed: checks what their stores hold. */
void ledger_look_at_stores(void);
bool ledger_is_sealed(void); /* has a client been told so? */

#endif
