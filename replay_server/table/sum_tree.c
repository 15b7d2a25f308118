/* The sum tree: an array in heap order. */
#include "replay_server/table/sum_tree.h"

#include <string.h>

#include "common/base/memory.h"

void sum_tree_fini(struct sum_tree *tree)
{
    mem_free(tree->nodes);
    *tree = (struct sum_tree){0};
}

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
    double *nodes = mem_array((size_t)capacity * 2, sizeof *nodes);
    if (nodes == NULL) {
        return STATUS_NO_MEMORY;
    }
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
    size_t k = (size_t)tree->capacity + leaf;
    tree->nodes[k] = weight;
    for (k /= 2; k >= 1; k /= 2) {
        tree->nodes[k] = tree->nodes[2 * k] + tree->nodes[2 * k + 1];
    }
}

void sum_tree_fill(struct sum_tree *tree, double (*weight)(const void *arg, uint32_t leaf),
                   const void *arg)
{
    for (uint32_t leaf = 0; leaf < tree->capacity; leaf++) {
        tree->nodes[(size_t)tree->capacity + leaf] = weight(arg, leaf);
    }
    add_up(tree);
}

double sum_tree_weight(const struct sum_tree *tree, uint32_t leaf)
{
    return tree->nodes[(size_t)tree->capacity + leaf];
}

double sum_tree_sum(const struct sum_tree *tree)
{
    return tree->nodes[1];
}

uint32_t sum_tree_find(const struct sum_tree *tree, double *x)
{
    size_t k = 1;
    while (k < tree->capacity) {
        const double left = tree->nodes[2 * k];
        /* The second condition: rounding of uneven weights must not lead into an empty subtree. */
        if (*x < left || tree->nodes[2 * k + 1] <= 0) {
            k = 2 * k;
        } else {
            *x -= left;
            k = 2 * k + 1;
        }
    }
    return (uint32_t)(k - tree->capacity);
}
