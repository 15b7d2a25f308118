/* Credentials from PEM files. Internal to common/rpc. */
#ifndef HINDCAST_RPC_TLS_H
#define HINDCAST_RPC_TLS_H

#include <grpc/grpc_security.h>

#include "common/rpc/rpc.h"

/* Any of its files named? */
bool tls_wanted(const struct rpc_tls *tls);

/* For one address: TLS if wanted, but never on unix sockets, which the file system protects. A server
 * reads its files again when they have changed; a channel does not. Errors name the file. Release with
 * gRPC's own functions. */
status tls_server(grpc_server_credentials **credentials, const struct rpc_tls *tls,
                  const char *address, struct err *err) MUST_CHECK;
status tls_channel(grpc_channel_credentials **credentials, const struct rpc_tls *tls,
                   const char *address, struct err *err) MUST_CHECK;

#endif
