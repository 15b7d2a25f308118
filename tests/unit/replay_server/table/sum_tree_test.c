/* The sum tree against a plain prefix sum. */
#include "common/base/rng.h"
#include "replay_server/table/sum_tree.h"
#include "tests/lib/check.h"

#define LEAVES 64u

static uint32_t find_plainly(const double *weights, double *x)
{
    uint32_t leaf = 0;
    while (*x >= weights[leaf]) {
        *x -= weights[leaf++];
    }
    return leaf;
}

static void every_whole_number_falls_where_a_plain_sum_says(void **state)
{
    (void)state;
    struct sum_tree tree = {0};
    struct rng rng;
    rng_init(&rng, 5, "sum_tree", 0);
    double weights[LEAVES] = {0};
    assert_int_equal(sum_tree_reserve(&tree, LEAVES / 4), STATUS_OK);
    for (int round = 0; round < 300; round++) {
        if (round == 100) { /* the weights stay */
            assert_int_equal(sum_tree_reserve(&tree, LEAVES), STATUS_OK);
        }
        const uint32_t leaf = (uint32_t)rng_below(&rng, tree.capacity);
        weights[leaf] = (double)rng_below(&rng, 4);
        sum_tree_set(&tree, leaf, weights[leaf]);
        assert_true(sum_tree_weight(&tree, leaf) == weights[leaf]);
        double sum = 0;
        for (uint32_t i = 0; i < tree.capacity; i++) {
            sum += weights[i];
        }
        assert_true(sum_tree_sum(&tree) == sum);
        for (double at = 0; at < sum; at++) {
            double ours = at, plain = at;
            assert_int_equal(sum_tree_find(&tree, &ours), find_plainly(weights, &plain));
            assert_true(ours == plain);
        }
    }
    sum_tree_fini(&tree);
}

/* Sums of uneven weights are rounded, so a draw may pass all of them by a little. */
static void what_is_drawn_weighs_something(void **state)
{
    (void)state;
    struct sum_tree tree = {0};
    struct rng rng;
    rng_init(&rng, 6, "sum_tree", 0);
    assert_int_equal(sum_tree_reserve(&tree, LEAVES), STATUS_OK);
    for (int round = 0; round < 2000; round++) {
        sum_tree_set(&tree, (uint32_t)rng_below(&rng, LEAVES),
                     rng_below(&rng, 3) ? 0 : 1e-3 + rng_uniform(&rng));
        double x = sum_tree_sum(&tree);
        if (x > 0) {
            assert_true(sum_tree_weight(&tree, sum_tree_find(&tree, &x)) > 0);
        }
    }
    sum_tree_fini(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_whole_number_falls_where_a_plain_sum_says),
        cmocka_unit_test(what_is_drawn_weighs_something),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
