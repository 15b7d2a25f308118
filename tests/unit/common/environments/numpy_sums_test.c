/* numpy_sums against numpy 2.4: vectors where each order of summation rounds in its own way. */
#include "common/environments/numpy_sums.h"

#include "common/environments/random_state.h"
#include "tests/lib/check.h"

#define N 4

/* What numpy gives on a processor without AVX-512 and on one with it. */
struct sums {
    double a[N], b[N];
    double dot[2], norm[2];
};

static const struct sums examples[] = {
    {{-0x1.c81eccb893867p-2, -0x1.edb0ea0a987e7p-2, 0x1.f9672df1e8166p-2, 0x1.003fdfff530c7p-1},
     {0x1.95b86ad3e2abdp-1, 0x1.5db9c0d5458b6p-3, -0x1.c0f5293968667p+0, 0x1.42b6384378ccep-1},
     {-0x1.f888441a9519ep-1, -0x1.f888441a9519fp-1},
     {0x1.ec688c63fb210p-1, 0x1.ec688c63fb211p-1}},
    {{-0x1.e636201a563c7p-5, -0x1.317f4fcac5f03p+1, 0x1.38e02b6becebbp+0, -0x1.a0b9131e2fb1cp-1},
     {0x1.e99b2777b9a94p-1, -0x1.46eadb035d1b9p-1, -0x1.251f76983fa2bp-3, -0x1.cb2409f7f5259p-3},
     {0x1.79875a52380cfp+0, 0x1.79875a52380d0p+0},
     {0x1.66c3fd3cd9ccep+1, 0x1.66c3fd3cd9ccdp+1}},
    {{-0x1.611dd7ed60f36p-5, -0x1.6dc3627400d70p-4, -0x1.8d29eb08ed1b5p+0, 0x1.4942deb243973p-3},
     {-0x1.6fd8ab7b1a57ap+0, 0x1.6567cce79b95ep-1, 0x1.c11c4ae602175p-3, 0x1.17e7b10d97bbdp+1},
     {0x1.6710d6ae1b9c0p-7, 0x1.6710d6ae1b9e6p-7},
     {0x1.9018bf9cc4829p+0, 0x1.9018bf9cc482ap+0}},
};

/* One way on each machine, for all vectors. */
static void products_are_added_as_openblas_adds_them(void **state)
{
    (void)state;
    size_t fused = numpy_dot(examples[0].a, examples[0].b, N) == examples[0].dot[1];
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        const struct sums *example = &examples[i];
        assert_true(numpy_dot(example->a, example->b, N) == example->dot[fused]);
        assert_true(numpy_norm(example->a, N) == example->norm[fused]);
    }
    assert_true(numpy_norm(examples[0].a, 0) == 0.0);
}

static void means_are_added_in_pairs(void **state)
{
    (void)state;
    /* Of RandomState(seed).randn(n); from 8 numbers on a plain sum differs in the last bit. */
    static const struct {
        int n;
        uint64_t seed;
        double mean;
    } means[] = {
        {3, 1, 0x1.4ab20a8fe142dp-3},   {8, 1, -0x1.0a84103f9be65p-3},
        {13, 5, 0x1.6e72b0351389ap-5},  {21, 1, -0x1.6f760c29434ebp-3},
        {128, 1, 0x1.02d25fc845730p-4},
    };
    for (size_t i = 0; i < sizeof means / sizeof means[0]; i++) {
        struct random_state random;
        double values[128];
        random_state_init(&random, means[i].seed);
        for (int k = 0; k < means[i].n; k++) {
            values[k] = random_state_normal(&random);
        }
        assert_true(numpy_mean(values, means[i].n) == means[i].mean);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_added_as_openblas_adds_them),
        cmocka_unit_test(means_are_added_in_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
