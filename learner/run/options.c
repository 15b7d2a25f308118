/* The learner's options. See options.h.
 *
 * The table that config reads is built from two lists: the hyperparameters, which belong to the
 * step, and the options below, which belong to a run. A hyperparameter is not named here.
 *
 * Besides the table, this file derives what follows from several options: the settings of a step,
 * the slice and the threads of a rank, and the terms that ranks compare. */
#include "learner/run/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cores.h"
#include "common/base/memory.h"
#include "common/rpc/rpc.h"
#include "learner/exchange/group.h"

#define AT(field)          offsetof(struct learner_options, field)
#define ENDPOINT_AT(field) offsetof(struct learner_options, endpoint.field)
#define NUMBER_MAX         9007199254740992.0 /* 2^53 */
#define CHOICES_SIZE       160

/* ---- The table ---- */

/* What is not a hyperparameter, by the hyperparameter that it follows in --help, in files and in
 * digests. */
static const struct config_option batch_options_table[] = {
    {"tasks", CONFIG_TEXT, AT(tasks), "", "all", 0, 0, NULL,
     "tasks that each snippet trains: all, or how many are drawn for it"},
    {"batch_snippets", CONFIG_INT, AT(batch_snippets), "snippets", "64", 1, 65536, NULL,
     "snippets in a batch (ours; 512 is the large size)"},
    {"snippet_transitions", CONFIG_INT, AT(snippet_transitions), "transitions", "8", 1, 1024, NULL,
     "transitions in a full snippet, N (ours; 10 is the large size)"},
};
static const struct config_option source_options_table[] = {
    {"table", CONFIG_TEXT, AT(table), "", "default", 0, 0, NULL,
     "table of the replay servers to learn from"},
    {"require_sealed", CONFIG_BOOL, AT(require_sealed), "", "true", 0, 0, NULL,
     "wait until the table is sealed: offline learning, repeatable; false for online learning"},
    {"prefetch_batches", CONFIG_INT, AT(prefetch_batches), "batches", "4", 1, 1024, NULL,
     "batches that are requested ahead and kept ready"},

    /* When the run ends, and how many threads take its steps. */
    {"steps", CONFIG_INT, AT(steps), "steps", "0", 0, NUMBER_MAX, NULL,
     "learner steps of the run; 0: until Finish is called"},
    {"max_seconds", CONFIG_REAL, AT(max_seconds), "s", "0", 0, 1e12, NULL,
     "seconds of learning after which the run ends, counting earlier starts; 0: no limit"},
    {"threads", CONFIG_INT, AT(threads), "threads", "0", 0, 1024, NULL,
     "threads of the step; 0: one for each core, or fewer where a CPU quota (cgroup) allows less. "
     "The bits of a result depend on it"},
    {"kernels", CONFIG_CHOICE, AT(kernels), "", "best", 0, 0,
     "best|amx|amx-x2|avx512bf16|avx512|avx2|plain|amx-emulated|amx-x2-emulated",
     "instructions of the step; best: what this processor has and gains from. amx-x2: float from "
     "two "
     "parts of bf16, faster than f32 and less exact. The bits of a result depend on them"},
};
static const struct config_option run_options_table[] = {
    /* Where the learner listens, and to whom. */
    {"listen", CONFIG_TEXT, AT(listen), "", "", 0, 0, NULL,
     "address at which Parameters is served; empty: experiment.parameters"},
    ENDPOINT_OPTIONS(ENDPOINT_AT, "learn, evaluate, admin", "1000"),
    /* How often something is published, reported or written. */
    {"publish_every", CONFIG_INT, AT(publish_every), "steps", "100", 1, NUMBER_MAX, NULL,
     "steps between published versions"},
    {"keep_policies", CONFIG_INT, AT(keep_policies), "policies", "0", 0, 1000, NULL,
     "published policies that are kept at most, spread over the run, for a choice at its end; 0: "
     "none, or 12 "
     "where experiment.choose is offline"},
    {"report_every", CONFIG_INT, AT(report_every), "steps", "100", 1, NUMBER_MAX, NULL,
     "steps between lines of learner.jsonl"},
    {"validation_snippets", CONFIG_INT, AT(validation_snippets), "snippets", "512", 0, 65536, NULL,
     "where episodes are held out: snippets of them, and of those that are learned from, on which "
     "each published version is judged (docs/held_out.md); 0: none"},
    {"checkpoint_every_seconds", CONFIG_REAL, AT(checkpoint_every_seconds), "s", "60", 0, 1e9, NULL,
     "seconds between checkpoints; 0: not by time"},
    {"checkpoint_every_steps", CONFIG_INT, AT(checkpoint_every_steps), "steps", "0", 0, NUMBER_MAX,
     NULL, "steps between checkpoints; 0: not by steps"},
    {"keep_checkpoints", CONFIG_INT, AT(keep_checkpoints), "files", "3", 1, 10000, NULL,
     "newest checkpoints that are kept"},
    /* What happens at the end. */
    {"linger_seconds", CONFIG_REAL, AT(linger_seconds), "s", "30", 0, 1e6, NULL,
     "how long after the end the last version is served to clients that lack it"},
    {"followers", CONFIG_INT, AT(followers), "", "0", 0, 65536, NULL,
     "evaluators and collectors that will ask for parameters: the learner ends once all of them "
     "have the last version, or after linger_seconds; 0: those that have asked so far"},

    {"ranks", CONFIG_INT, AT(ranks), "learners", "1", 1, GROUP_RANKS_MAX, NULL,
     "learners that take each step together, each with its slice of the batch; mpirun and srun set "
     "it"},
    {"rank", CONFIG_INT, AT(rank), "", "0", 0, GROUP_RANKS_MAX - 1, NULL,
     "which of them this is; rank 0 keeps the run and serves parameters and the exchange"},
    {"exchange", CONFIG_TEXT, AT(exchange), "", "", 0, 0, NULL,
     "address at which rank 0 serves the exchange and the others find it; empty: that of the "
     "parameters"},
    {"slices", CONFIG_INTS, AT(slices), "snippets", "[]", 1, 65536, NULL,
     "snippets of the batch for each rank, batch_snippets in all; empty: even shares"},
    {"exchange_timeout_seconds", CONFIG_REAL, AT(exchange_timeout_seconds), "s", "30", 0.1, 3600,
     NULL,
     "a rank that is waited for and silent for this time is left behind; over MPI the job ends"},

    /* Commands that run in place of learning. */
    {"profile", CONFIG_INT, AT(profile), "steps", "0", 0, 1000000, NULL,
     "measure this many steps, print where their time goes, and exit; the run is not touched"},
    {"rerun_step", CONFIG_TEXT, AT(rerun_step), "", "", 0, 0, NULL,
     "take the step of this failed-batch-N.safetensors again, print where its numbers stop being "
     "finite, and exit (with 1 if it fails again); needs no server"},
};
/* Behind what 0.1.0 had. */
static const struct config_option observation_options_table[] = {
    {"normalize", CONFIG_CHOICE, AT(normalize), "", "auto", 0, 0, "auto|none|standard",
     "observations as they are (none), or each dimension with mean 0 and standard deviation 1, "
     "measured once on the table when a run begins (standard); auto: standard, but a run that was "
     "begun with none goes on with it (ours)"},
};

static const struct config_option priority_options_table[] = {
    {"priorities", CONFIG_CHOICE, AT(priorities), "", "none", 0, 0, "none|table|td_error",
     "prioritized replay, of a table whose sampler is prioritized: none: how a snippet was drawn "
     "does not count; table: importance weights correct for the priorities that the table has; "
     "td_error: and each step sends priorities made of its TD errors back, after which a run does "
     "not repeat bit for bit (docs/maths.md, section 9)"},
    {"importance_exponent", CONFIG_REAL, AT(importance_exponent), "", "0.6", 0, 1, NULL,
     "priorities table, td_error: exponent beta of importance weights; 1 corrects fully, 0 not at "
     "all (Kapturowski et al.; constant, where Schaul et al. anneal it: ours)"},
    {"priority_mix", CONFIG_REAL, AT(priority_mix), "", "0.9", 0, 1, NULL,
     "priorities td_error: share of a snippet's largest TD error in its priority, against the mean "
     "(Kapturowski et al.)"},
    {"priority_offset", CONFIG_REAL, AT(priority_offset), "", "0.1", 1e-30, 1e30, NULL,
     "priorities td_error: added to every priority, so that no episode is forgotten; in the units "
     "of rewards times reward_scale (ours)"},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define N_BATCH      COUNT(batch_options_table)
#define N_SOURCE     COUNT(source_options_table)
#define N_RUN        COUNT(run_options_table)
#define N_OBSERVE    COUNT(observation_options_table)
#define N_PRIORITY   COUNT(priority_options_table)
#define N_OWN        (N_BATCH + N_SOURCE + N_RUN + N_OBSERVE + N_PRIORITY)

/* Each group of options above follows one hyperparameter in the table. */
static const struct {
    const char *after;
    const struct config_option *rows;
    size_t n;
} own_options[] = {
    {"algorithm", batch_options_table, N_BATCH},
    {"perturb_scale", source_options_table, N_SOURCE},
    {"evaluation_precision", run_options_table, N_RUN},
    {"evaluation_precision", observation_options_table, N_OBSERVE},
    {"evaluation_precision", priority_options_table, N_PRIORITY},
};

/* Older names that config still accepts. */
static const struct config_rename renames_table[] = {{"replay_batch", "rerun_step"}};

/* Built once from the lists above, at start; read-only afterwards. `recorded`: the same options
 * under the names that digests, terms and checkpoints have, which stay when an option is
 * renamed. */
struct options_table {
    size_t n;
    struct config_option rows[SETTINGS_COUNT + N_OWN];
    struct config_option recorded[SETTINGS_COUNT + N_OWN];
    char choices[SETTINGS_COUNT][CHOICES_SIZE]; /* "a|b|c" of each that has them */
};

/* "a|b|c", the form that config expects. */
static void join_choices(char text[CHOICES_SIZE], const char *const *choices)
{
    size_t length = 0;
    for (size_t i = 0; choices[i] != NULL; i++) {
        /* The separator stands before every choice but the first. */
        length += (size_t)snprintf(text + length, CHOICES_SIZE - length, "%s%s", i > 0 ? "|" : "",
                                   choices[i]);
        ASSERT(length < CHOICES_SIZE);
    }
}

/* The option of the i-th hyperparameter. */
static void add_setting(struct options_table *table, size_t i)
{
    /* How a kind of hyperparameter is read from YAML and from the command line. */
    static const enum config_type types[] = {
        [SETTING_INT] = CONFIG_INT,     [SETTING_INT64] = CONFIG_INT,
        [SETTING_REAL] = CONFIG_REAL,   [SETTING_CHOICE] = CONFIG_CHOICE,
        [SETTING_WIDTHS] = CONFIG_INTS,
    };
    const struct setting *setting = settings_at(i);
    ASSERT(setting->kind != SETTING_UINT64); /* config has no such type */
    if (setting->kind == SETTING_CHOICE) {
        join_choices(table->choices[i], setting->choices);
    }
    /* Some hyperparameters take 0 for "a value of its own", below their usual minimum. */
    table->rows[table->n++] = (struct config_option){
        .name = setting->option,
        .type = types[setting->kind],
        .offset = offsetof(struct learner_options, values) + i * sizeof(union learner_value),
        .unit = setting->unit,
        .default_text = setting->default_text,
        .min = setting->zero_is_own ? 0 : setting->min,
        .max = setting->max,
        .choices = setting->kind == SETTING_CHOICE ? table->choices[i] : NULL,
        .help = setting->help,
    };
}

/* Builds the table on the first call: hyperparameters in the order of their list, each followed by
 * the options that belong behind it. */
static const struct options_table *options_table(void)
{
    /* Static and built without a lock: the first call comes from main, before there are threads. */
    static struct options_table table;
    if (table.n > 0) {
        return &table;
    }
    /* The hyperparameters that are options come first in the list of settings. */
    for (size_t i = 0; i < SETTINGS_COUNT && settings_at(i)->option != NULL; i++) {
        add_setting(&table, i);
        for (size_t g = 0; g < COUNT(own_options); g++) {
            if (strcmp(own_options[g].after, settings_at(i)->name) == 0) {
                memcpy(&table.rows[table.n], own_options[g].rows,
                       own_options[g].n * sizeof table.rows[0]);
                table.n += own_options[g].n;
            }
        }
    }
    /* The recorded form differs in the names of renamed options alone. */
    memcpy(table.recorded, table.rows, sizeof table.rows);
    for (size_t i = 0; i < table.n; i++) {
        for (size_t r = 0; r < COUNT(renames_table); r++) {
            if (strcmp(table.rows[i].name, renames_table[r].name) == 0) {
                table.recorded[i].name = renames_table[r].old_name;
            }
        }
    }
    return &table;
}

struct config_section learner_options_section(struct learner_options *options)
{
    const struct options_table *table = options_table();
    /* config writes into `values`, which is the caller's. */
    return (struct config_section){.name = "learner",
                                   .options = table->rows,
                                   .n_options = table->n,
                                   .values = options,
                                   .renames = renames_table,
                                   .n_renames = COUNT(renames_table)};
}

struct config_section learner_options_recorded(const struct learner_options *options)
{
    const struct options_table *table = options_table();
    /* config_section has no const form. Nothing writes through this one. */
    return (struct config_section){.name = "learner",
                                   .options = table->recorded,
                                   .n_options = table->n,
                                   .values = (void *)(uintptr_t)options};
}

/* ---- The settings of a step ---- */

/* "all" or a number: how many of K tasks each snippet trains. */
static status parse_tasks(const char *text, int K, int *T, struct err *err)
{
    /* "all" stands for whatever number the table has. */
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
    /* The table decides how many there are, so this is known only once it has answered. */
    if (n > K) {
        return err_set(err, STATUS_INVALID, "learner.tasks %ld: the table has %d task%s", n, K,
                       K == 1 ? "" : "s");
    }
    *T = (int)n;
    return STATUS_OK;
}

/* One hyperparameter, by way of its text: numbers are printed so that they read back exactly. */
static status set_one(struct settings *settings, const struct setting *setting,
                      const union learner_value *value, struct err *err)
{
    /* settings_set takes a text for every kind, and makes all checks of ranges. */
    struct text text = {0};
    switch (setting->kind) {
    case SETTING_INT:
    case SETTING_INT64:
    case SETTING_UINT64:
        text_format(&text, "%lld", (long long)value->number);
        break;
    case SETTING_REAL:
        text_format(&text, "%.17g", value->real);
        break;
    case SETTING_CHOICE:
        text_format(&text, "%s", value->text);
        break;
    case SETTING_WIDTHS:
        /* A list without layers would otherwise give an empty text. */
        if (value->ints.n < 1 || value->ints.n > NETWORK_LAYERS_MAX) {
            return err_set(err, STATUS_INVALID, "learner.widths: %zu layers, expected 1..%d",
                           value->ints.n, NETWORK_LAYERS_MAX);
        }
        for (size_t i = 0; i < value->ints.n; i++) {
            text_format(&text, "%s%lld", i > 0 ? "," : "", (long long)value->ints.items[i]);
        }
        break;
    }
    /* A text that ran out of memory gives NULL here. */
    char *made = text_take(&text, NULL);
    const status s = made != NULL ? settings_set(settings, setting->name, made, err)
                                  : err_set(err, STATUS_NO_MEMORY, "settings");
    mem_free(made);
    return s;
}

status learner_options_settings(const struct learner_options *options,
                                const struct signature *signature, uint64_t seed,
                                struct settings *settings, struct err *err)
{
    /* The hyperparameters that are options. */
    struct settings made = settings_default();
    for (size_t i = 0; i < SETTINGS_COUNT && settings_at(i)->option != NULL; i++) {
        const status s = set_one(&made, settings_at(i), &options->values[i], err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* The others follow from the table, from `tasks` and from the experiment. */
    made.O = (int)signature_observation(signature);
    made.A = (int)signature->A;
    made.K = (int)signature->K;
    made.seed = seed;
    made.normalize = strcmp(options->normalize, "none") == 0 ? NORMALIZE_NONE : NORMALIZE_STANDARD;
    status s = parse_tasks(options->tasks, made.K, &made.T, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = settings_check(&made, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "learner");
    }
    *settings = made;
    return STATUS_OK;
}

bool learner_options_normalize_auto(const struct learner_options *options)
{
    return strcmp(options->normalize, "auto") == 0;
}

bool learner_options_prioritized(const struct learner_options *options)
{
    return strcmp(options->priorities, "none") != 0;
}

bool learner_options_sends_priorities(const struct learner_options *options)
{
    return strcmp(options->priorities, "td_error") == 0;
}

/* ---- Ranks ---- */

/* Ranks and slices, which depend on each other. */
static status check_ranks(const struct learner_options *options, struct err *err)
{
    /* Set by mpirun and srun, which no range of an option limits. */
    if (options->ranks > GROUP_RANKS_MAX) {
        return err_set(err, STATUS_INVALID, "learner.ranks %lld: expected at most %d",
                       (long long)options->ranks, GROUP_RANKS_MAX);
    }
    /* Each rank has a place, and at least one snippet of the batch. */
    if (options->rank >= options->ranks) {
        return err_set(err, STATUS_INVALID, "learner.rank %lld: expected less than ranks %lld",
                       (long long)options->rank, (long long)options->ranks);
    }
    if (options->ranks > options->batch_snippets) {
        return err_set(err, STATUS_INVALID,
                       "learner.ranks %lld: expected at most batch_snippets, %lld",
                       (long long)options->ranks, (long long)options->batch_snippets);
    }
    /* Slices must cover the batch, one for each rank. */
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
    /* The real signature comes from the table, later. This one has the fewest observations and the
     * most tasks: options that fail with it fail with every table. */
    struct signature signature = {.n_slices = 1, .A = 1, .K = SIGNATURE_TASKS_MAX};
    signature.slices[0].size = 1;
    struct settings settings;
    return learner_options_settings(options, &signature, 0, &settings, err);
}

void learner_options_slice(const struct learner_options *options, int64_t rank, int64_t *begin,
                           int64_t *count)
{
    /* Even shares, which differ by one snippet at most. The end of one is the beginning of the
     * next, so together they cover the batch. */
    const int64_t B = options->batch_snippets;
    *begin = rank * B / options->ranks;
    *count = (rank + 1) * B / options->ranks - *begin;
    /* Or as they are given. */
    if (options->slices.n > 0) {
        *begin = 0;
        for (int64_t i = 0; i < rank; i++) {
            *begin += options->slices.items[i];
        }
        *count = options->slices.items[rank];
    }
}

/* Cores for this rank. Ranks on one machine share its cores, unless a launcher has bound each to
 * cores of its own; ranks on other machines do not count. */
static int64_t cores(const struct learner_options *options)
{
    const int64_t mine = cores_available();
    const bool bound = mine < sysconf(_SC_NPROCESSORS_ONLN);
    const bool here = options->exchange[0] == '\0' || rpc_address_is_local(options->exchange);
    const int64_t share = bound || !here ? mine : mine / options->ranks;
    return share > 1 ? share : 1;
}

int learner_options_threads(const struct learner_options *options)
{
    int64_t begin, count;
    learner_options_slice(options, options->rank, &begin, &count);
    /* 0 stands for one thread for each core. */
    const int64_t threads = options->threads == 0 ? cores(options) : options->threads;
    /* A thread without a snippet would have nothing to do. */
    return (int)(threads < count ? threads : count);
}

/* Options that may differ between ranks: they concern one process, or only rank 0 reads them. Every
 * other option is a term. */
static bool is_own(const char *name)
{
    static const char *const own[] = {
        /* What belongs to one process: its place, its threads, its connections. */
        "rank",
        "threads",
        "kernels",
        "exchange",
        "tokens_file",
        "max_calls",
        "max_client_calls",
        "max_connections",
        "max_host_connections",
        "max_connection_bytes",
        "idle_connection_seconds",
        "grace_ms",
        "listen",
        "followers",
        "exchange_timeout_seconds",
        /* The end of the run and what rank 0 writes; prefetch_batches is each process's own
         * business. */
        "steps",
        "max_seconds",
        "prefetch_batches",
        "publish_every",
        "keep_policies",
        "report_every",
        "validation_snippets",
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
    /* The options that all ranks must agree on, under their recorded names: ranks of two releases
     * must not refuse each other because an option was renamed. */
    struct config_section section = learner_options_recorded(options);
    struct config_option shared[SETTINGS_COUNT + N_OWN];
    size_t n = 0;
    for (size_t i = 0; i < section.n_options; i++) {
        if (!is_own(section.options[i].name)) {
            shared[n++] = section.options[i];
        }
    }
    section.options = shared;
    section.n_options = n;
    /* The version first: builds that differ may compute differently. */
    struct text terms = {0};
    text_format(&terms, "version: %s\nseed: %lld\n", HINDCAST_VERSION, (long long)seed);
    config_print_text(&terms, &section, 1);
    return text_take(&terms, NULL);
}
