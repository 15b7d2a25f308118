/* Addresses to listen on. Internal to common/rpc. */
#ifndef HINDCAST_RPC_ADDRESS_H
#define HINDCAST_RPC_ADDRESS_H

#include "common/rpc/rpc.h"

#define ADDRESS_URI_SIZE  1024
#define ADDRESS_PATH_SIZE 108 /* sizeof sun_path */

/* "unix:path": the path; NULL for other kinds of address. */
const char *address_unix_path(const char *address);

/* An address in the form that gRPC and the system calls need. */
struct address_target {
    char uri[ADDRESS_URI_SIZE];
    char path
        [ADDRESS_PATH_SIZE]; /* of a Unix socket, short enough for one; "" for other addresses */
    int folder_fd;           /* the path leads through it; -1: none */
};

/* gRPC reads addresses as URIs: in a path everything but letters, digits and "-._~/" is
 * percent-encoded, else a folder called "take#2" or "a%41b" would be another one. A path with a
 * comma, which gRPC would take for two, or one too long for a socket, is replaced by
 * /proc/self/fd/N/NAME; its folder is made where it is missing, and stays open until address_close.
 * INVALID: no path, neither host:port nor unix:path, a port above 65535, a NAME that is itself too
 * long or has a comma. */
status address_open(struct address_target *target, const char *address, struct err *err) MUST_CHECK;
void address_close(struct address_target *target); /* all zero is fine, too */

/* Makes sure that the target can be listened on, before gRPC tries: a socket file without a
 * listener is removed; one with a listener is EXISTS; a file that is no socket is
 * INVALID. TCP addresses pass. */
status address_prepare(const struct address_target *target, const char *address,
                       struct err *err) MUST_CHECK;

/* Why gRPC could not listen on it: tries itself and says what the system says. Never OK. */
status address_explain(const char *address, struct err *err);

#endif
