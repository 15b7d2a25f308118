/* One table of fields serves defaults, checks, text in and text out. */
#include "learner/step/settings.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/trajectory/signature.h"
#include "learner/step/algorithm.h"

enum kind { INT, INT64, UINT64, REAL, TEXT, WIDTHS };

struct field {
    const char *name;
    enum kind kind;
    size_t offset;
    double min, max;     /* inclusive; REAL, INT, INT64 */
    const char *choices; /* TEXT: "a|b" */
};

#define AT(name) offsetof(struct settings, name)
static const struct field fields[] = {
    {"algorithm", TEXT, AT(algorithm), 0, 0, NULL},
    {"O", INT, AT(O), 1, SIGNATURE_OBSERVATION_MAX, NULL},
    {"A", INT, AT(A), 1, SIGNATURE_ACTIONS_MAX, NULL},
    {"K", INT, AT(K), 1, SIGNATURE_TASKS_MAX, NULL},
    {"T", INT, AT(T), 1, SIGNATURE_TASKS_MAX, NULL},
    {"M", INT, AT(M), 1, 1024, NULL},
    {"widths", WIDTHS, AT(widths), 1, NETWORK_WIDTH_MAX, NULL},
    {"gamma", REAL, AT(gamma), 0, 1, NULL},
    {"init_std", REAL, AT(init_std), 1e-6, 1e3, NULL},
    {"policy_min_std", REAL, AT(policy_min_std), 0, 1e3, NULL},
    {"prior_min_std", REAL, AT(prior_min_std), 0, 1e3, NULL},
    {"prior_likelihood", TEXT, AT(prior_likelihood), 0, 0, "gaussian|censored"},
    {"prior_f", TEXT, AT(prior_f), 0, 0, "step|exp"},
    {"temperature", REAL, AT(temperature), 1e-9, 1e9, NULL},
    {"max_weight", REAL, AT(max_weight), 1e-9, 1e9, NULL},
    {"eps", REAL, AT(eps), 0, 1e9, NULL},
    {"eps_mean", REAL, AT(eps_mean), 0, 1e9, NULL},
    {"eps_std", REAL, AT(eps_std), 0, 1e9, NULL},
    {"entropy_cost", REAL, AT(entropy_cost), 0, 1e9, NULL},
    {"candidates", INT, AT(candidates), 1, 1024, NULL},
    {"perturb_scale", REAL, AT(perturb_scale), 0, 2, NULL},
    {"act_candidates", INT, AT(act_candidates), 1, 4096, NULL},
    {"lr", REAL, AT(lr), 0, 1e3, NULL},
    {"dual_lr", REAL, AT(dual_lr), 0, 1e3, NULL},
    {"beta1", REAL, AT(beta1), 0, 0.999999999, NULL},
    {"beta2", REAL, AT(beta2), 0, 0.999999999, NULL},
    {"adam_eps", REAL, AT(adam_eps), 0, 1, NULL},
    {"clip_norm", REAL, AT(clip_norm), 1e-9, 1e30, NULL},
    {"target_period", INT64, AT(target_period), 1, 1e15, NULL},
    {"rho_floor", REAL, AT(rho_floor), -80, 80, NULL},
    {"init_eta", REAL, AT(init_eta), 1e-6, 1e6, NULL},
    {"init_alpha_mean", REAL, AT(init_alpha_mean), 1e-6, 1e6, NULL},
    {"init_alpha_std", REAL, AT(init_alpha_std), 1e-6, 1e6, NULL},
    {"evaluation_precision", TEXT, AT(evaluation_precision), 0, 0, "f32|bf16"},
    {"seed", UINT64, AT(seed), 0, 0, NULL},
};
#undef AT
#define N_FIELDS (sizeof fields / sizeof fields[0])

struct settings settings_default(void)
{
    return (struct settings){
        .algorithm = "abm+mpo",
        .K = 1,
        .T = 1,
        .M = 20,
        .n_widths = 3,
        .widths = {256, 256, 256},
        .gamma = 0.99,
        .init_std = 0.5,
        .policy_min_std = 0.01,
        .prior_min_std = 0.05,
        .prior_likelihood = "gaussian",
        .prior_f = "step",
        .temperature = 1.0,
        .max_weight = 20.0,
        .eps = 0.1,
        .eps_mean = 2.5e-3,
        .eps_std = 1e-5,
        .entropy_cost = 1e-3,
        .candidates = 10,
        .perturb_scale = 0.05,
        .lr = 3e-4,
        .dual_lr = 1e-2,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .adam_eps = 1e-8,
        .clip_norm = 40.0,
        .target_period = 200,
        .rho_floor = -18.0,
        .init_alpha_mean = 10.0,
        .init_alpha_std = 100.0,
        .evaluation_precision = "f32",
    };
}

/* ---- Checks ---- */

static bool is_choice(const char *text, const char *choices)
{
    const size_t length = strlen(text);
    for (const char *at = choices; *at != 0;) {
        const size_t n = strcspn(at, "|");
        if (n == length && strncmp(at, text, n) == 0) {
            return true;
        }
        at += n + (at[n] == '|');
    }
    return false;
}

static status check_number(const struct field *field, double x, struct err *err)
{
    /* NaN fails both comparisons. */
    if (x >= field->min && x <= field->max) {
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID, "%s %g: expected %g..%g", field->name, x, field->min,
                   field->max);
}

static status check_field(const struct field *field, const struct settings *settings,
                          struct err *err)
{
    const char *at = (const char *)settings + field->offset;
    switch (field->kind) {
    case INT:
        return check_number(field, *(const int *)(const void *)at, err);
    case INT64:
        return check_number(field, (double)*(const int64_t *)(const void *)at, err);
    case REAL:
        return check_number(field, *(const double *)(const void *)at, err);
    case TEXT:
        if (field->choices != NULL && !is_choice(at, field->choices)) {
            return err_set(err, STATUS_INVALID, "%s %.31s: expected %s", field->name, at,
                           field->choices);
        }
        return STATUS_OK;
    case WIDTHS:
        for (int i = 0; i < settings->n_widths; i++) {
            const status s = check_number(field, settings->widths[i], err);
            if (s != STATUS_OK) {
                return s;
            }
        }
        return STATUS_OK;
    case UINT64:
        return STATUS_OK;
    }
    return STATUS_OK;
}

status settings_check(struct settings *settings, struct err *err)
{
    const struct algorithm *algorithm = algorithm_find(settings->algorithm);
    if (algorithm == NULL) {
        return err_set(err, STATUS_INVALID, "algorithm %.31s: expected one of %s",
                       settings->algorithm, algorithm_names());
    }
    if (settings->n_widths < 1 || settings->n_widths > NETWORK_LAYERS_MAX) {
        return err_set(err, STATUS_INVALID, "widths: %d layers, expected 1..%d", settings->n_widths,
                       NETWORK_LAYERS_MAX);
    }
    struct settings checked = *settings;
    if (checked.act_candidates == 0) {
        checked.act_candidates = algorithm->act_candidates;
    }
    if (checked.init_eta == 0.0) {
        checked.init_eta = algorithm->init_eta;
    }
    for (size_t i = 0; i < N_FIELDS; i++) {
        const status s = check_field(&fields[i], &checked, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    if (checked.T > checked.K) {
        return err_set(err, STATUS_INVALID, "tasks trained per snippet %d: expected 1..%d (K)",
                       checked.T, checked.K);
    }
    *settings = checked;
    return STATUS_OK;
}

int settings_inputs(const struct settings *settings)
{
    return settings->O + (settings->K > 1 ? settings->K : 0);
}

int settings_row_width(const struct settings *settings)
{
    return settings->O + settings->A + settings->K + 1;
}

/* ---- Text ---- */

static void widths_text(char *text, size_t size, const struct settings *settings)
{
    size_t length = 0;
    text[0] = 0;
    for (int i = 0; i < settings->n_widths && length < size; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s%d", i > 0 ? "," : "",
                                   settings->widths[i]);
    }
}

void settings_visit(const struct settings *settings,
                    void (*visit)(void *arg, const char *name, const char *text), void *arg)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        const void *at = (const char *)settings + fields[i].offset;
        char text[128];
        switch (fields[i].kind) {
        case INT:
            snprintf(text, sizeof text, "%d", *(const int *)at);
            break;
        case INT64:
            snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)at);
            break;
        case UINT64:
            snprintf(text, sizeof text, "%llu", (unsigned long long)*(const uint64_t *)at);
            break;
        case REAL:
            snprintf(text, sizeof text, "%.17g", *(const double *)at);
            break;
        case TEXT:
            snprintf(text, sizeof text, "%s", (const char *)at);
            break;
        case WIDTHS:
            widths_text(text, sizeof text, settings);
            break;
        }
        visit(arg, fields[i].name, text);
    }
}

static status not_a_value(const char *name, const char *text, const char *expected, struct err *err)
{
    return err_set(err, STATUS_INVALID, "%s '%.64s': expected %s", name, text, expected);
}

static status set_widths(struct settings *settings, const char *text, struct err *err)
{
    int widths[NETWORK_LAYERS_MAX];
    int n = 0;
    for (const char *at = text;; at++) {
        char *end;
        const long width = strtol(at, &end, 10);
        if (end == at || (*end != 0 && *end != ',') || width < 1 || width > NETWORK_WIDTH_MAX ||
            n == NETWORK_LAYERS_MAX) {
            return not_a_value("widths", text, "up to 8 whole numbers like 256,256,256", err);
        }
        widths[n++] = (int)width;
        at = end;
        if (*at == 0) {
            break;
        }
    }
    settings->n_widths = n;
    memcpy(settings->widths, widths, sizeof widths);
    return STATUS_OK;
}

static status set_field(struct settings *settings, const struct field *field, const char *text,
                        struct err *err)
{
    char *at = (char *)settings + field->offset;
    char *end = NULL;
    errno = 0;
    switch (field->kind) {
    case WIDTHS:
        return set_widths(settings, text, err);
    case TEXT:
        if (strlen(text) >= SETTINGS_TEXT_SIZE) {
            return not_a_value(field->name, text, "a shorter text", err);
        }
        memset(at, 0, SETTINGS_TEXT_SIZE);
        memcpy(at, text, strlen(text));
        return STATUS_OK;
    case REAL: {
        const double x = strtod(text, &end);
        if (end == text || *end != 0) {
            return not_a_value(field->name, text, "a number", err);
        }
        memcpy(at, &x, sizeof x);
        return STATUS_OK;
    }
    case UINT64: {
        const uint64_t x = strtoull(text, &end, 10);
        if (end == text || *end != 0 || errno != 0 || text[0] == '-') {
            return not_a_value(field->name, text, "a whole number", err);
        }
        memcpy(at, &x, sizeof x);
        return STATUS_OK;
    }
    case INT64:
    case INT: {
        const int64_t x = strtoll(text, &end, 10);
        const int narrow = (int)x;
        if (end == text || *end != 0 || errno != 0 || (field->kind == INT && narrow != x)) {
            return not_a_value(field->name, text, "a whole number", err);
        }
        if (field->kind == INT) {
            memcpy(at, &narrow, sizeof narrow);
        } else {
            memcpy(at, &x, sizeof x);
        }
        return STATUS_OK;
    }
    }
    return STATUS_OK;
}

status settings_set(struct settings *settings, const char *name, const char *text, struct err *err)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return set_field(settings, &fields[i], text, err);
        }
    }
    return err_set(err, STATUS_NOT_FOUND, "setting %.64s: not known", name);
}
