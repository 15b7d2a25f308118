/* The interface of all selectors: finds the kind, checks the preconditions that all kinds share,
 * and counts. How items are kept and drawn is in selector_tree.c, selector_list.c and
 * selector_heap.c.
 *
 * A selector does not keep items as such, only what it needs of them; therefore every change is
 * given the item again, and the assertions compare it with what the selector has. A selector that
 * did not agree with the table would draw from slots that are empty. */
#include "replay_server/table/selector.h"

#include <math.h>
#include <string.h>

#include "replay_server/table/selector_private.h"

/* The names are those of the options `sampler` and `remover`. */
bool selector_kind_read(enum selector_kind *kind, const char *text)
{
    static const struct {
        const char *text;
        enum selector_kind kind;
    } kinds[] = {{"uniform", SELECTOR_UNIFORM},   {"prioritized", SELECTOR_PRIORITIZED},
                 {"fifo", SELECTOR_FIFO},         {"lifo", SELECTOR_LIFO},
                 {"min_heap", SELECTOR_MIN_HEAP}, {"max_heap", SELECTOR_MAX_HEAP}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(text, kinds[i].text) == 0) {
            *kind = kinds[i].kind;
            return true;
        }
    }
    return false;
}

status selector_new(struct selector **out, enum selector_kind kind, double exponent)
{
    /* Two kinds need masses, two an order of insertion, and two an order of priorities. */
    static status (*const makers[])(struct selector **) = {
        [SELECTOR_UNIFORM] = selector_tree_new,  [SELECTOR_PRIORITIZED] = selector_tree_new,
        [SELECTOR_FIFO] = selector_list_new,     [SELECTOR_LIFO] = selector_list_new,
        [SELECTOR_MIN_HEAP] = selector_heap_new, [SELECTOR_MAX_HEAP] = selector_heap_new};
    ASSERT(exponent >= 0 && exponent <= 1);
    status s = makers[kind](out);
    if (s == STATUS_OK) {
        (*out)->kind = kind;
        (*out)->exponent = exponent;
        ASSERT((*out)->methods != NULL);
    }
    return s;
}

void selector_free(struct selector *selector)
{
    if (selector) {
        selector->methods->free(selector);
    }
}

status selector_reserve(struct selector *selector, uint32_t capacity)
{
    ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
    /* Never smaller: slots that are in use keep their numbers. */
    if (capacity <= selector->capacity) {
        return STATUS_OK;
    }
    status s = selector->methods->reserve(selector, capacity);
    if (s == STATUS_OK) {
        selector->capacity = capacity;
    }
    return s;
}

/* The preconditions of everything that puts an item in. */
static void check_item(const struct selector *selector, const struct selector_item *item)
{
    ASSERT(item->slot < selector->capacity);
    ASSERT(item->weight >= 1);
    ASSERT(isfinite(item->priority) && item->priority > 0);
}

/* What holds for every kind is asserted here, once: a slot has an item or none, and its mass is
 * what the item says. */
void selector_insert(struct selector *selector, const struct selector_item *item)
{
    check_item(selector, item);
    ASSERT(selector_mass(selector, item->slot) == 0);
    selector->methods->insert(selector, item);
    selector->n++;
    ASSERT(selector_mass(selector, item->slot) > 0);
}

void selector_remove(struct selector *selector, const struct selector_item *item)
{
    check_item(selector, item);
    ASSERT(selector->n > 0);
    ASSERT(selector_mass(selector, item->slot) ==
           item->weight * selector_unit(selector, item->priority));
    selector->methods->remove(selector, item);
    selector->n--;
}

void selector_restore(struct selector *selector, const struct selector_item *item)
{
    /* The same as an insert, except that the kind puts the item back where it was. */
    check_item(selector, item);
    ASSERT(selector_mass(selector, item->slot) == 0);
    selector->methods->restore(selector, item);
    selector->n++;
}

void selector_update(struct selector *selector, const struct selector_item *item, double priority)
{
    check_item(selector, item);
    /* Mass 0 is what absence looks like, so that no item may have it. */
    ASSERT(isfinite(priority) && priority > 0);
    selector->methods->update(selector, item, priority);
    ASSERT(selector_mass(selector, item->slot) == item->weight * selector_unit(selector, priority));
}

void selector_draw(const struct selector *selector, const struct selector_key *key,
                   struct selector_pick *pick)
{
    ASSERT(selector->n > 0);
    selector->methods->draw(selector, key, pick);
    /* The slot is the caller's to read, without another check. */
    ASSERT(pick->slot < selector->capacity);
    ASSERT(pick->within >= 0 && pick->total > 0);
}

uint32_t selector_count(const struct selector *selector)
{
    return selector->n;
}

double selector_unit(const struct selector *selector, double priority)
{
    /* Only `prioritized` draws in proportion to priorities; to all others an item has mass 1. */
    if (selector->kind != SELECTOR_PRIORITIZED) {
        return 1;
    }
    /* Without an exponent the priority itself, to the last bit. */
    return selector->exponent == 1 ? priority : pow(priority, selector->exponent);
}

double selector_sees(const struct selector *selector, double priority)
{
    const bool heap = selector->kind == SELECTOR_MIN_HEAP || selector->kind == SELECTOR_MAX_HEAP;
    return heap ? priority : selector_unit(selector, priority);
}

bool selector_even(const struct selector *selector)
{
    return selector->methods->even(selector);
}

double selector_mass(const struct selector *selector, uint32_t slot)
{
    return slot < selector->capacity ? selector->methods->mass(selector, slot) : 0;
}
