/* The selectors against a plain model: arrays in order of insertion, searched from front to back.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/noise.h"
#include "common/base/rng.h"
#include "replay_server/table/selector.h"
#include "tests/lib/check.h"

#define SLOTS 64u

static const enum selector_kind kinds[] = {SELECTOR_UNIFORM,  SELECTOR_PRIORITIZED,
                                           SELECTOR_FIFO,     SELECTOR_LIFO,
                                           SELECTOR_MIN_HEAP, SELECTOR_MAX_HEAP};

/* What a selector holds, in order of insertion. */
struct model {
    enum selector_kind kind;
    struct selector_item items[SLOTS];
    uint32_t n;
};

static double mass(const struct model *model, const struct selector_item *item)
{
    return model->kind == SELECTOR_PRIORITIZED ? item->weight * item->priority : item->weight;
}

/* The one item that fifo, lifo and the heaps choose; NULL for the other kinds. */
static const struct selector_item *chosen(const struct model *model)
{
    const struct selector_item *best = &model->items[0];
    switch (model->kind) {
    case SELECTOR_UNIFORM:
    case SELECTOR_PRIORITIZED:
        return NULL;
    case SELECTOR_FIFO:
        return best;
    case SELECTOR_LIFO:
        return &model->items[model->n - 1];
    case SELECTOR_MIN_HEAP:
    case SELECTOR_MAX_HEAP:
        break;
    }
    for (uint32_t i = 1; i < model->n; i++) {
        const double p = model->items[i].priority;
        best = (model->kind == SELECTOR_MIN_HEAP ? p < best->priority : p > best->priority)
                   ? &model->items[i]
                   : best;
    }
    return best;
}

static uint32_t place_of(const struct model *model, uint32_t slot)
{
    uint32_t i = 0;
    while (i < model->n && model->items[i].slot != slot) {
        i++;
    }
    return i;
}

static void drop(struct model *model, uint32_t i)
{
    memmove(&model->items[i], &model->items[i + 1], (model->n - i - 1) * sizeof model->items[0]);
    model->n--;
}

static void put(struct model *model, uint32_t i, const struct selector_item *item)
{
    memmove(&model->items[i + 1], &model->items[i], (model->n - i) * sizeof model->items[0]);
    model->items[i] = *item;
    model->n++;
}

/* The draw as selector.h defines it. Whole-number masses only, so that all sums are exact. */
static uint32_t draw_plainly(const struct model *model, const struct selector_key *key, double *in,
                             double *total)
{
    const struct selector_item *item = chosen(model);
    if (item) {
        *total = item->weight;
        *in = (double)noise_below(item->weight, key->seed, key->step, key->purpose, key->element);
        return item->slot;
    }
    double by_slot[SLOTS] = {0};
    bool even = true;
    *total = 0;
    for (uint32_t i = 0; i < model->n; i++) {
        by_slot[model->items[i].slot] = mass(model, &model->items[i]);
        *total += mass(model, &model->items[i]);
        even = even && (model->kind == SELECTOR_UNIFORM || model->items[i].priority == 1);
    }
    double x =
        even ? (double)noise_below((uint64_t)*total, key->seed, key->step, key->purpose,
                                   key->element)
             : (double)noise_below(1ull << 53, key->seed, key->step, key->purpose, key->element) *
                   0x1p-53 * *total;
    uint32_t slot = 0;
    while (x >= by_slot[slot]) {
        x -= by_slot[slot++];
    }
    *in = x;
    return slot;
}

static void compare(const struct selector *selector, const struct model *model, uint64_t seed,
                    uint64_t step)
{
    assert_int_equal(selector_count(selector), model->n);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const uint32_t i = place_of(model, slot);
        assert_true(selector_mass(selector, slot) ==
                    (i < model->n ? mass(model, &model->items[i]) : 0));
    }
    for (uint64_t element = 0; model->n > 0 && element < 4; element++) {
        const struct selector_key key = {
            .seed = seed, .step = step, .element = element, .purpose = 7};
        struct selector_pick pick;
        double in, total;
        selector_draw(selector, &key, &pick);
        assert_int_equal(pick.slot, draw_plainly(model, &key, &in, &total));
        assert_true(pick.within == in && pick.total == total);
    }
}

/* Takes some items out and puts them back, as an eviction that is given up does. */
static void remove_and_restore(struct selector *selector, struct model *model, struct rng *rng)
{
    struct selector_item out[SLOTS];
    uint32_t places[SLOTS];
    const uint32_t n = (uint32_t)rng_below(rng, model->n + 1);
    for (uint32_t i = 0; i < n; i++) {
        places[i] = (uint32_t)rng_below(rng, model->n);
        out[i] = model->items[places[i]];
        selector_remove(selector, &out[i]);
        drop(model, places[i]);
    }
    compare(selector, model, 1, rng_below(rng, 1000));
    for (uint32_t i = n; i-- > 0;) {
        selector_restore(selector, &out[i]);
        put(model, places[i], &out[i]);
    }
}

static void random_history(enum selector_kind kind, uint64_t seed)
{
    struct model model = {.kind = kind};
    struct selector *selector;
    struct rng rng;
    rng_init(&rng, seed, "selector", kind);
    assert_int_equal(selector_new(&selector, kind, 1), STATUS_OK);
    assert_int_equal(selector_reserve(selector, SLOTS / 4), STATUS_OK);
    const bool priorities = rng_below(&rng, 2);
    for (uint64_t round = 0; round < 400; round++) {
        if (round == 200) { /* the items stay */
            assert_int_equal(selector_reserve(selector, SLOTS), STATUS_OK);
        }
        const uint32_t slot = (uint32_t)rng_below(&rng, round < 200 ? SLOTS / 4 : SLOTS);
        const uint32_t i = place_of(&model, slot);
        const double priority = priorities ? (double)(1 + rng_below(&rng, 5)) : 1;
        if (i == model.n) {
            const struct selector_item item = {slot, 1 + (uint32_t)rng_below(&rng, 9), priority};
            selector_insert(selector, &item);
            put(&model, model.n, &item);
        } else if (rng_below(&rng, 2)) {
            selector_update(selector, &model.items[i], priority);
            model.items[i].priority = priority;
        } else {
            selector_remove(selector, &model.items[i]);
            drop(&model, i);
        }
        if (rng_below(&rng, 4) == 0) {
            remove_and_restore(selector, &model, &rng);
        }
        compare(selector, &model, seed, round);
    }
    selector_free(selector);
}

static void random_histories_do_what_a_plain_model_does(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            random_history(kinds[k], seed);
        }
    }
}

static void kinds_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"uniform", "prioritized", "fifo",
                                        "lifo",    "min_heap",    "max_heap"};
    enum selector_kind kind;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        assert_true(selector_kind_read(&kind, names[k]));
        assert_int_equal(kind, kinds[k]);
    }
    assert_false(selector_kind_read(&kind, "none"));
    assert_false(selector_kind_read(&kind, ""));
}

static void only_the_prioritized_one_uses_priorities(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct selector *selector;
        assert_int_equal(selector_new(&selector, kinds[k], 1), STATUS_OK);
        assert_int_equal(selector_reserve(selector, 4), STATUS_OK);
        const struct selector_item item = {2, 3, 0.5};
        selector_insert(selector, &item);
        assert_true(selector_unit(selector, 0.5) == (kinds[k] == SELECTOR_PRIORITIZED ? 0.5 : 1));
        const bool heap = kinds[k] == SELECTOR_MIN_HEAP || kinds[k] == SELECTOR_MAX_HEAP;
        assert_true(selector_sees(selector, 0.5) ==
                    (heap || kinds[k] == SELECTOR_PRIORITIZED ? 0.5 : 1));
        assert_int_equal(selector_even(selector), kinds[k] == SELECTOR_UNIFORM);
        selector_update(selector, &item, 1);
        assert_int_equal(selector_even(selector),
                         kinds[k] == SELECTOR_UNIFORM || kinds[k] == SELECTOR_PRIORITIZED);
        selector_free(selector);
    }
}

/* Twice 0.25^0.5 and once 1: three items of mass 0.5, 0.5 and 1. */
static void the_exponent_flattens_priorities(void **state)
{
    (void)state;
    enum { DRAWS = 30000 };
    struct selector *selector;
    assert_int_equal(selector_new(&selector, SELECTOR_PRIORITIZED, 0.5), STATUS_OK);
    assert_int_equal(selector_reserve(selector, 4), STATUS_OK);
    const double priorities[] = {0.25, 0.25, 1};
    uint32_t counts[3] = {0};
    for (uint32_t slot = 0; slot < 3; slot++) {
        selector_insert(selector, &(struct selector_item){slot, 1, priorities[slot]});
    }
    for (uint64_t step = 0; step < DRAWS; step++) {
        struct selector_pick pick;
        selector_draw(selector, &(struct selector_key){.step = step}, &pick);
        assert_true(pick.total == 2);
        counts[pick.slot]++;
    }
    const double expected[] = {DRAWS / 4.0, DRAWS / 4.0, DRAWS / 2.0};
    double chi2 = 0;
    for (int i = 0; i < 3; i++) {
        chi2 += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
    }
    printf("chi2 %.1f of 2 degrees of freedom\n", chi2);
    assert_true(chi2 < 18.4); /* p = 1e-4 */
    selector_free(selector);
    /* With exponent 0 priorities do not matter at all. */
    assert_int_equal(selector_new(&selector, SELECTOR_PRIORITIZED, 0), STATUS_OK);
    assert_int_equal(selector_reserve(selector, 4), STATUS_OK);
    selector_insert(selector, &(struct selector_item){2, 3, 1e-30});
    assert_true(selector_even(selector) && selector_mass(selector, 2) == 3);
    selector_free(selector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_do_what_a_plain_model_does),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(only_the_prioritized_one_uses_priorities),
        cmocka_unit_test(the_exponent_flattens_priorities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
