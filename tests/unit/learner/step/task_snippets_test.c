/* Sharing a batch: every task snippet goes to one worker, in order, evenly; groups keep their
 * limit. */
#include <stdlib.h>

#include "common/base/rng.h"
#include "learner/step/task_snippets.h"
#include "tests/lib/check.h"

enum { B_MAX = 200, T_MAX = 3, WORKERS_MAX = 33 };

static void snippets_are_shared_evenly_and_grouped(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 5, "snippets", 0);
    for (int round = 0; round < 300; round++) {
        static struct task_snippet snippets[B_MAX * T_MAX];
        uint32_t n_valid[B_MAX];
        int share[WORKERS_MAX + 1];
        const int B = 1 + (int)rng_below(&rng, B_MAX);
        const int T = 1 + (int)rng_below(&rng, T_MAX);
        const int N = 1 + (int)rng_below(&rng, 20);
        const int workers = 1 + (int)rng_below(&rng, WORKERS_MAX);
        const int R_max = N + 1 + (int)rng_below(&rng, 150);
        double total = 0.0;
        for (int b = 0; b < B; b++) {
            n_valid[b] = 1 + (uint32_t)rng_below(&rng, (uint64_t)N);
            total += T * (2.0 * n_valid[b] + 1.0);
        }
        task_snippets_share(snippets, share, n_valid, B, T, workers);
        assert_int_equal(share[0], 0);
        assert_int_equal(share[workers], B * T);
        for (int w = 0; w < workers; w++) {
            double work = 0.0;
            for (int u = share[w]; u < share[w + 1]; u++) {
                assert_int_equal(snippets[u].b, u / T);
                assert_int_equal(snippets[u].tau, u % T);
                assert_int_equal(snippets[u].n, n_valid[u / T]);
                work += 2.0 * snippets[u].n + 1.0;
            }
            /* No share is off by more than one task snippet at each end. */
            assert_true(work <= total / workers + 2.0 * N + 1.0);
            for (int first = share[w]; first < share[w + 1];) {
                const int n = task_snippets_group(snippets, first, share[w + 1], R_max);
                int rows = 0;
                for (int u = first; u < first + n; u++) {
                    rows += snippets[u].n + 1;
                }
                assert_true(n >= 1 && first + n <= share[w + 1] && rows <= R_max);
                first += n;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snippets_are_shared_evenly_and_grouped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
