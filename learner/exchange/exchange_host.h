/* Rank 0 of the exchange over gRPC, as its two files share it: exchange_service.c runs on the call
 * thread, exchange_host.c on the training thread. Internal to both. */
#ifndef HINDCAST_LEARNER_EXCHANGE_EXCHANGE_HOST_H
#define HINDCAST_LEARNER_EXCHANGE_EXCHANGE_HOST_H

#include <pthread.h>

#include "common/base/counter_file.h"
#include "learner/exchange/exchange_kind.h"
#include "learner/exchange/group.h"
#include "proto/exchange.pb-c.h"

struct host {
    struct exchange base;
    struct rpc_server *server;
    char *terms;
    struct counter_file record; /* fd -1: none */
    size_t n_scalars;

    /* Call thread alone. */
    struct rpc_call *calls[GROUP_RANKS_MAX]; /* the streams of the ranks that have joined */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t news;   /* something of what follows has changed */
    struct group group;
    char run_ids[GROUP_RANKS_MAX][64];    /* with which the ranks joined */
    char run_id[64];                      /* rank 0's; empty: not known yet */
    bool refuse[GROUP_RANKS_MAX];         /* joined before run_id was known, with another one */
    unsigned char *sums[GROUP_RANKS_MAX]; /* received from each rank; [0] is not used */
    size_t sums_size;                     /* bytes; 0: no group was formed yet */
    bool broken;                          /* the group broke since it was formed last */
    struct err fatal;                     /* code not OK: parameters differ, all stop */
    bool dissolving;                      /* host_dissolve is posted */
    bool ended;                           /* base.end_of says how */
    bool told[GROUP_RANKS_MAX];           /* these ranks were told of the end */
};

/* A message for all ranks of a generation, passed from the training thread to the call thread. */
struct sending {
    struct host *host;
    uint64_t generation, step;
    Hindcast__GroupMessage__Start *start; /* NULL: a total */
    char run_id[64];
    char *signature;
    struct exchange_buffer *buffers[EXCHANGE_BLOCKS]; /* the state's blocks, or only the total */
};
void sending_free(struct sending *sending);

/* The Exchange service, with the host as its state. */
status exchange_service_add(struct host *host, struct err *err) MUST_CHECK;

/* Has the group broken, and have the ranks not been told yet? Under the mutex. */
bool host_to_dissolve(const struct host *host);

/* To be posted to the call thread: */
void host_dissolve(void *host);          /* ends every stream with the reason; FORMING again */
void host_refuse_other_runs(void *host); /* ends the streams marked in `refuse` */
void host_send_all(void *sending);       /* takes it; sends nothing where its generation is over */
void host_end_all(void *host);           /* tells all ranks of the end */

#endif
