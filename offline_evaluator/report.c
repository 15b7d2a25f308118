/* The report: see report.h. */
#include "offline_evaluator/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/memory.h"
#include "offline_evaluator/choice.h"
#include "offline_evaluator/support.h"
#include "offline_evaluator/values.h"

/* ---- What follows from the numbers ---- */

void report_order(const struct evaluation *evaluation, size_t *order)
{
    const struct estimate *values = evaluation->values.values;
    /* By insertion: there are few, and equal ones keep their places. */
    for (size_t i = 0; i < evaluation->policies.n; i++) {
        size_t at = i;
        while (at > 0 && values[order[at - 1]].mean < values[i].mean) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

bool report_behaviour_fits(const struct evaluation *evaluation, size_t k)
{
    const struct estimate *known = &evaluation->behaviour[k].known;
    const struct estimate *estimated = &evaluation->behaviour[k].estimated;
    double least = INFINITY, most = -INFINITY;
    for (size_t p = 0; p < evaluation->policies.n; p++) {
        const double value = evaluation->tasks[k].values[p].mean;
        least = value < least ? value : least;
        most = value > most ? value : most;
    }
    const double spare = 0.1 * (most - least);
    return estimated->low <= known->high + spare && known->low <= estimated->high + spare;
}

/* ---- JSON ---- */

/* Numbers that are not finite have no place in JSON. */
static bool put_number(cJSON *object, const char *key, double value)
{
    return json_put(object, key, isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

static bool put_estimate(cJSON *object, const char *key, const struct estimate *estimate)
{
    char name[64];
    bool ok = put_number(object, key, estimate->mean);
    snprintf(name, sizeof name, "%s_low", key);
    ok = ok && put_number(object, name, estimate->low);
    snprintf(name, sizeof name, "%s_high", key);
    return ok && put_number(object, name, estimate->high);
}

/* "tasks": what a policy is worth by each of several rewards. */
static bool put_tasks(cJSON *object, const struct evaluation *evaluation, size_t p)
{
    cJSON *tasks = cJSON_CreateArray();
    bool ok = json_put(object, "tasks", tasks);
    for (size_t k = 0; ok && k < evaluation->data.K; k++) {
        cJSON *task = cJSON_CreateObject();
        ok = cJSON_AddItemToArray(tasks, task) &&
             json_put(task, "task", cJSON_CreateString(evaluation->signature.rewards[k])) &&
             put_estimate(task, "value", &evaluation->tasks[k].values[p]);
    }
    return ok;
}

static cJSON *policy_json(const struct evaluation *evaluation, size_t p, size_t rank)
{
    const struct evaluated_policy *item = &evaluation->policies.items[p];
    const struct policy_info *info = policy_info(item->policy);
    const double support = values_support(evaluation, p);
    cJSON *object = cJSON_CreateObject();
    bool ok = put_number(object, "rank", (double)rank) &&
              json_put(object, "name", cJSON_CreateString(item->name)) &&
              json_put(object, "path", cJSON_CreateString(item->path)) &&
              json_put(object, "algorithm", cJSON_CreateString(info->algorithm)) &&
              put_number(object, "learner_step", (double)info->learner_step) &&
              json_put(object, "prior", cJSON_CreateBool(item->is_prior)) &&
              json_put(object, "last", cJSON_CreateBool(item->is_last)) &&
              json_put(object, "chosen", cJSON_CreateBool(p == choice_find(evaluation))) &&
              put_estimate(object, "value", &evaluation->values.values[p]) &&
              put_number(object, "best", evaluation->values.best[p]);
    if (ok && evaluation->success.n > 0) {
        ok = put_estimate(object, "success", &evaluation->success.values[p]);
    }
    ok = ok && put_number(object, "support", support) &&
         json_put(object, "leaves_data", cJSON_CreateBool(support > SUPPORT_LIMIT));
    if (ok && evaluation->data.K > 1) {
        ok = put_tasks(object, evaluation, p);
    }
    if (!ok) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static bool put_behaviour(cJSON *report, const struct evaluation *evaluation)
{
    cJSON *list = cJSON_CreateArray();
    bool ok = json_put(report, "behaviour", list);
    for (size_t k = 0; ok && k < evaluation->data.K; k++) {
        cJSON *task = cJSON_CreateObject();
        ok = cJSON_AddItemToArray(list, task) &&
             json_put(task, "task", cJSON_CreateString(evaluation->signature.rewards[k])) &&
             put_estimate(task, "known", &evaluation->behaviour[k].known) &&
             put_estimate(task, "estimated", &evaluation->behaviour[k].estimated) &&
             json_put(task, "fits", cJSON_CreateBool(report_behaviour_fits(evaluation, k)));
    }
    return ok;
}

/* Each pair once, the better policy first. */
static bool put_differences(cJSON *report, const struct evaluation *evaluation, const size_t *order)
{
    const size_t P = evaluation->policies.n;
    cJSON *list = cJSON_CreateArray();
    bool ok = json_put(report, "differences", list);
    for (size_t i = 0; ok && i < P; i++) {
        for (size_t j = i + 1; ok && j < P; j++) {
            const struct evaluated_policy *a = &evaluation->policies.items[order[i]];
            const struct evaluated_policy *b = &evaluation->policies.items[order[j]];
            cJSON *pair = cJSON_CreateObject();
            ok = cJSON_AddItemToArray(list, pair) &&
                 json_put(pair, "policy", cJSON_CreateString(a->name)) &&
                 json_put(pair, "less", cJSON_CreateString(b->name)) &&
                 put_estimate(pair, "difference",
                              &evaluation->values.differences[order[i] * P + order[j]]);
        }
    }
    return ok;
}

static bool fill(cJSON *report, const struct evaluation *evaluation, const size_t *order)
{
    const struct offline_evaluator_options *options = evaluation->options;
    const struct starts *starts = &evaluation->starts;
    cJSON *policies = cJSON_CreateArray();
    bool ok = json_put(report, "policies", policies) &&
              json_put(report, "table", cJSON_CreateString(options->table)) &&
              put_number(report, "episodes", (double)evaluation->data.n_episodes) &&
              put_number(report, "transitions", (double)evaluation->data.n_transitions) &&
              json_put(report, "starts_table", cJSON_CreateString(starts->table)) &&
              put_number(report, "starts", (double)evaluation_starts(evaluation)) &&
              json_put(report, "held_out", cJSON_CreateBool(starts->held_out)) &&
              json_put(report, "method",
                       cJSON_CreateString(evaluation->by_model ? "model" : "fitted_q")) &&
              put_number(report, "gamma", evaluation->gamma) &&
              json_put(report, "acting", cJSON_CreateString(options->acting)) &&
              put_number(report, "level", options->level) &&
              put_number(report, "steps", (double)evaluation->steps) &&
              put_number(report, "critics", (double)options->critics) &&
              put_number(report, "loss", evaluation->loss) &&
              put_number(report, "seconds", evaluation->seconds) &&
              put_behaviour(report, evaluation);
    for (size_t i = 0; ok && i < evaluation->policies.n; i++) {
        ok = cJSON_AddItemToArray(policies, policy_json(evaluation, order[i], i + 1));
    }
    return ok && put_differences(report, evaluation, order);
}

status report_write(const struct evaluation *evaluation, const char *path, struct err *err)
{
    size_t order[POLICIES_MAX];
    report_order(evaluation, order);
    cJSON *report = cJSON_CreateObject();
    status s = report != NULL && fill(report, evaluation, order)
                   ? json_write(path, report, err)
                   : err_set(err, STATUS_NO_MEMORY, "%s", path);
    cJSON_Delete(report);
    return s;
}
