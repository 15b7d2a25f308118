/* min_heap and max_heap: a binary heap of slots with the item of the lowest, or highest, priority
 * at its root. Items of equal priority are in order of insertion: the first of them is chosen.
 *
 * Each slot has a node that knows its place in the heap, so that any item can be taken out or given
 * another priority in log2(n) steps. A node that is taken out keeps its number in the order of
 * insertion, which is all that putting it back needs.
 *
 * Which item is at the root depends on priorities and order alone, and not on the shape that the
 * heap happens to have. */
#include "common/base/memory.h"
#include "common/base/noise.h"
#include "replay_server/table/selector_private.h"

struct node {
    double priority;
    uint64_t order;  /* of insertion */
    uint32_t weight; /* 0: not in the heap */
    uint32_t place;  /* in `heap` */
};

struct heap_selector {
    struct selector base;
    struct node *nodes; /* (capacity), by slot */
    uint32_t *heap;     /* (capacity): slots; the children of place k are 2k + 1 and 2k + 2 */
    uint64_t n_inserted;
};

/* The struct begins with its base. */
static struct heap_selector *heap_of(struct selector *selector)
{
    return (struct heap_selector *)selector;
}

/* The casts are safe for selectors that selector_heap_new made, and no others have its methods. */
static const struct heap_selector *const_heap_of(const struct selector *selector)
{
    return (const struct heap_selector *)selector;
}

static void heap_free(struct selector *selector)
{
    mem_free(heap_of(selector)->nodes);
    mem_free(heap_of(selector)->heap);
    mem_free(selector);
}

static status heap_reserve(struct selector *selector, uint32_t capacity)
{
    struct heap_selector *self = heap_of(selector);
    /* Where the second array fails the first is larger than it needs to be, which does no harm. */
    struct node *nodes = mem_resize(self->nodes, capacity, sizeof *nodes);
    if (nodes == NULL) {
        return STATUS_NO_MEMORY;
    }
    self->nodes = nodes;
    uint32_t *heap = mem_resize(self->heap, capacity, sizeof *heap);
    if (heap == NULL) {
        return STATUS_NO_MEMORY;
    }
    self->heap = heap;
    for (uint32_t s = selector->capacity; s < capacity; s++) {
        nodes[s] = (struct node){0};
    }
    return STATUS_OK;
}

/* Is the item in slot a chosen before that in slot b? */
static bool before(const struct heap_selector *self, uint32_t a, uint32_t b)
{
    const struct node *x = &self->nodes[a], *y = &self->nodes[b];
    if (x->priority != y->priority) {
        const bool less = x->priority < y->priority;
        return self->base.kind == SELECTOR_MIN_HEAP ? less : !less;
    }
    return x->order < y->order;
}

static void set_place(struct heap_selector *self, uint32_t place, uint32_t slot)
{
    self->heap[place] = slot;
    self->nodes[slot].place = place;
}

/* Moves the slot up from `place`, as far as it is chosen before its parents. */
static void move_up(struct heap_selector *self, uint32_t place, uint32_t slot)
{
    while (place > 0 && before(self, slot, self->heap[(place - 1) / 2])) {
        set_place(self, place, self->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    set_place(self, place, slot);
}

/* Moves the slot down from `place` in a heap of n items, as far as a child is chosen before it. */
static void move_down(struct heap_selector *self, uint32_t place, uint32_t slot, uint32_t n)
{
    for (;;) {
        /* In 64 bits: a heap may have as many places as 32 bits can count. */
        uint64_t child = 2 * (uint64_t)place + 1;
        if (child + 1 < n && before(self, self->heap[child + 1], self->heap[child])) {
            child++;
        }
        if (child >= n || !before(self, self->heap[child], slot)) {
            break;
        }
        set_place(self, place, self->heap[child]);
        place = (uint32_t)child;
    }
    set_place(self, place, slot);
}

/* Puts the slot where it belongs, beginning at `place`: up, or else down. */
static void settle(struct heap_selector *self, uint32_t place, uint32_t slot, uint32_t n)
{
    move_up(self, place, slot);
    move_down(self, self->nodes[slot].place, slot, n);
}

static void put(struct heap_selector *self, const struct selector_item *item, uint64_t order)
{
    self->nodes[item->slot] =
        (struct node){.priority = item->priority, .order = order, .weight = item->weight};
    move_up(self, self->base.n, item->slot); /* the caller counts it afterwards */
}

static void heap_insert(struct selector *selector, const struct selector_item *item)
{
    struct heap_selector *self = heap_of(selector);
    put(self, item, self->n_inserted++);
}

static void heap_restore(struct selector *selector, const struct selector_item *item)
{
    struct heap_selector *self = heap_of(selector);
    put(self, item, self->nodes[item->slot].order);
}

/* The last item takes the place that becomes free. */
static void heap_remove(struct selector *selector, const struct selector_item *item)
{
    struct heap_selector *self = heap_of(selector);
    struct node *node = &self->nodes[item->slot];
    const uint32_t n = selector->n - 1; /* that stay */
    const uint32_t last = self->heap[n];
    ASSERT(node->priority == item->priority && self->heap[node->place] == item->slot);
    node->weight = 0;
    if (last != item->slot) {
        settle(self, node->place, last, n);
    }
}

static void heap_update(struct selector *selector, const struct selector_item *item,
                        double priority)
{
    struct heap_selector *self = heap_of(selector);
    struct node *node = &self->nodes[item->slot];
    ASSERT(node->priority == item->priority && node->weight == item->weight);
    node->priority = priority;
    settle(self, node->place, item->slot, selector->n);
}

/* The item is certain; the random number says where in it. */
static void heap_draw(const struct selector *selector, const struct selector_key *key,
                      struct selector_pick *pick)
{
    const struct heap_selector *self = const_heap_of(selector);
    pick->slot = self->heap[0];
    const uint32_t weight = self->nodes[pick->slot].weight;
    pick->within = (double)noise_below(weight, key->seed, key->step, key->purpose, key->element);
    pick->total = weight;
}

/* Only one item is ever drawn. */
static bool heap_even(const struct selector *selector)
{
    (void)selector;
    return false;
}

static double heap_mass(const struct selector *selector, uint32_t slot)
{
    return const_heap_of(selector)->nodes[slot].weight;
}

static const struct selector_methods methods = {
    .free = heap_free,
    .reserve = heap_reserve,
    .insert = heap_insert,
    .remove = heap_remove,
    .restore = heap_restore,
    .update = heap_update,
    .draw = heap_draw,
    .even = heap_even,
    .mass = heap_mass,
};

status selector_heap_new(struct selector **out)
{
    struct heap_selector *self = mem_new(sizeof *self);
    if (self == NULL) {
        return STATUS_NO_MEMORY;
    }
    self->base.methods = &methods;
    *out = &self->base;
    return STATUS_OK;
}
