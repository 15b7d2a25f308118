/* The parts of reading logs, put together:
 *
 *     logs_list       the files
 *     lerobot, minari_logs
 *                     what the metadata of a dataset say about them
 *     logs_cursor     the open file and its current recording
 *     logs_index      where the episodes are
 *     logs_reader     one episode, read through the mapping; logs_gaps, its times
 *
 * Formats are in log_file.h; the meaning of columns is in mapping.h. */
#include "common/logs/episodes/logs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/memory.h"
#include "common/logs/episodes/logs_cursor.h"
#include "common/logs/episodes/logs_index.h"
#include "common/logs/episodes/logs_list.h"
#include "common/logs/episodes/logs_reader.h"
#include "common/logs/mapping/resample.h"

#define PATH_SIZE 4096

struct logs {
    char *path;
    struct logs_list files;
    struct lerobot *lerobot;    /* NULL: the logs are no LeRobot dataset */
    struct minari_logs *minari; /* NULL: nor one of Minari */

    struct logs_cursor cursor;
    struct logs_index index;           /* of the last logs_map */
    struct resample_findings findings; /* of all files, from logs_map */
    struct logs_reader reader;
};

/* Adds the data files of a LeRobot dataset. Its other files are Parquet, too, and not logs. */
static status add_lerobot(struct logs *logs, struct err *err)
{
    status s = lerobot_open(&logs->lerobot, logs->path, err);
    if (s == STATUS_OK) {
        s = logs_list_add_folder(&logs->files, lerobot_data(logs->lerobot), NULL, err);
    }
    return s == STATUS_OK ? lerobot_check(logs->lerobot, logs->files.paths, logs->files.n, err) : s;
}

/* Adds the files of a Minari dataset in its Arrow form. */
static status add_minari(struct logs *logs, struct err *err)
{
    status s = minari_logs_open(&logs->minari, logs->path, err);
    if (s == STATUS_OK) {
        s = logs_list_add_folder(&logs->files, minari_logs_data(logs->minari), NULL, err);
    }
    return s == STATUS_OK ? minari_logs_check(logs->minari, logs->files.n, err) : s;
}

/* Adds the files of a folder, whatever it holds. */
static status add_any_folder(struct logs *logs, struct err *err)
{
    if (lerobot_is(logs->path)) {
        return add_lerobot(logs, err);
    }
    if (minari_logs_is(logs->path)) {
        return add_minari(logs, err);
    }
    /* The tables of a LeRobot dataset are no logs, so it is not read as part of a folder. */
    return logs_list_add_folder(&logs->files, logs->path, lerobot_is, err);
}

status logs_open(struct logs **out, const char *path, struct err *err)
{
    /* logs_close releases whatever has been built when an error occurs. */
    struct logs *logs = mem_new(sizeof *logs);
    if (logs == NULL || (logs->path = mem_text(path)) == NULL) {
        mem_free(logs);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }

    logs->cursor.files = &logs->files;
    logs->reader = (struct logs_reader){.cursor = &logs->cursor, .index = &logs->index};

    /* A single file is listed like a folder that contains it alone. */
    struct stat info;
    status s;
    if (stat(path, &info) != 0) {
        s = err_errno(err, errno, "%s", path);
    } else if (S_ISDIR(info.st_mode)) {
        s = add_any_folder(logs, err);
    } else {
        s = logs_list_add_file(&logs->files, path, err);
    }
    if (s == STATUS_OK) {
        s = logs_list_check(&logs->files, path, err);
    }
    if (s != STATUS_OK) {
        logs_close(logs);
        return s;
    }
    *out = logs;
    return STATUS_OK;
}

static void forget_findings(struct logs *logs)
{
    clock_report_fini(&logs->findings.clocks);
    text_fini(&logs->findings.notes);
    mem_free(logs->findings.times_seen);
    logs->findings.times_seen = NULL;
}

void logs_close(struct logs *logs)
{
    if (logs == NULL) {
        return;
    }
    logs_cursor_fini(&logs->cursor);
    logs_list_fini(&logs->files);
    logs_index_fini(&logs->index);
    forget_findings(logs);
    lerobot_close(logs->lerobot);
    minari_logs_close(logs->minari);
    mem_free(logs->path);
    mem_free(logs);
}

const struct log_format *logs_format(const struct logs *logs)
{
    return logs->files.format;
}

const struct lerobot *logs_lerobot(const struct logs *logs)
{
    return logs->lerobot;
}

const struct minari_logs *logs_minari(const struct logs *logs)
{
    return logs->minari;
}

size_t logs_n_files(const struct logs *logs)
{
    return logs->files.n;
}

const char *logs_path(const struct logs *logs, size_t file_i)
{
    ASSERT(file_i < logs->files.n);
    return logs->files.paths[file_i];
}

status logs_file(struct logs *logs, size_t file_i, struct log_file **file, struct err *err)
{
    return logs_cursor_file(&logs->cursor, file_i, file, err);
}

status logs_map(struct logs *logs, const struct mapping *mapping, struct err *err)
{
    /* A mapping without a format fits logs of any format. */
    if (mapping->format[0] != 0 && strcmp(mapping->format, logs->files.format->name) != 0) {
        return err_set(err, STATUS_INVALID, "%s: the mapping is for %s, the logs are %s",
                       logs->path, mapping->format, logs->files.format->name);
    }

    forget_findings(logs);
    const uint32_t n_times = mapping->episodes == MAPPING_BY_TIMES ? mapping->resample.n_times : 0;
    logs->findings.times_seen = mem_new(n_times + 1);
    if (logs->findings.times_seen == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "table of times");
    }
    logs->cursor.findings = &logs->findings;
    const status s = logs_index_build(&logs->index, &logs->cursor, mapping, err);
    logs->cursor.findings = NULL;
    for (uint32_t i = 0; s == STATUS_OK && i < n_times; i++) {
        if (!logs->findings.times_seen[i]) {
            text_format(&logs->findings.notes,
                        "episodes: times: no file has messages between %.6f s and %.6f s\n",
                        mapping->resample.times[i][0], mapping->resample.times[i][1]);
        }
    }
    return s;
}

void logs_findings(const struct logs *logs, struct text *text)
{
    if (logs->findings.clocks.n > 0) {
        clock_report_print(&logs->findings.clocks, text);
    }
    if (logs->findings.notes.bytes != NULL) {
        text_add(text, logs->findings.notes.bytes);
    }
}

const struct signature *logs_signature(const struct logs *logs)
{
    return &logs->index.signature;
}

uint64_t logs_n_episodes(const struct logs *logs)
{
    return logs->index.n;
}

void logs_file_episodes(const struct logs *logs, size_t file_i, uint64_t *first, uint64_t *n,
                        uint64_t *transitions)
{
    const struct logs_index *index = &logs->index;
    ASSERT(index->mapping != NULL && file_i < logs->files.n);
    *first = logs_index_first(index, file_i);
    *n = logs_index_first(index, file_i + 1) - *first;
    *transitions = 0;
    for (uint64_t i = *first; i < *first + *n; i++) {
        /* A row that holds the last observation only is no transition. */
        const uint64_t rows = index->places[i].n;
        *transitions += rows > 0 && index->mapping->last == MAPPING_LAST_ROW ? rows - 1 : rows;
    }
}

void logs_set_clip(struct logs *logs, bool clip)
{
    logs->reader.actions.clip = clip;
}

void logs_set_keep_bad(struct logs *logs, bool keep)
{
    logs->reader.keep_bad = keep;
}

const struct logs_gaps *logs_gaps(const struct logs *logs)
{
    return &logs->reader.gaps;
}

status logs_tag(struct logs *logs, uint64_t episode_i, const char *name, char *value, size_t size)
{
    ASSERT(episode_i < logs->index.n);
    const struct logs_place *place = &logs->index.places[episode_i];
    status s = logs_cursor_seek(&logs->cursor, place->file_i, place->recording_i, NULL);
    if (s != STATUS_OK) {
        return s;
    }
    /* A column, by its value in the first row, or one value for the whole recording. */
    const struct recording_column *column = recording_find(&logs->cursor.recording, name);
    if (column != NULL && column->kind == RECORDING_NUMBERS && column->width == 1) {
        s = logs_cursor_read(&logs->cursor, column, column->rows == 1 ? 0 : place->first, 1, NULL);
        if (s == STATUS_OK) {
            snprintf(value, size, "%.17g", logs->cursor.values[0]);
        }
        return s;
    }
    return logs->files.format->attribute != NULL
               ? logs->files.format->attribute(logs->cursor.open, place->recording_i, name, value,
                                               size)
               : STATUS_NOT_FOUND;
}

uint64_t logs_clipped(const struct logs *logs)
{
    return logs->reader.actions.clipped;
}

void logs_place(const struct logs *logs, uint64_t episode_i, char *text, size_t size)
{
    ASSERT(episode_i < logs->index.n);
    const struct logs_place *place = &logs->index.places[episode_i];
    const struct mapping *mapping = logs->index.mapping;
    const char *path = logs->files.paths[place->file_i];

    if (mapping->resample.on) {
        const double dt = mapping->control_period_s;
        snprintf(text, size, "%s, %.6f..%.6f s", path, place->start_s,
                 place->start_s + dt * (double)(place->n - 1));
        return;
    }
    /* The path alone identifies an episode that is a whole file. */
    if (mapping->episodes == MAPPING_BY_RECORDING && place->recording_i == 0) {
        snprintf(text, size, "%s", path);
    } else {
        snprintf(text, size, "%s, recording %" PRIu64 ", rows %" PRIu64 "..%" PRIu64, path,
                 place->recording_i, place->first, place->first + place->n - 1);
    }
}

status logs_read(struct logs *logs, uint64_t episode_i, struct episode *episode, struct err *err)
{
    ASSERT(logs->index.mapping != NULL);
    ASSERT(episode_i < logs->index.n);
    const status s = logs_reader_read(&logs->reader, &logs->index.places[episode_i], episode, err);
    if (s == STATUS_OK) {
        return s;
    }
    /* Say which episode is bad. */
    char where[PATH_SIZE + 128];
    logs_place(logs, episode_i, where, sizeof where);
    return err_context(err, s, "%s", where);
}
