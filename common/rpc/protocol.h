/* Which versions of its services a peer speaks: one header of each call, "1-2 hindcast 0.4.0". A peer
 * that does not say may speak any. Internal to common/rpc. */
#ifndef HINDCAST_RPC_PROTOCOL_H
#define HINDCAST_RPC_PROTOCOL_H

#include <grpc/grpc.h>

#include "common/rpc/rpc.h"

#define PROTOCOL_TEXT_SIZE 512

/* What a client says in the header. */
void protocol_write(const struct rpc_protocol *protocol, char *text, size_t size);

/* Do the two sides have a version in common? Returns 0, or the gRPC code to refuse with, and then
 * `text` names the versions of both. */
int protocol_check(const struct rpc_protocol *own, const grpc_metadata_array *metadata, char *text,
                   size_t size);

#endif
