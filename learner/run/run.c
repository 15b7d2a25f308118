/* A run on disk and in memory. See run.h.
 *
 * Two numbers must never go back, whatever dies: the version of the newest publication, because a
 * client would take other parameters for those that it has; and the end of a run, which is durable
 * before anyone is told. Checkpoints are rarer than publications, so the version has a small file
 * of its own (learner.version, a counter_file). */
#include "learner/run/run.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "learner/run/candidates.h"
#include "learner/run/made_of.h"
#include "learner/step/algorithm.h"

#define LOG_MODULE "run"
#include "common/base/log.h"

#define FIRST_CHECKPOINT_MS 60000
#define KEPT_FOR_CHOICE     12

void run_init(struct run *run, const struct experiment *experiment,
              const struct learner_options *options, const char *config, uint64_t config_digest,
              struct publisher *publisher)
{
    memset(run, 0, sizeof(*run));
    run->experiment = experiment;
    run->options = options;
    run->config = config;
    run->publisher = publisher;
    run->about.config_digest = config_digest;
    run->record.fd = -1;
}

void run_fini(struct run *run)
{
    /* The checkpointer first: its thread may be writing a checkpoint. */
    checkpointer_close(run->checkpointer);
    counter_file_close(&run->record);
    state_free(run->state);
    mem_free(run->signature_json);
    mem_free(run->made_of);
    observed_fini(&run->observed);
    run->checkpointer = NULL;
    run->state = NULL;
    run->signature_json = NULL;
    run->made_of = NULL;
}

static void folder_of(char folder[PATH_MAX], const struct run *run)
{
    snprintf(folder, PATH_MAX, "%s/checkpoints", run->experiment->run_dir);
}

/* Where the last package is kept, for use without a learner. */
static void package_path(char path[PATH_MAX], const struct run *run)
{
    snprintf(path, PATH_MAX, "%s/policy_learner.safetensors", run->experiment->run_dir);
}

/* "20260131T120000-1a2b3c4d": readable, and different for each run. */
static void name_run(char *run_id, size_t size)
{
    /* Without random bytes the clock must do. The time of day is in the name already. */
    uint32_t chance = 0;
    if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance)) {
        chance = (uint32_t)clock_now_ns();
    }
    time_t now = (time_t)(clock_wall_ns() / NS_PER_S);
    struct tm utc;
    gmtime_r(&now, &utc);
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &utc);
    snprintf(run_id, size, "%s-%08" PRIx32, stamp, chance);
}

/* Begins the line of the effective configuration that says what its bits depend on besides:
 * "  # 2 threads, amx kernels". Options have no comments in this form. */
#define MACHINE_COMMENT "\n  # "

/* Does a configuration have this line's option, with whatever value? */
static bool has_option(const char *config, const char *line)
{
    /* With its colon, so that `rank` is not found in `ranks`. */
    char name[CONFIG_TEXT_SIZE + 64];
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(line, ":") + 1, line);
    return strstr(config, name) != NULL;
}

/* Warns where threads or kernels are others than in the checkpoint: the comment that main.c puts
 * after the options says which they are. */
static void log_other_bits(const char *was, const char *is)
{
    const char *before = strstr(was, MACHINE_COMMENT);
    const char *now = strstr(is, MACHINE_COMMENT);
    if (before == NULL || now == NULL) {
        return; /* a checkpoint whose configuration was cut short */
    }
    before += strlen(MACHINE_COMMENT);
    now += strlen(MACHINE_COMMENT);
    const int n_before = (int)strcspn(before, "\n");
    const int n_now = (int)strcspn(now, "\n");
    if (n_before != n_now || memcmp(before, now, (size_t)n_now) != 0) {
        log_warn("the run goes on with other bits than an undisturbed one: %.*s, the checkpoint "
                 "was made with %.*s",
                 n_now, now, n_before, before);
    }
}

/* Logs each option that has another value than in the checkpoint. Options that the program did not
 * have then are not worth a warning: they have their defaults, or were set on purpose. */
static void log_difference(const char *was, const char *is)
{
    /* Line by line: lines that are not in the old text, of options that are. */
    for (const char *line = is; *line;) {
        size_t length = strcspn(line, "\n");
        char text[CONFIG_TEXT_SIZE + 64];
        snprintf(text, sizeof(text), "%.*s", (int)length, line);
        if (length > 0 && strstr(was, text) == NULL && has_option(was, text)) {
            const char *key = text + strspn(text, " ");
            log_warn("differs from the checkpoint's configuration: %s", key);
        }
        line += length + (line[length] == '\n');
    }
}

/* The configuration for the header of checkpoints, which is JSON: values from the command line may
 * hold any bytes, and a text that is too long is cut. */
static void set_config(struct run *run)
{
    char *text = run->about.config;
    snprintf(text, sizeof(run->about.config), "%s", run->config);
    /* utf8_clean replaces line ends, too, so each line is cleaned by itself. */
    utf8_trim(text);
    for (char *line = text; line != NULL;) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        utf8_clean(line);
        if (end != NULL) {
            *end = '\n';
        }
        line = end != NULL ? end + 1 : NULL;
    }
}

/* What resumed and new runs have in common, once there is a state: the version's file, the
 * signature's text, the checkpointer. */
static status open_parts(struct run *run, struct err *err)
{
    /* The number that was used last, whatever the checkpoint says. */
    char path[PATH_MAX];
    uint64_t recorded = 0;
    snprintf(path, sizeof(path), "%s/learner.version", run->experiment->run_dir);
    status s = counter_file_open(&run->record, path, run->about.run_id, &recorded, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Publications after the checkpoint are lost, but their numbers have been seen. */
    if (run->about.version < recorded && !run->about.finished) {
        run->about.version = recorded;
    }
    /* The signature's text is part of every package. */
    run->signature_json = signature_to_json(&run->about.signature);
    if (run->signature_json == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "signature");
    }
    /* Clients must know the run before its first package arrives. */
    publisher_set_run(run->publisher, run->about.run_id);
    char folder[PATH_MAX];
    folder_of(folder, run);
    /* The intervals between checkpoints are counted from here. */
    run->checkpoint_ns = clock_now_ns();
    run->checkpoint_step = state_step(run->state);
    return checkpointer_open(&run->checkpointer, folder, run->options->keep_checkpoints, run->state,
                             &run->settings, err);
}

/* Was the run ended by its own limits, and have they been raised since? */
static bool may_go_on(const struct run *run)
{
    const struct learner_options *options = run->options;
    return run->about.finished && strcmp(run->about.finish_who, CHECKPOINT_BY_LIMITS) == 0 &&
           (options->steps == 0 || state_step(run->state) < (uint64_t)options->steps) &&
           (options->max_seconds <= 0 || run->about.learning_seconds < options->max_seconds);
}

/* The ranges that were measured when the run began; without them packages do not have any. */
static void load_observed(struct run *run)
{
    struct err err = {0};
    const status s = observed_load(&run->observed, run->experiment->run_dir, run->about.run_id,
                                   (size_t)run->settings.O, &err);
    if (s != STATUS_OK) {
        log_warn("policies do not say which observations were seen: %s", err.text);
    }
}

status run_resume(struct run *run, struct err *err)
{
    char folder[PATH_MAX];
    folder_of(folder, run);
    /* Reading a checkpoint overwrites `about`, and with it the digest of the present options. */
    uint64_t digest = run->about.config_digest;
    status s = checkpoint_resume(folder, run->options, (uint64_t)run->experiment->seed, &run->state,
                                 &run->settings, &run->about, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The new configuration counts; the log says what differs. */
    log_difference(run->about.config, run->config);
    log_other_bits(run->about.config, run->config);
    run->about.config_digest = digest;
    set_config(run);
    log_info("resumed run=%s step=%" PRIu64 " batch=%" PRIu64 " version=%" PRIu64 "%s%s",
             run->about.run_id, state_step(run->state), run->about.next_batch, run->about.version,
             run->about.finished ? " finished: " : "", run->about.finish_reason);
    if (may_go_on(run)) {
        log_info("the run goes on: the limits that ended it have been raised");
        run->about.finished = false;
        char path[PATH_MAX];
        package_path(path, run);
        unlink(path); /* it is no longer the last policy */
    }
    load_observed(run);
    return open_parts(run, err);
}

/* Mean and scale of the observations become part of the state. Dimensions that never change are
 * named by number: a learner cannot see them. */
static status set_normalizer(struct run *run, const struct normalizer_sums *sums, struct err *err)
{
    /* One piece of memory for mean and scale. */
    float *mean = mem_array(2 * sums->O, sizeof *mean);
    if (mean == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "normalizer");
    }
    float *scale = mean + sums->O;
    /* From sums to the mean and scale of each dimension. */
    normalizer_sums_finish(sums, mean, scale);
    state_set_normalizer(run->state, mean, scale);
    /* Backwards, so that `first` ends as the lowest number. */
    size_t n_constant = 0, first = 0;
    for (size_t i = sums->O; i-- > 0;) {
        if (scale[i] == 0.0f) {
            n_constant++;
            first = i;
        }
    }
    mem_free(mean);
    log_info("observations are normalized rows=%" PRIu64 " constant=%zu", sums->n, n_constant);
    if (n_constant > 0) {
        log_warn("observations never change and are taken as 0 dimensions=%zu first=%zu",
                 n_constant, first);
    }
    return STATUS_OK;
}

/* The weights over M samples have a KL of at most log M to them: with a larger eps no eta meets the
 * bound, eta falls without end, and the policy follows the best of M samples (docs/maths.md). */
static void warn_of_eps(const struct settings *settings)
{
    const struct algorithm *algorithm = algorithm_of(settings);
    if (algorithm->has_alphas && settings->M > 1 && settings->eps >= log(settings->M)) {
        log_warn("eps cannot be met by so few samples eps=%g samples=%d expected=less than %.2f",
                 settings->eps, settings->M, log(settings->M));
    }
}

status run_begin(struct run *run, const struct signature *signature,
                 const struct normalizer_sums *sums, struct err *err)
{
    run->about.signature = *signature;
    /* Who the run is, and with which options it begins. */
    name_run(run->about.run_id, sizeof(run->about.run_id));
    set_config(run);
    /* Sizes from the signature, then the state with its first random parameters. */
    status s = learner_options_settings(run->options, signature, (uint64_t)run->experiment->seed,
                                        &run->settings, err);
    if (s == STATUS_OK) {
        s = state_new(&run->state, &run->settings, err);
    }
    if (s == STATUS_OK && sums != NULL) {
        s = set_normalizer(run, sums, err);
    }
    if (s == STATUS_OK) {
        s = open_parts(run, err);
    }
    if (s == STATUS_OK && observed_ranges(&run->observed).O > 0) {
        s = observed_save(&run->observed, run->experiment->run_dir, run->about.run_id, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    candidates_clear(run->experiment->run_dir);
    warn_of_eps(&run->settings);
    log_info("new run=%s algorithm=%s observation=%d actions=%d tasks=%d parameters=%zu",
             run->about.run_id, settings_algorithm_name(run->settings.algorithm), run->settings.O,
             run->settings.A, run->settings.K, state_layout(run->state)->size);
    /* A run that clients can see must be found again after a crash, so this write is waited for. */
    return run_checkpoint(run, FIRST_CHECKPOINT_MS, err);
}

/* Writes the last package to a file, for runs that no evaluator follows. A failure does not keep
 * the run from ending. */
static void keep_package(const struct run *run, const void *package, size_t size)
{
    char path[PATH_MAX];
    struct err err;
    const struct file_part part = {package, size};
    package_path(path, run);
    if (file_replace(path, &part, 1, &err) != STATUS_OK) {
        log_warn("the last policy is not kept: %s", err.text);
    }
}

/* How many publications are kept for a choice at the end. */
static uint64_t policies_kept(const struct run *run)
{
    const int64_t asked = run->options->keep_policies;
    return asked > 0 ? (uint64_t)asked
                     : (experiment_chooses_offline(run->experiment) ? KEPT_FOR_CHOICE : 0);
}

status run_publish(struct run *run, bool finished, struct err *err)
{
    /* run_end has numbered the last version already; every other one takes the next number. */
    uint64_t version = run->about.version + (finished ? 0 : 1);
    char version_text[24];
    snprintf(version_text, sizeof(version_text), "%" PRIu64, version);
    /* A name from the command line may hold any bytes, but the header of a package is JSON. */
    char experiment[CONFIG_TEXT_SIZE];
    snprintf(experiment, sizeof(experiment), "%s", run->experiment->name);
    utf8_clean(experiment);
    if (run->made_of == NULL || run->made_of_version != run->about.table_version) {
        mem_free(run->made_of);
        run->made_of = made_of_json(run->experiment->run_dir, run->about.table_version);
        run->made_of_version = run->about.table_version;
    }
    const struct state_note notes[] = {{"run_id", run->about.run_id},
                                       {"version", version_text},
                                       {"experiment", experiment},
                                       {"hindcast_version", HINDCAST_VERSION},
                                       {"made_of", run->made_of != NULL ? run->made_of : "{}"}};
    const struct policy_ranges ranges = observed_ranges(&run->observed);
    void *package = NULL;
    size_t size = 0;
    status s = state_package(run->state, &run->settings, run->signature_json, &ranges, notes,
                             sizeof(notes) / sizeof(notes[0]), &package, &size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "publish version %" PRIu64, version);
    }
    /* Recorded before it is published: a number that a client has seen must not be used again. */
    struct err why = {0};
    if (counter_file_set(&run->record, version, &why) != STATUS_OK) {
        log_warn("%s", why.text);
    }
    if (finished) {
        keep_package(run, package, size);
    } else if (policies_kept(run) > 0 &&
               candidates_keep(run->experiment->run_dir, state_step(run->state),
                               (uint64_t)run->options->publish_every, policies_kept(run), package,
                               size, &why) != STATUS_OK) {
        log_warn("a policy to choose from is not kept: %s", why.text);
    }
    /* The publisher takes the package, whatever it answers. */
    s = publisher_publish(run->publisher, package, size, version, state_step(run->state), finished,
                          err);
    if (s == STATUS_OK) {
        run->about.version = version;
    }
    return s;
}

void run_checkpoint_if_due(struct run *run, uint64_t now_ns)
{
    const struct learner_options *options = run->options;
    /* One limit that is reached is enough. If a write is still under way, the next step asks
     * again. */
    bool due =
        (options->checkpoint_every_steps > 0 && state_step(run->state) - run->checkpoint_step >=
                                                    (uint64_t)options->checkpoint_every_steps) ||
        (options->checkpoint_every_seconds > 0 &&
         (double)(now_ns - run->checkpoint_ns) / 1e9 >= options->checkpoint_every_seconds);
    if (due && checkpointer_offer(run->checkpointer, run->state, &run->about)) {
        run->checkpoint_ns = now_ns;
        run->checkpoint_step = state_step(run->state);
    }
}

status run_checkpoint(struct run *run, uint64_t timeout_ms, struct err *err)
{
    /* First the write that is under way, which may be of this very step. */
    uint64_t begin_ns = clock_now_ns();
    uint64_t durable = 0;
    /* If that write fails, the one below may still succeed. */
    status s = checkpointer_wait(run->checkpointer, timeout_ms, err);
    if (s == STATUS_TIMEOUT) {
        return s;
    }
    /* This step may be durable already. An end has notes of its own and is always written. */
    if (s == STATUS_OK && checkpointer_step(run->checkpointer, &durable) &&
        durable == state_step(run->state) && !run->about.finished) {
        return STATUS_OK;
    }
    /* Then one of the state as it is, in what is left of the time. */
    uint64_t spent_ms = (clock_now_ns() - begin_ns) / NS_PER_MS;
    bool taken = checkpointer_offer(run->checkpointer, run->state, &run->about);
    ASSERT(taken); /* only this thread offers */
    run->checkpoint_ns = clock_now_ns();
    run->checkpoint_step = state_step(run->state);
    return checkpointer_wait(run->checkpointer, timeout_ms > spent_ms ? timeout_ms - spent_ms : 0,
                             err);
}

status run_end(struct run *run, const struct publisher_end *end, uint64_t timeout_ms,
               struct err *err)
{
    /* The number of the last version, which is published when this checkpoint is durable. */
    run->about.finished = true;
    run->about.version++;
    snprintf(run->about.finish_reason, sizeof(run->about.finish_reason), "%s", end->reason);
    snprintf(run->about.finish_who, sizeof(run->about.finish_who), "%s", end->who);
    return run_checkpoint(run, timeout_ms, err);
}
