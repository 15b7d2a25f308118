/* The table behind the `collector` section, and the checks that involve more than one option.
 *
 * All defaults are ours. The checks run before anything is made, so that a wrong option leaves no
 * trace in the run's folder. */
#include "collector/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/reorder_buffer.h"
#include "common/base/cores.h"

#define NOISE_MAX 10.0 /* ten times the range of an action: beyond, all actions are clipped */

/* Where the parser stores a value. */
#define FIELD(name) offsetof(struct collector_options, name)

/* Name, type, place, unit, default, least, most, choices, help. */
static const struct config_option collector_options_table[] = {
    {"index", CONFIG_INT, FIELD(index), "", "0", 0, 1023, NULL,
     "number of this collector among several"},
    {"count", CONFIG_INT, FIELD(count), "", "1", 1, 1024, NULL, "number of collectors in the run"},
    {"act", CONFIG_CHOICE, FIELD(act), "", "policy", 0, 0, "policy|random|script",
     "act with a policy, sampled, uniformly at random, or by the environment's script"},
    {"policy", CONFIG_TEXT, FIELD(policy), "", "", 0, 0, NULL,
     "act policy: a saved policy file, which needs no learner; empty: the learner's newest"},
    {"initial", CONFIG_CHOICE, FIELD(initial), "", "random", 0, 0, "random|wait",
     "until the first parameters arrive: act at random, or wait"},
    {"random_episodes", CONFIG_INT, FIELD(random_episodes), "episodes", "0", 0, 1e9, NULL,
     "act at random in this many first episodes"},
    {"script_noise", CONFIG_TEXTS, FIELD(script_noise), "", "[0]", 0, 0, NULL,
     "standard deviations of the script's AR(1) noise; each episode draws one of them"},
    {"noise_correlation", CONFIG_REAL, FIELD(noise_correlation), "", "0", 0, 0.999, NULL,
     "act policy: of the noise that it is sampled with, from a step to the next (AR(1))"},
    {"reset_episodes", CONFIG_INT, FIELD(reset_episodes), "episodes", "1", 1, 1e9, NULL,
     "a new start state every so many episodes; the others go on in the scene that the last one "
     "left"},
    {"advanced", CONFIG_REAL, FIELD(advanced), "", "0", 0, 1, NULL,
     "probability that a new start state is one further along the task, such as a block in the "
     "hand"},
    {"tasks", CONFIG_TEXTS, FIELD(tasks), "", "", 0, 0, NULL,
     "tasks to pursue, by the names of their rewards; each episode draws one. Empty: all"},
    {"environments", CONFIG_INT, FIELD(environments), "", "1", 1, 256, NULL,
     "environments to act in at the same time; the log does not depend on their number"},
    {"threads", CONFIG_INT, FIELD(threads), "", "0", 0, 256, NULL,
     "threads that act in them, each with its share, for all of which the policy is evaluated in "
     "one "
     "batch; 0: one for each environment, or for each core where there are fewer"},
    {"episodes", CONFIG_INT, FIELD(episodes), "episodes", "0", 0, 1e12, NULL,
     "episodes to collect in total, earlier starts included; 0: until the run ends"},
    {"refresh_steps", CONFIG_INT, FIELD(refresh_steps), "steps", "0", 0, 1e9, NULL,
     "take the newest parameters after this many steps; 0: when an episode starts"},
    {"insert", CONFIG_BOOL, FIELD(insert), "", "false", 0, 0, NULL,
     "insert finished episodes into the replay server (online learning)"},
    {"table", CONFIG_TEXT, FIELD(table), "", "default", 0, 0, NULL, "replay table to insert into"},
    {"folder", CONFIG_TEXT, FIELD(folder), "", "", 0, 0, NULL,
     "folder of the logs; empty: RUN_DIR/logs (with several collectors RUN_DIR/logs/"
     "collector-INDEX)"},
    {"shard_episodes", CONFIG_INT, FIELD(shard_episodes), "episodes", "100", 1, 100000, NULL,
     "episodes per log file; until then they are kept in the journal"},
    {"finish_run", CONFIG_BOOL, FIELD(finish_run), "", "false", 0, 0, NULL,
     "end the run, including the learner, after the last episode"},
};

struct config_section collector_section(struct collector_options *options)
{
    return (struct config_section){.name = "collector",
                                   .options = collector_options_table,
                                   .n_options = sizeof collector_options_table /
                                                sizeof collector_options_table[0],
                                   .values = options};
}

/* Describes the environment, which finds a wrong name or an absent model. */
static status check_environment(const struct collector_options *options,
                                const struct experiment *experiment,
                                struct environment_description *environment, struct err *err)
{
    /* The description also tells how many environments may be open. */
    if (experiment->environment[0] == '\0') {
        return err_set(err, STATUS_INVALID,
                       "experiment.environment is empty: expected a name like cheetah-run");
    }
    status s = environment_describe(environment, experiment->environment, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "experiment.environment");
    }
    if (options->environments > environment->open_max) {
        return err_set(err, STATUS_INVALID,
                       "collector.environments %" PRId64 ": %s may be opened %u times at once",
                       options->environments, experiment->environment, environment->open_max);
    }
    return STATUS_OK;
}

/* Fills in `threads`. Where a step takes real time each environment has one of its own. */
static void choose_threads(struct collector_options *options,
                           const struct environment_description *environment)
{
    if (options->threads == 0) {
        options->threads = cores_available();
    }
    if (environment->real_time || options->threads > options->environments) {
        options->threads = options->environments;
    }
}

/* noise <- script_noise. */
static status parse_noise(struct collector_options *options, struct err *err)
{
    if (options->script_noise.n == 0) {
        return err_set(err, STATUS_INVALID, "collector.script_noise: empty, expected numbers");
    }
    for (size_t i = 0; i < options->script_noise.n; i++) {
        const char *text = options->script_noise.items[i];
        char *end;
        double value = strtod(text, &end);
        /* Written so that NaN fails too. */
        if (end == text || *end != '\0' || !(value >= 0.0 && value <= NOISE_MAX)) {
            return err_set(err, STATUS_INVALID,
                           "collector.script_noise: \"%.40s\": expected a number in 0..%g", text,
                           NOISE_MAX);
        }
        options->noise[i] = value;
    }
    return STATUS_OK;
}

/* pursued <- tasks. */
static status find_tasks(struct collector_options *options, const struct signature *signature,
                         struct err *err)
{
    for (uint32_t k = 0; k < SIGNATURE_TASKS_MAX; k++) {
        options->pursued[k] = options->tasks.n == 0;
    }
    for (size_t i = 0; i < options->tasks.n; i++) {
        const char *name = options->tasks.items[i];
        uint32_t k = 0;
        while (k < signature->K && strcmp(signature->rewards[k], name) != 0) {
            k++;
        }
        if (k == signature->K) {
            char known[SIGNATURE_TASKS_MAX * (SIGNATURE_NAME_SIZE + 1)] = "";
            for (uint32_t j = 0; j < signature->K; j++) {
                strcat(strcat(known, j == 0 ? "" : " "), signature->rewards[j]);
            }
            return err_set(err, STATUS_INVALID, "collector.tasks: %.60s: expected some of %s", name,
                           known);
        }
        options->pursued[k] = true;
    }
    return STATUS_OK;
}

/* Options that only some environments support. */
static status check_support(const struct collector_options *options,
                            const struct environment_description *environment, struct err *err)
{
    if (strcmp(options->act, "script") == 0 && !environment->scripted) {
        return err_set(err, STATUS_INVALID, "collector.act script: %s has no script",
                       environment->uri);
    }
    if (options->reset_episodes > 1 && !(environment->start_flags & ENVIRONMENT_START_KEEP)) {
        return err_set(err, STATUS_INVALID,
                       "collector.reset_episodes %" PRId64 ": %s cannot go on from its last scene",
                       options->reset_episodes, environment->uri);
    }
    /* Episodes that share a scene wait for one another (worker_pool.h). */
    if (options->environments > 1 &&
        options->environments * options->reset_episodes >= REORDER_WINDOW_MAX) {
        return err_set(err, STATUS_INVALID,
                       "collector.reset_episodes %" PRId64 " in %" PRId64
                       " environments: expected a product below %u",
                       options->reset_episodes, options->environments, REORDER_WINDOW_MAX);
    }
    if (options->advanced > 0.0 && !(environment->start_flags & ENVIRONMENT_START_ADVANCED)) {
        return err_set(err, STATUS_INVALID,
                       "collector.advanced %g: %s has no start states further along",
                       options->advanced, environment->uri);
    }
    return STATUS_OK;
}

/* The default folder of the logs, below the folder of the run. */
static status choose_folder(struct collector_options *options, const struct experiment *experiment,
                            struct err *err)
{
    /* Several collectors of a run each have a folder of their own. */
    char folder[2 * CONFIG_TEXT_SIZE];
    if (options->count == 1) {
        snprintf(folder, sizeof folder, "%s/logs", experiment->run_dir);
    } else {
        snprintf(folder, sizeof folder, "%s/logs/collector-%" PRId64, experiment->run_dir,
                 options->index);
    }
    /* The buffer above is larger than the option, so nothing has been cut off yet. */
    if (strlen(folder) >= sizeof options->folder) {
        return err_set(err, STATUS_INVALID, "collector.folder: %s is too long", folder);
    }
    strcpy(options->folder, folder);
    return STATUS_OK;
}

status collector_options_finish(struct collector_options *options,
                                const struct experiment *experiment,
                                struct environment_description *environment, struct err *err)
{
    /* Options against each other first, then against the environment. */
    if (options->index >= options->count) {
        return err_set(err, STATUS_INVALID,
                       "collector.index %" PRId64 ": expected less than collector.count %" PRId64,
                       options->index, options->count);
    }
    /* A run without a last episode would never be ended. */
    if (options->finish_run && options->episodes == 0) {
        return err_set(err, STATUS_INVALID,
                       "collector.finish_run: needs collector.episodes, which is 0 (no end)");
    }
    if (options->policy[0] != '\0' && strcmp(options->act, "policy") != 0) {
        return err_set(err, STATUS_INVALID, "collector.policy: needs collector.act policy, not %s",
                       options->act);
    }
    if (options->noise_correlation > 0.0 && strcmp(options->act, "policy") != 0) {
        return err_set(err, STATUS_INVALID,
                       "collector.noise_correlation %g: needs collector.act policy, not %s",
                       options->noise_correlation, options->act);
    }
    status s = parse_noise(options, err);
    s = s != STATUS_OK ? s : check_environment(options, experiment, environment, err);
    s = s != STATUS_OK ? s : check_support(options, environment, err);
    s = s != STATUS_OK ? s : find_tasks(options, &environment->signature, err);
    if (s == STATUS_OK) {
        choose_threads(options, environment);
    }
    /* A folder that was given is used as it is. */
    if (s == STATUS_OK && options->folder[0] == '\0') {
        s = choose_folder(options, experiment, err);
    }
    return s;
}
