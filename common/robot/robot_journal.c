/* Two stores of episodes and a file of the steps in between.
 *
 * FOLDER/steps: the first observation, then for each step action, rewards, discount and the next
 * observation; float32, without a header, since the stores beside it know the signature. A step that
 * is not whole at its end was being written when the process was killed, and is left out. */
#include "common/robot/robot_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/line_file.h"
#include "common/base/memory.h"
#include "common/trajectory/log_store.h"

#define LOG_MODULE "robot_journal"
#include "common/base/log.h"

#define PATH_SIZE      1100
#define SHARD_EPISODES 100
#define STEPS_MAX      ((size_t)1 << 30) /* bytes of FOLDER/steps, as of an episode */

struct robot_journal {
    char folder[PATH_SIZE];
    struct signature signature;
    uint32_t O;
    struct log_store *kept; /* NULL: not kept here */
    struct log_store *failed;
    struct line_file marks;
    int steps;
    struct episode episode; /* under way */
    bool under_way;
    float *step; /* (W - 1 + O) buffer of one step as it is in the file */
};

/* ---- The file of steps ---- */

static status empty_steps(struct robot_journal *journal, struct err *err)
{
    if (ftruncate(journal->steps, 0) != 0 || lseek(journal->steps, 0, SEEK_SET) != 0) {
        return err_errno(err, errno, "%s/steps", journal->folder);
    }
    return STATUS_OK;
}

/* Floats of one step in the file. */
static size_t step_size(const struct robot_journal *journal)
{
    return signature_width(&journal->signature);
}

/* The steps that a process left behind become the episode under way. */
static status recover(struct robot_journal *journal, struct err *err)
{
    const struct signature *signature = &journal->signature;
    char path[PATH_SIZE + 16];
    void *bytes;
    size_t size;
    (void)snprintf(path, sizeof path, "%s/steps", journal->folder);
    status s = file_read_regular(path, STEPS_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    const float *next = bytes;
    size_t left = size / sizeof(float);
    if (left >= journal->O + step_size(journal)) {
        s = episode_begin(&journal->episode, signature, next, err);
        next += journal->O;
        left -= journal->O;
        for (; s == STATUS_OK && left >= step_size(journal); left -= step_size(journal)) {
            const float *rewards = next + signature->A;
            s = episode_step(&journal->episode, signature, next, rewards, rewards[signature->K],
                             rewards + signature->K + 1, err);
            next += step_size(journal);
        }
        journal->under_way = s == STATUS_OK;
    }
    mem_free(bytes);
    s = s != STATUS_OK ? s
                       : robot_journal_fail(journal, "killed", "the process ended within it", err);
    return s != STATUS_OK ? s : empty_steps(journal, err);
}

/* ---- Opening ---- */

static status open_store(struct log_store **store, const struct robot_journal *journal,
                         const char *name, const struct robot_journal_settings *settings,
                         struct err *err)
{
    char path[PATH_SIZE + 16];
    (void)snprintf(path, sizeof path, "%s/%s", journal->folder, name);
    const struct log_store_settings made = {.folder = path,
                                            .writer = "robot",
                                            .environment = settings->robot,
                                            .shard_episodes = SHARD_EPISODES,
                                            .program = settings->program};
    return log_store_open(store, &made, &journal->signature, err);
}

static status open_files(struct robot_journal *journal, struct err *err)
{
    char path[PATH_SIZE + 16];
    (void)snprintf(path, sizeof path, "%s/failed.jsonl", journal->folder);
    status s = line_file_open(&journal->marks, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    (void)snprintf(path, sizeof path, "%s/steps", journal->folder);
    journal->steps = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return journal->steps >= 0 ? STATUS_OK : err_errno(err, errno, "%s", path);
}

status robot_journal_open(struct robot_journal **opened,
                          const struct robot_journal_settings *settings,
                          const struct signature *signature, struct err *err)
{
    struct robot_journal *journal = mem_new(sizeof *journal);
    float *step = mem_array(signature_width(signature), sizeof *step);
    if (journal == NULL || step == NULL) {
        mem_free(journal);
        mem_free(step);
        return err_set(err, STATUS_NO_MEMORY, "robot's journal: out of memory");
    }
    (void)snprintf(journal->folder, sizeof journal->folder, "%s", settings->folder);
    journal->signature = *signature;
    journal->O = signature_observation(signature);
    journal->step = step;
    journal->marks.fd = journal->steps = -1;
    episode_init(&journal->episode, signature_width(signature));
    /* The stores first: they lock the folder, and know whose it is. */
    status s = open_store(&journal->failed, journal, "failed", settings, err);
    if (s == STATUS_OK && settings->keep) {
        s = open_store(&journal->kept, journal, "logs", settings, err);
    }
    s = s != STATUS_OK ? s : open_files(journal, err);
    s = s != STATUS_OK ? s : recover(journal, err);
    if (s != STATUS_OK) {
        robot_journal_close(journal);
        return err_context(err, s, "robot's journal");
    }
    *opened = journal;
    return STATUS_OK;
}

static void close_store(struct log_store *store)
{
    struct err err;
    if (store != NULL && log_store_compact(store, &err) != STATUS_OK) {
        log_error("the episodes stay in the journal: %s", err.text);
    }
    log_store_close(store);
}

void robot_journal_close(struct robot_journal *journal)
{
    struct err err;
    if (journal == NULL) {
        return;
    }
    if (journal->under_way &&
        robot_journal_fail(journal, "given up", "closed within it", &err) != STATUS_OK) {
        log_error("%s", err.text);
    }
    close_store(journal->kept);
    close_store(journal->failed);
    line_file_close(&journal->marks);
    if (journal->steps >= 0) {
        (void)close(journal->steps);
    }
    episode_fini(&journal->episode);
    mem_free(journal->step);
    mem_free(journal);
}

/* ---- Episodes ---- */

status robot_journal_begin(struct robot_journal *journal, const float *observation, struct err *err)
{
    status s = robot_journal_fail(journal, "given up", "the next one begins", err);
    s = s != STATUS_OK ? s : empty_steps(journal, err);
    episode_clear(&journal->episode);
    s = s != STATUS_OK ? s
                       : episode_begin(&journal->episode, &journal->signature, observation, err);
    s = s != STATUS_OK
            ? s
            : file_write_all(journal->steps, observation, journal->O * sizeof(float), err);
    journal->under_way = s == STATUS_OK;
    return s;
}

status robot_journal_step(struct robot_journal *journal, const float *action, const float *rewards,
                          float discount, const float *observation, struct err *err)
{
    const uint32_t A = journal->signature.A, K = journal->signature.K;
    float *step = journal->step;
    if (!journal->under_way) {
        return STATUS_OK;
    }
    memcpy(step, action, A * sizeof *step);
    memcpy(step + A, rewards, K * sizeof *step);
    step[A + K] = discount;
    memcpy(step + A + K + 1, observation, journal->O * sizeof *step);
    status s = file_write_all(journal->steps, step, step_size(journal) * sizeof *step, err);
    return s != STATUS_OK ? s
                          : episode_step(&journal->episode, &journal->signature, action, rewards,
                                         discount, observation, err);
}

status robot_journal_end(struct robot_journal *journal, struct err *err)
{
    if (!journal->under_way) {
        return STATUS_OK;
    }
    journal->under_way = false;
    status s =
        journal->kept == NULL ? STATUS_OK : log_store_append(journal->kept, &journal->episode, err);
    return s != STATUS_OK ? s : empty_steps(journal, err);
}

/* The line that marks a failed episode. */
static status mark(struct robot_journal *journal, const char *kind, const char *text,
                   struct err *err)
{
    cJSON *json = cJSON_CreateObject();
    bool ok = cJSON_AddNumberToObject(json, "episode", (double)log_store_last(journal->failed)) &&
              cJSON_AddNumberToObject(json, "steps", (double)journal->episode.T) &&
              cJSON_AddStringToObject(json, "kind", kind) &&
              cJSON_AddStringToObject(json, "text", text) &&
              cJSON_AddNumberToObject(json, "time", (double)clock_wall_ns() * 1e-9);
    char *line = ok ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    status s = line == NULL ? err_set(err, STATUS_NO_MEMORY, "robot's journal: out of memory")
                            : line_file_append(&journal->marks, line, strlen(line), err);
    cJSON_free(line);
    return s;
}

status robot_journal_fail(struct robot_journal *journal, const char *kind, const char *text,
                          struct err *err)
{
    if (!journal->under_way) {
        return STATUS_OK;
    }
    journal->under_way = false;
    /* Without a step there is nothing to log. */
    if (journal->episode.T > 0) {
        status s = log_store_append(journal->failed, &journal->episode, err);
        s = s != STATUS_OK ? s : mark(journal, kind, text, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return empty_steps(journal, err);
}
