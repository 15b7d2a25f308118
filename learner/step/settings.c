/* The list of hyperparameters, and what reads it: defaults, checks, text in and text out.
 *
 * Each function goes over the table and switches on an entry's kind; none knows a setting by name,
 * except where one setting limits another (T <= K) or where 0 stands for the algorithm's own value.
 * What the algorithms do with the numbers is in algorithm.c and the operators.
 *
 * "ours" in a help text marks what the paper's main text does not give.
 *
 * A setting is an offset into struct settings and a kind, so that one loop serves all of them:
 * there is no second list to keep in step. The table is constant; a struct settings is plain data,
 * copied by assignment. */
#include "learner/step/settings.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/trajectory/signature.h"

/* ---- The list ---- */

/* The texts of the choices, by the values of their enums. A NULL ends each list. */
static const char *const algorithm_names[] = {
    [ALGORITHM_MPO] = "mpo",       [ALGORITHM_BM_MPO] = "bm+mpo",   [ALGORITHM_ABM_MPO] = "abm+mpo",
    [ALGORITHM_BM] = "bm",         [ALGORITHM_ABM] = "abm",         [ALGORITHM_SVG] = "svg",
    [ALGORITHM_BM_SVG] = "bm+svg", [ALGORITHM_ABM_SVG] = "abm+svg", [ALGORITHM_BCQ] = "bcq",
    [ALGORITHM_BEAR] = "bear",     [ALGORITHM_CRR] = "crr",         [ALGORITHM_IQL] = "iql",
    [ALGORITHM_TD3_BC] = "td3+bc", [ALGORITHM_COUNT] = NULL,
};
static const char *const likelihood_names[] = {
    [LIKELIHOOD_GAUSSIAN] = "gaussian", [LIKELIHOOD_CENSORED] = "censored", NULL};
static const char *const prior_f_names[] = {[PRIOR_F_STEP] = "step", [PRIOR_F_EXP] = "exp", NULL};
static const char *const precision_names[] = {
    [PRECISION_F32] = "f32", [PRECISION_BF16] = "bf16", NULL};
static const char *const normalize_names[] = {
    [NORMALIZE_NONE] = "none", [NORMALIZE_STANDARD] = "standard", NULL};

/* What 0 stands for, by algorithm: how many actions acting chooses from, and the first eta. */
static const struct {
    int act_candidates;
    double init_eta;
} own[ALGORITHM_COUNT] = {
    [ALGORITHM_MPO] = {1, 10.0},    [ALGORITHM_BM_MPO] = {1, 10.0}, [ALGORITHM_ABM_MPO] = {1, 10.0},
    [ALGORITHM_BM] = {1, 10.0},     [ALGORITHM_ABM] = {1, 10.0},    [ALGORITHM_SVG] = {1, 1.0},
    [ALGORITHM_BM_SVG] = {1, 1.0},  [ALGORITHM_ABM_SVG] = {1, 1.0}, [ALGORITHM_BCQ] = {100, 1.0},
    [ALGORITHM_BEAR] = {10, 1.0},   [ALGORITHM_CRR] = {1, 10.0},    [ALGORITHM_IQL] = {1, 10.0},
    [ALGORITHM_TD3_BC] = {1, 10.0},
};

/* Ranges are given as doubles, which hold every whole number up to this one. */
#define NUMBER_MAX 9007199254740992.0 /* 2^53 */
#define AT(field)  offsetof(struct settings, field)

/* Name, kind, field, option, unit, default, least and largest value, whether 0 stands for the
 * algorithm's own, choices, help. The digest of a run's configuration depends on the order of the
 * options. */
static const struct setting settings_table[SETTINGS_COUNT] = {
    {"algorithm", SETTING_CHOICE, AT(algorithm), "algorithm", "", "abm+mpo", 0, 0, false,
     algorithm_names, "what is learned; bm and abm act with the prior alone"},
    {"M", SETTING_INT, AT(M), "samples", "actions", "20", 1, 1024, false, NULL,
     "sampled actions per state, M (the paper's)"},
    {"widths", SETTING_WIDTHS, AT(widths), "widths", "units", "[256, 256, 256]", 1,
     NETWORK_WIDTH_MAX, false, NULL, "hidden layers of every network (ours)"},
    {"gamma", SETTING_REAL, AT(gamma), "gamma", "", "0.99", 0, 1, false, NULL, "discount (ours)"},
    {"target_period", SETTING_INT64, AT(target_period), "target_period", "steps", "200", 1,
     NUMBER_MAX, false, NULL,
     "steps between copies to the target networks (ours); short runs want 25 to 50"},
    {"lr", SETTING_REAL, AT(lr), "lr", "", "3e-4", 0, 1, false, NULL,
     "learning rate of the networks (ours)"},
    {"dual_lr", SETTING_REAL, AT(dual_lr), "dual_lr", "", "1e-2", 0, 1, false, NULL,
     "learning rate of eta and the alphas (ours)"},
    {"beta1", SETTING_REAL, AT(beta1), "beta1", "", "0.9", 0, 0.999999, false, NULL,
     "Adam: decay of the first moment (ours)"},
    {"beta2", SETTING_REAL, AT(beta2), "beta2", "", "0.999", 0, 0.999999999, false, NULL,
     "Adam: decay of the second moment (ours)"},
    {"adam_eps", SETTING_REAL, AT(adam_eps), "adam_eps", "", "1e-8", 1e-30, 1, false, NULL,
     "Adam: added to the root (ours)"},
    {"clip_norm", SETTING_REAL, AT(clip_norm), "clip_norm", "", "40", 1e-9, 1e12, false, NULL,
     "largest global gradient norm of each network; larger gradients are scaled down to it (ours)"},
    {"eps", SETTING_REAL, AT(eps), "eps", "nats", "0.1", 0, 1e6, false, NULL,
     "KL bound of MPO's E-step, and of SVG and BEAR to the prior (ours)"},
    {"eps_mean", SETTING_REAL, AT(eps_mean), "eps_mean", "nats", "2.5e-3", 0, 1e6, false, NULL,
     "MPO: trust region of the mean, per action dimension (ours)"},
    {"eps_std", SETTING_REAL, AT(eps_std), "eps_std", "nats", "1e-5", 0, 1e6, false, NULL,
     "MPO: trust region of the std, per action dimension (ours)"},
    {"entropy_cost", SETTING_REAL, AT(entropy_cost), "entropy_cost", "", "1e-3", 0, 1e6, false,
     NULL, "svg without a prior: weight of the entropy bonus (ours)"},
    {"prior_likelihood", SETTING_CHOICE, AT(prior_likelihood), "prior_likelihood", "", "gaussian",
     0, 0, false, likelihood_names,
     "likelihood of logged actions: gaussian (the paper's), or censored at the ends of the range "
     "(ours)"},
    {"prior_f", SETTING_CHOICE, AT(prior_f), "prior_f", "", "step", 0, 0, false, prior_f_names,
     "abm, crr: how the advantage weighs an action (the paper's step)"},
    {"temperature", SETTING_REAL, AT(temperature), "temperature", "", "1", 1e-9, 1e9, false, NULL,
     "prior_f exp: divides the advantage (ours)"},
    {"max_weight", SETTING_REAL, AT(max_weight), "max_weight", "", "20", 1e-9, 1e9, false, NULL,
     "prior_f exp: largest weight (ours)"},
    {"init_std", SETTING_REAL, AT(init_std), "init_std", "", "0.5", 1e-6, 1e3, false, NULL,
     "initial std of policy and prior, above its floor (ours)"},
    {"policy_min_std", SETTING_REAL, AT(policy_min_std), "policy_min_std", "", "0.01", 1e-6, 1e3,
     false, NULL, "floor of the policy's std (ours)"},
    {"prior_min_std", SETTING_REAL, AT(prior_min_std), "prior_min_std", "", "0.05", 1e-6, 1e3,
     false, NULL, "floor of the prior's std (ours)"},
    {"init_eta", SETTING_REAL, AT(init_eta), "init_eta", "", "0", 1e-6, 1e6, true, NULL,
     "initial eta; 0: the algorithm's own, 1 for svg, bcq and bear, else 10 (ours)"},
    {"init_alpha_mean", SETTING_REAL, AT(init_alpha_mean), "init_alpha_mean", "", "10", 1e-6, 1e6,
     false, NULL, "MPO: initial alpha of the mean (ours)"},
    {"init_alpha_std", SETTING_REAL, AT(init_alpha_std), "init_alpha_std", "", "100", 1e-6, 1e6,
     false, NULL, "MPO: initial alpha of the std (ours)"},
    {"rho_floor", SETTING_REAL, AT(rho_floor), "rho_floor", "", "-18", -80, 0, false, NULL,
     "least value of a stored dual (ours)"},
    {"candidates", SETTING_INT, AT(candidates), "candidates", "actions", "10", 1, 1024, false, NULL,
     "bcq, bear: actions that the backup maximizes over (ours)"},
    {"act_candidates", SETTING_INT, AT(act_candidates), "act_candidates", "actions", "0", 1, 1024,
     true, NULL,
     "sampled actions of which acting takes the one that the critic values most; 0: 100 for bcq, "
     "10 "
     "for bear, else 1, the mean (ours)"},
    {"perturb_scale", SETTING_REAL, AT(perturb_scale), "perturb_scale", "", "0.05", 0, 2, false,
     NULL, "bcq: largest perturbation of an action (ours)"},
    {"evaluation_precision", SETTING_CHOICE, AT(evaluation_precision), "evaluation_precision", "",
     "f32", 0, 0, false, precision_names,
     "arithmetic of critics that evaluate sampled actions (V, the E-step, candidates of bcq and "
     "bear), not of gradients: bf16 is faster on processors with AMX and, from AMD, with "
     "AVX512-BF16; on others the same rounding is done in software, and nothing is gained"},
    {"precision", SETTING_CHOICE, AT(precision), "precision", "", "f32", 0, 0, false,
     precision_names,
     "arithmetic of the hidden layers of all networks, forward and backward: bf16 rounds what "
     "enters their products and sums in float, and implies evaluation_precision: bf16; parameters, "
     "Adam, first layers, heads and losses stay in float (ours)"},
    {"reward_scale", SETTING_REAL, AT(reward_scale), "reward_scale", "", "1", 1e-12, 1e12, false,
     NULL,
     "factor by which rewards are multiplied before anything is learned from them; values and "
     "returns are reported in the units of the logs (ours)"},
    {"policy_average", SETTING_REAL, AT(policy_average), "policy_average", "", "0", 0, 0.999999,
     false, NULL,
     "policies are published with an exponential moving average of their weights, of this decay "
     "per "
     "step; 0: as they are (ours)"},
    {"expectile", SETTING_REAL, AT(expectile), "expectile", "", "0.7", 1e-6, 0.999999, false, NULL,
     "iql: the expectile tau of Q that V learns (Kostrikov et al.)"},
    {"beta", SETTING_REAL, AT(beta), "beta", "", "3", 1e-9, 1e9, false, NULL,
     "iql: an action of advantage A has the weight exp(beta A) (Kostrikov et al.)"},
    {"iql_max_weight", SETTING_REAL, AT(iql_max_weight), "iql_max_weight", "", "100", 1e-9, 1e9,
     false, NULL, "iql: largest weight (Kostrikov et al.)"},
    {"bc_alpha", SETTING_REAL, AT(bc_alpha), "bc_alpha", "", "2.5", 0, 1e9, false, NULL,
     "td3+bc: weight alpha of Q, divided by its mean size, against the squared distance to the "
     "logged action (Fujimoto & Gu)"},
    {"smoothing_std", SETTING_REAL, AT(smoothing_std), "smoothing_std", "", "0.2", 0, 1e3, false,
     NULL, "td3+bc: std of the noise on the backup's action (Fujimoto & Gu)"},
    {"smoothing_clip", SETTING_REAL, AT(smoothing_clip), "smoothing_clip", "", "0.5", 0, 2, false,
     NULL, "td3+bc: largest noise on the backup's action (Fujimoto & Gu)"},

    /* Not options, but given by the table of a run or by its program. They are settings all the
     * same, so that a state's file says them. */
    {"O", SETTING_INT, AT(O), NULL, "floats", "0", 1, SIGNATURE_OBSERVATION_MAX, false, NULL, ""},
    {"A", SETTING_INT, AT(A), NULL, "", "0", 1, SIGNATURE_ACTIONS_MAX, false, NULL, ""},
    {"K", SETTING_INT, AT(K), NULL, "tasks", "1", 1, SIGNATURE_TASKS_MAX, false, NULL, ""},
    {"T", SETTING_INT, AT(T), NULL, "tasks", "1", 1, SIGNATURE_TASKS_MAX, false, NULL, ""},
    {"seed", SETTING_UINT64, AT(seed), NULL, "", "0", 0, 0, false, NULL, ""},
    {"normalize", SETTING_CHOICE, AT(normalize), NULL, "", "none", 0, 0, false, normalize_names,
     ""},
};
#undef AT

const struct setting *settings_at(size_t i)
{
    ASSERT(i < SETTINGS_COUNT);
    return &settings_table[i];
}

const struct setting *settings_find(const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (strcmp(settings_table[i].name, name) == 0) {
            return &settings_table[i];
        }
    }
    return NULL;
}

const char *settings_algorithm_name(enum settings_algorithm algorithm)
{
    ASSERT(algorithm < ALGORITHM_COUNT);
    return algorithm_names[algorithm];
}

/* ---- Text in ---- */

/* "expected a whole number" or "expected f32|bf16". */
static status not_a_value(const struct setting *setting, const char *text, const char *expected,
                          struct err *err)
{
    return err_set(err, STATUS_INVALID, "%s '%.64s': expected %s", setting->name, text, expected);
}

/* "prior_f ste: expected step|exp". */
static status not_a_choice(const struct setting *setting, const char *text, struct err *err)
{
    char names[160] = "";
    size_t length = 0;
    for (size_t i = 0; setting->choices[i] != NULL; i++) {
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", i > 0 ? "|" : "",
                                   setting->choices[i]);
        ASSERT(length < sizeof names);
    }
    return err_set(err, STATUS_INVALID, "%s %.31s: expected %s", setting->name, text, names);
}

/* Reads "256,256,256"; also "[256, 256, 256]", the form of the defaults. */
static status set_widths(struct settings *settings, const struct setting *setting, const char *text,
                         struct err *err)
{
    /* Into a copy, so that a bad text leaves the settings as they are. */
    int widths[NETWORK_LAYERS_MAX];
    int n = 0;
    const bool brackets = text[0] == '[';
    const char stop = brackets ? ']' : '\0';
    /* Number by number; strtol skips the spaces after commas. */
    for (const char *at = text + (brackets ? 1 : 0);; at++) {
        char *end;
        const long width = strtol(at, &end, 10);
        /* A comma or the end follows each number. */
        if (end == at || (*end != stop && *end != ',') || width < 1 || width > NETWORK_WIDTH_MAX ||
            n == NETWORK_LAYERS_MAX) {
            return not_a_value(setting, text, "up to 8 whole numbers like 256,256,256", err);
        }
        widths[n++] = (int)width;
        at = end;
        if (*at == stop) {
            break;
        }
    }
    settings->n_widths = n;
    memcpy(settings->widths, widths, sizeof widths[0] * (size_t)n);
    return STATUS_OK;
}

/* The index of a name in the list of choices is the value of its enum. */
static status set_choice(void *at, const struct setting *setting, const char *text, struct err *err)
{
    for (int i = 0; setting->choices[i] != NULL; i++) {
        if (strcmp(setting->choices[i], text) == 0) {
            memcpy(at, &i, sizeof i);
            return STATUS_OK;
        }
    }
    return not_a_choice(setting, text, err);
}

/* Reads a number. Infinities and NaN are numbers here; no range contains them, so that
 * settings_check refuses them. */
static status set_real(void *at, const struct setting *setting, const char *text, struct err *err)
{
    char *end = NULL;
    const double x = strtod(text, &end);
    if (end == text || *end != 0) {
        return not_a_value(setting, text, "a number", err);
    }
    memcpy(at, &x, sizeof x);
    return STATUS_OK;
}

/* Reads a whole number that fits the field, whose width depends on the kind. Fields are written by
 * memcpy, since `at` is no more than an address. */
static status set_whole(void *at, const struct setting *setting, const char *text, struct err *err)
{
    char *end = NULL;
    errno = 0;
    /* strtoull would wrap a negative number around. */
    if (setting->kind == SETTING_UINT64) {
        const uint64_t x = strtoull(text, &end, 10);
        if (end == text || *end != 0 || errno != 0 || text[0] == '-') {
            return not_a_value(setting, text, "a whole number", err);
        }
        memcpy(at, &x, sizeof x);
        return STATUS_OK;
    }
    /* Fields of 32 bits would take the low half of a larger number. */
    const int64_t x = strtoll(text, &end, 10);
    const bool fits = setting->kind == SETTING_INT64 || (x >= INT_MIN && x <= INT_MAX);
    if (end == text || *end != 0 || errno != 0 || !fits) {
        return not_a_value(setting, text, "a whole number", err);
    }
    /* The text was good: only now is the field written. */
    if (setting->kind == SETTING_INT64) {
        memcpy(at, &x, sizeof x);
    } else {
        const int narrow = (int)x;
        memcpy(at, &narrow, sizeof narrow);
    }
    return STATUS_OK;
}

/* Sets the field of an entry from its text. */
static status set_one(struct settings *settings, const struct setting *setting, const char *text,
                      struct err *err)
{
    void *at = (char *)settings + setting->offset;
    /* Each kind has its own form; ranges are checked later, all together. */
    switch (setting->kind) {
    case SETTING_WIDTHS:
        return set_widths(settings, setting, text, err);
    case SETTING_CHOICE:
        return set_choice(at, setting, text, err);
    case SETTING_REAL:
        return set_real(at, setting, text, err);
    case SETTING_INT:
    case SETTING_INT64:
    case SETTING_UINT64:
        return set_whole(at, setting, text, err);
    }
    return STATUS_OK;
}

status settings_set(struct settings *settings, const char *name, const char *text, struct err *err)
{
    const struct setting *setting = settings_find(name);
    if (setting == NULL) {
        return err_set(err, STATUS_NOT_FOUND, "setting %.64s: not known", name);
    }
    return set_one(settings, setting, text, err);
}

struct settings settings_default(void)
{
    /* From the texts, so that a default has one form only and is read like any other value. */
    struct settings settings = {0};
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const status s =
            set_one(&settings, &settings_table[i], settings_table[i].default_text, NULL);
        ASSERT(s == STATUS_OK); /* the list is at fault */
    }
    return settings;
}

/* ---- Checks ---- */

/* INVALID: "gamma 1.5: expected 0..1". */
static status check_number(const struct setting *setting, double x, struct err *err)
{
    /* NaN fails both comparisons. */
    if (x >= setting->min && x <= setting->max) {
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID, "%s %g: expected %g..%g", setting->name, x, setting->min,
                   setting->max);
}

/* Is this the value of one of the entry's choices? */
static bool is_choice(const struct setting *setting, int value)
{
    int n = 0;
    while (setting->choices[n] != NULL) {
        n++;
    }
    return value >= 0 && value < n;
}

/* Is the field of an entry within its range? */
static status check_one(const struct setting *setting, const struct settings *settings,
                        struct err *err)
{
    const void *at = (const char *)settings + setting->offset;
    status s = STATUS_OK;
    /* Whole numbers are compared as doubles, exactly up to NUMBER_MAX. */
    switch (setting->kind) {
    case SETTING_INT:
        return check_number(setting, *(const int *)at, err);
    case SETTING_INT64:
        return check_number(setting, (double)*(const int64_t *)at, err);
    case SETTING_REAL:
        return check_number(setting, *(const double *)at, err);
    case SETTING_WIDTHS:
        for (int i = 0; i < settings->n_widths && s == STATUS_OK; i++) {
            s = check_number(setting, settings->widths[i], err);
        }
        return s;
    case SETTING_CHOICE:
        /* Only settings_set and constants of the enum write here. */
        ASSERT(is_choice(setting, *(const int *)at));
        return STATUS_OK;
    /* Any 64 bits are a seed. */
    case SETTING_UINT64:
        return STATUS_OK;
    }
    return STATUS_OK;
}

status settings_check(struct settings *settings, struct err *err)
{
    ASSERT(settings->algorithm < ALGORITHM_COUNT);
    /* The number of layers has no entry of its own. */
    if (settings->n_widths < 1 || settings->n_widths > NETWORK_LAYERS_MAX) {
        return err_set(err, STATUS_INVALID, "widths: %d layers, expected 1..%d", settings->n_widths,
                       NETWORK_LAYERS_MAX);
    }
    /* Fill in on a copy: after an error the caller's settings are what they were. */
    struct settings checked = *settings;
    if (checked.act_candidates == 0) {
        checked.act_candidates = own[checked.algorithm].act_candidates;
    }
    if (checked.init_eta == 0.0) {
        checked.init_eta = own[checked.algorithm].init_eta;
    }
    if (checked.precision == PRECISION_BF16) {
        checked.evaluation_precision = PRECISION_BF16;
    }
    /* Each within its own range. */
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const status s = check_one(&settings_table[i], &checked, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* The one limit between two settings. */
    if (checked.T > checked.K) {
        return err_set(err, STATUS_INVALID, "tasks trained per snippet %d: expected 1..%d (K)",
                       checked.T, checked.K);
    }
    *settings = checked;
    return STATUS_OK;
}

int settings_inputs(const struct settings *settings)
{
    /* The one-hot task is an input only where there are several. */
    return settings->O + (settings->K > 1 ? settings->K : 0);
}

int settings_row_width(const struct settings *settings)
{
    /* observation, action, one reward for each task, discount */
    return settings->O + settings->A + settings->K + 1;
}

/* ---- Text out ---- */

/* text <- "256,256,256", the form that set_widths reads. */
static void widths_text(char *text, size_t size, const struct settings *settings)
{
    size_t length = 0;
    text[0] = 0;
    /* A text that does not fit is cut short, not overrun. */
    for (int i = 0; i < settings->n_widths && length < size; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s%d", i > 0 ? "," : "",
                                   settings->widths[i]);
    }
}

void settings_visit(const struct settings *settings,
                    void (*visit)(void *arg, const char *name, const char *text), void *arg)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        /* Each text is one that settings_set reads back to the same value: reals have 17 digits. */
        const struct setting *setting = &settings_table[i];
        const void *at = (const char *)settings + setting->offset;
        char text[SETTINGS_TEXT_SIZE];
        /* By kind, as set_one reads it. */
        switch (setting->kind) {
        case SETTING_INT:
            snprintf(text, sizeof text, "%d", *(const int *)at);
            break;
        case SETTING_INT64:
            snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)at);
            break;
        case SETTING_UINT64:
            snprintf(text, sizeof text, "%llu", (unsigned long long)*(const uint64_t *)at);
            break;
        case SETTING_REAL:
            snprintf(text, sizeof text, "%.17g", *(const double *)at);
            break;
        case SETTING_CHOICE:
            snprintf(text, sizeof text, "%s", setting->choices[*(const int *)at]);
            break;
        case SETTING_WIDTHS:
            widths_text(text, sizeof text, settings);
            break;
        }
        visit(arg, setting->name, text);
    }
}
