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
#ifndef HINDCAST_BASE_TOKENS_H
#define HINDCAST_BASE_TOKENS_H

#include <stddef.h>

#include "common/base/status.h"

#define TOKENS_CLIENT_SIZE 80 /* a client's name or that of its roles, with the terminating 0 */

/* A role's name in the file, and its bit. */
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

/* The roles of whoever shows this token, and who that is; 0 where it is unknown or NULL, and then
 * `client` is as it was. The time it takes says nothing about a token's characters. */
unsigned tokens_role_of(const struct tokens *tokens, const char *token,
                        char client[TOKENS_CLIENT_SIZE]);

/* The other side: the token that a program shows, in the first line of a file of its own. mem_free
 * it. INVALID, NOT_FOUND, IO, DENIED (others may read the file). */
status token_read(char **token, const char *path, struct err *err) MUST_CHECK;

#endif
