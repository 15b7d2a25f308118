/* The roles of Hindcast's services, and the file that gives them to bearer tokens.
 *
 *     # token                           roles
 *     3f1c9b7e5d...                     insert
 *     a90d44cc1b...                     sample,learn
 *
 * Format and rules of the file are those of common/rpc/tokens.h. */
#ifndef HINDCAST_SERVICE_ROLES_H
#define HINDCAST_SERVICE_ROLES_H

#include "common/rpc/tokens.h"

/* Bits for rpc_method.roles. */
enum role {
    ROLE_INSERT = 1,
    ROLE_SAMPLE = 2,
    ROLE_LEARN = 4,
    ROLE_EVALUATE = 8,
    ROLE_ADMIN = 16,
};

/* As tokens_read, with the names insert, sample, learn, evaluate and admin. */
status roles_read(struct tokens **tokens, const char *path, struct err *err) MUST_CHECK;

#endif
