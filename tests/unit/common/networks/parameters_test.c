/* The layout of a flat block. */
#include <string.h>

#include "common/networks/adam.h"
#include "common/networks/parameters.h"
#include "tests/lib/check.h"

#include <math.h>

struct seen {
    int n;
    size_t end;
    char last[PARAMETERS_NAME_SIZE + 1];
};

static void see(void *arg, const struct parameters_group *group, const char *name,
                const struct network_tensor *tensor)
{
    struct seen *seen = arg;
    assert_true(strncmp(name, group->name, strlen(group->name)) == 0);
    assert_true(tensor->at >= seen->end); /* no overlap, in order */
    seen->end = tensor->at + tensor->size;
    seen->n++;
    memcpy(seen->last, name, strlen(name) + 1);
}

static void groups_and_duals_have_their_places(void **state)
{
    (void)state;
    static struct parameters_layout layout;
    struct network_shape policy, critic;
    struct err err;
    assert_int_equal(network_shape_gaussian(&policy, 5, (const int[]){16, 8}, 2, 2, &err),
                     STATUS_OK);
    assert_int_equal(network_shape_out(&critic, 7, (const int[]){16, 8}, 2, 1, &err), STATUS_OK);
    memset(&layout, 0, sizeof layout);
    assert_int_equal(parameters_add_network(&layout, "policy", &policy, true, &err), STATUS_OK);
    assert_int_equal(parameters_add_network(&layout, "critic", &critic, true, &err), STATUS_OK);
    assert_int_equal(parameters_add_dual(&layout, "rho_eta", 3, &err), STATUS_OK);
    assert_int_equal(parameters_add_dual(&layout, "rho_mean", 2, &err), STATUS_OK);

    struct seen seen = {0};
    parameters_visit(&layout, see, &seen);
    assert_int_equal(seen.n, policy.n_tensors + critic.n_tensors + 2);
    assert_true(seen.end <= layout.size);
    assert_string_equal(seen.last, "dual/rho_mean");
    assert_int_equal(parameters_group(&layout, "critic")->at, policy.size);
    assert_null(parameters_group(&layout, "prior"));
    size_t at;
    int n;
    assert_true(parameters_dual(&layout, "rho_mean", &at, &n));
    assert_int_equal(n, 2);
    assert_int_equal(at, policy.size + critic.size + 16);
    assert_false(parameters_dual(&layout, "rho_std", &at, &n));
}

static void too_many_groups_are_refused(void **state)
{
    (void)state;
    static struct parameters_layout layout;
    struct network_shape critic;
    struct err err;
    assert_int_equal(network_shape_out(&critic, 7, (const int[]){8}, 1, 1, &err), STATUS_OK);
    memset(&layout, 0, sizeof layout);
    for (int i = 0; i < PARAMETERS_GROUPS_MAX; i++) {
        assert_int_equal(parameters_add_network(&layout, "critic", &critic, true, &err), STATUS_OK);
    }
    assert_int_equal(parameters_add_network(&layout, "critic", &critic, true, &err),
                     STATUS_INVALID);
    assert_int_equal(parameters_add_dual(&layout, "rho_eta", 1, &err), STATUS_INVALID);
}

/* Against the recipe in double, over steps; and any split into calls gives the same bits. */
static void adam_follows_the_recipe(void **state)
{
    (void)state;
    enum { N = 37 };
    const struct adam adam = {1e-2, 0.9, 0.999, 1e-8};
    float p[N], m[N] = {0}, v[N] = {0}, g[N], p2[N], m2[N] = {0}, v2[N] = {0};
    double pd[N], md[N] = {0}, vd[N] = {0};
    for (int i = 0; i < N; i++) {
        p[i] = p2[i] = 0.1f * (float)(i - 18);
        pd[i] = (double)p[i];
    }
    for (uint64_t step = 1; step <= 5; step++) {
        for (int i = 0; i < N; i++) {
            g[i] = sinf((float)(i + 1) * (float)step);
            const double gd = 0.5 * (double)g[i];
            md[i] = 0.9 * md[i] + 0.1 * gd;
            vd[i] = 0.999 * vd[i] + 0.001 * gd * gd;
            pd[i] -= 1e-2 * (md[i] / (1.0 - pow(0.9, (double)step))) /
                     (sqrt(vd[i] / (1.0 - pow(0.999, (double)step))) + 1e-8);
        }
        adam_step(p, m, v, g, N, &adam, step, 0.5f);
        adam_step(p2, m2, v2, g, 5, &adam, step, 0.5f);
        adam_step(p2 + 5, m2 + 5, v2 + 5, g + 5, N - 5, &adam, step, 0.5f);
    }
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)p[i] - pd[i]) < 1e-6);
        assert_true(fabs((double)v[i] - vd[i]) < 1e-6 * vd[i] + 1e-12);
    }
    assert_memory_equal(p, p2, sizeof p);
    assert_memory_equal(m, m2, sizeof m);
    assert_memory_equal(v, v2, sizeof v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_and_duals_have_their_places),
        cmocka_unit_test(too_many_groups_are_refused),
        cmocka_unit_test(adam_follows_the_recipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
