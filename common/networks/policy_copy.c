/* A package is a safetensors file: tensors and metadata. Copies keep the tensors byte for byte, under
 * the same or other names: see policy_copy.h. */
#include "common/networks/policy_copy.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"

status policy_copy_tensors(struct safetensors_writer *writer, const struct safetensors *file,
                           const char *prefix, const char *new_prefix, size_t *n, struct err *err)
{
    size_t length = strlen(prefix);
    *n = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        char name[2 * SAFETENSORS_NAME_MAX];
        /* Other tensors are left out. */
        if (strncmp(tensor->name, prefix, length) != 0) {
            continue;
        }
        snprintf(name, sizeof name, "%s%s", new_prefix, tensor->name + length);
        status s = safetensors_add(writer, name, tensor->type, tensor->n_dims, tensor->shape,
                                   tensor->data, err);
        if (s != STATUS_OK) {
            return s;
        }
        (*n)++;
    }
    return STATUS_OK;
}

status policy_copy_notes(struct safetensors_writer *writer, const struct safetensors *file,
                         const char *without, const char *nor, struct err *err)
{
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) {
        const char *key, *text;
        safetensors_metadata_at(file, i, &key, &text);
        if (strncmp(key, without, strlen(without)) != 0 && strncmp(key, nor, strlen(nor)) != 0) {
            status s = safetensors_note(writer, key, text, err);
            if (s != STATUS_OK) {
                return s;
            }
        }
    }
    return STATUS_OK;
}

status policy_copy_prior(struct safetensors_writer *writer, const struct safetensors *file,
                         struct err *err)
{
    size_t n;
    /* Under the policy's names, so that the parser takes the prior for a policy. */
    status s = policy_copy_tensors(writer, file, "prior/", "policy/", &n, err);
    if (s == STATUS_OK && n == 0) {
        s = err_set(err, STATUS_NOT_FOUND, "the package has no prior");
    }
    if (s == STATUS_OK) {
        /* Both see the same observations, and so use the same normalizer, and have seen the same
         * ranges. */
        s = policy_copy_tensors(writer, file, "normalizer/", "normalizer/", &n, err);
        s = s != STATUS_OK ? s
                           : policy_copy_tensors(writer, file, "observed/", "observed/", &n, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* The prior acts by its distribution, even where the policy acts by an argmax. */
    s = policy_copy_notes(writer, file, "min_std", "acting", err);
    s = s != STATUS_OK ? s : safetensors_note(writer, "acting", POLICY_ACT_GAUSSIAN, err);
    if (s != STATUS_OK) {
        return s;
    }
    const char *min_std = safetensors_metadata(file, "setting/prior_min_std");
    if (min_std == NULL) {
        return err_set(err, STATUS_CORRUPT, "metadata setting/prior_min_std: absent");
    }
    return safetensors_note(writer, "min_std", min_std, err);
}

status policy_parse_prior(struct policy **prior, const void *bytes, size_t size, struct err *err)
{
    struct safetensors *file;
    struct safetensors_writer *writer;
    void *package = NULL;
    size_t package_size;
    status s = safetensors_parse(&file, bytes, size, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        safetensors_free(file);
        return err_set(err, s, "out of memory");
    }
    /* Encoded and parsed like any package, so that all checks apply. */
    s = policy_copy_prior(writer, file, err);
    s = s != STATUS_OK ? s : safetensors_encode(writer, &package, &package_size, err);
    s = s != STATUS_OK ? s : policy_parse(prior, package, package_size, err);
    mem_free(package);
    safetensors_writer_free(writer);
    safetensors_free(file);
    return s;
}

status policy_read_prior(struct policy **prior, const char *path, struct err *err)
{
    void *bytes;
    size_t size;
    status s = file_read(path, POLICY_BYTES_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = policy_parse_prior(prior, bytes, size, err);
    mem_free(bytes);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}
