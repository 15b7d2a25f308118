/* What the files of the clients share. An incarnation is one process of a client. */
#ifndef HINDCAST_SIM_CLIENTS_PRIVATE_H
#define HINDCAST_SIM_CLIENTS_PRIVATE_H

#include "tests/sim/clients.h"
#include "tests/sim/fiber.h"

struct incarnation {
    const struct plan *plan;
    uint32_t client; /* of its kind */
    int host;
    bool stopping; /* asked to leave, or killed */
    bool stale; /* its successor has started: what it still hands over has an identity of its own */
    bool over;  /* has ended by itself: the client is done */
    struct fiber *fiber;
};

bool incarnation_stopping(void *incarnation);
void *writer_run(void *incarnation);
void *sampler_run(void *incarnation);
bool clients_writers_done(void);

/* A sampler's progress, over its incarnations. */
struct sampler_progress {
    uint64_t next;      /* the batch at which the next incarnation starts */
    uint64_t delivered; /* batches delivered in order, at most, by any incarnation */
};
extern struct sampler_progress sampler_progress[PLAN_SAMPLERS_MAX];
const char *sampler_waits(uint32_t sampler); /* the last reason that it gave for waiting */

#endif
