/* A file that gives roles and names to bearer tokens, one token a line:
 *
 *     # token                           roles         client
 *     3f1c9b7e5d...                     read          alice
 *     a90d44cc1b...                     read,write
 *
 * Tokens are visible ASCII, 16 to 256 characters. The client says whom the token belongs to, in
 * [a-zA-Z0-9_.-]{1,64}; several tokens may have the same one, and a line without one has its roles
 * for a name. Only the file's owner and group may be able to
 * read it. Which roles there are is the caller's business. */
#ifndef HINDCAST_RPC_TOKENS_H
#define HINDCAST_RPC_TOKENS_H

#include "common/base/status.h"
#include "common/rpc/server.h"

/* A role's name in the file, and its bit for rpc_method.roles. */
struct tokens_role {
    const char *name;
    unsigned bit;
};

struct tokens;

/* INVALID names file and line; NOT_FOUND, IO, DENIED (others may read the file). `roles` has 1 or
 * more entries and is not needed afterwards. */
status tokens_read(struct tokens **tokens, const char *path, const struct tokens_role *roles,
                   size_t n_roles, struct err *err) MUST_CHECK;
void tokens_free(struct tokens *tokens);
size_t tokens_count(const struct tokens *tokens);

/* Fits rpc_server_options.role_of, with the tokens as its argument. The time it takes says nothing
 * about a token's characters. */
unsigned tokens_role_of(const char *token, char client[RPC_CALLER_NAME_SIZE], void *tokens);

#endif
