/* One server's share of the batches of a replay_sampler: a thread that keeps a Sample stream open,
 * grants credit as batches are returned, and copies what arrives into its part of each batch. After
 * a lost connection it reconnects and continues with the batch that comes next. */
#ifndef HINDCAST_CLIENTS_REPLAY_SHARE_H
#define HINDCAST_CLIENTS_REPLAY_SHARE_H

#include "common/clients/replay_ring.h"
#include "common/rpc/client.h"

struct replay_share;

struct replay_share_settings {
    struct replay_ring *ring;
    struct rpc_channel *channel; /* borrowed until replay_share_close */
    const struct signature *signature;
    const char *table;
    uint32_t server;       /* which of experiment.replay */
    uint32_t part;         /* which of the ring's parts */
    uint32_t at;           /* where in the batch it begins */
    uint32_t B;            /* of this server's draw */
    uint32_t begin, count; /* its slice that is ours; count >= 1 */
    uint32_t N;
    uint64_t seed;
    bool require_sealed, in_order, origins;
};

status replay_share_open(struct replay_share **share, const struct replay_share_settings *settings,
                         struct err *err) MUST_CHECK;
void replay_share_close(struct replay_share *share);
/* How long the server has been unreachable; 0: it is there. Any thread. */
uint64_t replay_share_away_ns(const struct replay_share *share);
/* Why no batch comes, in a few words; empty when batches come. Any thread. */
void replay_share_waits(struct replay_share *share, char *text, size_t size);

#endif
