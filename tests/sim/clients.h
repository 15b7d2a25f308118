/* The clients of a simulation: writers that insert their episodes as a restorer or a collector
 * does, samplers that draw batches as a learner does. Each is a process that may die and come
 * again. */
#ifndef HINDCAST_SIM_CLIENTS_H
#define HINDCAST_SIM_CLIENTS_H

#include "tests/sim/plan.h"

#define CLIENTS_FIRST_HOST 400

void clients_open(const struct plan *plan);
/* kill -9 of one of them, chosen by chance; its next life begins later. */
void clients_kill_one(void);
/* Another life of a writer begins while the old one still runs. */
void clients_replace_writer(void);
/* A sampler ends and begins again, at a batch it has had. */
void clients_restart_sampler(void);
bool clients_done(void);  /* all writers have inserted all, all samplers have their batches */
void clients_close(void); /* ends what still runs, waits for it */
/* What is not done, for people. */
void clients_describe(char *text, size_t size);

/* ---- clients_hostile.c ---- */
/* Those that the plan has; they go on until they are closed. */
void hostile_open(const struct plan *plan);
void hostile_close(void);

#endif
