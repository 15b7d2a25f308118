/* Writes an experiment file line by line: an option, its value, and the reason.
 *
 * What does not depend on the logs are the settings of the quick start, which were swept for short
 * runs on two cores. What does: the discount, the reach of the policy around the prior, the number
 * of steps, and the scale of rewards. What the logs cannot tell, such as what an end of an episode
 * means, is a question: it stands above the experiment as a comment, and goes to the caller's
 * `questions`. */
#include "deploy/local/start_experiment.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/networks/kernels.h"

#define NAME_SIZE 64

/* The discount looks as far ahead as an episode is long, within these bounds; the upper one is the
 * quick start's. A longer horizon makes actions differ less in value, and a short run has few target
 * copies to carry values over it. */
#define HORIZON_MIN 20.0
#define HORIZON_MAX 100.0
/* The KL bound to the prior: the policy may be 0.45 of the prior's stds away in each dimension
 * (docs/maths.md, section 8). Of many dimensions less: samples of the prior cannot show more. */
#define EPS_PER_DIMENSION 0.1
#define EPS_MAX           1.0
/* Steps: every transition is drawn this often, but within these bounds. */
#define PASSES    20.0
#define STEPS_MIN 12000.0
#define STEPS_MAX 200000.0
/* Snippets of one transition: so many episodes in a step (docs/maths.md, section 8). */
#define BATCH_SNIPPETS 256
/* Rewards of a size within these need no scale; the learner warns beyond a wider range. */
#define REWARD_SIZE_MIN 0.1
#define REWARD_SIZE_MAX 10.0

/* A tenth of the episodes is held out where so many make it certain that some are (0.9^100). */
#define HOLDOUT              0.1
#define HOLDOUT_EPISODES_MIN 100
/* An off-policy evaluation holds all of the table in memory (offline_evaluator.max_transitions). */
#define CHOICE_TRANSITIONS_MAX 5000000

/* ---- the rules ---- */

/* With `digits` significant digits: proposals that look measured would mislead. */
static double rounded(double x, int digits)
{
    char text[32];
    double value = 0;
    snprintf(text, sizeof text, "%.*g", digits, x);
    (void)!sscanf(text, "%lf", &value);
    return value;
}

static double bounded(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

struct start_settings start_settings(double T_mean, uint64_t transitions, uint32_t A,
                                     double reward_size)
{
    struct start_settings settings = {.reward_scale = 1};
    settings.eps = rounded(bounded(EPS_PER_DIMENSION * (double)A, EPS_PER_DIMENSION, EPS_MAX), 2);
    settings.horizon = (uint32_t)rounded(bounded(T_mean, HORIZON_MIN, HORIZON_MAX), 2);
    const double steps =
        bounded(PASSES * (double)transitions / BATCH_SNIPPETS, STEPS_MIN, STEPS_MAX);
    settings.steps = (uint64_t)(ceil(steps / 1000) * 1000);
    if (reward_size > 0 && (reward_size < REWARD_SIZE_MIN || reward_size > REWARD_SIZE_MAX)) {
        settings.reward_scale = rounded(1 / reward_size, 1);
    }
    return settings;
}

/* ---- questions ---- */

/* Where a question goes: into the experiment as a comment, and to the terminal. */
struct asking {
    FILE *out, *questions;
    bool any;
};

static void ask(struct asking *asking, const char *text)
{
    fprintf(asking->out, "%s#   %s\n", asking->any ? "" : "# Please confirm:\n", text);
    fprintf(asking->questions, "to be confirmed: %s\n", text);
    asking->any = true;
}

/* A dataset_summary_warnings callback. */
static void ask_warning(void *arg, const char *text)
{
    ask(arg, text);
}

/* What is taken for the reward, and how often it is given. */
static void ask_about_rewards(struct asking *asking, const struct start_inputs *inputs)
{
    const struct signature *signature = inputs->signature;
    char text[512];
    if (signature->K == 0) {
        ask(asking, "the logs have no reward: write rewards.lua (docs/storage.md, \"Rewards "
                    "computed from logged observations\"), which restorer.relabel names below");
    }
    for (uint32_t k = 0; k < signature->K; k++) {
        const struct dataset_rewards rewards = dataset_summary_rewards(inputs->summary, k);
        snprintf(text, sizeof text,
                 "\"%s\" is the reward to be maximised; it is not 0 in %.3g%% of the steps",
                 signature->rewards[k], 100 * rewards.nonzero);
        ask(asking, text);
    }
}

/* What the ends of episodes mean, which decides whether anything counts after them. */
static void ask_about_ends(struct asking *asking, const struct dataset_totals *totals)
{
    char text[512];
    snprintf(text, sizeof text,
             "%" PRIu64 " of %" PRIu64 " episodes end for good (no rewards after them); the others "
             "were stopped by a limit",
             totals->terminated, totals->episodes);
    ask(asking, text);
}

static void ask_all(struct asking *asking, const struct start_inputs *inputs,
                    const struct dataset_totals *totals)
{
    char text[512];
    ask_about_rewards(asking, inputs);
    ask_about_ends(asking, totals);
    if (inputs->signature->control_period_s <= 0) {
        ask(asking, "the control period is unknown: only you know how often the policy is to act");
    }
    if (totals->bad > 0) {
        snprintf(text, sizeof text,
                 "%" PRIu64
                 " episodes are bad and will be left out (hindcast dataset inspect names "
                 "them)",
                 totals->bad);
        ask(asking, text);
    }
    dataset_summary_warnings(inputs->summary, ask_warning, asking);
}

/* ---- the experiment ---- */

/* The last part of the path without a suffix, as a name for files: letters, digits, '-' and '_'. */
static void name_of(const char *path, char name[NAME_SIZE])
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    size_t n = 0;
    for (size_t i = begin; i < end && n + 1 < NAME_SIZE; i++) {
        const char c = path[i];
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (c == '.' && n > 0) {
            break;
        }
        if (plain) {
            name[n++] = c;
        }
    }
    name[n] = '\0';
    if (n == 0) {
        snprintf(name, NAME_SIZE, "mine");
    }
}

/* A path in quotes, as YAML reads it. */
static void write_path(FILE *out, const char *key, const char *path, const char *why)
{
    struct text quoted = {0};
    text_add_quoted(&quoted, path);
    fprintf(out, "  %s: %s    # %s\n", key, quoted.bytes != NULL ? quoted.bytes : "\"\"", why);
    text_fini(&quoted);
}

static void write_learner(const struct start_inputs *inputs, const struct dataset_totals *totals,
                          const struct start_settings *settings, FILE *out)
{
    fprintf(out, "learner:\n"
                 "  algorithm: abm+mpo           # a prior of the actions that went well, and MPO "
                 "near it\n"
                 "  prior_f: exp                 # other actions count, too, if little: a prior of "
                 "few data\n"
                 "  temperature: 0.05            # is then sound everywhere; in units of scaled "
                 "rewards\n");
    fprintf(out,
            "  gamma: %-6.4g                # looks 1 / (1 - gamma) = %u steps ahead; an episode "
            "has %.0f on average\n",
            1 - 1.0 / settings->horizon, settings->horizon, totals->T_mean);
    fprintf(out,
            "  normalize: standard          # each observation to mean 0 and standard deviation 1\n"
            "  reward_scale: %-14g # %s\n",
            settings->reward_scale,
            settings->reward_scale == 1 ? "rewards are of a usual size"
                                        : "brings the rewards to a size of about 1");
    fprintf(out,
            "  batch_snippets: %d          # single transitions: a step sees many episodes\n"
            "  snippet_transitions: 1\n",
            BATCH_SNIPPETS);
    fprintf(
        out,
        "  samples: 10                  # the quick start's, as are the next three\n"
        "  target_period: 25            # a short run has few target copies\n"
        "  lr: 1e-3\n"
        "  init_eta: 1\n"
        "  eps: %-6.3g                  # reach of the policy around the prior, 0.1 nats for each "
        "action dimension\n"
        "  init_std: 0.2                # the policy begins about as noisy as logs are\n"
        "  policy_average: 0.999        # policies are averages over about 1000 steps\n",
        settings->eps);
    if (kernels_bf16_pays()) {
        fputs("  precision: bf16              # faster on this processor; on others write f32\n",
              out);
    }
    fprintf(out,
            "  steps: %-7" PRIu64 "               # %.0f draws of each of the %" PRIu64
            " transitions, and at least %.0f steps\n"
            "  publish_every: 500\n",
            settings->steps, (double)settings->steps * BATCH_SNIPPETS / (double)totals->transitions,
            totals->transitions, STEPS_MIN);
    if (inputs->signature->K > 1) {
        fprintf(out, "  tasks: all                   # each snippet trains all %u rewards\n",
                inputs->signature->K);
    }
}

/* The notes about a proposed mapping, as comments. */
static void write_notes(const char *notes, FILE *out)
{
    if (notes == NULL || notes[0] == '\0') {
        return;
    }
    fputs("# No mapping was given; the logs are read as their names say:\n", out);
    for (const char *line = notes; line[0] != '\0';) {
        const size_t length = strcspn(line, "\n");
        fprintf(out, "#   %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

/* Can values be told from these logs? Not where rewards are still to be written, or never change. */
static bool choice_pays(const struct start_inputs *inputs, const struct dataset_totals *totals)
{
    bool varies = false;
    for (uint32_t k = 0; k < inputs->signature->K; k++) {
        varies = varies || dataset_summary_rewards(inputs->summary, k).std > 0;
    }
    return varies && totals->transitions <= CHOICE_TRANSITIONS_MAX;
}

/* Name of the run, and who chooses its policy. */
static void write_experiment(const char *name, bool chooses, FILE *out)
{
    fprintf(out, "experiment:\n  name: %s    # the run's folder is runs/NAME\n", name);
    if (chooses) {
        fputs("  choose: offline    # at the end policies are evaluated on the logs; another one "
              "than\n"
              "                     # the last is left where it is clearly better\n",
              out);
    }
}

/* With the defaults an evaluation would take three times as long as learning from few data. */
static void write_evaluation(FILE *out)
{
    fputs("offline_evaluator:\n"
          "  critics: 3       # of the default's 5, and\n"
          "  priors: false    # policies alone: so it takes no longer than learning\n",
          out);
    if (kernels_bf16_pays()) {
        fputs("  precision: bf16\n", out);
    }
}

status start_experiment(const struct start_inputs *inputs, FILE *out, FILE *questions,
                        struct err *err)
{
    struct dataset_totals totals;
    dataset_summary_totals(inputs->summary, &totals);
    if (totals.episodes == 0) {
        return err_set(err, STATUS_INVALID,
                       "%s: no episode is good (hindcast dataset inspect says why)", inputs->path);
    }
    /* The first reward counts, as in all figures that show one number. */
    const double size =
        inputs->signature->K > 0 ? dataset_summary_rewards(inputs->summary, 0).size : 0;
    const struct start_settings settings =
        start_settings(totals.T_mean, totals.transitions, inputs->signature->A, size);
    char name[NAME_SIZE];
    name_of(inputs->path, name);
    fprintf(out,
            "# Proposed by hindcast dataset start from %" PRIu64 " episodes, %" PRIu64
            " transitions (docs/logs.md says by which rules).\n"
            "# Run it: hindcast up FILE; then: hindcast policy export runs/%s --onnx\n",
            totals.episodes, totals.transitions, name);
    struct asking asking = {.out = out, .questions = questions};
    ask_all(&asking, inputs, &totals);
    write_notes(inputs->notes, out);
    const bool chooses = choice_pays(inputs, &totals);
    write_experiment(name, chooses, out);
    fputs("restorer:\n", out);
    write_path(out, "folder", inputs->path, "the logs, read where they are");
    if (inputs->mapping != NULL) {
        write_path(out, "mapping", inputs->mapping, "how they are read");
    }
    if (inputs->signature->K == 0) {
        write_path(out, "relabel", "rewards.lua", "to be written: the logs have no reward");
    }
    if (chooses && totals.episodes >= HOLDOUT_EPISODES_MIN) {
        fprintf(out,
                "  holdout: %g    # this share of the episodes is not learned from: policies are "
                "judged on them\n",
                HOLDOUT);
    }
    write_learner(inputs, &totals, &settings, out);
    if (chooses) {
        write_evaluation(out);
    }
    fputs(
        "up:\n"
        "  evaluators: 0    # there is no environment to try the policy in; with one, name it in\n"
        "                   # experiment.environment, and remove this line and `choose`\n",
        out);
    return STATUS_OK;
}
