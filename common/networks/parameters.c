/* The layout of a flat block: groups one after another, the duals last.
 *
 * A layout only counts: nothing is allocated here. Networks bring their own places (network.h); a
 * dual is a vector that begins on a cache line of its own.
 *
 * Tensors know their place within their group; parameters_dual and parameters_visit add that of the
 * group. Every group is a whole number of cache lines, so that the next one begins on a line. */
#include "common/networks/parameters.h"

#include <stdio.h>
#include <string.h>

#define FLOATS_PER_LINE 16

/* Appends an empty group at the block's end; NULL, with `err`, when there are too many. */
static struct parameters_group *add_group(struct parameters_layout *layout, const char *name,
                                          struct err *err)
{
    if (layout->n_groups == PARAMETERS_GROUPS_MAX) {
        (void)err_set(err, STATUS_INVALID, "group %s: more than %d", name, PARAMETERS_GROUPS_MAX);
        return NULL;
    }
    struct parameters_group *group = &layout->groups[layout->n_groups++];
    /* It begins where the block ends, which is a multiple of a line. */
    memset(group, 0, sizeof *group);
    snprintf(group->name, sizeof group->name, "%s", name);
    group->at = layout->size;
    return group;
}

status parameters_add_network(struct parameters_layout *layout, const char *name,
                              const struct network_shape *shape, bool has_target, struct err *err)
{
    struct parameters_group *group = add_group(layout, name, err);
    if (group == NULL) {
        return STATUS_INVALID;
    }
    /* A network's tensors keep their places within the group. */
    group->is_network = true;
    group->has_target = has_target;
    group->shape = *shape;
    group->size = shape->size;
    group->n_tensors = shape->n_tensors;
    memcpy(group->tensors, shape->tensors, sizeof group->tensors);
    layout->size += group->size;
    return STATUS_OK;
}

/* Appends a vector to the group, which is the layout's last. */
static status add_vector(struct parameters_layout *layout, struct parameters_group *group,
                         const char *name, int n, struct err *err)
{
    /* NULL: add_group has refused the group. */
    if (group == NULL || group->n_tensors == NETWORK_TENSORS_MAX) {
        return err_set(err, STATUS_INVALID, "parameter %s: no room", name);
    }
    ASSERT(n >= 1);
    struct network_tensor *tensor = &group->tensors[group->n_tensors++];
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->n_dims = 1;
    tensor->shape[0] = n;
    tensor->at = group->size;
    tensor->size = (size_t)n;
    /* The pad belongs to the group, but to no tensor. */
    const size_t padded = (tensor->size + FLOATS_PER_LINE - 1) / FLOATS_PER_LINE * FLOATS_PER_LINE;
    group->size += padded;
    layout->size += padded;
    return STATUS_OK;
}

/* The last group where it has that name, else a new one; NULL when there are too many. Only the
 * last group can grow, since the next one begins where it ends: vectors of a group are added in one
 * run. */
static struct parameters_group *last_group(struct parameters_layout *layout, const char *name,
                                           struct err *err)
{
    struct parameters_group *last =
        layout->n_groups > 0 ? &layout->groups[layout->n_groups - 1] : NULL;
    return last != NULL && strcmp(last->name, name) == 0 ? last : add_group(layout, name, err);
}

status parameters_add_dual(struct parameters_layout *layout, const char *name, int n,
                           struct err *err)
{
    return add_vector(layout, last_group(layout, "dual", err), name, n, err);
}

status parameters_add_constant(struct parameters_layout *layout, const char *group,
                               const char *name, int n, struct err *err)
{
    return add_vector(layout, last_group(layout, group, err), name, n, err);
}

const struct parameters_group *parameters_group(const struct parameters_layout *layout,
                                                const char *name)
{
    for (int i = 0; i < layout->n_groups; i++) {
        if (strcmp(layout->groups[i].name, name) == 0) {
            return &layout->groups[i];
        }
    }
    return NULL;
}

bool parameters_dual(const struct parameters_layout *layout, const char *name, size_t *at, int *n)
{
    /* A layout without duals has no such group, and the loop ends at once. */
    const struct parameters_group *group = parameters_group(layout, "dual");
    for (int i = 0; group != NULL && i < group->n_tensors; i++) {
        if (strcmp(group->tensors[i].name, name) == 0) {
            *at = group->at + group->tensors[i].at;
            *n = group->tensors[i].shape[0];
            return true;
        }
    }
    return false;
}

void parameters_visit(const struct parameters_layout *layout, parameters_visitor *visit, void *arg)
{
    for (int g = 0; g < layout->n_groups; g++) {
        const struct parameters_group *group = &layout->groups[g];
        for (int i = 0; i < group->n_tensors; i++) {
            /* A copy, with its place counted from the block's begin. */
            struct network_tensor tensor = group->tensors[i];
            char name[PARAMETERS_NAME_SIZE + 1];
            snprintf(name, sizeof name, "%s/%s", group->name, tensor.name);
            tensor.at += group->at;
            visit(arg, group, name, &tensor);
        }
    }
}
