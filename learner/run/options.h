/* The `learner` section of the configuration: the hyperparameters (learner/step/settings.h), where
 * batches come from, how long a run lasts, what is written and served. And what follows from it:
 * the settings of a step, the threads, a rank's slice of the batch, the terms of a group. */
#ifndef HINDCAST_LEARNER_RUN_OPTIONS_H
#define HINDCAST_LEARNER_RUN_OPTIONS_H

#include "common/base/config.h"
#include "common/service/endpoint.h"
#include "common/trajectory/signature.h"
#include "learner/step/settings.h"

/* The value of a hyperparameter as the configuration gives it, in the type that CONFIG_* has. */
union learner_value {
    int64_t number;
    double real;
    char text[CONFIG_TEXT_SIZE];
    struct config_ints ints;
};

struct learner_options {
    /* The hyperparameters, in the order of settings_at. */
    union learner_value values[SETTINGS_COUNT];

    char tasks[CONFIG_TEXT_SIZE]; /* "all", or how many are drawn per snippet */
    int64_t batch_snippets, snippet_transitions;
    char normalize[CONFIG_TEXT_SIZE]; /* auto, none, standard: the setting of this name */

    /* Where the batches come from. */
    char table[CONFIG_TEXT_SIZE];
    bool require_sealed;
    int64_t prefetch_batches;

    /* Prioritized replay: prioritizer.h. */
    char priorities[CONFIG_TEXT_SIZE]; /* none, table, td_error */
    double importance_exponent, priority_mix, priority_offset;

    /* How long, and on what. */
    int64_t steps;
    double max_seconds;
    int64_t threads;
    char kernels[CONFIG_TEXT_SIZE]; /* a name that kernels_select takes */

    /* What is written and served. */
    char listen[CONFIG_TEXT_SIZE];
    struct endpoint_options endpoint;
    int64_t publish_every, report_every, keep_policies;
    int64_t validation_snippets; /* of each side; 0: none */
    double checkpoint_every_seconds;
    int64_t checkpoint_every_steps, keep_checkpoints;
    double linger_seconds;
    int64_t followers;

    /* Several learners of one model. */
    int64_t ranks, rank;
    char exchange[CONFIG_TEXT_SIZE];
    struct config_ints slices;
    double exchange_timeout_seconds;

    /* Instead of learning: learner/tools/commands.h. */
    int64_t profile;
    char rerun_step[CONFIG_TEXT_SIZE];
};

/* The table for config_load, with `values` pointing to `options`. */
struct config_section learner_options_section(struct learner_options *options);

/* The same section for config_digest and config_print_text, with the names under which options are
 * recorded in checkpoints: an option that was renamed keeps its old one there. */
struct config_section learner_options_recorded(const struct learner_options *options);

/* What can be checked before the table is known. INVALID names the option. */
status learner_options_check(const struct learner_options *options, struct err *err) MUST_CHECK;

/* The settings for a table with this signature, checked. INVALID names the option. Where `normalize`
 * is auto they are those of a new run; a run that goes on keeps what it began with. */
status learner_options_settings(const struct learner_options *options,
                                const struct signature *signature, uint64_t seed,
                                struct settings *settings, struct err *err) MUST_CHECK;

/* Does the run decide whether observations are normalized? A run that goes on keeps what it began
 * with, as the state tells; a new one normalizes. */
bool learner_options_normalize_auto(const struct learner_options *options);

/* Are snippets weighted by the probability of their draw, and are priorities sent back? */
bool learner_options_prioritized(const struct learner_options *options);
bool learner_options_sends_priorities(const struct learner_options *options);

/* Threads to use: `threads`, or else the cores that this process may run on. Ranks on this machine
 * share them, unless each is bound to cores of its own. Never more than the rank has snippets. */
int learner_options_threads(const struct learner_options *options);

/* The snippets of each batch that belong to a rank: *begin .. *begin + *count - 1. After
 * learner_options_check. */
void learner_options_slice(const struct learner_options *options, int64_t rank, int64_t *begin,
                           int64_t *count);

/* What all ranks must have in common, as lines "name: value": the program's version, `seed`, and
 * all options of the learner except those that may differ between processes. The caller frees it
 * (mem_free). NULL: out of memory. */
char *learner_options_terms(const struct learner_options *options, int64_t seed);

#endif
