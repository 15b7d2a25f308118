/* What a seed determines before its simulation begins: the clients and servers, their sizes and
 * settings, and how often faults occur. */
#ifndef HINDCAST_SIM_PLAN_H
#define HINDCAST_SIM_PLAN_H

#include "common/base/experiment.h"
#include "common/trajectory/episode.h"
#include "replay_server/service/options.h"

#define PLAN_WRITERS_MAX   3u
#define PLAN_SERVERS_MAX   2u
#define PLAN_SAMPLERS_MAX  3u
#define PLAN_EPISODES_MAX  64u
#define PLAN_MORE_EPISODES 8u /* than max_episodes, that the operator may allow */

struct plan {
    uint64_t seed;
    struct experiment experiment; /* names the servers */
    struct options options;       /* of every server, except listen and path */
    struct signature signature;
    uint32_t W;
    uint32_t n_servers, n_writers, n_samplers;
    uint32_t n_episodes;                      /* of each writer */
    uint32_t T_max;                           /* transitions of an episode: 1 .. */
    bool online;                              /* fresh episodes; else logs, sealed at the end */
    bool duplicates;                          /* some episodes come from several writers */
    bool hoarder, trickler;                   /* clients_hostile.c */
    bool cold;                                /* at times rows are on the disk alone (server.c) */
    bool priorities, sets, deletes, compacts; /* clients_operator.c */
    bool queue;                /* max_times_sampled: samplers go on until the writers are done */
    bool require_sealed;       /* samplers wait for the seal */
    uint32_t n_batches;        /* each sampler wants, of an unsealed or sealed table */
    uint32_t B, N;             /* a batch's snippets, a snippet's transitions */
    size_t in_flight_bytes;    /* of a writer */
    uint64_t pause_ns;         /* of a client between two things that it does, about */
    uint64_t trouble_ns;       /* faults end after this */
    uint64_t trouble_every_ns; /* between two, about */
    uint64_t delay_ns_max, window_bytes;
};

/* The identity of episode `number` of a writer, and its length: functions of the seed. */
void plan_make(struct plan *plan, uint64_t seed);
struct episode_identity plan_identity(const struct plan *plan, uint32_t writer, uint32_t number);
uint32_t plan_T(const struct plan *plan, const struct episode_identity *identity);
/* Every number of row t; a function of the identity. Exact in a float. */
float plan_number(const struct episode_identity *identity, uint32_t t, uint32_t column);
/* The inverse: the episode and place of a row, from its first numbers. */
void plan_number_read(const float *row, struct episode_identity *identity, uint32_t *t);
/* Rows of the episode; episode_fini is the caller's. */
void plan_episode(const struct plan *plan, struct episode *episode,
                  const struct episode_identity *identity);
/* The largest that a table may get without removing, over all writers: transitions. */
uint64_t plan_transitions(const struct plan *plan);
/* The batches of the hoarder, of one transition a snippet: about 60 KB. */
uint32_t plan_hoarder_snippets(const struct plan *plan);
void plan_print(const struct plan *plan);

#endif
