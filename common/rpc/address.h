/* Addresses to listen on. Internal to common/rpc. */
#ifndef HINDCAST_RPC_ADDRESS_H
#define HINDCAST_RPC_ADDRESS_H

#include "common/rpc/rpc.h"

/* "unix:path": the path; NULL for other kinds of address. */
const char *address_unix_path(const char *address);

/* Makes sure that `address` can be listened on, before gRPC tries: a socket file that nobody
 * listens on is removed; one that somebody listens on is EXISTS; a path too long, or a file that is
 * no socket, is INVALID. TCP addresses pass. */
status address_prepare(const char *address, struct err *err) MUST_CHECK;

/* Why gRPC could not listen on it: tries itself and says what the system says. Never OK. */
status address_explain(const char *address, struct err *err);

#endif
