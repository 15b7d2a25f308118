/* The policy package: writing, parsing, acting; packages that contradict themselves are refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/gaussian.h"
#include "common/networks/policy.h"
#include "tests/lib/check.h"

enum { O = 4, A = 2, K = 3, I = O + K };

static struct policy_info an_info(void)
{
    struct policy_info info = {.O = O,
                               .A = A,
                               .K = K,
                               .n_widths = 2,
                               .widths = {24, 17},
                               .min_std = 0.03,
                               .init_std = 0.4,
                               .learner_step = 1234567890123ull,
                               .signature_json = "{\"x\": 1}"};
    strcpy(info.algorithm, "abm+mpo");
    strcpy(info.acting, "gaussian");
    return info;
}

/* A package with random weights; `change` may be NULL or alters the writer before it is encoded. */
static void *a_package(const struct policy_info *info, float **params, size_t *size)
{
    struct network_shape shape;
    struct safetensors_writer *writer;
    struct err err;
    void *bytes;
    assert_int_equal(network_shape_gaussian(&shape, policy_inputs(info), info->widths,
                                            info->n_widths, info->A, &err),
                     STATUS_OK);
    *params = mem_aligned(shape.size * sizeof **params);
    noise_normal(*params, shape.size, 2, 0, 0, 0);
    assert_int_equal(safetensors_writer_new(&writer), STATUS_OK);
    assert_int_equal(policy_write(writer, info, *params, &err), STATUS_OK);
    assert_int_equal(safetensors_note(writer, "setting/gamma", "0.99", &err), STATUS_OK);
    assert_int_equal(safetensors_encode(writer, &bytes, size, &err), STATUS_OK);
    safetensors_writer_free(writer);
    return bytes;
}

static void a_package_says_what_it_is(void **state)
{
    (void)state;
    const struct policy_info info = an_info();
    float *params;
    size_t size;
    void *bytes = a_package(&info, &params, &size);
    struct policy *policy;
    struct err err;
    assert_int_equal(policy_parse(&policy, bytes, size, &err), STATUS_OK);
    memset(bytes, 0, size); /* it was copied */
    mem_free(bytes);
    const struct policy_info *got = policy_info(policy);
    assert_string_equal(got->algorithm, "abm+mpo");
    assert_int_equal(got->O, O);
    assert_int_equal(got->A, A);
    assert_int_equal(got->K, K);
    assert_int_equal(policy_inputs(got), I);
    assert_int_equal(got->n_widths, 2);
    assert_int_equal(got->widths[1], 17);
    assert_true(got->min_std == 0.03 && got->init_std == 0.4);
    assert_true(got->learner_step == 1234567890123ull);
    assert_string_equal(got->signature_json, "{\"x\": 1}");
    assert_string_equal(policy_note(policy, "setting/gamma"), "0.99");
    policy_free(policy);
    mem_free(params);
}

static void acting_is_the_networks_distribution(void **state)
{
    (void)state;
    enum { P = 5 };
    const struct policy_info info = an_info();
    float *params;
    size_t size;
    void *bytes = a_package(&info, &params, &size);
    struct policy *policy;
    struct err err;
    assert_int_equal(policy_parse(&policy, bytes, size, &err), STATUS_OK);
    float x[P * I], z[P * A], mean[P * A], std[P * A], actions[P * A], alone[A];
    noise_normal(x, P * I, 3, 0, 0, 0);
    noise_normal(z, P * A, 3, 0, 1, 0);
    float *scratch = mem_aligned(policy_scratch(policy, P) * sizeof *scratch);

    policy_distribution(policy, mean, std, x, P, scratch);
    policy_act(policy, actions, x, z, P, scratch);
    for (int i = 0; i < P * A; i++) {
        assert_true(std[i] >= 0.03f && fabsf(mean[i]) <= 1.0f);
        assert_true(actions[i] == fminf(1.0f, fmaxf(-1.0f, mean[i] + std[i] * z[i])));
    }
    /* One state at a time, and the mean without noise: the same bits. */
    for (int p = 0; p < P; p++) {
        policy_act(policy, alone, x + p * I, z + p * A, 1, scratch);
        assert_memory_equal(alone, actions + p * A, sizeof alone);
        policy_act(policy, alone, x + p * I, NULL, 1, scratch);
        assert_memory_equal(alone, mean + p * A, sizeof alone);
    }
    assert_int_equal(policy_candidates(policy), 1);
    mem_free(scratch);
    mem_free(bytes);
    mem_free(params);
    policy_free(policy);
}

/* Parses a package made of `info`'s metadata, with one string replaced, and weights of the real
 * shapes. */
static status parse_changed(const char *key, const char *text, float poison, struct err *err)
{
    const struct policy_info info = an_info();
    float *params;
    size_t size;
    void *bytes = a_package(&info, &params, &size);
    struct safetensors *file;
    struct safetensors_writer *writer;
    assert_int_equal(safetensors_parse(&file, bytes, size, err), STATUS_OK);
    assert_int_equal(safetensors_writer_new(&writer), STATUS_OK);
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) {
        const char *k, *t;
        safetensors_metadata_at(file, i, &k, &t);
        if (key != NULL && strcmp(k, key) == 0) {
            t = text;
        }
        if (t != NULL) {
            assert_int_equal(safetensors_note(writer, k, t, err), STATUS_OK);
        }
    }
    float *poisoned = NULL;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        const void *data = tensor->data;
        if (strcmp(tensor->name, "policy/mean/weight") == 0) {
            poisoned = mem_array(tensor->count, sizeof *poisoned);
            memcpy(poisoned, data, tensor->count * sizeof *poisoned);
            poisoned[3] += poison;
            data = poisoned;
        }
        assert_int_equal(safetensors_add(writer, tensor->name, tensor->type, tensor->n_dims,
                                         tensor->shape, data, err),
                         STATUS_OK);
    }
    void *changed;
    assert_int_equal(safetensors_encode(writer, &changed, &size, err), STATUS_OK);
    struct policy *policy = NULL;
    const status s = policy_parse(&policy, changed, size, err);
    policy_free(policy);
    safetensors_writer_free(writer);
    safetensors_free(file);
    mem_free(poisoned);
    mem_free(changed);
    mem_free(bytes);
    mem_free(params);
    return s;
}

static void wrong_packages_are_refused(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(parse_changed(NULL, NULL, 0.0f, &err), STATUS_OK);
    static const struct {
        const char *key, *text;
        status expected;
    } wrong[] = {
        {"format", "x", STATUS_CORRUPT},
        {"format", NULL, STATUS_CORRUPT},
        {"acting", "dice", STATUS_UNIMPLEMENTED},
        {"acting", "argmax", STATUS_CORRUPT},
        {"observation", "5", STATUS_MISMATCH},
        {"observation", "-1", STATUS_CORRUPT},
        {"observation", "99999999999999999999", STATUS_CORRUPT},
        {"observation", "4x", STATUS_CORRUPT},
        {"actions", "3", STATUS_MISMATCH},
        {"actions", "", STATUS_CORRUPT},
        {"tasks", "1", STATUS_MISMATCH},
        {"tasks", "33", STATUS_CORRUPT},
        {"widths", "24", STATUS_MISMATCH},
        {"widths", "24,,17", STATUS_CORRUPT},
        {"widths", "24,17,", STATUS_CORRUPT},
        {"widths", "1,1,1,1,1,1,1,1,1", STATUS_CORRUPT},
        {"widths", "24,0", STATUS_CORRUPT},
        {"min_std", "nan", STATUS_CORRUPT},
        {"min_std", "-0.5", STATUS_CORRUPT},
        {"init_std", "inf", STATUS_CORRUPT},
        {"learner_step", "-3", STATUS_CORRUPT},
        {"algorithm", "a name that is far too long for the field", STATUS_CORRUPT},
        {"algorithm", "mpo\x1b[2J", STATUS_CORRUPT},
        {"algorithm", "mpo\xff", STATUS_CORRUPT},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const status s = parse_changed(wrong[i].key, wrong[i].text, 0.0f, &err);
        if (s != wrong[i].expected) {
            fail_msg("%s '%s': status %d (%s)", wrong[i].key,
                     wrong[i].text == NULL ? "absent" : wrong[i].text, (int)s, err.text);
        }
    }
    assert_int_equal(parse_changed(NULL, NULL, INFINITY, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "policy/mean/weight: element 3 is not finite"));
}

static void no_memory_is_said(void **state)
{
    (void)state;
    const struct policy_info info = an_info();
    float *params;
    size_t size;
    void *bytes = a_package(&info, &params, &size);
    for (uint64_t nth = 1;; nth++) {
        struct policy *policy;
        memory_fail_at(nth);
        const status s = policy_parse(&policy, bytes, size, NULL);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            policy_free(policy);
            assert_true(nth > 4);
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
    mem_free(bytes);
    mem_free(params);
}

/* A package that acts by an argmax, `params` of the actor, Q1 and the perturbation network. */
static struct policy *an_argmax(const char *acting, float *params[3])
{
    struct policy_info info = an_info();
    struct network_shape shapes[3];
    struct safetensors_writer *writer;
    struct err err;
    void *bytes;
    size_t size;
    strcpy(info.acting, acting);
    info.candidates = 7;
    info.perturb_scale = 0.3;
    const int *widths = info.widths;
    assert_int_equal(network_shape_gaussian(&shapes[0], I, widths, 2, A, &err), STATUS_OK);
    assert_int_equal(network_shape_out(&shapes[1], I + A, widths, 2, 1, &err), STATUS_OK);
    assert_int_equal(network_shape_out(&shapes[2], I + A, widths, 2, A, &err), STATUS_OK);
    for (uint64_t i = 0; i < 3; i++) {
        params[i] = mem_aligned(shapes[i].size * sizeof *params[i]);
        noise_normal(params[i], shapes[i].size, 2 + i, 0, 0, 0);
    }
    assert_int_equal(safetensors_writer_new(&writer), STATUS_OK);
    assert_int_equal(policy_write(writer, &info, params[0], &err), STATUS_OK);
    assert_int_equal(policy_write_critic(writer, &info, params[1], &err), STATUS_OK);
    if (strcmp(acting, POLICY_ACT_PERTURBED) == 0) {
        assert_int_equal(policy_write_perturb(writer, &info, params[2], &err), STATUS_OK);
    }
    assert_int_equal(safetensors_encode(writer, &bytes, &size, &err), STATUS_OK);
    safetensors_writer_free(writer);
    struct policy *policy;
    if (policy_parse(&policy, bytes, size, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    mem_free(bytes);
    return policy;
}

/* out(Q) of a network over [input | action], by the general forward pass. */
static void evaluate_plainly(float *out, const float *params, const float *input,
                             const float *action, int Q)
{
    struct network_shape shape;
    struct err err;
    float x[I + A];
    const struct policy_info info = an_info();
    assert_int_equal(network_shape_out(&shape, I + A, info.widths, 2, Q, &err), STATUS_OK);
    struct network_packed packed;
    assert_int_equal(network_packed_init(&packed, &shape, NETWORK_BF16_NONE), STATUS_OK);
    float *scratch = mem_aligned(network_scratch(&shape) * sizeof *scratch);
    network_pack(&packed, &shape, params, 0, 1);
    const struct network net = {&shape, params, &packed};
    memcpy(x, input, I * sizeof *x);
    memcpy(x + I, action, A * sizeof *x);
    network_infer(out, (size_t)Q, &net, x, I + A, 1, scratch);
    network_packed_fini(&packed);
    mem_free(scratch);
}

static void an_argmax_takes_the_best_candidate(void **state)
{
    (void)state;
    enum { P = 4, C = 7 };
    static const char *const kinds[] = {POLICY_ACT_ARGMAX, POLICY_ACT_PERTURBED};
    for (int kind = 0; kind < 2; kind++) {
        float *params[3];
        struct policy *policy = an_argmax(kinds[kind], params);
        assert_int_equal(policy_candidates(policy), C);
        float x[P * I], z[P * C * A], mean[P * A], std[P * A], actions[P * A], alone[A];
        noise_normal(x, P * I, 3, 0, 0, 0);
        noise_normal(z, P * C * A, 3, 0, 1, 0);
        float *scratch = mem_aligned(policy_scratch(policy, P) * sizeof *scratch);
        policy_distribution(policy, mean, std, x, P, scratch);
        policy_act(policy, actions, x, z, P, scratch);
        int chosen = 0;
        for (int p = 0; p < P; p++) {
            float best[A], best_q = -INFINITY;
            for (int j = 0; j < C; j++) {
                float a[A], xi[A], q;
                gaussian_sample(a, mean + p * A, std + p * A, z + (p * C + j) * A, 1, A);
                gaussian_clip(a, a, A);
                evaluate_plainly(xi, params[2], x + p * I, a, A);
                for (int i = 0; i < A && kind == 1; i++) {
                    a[i] = fminf(1.0f, fmaxf(-1.0f, a[i] + 0.3f * tanhf(xi[i])));
                }
                evaluate_plainly(&q, params[1], x + p * I, a, 1);
                if (q > best_q) {
                    best_q = q;
                    memcpy(best, a, sizeof best);
                    chosen += j > 0;
                }
            }
            for (int i = 0; i < A; i++) {
                assert_true(fabsf(actions[p * A + i] - best[i]) < 1e-5f);
            }
            /* One state at a time: the same bits. */
            policy_act(policy, alone, x + p * I, z + p * C * A, 1, scratch);
            assert_memory_equal(alone, actions + p * A, sizeof alone);
        }
        assert_true(chosen > 0); /* not always the first */
        /* Without normals the mean is the only candidate. */
        policy_act(policy, actions, x, NULL, P, scratch);
        for (int i = 0; i < P * A; i++) {
            assert_true(kind == 1 || actions[i] == mean[i]);
            assert_true(fabsf(actions[i] - mean[i]) <= 0.3001f);
        }
        mem_free(scratch);
        for (int i = 0; i < 3; i++) {
            mem_free(params[i]);
        }
        policy_free(policy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_package_says_what_it_is),
        cmocka_unit_test(acting_is_the_networks_distribution),
        cmocka_unit_test(an_argmax_takes_the_best_candidate),
        cmocka_unit_test(wrong_packages_are_refused),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
