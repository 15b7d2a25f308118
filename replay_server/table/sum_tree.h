/* Weights of leaves 0 .. capacity - 1, their sum, and the leaf in which a prefix sum falls: a draw
 * in proportion to the weights takes log2(capacity) steps. Whole-number weights whose sum stays
 * below 2^53 are added exactly. Memory only; one thread at a time. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_SUM_TREE_H
#define HINDCAST_REPLAY_SERVER_TABLE_SUM_TREE_H

#include <stdint.h>

#include "common/base/status.h"

/* All zero: an empty tree of capacity 0. */
struct sum_tree {
    double *nodes;     /* (2 capacity): node k has the children 2k and 2k + 1, leaf i is node
                          capacity + i, node 1 is the sum */
    uint32_t capacity; /* a power of two, or 0 */
};

void sum_tree_fini(struct sum_tree *tree);
/* Makes room for `capacity` (a power of two) leaves. Leaves that are there keep their weights, new
 * ones weigh 0. NO_MEMORY leaves the tree as it was. */
status sum_tree_reserve(struct sum_tree *tree, uint32_t capacity) MUST_CHECK;

/* weight >= 0, and finite. */
void sum_tree_set(struct sum_tree *tree, uint32_t leaf, double weight);
double sum_tree_weight(const struct sum_tree *tree, uint32_t leaf);
double sum_tree_sum(const struct sum_tree *tree);

/* The leaf in which the prefix sum passes *x, 0 <= *x <= sum, where the sum is above 0; *x becomes
 * what remains within it. The leaf's weight is above 0. */
uint32_t sum_tree_find(const struct sum_tree *tree, double *x);

#endif
