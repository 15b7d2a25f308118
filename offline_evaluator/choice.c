/* Writing the chosen policy: see choice.h. */
#include "offline_evaluator/choice.h"

#include <limits.h>
#include <stdio.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/networks/policy_copy.h"
#include "offline_evaluator/support.h"
#include "offline_evaluator/values.h"

#define LOG_MODULE "offline_evaluator"
#include "common/base/log.h"

/* The names of the notes begin like this. */
#define NOTE "offline_value"

static status note(struct safetensors_writer *writer, const char *key, double value,
                   struct err *err)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    return safetensors_note(writer, key, text, err);
}

/* Tensors and notes of the file, or of its prior as a policy. */
static status copy(struct safetensors_writer *writer, const struct safetensors *file, bool prior,
                   struct err *err)
{
    size_t n;
    if (prior) {
        return policy_copy_prior(writer, file, err);
    }
    const status s = policy_copy_tensors(writer, file, "", "", &n, err);
    return s == STATUS_OK ? policy_copy_notes(writer, file, NOTE, NOTE, err) : s;
}

/* path <- the policy with what it is worth. */
static status write_chosen(const struct evaluated_policy *item, const struct estimate *value,
                           const char *path, struct err *err)
{
    struct safetensors *file;
    struct safetensors_writer *writer;
    status s = safetensors_read(&file, item->path, POLICY_BYTES_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        safetensors_free(file);
        return err_set(err, s, "%s", path);
    }
    s = copy(writer, file, item->is_prior, err);
    s = s != STATUS_OK ? s : note(writer, NOTE, value->mean, err);
    s = s != STATUS_OK ? s : note(writer, NOTE "_low", value->low, err);
    s = s != STATUS_OK ? s : note(writer, NOTE "_high", value->high, err);
    s = s != STATUS_OK ? s : safetensors_replace(writer, path, err);
    safetensors_writer_free(writer);
    safetensors_free(file);
    return s;
}

static status copy_file(const char *from, const char *to, struct err *err)
{
    void *bytes;
    size_t size;
    status s = file_read(from, POLICY_BYTES_MAX, &bytes, &size, err);
    if (s == STATUS_OK) {
        s = file_replace(to, &(struct file_part){bytes, size}, 1, err);
        mem_free(bytes);
    }
    return s;
}

/* The run's last policy; the number of policies where it is not among them. */
static size_t last_of(const struct policies *policies)
{
    size_t p = 0;
    while (p < policies->n && !policies->items[p].is_last) {
        p++;
    }
    return p;
}

size_t choice_find(const struct evaluation *evaluation)
{
    const struct estimates *estimates = &evaluation->values;
    const size_t last = last_of(&evaluation->policies);
    size_t chosen = last;
    for (size_t p = 0; last < estimates->n && p < estimates->n; p++) {
        const bool better = estimates->values[p].low > estimates->values[last].high &&
                            values_support(evaluation, p) <= SUPPORT_LIMIT;
        if (better && estimates->values[p].mean > estimates->values[chosen].mean) {
            chosen = p;
        }
    }
    return chosen;
}

status choice_make(const struct evaluation *evaluation, struct err *err)
{
    char path[PATH_MAX];
    const struct evaluated_policy *items = evaluation->policies.items;
    const size_t last = last_of(&evaluation->policies);
    const size_t chosen = choice_find(evaluation);
    if (last == evaluation->policies.n) {
        return err_set(err, STATUS_NOT_FOUND,
                       "%s/policy_learner.safetensors: absent: expected a run that has ended",
                       evaluation->experiment->run_dir);
    }
    snprintf(path, sizeof path, "%s/policy_last.safetensors", evaluation->experiment->run_dir);
    status s = copy_file(items[last].path, path, err);
    if (s == STATUS_OK) {
        snprintf(path, sizeof path, "%s/policy.safetensors", evaluation->experiment->run_dir);
        s = write_chosen(&items[chosen], &evaluation->values.values[chosen], path, err);
    }
    if (s == STATUS_OK) {
        log_info("chosen policy=%s value=%g", items[chosen].name,
                 evaluation->values.values[chosen].mean);
    }
    return s;
}
