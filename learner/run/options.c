/* The learner's options. See options.h. "ours" marks what the paper's main text does not give. */
#include "learner/run/options.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/rpc/rpc.h"
#include "learner/exchange/group.h"

#define AT(field)  offsetof(struct learner_options, field)
#define NUMBER_MAX 9007199254740992.0 /* 2^53 */

static const struct config_option OPTIONS[] = {
    {"algorithm", CONFIG_CHOICE, AT(algorithm), "", "abm+mpo", 0, 0,
     "mpo|svg|bm+mpo|abm+mpo|bm+svg|abm+svg|bm|abm|bcq|bear",
     "what is learned; bm and abm act with the prior alone"},
    {"tasks", CONFIG_TEXT, AT(tasks), "", "all", 0, 0, NULL,
     "tasks that each snippet trains: all, or how many are drawn for it"},
    {"batch_snippets", CONFIG_INT, AT(batch_snippets), "snippets", "64", 1, 65536, NULL,
     "snippets in a batch (ours; 512 is the large size)"},
    {"snippet_transitions", CONFIG_INT, AT(snippet_transitions), "transitions", "8", 1, 1024, NULL,
     "transitions in a full snippet, N (ours; 10 is the large size)"},
    {"samples", CONFIG_INT, AT(samples), "actions", "20", 1, 1024, NULL,
     "sampled actions per state, M (the paper's)"},
    {"widths", CONFIG_INTS, AT(widths), "units", "[256, 256, 256]", 1, NETWORK_WIDTH_MAX, NULL,
     "hidden layers of every network (ours)"},
    {"gamma", CONFIG_REAL, AT(gamma), "", "0.99", 0, 1, NULL, "discount (ours)"},
    {"target_period", CONFIG_INT, AT(target_period), "steps", "200", 1, NUMBER_MAX, NULL,
     "steps between copies to the target networks (ours); short runs want 25 to 50"},
    {"lr", CONFIG_REAL, AT(lr), "", "3e-4", 0, 1, NULL, "learning rate of the networks (ours)"},
    {"dual_lr", CONFIG_REAL, AT(dual_lr), "", "1e-2", 0, 1, NULL,
     "learning rate of eta and the alphas (ours)"},
    {"beta1", CONFIG_REAL, AT(beta1), "", "0.9", 0, 0.999999, NULL,
     "Adam: decay of the first moment (ours)"},
    {"beta2", CONFIG_REAL, AT(beta2), "", "0.999", 0, 0.999999999, NULL,
     "Adam: decay of the second moment (ours)"},
    {"adam_eps", CONFIG_REAL, AT(adam_eps), "", "1e-8", 1e-30, 1, NULL,
     "Adam: added to the root (ours)"},
    {"clip_norm", CONFIG_REAL, AT(clip_norm), "", "40", 1e-9, 1e12, NULL,
     "global gradient norm of each network is clipped to this (ours)"},
    {"eps", CONFIG_REAL, AT(eps), "nats", "0.1", 0, 1e6, NULL,
     "KL bound of MPO's E-step, and of SVG and BEAR to the prior (ours)"},
    {"eps_mean", CONFIG_REAL, AT(eps_mean), "nats", "2.5e-3", 0, 1e6, NULL,
     "MPO: trust region of the mean, per action dimension (ours)"},
    {"eps_std", CONFIG_REAL, AT(eps_std), "nats", "1e-5", 0, 1e6, NULL,
     "MPO: trust region of the std, per action dimension (ours)"},
    {"entropy_cost", CONFIG_REAL, AT(entropy_cost), "", "1e-3", 0, 1e6, NULL,
     "svg without a prior: weight of the entropy bonus (ours)"},
    {"prior_likelihood", CONFIG_CHOICE, AT(prior_likelihood), "", "gaussian", 0, 0,
     "gaussian|censored",
     "likelihood of logged actions: gaussian (the paper's), or censored at the ends of the range "
     "(ours)"},
    {"prior_f", CONFIG_CHOICE, AT(prior_f), "", "step", 0, 0, "step|exp",
     "abm: how the advantage weighs an action (the paper's step)"},
    {"temperature", CONFIG_REAL, AT(temperature), "", "1", 1e-9, 1e9, NULL,
     "prior_f exp: divides the advantage (ours)"},
    {"max_weight", CONFIG_REAL, AT(max_weight), "", "20", 1e-9, 1e9, NULL,
     "prior_f exp: largest weight (ours)"},
    {"init_std", CONFIG_REAL, AT(init_std), "", "0.5", 1e-6, 1e3, NULL,
     "std of policy and prior at first, above its floor (ours)"},
    {"policy_min_std", CONFIG_REAL, AT(policy_min_std), "", "0.01", 1e-6, 1e3, NULL,
     "floor of the policy's std (ours)"},
    {"prior_min_std", CONFIG_REAL, AT(prior_min_std), "", "0.05", 1e-6, 1e3, NULL,
     "floor of the prior's std (ours)"},
    {"init_eta", CONFIG_REAL, AT(init_eta), "", "0", 0, 1e9, NULL,
     "eta at first; 0: the algorithm's own, 10 for mpo, 1 for svg and bear (ours)"},
    {"init_alpha_mean", CONFIG_REAL, AT(init_alpha_mean), "", "10", 1e-9, 1e9, NULL,
     "MPO: alpha of the mean at first (ours)"},
    {"init_alpha_std", CONFIG_REAL, AT(init_alpha_std), "", "100", 1e-9, 1e9, NULL,
     "MPO: alpha of the std at first (ours)"},
    {"rho_floor", CONFIG_REAL, AT(rho_floor), "", "-18", -100, 0, NULL,
     "least value of a stored dual (ours)"},
    {"candidates", CONFIG_INT, AT(candidates), "actions", "10", 1, 1024, NULL,
     "bcq, bear: actions that the backup maximises over (ours)"},
    {"act_candidates", CONFIG_INT, AT(act_candidates), "actions", "0", 0, 1024, NULL,
     "bcq, bear: actions that acting chooses from; 0: 100 for bcq, 10 for bear (ours)"},
    {"perturb_scale", CONFIG_REAL, AT(perturb_scale), "", "0.05", 0, 2, NULL,
     "bcq: largest perturbation of an action (ours)"},

    {"table", CONFIG_TEXT, AT(table), "", "default", 0, 0, NULL,
     "table of the replay servers to learn from"},
    {"require_sealed", CONFIG_BOOL, AT(require_sealed), "", "true", 0, 0, NULL,
     "wait until the table is sealed: offline learning, repeatable; false for online learning"},
    {"prefetch_batches", CONFIG_INT, AT(prefetch_batches), "batches", "4", 1, 1024, NULL,
     "batches kept ready"},

    {"steps", CONFIG_INT, AT(steps), "steps", "0", 0, NUMBER_MAX, NULL,
     "learner steps of the run; 0: until somebody says Finish"},
    {"max_seconds", CONFIG_REAL, AT(max_seconds), "s", "0", 0, 1e12, NULL,
     "seconds of learning after which the run ends, earlier starts included; 0: no limit"},
    {"threads", CONFIG_INT, AT(threads), "threads", "0", 0, 1024, NULL,
     "threads of the step; 0: one per core. The bits of a result depend on it"},
    {"evaluation_precision", CONFIG_CHOICE, AT(evaluation_precision), "", "f32", 0, 0, "f32|bf16",
     "arithmetic of critics that judge sampled actions (V, the E-step, candidates of bcq and "
     "bear), no gradients: bf16 is faster on a processor with AVX512-BF16; elsewhere the same "
     "roundings are made by hand, and nothing is gained"},

    {"listen", CONFIG_TEXT, AT(listen), "", "", 0, 0, NULL,
     "address that Parameters is served at; empty: experiment.parameters"},
    {"tokens_file", CONFIG_TEXT, AT(tokens_file), "", "", 0, 0, NULL,
     "bearer tokens and their roles (learn, evaluate, admin), one a line; empty: all may do all"},
    {"max_calls", CONFIG_INT, AT(max_calls), "calls", "1024", 1, 65536, NULL,
     "calls at once; more are refused"},
    {"publish_every", CONFIG_INT, AT(publish_every), "steps", "100", 1, NUMBER_MAX, NULL,
     "steps between published versions"},
    {"report_every", CONFIG_INT, AT(report_every), "steps", "100", 1, NUMBER_MAX, NULL,
     "steps between lines of learner.jsonl"},
    {"checkpoint_every_seconds", CONFIG_REAL, AT(checkpoint_every_seconds), "s", "60", 0, 1e9, NULL,
     "seconds between checkpoints; 0: not by time"},
    {"checkpoint_every_steps", CONFIG_INT, AT(checkpoint_every_steps), "steps", "0", 0, NUMBER_MAX,
     NULL, "steps between checkpoints; 0: not by steps"},
    {"keep_checkpoints", CONFIG_INT, AT(keep_checkpoints), "files", "3", 1, 10000, NULL,
     "newest checkpoints that are kept"},
    {"linger_seconds", CONFIG_REAL, AT(linger_seconds), "s", "30", 0, 1e6, NULL,
     "after the end: how long the last version is served to those who lack it"},
    {"followers", CONFIG_INT, AT(followers), "", "0", 0, 65536, NULL,
     "evaluators and collectors that will ask for parameters: the end waits for them, too, however "
     "late they come; 0: for whoever was there"},

    {"ranks", CONFIG_INT, AT(ranks), "learners", "1", 1, GROUP_RANKS_MAX, NULL,
     "learners that take each step together, each with its slice of the batch (mpirun, srun: set "
     "by "
     "them)"},
    {"rank", CONFIG_INT, AT(rank), "", "0", 0, GROUP_RANKS_MAX - 1, NULL,
     "which of them this is: 0 keeps the run, and serves parameters and the exchange"},
    {"exchange", CONFIG_TEXT, AT(exchange), "", "", 0, 0, NULL,
     "address of rank 0 for the others, which rank 0 then serves, too; empty: where it serves "
     "parameters"},
    {"slices", CONFIG_INTS, AT(slices), "snippets", "[]", 1, 65536, NULL,
     "snippets of the batch that each rank takes, batch_snippets in all; empty: even shares"},
    {"exchange_timeout_seconds", CONFIG_REAL, AT(exchange_timeout_seconds), "s", "30", 0.1, 3600,
     NULL, "a rank that rank 0 waits for and says nothing for so long is left behind"},

    {"profile", CONFIG_INT, AT(profile), "steps", "0", 0, 1000000, NULL,
     "print where the time of so many steps goes, and leave; the run is not touched"},
    {"replay_batch", CONFIG_TEXT, AT(replay_batch), "", "", 0, 0, NULL,
     "take the step that this failed-batch-N.safetensors broke again, print where its numbers stop "
     "being finite, and leave (1: it fails again); no server needed"},
};

struct config_section learner_options_section(struct learner_options *options)
{
    return (struct config_section){.name = "learner",
                                   .options = OPTIONS,
                                   .n_options = sizeof(OPTIONS) / sizeof(OPTIONS[0]),
                                   .values = options};
}

/* T of K tasks from "all" or a number. */
static status parse_tasks(const char *text, int K, int *T, struct err *err)
{
    if (strcmp(text, "all") == 0) {
        *T = K;
        return STATUS_OK;
    }
    char *end = NULL;
    long n = strtol(text, &end, 10);
    if (end == text || *end != '\0' || n < 1) {
        return err_set(err, STATUS_INVALID, "learner.tasks '%s': expected all or a number from 1",
                       text);
    }
    if (n > K) {
        return err_set(err, STATUS_INVALID, "learner.tasks %ld: the table has %d task%s", n, K,
                       K == 1 ? "" : "s");
    }
    *T = (int)n;
    return STATUS_OK;
}

static status set_sizes(const struct learner_options *options, const struct signature *signature,
                        struct settings *settings, struct err *err)
{
    settings->O = (int)signature_observation(signature);
    settings->A = (int)signature->A;
    settings->K = (int)signature->K;
    settings->M = (int)options->samples;
    if (options->widths.n < 1 || options->widths.n > NETWORK_LAYERS_MAX) {
        return err_set(err, STATUS_INVALID, "learner.widths: %zu layers, expected 1..%d",
                       options->widths.n, NETWORK_LAYERS_MAX);
    }
    settings->n_widths = (int)options->widths.n;
    for (size_t i = 0; i < options->widths.n; i++) {
        settings->widths[i] = (int)options->widths.items[i];
    }
    return parse_tasks(options->tasks, settings->K, &settings->T, err);
}

status learner_options_settings(const struct learner_options *options,
                                const struct signature *signature, uint64_t seed,
                                struct settings *settings, struct err *err)
{
    struct settings made = settings_default();
    status s = set_sizes(options, signature, &made, err);
    if (s != STATUS_OK) {
        return s;
    }
    snprintf(made.algorithm, sizeof(made.algorithm), "%.*s", SETTINGS_TEXT_SIZE - 1,
             options->algorithm);
    snprintf(made.prior_likelihood, sizeof(made.prior_likelihood), "%.*s", SETTINGS_TEXT_SIZE - 1,
             options->prior_likelihood);
    snprintf(made.prior_f, sizeof(made.prior_f), "%.*s", SETTINGS_TEXT_SIZE - 1, options->prior_f);
    snprintf(made.evaluation_precision, sizeof(made.evaluation_precision), "%.*s",
             SETTINGS_TEXT_SIZE - 1, options->evaluation_precision);
    made.gamma = options->gamma;
    made.target_period = options->target_period;
    made.lr = options->lr;
    made.dual_lr = options->dual_lr;
    made.beta1 = options->beta1;
    made.beta2 = options->beta2;
    made.adam_eps = options->adam_eps;
    made.clip_norm = options->clip_norm;
    made.eps = options->eps;
    made.eps_mean = options->eps_mean;
    made.eps_std = options->eps_std;
    made.entropy_cost = options->entropy_cost;
    made.temperature = options->temperature;
    made.max_weight = options->max_weight;
    made.init_std = options->init_std;
    made.policy_min_std = options->policy_min_std;
    made.prior_min_std = options->prior_min_std;
    made.init_eta = options->init_eta;
    made.init_alpha_mean = options->init_alpha_mean;
    made.init_alpha_std = options->init_alpha_std;
    made.rho_floor = options->rho_floor;
    made.candidates = (int)options->candidates;
    made.act_candidates = (int)options->act_candidates;
    made.perturb_scale = options->perturb_scale;
    made.seed = seed;
    s = settings_check(&made, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "learner");
    }
    *settings = made;
    return STATUS_OK;
}

static status check_ranks(const struct learner_options *options, struct err *err)
{
    /* mpirun and srun give as many as they like. */
    if (options->ranks > GROUP_RANKS_MAX) {
        return err_set(err, STATUS_INVALID, "learner.ranks %lld: expected at most %d",
                       (long long)options->ranks, GROUP_RANKS_MAX);
    }
    if (options->rank >= options->ranks) {
        return err_set(err, STATUS_INVALID, "learner.rank %lld: expected less than ranks %lld",
                       (long long)options->rank, (long long)options->ranks);
    }
    if (options->ranks > options->batch_snippets) {
        return err_set(err, STATUS_INVALID,
                       "learner.ranks %lld: expected at most batch_snippets, %lld",
                       (long long)options->ranks, (long long)options->batch_snippets);
    }
    int64_t sum = 0;
    for (size_t i = 0; i < options->slices.n; i++) {
        sum += options->slices.items[i];
    }
    if (options->slices.n > 0 &&
        (options->slices.n != (size_t)options->ranks || sum != options->batch_snippets)) {
        return err_set(err, STATUS_INVALID,
                       "learner.slices: %zu with %lld snippets in all, expected %lld with %lld",
                       options->slices.n, (long long)sum, (long long)options->ranks,
                       (long long)options->batch_snippets);
    }
    return STATUS_OK;
}

status learner_options_check(const struct learner_options *options, struct err *err)
{
    status s = check_ranks(options, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The smallest table that takes any number of tasks. */
    struct signature signature = {.n_slices = 1, .A = 1, .K = SIGNATURE_TASKS_MAX};
    signature.slices[0].size = 1;
    struct settings settings;
    return learner_options_settings(options, &signature, 0, &settings, err);
}

void learner_options_slice(const struct learner_options *options, int64_t rank, int64_t *begin,
                           int64_t *count)
{
    const int64_t B = options->batch_snippets;
    *begin = rank * B / options->ranks;
    *count = (rank + 1) * B / options->ranks - *begin;
    if (options->slices.n > 0) {
        *begin = 0;
        for (int64_t i = 0; i < rank; i++) {
            *begin += options->slices.items[i];
        }
        *count = options->slices.items[rank];
    }
}

/* Cores for one rank. */
static int64_t cores(const struct learner_options *options)
{
    cpu_set_t set;
    const int64_t mine = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    const bool bound = mine < sysconf(_SC_NPROCESSORS_ONLN);
    const bool here = options->exchange[0] == '\0' || rpc_address_is_local(options->exchange);
    const int64_t share = bound || !here ? mine : mine / options->ranks;
    return share > 1 ? share : 1;
}

int learner_options_threads(const struct learner_options *options)
{
    int64_t begin, count;
    learner_options_slice(options, options->rank, &begin, &count);
    const int64_t threads = options->threads == 0 ? cores(options) : options->threads;
    return (int)(threads < count ? threads : count);
}

/* What each rank may have for itself, or rank 0 alone looks at. */
static bool is_own(const char *name)
{
    static const char *const own[] = {
        "rank",
        "threads",
        "exchange",
        "tokens_file",
        "max_calls",
        "listen",
        "followers",
        "exchange_timeout_seconds",
        "steps",
        "max_seconds",
        "prefetch_batches",
        "publish_every",
        "report_every",
        "checkpoint_every_seconds",
        "linger_seconds",
        "keep_checkpoints",
        "checkpoint_every_steps",
    };
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcmp(name, own[i]) == 0) {
            return true;
        }
    }
    return false;
}

char *learner_options_terms(const struct learner_options *options, int64_t seed)
{
    struct config_option shared[sizeof(OPTIONS) / sizeof(OPTIONS[0])];
    struct config_section section = {
        .name = "learner", .options = shared, .values = (void *)(uintptr_t)options};
    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        if (!is_own(OPTIONS[i].name)) {
            shared[section.n_options++] = OPTIONS[i];
        }
    }
    struct text terms = {0};
    text_format(&terms, "version: %s\nseed: %lld\n", HINDCAST_VERSION, (long long)seed);
    config_print_text(&terms, &section, 1);
    return text_take(&terms, NULL);
}
