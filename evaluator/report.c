/* Combines measurements into a report as JSON.
 *
 * A policy file gives one measurement for its policy and one for its prior, where it has one; a run
 * gives these for its best and for its last policy. How a policy is measured is in measurement.c,
 * what a policy file holds in policy_file.c.
 *
 * All measurements use the stream MEASUREMENT_FINAL, whose starts no choice of a policy was based
 * on: the best of many evaluations is too good a guess of what that policy does. */
#include "evaluator/report.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/networks/policy_copy.h"
#include "common/trajectory/dataset_writer.h"

/* The one failure that most functions here share. */
static status no_memory(struct err *err)
{
    return err_set(err, STATUS_NO_MEMORY, "report: out of memory");
}

/* Writes the measured episodes as a dataset with one shard. */
static status save_episodes(const struct measurement *measurement, const char *folder,
                            const struct signature *signature, struct err *err)
{
    struct dataset_writer *writer;
    size_t n = (size_t)measurement->n_tasks * measurement->episodes, n_good = 0;
    /* Only pointers are collected; the rows stay where they are. */
    const struct episode **good = mem_array(n, sizeof(struct episode *));
    if (good == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        /* Failed episodes have no rows and are left out; the numbers of the others stay. */
        if (measurement->kept[i].T > 0) {
            measurement->kept[i].identity =
                (struct episode_identity){.source = 1, .episode = i + 1};
            good[n_good++] = &measurement->kept[i];
        }
    }
    /* The dataset says what made it. */
    status s = dataset_writer_open(&writer, folder, signature,
                                   "{\"program\": \"hindcast-evaluator\"}", err);
    if (s == STATUS_OK) {
        s = dataset_writer_shard(writer, good, n_good, err);
        dataset_writer_close(writer);
    }
    mem_free(good);
    return s == STATUS_OK ? s : err_context(err, s, "save episodes");
}

/* Measures `policy` and adds the result to `object`; `keep`: also saves its episodes, where
 * options->save names a folder. */
static status measure_into(cJSON *object, const struct policy *policy, bool keep,
                           const struct report_settings *settings, struct err *err)
{
    struct measurement *measurement;
    /* The final stream. The number of episodes is not that of the window. */
    struct measurement_settings how = {
        .seed = (uint64_t)settings->experiment->seed,
        .stream = MEASUREMENT_FINAL,
        .index = (uint64_t)settings->options->index,
        .episodes = (uint32_t)settings->options->episodes,
        .sample = strcmp(settings->options->act, "sample") == 0,
        .keep = keep && settings->options->save[0] != '\0',
        .stopping = settings->stopping,
        .arg = settings->arg,
    };
    status s = measurement_take(&measurement, policy, settings->pool, &how, err);
    if (s == STATUS_OK) {
        /* Saving comes last, and its failure fails the report: the episodes were asked for. */
        s = measurement_to_json(measurement, object) == STATUS_OK ? STATUS_OK : no_memory(err);
        if (s == STATUS_OK && measurement->kept != NULL) {
            s = save_episodes(measurement, settings->options->save,
                              &settings->pool->description.signature, err);
        }
        measurement_free(measurement);
    }
    return s;
}

/* Measures the prior of the package at `path`, if it has one: "prior" and prior_return_mean. */
static status add_prior(cJSON *object, const char *path, const struct report_settings *settings,
                        struct err *err)
{
    struct policy *prior;
    status s = policy_read_prior(&prior, path, err);
    if (s == STATUS_NOT_FOUND) {
        return STATUS_OK;
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* The object belongs to the report from here on, also where measuring fails. */
    cJSON *measured = cJSON_AddObjectToObject(object, "prior");
    s = measured != NULL ? measure_into(measured, prior, false, settings, err) : no_memory(err);
    policy_free(prior);
    /* Repeated at the top level, where the policy's own mean is. */
    if (s == STATUS_OK) {
        const cJSON *mean = cJSON_GetObjectItemCaseSensitive(measured, "return_mean");
        s = cJSON_AddNumberToObject(object, "prior_return_mean", mean->valuedouble) != NULL
                ? STATUS_OK
                : no_memory(err);
    }
    return s;
}

/* What was measured, and how: with it a report can be repeated. */
static status describe(cJSON *object, const struct policy *policy,
                       const struct report_settings *settings, struct err *err)
{
    const struct policy_info *info = policy_info(policy);
    const struct experiment *experiment = settings->experiment;
    bool ok = cJSON_AddStringToObject(object, "environment", experiment->environment) &&
              cJSON_AddStringToObject(object, "algorithm", info->algorithm) &&
              cJSON_AddNumberToObject(object, "learner_step", (double)info->learner_step) &&
              cJSON_AddNumberToObject(object, "episodes", (double)settings->options->episodes) &&
              cJSON_AddNumberToObject(object, "seed", (double)experiment->seed) &&
              cJSON_AddStringToObject(object, "act", settings->options->act) &&
              cJSON_AddNumberToObject(object, "candidates", policy_candidates(policy));
    return ok ? STATUS_OK : no_memory(err);
}

/* Loads and measures the policy at `path`, and its prior. */
static status fill_policy(cJSON *object, const char *path, const struct report_settings *settings,
                          struct err *err)
{
    struct policy *policy;
    status s = policy_file_load(path, &policy, NULL, err);
    if (s != STATUS_OK) {
        return s;
    }
    policy_limit_candidates(policy, (int)settings->options->candidates);
    /* The policy's own results first; the prior's are added to them. */
    s = describe(object, policy, settings, err);
    s = s != STATUS_OK ? s : measure_into(object, policy, true, settings, err);
    policy_free(policy);
    return s != STATUS_OK ? s : add_prior(object, path, settings, err);
}

status report_policy(cJSON **report, const char *path, const struct report_settings *settings,
                     struct err *err)
{
    cJSON *made = cJSON_CreateObject();
    status s = made == NULL ? no_memory(err) : fill_policy(made, path, settings, err);
    if (s != STATUS_OK) {
        cJSON_Delete(made);
        return s;
    }
    *report = made;
    return STATUS_OK;
}

/* ---- A run ---- */

/* What is known of a policy from the run: when it was published, and how it did then. */
static status add_notes(cJSON *object, const struct policy_notes *notes, struct err *err)
{
    bool ok = cJSON_AddStringToObject(object, "run_id", notes->run_id) &&
              cJSON_AddNumberToObject(object, "version", (double)notes->version) &&
              cJSON_AddNumberToObject(object, "window_return_mean", notes->return_mean) &&
              cJSON_AddNumberToObject(object, "wall_s", notes->wall_s);
    return ok ? STATUS_OK : no_memory(err);
}

/* The report of a run: the best policy's at the top level, that of the last policy under "last". */
static status fill_run(cJSON *object, const struct run_files *files,
                       const struct report_settings *settings, struct err *err)
{
    struct policy_notes best, last;
    /* The notes of both first: they show that both files are whole before minutes are spent on
     * measuring. */
    status s = policy_file_load(files->policy, NULL, &best, err);
    s = s != STATUS_OK ? s : policy_file_load(files->policy_last, NULL, &last, err);
    s = s != STATUS_OK ? s : add_notes(object, &best, err);
    s = s != STATUS_OK ? s : fill_policy(object, files->policy, settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    cJSON *of_last = cJSON_AddObjectToObject(object, "last");
    if (of_last == NULL) {
        return no_memory(err);
    }
    s = add_notes(of_last, &last, err);
    return s != STATUS_OK ? s : fill_policy(of_last, files->policy_last, settings, err);
}

status report_run(cJSON **report, const struct run_files *files,
                  const struct report_settings *settings, struct err *err)
{
    cJSON *made = cJSON_CreateObject();
    status s = made == NULL ? no_memory(err) : fill_run(made, files, settings, err);
    if (s == STATUS_OK && !cJSON_AddNumberToObject(made, "time", (double)clock_wall_ns() / 1e9)) {
        s = no_memory(err);
    }
    /* Written last: the file tells that the report is complete. */
    s = s != STATUS_OK ? s : json_write(files->report, made, err);
    if (s != STATUS_OK) {
        cJSON_Delete(made);
        return s;
    }
    *report = made;
    return STATUS_OK;
}
