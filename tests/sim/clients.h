/* The clients of a simulation: writers that insert their episodes as a restorer or a collector
 * does, and samplers that draw batches as a learner does. Each is a process that may be killed and
 * started again; each start is an incarnation. */
#ifndef HINDCAST_SIM_CLIENTS_H
#define HINDCAST_SIM_CLIENTS_H

#include "tests/sim/plan.h"

#define CLIENTS_FIRST_HOST 400

void clients_open(const struct plan *plan);
/* Kills one of them at random (kill -9); its next incarnation starts later. */
void clients_kill_one(void);
/* Starts another incarnation of a writer while the old one still runs. */
void clients_replace_writer(void);
/* Ends a sampler and starts it again, at a batch that it has had before. */
void clients_restart_sampler(void);
bool clients_done(void);  /* all writers have inserted all, all samplers have their batches */
void clients_close(void); /* ends what still runs and waits for it */
/* Lists the clients that are not done, for the failure report. */
void clients_describe(char *text, size_t size);

/* ---- clients_hostile.c ---- */
/* Starts those that the plan has; they run until they are closed. */
void hostile_open(const struct plan *plan);
void hostile_close(void);

/* ---- clients_operator.c ---- */
/* Starts what the plan has of it; it goes on until it is closed. */
void operator_open(const struct plan *plan);
void operator_calm(void); /* from now on it deletes nothing */
/* How often it has set a priority, changed a table, deleted an episode, compacted a store. */
void operator_close(uint32_t counts[4]);

#endif
