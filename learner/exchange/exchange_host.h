/* Rank 0 of the exchange over gRPC, as its two files share it: exchange_service.c is the call
 * thread's, exchange_host.c the training thread's. Internal to both. */
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
    struct rpc_call *calls[GROUP_RANKS_MAX]; /* of those who are in */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t news;
    struct group group;
    char run_ids[GROUP_RANKS_MAX][64];    /* that ranks came with */
    char run_id[64];                      /* ours; empty: not known yet */
    bool refuse[GROUP_RANKS_MAX];         /* they came before it was known, with another one */
    unsigned char *sums[GROUP_RANKS_MAX]; /* [0] is not used */
    size_t sums_size;                     /* 0: no group was formed yet */
    bool broken;                          /* since the last form */
    struct err fatal;                     /* code not OK: parameters differ */
    bool dissolving;                      /* posted */
    bool ended;                           /* base.end_of says how */
    bool told[GROUP_RANKS_MAX];
};

/* Something for all ranks of a generation, on its way to the call thread. */
struct sending {
    struct host *host;
    uint64_t generation, step;
    Hindcast__GroupMessage__Start *start; /* NULL: a total */
    char run_id[64];
    char *signature;
    struct exchange_buffer *buffers[EXCHANGE_BLOCKS]; /* blocks, or the total alone */
};
void sending_free(struct sending *sending);

/* The Exchange service, with the host as its state. */
status exchange_service_add(struct host *host, struct err *err) MUST_CHECK;

/* Under the mutex: has the group broken, and nobody been told yet? */
bool host_to_dissolve(const struct host *host);

/* To be posted to the call thread: */
void host_dissolve(void *host);         /* every stream ends with the reason; forms anew */
void host_refuse_strangers(void *host); /* those marked in `refuse` */
void host_send_all(void *sending);      /* takes it; dropped where its generation is over */
void host_end_all(void *host);          /* tells of the end */

#endif
