/* The policy package: parse with checks, act, write. */
#include "common/networks/policy.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/networks/gaussian.h"
#include "common/trajectory/signature.h"

#define FORMAT "hindcast-policy-1"

struct policy {
    struct policy_info info;
    struct safetensors *file; /* keeps the metadata */
    void *bytes;              /* what `file` was parsed from */
    struct network_shape shape;
    struct gaussian_head head;
    float *params, *packed;
};

int policy_inputs(const struct policy_info *info)
{
    return info->O + (info->K > 1 ? info->K : 0);
}

static struct network network_of(const struct policy *policy)
{
    return (struct network){&policy->shape, policy->params, policy->packed};
}

/* ---- Parsing ---- */

static status need(const struct safetensors *file, const char *key, const char **text,
                   struct err *err)
{
    *text = safetensors_metadata(file, key);
    return *text != NULL ? STATUS_OK
                         : err_set(err, STATUS_CORRUPT, "policy: metadata %s: not there", key);
}

static status need_whole(const struct safetensors *file, const char *key, int min, int max,
                         int *value, struct err *err)
{
    const char *text;
    status s = need(file, key, &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *end;
    errno = 0;
    const long n = strtol(text, &end, 10);
    if (end == text || *end != 0 || errno != 0 || n < min || n > max) {
        return err_set(err, STATUS_CORRUPT, "policy: metadata %s: '%.32s', expected %d..%d", key,
                       text, min, max);
    }
    *value = (int)n;
    return STATUS_OK;
}

static status need_real(const struct safetensors *file, const char *key, double *value,
                        struct err *err)
{
    const char *text;
    status s = need(file, key, &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *end;
    const double x = strtod(text, &end);
    if (end == text || *end != 0 || !isfinite(x) || x < 0.0) {
        return err_set(err, STATUS_CORRUPT,
                       "policy: metadata %s: '%.32s', expected a number from 0 on", key, text);
    }
    *value = x;
    return STATUS_OK;
}

static status need_name(const struct safetensors *file, const char *key,
                        char name[POLICY_TEXT_SIZE], struct err *err)
{
    const char *text;
    status s = need(file, key, &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (strlen(text) >= POLICY_TEXT_SIZE) {
        return err_set(err, STATUS_CORRUPT, "policy: metadata %s: '%.32s..' is too long", key,
                       text);
    }
    snprintf(name, POLICY_TEXT_SIZE, "%s", text);
    return STATUS_OK;
}

static status need_widths(const struct safetensors *file, struct policy_info *info, struct err *err)
{
    const char *text;
    status s = need(file, "widths", &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    for (const char *at = text;; at++) {
        char *end;
        const long width = strtol(at, &end, 10);
        if (end == at || (*end != 0 && *end != ',') || width < 1 || width > NETWORK_WIDTH_MAX ||
            info->n_widths == NETWORK_LAYERS_MAX) {
            return err_set(err, STATUS_CORRUPT,
                           "policy: metadata widths: '%.64s', expected up to %d of 1..%d", text,
                           NETWORK_LAYERS_MAX, NETWORK_WIDTH_MAX);
        }
        info->widths[info->n_widths++] = (int)width;
        at = end;
        if (*at == 0) {
            return STATUS_OK;
        }
    }
}

static status need_step(const struct safetensors *file, uint64_t *step, struct err *err)
{
    const char *text;
    status s = need(file, "learner_step", &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *end;
    errno = 0;
    *step = strtoull(text, &end, 10);
    if (end == text || *end != 0 || errno != 0 || text[0] == '-') {
        return err_set(err, STATUS_CORRUPT, "policy: metadata learner_step: '%.32s'", text);
    }
    return STATUS_OK;
}

static status read_info(const struct safetensors *file, struct policy_info *info, struct err *err)
{
    const char *format;
    status s = need(file, "format", &format, err);
    if (s == STATUS_OK && strcmp(format, FORMAT) != 0) {
        s = err_set(err, STATUS_CORRUPT, "policy: format '%.32s', expected " FORMAT, format);
    }
    s = s != STATUS_OK ? s : need_name(file, "algorithm", info->algorithm, err);
    s = s != STATUS_OK ? s : need_name(file, "acting", info->acting, err);
    if (s == STATUS_OK && strcmp(info->acting, "gaussian") != 0) {
        s = err_set(err, STATUS_UNIMPLEMENTED, "policy: acting '%s', expected gaussian",
                    info->acting);
    }
    s = s != STATUS_OK
            ? s
            : need_whole(file, "observation", 1, SIGNATURE_OBSERVATION_MAX, &info->O, err);
    s = s != STATUS_OK ? s : need_whole(file, "actions", 1, SIGNATURE_ACTIONS_MAX, &info->A, err);
    s = s != STATUS_OK ? s : need_whole(file, "tasks", 1, SIGNATURE_TASKS_MAX, &info->K, err);
    s = s != STATUS_OK ? s : need_widths(file, info, err);
    s = s != STATUS_OK ? s : need_real(file, "min_std", &info->min_std, err);
    s = s != STATUS_OK ? s : need_real(file, "init_std", &info->init_std, err);
    s = s != STATUS_OK ? s : need_step(file, &info->learner_step, err);
    info->signature_json = safetensors_metadata(file, "signature");
    return s;
}

static status read_weights(struct policy *policy, struct err *err)
{
    for (int i = 0; i < policy->shape.n_tensors; i++) {
        const struct network_tensor *tensor = &policy->shape.tensors[i];
        char name[NETWORK_NAME_SIZE + 8];
        snprintf(name, sizeof name, "policy/%s", tensor->name);
        const size_t shape[2] = {(size_t)tensor->shape[0], (size_t)tensor->shape[1]};
        float *to = policy->params + tensor->at;
        status s =
            safetensors_copy(policy->file, name, SAFETENSORS_F32, tensor->n_dims, shape, to, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "policy");
        }
        for (size_t j = 0; j < tensor->size; j++) {
            if (!isfinite(to[j])) {
                return err_set(err, STATUS_CORRUPT, "policy: tensor %s: element %zu is not finite",
                               name, j);
            }
        }
    }
    return STATUS_OK;
}

/* Fills a policy whose `bytes` are set. */
static status load(struct policy *policy, size_t size, struct err *err)
{
    status s = safetensors_parse(&policy->file, policy->bytes, size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "policy");
    }
    struct policy_info *info = &policy->info;
    s = read_info(policy->file, info, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = network_shape_gaussian(&policy->shape, policy_inputs(info), info->widths, info->n_widths,
                               info->A, err);
    if (s != STATUS_OK) {
        return s;
    }
    policy->head = (struct gaussian_head){info->A, (float)info->min_std, (float)info->init_std};
    policy->params = mem_aligned(policy->shape.size * sizeof(float));
    policy->packed = mem_aligned(policy->shape.packed_size * sizeof(float));
    if (policy->params == NULL || policy->packed == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "policy");
    }
    s = read_weights(policy, err);
    if (s == STATUS_OK) {
        network_pack(policy->packed, &policy->shape, policy->params, 0, 1);
    }
    return s;
}

status policy_parse(struct policy **out, const void *bytes, size_t size, struct err *err)
{
    if (size > POLICY_BYTES_MAX) {
        return err_set(err, STATUS_CORRUPT, "policy: %zu bytes: expected at most %u", size,
                       POLICY_BYTES_MAX);
    }
    struct policy *policy = mem_new(sizeof *policy);
    if (policy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "policy");
    }
    policy->bytes = mem_new(size + 1);
    if (policy->bytes == NULL) {
        policy_free(policy);
        return err_set(err, STATUS_NO_MEMORY, "policy of %zu bytes", size);
    }
    memcpy(policy->bytes, bytes, size);
    const status s = load(policy, size, err);
    if (s != STATUS_OK) {
        policy_free(policy);
        return s;
    }
    *out = policy;
    return STATUS_OK;
}

status policy_read(struct policy **out, const char *path, struct err *err)
{
    void *bytes;
    size_t size;
    status s = file_read(path, POLICY_BYTES_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = policy_parse(out, bytes, size, err);
    mem_free(bytes);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

void policy_free(struct policy *policy)
{
    if (policy == NULL) {
        return;
    }
    safetensors_free(policy->file);
    mem_free(policy->bytes);
    mem_free(policy->params);
    mem_free(policy->packed);
    mem_free(policy);
}

const struct policy_info *policy_info(const struct policy *policy)
{
    return &policy->info;
}

const char *policy_note(const struct policy *policy, const char *key)
{
    return safetensors_metadata(policy->file, key);
}

/* ---- Acting ---- */

int policy_candidates(const struct policy *policy)
{
    (void)policy; /* gaussian: one; an argmax over candidates has more */
    return 1;
}

size_t policy_scratch(const struct policy *policy, int P)
{
    /* The network's own, its output(P, 2A), mean and std (P,A). */
    return network_scratch(&policy->shape) + 4 * (size_t)P * (size_t)policy->info.A;
}

void policy_distribution(const struct policy *policy, float *mean, float *std, const float *inputs,
                         int P, float *scratch)
{
    const size_t A = (size_t)policy->info.A;
    const size_t I = (size_t)policy->shape.I;
    const struct network net = network_of(policy);
    float *raw = scratch + network_scratch(&policy->shape);
    network_infer(raw, 2 * A, &net, inputs, I, P, scratch);
    gaussian_forward(mean, std, &policy->head, raw, 2 * A, P);
}

void policy_act(const struct policy *policy, float *actions, const float *inputs, const float *z,
                int P, float *scratch)
{
    const size_t n = (size_t)P * (size_t)policy->info.A;
    float *mean = scratch + network_scratch(&policy->shape) + 2 * n;
    float *std = mean + n;
    policy_distribution(policy, mean, std, inputs, P, scratch);
    for (size_t i = 0; i < n; i++) {
        actions[i] = z != NULL ? mean[i] + std[i] * z[i] : mean[i];
    }
    gaussian_clip(actions, actions, n);
}

/* ---- Writing ---- */

static status note(struct safetensors_writer *writer, struct err *err, const char *key,
                   const char *format, ...) PRINTF_LIKE(4, 5);
static status note(struct safetensors_writer *writer, struct err *err, const char *key,
                   const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0 && (size_t)length < sizeof text);
    return safetensors_note(writer, key, text, err);
}

static status note_info(struct safetensors_writer *writer, const struct policy_info *info,
                        struct err *err)
{
    char widths[NETWORK_LAYERS_MAX * 8] = "";
    size_t length = 0;
    for (int i = 0; i < info->n_widths; i++) {
        length += (size_t)snprintf(widths + length, sizeof widths - length, "%s%d",
                                   i > 0 ? "," : "", info->widths[i]);
    }
    status s = note(writer, err, "format", FORMAT);
    s = s != STATUS_OK ? s : note(writer, err, "algorithm", "%s", info->algorithm);
    s = s != STATUS_OK ? s : note(writer, err, "acting", "%s", info->acting);
    s = s != STATUS_OK ? s : note(writer, err, "observation", "%d", info->O);
    s = s != STATUS_OK ? s : note(writer, err, "actions", "%d", info->A);
    s = s != STATUS_OK ? s : note(writer, err, "tasks", "%d", info->K);
    s = s != STATUS_OK ? s : note(writer, err, "widths", "%s", widths);
    s = s != STATUS_OK ? s : note(writer, err, "min_std", "%.17g", info->min_std);
    s = s != STATUS_OK ? s : note(writer, err, "init_std", "%.17g", info->init_std);
    s = s != STATUS_OK
            ? s
            : note(writer, err, "learner_step", "%llu", (unsigned long long)info->learner_step);
    if (s == STATUS_OK && info->signature_json != NULL) {
        s = safetensors_note(writer, "signature", info->signature_json, err);
    }
    return s;
}

/* The tensors of a Gaussian network of this shape, as PREFIX/layers/0/weight and so on. */
static status add_network(struct safetensors_writer *writer, const char *prefix,
                          const struct policy_info *info, const float *params, struct err *err)
{
    struct network_shape shape;
    status s = network_shape_gaussian(&shape, policy_inputs(info), info->widths, info->n_widths,
                                      info->A, err);
    for (int i = 0; s == STATUS_OK && i < shape.n_tensors; i++) {
        const struct network_tensor *tensor = &shape.tensors[i];
        char name[NETWORK_NAME_SIZE + 8];
        snprintf(name, sizeof name, "%s/%s", prefix, tensor->name);
        const size_t dims[2] = {(size_t)tensor->shape[0], (size_t)tensor->shape[1]};
        s = safetensors_add(writer, name, SAFETENSORS_F32, tensor->n_dims, dims,
                            params + tensor->at, err);
    }
    return s;
}

status policy_write(struct safetensors_writer *writer, const struct policy_info *info,
                    const float *params, struct err *err)
{
    status s = note_info(writer, info, err);
    return s != STATUS_OK ? s : add_network(writer, "policy", info, params, err);
}

status policy_write_prior(struct safetensors_writer *writer, const struct policy_info *info,
                          const float *params, struct err *err)
{
    return add_network(writer, "prior", info, params, err);
}
