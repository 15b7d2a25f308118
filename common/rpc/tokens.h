/* Who shows which bearer token, and what that lets them do: a file with one token a line.
 *
 *     # token                           roles
 *     3f1c9b7e5d...                     insert
 *     a90d44cc1b...                     sample,learn
 *
 * Tokens are visible ASCII, 16 to 256 characters. The file must not be readable by others than its
 * owner and group. */
#ifndef HINDCAST_RPC_TOKENS_H
#define HINDCAST_RPC_TOKENS_H

#include "common/base/status.h"

/* Bits for rpc_method.roles. */
enum role {
    ROLE_INSERT = 1,
    ROLE_SAMPLE = 2,
    ROLE_LEARN = 4,
    ROLE_EVALUATE = 8,
    ROLE_ADMIN = 16,
};

struct tokens;

/* INVALID names file and line; NOT_FOUND, IO, DENIED (others may read it). */
status tokens_read(struct tokens **tokens, const char *path, struct err *err) MUST_CHECK;
void tokens_free(struct tokens *tokens);

/* Fits rpc_server_options.role_of, with the tokens as its argument. The time it takes says nothing
 * about a token's characters. */
unsigned tokens_role_of(const char *token, void *tokens);

#endif
