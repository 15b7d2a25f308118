/* The table behind the `evaluator` section, and the checks that involve more than one option. 50
 * episodes are the paper's window; all other defaults are ours. */
#include "evaluator/options.h"

#include "common/base/memory.h"
#include "common/environments/environment.h"
#include "evaluator/stop_rule.h"

/* Where the parser stores a value. */
#define FIELD(name) offsetof(struct evaluator_options, name)

/* Name, type, place, unit, default, least, most, choices, help. */
static const struct config_option evaluator_options_table[] = {
    {"index", CONFIG_INT, FIELD(index), "", "0", 0, 1023, NULL,
     "number of this evaluator among several"},
    {"count", CONFIG_INT, FIELD(count), "", "1", 1, 1024, NULL, "number of evaluators in the run"},
    {"window_episodes", CONFIG_INT, FIELD(window_episodes), "episodes", "10", 1, 100000, NULL,
     "episodes per task of each evaluation during the run, always from the same starts"},
    {"episodes", CONFIG_INT, FIELD(episodes), "episodes", "50", 1, 100000, NULL,
     "episodes per task of the final report, and with --policy; from other starts"},
    {"threads", CONFIG_INT, FIELD(threads), "", "2", 1, 256, NULL,
     "threads that act; results do not depend on it"},
    {"environments", CONFIG_INT, FIELD(environments), "", "0", 0, 4096, NULL,
     "environments that they act in; each thread evaluates the policy for all of its own in one "
     "batch. 0: 8 for each thread, or 1 where a step takes real time; results do not depend on it"},
    {"act", CONFIG_CHOICE, FIELD(act), "", "mean", 0, 0, "mean|sample",
     "act with the policy's mean action, or with a sample of its distribution"},
    {"candidates", CONFIG_INT, FIELD(candidates), "actions", "1024", 1, 1024, NULL,
     "a policy that takes the best of several samples chooses from at most so many; 1: it acts by "
     "its mean"},
    {"min_interval_s", CONFIG_REAL, FIELD(min_interval_s), "s", "5", 0, 1e6, NULL,
     "least time between the starts of two evaluations; versions in between are skipped"},
    {"learner_timeout_s", CONFIG_REAL, FIELD(learner_timeout_s), "s", "0", 0, 1e9, NULL,
     "exit with 1 after this time without a learner; 0: wait for ever"},
    {"patience", CONFIG_INT, FIELD(patience), "evaluations", "0", 0, 1e6, NULL,
     "end the run after this many evaluations without improvement; 0: never"},
    {"stop_window", CONFIG_INT, FIELD(stop_window), "evaluations", "1", 1, STOP_RULE_WINDOW_MAX,
     NULL,
     "what has to improve is the mean over this many last evaluations; on a robot 50 of one "
     "episode each"},
    {"min_delta", CONFIG_REAL, FIELD(min_delta), "return", "0", 0, 1e9, NULL,
     "an improvement is a mean return that exceeds the best by more than this"},
    {"improvement", CONFIG_CHOICE, FIELD(improvement), "", "mean", 0, 0, "mean|any_task",
     "what has to improve: the mean over tasks, or the return of any one of them"},
    {"films_s", CONFIG_REAL, FIELD(films_s), "s", "0", 0, 1e9, NULL,
     "following a run: film an episode of the newest policy this often, of one task after the "
     "other, "
     "for the dashboard: RUN_DIR/films/TASK.gif and .png; evaluator 0 only; 0: none"},
    {"policy", CONFIG_TEXT, FIELD(policy), "", "", 0, 0, NULL,
     "measure this policy file, print the result and exit; needs no server"},
    {"save", CONFIG_TEXT, FIELD(save), "", "", 0, 0, NULL,
     "with --policy: save the episodes as logs, a dataset in this folder"},
    {"video", CONFIG_TEXT, FIELD(video), "", "", 0, 0, NULL,
     "with --policy: film the first episode of each task: an animated GIF of this name (of several "
     "tasks NAME-TASK.gif), and a contact sheet beside it (.png)"},
};

struct config_section evaluator_section(struct evaluator_options *options)
{
    return (struct config_section){.name = "evaluator",
                                   .options = evaluator_options_table,
                                   .n_options = sizeof evaluator_options_table /
                                                sizeof evaluator_options_table[0],
                                   .values = options};
}

status evaluator_options_check(const struct evaluator_options *options,
                               const struct experiment *experiment, struct err *err)
{
    /* Options against each other, before anything is looked up. */
    if (options->index >= options->count) {
        return err_set(err, STATUS_INVALID, "evaluator.index %lld: expected less than count %lld",
                       (long long)options->index, (long long)options->count);
    }
    /* The report of a run measures two policies, whose episodes would go to the same folder. */
    if (options->save[0] != '\0' && options->policy[0] == '\0') {
        return err_set(err, STATUS_INVALID, "evaluator.save: needs evaluator.policy");
    }
    if (options->video[0] != '\0' && options->policy[0] == '\0') {
        return err_set(err, STATUS_INVALID, "evaluator.video: needs evaluator.policy");
    }
    if (experiment->environment[0] == '\0') {
        return err_set(err, STATUS_INVALID,
                       "experiment.environment is empty: expected a name like cheetah-run");
    }
    /* Described now, so that a wrong name or an absent model is reported at once; opened later. */
    struct environment_description *description = mem_new(sizeof *description);
    if (description == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "experiment.environment: out of memory");
    }
    status s = environment_describe(description, experiment->environment, err);
    mem_free(description);
    return s == STATUS_OK ? s : err_context(err, s, "experiment.environment");
}
