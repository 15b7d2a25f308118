/* The names of the roles, as a file of tokens gives them (common/base/tokens.h reads it). The table
 * of methods of each service says which role may call which; a token may have several roles, which
 * add up. */
#include "common/base/roles.h"

static const struct tokens_role ROLES[] = {{"insert", ROLE_INSERT}, {"sample", ROLE_SAMPLE},
                                           {"learn", ROLE_LEARN},   {"evaluate", ROLE_EVALUATE},
                                           {"admin", ROLE_ADMIN},   {"read", ROLE_READ}};

status roles_read(struct tokens **tokens, const char *path, struct err *err)
{
    return tokens_read(tokens, path, ROLES, sizeof ROLES / sizeof ROLES[0], err);
}
