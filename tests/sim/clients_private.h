/* What the files of the clients share. A life is one process of a client. */
#ifndef HINDCAST_SIM_CLIENTS_PRIVATE_H
#define HINDCAST_SIM_CLIENTS_PRIVATE_H

#include "tests/sim/clients.h"
#include "tests/sim/fiber.h"

struct life {
    const struct plan *plan;
    uint32_t client; /* of its kind */
    int host;
    bool stopping; /* asked to leave, or killed */
    bool stale;    /* its successor has begun: what it hands over has an identity of its own */
    bool over;     /* has ended by itself: nothing is left to do */
    struct fiber *fiber;
};

bool life_stopping(void *life);
void *writer_live(void *life);
void *sampler_live(void *life);
bool clients_writers_done(void);

/* A sampler's, over its lives. */
struct sampler_progress {
    uint64_t next;      /* the next life begins here at the latest */
    uint64_t delivered; /* batches in order, by the life that came furthest */
};
extern struct sampler_progress sampler_progress[PLAN_SAMPLERS_MAX];
const char *sampler_waits(uint32_t sampler); /* what it said last that it waits for */

#endif
