/* Who calls: the bearer token that a caller shows, the roles and the name that it stands for, and how
 * many calls one caller has at once. Internal to common/rpc; call thread only.
 *
 * A caller's name is the one that role_of gives its token; where a server asks for no tokens, it is
 * the host that the call comes from ("127.0.0.1", "::1"), or "unix" for a Unix socket. */
#ifndef HINDCAST_RPC_CALLER_H
#define HINDCAST_RPC_CALLER_H

#include "common/rpc/serving.h"

/* A caller that has calls. */
struct caller {
    struct caller *next; /* in server->callers */
    size_t n_calls;
    char name[]; /* with its 0 */
};

/* Checks the caller's token against the method's roles. Returns 0, or the gRPC code to refuse with,
 * and then *why. *caller: who it is, with this call counted, to be given back by caller_leave; NULL
 * where the call is refused or its caller has no role. */
int caller_enter(struct rpc_server *server, const struct served_method *served, grpc_call *call,
                 const grpc_metadata_array *metadata, unsigned *roles, struct caller **caller,
                 const char **why);
/* The call is over. NULL is fine. */
void caller_leave(struct rpc_server *server, struct caller *caller);
/* Has the caller, with this call, more than one may have? Then `text` says so. */
bool caller_has_too_many(const struct rpc_server *server, const struct caller *caller, char *text,
                         size_t size);

#endif
