/* fifo and lifo: a doubly linked list through an array of nodes, one for each slot, in order of
 * insertion.
 *
 * A node that is taken out keeps its links. Putting it back between them is exact as long as the
 * last one taken out is the first one put back (Knuth's dancing links): this is what lets the table
 * plan an eviction of several episodes and then give it up.
 *
 * Links are slot numbers and not pointers, because the array moves when it grows. */
#include "common/base/memory.h"
#include "common/base/noise.h"
#include "replay_server/table/selector_private.h"

#define NO_SLOT UINT32_MAX

struct node {
    uint32_t older, newer; /* NO_SLOT at the ends */
    uint32_t weight;       /* 0: not in the list */
};

struct list_selector {
    struct selector base;
    struct node *nodes; /* (capacity) */
    uint32_t oldest, newest;
};

/* The struct begins with its base. */
static struct list_selector *list_of(struct selector *selector)
{
    return (struct list_selector *)selector;
}

/* The casts are safe for selectors that selector_list_new made, and no others have its methods. */
static const struct list_selector *const_list_of(const struct selector *selector)
{
    return (const struct list_selector *)selector;
}

static void list_free(struct selector *selector)
{
    mem_free(list_of(selector)->nodes);
    mem_free(selector);
}

static status list_reserve(struct selector *selector, uint32_t capacity)
{
    struct list_selector *self = list_of(selector);
    struct node *nodes = mem_resize(self->nodes, capacity, sizeof *nodes);
    if (nodes == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* Nodes of new slots are in no list. */
    for (uint32_t s = selector->capacity; s < capacity; s++) {
        nodes[s] = (struct node){NO_SLOT, NO_SLOT, 0};
    }
    self->nodes = nodes;
    return STATUS_OK;
}

/* Puts the node between the two that its links name, or at an end of the list where a link names
 * none. */
static void link_node(struct list_selector *self, uint32_t slot)
{
    const struct node *node = &self->nodes[slot];
    *(node->older == NO_SLOT ? &self->oldest : &self->nodes[node->older].newer) = slot;
    *(node->newer == NO_SLOT ? &self->newest : &self->nodes[node->newer].older) = slot;
}

/* At the newest end. */
static void list_insert(struct selector *selector, const struct selector_item *item)
{
    struct list_selector *self = list_of(selector);
    self->nodes[item->slot] = (struct node){self->newest, NO_SLOT, item->weight};
    link_node(self, item->slot);
    ASSERT(self->newest == item->slot);
}

/* The neighbours forget the node; the node remembers them (list_restore). */
static void list_remove(struct selector *selector, const struct selector_item *item)
{
    struct list_selector *self = list_of(selector);
    struct node *node = &self->nodes[item->slot];
    *(node->older == NO_SLOT ? &self->oldest : &self->nodes[node->older].newer) = node->newer;
    *(node->newer == NO_SLOT ? &self->newest : &self->nodes[node->newer].older) = node->older;
    node->weight = 0;
}

static void list_restore(struct selector *selector, const struct selector_item *item)
{
    struct list_selector *self = list_of(selector);
    struct node *node = &self->nodes[item->slot];
    /* The neighbours must be as they were: else a later removal has not been undone. */
    ASSERT(node->older == NO_SLOT || self->nodes[node->older].newer == node->newer);
    ASSERT(node->newer == NO_SLOT || self->nodes[node->newer].older == node->older);
    node->weight = item->weight;
    link_node(self, item->slot);
}

/* Priorities do not change the order. */
static void list_update(struct selector *selector, const struct selector_item *item,
                        double priority)
{
    (void)priority;
    ASSERT(list_of(selector)->nodes[item->slot].weight == item->weight);
}

/* The item is certain; the random number says where in it. */
static void list_draw(const struct selector *selector, const struct selector_key *key,
                      struct selector_pick *pick)
{
    const struct list_selector *self = const_list_of(selector);
    pick->slot = selector->kind == SELECTOR_FIFO ? self->oldest : self->newest;
    ASSERT(pick->slot != NO_SLOT);
    /* The weight matters only for the place within the item. */
    const uint32_t weight = self->nodes[pick->slot].weight;
    pick->within = (double)noise_below(weight, key->seed, key->step, key->purpose, key->element);
    pick->total = weight;
}

/* Only one item is ever drawn. */
static bool list_even(const struct selector *selector)
{
    (void)selector;
    return false;
}

static double list_mass(const struct selector *selector, uint32_t slot)
{
    return const_list_of(selector)->nodes[slot].weight;
}

static const struct selector_methods methods = {
    .free = list_free,
    .reserve = list_reserve,
    .insert = list_insert,
    .remove = list_remove,
    .restore = list_restore,
    .update = list_update,
    .draw = list_draw,
    .even = list_even,
    .mass = list_mass,
};

status selector_list_new(struct selector **out)
{
    struct list_selector *self = mem_new(sizeof *self);
    if (self == NULL) {
        return STATUS_NO_MEMORY;
    }
    self->base.methods = &methods;
    self->oldest = self->newest = NO_SLOT;
    *out = &self->base;
    return STATUS_OK;
}
