/* How a table chooses among its episodes: which one to sample from, and which one to remove when
 * the table is full. Both choices use the same kinds of selector:
 *
 *   uniform      in proportion to the item's weight
 *   prioritized  in proportion to weight x priority^exponent
 *   fifo         the item that was inserted first
 *   lifo         the item that was inserted last
 *   min_heap     the item of the lowest priority; of several, the one inserted first
 *   max_heap     the item of the highest priority, likewise
 *
 * An item is a slot of the table (table_slots.h) with a weight and a priority. The sampler gives an
 * episode the weight of its transitions, so that every transition is equally likely to be the start
 * of a snippet; the remover gives every episode the weight 1.
 *
 * The caller keeps the items: functions that change a selector are given the item as it was
 * inserted, and assert that the selector agrees. A selector costs 16 bytes a slot (uniform,
 * prioritized), 12 (fifo, lifo) or 28 (the heaps).
 *
 * Pure: the random numbers of a draw are a function of its key. One thread at a time. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_SELECTOR_H
#define HINDCAST_REPLAY_SERVER_TABLE_SELECTOR_H

#include <stdint.h>

#include "common/base/status.h"

enum selector_kind {
    SELECTOR_UNIFORM,
    SELECTOR_PRIORITIZED,
    SELECTOR_FIFO,
    SELECTOR_LIFO,
    SELECTOR_MIN_HEAP,
    SELECTOR_MAX_HEAP
};

struct selector;

struct selector_item {
    uint32_t slot;
    uint32_t weight; /* >= 1 */
    double priority; /* finite, > 0 */
};

/* Which random number a draw uses: noise_below(.., seed, step, purpose, element). */
struct selector_key {
    uint64_t seed, step, element;
    uint32_t purpose;
};

struct selector_pick {
    uint32_t slot;
    double within; /* where the draw fell inside the item: 0 <= within < the item's mass */
    double total;  /* the mass that was drawn from: the item's share is its mass / total */
};

/* By its name as above; false for any other text. */
bool selector_kind_read(enum selector_kind *kind, const char *text);

/* `exponent`, 0 .. 1, is of `prioritized`; the other kinds ignore it. NO_MEMORY. */
status selector_new(struct selector **selector, enum selector_kind kind,
                    double exponent) MUST_CHECK;
void selector_free(struct selector *selector);

/* Makes room for slots 0 .. capacity - 1; capacity is a power of two. NO_MEMORY changes nothing. */
status selector_reserve(struct selector *selector, uint32_t capacity) MUST_CHECK;

/* Adds an item whose slot is free. It is the newest. */
void selector_insert(struct selector *selector, const struct selector_item *item);
void selector_remove(struct selector *selector, const struct selector_item *item);
/* Undoes selector_remove, including the item's place in the order. Several are undone in reverse
 * order, with no other change in between. */
void selector_restore(struct selector *selector, const struct selector_item *item);
/* Gives the item another priority. */
void selector_update(struct selector *selector, const struct selector_item *item, double priority);

/* Chooses one item; there must be one. Changes nothing. With unit priorities the draw is exact: the
 * x-th unit of weight in order of slots, x = noise_below(sum of weights). Otherwise x is uniform
 * over the sum with 53 bits. */
void selector_draw(const struct selector *selector, const struct selector_key *key,
                   struct selector_pick *pick);

uint32_t selector_count(const struct selector *selector);
/* The mass of one unit of weight of an item with this priority: priority^exponent where the selector
 * is `prioritized`, else 1. */
double selector_unit(const struct selector *selector, double priority);
/* What draws depend on of an item's priority: its unit, or with a heap the priority itself. 1 where
 * priorities are not used. */
double selector_sees(const struct selector *selector, double priority);
/* Is every unit of weight equally likely to be drawn now? */
bool selector_even(const struct selector *selector);
/* 0 for a slot without an item. For checks and tests. */
double selector_mass(const struct selector *selector, uint32_t slot);

#endif
