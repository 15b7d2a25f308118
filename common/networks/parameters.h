/* One flat block of floats for several networks and the duals, and the names of its parts.
 *
 * Parameters, target copies, gradients and Adam moments are blocks under one layout: the same
 * offset means the same element in each. Between the parts is padding to whole cache lines; it
 * stays 0. */
#ifndef HINDCAST_NETWORKS_PARAMETERS_H
#define HINDCAST_NETWORKS_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/networks/network.h"

#define PARAMETERS_GROUPS_MAX 7
#define PARAMETERS_NAME_SIZE  64

/* A network, the group `dual`, or a group of constants. */
struct parameters_group {
    char name[NETWORK_NAME_SIZE]; /* "policy", "dual" */
    bool is_network;
    bool has_target;
    size_t at, size;            /* floats; at is a multiple of 16 */
    struct network_shape shape; /* networks */
    int n_tensors;
    struct network_tensor tensors[NETWORK_TENSORS_MAX]; /* places within the group */
};

struct parameters_layout {
    int n_groups;
    struct parameters_group groups[PARAMETERS_GROUPS_MAX];
    size_t size; /* floats, padding included */
};

/* Start with a zeroed layout. INVALID when there are too many groups. */
status parameters_add_network(struct parameters_layout *layout, const char *name,
                              const struct network_shape *shape, bool has_target,
                              struct err *err) MUST_CHECK;
/* A vector in the group `dual`, which comes last: "rho_eta", n. */
status parameters_add_dual(struct parameters_layout *layout, const char *name, int n,
                           struct err *err) MUST_CHECK;

/* A vector that no gradient changes ("normalizer", "mean", n), in a group that comes after the
 * duals. Being part of the block, it goes wherever the block goes: checkpoints, digests, other
 * learners. INVALID when there is no room. */
status parameters_add_constant(struct parameters_layout *layout, const char *group,
                               const char *name, int n, struct err *err) MUST_CHECK;

/* The group, or NULL. */
const struct parameters_group *parameters_group(const struct parameters_layout *layout,
                                                const char *name);
/* Offset in the block of the dual of that name and its size; false when there is none. */
bool parameters_dual(const struct parameters_layout *layout, const char *name, size_t *at, int *n);

/* Calls `visit` for every tensor in the order of the block: its full name
 * ("policy/layers/0/weight") and place (its `at` counted from the block's begin). */
typedef void parameters_visitor(void *arg, const struct parameters_group *group, const char *name,
                                const struct network_tensor *tensor);
void parameters_visit(const struct parameters_layout *layout, parameters_visitor *visit, void *arg);

#endif
