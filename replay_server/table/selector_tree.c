/* uniform and prioritized: a sum tree over the items' masses (sum_tree.h). A draw is a prefix sum
 * search, in log2(capacity) steps.
 *
 * As long as all masses are whole numbers, which they are with unit priorities, every sum in the
 * tree is exact, and so is the draw. Tables whose episodes have no priorities of their own, which
 * is nearly all of them, depend on this: their draws are the same on every machine. */
#include "common/base/memory.h"
#include "common/base/noise.h"
#include "replay_server/table/selector_private.h"
#include "replay_server/table/sum_tree.h"

struct tree_selector {
    struct selector base;
    struct sum_tree tree;
    /* While it is 0, all masses are whole numbers and draws are exact. */
    uint32_t n_uneven; /* items whose unit of weight has another mass than 1 */
};

/* The struct begins with its base. */
static struct tree_selector *tree_of(struct selector *selector)
{
    return (struct tree_selector *)selector;
}

/* The casts are safe for selectors that selector_tree_new made, and no others have its methods. */
static const struct tree_selector *const_tree_of(const struct selector *selector)
{
    return (const struct tree_selector *)selector;
}

static void tree_free(struct selector *selector)
{
    sum_tree_fini(&tree_of(selector)->tree);
    mem_free(selector);
}

static status tree_reserve(struct selector *selector, uint32_t capacity)
{
    return sum_tree_reserve(&tree_of(selector)->tree, capacity);
}

static void tree_insert(struct selector *selector, const struct selector_item *item)
{
    /* Weight and priority are multiplied once, here; the tree knows masses only. */
    const double unit = selector_unit(selector, item->priority);
    sum_tree_set(&tree_of(selector)->tree, item->slot, item->weight * unit);
    tree_of(selector)->n_uneven += unit != 1;
}

/* Mass 0 is absence: nothing is drawn from the leaf any more. */
static void tree_remove(struct selector *selector, const struct selector_item *item)
{
    sum_tree_set(&tree_of(selector)->tree, item->slot, 0);
    tree_of(selector)->n_uneven -= selector_unit(selector, item->priority) != 1;
    ASSERT(tree_of(selector)->n_uneven <= selector->n);
}

static void tree_update(struct selector *selector, const struct selector_item *item,
                        double priority)
{
    /* The item goes out and in again, so that n_uneven stays right. */
    const struct selector_item changed = {item->slot, item->weight, priority};
    tree_remove(selector, item);
    tree_insert(selector, &changed);
}

static void tree_draw(const struct selector *selector, const struct selector_key *key,
                      struct selector_pick *pick)
{
    const struct tree_selector *self = const_tree_of(selector);
    pick->total = sum_tree_sum(&self->tree);
    /* Whole numbers: the draw is exact, and the same on every machine. */
    if (self->n_uneven == 0) {
        pick->within = (double)noise_below((uint64_t)pick->total, key->seed, key->step,
                                           key->purpose, key->element);
    } else {
        /* Rounding can bring this number to the total itself; sum_tree_find takes that too. */
        const uint64_t bits =
            noise_below(1ull << 53, key->seed, key->step, key->purpose, key->element);
        pick->within = (double)bits * 0x1p-53 * pick->total;
    }
    /* What remains of the number is where it fell inside the leaf. */
    pick->slot = sum_tree_find(&self->tree, &pick->within);
}

static bool tree_even(const struct selector *selector)
{
    return const_tree_of(selector)->n_uneven == 0;
}

static double tree_mass(const struct selector *selector, uint32_t slot)
{
    return sum_tree_weight(&const_tree_of(selector)->tree, slot);
}

static const struct selector_methods methods = {
    .free = tree_free,
    .reserve = tree_reserve,
    .insert = tree_insert,
    .remove = tree_remove,
    .restore = tree_insert,
    .update = tree_update,
    .draw = tree_draw,
    .even = tree_even,
    .mass = tree_mass,
};

status selector_tree_new(struct selector **out)
{
    struct tree_selector *self = mem_new(sizeof *self);
    if (self == NULL) {
        return STATUS_NO_MEMORY;
    }
    self->base.methods = &methods;
    *out = &self->base;
    return STATUS_OK;
}
