/* What the kinds of selector share. A kind is a struct that begins with `struct selector`. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_SELECTOR_PRIVATE_H
#define HINDCAST_REPLAY_SERVER_TABLE_SELECTOR_PRIVATE_H

#include "replay_server/table/selector.h"

/* The contracts are those of the functions with the same names in selector.h. */
struct selector_methods {
    void (*free)(struct selector *selector);
    status (*reserve)(struct selector *selector, uint32_t capacity);
    void (*insert)(struct selector *selector, const struct selector_item *item);
    void (*remove)(struct selector *selector, const struct selector_item *item);
    void (*restore)(struct selector *selector, const struct selector_item *item);
    void (*update)(struct selector *selector, const struct selector_item *item, double priority);
    void (*draw)(const struct selector *selector, const struct selector_key *key,
                 struct selector_pick *pick);
    bool (*even)(const struct selector *selector);
    double (*mass)(const struct selector *selector, uint32_t slot);
};

struct selector {
    const struct selector_methods *methods;
    enum selector_kind kind;
    double exponent;
    uint32_t n; /* items */
    uint32_t capacity;
};

/* selector_tree.c: uniform and prioritized. */
status selector_tree_new(struct selector **selector) MUST_CHECK;
/* selector_list.c: fifo and lifo. */
status selector_list_new(struct selector **selector) MUST_CHECK;
/* selector_heap.c: min_heap and max_heap. */
status selector_heap_new(struct selector **selector) MUST_CHECK;

#endif
