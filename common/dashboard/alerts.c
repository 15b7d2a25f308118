/* Comparisons with NaN are false, so a figure that a run does not have gives no alert. */
#include "common/dashboard/alerts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/dashboard/processes.h"

#define WAIT_SHARE_HIGH 0.5
#define ACCEPTED_LOW    0.01
#define LOOK_BACK       20u /* evaluations without a better one */

/* A list that fails as a whole when memory fails. */
struct alert_list {
    cJSON *items;
};

static void say(struct alert_list *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct alert_list *list, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cJSON *item = cJSON_CreateString(text);
    if (!cJSON_AddItemToArray(list->items, item)) {
        cJSON_Delete(item);
        cJSON_Delete(list->items);
        list->items = NULL;
    }
}

/* Processes that do not answer while the run goes on. */
static void of_processes(struct alert_list *list, const cJSON *processes)
{
    const cJSON *process;
    cJSON_ArrayForEach(process, processes)
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(process, "name"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(process, "text"));
        if (name != NULL && text != NULL && !processes_answers(process)) {
            say(list, "%s does not answer: %s", name, text);
        } else if (name != NULL && text != NULL && processes_denies(process)) {
            say(list, "%s does not tell its state: %s", name, text);
        }
    }
}

static void of_learner(struct alert_list *list, const struct series *learner)
{
    const double wait = series_last(learner, "wait_share");
    const double accepted = series_last(learner, "accepted");
    if (wait > WAIT_SHARE_HIGH) {
        say(list,
            "the learner waits for data %.0f%% of its time: see what the replay server waits for",
            100 * wait);
    }
    if (accepted < ACCEPTED_LOW) {
        say(list, "the prior accepts %.2g%% of the logged actions: it learns from almost nothing",
            100 * accepted);
    }
    if (series_rows(learner) > 0 && isnan(series_last(learner, "critic_loss"))) {
        say(list, "the critic's loss is not a number");
    }
}

static void of_evaluations(struct alert_list *list, const struct series *evaluations)
{
    const double failed = series_last(evaluations, "failed_episodes");
    const double since = series_since_best(evaluations, "return_mean");
    if (failed > 0) {
        say(list, "the simulation failed in %.0f episodes of the last evaluation", failed);
    }
    if (since >= LOOK_BACK) {
        say(list, "the return has not improved in the last %.0f evaluations", since);
    }
}

cJSON *alerts_of(const struct run_view *view, const char *state, const cJSON *processes)
{
    struct alert_list list = {cJSON_CreateArray()};
    if (list.items != NULL && strcmp(state, "running") == 0) {
        of_processes(&list, processes);
        of_learner(&list, view->learner);
        of_evaluations(&list, view->evaluations);
    }
    return list.items;
}
