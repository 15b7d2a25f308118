/* The families of environments in this build, one line each. A family's file defines the struct
 * that its line names (environment_family.h); nothing else refers to it. */
#include <stddef.h>

#include "common/environments/environment_family.h"

#define FAMILIES(X)                                                                                \
    X(control_suite_family) /* cheetah-run, hopper-hop, .. */                                      \
    X(sawyer_family)        /* sawyer-stack, sawyer-stack_blue */                                  \
    X(own_tasks_family)     /* those of HINDCAST_TASKS */

#define DECLARE(family) extern const struct environment_family family;
#define ADDRESS(family) &family,

FAMILIES(DECLARE)

const struct environment_family *const environment_families[] = {FAMILIES(ADDRESS) NULL};
