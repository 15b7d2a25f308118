/* What an implementation of struct environment provides. For files in common/environments/ only.
 *
 * An implementation's own struct begins with a struct environment; environment.c checks arguments
 * and the order of calls before an operation runs, so an operation sees a canonical action in [-1,
 * 1] and an episode under way. */
#ifndef HINDCAST_ENVIRONMENTS_ENVIRONMENT_OPERATIONS_H
#define HINDCAST_ENVIRONMENTS_ENVIRONMENT_OPERATIONS_H

#include "common/environments/environment.h"

#define ENVIRONMENT_NAME_SIZE 64

struct environment_operations {
    status (*reset)(struct environment *environment, float *observation, struct err *err);
    status (*step)(struct environment *environment, const float *action, float *observation,
                   float *rewards, float *discount, bool *last, struct err *err);
    void (*close)(struct environment *environment); /* frees it */
};

struct environment {
    const struct environment_operations *operations;
    char name[ENVIRONMENT_NAME_SIZE];
    struct signature signature;
    uint32_t O;          /* observation size */
    uint32_t step_limit; /* control steps, 0: none */
    bool under_way;      /* between a good reset and the last step or an error */
};

/* A family of environments: knows its names and opens them. On OK the opener has filled everything
 * above but `under_way`. */
struct environment_family {
    const char *const *names; /* then NULL */
    status (*open)(struct environment **environment, const char *name, uint64_t seed,
                   struct err *err);
};

extern const struct environment_family control_suite_family;

#endif
