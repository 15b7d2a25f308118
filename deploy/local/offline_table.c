/* Ranks, values and warnings for people: see offline_table.h. */
#include "deploy/local/offline_table.h"

#include <stdbool.h>
#include <string.h>

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static const char *text(const cJSON *object, const char *key)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return value != NULL ? value : "";
}

static bool is_set(const cJSON *object, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

/* How much less than the best: the pair of this policy with the first one. */
static const cJSON *less_than_best(const cJSON *report, const char *best, const char *name)
{
    const cJSON *pair;
    cJSON_ArrayForEach(pair, cJSON_GetObjectItemCaseSensitive(report, "differences"))
    {
        if (strcmp(text(pair, "policy"), best) == 0 && strcmp(text(pair, "less"), name) == 0) {
            return pair;
        }
    }
    return NULL;
}

static void print_policy(const cJSON *report, const cJSON *policy, const char *best, bool success,
                         FILE *out)
{
    char range[64], difference[80] = "";
    const cJSON *pair = less_than_best(report, best, text(policy, "name"));
    snprintf(range, sizeof range, "%.4g .. %.4g", number(policy, "value_low"),
             number(policy, "value_high"));
    if (pair != NULL) {
        snprintf(difference, sizeof difference, "%.3g (%.3g .. %.3g)", number(pair, "difference"),
                 number(pair, "difference_low"), number(pair, "difference_high"));
    }
    fprintf(out, "  %-32s %9.4g  %-20s %-26s", text(policy, "name"), number(policy, "value"), range,
            difference);
    if (success) {
        fprintf(out, " %7.3f", number(policy, "success"));
    }
    fprintf(out, " %7.2f%s\n", number(policy, "support"),
            is_set(policy, "leaves_data") ? "  its actions leave the data" : "");
}

void offline_table_print(const cJSON *report, FILE *out)
{
    const cJSON *policies = cJSON_GetObjectItemCaseSensitive(report, "policies");
    const char *best = text(cJSON_GetArrayItem(policies, 0), "name");
    const bool success =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(policies, 0), "success") != NULL;
    fprintf(out, "  %-32s %9s  %-20s %-26s%s %7s\n", "policy", "value", "interval",
            "the best has more", success ? " success" : "", "support");
    const cJSON *policy;
    cJSON_ArrayForEach(policy, policies)
    {
        print_policy(report, policy, best, success, out);
    }
    const cJSON *task;
    cJSON_ArrayForEach(task, cJSON_GetObjectItemCaseSensitive(report, "behaviour"))
    {
        fprintf(
            out, "  the logs' own %s: known %.4g (%.4g .. %.4g), estimated %.4g (%.4g .. %.4g)%s\n",
            text(task, "task"), number(task, "known"), number(task, "known_low"),
            number(task, "known_high"), number(task, "estimated"), number(task, "estimated_low"),
            number(task, "estimated_high"), is_set(task, "fits") ? "" : ": they do not fit");
    }
    char values[32] = "returns of episodes";
    if (number(report, "gamma") < 1) {
        snprintf(values, sizeof values, "gamma %g", number(report, "gamma"));
    }
    fprintf(out, "  %s, from the starts of %.0f %s episodes of table %s; intervals of %g%%\n",
            values, number(report, "starts"), is_set(report, "held_out") ? "held-out" : "training",
            text(report, "starts_table"), 100 * number(report, "level"));
    if (!is_set(report, "held_out")) {
        fprintf(out, "  no episodes are held out (restorer.holdout): the critics have learned from "
                     "these\n");
    }
    fflush(out);
}
