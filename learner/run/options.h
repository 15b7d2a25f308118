/* The `learner` section: every option of the learner, and the settings of the arithmetic that
 * follow from it. */
#ifndef HINDCAST_LEARNER_RUN_OPTIONS_H
#define HINDCAST_LEARNER_RUN_OPTIONS_H

#include "common/base/config.h"
#include "common/trajectory/signature.h"
#include "learner/step/settings.h"

struct learner_options {
    /* What is learned, and how. Names as in docs/maths.md. */
    char algorithm[CONFIG_TEXT_SIZE];
    char tasks[CONFIG_TEXT_SIZE]; /* "all", or how many are drawn per snippet */
    int64_t batch_snippets, snippet_transitions, samples;
    struct config_ints widths;
    double gamma;
    int64_t target_period;
    double lr, dual_lr, beta1, beta2, adam_eps, clip_norm;
    double eps, eps_mean, eps_std, entropy_cost;
    char prior_likelihood[CONFIG_TEXT_SIZE];
    char prior_f[CONFIG_TEXT_SIZE];
    double temperature, max_weight;
    double init_std, policy_min_std, prior_min_std;
    double init_eta, init_alpha_mean, init_alpha_std, rho_floor;
    int64_t candidates, act_candidates;
    double perturb_scale;

    /* Where the batches come from. */
    char table[CONFIG_TEXT_SIZE];
    bool require_sealed;
    int64_t prefetch_batches;

    /* How long, and on what. */
    int64_t steps;
    double max_seconds;
    int64_t threads;
    char evaluation_precision[CONFIG_TEXT_SIZE];

    /* What is written and served. */
    char listen[CONFIG_TEXT_SIZE];
    char tokens_file[CONFIG_TEXT_SIZE];
    int64_t max_calls;
    int64_t publish_every, report_every;
    double checkpoint_every_seconds;
    int64_t checkpoint_every_steps, keep_checkpoints;
    double linger_seconds;
    int64_t followers;

    /* Several learners of one model. */
    int64_t ranks, rank;
    char exchange[CONFIG_TEXT_SIZE];
    struct config_ints slices;
    double exchange_timeout_seconds;

    /* In place of learning: commands.h. */
    int64_t profile;
    char replay_batch[CONFIG_TEXT_SIZE];
};

/* The table for config_load, with `values` pointing to `options`. */
struct config_section learner_options_section(struct learner_options *options);

/* What can be checked before the table is known. INVALID names the option. */
status learner_options_check(const struct learner_options *options, struct err *err) MUST_CHECK;

/* The settings for a table with this signature, checked. INVALID names the option. */
status learner_options_settings(const struct learner_options *options,
                                const struct signature *signature, uint64_t seed,
                                struct settings *settings, struct err *err) MUST_CHECK;

/* Threads to use: `threads`, or the cores this process may run on, shared with the other ranks
 * where all are on this machine and none is bound to cores of its own; never more than the rank's
 * snippets. */
int learner_options_threads(const struct learner_options *options);

/* The snippets of each batch that a rank takes: *begin .. *begin + *count - 1. After
 * learner_options_check. */
void learner_options_slice(const struct learner_options *options, int64_t rank, int64_t *begin,
                           int64_t *count);

/* What all ranks must have in common, as "name: value" lines: the program's version, `seed`, and
 * all options of the learner but those that each process may have for itself (docs). The caller's
 * (mem_free); NULL: out of memory. */
char *learner_options_terms(const struct learner_options *options, int64_t seed);

#endif
