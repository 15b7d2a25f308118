/* Turns a record of evaluator.jsonl into points for TensorBoard. The file format is
 * common/base/event_file's.
 *
 * The points of one evaluation are gathered in `points` and written together, all at the learner
 * step of the record. The curves are a view for people: evaluator.jsonl has all of their numbers,
 * so nothing here can fail an evaluation. One thread, the one that evaluates. */
#include "evaluator/curves.h"

#include <math.h>
#include <stdio.h>

#include "common/base/event_file.h"
#include "common/base/memory.h"
#include "evaluator/measurement.h"
#include "evaluator/statistics.h"

/* An open file, and the points of the evaluation that is being added. */
struct curves {
    struct event_file *file;
    size_t n;
    struct event_scalar points[EVENT_SCALARS_MAX];
};

status curves_open(struct curves **curves, const char *folder, double seen_step, struct err *err)
{
    struct curves *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "curves: out of memory");
    }
    /* The file tells readers from which step on it replaces what older files say. */
    uint64_t first = seen_step >= 0 ? (uint64_t)seen_step + 1 : 0;
    status s = event_file_open(&made->file, folder, first, err);
    if (s != STATUS_OK) {
        mem_free(made);
        return s;
    }
    *curves = made;
    return STATUS_OK;
}

void curves_close(struct curves *curves)
{
    if (curves != NULL) {
        event_file_close(curves->file);
        mem_free(curves);
    }
}

/* Adds the number `key` of `object` as a point `tag`, or `tag`/`task`; nothing where it is
 * absent. */
static void add_number(struct curves *curves, const cJSON *object, const char *key, const char *tag,
                       const char *task)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    /* A statistic that is NaN is null in JSON, and gives no point. */
    if (cJSON_IsNumber(item) && curves->n < EVENT_SCALARS_MAX) {
        struct event_scalar *point = &curves->points[curves->n++];
        snprintf(point->tag, sizeof point->tag, "%s%s%s", tag, task != NULL ? "/" : "",
                 task != NULL ? task : "");
        point->value = item->valuedouble;
    }
}

/* Adds a point of the whole evaluation. */
static void add_value(struct curves *curves, const char *tag, double value)
{
    if (isfinite(value) && curves->n < EVENT_SCALARS_MAX) {
        struct event_scalar *point = &curves->points[curves->n++];
        snprintf(point->tag, sizeof point->tag, "%s", tag);
        point->value = value;
    }
}

/* The names that other libraries have for these, so that their runs can be drawn beside ours. */
static void add_usual_names(struct curves *curves, const cJSON *record)
{
    const double steps = measurement_number(record, "steps");
    double episodes = 0;
    const cJSON *task;
    cJSON_ArrayForEach(task, cJSON_GetObjectItemCaseSensitive(record, "tasks"))
    {
        episodes += measurement_number(task, "n");
    }
    add_value(curves, "eval/mean_reward", measurement_number(record, "return_mean"));
    add_value(curves, "eval/mean_ep_length", steps / episodes);
    add_value(curves, "time/fps", steps / measurement_number(record, "seconds"));
}

void curves_add(struct curves *curves, const cJSON *record, double best)
{
    /* The x axis is learning progress and not time, so that runs on machines of different speed
     * compare. */
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(record, "learner_step");
    const cJSON *task;
    /* Of the whole evaluation first, then of each task. */
    curves->n = 0;
    add_number(curves, record, "return_mean", "return_mean", NULL);
    add_number(curves, record, "seconds", "evaluation_seconds", NULL);
    add_value(curves, "best_return_mean", best);
    add_usual_names(curves, record);
    cJSON_ArrayForEach(task, cJSON_GetObjectItemCaseSensitive(record, "tasks"))
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(task, "task"));
        for (size_t i = 0; name != NULL && i < STATISTICS_N; i++) {
            /* One curve per task and statistic: return_mean/walk, return_min/walk, .. */
            char tag[32];
            snprintf(tag, sizeof tag, "return_%s", statistics_names[i]);
            add_number(curves, task, statistics_names[i], tag, name);
        }
        if (name != NULL) {
            add_number(curves, task, "success_rate", "success_rate", name);
        }
    }
    event_file_add(curves->file, cJSON_IsNumber(step) ? (uint64_t)step->valuedouble : 0,
                   curves->points, curves->n);
}
