/* The page of `hindcast policy inspect`: one line for each thing that a package says about
 * itself, and the return that the run's evaluator measured. Only prints; policy_command.c opens
 * the package. */
#include "deploy/local/policy_inspect.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/base/utf8.h"

/* More than the file of an evaluator has; a larger one is refused. */
#define EVALUATION_BYTES_MAX (64u << 20)

/* How the policy chooses actions (docs/policies.md). */
static void print_acting(const struct policy_info *info, FILE *out)
{
    /* A Gaussian policy needs no critic; all others draw candidates and let the critic choose. */
    fprintf(out, "  %-15s ", "acts by");
    if (strcmp(info->acting, POLICY_ACT_GAUSSIAN) == 0) {
        fprintf(out, "mean, or sample clip(mean + std noise)\n");
    } else {
        fprintf(out, "argmax of Q over %d samples", info->candidates);
        if (strcmp(info->acting, POLICY_ACT_PERTURBED) == 0) {
            fprintf(out, ", each moved by up to %g", info->perturb_scale);
        }
        fprintf(out, "; or mean\n");
    }
}

/* Sizes of each network in the package: inputs, widths, outputs. */
static void print_networks(const struct policy *policy, FILE *out)
{
    /* Which networks a package has depends on its algorithm; the others are skipped. */
    static const char *const names[] = {"policy", "critic", "perturb"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct network net;
        if (!policy_network(policy, names[i], &net)) {
            continue;
        }
        /* The weights and biases of all layers. */
        size_t parameters = 0;
        for (int k = 0; k < net.shape->n_tensors; k++) {
            parameters += net.shape->tensors[k].size;
        }
        /* The widths, from the input to the output. */
        fprintf(out, "  %-15s %d ->", names[i], net.shape->I);
        for (int l = 0; l < net.shape->n_layers; l++) {
            fprintf(out, " %d", net.shape->widths[l]);
        }
        fprintf(out, " -> %d, %zu parameters\n", net.shape->Q, parameters);
    }
}

/* How far the largest and the smallest scale are apart says whether normalizing mattered. */
static void print_normalizer(const struct policy *policy, FILE *out)
{
    const struct normalizer normalizer = policy_normalizer(policy);
    size_t constant = 0;
    float least = INFINITY, most = 0.0f;
    /* The scale is 1 / std, and 0 for a dimension that was constant in the logs. */
    for (size_t i = 0; i < normalizer.O; i++) {
        const float scale = normalizer.scale[i];
        constant += scale == 0.0f;
        least = scale != 0.0f && scale < least ? scale : least;
        most = scale > most ? scale : most;
    }
    /* All scales are 0 where the policy does not normalize. */
    if (normalizer.O == constant) {
        fprintf(out, "  %-15s no\n", "normalized");
    } else {
        fprintf(out, "  %-15s yes: std %.3g..%.3g, %zu dimensions constant\n", "normalized",
                1.0 / (double)most, 1.0 / (double)least, constant);
    }
}

/* How widely the observations were spread that it learned from, and what an offline evaluation says. */
static void print_evidence(const struct policy *policy, FILE *out)
{
    const struct policy_ranges ranges = policy_ranges(policy);
    size_t constant = 0;
    for (size_t i = 0; i < ranges.O; i++) {
        constant += ranges.min[i] == ranges.max[i];
    }
    if (ranges.O > 0) {
        fprintf(out, "  %-15s ranges of %zu dimensions, %zu of them constant\n", "observed",
                ranges.O, constant);
    } else {
        fprintf(out, "  %-15s no ranges: the library cannot tell what is outside\n", "observed");
    }
    double value, low, high;
    if (policy_offline_value(policy, &value, &low, &high)) {
        fprintf(out, "  %-15s %g, interval %g..%g, by an offline evaluation\n", "value", value, low,
                high);
    }
    /* Texts of the file: made by a learner, but not trusted. */
    const char *const keys[] = {"hindcast_version", "made_of"};
    const char *const names[] = {"learned by", "made of"};
    for (size_t i = 0; i < 2; i++) {
        char *text =
            mem_text(policy_note(policy, keys[i]) != NULL ? policy_note(policy, keys[i]) : "");
        if (text != NULL && text[0] != '\0') {
            utf8_clean(text);
            fprintf(out, "  %-15s %s%s\n", names[i], i == 0 ? "hindcast " : "", text);
        }
        mem_free(text);
    }
}

/* Names and units: which elements of the observation are what, and the limits of actions. */
static void print_signature(const struct signature *signature, FILE *out)
{
    /* Slices of the observation lie one after another; shown is where each begins and ends. */
    uint32_t begin = 0;
    fprintf(out, "  %-15s %u:", "observation", signature_observation(signature));
    for (uint32_t i = 0; i < signature->n_slices; i++) {
        const struct signature_slice *slice = &signature->slices[i];
        fprintf(out, "%s %s %u..%u", i > 0 ? "," : "", slice->name, begin, begin + slice->size - 1);
        begin += slice->size;
    }
    /* The limits in the units of the logs, one pair for each action. */
    fprintf(out, "\n  %-15s %u: limits", "action", signature->A);
    for (uint32_t i = 0; i < signature->A; i++) {
        fprintf(out, "%s %g..%g", i > 0 ? "," : "", (double)signature->action_min[i],
                (double)signature->action_max[i]);
    }
    /* One task for each reward, in the order of their numbers. */
    fprintf(out, "\n  %-15s", "tasks");
    for (uint32_t k = 0; k < signature->K; k++) {
        fprintf(out, "%s %s", k > 0 ? "," : "", signature->rewards[k]);
    }
    fputc('\n', out);
    /* Logs without a time column have no control period. */
    if (signature->control_period_s > 0) {
        fprintf(out, "  %-15s %g s\n", "control period", signature->control_period_s);
    }
}

/* What the evaluator measured afresh when the run had ended, where it is of this very policy. */
static void print_evaluation(const cJSON *evaluation, uint64_t learner_step, FILE *out)
{
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(evaluation, "learner_step");
    const cJSON *mean = cJSON_GetObjectItemCaseSensitive(evaluation, "return_mean");
    const cJSON *episodes = cJSON_GetObjectItemCaseSensitive(evaluation, "episodes");
    /* The file describes the policies of the run's end; a package of another step was replaced
     * since. */
    if (cJSON_IsNumber(step) && cJSON_IsNumber(mean) && cJSON_IsNumber(episodes) &&
        (uint64_t)step->valuedouble == learner_step) {
        fprintf(out, "  %-15s %.2f, mean of %.0f fresh episodes\n", "return", mean->valuedouble,
                episodes->valuedouble);
    }
}

/* What the package says of its own return, and what the run's evaluator measured in the end. */
static status print_returns(const struct policy *policy, const struct policy_location *location,
                            FILE *out, struct err *err)
{
    /* The package itself carries the return at which it was kept. */
    const char *kept = policy_note(policy, "evaluated/return_mean");
    if (kept != NULL) {
        fprintf(out, "  %-15s %.2f, as evaluated while the run went on\n", "return",
                strtod(kept, NULL));
    }
    /* A package outside a run has nothing else. */
    if (location->run_dir[0] == 0) {
        return STATUS_OK;
    }
    char path[POLICY_LOCATION_PATH_SIZE + 32];
    snprintf(path, sizeof path, "%s/evaluation.json", location->run_dir);
    cJSON *evaluation = NULL;
    const status s = json_read(path, EVALUATION_BYTES_MAX, &evaluation, err);
    if (s == STATUS_NOT_FOUND) {
        return STATUS_OK; /* the run has not ended */
    }
    /* The file has one part for the best policy and one for the last. */
    if (s == STATUS_OK) {
        const bool last = strstr(location->path, "/policy_last.") != NULL;
        print_evaluation(last ? cJSON_GetObjectItemCaseSensitive(evaluation, "last") : evaluation,
                         policy_info(policy)->learner_step, out);
        cJSON_Delete(evaluation);
    }
    return s;
}

status policy_inspect(const struct policy *policy, const struct policy_location *location,
                      FILE *out, struct err *err)
{
    const struct policy_info *info = policy_info(policy);
    struct signature *signature = mem_new(sizeof *signature);
    if (signature == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", location->path);
    }
    /* A package of an older version has no signature: then sizes are all that is known. */
    status s = policy_info_signature(signature, info, err);
    if (s == STATUS_OK || s == STATUS_NOT_FOUND) {
        fprintf(out, "%s\n  %-15s %s, learner step %" PRIu64 "\n", location->path, "algorithm",
                info->algorithm, info->learner_step);
        print_acting(info, out);
        print_networks(policy, out);
        print_normalizer(policy, out);
        print_evidence(policy, out);
        if (s == STATUS_OK) {
            print_signature(signature, out);
        } else {
            fprintf(out,
                    "  %-15s %d observations, %d actions, %d tasks; what they are is not "
                    "noted\n",
                    "sizes", info->O, info->A, info->K);
        }
        s = print_returns(policy, location, out, err);
    }
    mem_free(signature);
    return s;
}
