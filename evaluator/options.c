/* The table behind the `evaluator` section. 50 episodes are the paper's window; all other defaults
 * are ours. */
#include "evaluator/options.h"

#include "common/environments/environment.h"

#define FIELD(name) offsetof(struct evaluator_options, name)

static const struct config_option table[] = {
    {"index", CONFIG_INT, FIELD(index), "", "0", 0, 1023, NULL,
     "which of several evaluators this is"},
    {"count", CONFIG_INT, FIELD(count), "", "1", 1, 1024, NULL, "how many evaluators there are"},
    {"window_episodes", CONFIG_INT, FIELD(window_episodes), "episodes", "10", 1, 100000, NULL,
     "episodes per task and snapshot while the run goes on, always from the same starts"},
    {"episodes", CONFIG_INT, FIELD(episodes), "episodes", "50", 1, 100000, NULL,
     "episodes per task of what is reported, at the end and with --policy, from other starts"},
    {"threads", CONFIG_INT, FIELD(threads), "", "2", 1, 256, NULL,
     "episodes at the same time; results do not depend on it"},
    {"act", CONFIG_CHOICE, FIELD(act), "", "mean", 0, 0, "mean|sample",
     "the policy's mean action, or a sample of its distribution"},
    {"min_interval_s", CONFIG_REAL, FIELD(min_interval_s), "s", "5", 0, 1e6, NULL,
     "an evaluation starts no sooner after the one before; versions in between are passed over"},
    {"learner_timeout_s", CONFIG_REAL, FIELD(learner_timeout_s), "s", "0", 0, 1e9, NULL,
     "leave with 1 when there was no learner for so long; 0: wait for ever"},
    {"patience", CONFIG_INT, FIELD(patience), "evaluations", "0", 0, 1e6, NULL,
     "end the run after so many evaluations without improvement; 0: never"},
    {"min_delta", CONFIG_REAL, FIELD(min_delta), "return", "0", 0, 1e9, NULL,
     "improvement is a mean return larger than the best by more than this"},
    {"policy", CONFIG_TEXT, FIELD(policy), "", "", 0, 0, NULL,
     "measure this policy file once, print the result, and leave; no server needed"},
    {"save", CONFIG_TEXT, FIELD(save), "", "", 0, 0, NULL,
     "with --policy: keep the episodes as logs, a dataset in this folder"},
};

struct config_section evaluator_section(struct evaluator_options *options)
{
    return (struct config_section){.name = "evaluator",
                                   .options = table,
                                   .n_options = sizeof table / sizeof table[0],
                                   .values = options};
}

status evaluator_options_check(const struct evaluator_options *options,
                               const struct experiment *experiment, struct err *err)
{
    if (options->index >= options->count) {
        return err_set(err, STATUS_INVALID, "evaluator.index %lld: expected less than count %lld",
                       (long long)options->index, (long long)options->count);
    }
    if (options->save[0] != '\0' && options->policy[0] == '\0') {
        return err_set(err, STATUS_INVALID, "evaluator.save: needs evaluator.policy");
    }
    if (experiment->environment[0] == '\0') {
        return err_set(err, STATUS_INVALID,
                       "experiment.environment is empty: expected a name like cheetah-run");
    }
    /* Now, not when the first parameters come. */
    struct environment *environment;
    status s = environment_open(&environment, experiment->environment, 0, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "experiment.environment");
    }
    environment_close(environment);
    return STATUS_OK;
}
