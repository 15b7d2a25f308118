/* The roles of Hindcast's services and pages, and the file that gives them to bearer tokens.
 *
 *     # token                           roles
 *     3f1c9b7e5d...                     insert
 *     a90d44cc1b...                     sample,learn
 *
 * Format and rules of the file are those of common/base/tokens.h. */
#ifndef HINDCAST_BASE_ROLES_H
#define HINDCAST_BASE_ROLES_H

#include "common/base/tokens.h"

/* Bits, as for rpc_method.roles. */
enum role {
    ROLE_INSERT = 1,
    ROLE_SAMPLE = 2,
    ROLE_LEARN = 4,
    ROLE_EVALUATE = 8,
    ROLE_ADMIN = 16,
    ROLE_READ = 32,
};

/* Whoever has one of these may read admin pages (common/base/admin.h), which change nothing. */
#define ROLES_OF_PAGES (ROLE_READ | ROLE_ADMIN)

/* As tokens_read, with the names insert, sample, learn, evaluate, admin and read. */
status roles_read(struct tokens **tokens, const char *path, struct err *err) MUST_CHECK;

#endif
