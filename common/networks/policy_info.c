/* The metadata of a policy package: read with checks, and written.
 *
 * Packages come from other machines and from users. Every field is required, parsed whole and
 * checked against its range before a size is computed from it; messages name the field, what it
 * contains and what was expected. Fields of an acting rule are required by that rule only.
 *
 * Writing gives each field the form in which it is read: whole numbers in decimal, reals with as
 * many digits as a double needs, so that no field changes when it is read and written again. */
#include "common/networks/policy_info.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "common/trajectory/signature.h"

#define FORMAT         "hindcast-policy-1"
#define CANDIDATES_MAX 4096

int policy_inputs(const struct policy_info *info)
{
    /* A single task needs no one-hot input. */
    return info->O + (info->K > 1 ? info->K : 0);
}

bool policy_info_has_critic(const struct policy_info *info)
{
    /* Every rule but this one chooses among candidates by Q1. */
    return strcmp(info->acting, POLICY_ACT_GAUSSIAN) != 0;
}

bool policy_info_has_perturb(const struct policy_info *info)
{
    return strcmp(info->acting, POLICY_ACT_PERTURBED) == 0;
}

/* ---- Acting ---- */

static const char *const rule_names[] = {
    [POLICY_MEAN] = "mean", [POLICY_SAMPLE] = "sample", [POLICY_ARGMAX] = "argmax"};

const char *policy_rule_name(enum policy_rule rule)
{
    return rule_names[rule];
}

status policy_rule_find(enum policy_rule *rule, const struct policy_info *info, const char *name,
                        struct err *err)
{
    /* A policy has the mean and one rule that takes noise. */
    const enum policy_rule with_noise =
        policy_info_has_critic(info) ? POLICY_ARGMAX : POLICY_SAMPLE;
    /* The evaluator's choice: the best of candidates where there is a critic to choose. */
    if (name == NULL) {
        *rule = with_noise == POLICY_ARGMAX ? POLICY_ARGMAX : POLICY_MEAN;
        return STATUS_OK;
    }
    /* By name: one of the two that this policy has. */
    if (strcmp(name, rule_names[POLICY_MEAN]) == 0) {
        *rule = POLICY_MEAN;
        return STATUS_OK;
    }
    if (strcmp(name, rule_names[with_noise]) == 0) {
        *rule = with_noise;
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID, "acting \"%.32s\": expected mean or %s for a policy of %s",
                   name, rule_names[with_noise], info->algorithm);
}

/* ---- Reading ---- */

/* The text of a field that must exist. */
static status need(const struct safetensors *file, const char *key, const char **text,
                   struct err *err)
{
    *text = safetensors_metadata(file, key);
    return *text != NULL ? STATUS_OK
                         : err_set(err, STATUS_CORRUPT, "policy: metadata %s is missing", key);
}

/* A whole number within min .. max. */
static status need_whole(const struct safetensors *file, const char *key, int min, int max,
                         int *value, struct err *err)
{
    const char *text;
    status s = need(file, key, &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The whole text must be a number: "3x" and "" are not. */
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

/* A finite number of at least 0. */
static status need_real(const struct safetensors *file, const char *key, double *value,
                        struct err *err)
{
    const char *text;
    status s = need(file, key, &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *end;
    /* strtod also accepts "inf" and "nan"; isfinite refuses both. */
    const double x = strtod(text, &end);
    if (end == text || *end != 0 || !isfinite(x) || x < 0.0) {
        return err_set(err, STATUS_CORRUPT,
                       "policy: metadata %s: '%.32s', expected a number from 0 on", key, text);
    }
    *value = x;
    return STATUS_OK;
}

/* A text that fits POLICY_TEXT_SIZE. */
static status need_name(const struct safetensors *file, const char *key,
                        char name[POLICY_TEXT_SIZE], struct err *err)
{
    const char *text;
    status s = need(file, key, &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (!utf8_is_name(text)) { /* it is printed on terminals */
        return err_set(err, STATUS_CORRUPT,
                       "policy: metadata %s: '%.32s' holds control characters or is not UTF-8", key,
                       text);
    }
    /* Refused instead of cut: a cut name would be another name. */
    if (strlen(text) >= POLICY_TEXT_SIZE) {
        return err_set(err, STATUS_CORRUPT, "policy: metadata %s: '%.32s..' is too long", key,
                       text);
    }
    snprintf(name, POLICY_TEXT_SIZE, "%s", text);
    return STATUS_OK;
}

/* "256,256,256": appends to info->widths, which are empty before. A comma at the end is refused. */
static status need_widths(const struct safetensors *file, struct policy_info *info, struct err *err)
{
    const char *text;
    status s = need(file, "widths", &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* One width after another; a list that is too long is refused before it overruns the array. */
    for (const char *at = text;; at++) {
        char *end;
        const long width = strtol(at, &end, 10);
        /* A comma or the end follows each width. */
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

/* The number of learner steps, a whole number of 64 bits. */
static status need_step(const struct safetensors *file, uint64_t *step, struct err *err)
{
    const char *text;
    status s = need(file, "learner_step", &text, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *end;
    errno = 0;
    /* strtoull wraps a negative number around, so that a minus sign is refused. */
    *step = strtoull(text, &end, 10);
    if (end == text || *end != 0 || errno != 0 || text[0] == '-') {
        return err_set(err, STATUS_CORRUPT, "policy: metadata learner_step: '%.32s'", text);
    }
    return STATUS_OK;
}

/* The acting rule, and what it needs. An unknown rule is a newer program's: UNIMPLEMENTED. */
static status read_acting(const struct safetensors *file, struct policy_info *info, struct err *err)
{
    status s = need_name(file, "acting", info->acting, err);
    if (s == STATUS_OK && strcmp(info->acting, POLICY_ACT_GAUSSIAN) != 0 &&
        strcmp(info->acting, POLICY_ACT_ARGMAX) != 0 &&
        strcmp(info->acting, POLICY_ACT_PERTURBED) != 0) {
        s = err_set(err, STATUS_UNIMPLEMENTED,
                    "policy: acting '%s', expected " POLICY_ACT_GAUSSIAN ", " POLICY_ACT_ARGMAX
                    " or " POLICY_ACT_PERTURBED,
                    info->acting);
    }
    /* One action to choose from, unless the rule is an argmax. */
    info->candidates = 1;
    if (s == STATUS_OK && policy_info_has_critic(info)) {
        s = need_whole(file, "candidates", 1, CANDIDATES_MAX, &info->candidates, err);
    }
    if (s == STATUS_OK && policy_info_has_perturb(info)) {
        s = need_real(file, "perturb_scale", &info->perturb_scale, err);
    }
    return s;
}

status policy_info_read(const struct safetensors *file, struct policy_info *info, struct err *err)
{
    /* The format first: it says whether the other fields can be understood at all. */
    const char *format;
    status s = need(file, "format", &format, err);
    if (s == STATUS_OK && strcmp(format, FORMAT) != 0) {
        s = err_set(err, STATUS_CORRUPT, "policy: format '%.32s', expected " FORMAT, format);
    }
    /* Then the fields in turn, up to the first that fails. */
    s = s != STATUS_OK ? s : need_name(file, "algorithm", info->algorithm, err);
    s = s != STATUS_OK ? s : read_acting(file, info, err);
    s = s != STATUS_OK
            ? s
            : need_whole(file, "observation", 1, SIGNATURE_OBSERVATION_MAX, &info->O, err);
    s = s != STATUS_OK ? s : need_whole(file, "actions", 1, SIGNATURE_ACTIONS_MAX, &info->A, err);
    s = s != STATUS_OK ? s : need_whole(file, "tasks", 1, SIGNATURE_TASKS_MAX, &info->K, err);
    s = s != STATUS_OK ? s : need_widths(file, info, err);
    s = s != STATUS_OK ? s : need_real(file, "min_std", &info->min_std, err);
    s = s != STATUS_OK ? s : need_real(file, "init_std", &info->init_std, err);
    s = s != STATUS_OK ? s : need_step(file, &info->learner_step, err);
    /* Optional, and parsed only where it is wanted: policy_info_signature. */
    info->signature_json = safetensors_metadata(file, "signature");
    return s;
}

status policy_info_signature(struct signature *signature, const struct policy_info *info,
                             struct err *err)
{
    if (info->signature_json == NULL) {
        return err_set(err, STATUS_NOT_FOUND, "policy: metadata signature is missing");
    }
    const status s = signature_from_json(signature, info->signature_json, err);
    /* A lack of memory says nothing about the text; all else means that it is corrupt. */
    if (s == STATUS_NO_MEMORY) {
        return s;
    }
    if (s != STATUS_OK) {
        return err_context(err, STATUS_CORRUPT, "policy: metadata signature");
    }
    /* The signature must be that of these networks. */
    const int O = (int)signature_observation(signature);
    if (O != info->O || (int)signature->A != info->A || (int)signature->K != info->K) {
        return err_set(err, STATUS_CORRUPT,
                       "policy: metadata signature: %d observations, %u actions, %u tasks; the "
                       "package has %d, %d, %d",
                       O, signature->A, signature->K, info->O, info->A, info->K);
    }
    return STATUS_OK;
}

/* ---- Writing ---- */

/* Writes one field, formatted. */
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
    /* The callers' fields are bounded: a text that does not fit is a mistake in this file. */
    ASSERT(length >= 0 && (size_t)length < sizeof text);
    return safetensors_note(writer, key, text, err);
}

status policy_info_write(struct safetensors_writer *writer, const struct policy_info *info,
                         struct err *err)
{
    /* Reals are written with 17 digits, so that they read back exactly. */
    char widths[NETWORK_LAYERS_MAX * 8] = "";
    size_t length = 0;
    /* "256,256,256" */
    for (int i = 0; i < info->n_widths; i++) {
        length += (size_t)snprintf(widths + length, sizeof widths - length, "%s%d",
                                   i > 0 ? "," : "", info->widths[i]);
    }
    /* The fields that every package has. */
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
    /* What the acting rule needs, as read_acting wants it, and the signature where it is known. */
    if (s == STATUS_OK && policy_info_has_critic(info)) {
        s = note(writer, err, "candidates", "%d", info->candidates);
    }
    if (s == STATUS_OK && policy_info_has_perturb(info)) {
        s = note(writer, err, "perturb_scale", "%.17g", info->perturb_scale);
    }
    if (s == STATUS_OK && info->signature_json != NULL) {
        s = safetensors_note(writer, "signature", info->signature_json, err);
    }
    return s;
}
