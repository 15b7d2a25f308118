/* Sums that ranks add slice by slice have the bits of sums that one rank adds, however their sizes
 * divide by the number of ranks. */
#include "learner/exchange/slices.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "learner/exchange/exchange_kind.h"
#include "learner/exchange/group.h"
#include "tests/lib/check.h"

/* Sums of one rank, with values of all magnitudes, so that the order of additions shows. */
static struct update_sums make_sums(struct rng *rng, size_t n_gradients, size_t n_scalars)
{
    struct update_sums sums = {mem_aligned((n_gradients + 1) * sizeof(float)), n_gradients,
                               mem_aligned((n_scalars + 1) * sizeof(double)), n_scalars};
    assert_true(sums.gradients != NULL && sums.scalars != NULL);
    for (size_t i = 0; i < n_gradients; i++) {
        sums.gradients[i] = (float)ldexp(rng_uniform(rng) - 0.5, (int)rng_below(rng, 40) - 20);
    }
    for (size_t i = 0; i < n_scalars; i++) {
        sums.scalars[i] = ldexp(rng_uniform(rng) - 0.5, (int)rng_below(rng, 80) - 40);
    }
    return sums;
}

static void free_sums(struct update_sums sums)
{
    mem_free(sums.gradients);
    mem_free(sums.scalars);
}

/* All ranks at once, without sending anything: what each receives is written into its memory. The
 * result of every rank goes into `all`. */
static void exchange(const struct slices *slices, struct update_sums *all)
{
    /* Of exactly the size of a slice, so that ASan sees what lies outside. */
    unsigned char *part = mem_aligned(slices->size);
    unsigned char *totals[GROUP_RANKS_MAX];
    assert_non_null(part);
    for (uint32_t r = 0; r < slices->ranks; r++) {
        totals[r] = mem_aligned(slices->size);
        assert_non_null(totals[r]);
        slices_write(slices, r, all[0], totals[r]);
        for (uint32_t from = 1; from < slices->ranks; from++) {
            slices_write(slices, r, all[from], part);
            slices_add(slices, r, totals[r], part);
        }
    }
    for (uint32_t rank = 0; rank < slices->ranks; rank++) {
        for (uint32_t r = 0; r < slices->ranks; r++) {
            slices_read(slices, r, totals[r], all[rank]);
        }
    }
    for (uint32_t r = 0; r < slices->ranks; r++) {
        mem_free(totals[r]);
    }
    mem_free(part);
}

/* One rank adds the sums of all, as over gRPC. */
static void compare(uint32_t ranks, size_t n_gradients, size_t n_scalars)
{
    struct rng rng;
    rng_init(&rng, ranks * 1000003 + n_gradients, "slices_test", n_scalars);
    struct update_sums all[GROUP_RANKS_MAX];
    for (uint32_t r = 0; r < ranks; r++) {
        all[r] = make_sums(&rng, n_gradients, n_scalars);
    }
    struct update_sums total = make_sums(&rng, n_gradients, n_scalars);
    memcpy(total.gradients, all[0].gradients, n_gradients * sizeof(float));
    memcpy(total.scalars, all[0].scalars, n_scalars * sizeof(double));
    for (uint32_t r = 1; r < ranks; r++) {
        for (size_t i = 0; i < n_gradients; i++) {
            total.gradients[i] += all[r].gradients[i];
        }
        for (size_t i = 0; i < n_scalars; i++) {
            total.scalars[i] += all[r].scalars[i];
        }
    }
    struct slices slices;
    slices_init(&slices, n_gradients, n_scalars, ranks);
    exchange(&slices, all);
    for (uint32_t r = 0; r < ranks; r++) {
        assert_memory_equal(all[r].gradients, total.gradients, n_gradients * sizeof(float));
        assert_memory_equal(all[r].scalars, total.scalars, n_scalars * sizeof(double));
        free_sums(all[r]);
    }
    free_sums(total);
}

static void the_bits_are_those_of_one_rank_that_adds_all(void **state)
{
    (void)state;
    static const size_t gradients[] = {0, 1, 15, 16, 17, 160, 1000, 16 * 63, 16 * 64, 16 * 65};
    static const size_t scalars[] = {0, 1, 7, 8, 9, 31};
    for (uint32_t ranks = 1; ranks <= GROUP_RANKS_MAX; ranks++) {
        for (size_t g = 0; g < sizeof gradients / sizeof gradients[0]; g++) {
            for (size_t k = 0; k < sizeof scalars / sizeof scalars[0]; k++) {
                if (gradients[g] + scalars[k] > 0) {
                    compare(ranks, gradients[g], scalars[k]);
                }
            }
        }
    }
}

/* What several learners that exchange over gRPC do is the same function of the same sums. */
static void the_bits_are_those_of_the_exchange_over_grpc(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 7, "slices_test", 0);
    enum { RANKS = 5, GRADIENTS = 16 * 37, SCALARS = 19 };
    struct update_sums all[RANKS];
    unsigned char *parts[RANKS - 1];
    for (int r = 0; r < RANKS; r++) {
        all[r] = make_sums(&rng, GRADIENTS, SCALARS);
    }
    for (int r = 1; r < RANKS; r++) {
        parts[r - 1] = mem_aligned(exchange_sums_size(GRADIENTS, SCALARS));
        assert_non_null(parts[r - 1]);
        exchange_sums_write(parts[r - 1], all[r]);
    }
    struct update_sums total = make_sums(&rng, GRADIENTS, SCALARS);
    memcpy(total.gradients, all[0].gradients, GRADIENTS * sizeof(float));
    memcpy(total.scalars, all[0].scalars, SCALARS * sizeof(double));
    exchange_sums_add(NULL, total, parts, RANKS - 1);
    struct slices slices;
    slices_init(&slices, GRADIENTS, SCALARS, RANKS);
    exchange(&slices, all);
    for (int r = 0; r < RANKS; r++) {
        assert_memory_equal(all[r].gradients, total.gradients, GRADIENTS * sizeof(float));
        assert_memory_equal(all[r].scalars, total.scalars, SCALARS * sizeof(double));
    }
    for (int r = 0; r < RANKS; r++) {
        free_sums(all[r]);
        mem_free(r > 0 ? parts[r - 1] : NULL);
    }
    free_sums(total);
}

/* 64-byte lines, none of them shared; less than a line for each rank is wasted. */
static void slices_are_whole_lines(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= GROUP_RANKS_MAX; ranks++) {
        struct slices slices;
        slices_init(&slices, 417616, 31, ranks);
        const size_t whole = 417616 * sizeof(float) + 4 * 64;
        assert_int_equal(slices.size % 64, 0);
        assert_true(slices.size * ranks >= whole);
        assert_true(slices.size * ranks < whole + 64 * ranks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bits_are_those_of_one_rank_that_adds_all),
        cmocka_unit_test(the_bits_are_those_of_the_exchange_over_grpc),
        cmocka_unit_test(slices_are_whole_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
