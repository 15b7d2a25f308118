/* Policy packages for tests, made by the writer that the learner uses. Errors abort the test. */
#include "tests/lib/policies.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"

#define WIDTH 32

static void must(status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "test policy: %s\n", err->text);
    }
    ASSERT(s == STATUS_OK);
}

/* Parameters drawn from a normal distribution with standard deviation 0.3. */
static float *make_params(const struct network_shape *shape, uint64_t seed)
{
    float *params = mem_aligned(shape->size * sizeof *params);
    ASSERT(params != NULL);
    noise_normal(params, shape->size, seed, 0, 0, 0);
    for (size_t i = 0; i < shape->size; i++) {
        params[i] *= 0.3f;
    }
    return params;
}

/* Adds a critic and returns its parameters, which the writer borrows until the file is encoded. */
static float *add_critic(struct safetensors_writer *writer, const struct policy_info *info,
                         uint64_t seed)
{
    struct err err;
    struct network_shape shape;
    must(network_shape_out(&shape, policy_inputs(info) + info->A, info->widths, info->n_widths, 1,
                           &err),
         &err);
    float *params = make_params(&shape, seed);
    must(policy_write_critic(writer, info, params, &err), &err);
    return params;
}

static void *make_package(const struct signature *signature, uint64_t seed, bool with_prior,
                          const char *acting, size_t *size)
{
    struct err err;
    struct network_shape shape;
    struct safetensors_writer *writer;
    char *json = signature_to_json(signature);
    struct policy_info info = {.algorithm = "abm+mpo",
                               .candidates = 5, /* used by the argmax only */
                               .O = (int)signature_observation(signature),
                               .A = (int)signature->A,
                               .K = (int)signature->K,
                               .n_widths = 2,
                               .widths = {WIDTH, WIDTH},
                               .min_std = 0.01,
                               .init_std = 0.5,
                               .learner_step = 1000 + seed,
                               .signature_json = json};
    snprintf(info.acting, sizeof info.acting, "%s", acting);
    must(network_shape_gaussian(&shape, policy_inputs(&info), info.widths, info.n_widths, info.A,
                                &err),
         &err);
    float *params = make_params(&shape, seed), *prior = make_params(&shape, seed + 1000);

    /* The writer borrows the parameters, so they are freed after it. */
    must(safetensors_writer_new(&writer), &err);
    must(policy_write(writer, &info, params, &err), &err);
    if (with_prior) {
        must(policy_write_prior(writer, &info, prior, &err), &err);
        must(safetensors_note(writer, "setting/prior_min_std", "0.05", &err), &err);
    }
    float *critic = NULL;
    if (strcmp(acting, POLICY_ACT_ARGMAX) == 0) {
        critic = add_critic(writer, &info, seed + 2000);
    }
    void *bytes;
    must(safetensors_encode(writer, &bytes, size, &err), &err);
    safetensors_writer_free(writer);
    mem_free(params);
    mem_free(prior);
    mem_free(critic);
    mem_free(json);
    return bytes;
}

void *policies_package(const struct signature *signature, uint64_t seed, bool with_prior,
                       size_t *size)
{
    return make_package(signature, seed, with_prior, POLICY_ACT_GAUSSIAN, size);
}

void *policies_argmax_package(const struct signature *signature, uint64_t seed, size_t *size)
{
    return make_package(signature, seed, true, POLICY_ACT_ARGMAX, size);
}

struct policy *policies_make(const struct signature *signature, uint64_t seed)
{
    struct err err;
    struct policy *policy;
    size_t size;
    void *bytes = policies_package(signature, seed, false, &size);
    must(policy_parse(&policy, bytes, size, &err), &err);
    mem_free(bytes);
    return policy;
}

void *policies_with(const void *package, size_t size, const struct policy_ranges *ranges,
                    const char *const *notes, size_t *new_size)
{
    struct err err;
    struct safetensors *file;
    struct safetensors_writer *writer;
    must(safetensors_parse(&file, package, size, &err), &err);
    must(safetensors_writer_new(&writer), &err);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        must(safetensors_add(writer, tensor->name, tensor->type, tensor->n_dims, tensor->shape,
                             tensor->data, &err),
             &err);
    }
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) {
        const char *key, *text;
        safetensors_metadata_at(file, i, &key, &text);
        must(safetensors_note(writer, key, text, &err), &err);
    }
    if (ranges != NULL) {
        must(policy_write_ranges(writer, ranges, &err), &err);
    }
    for (; notes != NULL && *notes != NULL; notes += 2) {
        must(safetensors_note(writer, notes[0], notes[1], &err), &err);
    }
    void *bytes;
    must(safetensors_encode(writer, &bytes, new_size, &err), &err);
    safetensors_writer_free(writer);
    safetensors_free(file);
    return bytes;
}
