/* The sum tree: an array in heap order. Node 1 is the root, node k has the children 2k and 2k + 1,
 * and the leaves are nodes capacity .. 2 capacity - 1. Each inner node is always computed from its
 * two children and never adjusted by differences, so that rounding does not add up over time. */
#include "replay_server/table/sum_tree.h"

#include <string.h>

#include "common/base/memory.h"

void sum_tree_fini(struct sum_tree *tree)
{
    mem_free(tree->nodes);
    *tree = (struct sum_tree){0};
}

/* Computes all inner nodes, children before parents. */
static void add_up(struct sum_tree *tree)
{
    for (size_t k = tree->capacity - 1; k >= 1; k--) {
        tree->nodes[k] = tree->nodes[2 * k] + tree->nodes[2 * k + 1];
    }
}

status sum_tree_reserve(struct sum_tree *tree, uint32_t capacity)
{
    ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
    if (capacity <= tree->capacity) {
        return STATUS_OK;
    }
    /* There are twice as many nodes as leaves, and node 0 is not used. New leaves weigh 0. */
    double *nodes = mem_array((size_t)capacity * 2, sizeof *nodes);
    if (nodes == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* Leaves keep their numbers and move to the upper half of the new array; inner nodes are
     * computed. */
    if (tree->capacity > 0) {
        memcpy(nodes + capacity, tree->nodes + tree->capacity, tree->capacity * sizeof *nodes);
    }
    mem_free(tree->nodes);
    *tree = (struct sum_tree){.nodes = nodes, .capacity = capacity};
    add_up(tree);
    return STATUS_OK;
}

void sum_tree_set(struct sum_tree *tree, uint32_t leaf, double weight)
{
    ASSERT(leaf < tree->capacity);
    ASSERT(weight >= 0);
    /* Up from the leaf: every sum that contains it. */
    size_t k = (size_t)tree->capacity + leaf;
    tree->nodes[k] = weight;
    for (k /= 2; k >= 1; k /= 2) {
        tree->nodes[k] = tree->nodes[2 * k] + tree->nodes[2 * k + 1];
    }
}

double sum_tree_weight(const struct sum_tree *tree, uint32_t leaf)
{
    ASSERT(leaf < tree->capacity);
    return tree->nodes[(size_t)tree->capacity + leaf];
}

double sum_tree_sum(const struct sum_tree *tree)
{
    ASSERT(tree->capacity > 0);
    return tree->nodes[1];
}

uint32_t sum_tree_find(const struct sum_tree *tree, double *x)
{
    ASSERT(tree->capacity > 0);
    ASSERT(*x >= 0 && *x <= tree->nodes[1]);
    /* Down from the root: left where the prefix falls there, else right with what is left of it. */
    size_t k = 1;
    while (k < tree->capacity) {
        const double left = tree->nodes[2 * k];
        /* The second condition: with weights that do not add up exactly, *x may pass the sum of
         * what is left; that must not lead into an empty subtree. */
        const bool right = (*x >= left) & (tree->nodes[2 * k + 1] > 0);
        /* No branch, for nothing could predict it: & evaluates both sides, and the product with 0
         * or 1 is exact. */
        *x -= left * (double)right;
        k = 2 * k + right;
    }
    /* Only a leaf that weighs something is ever found. */
    ASSERT(tree->nodes[k] > 0);
    return (uint32_t)(k - tree->capacity);
}
