/* The connections of a server that are open, and how many there may be. Internal to common/rpc.
 *
 * gRPC 1.51 accepts whatever comes; accept4 (descriptors.c) asks here. A connection counts from the
 * moment it is accepted, before TLS and before any call, until it is closed. */
#ifndef HINDCAST_RPC_CONNECTIONS_H
#define HINDCAST_RPC_CONNECTIONS_H

#include "common/rpc/address.h"

struct connections;

/* Where a server listens; all of it is borrowed until connections_close. */
struct connections_at {
    const struct address_target *targets;
    const int *ports; /* of each target, as bound; 0: a Unix socket */
    size_t n;
};

/* From now on at most `max` (>= 1) at once, and `max_host` from one IP address (0: no limit);
 * connections over Unix sockets count for `max` alone. NO_MEMORY. */
status connections_open(struct connections **connections, struct connections_at at, size_t max,
                        size_t max_host) MUST_CHECK;

/* The server listens no more. NULL is fine. */
void connections_close(struct connections *connections);

/* `accepted` came to the socket `listening`. False: it is one too many, which is logged; the caller
 * closes it. True also where no server of ours listens. Any thread. */
bool connections_admit(int listening, int accepted);

/* How many are open now, and how many were turned away so far. Any thread. */
void connections_count(struct connections *connections, uint64_t *open, uint64_t *refused);

#endif
