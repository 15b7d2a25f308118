/* Makes episodes from log files.
 *
 * logs_open lists the files, and logs_map builds an index with the file, recording and rows of each
 * episode. Values are read only when an episode is read, column by column, into a scratch buffer.
 * One file is in use at a time, and its current recording stays described, so reading episodes in
 * order opens each file once. Files of formats that read a whole file when they open it (CSV) stay
 * open as long as there is memory.
 *
 * Where the last observation of an episode is depends on the mapping. With n rows in an episode
 * (o observation, o' next observation, a action; T transitions need T + 1 observations):
 *
 *     last_row            o0 a0   o1 a1   o2           T = n - 1, all rows have an observation
 *     next_observation    o0 a0 o1'   o1 a1 o2'        T = n, the last one is o' of the last row
 *     none, terminated    o0 a0   o1 a1                T = n, the last one is never used
 *     none, otherwise     o0 a0   o1 (a1)              T = n - 1, the last action is dropped
 *
 * Formats are in log_file.h; the meaning of columns is in mapping.h. */
#include "common/logs/episodes/logs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/elements.h"
#include "common/base/memory.h"
#include "common/logs/mapping/resample.h"

#define PATH_SIZE      4096
#define DEPTH_MAX      8
#define KEPT_BYTES_MAX (512ull << 20) /* of files that stay open */

/* The location of an episode: rows first .. first + n of a recording. */
struct place {
    uint32_t file_i;
    uint64_t recording_i, first, n;
    double start_s; /* of its first row, if it is resampled */
};

/* The state has three levels, each valid only together with the one before: the list of files; the
 * mapping and the index of episodes; the open file with its described recording. */
struct logs {
    char *path;
    const struct log_format *format;
    struct lerobot *lerobot;    /* NULL: the logs are no LeRobot dataset */
    struct minari_logs *minari; /* NULL: nor one of Minari */
    size_t n_files, files_capacity;
    char *gzip_path; /* the first file that gzip has made, NULL: none */
    char **files;    /* (n_files) paths */

    const struct mapping *mapping;
    struct signature signature;
    uint64_t n_episodes, episodes_capacity;
    struct place *episodes; /* (n_episodes) */

    struct log_file *open; /* the open file, files[open_i]; NULL if none is open */
    size_t open_i;
    struct log_file **kept; /* (n_files) files that stay open (see put_away), NULL: none of them */
    uint64_t *kept_sizes;   /* (n_files) bytes of each */
    uint64_t kept_bytes;
    struct recording recording; /* columns of recording_i of the open file, if `described` */
    bool described;
    uint64_t recording_i;

    bool clip;        /* actions beyond their limits */
    uint64_t clipped; /* action values so far */
    bool keep_bad;    /* keep missing values, so that episodes can be cut around them */
    struct logs_gaps gaps;

    struct resample_findings findings; /* of all files, from logs_map */
    bool indexing;                     /* logs_map is at work, which fills the findings */

    double *values; /* scratch buffer for one column of one episode */
    size_t values_capacity;
};

/* ---- files ---- */

/* Adds a file to the list, if it has a known format. All files must have the same format. */
static status add_file(struct logs *logs, const char *path, struct err *err)
{
    const struct log_format *format = log_format_of(path);
    if (format == NULL && logs->gzip_path == NULL && log_file_is_gzip(path)) {
        logs->gzip_path = mem_text(path); /* for a message, if there are no other logs */
    }
    if (format == NULL) {
        return STATUS_OK; /* folders of logs also hold README.md, videos, .. */
    }
    if (logs->format != NULL && logs->format != format) {
        return err_set(err, STATUS_INVALID,
                       "%s is %s and %s is %s: expected files of one format in a folder",
                       logs->files[0], logs->format->name, path, format->name);
    }

    /* Append a copy of the path. */
    if (logs->n_files >= LOGS_FILES_MAX) {
        return err_set(err, STATUS_INVALID, "%s: more than %u files", logs->path, LOGS_FILES_MAX);
    }
    if (logs->n_files == logs->files_capacity) {
        const size_t capacity = logs->files_capacity == 0 ? 64 : 2 * logs->files_capacity;
        char **files = mem_resize(logs->files, capacity, sizeof *files);
        if (files == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: list of files", logs->path);
        }
        logs->files = files;
        logs->files_capacity = capacity;
    }
    char *copy = mem_text(path);
    if (copy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list of files", logs->path);
    }
    logs->format = format;
    logs->files[logs->n_files++] = copy;
    return STATUS_OK;
}

/* Adds the metadata.yaml of a rosbag2 folder, which stands for the files of that folder. */
static status add_bag(struct logs *logs, const char *folder, bool *is_bag, struct err *err)
{
    char path[PATH_SIZE];
    const int length = snprintf(path, sizeof path, "%s/metadata.yaml", folder);
    *is_bag = length > 0 && (size_t)length < sizeof path && log_format_of(path) == &log_format_mcap;
    return *is_bag ? add_file(logs, path, err) : STATUS_OK;
}

static int is_visible(const struct dirent *entry)
{
    /* The mapping file in a folder of logs is not itself a log. */
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "mapping.yaml") != 0;
}

/* Adds the files of a folder and of its subfolders in order of name. Entries that disappear
 * meanwhile are skipped. */
static status add_folder(struct logs *logs, const char *folder, int depth, struct err *err)
{
    bool is_bag;
    status s = add_bag(logs, folder, &is_bag, err);
    if (s != STATUS_OK || is_bag) {
        return s;
    }
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_visible, versionsort);
    if (n < 0) {
        return err_errno(err, errno, "%s", folder);
    }
    /* All entries are freed even after an error, since scandir() allocates each of them. */
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        struct stat info;
        /* Links are followed by stat(), and DEPTH_MAX also ends a cycle of links. */
        const int length = snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (s == STATUS_OK && length > 0 && (size_t)length < sizeof path &&
            stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode) && lerobot_is(path)) {
                s = err_set(err, STATUS_INVALID,
                            "%s: is a LeRobot dataset within the folder: expected its own path",
                            path);
            } else if (S_ISDIR(info.st_mode) && depth < DEPTH_MAX) {
                s = add_folder(logs, path, depth + 1, err);
            } else if (S_ISREG(info.st_mode)) {
                s = add_file(logs, path, err);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return s;
}

/* Adds the data files of a LeRobot dataset. Its other files are Parquet, too, and not logs. */
static status add_lerobot(struct logs *logs, struct err *err)
{
    status s = lerobot_open(&logs->lerobot, logs->path, err);
    if (s == STATUS_OK) {
        s = add_folder(logs, lerobot_data(logs->lerobot), 0, err);
    }
    return s == STATUS_OK ? lerobot_check(logs->lerobot, logs->files, logs->n_files, err) : s;
}

/* Adds the files of a Minari dataset in its Arrow form. */
static status add_minari(struct logs *logs, struct err *err)
{
    status s = minari_logs_open(&logs->minari, logs->path, err);
    if (s == STATUS_OK) {
        s = add_folder(logs, minari_logs_data(logs->minari), 0, err);
    }
    return s == STATUS_OK ? minari_logs_check(logs->minari, logs->n_files, err) : s;
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
    return add_folder(logs, logs->path, 0, err);
}

status logs_open(struct logs **out, const char *path, struct err *err)
{
    /* logs_close releases whatever has been built when an error occurs. */
    struct logs *logs = mem_new(sizeof *logs);
    if (logs == NULL || (logs->path = mem_text(path)) == NULL) {
        mem_free(logs);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }

    /* A single file is listed like a folder that contains it alone. */
    struct stat info;
    status s;
    if (stat(path, &info) != 0) {
        s = err_errno(err, errno, "%s", path);
    } else if (S_ISDIR(info.st_mode)) {
        s = add_any_folder(logs, err);
    } else {
        s = add_file(logs, path, err);
    }
    /* A folder without logs is most likely a mistyped path. */
    if (s == STATUS_OK && logs->n_files == 0 && logs->gzip_path != NULL) {
        s = err_set(err, STATUS_INVALID, "%s: is compressed with gzip: unpack it first (gunzip)",
                    logs->gzip_path);
    } else if (s == STATUS_OK && logs->n_files == 0) {
        s = err_set(err, STATUS_INVALID, "%s: contains no logs in a supported format (%s)", path,
                    log_format_names());
    }
    if (s != STATUS_OK) {
        logs_close(logs);
        return s;
    }
    *out = logs;
    return STATUS_OK;
}

/* Makes room for the list of files that are kept. Without it none is kept. */
static bool may_keep(struct logs *logs)
{
    if (logs->kept == NULL) {
        logs->kept = mem_array(logs->n_files, sizeof(*logs->kept));
        logs->kept_sizes = mem_array(logs->n_files, sizeof *logs->kept_sizes);
    }
    if (logs->kept == NULL || logs->kept_sizes == NULL) {
        mem_free(logs->kept);
        mem_free(logs->kept_sizes);
        logs->kept = NULL;
        logs->kept_sizes = NULL;
    }
    return logs->kept != NULL;
}

/* Ends the use of the open file: closes it, or keeps it for its next use where opening it again is
 * expensive. The first files are kept, and none is given up for another: files are read in order,
 * once for the index and once for the values, and then most of them would be given up just before
 * they are needed. */
static void put_away(struct logs *logs)
{
    struct log_file *file = logs->open;
    logs->open = NULL;
    if (file == NULL) {
        return;
    }
    const uint64_t bytes = file->format->memory != NULL ? file->format->memory(file) : UINT64_MAX;
    if (bytes > KEPT_BYTES_MAX || bytes > KEPT_BYTES_MAX - logs->kept_bytes || !may_keep(logs)) {
        log_file_close(file);
        return;
    }
    logs->kept[logs->open_i] = file;
    logs->kept_sizes[logs->open_i] = bytes;
    logs->kept_bytes += bytes;
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
    put_away(logs);
    for (size_t i = 0; i < logs->n_files; i++) {
        if (logs->kept != NULL) {
            log_file_close(logs->kept[i]);
        }
        mem_free(logs->files[i]);
    }
    mem_free(logs->kept);
    mem_free(logs->kept_sizes);
    mem_free(logs->files);
    mem_free(logs->episodes);
    mem_free(logs->values);
    forget_findings(logs);
    recording_fini(&logs->recording);
    lerobot_close(logs->lerobot);
    minari_logs_close(logs->minari);
    mem_free(logs->gzip_path);
    mem_free(logs->path);
    mem_free(logs);
}

const struct log_format *logs_format(const struct logs *logs)
{
    return logs->format;
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
    return logs->n_files;
}

const char *logs_path(const struct logs *logs, size_t file_i)
{
    ASSERT(file_i < logs->n_files);
    return logs->files[file_i];
}

/* Opens file i, or takes it from the files that are kept. */
static status open_plain(struct logs *logs, size_t file_i, struct log_file **file, struct err *err)
{
    if (logs->kept == NULL || logs->kept[file_i] == NULL) {
        return log_file_open(file, logs->files[file_i], err);
    }
    *file = logs->kept[file_i];
    logs->kept[file_i] = NULL;
    logs->kept_bytes -= logs->kept_sizes[file_i];
    return STATUS_OK;
}

/* Opens file i as the mapping sees it: with rows at the control period, if it resamples. */
static status open_file(struct logs *logs, size_t file_i, struct err *err)
{
    struct resample_findings *findings = logs->indexing ? &logs->findings : NULL;
    struct log_file *file;
    status s = open_plain(logs, file_i, &file, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (findings != NULL) {
        log_file_notes(file, true, &findings->notes);
    }
    if (logs->mapping != NULL && logs->mapping->resample.on && !resample_is(file)) {
        s = resample_open(&file, file, logs->mapping, findings, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "%s", logs->files[file_i]);
        }
    }
    logs->open = file;
    logs->open_i = file_i;
    return STATUS_OK;
}

/* Closes the files that are resampled, whose mapping is given up. */
static void forget_resampled(struct logs *logs)
{
    put_away(logs);
    logs->described = false;
    for (size_t i = 0; i < logs->n_files && logs->kept != NULL; i++) {
        if (logs->kept[i] != NULL && resample_is(logs->kept[i])) {
            log_file_close(logs->kept[i]);
            logs->kept[i] = NULL;
            logs->kept_bytes -= logs->kept_sizes[i];
        }
    }
}

status logs_file(struct logs *logs, size_t file_i, struct log_file **file, struct err *err)
{
    ASSERT(file_i < logs->n_files);

    /* The description belongs to the file that is put away here, so it becomes invalid too. */
    if (logs->open == NULL || logs->open_i != file_i) {
        put_away(logs);
        logs->described = false;
        const status s = open_file(logs, file_i, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    *file = logs->open;
    return STATUS_OK;
}

/* Opens the file and describes the recording in logs->recording, unless that is already done. */
static status go_to(struct logs *logs, size_t file_i, uint64_t recording_i, struct err *err)
{
    /* Reading episodes in order makes both steps no-ops most of the time. */
    struct log_file *file;
    status s = logs_file(logs, file_i, &file, err);
    if (s != STATUS_OK || (logs->described && logs->recording_i == recording_i)) {
        return s;
    }
    /* An error in between must not leave a recording that looks described. */
    logs->described = false;
    s = log_file_describe(file, recording_i, &logs->recording, err);
    if (s == STATUS_OK) {
        logs->described = true;
        logs->recording_i = recording_i;
    }
    return s;
}

/* ---- values ---- */

/* Reads n rows of the column into logs->values (n, width), which grows as needed. */
static status read_values(struct logs *logs, const struct recording_column *column, uint64_t first,
                          uint64_t n, struct err *err)
{

    /* No overflow: formats limit rows and width. */
    const uint64_t count = n * column->width;
    if (count > LOG_FILE_BYTES_MAX / sizeof(double)) {
        return err_set(err, STATUS_INVALID, "%s: %" PRIu64 " values, too many to read at once",
                       column->name, count);
    }
    /* The buffer only grows: episodes of one length need a single allocation. */
    if (count > logs->values_capacity) {
        double *values = mem_resize(logs->values, count, sizeof *values);
        if (values == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " values", column->name, count);
        }
        logs->values = values;
        logs->values_capacity = count;
    }
    return log_file_read(logs->open, logs->recording_i, column, first, n, logs->values, err);
}

/* ---- index ---- */

/* Adds n rows from `first` on as an episode. */
static status add_episode(struct logs *logs, size_t file_i, uint64_t recording_i, uint64_t first,
                          uint64_t n, struct err *err)
{
    if (logs->n_episodes >= LOGS_EPISODES_MAX) {
        return err_set(err, STATUS_INVALID, "more than %u episodes", LOGS_EPISODES_MAX);
    }
    /* Doubling keeps the cost of growing linear. */
    if (logs->n_episodes == logs->episodes_capacity) {
        const uint64_t capacity = logs->episodes_capacity == 0 ? 256 : 2 * logs->episodes_capacity;
        struct place *episodes = mem_resize(logs->episodes, capacity, sizeof *episodes);
        if (episodes == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "list of episodes");
        }
        logs->episodes = episodes;
        logs->episodes_capacity = capacity;
    }
    const double start_s = logs->mapping->resample.on
                               ? resample_start(logs->open, recording_i) +
                                     (double)first * logs->mapping->control_period_s
                               : 0;
    logs->episodes[logs->n_episodes++] =
        (struct place){(uint32_t)file_i, recording_i, first, n, start_s};
    return STATUS_OK;
}

/* Adds the episodes of the current recording. A new one starts wherever the value of the episode
 * column changes. */
static status split_by_column(struct logs *logs, size_t file_i, uint64_t rows, struct err *err)
{
    /* mapping_signature has checked that the column exists and has one value in each row. */
    const struct recording_column *column =
        recording_find(&logs->recording, logs->mapping->episode_column);
    status s = read_values(logs, column, 0, rows, err);
    /* NaN differs from itself: each row without a value becomes an episode of one row, which most
     * mappings refuse as too short. */
    uint64_t first = 0;
    for (uint64_t t = 1; s == STATUS_OK && t <= rows; t++) {
        if (t == rows || logs->values[t] != logs->values[t - 1]) {
            s = add_episode(logs, file_i, logs->recording_i, first, t - first, err);
            first = t;
        }
    }
    return s;
}

/* Sets ends[t] for the rows in which the flag is set. */
static status mark_ends(struct logs *logs, const struct mapping_value *flag, uint64_t rows,
                        unsigned char *ends, struct err *err)
{
    if (flag->column[0] == 0) {
        return STATUS_OK;
    }
    const status s =
        read_values(logs, recording_find(&logs->recording, flag->column), 0, rows, err);
    /* Both flags mark the same array: an episode ends where either is set. */
    for (uint64_t t = 0; s == STATUS_OK && t < rows; t++) {
        ends[t] |= mapping_is_set(flag, logs->values[t]);
    }
    return s;
}

/* Adds the episodes of the current recording. Each ends with a row in which a flag is set. Rows
 * after the last such row form an episode that was cut off by the end of the recording. */
static status split_by_flags(struct logs *logs, size_t file_i, uint64_t rows, struct err *err)
{
    /* One byte for each row, for the time of this recording only. */
    unsigned char *ends = mem_array(rows, 1);
    if (ends == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "flags of %" PRIu64 " rows", rows);
    }
    status s = mark_ends(logs, &logs->mapping->terminated, rows, ends, err);
    if (s == STATUS_OK) {
        s = mark_ends(logs, &logs->mapping->timeout, rows, ends, err);
    }
    /* Rows between two ends, the later one included, are an episode. */
    uint64_t first = 0;
    for (uint64_t t = 0; s == STATUS_OK && t < rows; t++) {
        if (ends[t] || t + 1 == rows) {
            s = add_episode(logs, file_i, logs->recording_i, first, t + 1 - first, err);
            first = t + 1;
        }
    }
    mem_free(ends);
    return s;
}

/* Adds the episodes of the current recording, which must have the same signature as all others. */
static status index_recording(struct logs *logs, size_t file_i, struct err *err)
{
    /* Columns may have other widths in another file, which would make rows of another size. */
    struct signature signature;
    status s = mapping_signature(logs->mapping, &logs->recording, &signature, err);
    if (s == STATUS_OK && logs->n_episodes > 0) {
        s = signature_same(&logs->signature, &signature, err);
    }
    if (s != STATUS_OK) {
        return s;
    }

    /* The rows of the first observation column count; reading an episode fails if another column is
     * shorter. */
    logs->signature = signature;
    const uint64_t rows =
        recording_find(&logs->recording, logs->mapping->observation[0].names[0])->rows;
    switch (logs->mapping->episodes) {
    case MAPPING_BY_RECORDING:
    case MAPPING_BY_GAPS:
    case MAPPING_BY_TIMES: /* each stretch of time is a recording of the resampled file */
        return add_episode(logs, file_i, logs->recording_i, 0, rows, err);
    case MAPPING_BY_COLUMN:
        return split_by_column(logs, file_i, rows, err);
    case MAPPING_BY_FLAGS:
        return split_by_flags(logs, file_i, rows, err);
    }
    return STATUS_INTERNAL;
}

/* Indexes every recording of every file. The first one that does not fit ends this, since the
 * mapping is then wrong for these logs. */
static status index_all(struct logs *logs, struct err *err)
{
    for (size_t i = 0; i < logs->n_files; i++) {
        struct log_file *file;
        status s = logs_file(logs, i, &file, err);
        const uint64_t n = s == STATUS_OK ? log_file_recordings(file) : 0;
        for (uint64_t j = 0; s == STATUS_OK && j < n; j++) {
            s = go_to(logs, i, j, err);
            if (s == STATUS_OK) {
                s = index_recording(logs, i, err);
            }
            if (s != STATUS_OK) {
                return err_context(err, s, "%s: recording %" PRIu64, logs->files[i], j);
            }
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

status logs_map(struct logs *logs, const struct mapping *mapping, struct err *err)
{
    /* A mapping without a format fits logs of any format. */
    if (mapping->format[0] != 0 && strcmp(mapping->format, logs->format->name) != 0) {
        return err_set(err, STATUS_INVALID, "%s: the mapping is for %s, the logs are %s",
                       logs->path, mapping->format, logs->format->name);
    }

    forget_resampled(logs);
    forget_findings(logs);
    logs->mapping = mapping;
    logs->n_episodes = 0;
    const uint32_t n_times = mapping->episodes == MAPPING_BY_TIMES ? mapping->resample.n_times : 0;
    logs->findings.times_seen = mem_new(n_times + 1);
    if (logs->findings.times_seen == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "table of times");
    }
    logs->indexing = true;
    const status s = index_all(logs, err);
    logs->indexing = false;
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
    return &logs->signature;
}

uint64_t logs_n_episodes(const struct logs *logs)
{
    return logs->n_episodes;
}

/* Returns the first episode that is in file i or a later one. Episodes are in the order of files. */
static uint64_t first_of(const struct logs *logs, size_t file_i)
{
    uint64_t low = 0, high = logs->n_episodes;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (logs->episodes[middle].file_i < file_i) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void logs_file_episodes(const struct logs *logs, size_t file_i, uint64_t *first, uint64_t *n,
                        uint64_t *transitions)
{
    ASSERT(logs->mapping != NULL && file_i < logs->n_files);
    *first = first_of(logs, file_i);
    *n = first_of(logs, file_i + 1) - *first;
    *transitions = 0;
    for (uint64_t i = *first; i < *first + *n; i++) {
        /* A row that holds the last observation only is no transition. */
        const uint64_t rows = logs->episodes[i].n;
        *transitions += rows > 0 && logs->mapping->last == MAPPING_LAST_ROW ? rows - 1 : rows;
    }
}

void logs_set_clip(struct logs *logs, bool clip)
{
    logs->clip = clip;
}

void logs_set_keep_bad(struct logs *logs, bool keep)
{
    logs->keep_bad = keep;
}

const struct logs_gaps *logs_gaps(const struct logs *logs)
{
    return &logs->gaps;
}

status logs_tag(struct logs *logs, uint64_t episode_i, const char *name, char *value, size_t size)
{
    ASSERT(episode_i < logs->n_episodes);
    const struct place *place = &logs->episodes[episode_i];
    status s = go_to(logs, place->file_i, place->recording_i, NULL);
    if (s != STATUS_OK) {
        return s;
    }
    /* A column, by its value in the first row, or one value for the whole recording. */
    const struct recording_column *column = recording_find(&logs->recording, name);
    if (column != NULL && column->kind == RECORDING_NUMBERS && column->width == 1) {
        s = read_values(logs, column, column->rows == 1 ? 0 : place->first, 1, NULL);
        if (s == STATUS_OK) {
            snprintf(value, size, "%.17g", logs->values[0]);
        }
        return s;
    }
    return logs->format->attribute != NULL
               ? logs->format->attribute(logs->open, place->recording_i, name, value, size)
               : STATUS_NOT_FOUND;
}

uint64_t logs_clipped(const struct logs *logs)
{
    return logs->clipped;
}

void logs_place(const struct logs *logs, uint64_t episode_i, char *text, size_t size)
{
    ASSERT(episode_i < logs->n_episodes);
    const struct place *place = &logs->episodes[episode_i];
    const char *path = logs->files[place->file_i];

    if (logs->mapping->resample.on) {
        const double dt = logs->mapping->control_period_s;
        snprintf(text, size, "%s, %.6f..%.6f s", path, place->start_s,
                 place->start_s + dt * (double)(place->n - 1));
        return;
    }
    /* The path alone identifies an episode that is a whole file. */
    if (logs->mapping->episodes == MAPPING_BY_RECORDING && place->recording_i == 0) {
        snprintf(text, size, "%s", path);
    } else {
        snprintf(text, size, "%s, recording %" PRIu64 ", rows %" PRIu64 "..%" PRIu64, path,
                 place->recording_i, place->first, place->first + place->n - 1);
    }
}

/* ---- one episode ---- */

/* One part of the rows of an episode and its source: rows first .. first + n of `columns` of the
 * recording become rows row .. row + n of the episode, at offset `at` in each row. */
struct piece {
    const char *key; /* of the mapping, for messages */
    const struct mapping_columns *columns;
    uint64_t first, n;
    uint64_t row;
    uint32_t at;
};

/* Sets an error that names the first value of the column, in logs->values, that is not finite in the
 * logs or as a float. */
static status not_finite(const struct logs *logs, const struct piece *piece,
                         const struct recording_column *column, struct err *err)
{
    uint64_t i = 0;
    while (fabs(logs->values[i]) <= 3e38) {
        i++;
    }
    return err_set(err, STATUS_INVALID,
                   "%s: row %" PRIu64 " of column %s: %s, expected a finite number", piece->key,
                   piece->first + i / column->width, column->name,
                   isnan(logs->values[i]) ? "no value" : "infinite or too large for a float");
}

/* Copies, scales and checks one part. Every value must be finite in the logs and as a float. */
static status copy_piece(struct logs *logs, const struct piece *piece, struct episode *episode,
                         struct err *err)
{
    /* Columns are put side by side, each with its own width. */
    uint32_t at = piece->at;
    for (uint32_t i = 0; i < piece->columns->n; i++) {
        const struct recording_column *column =
            recording_find(&logs->recording, piece->columns->names[i]);
        status s = read_values(logs, column, piece->first, piece->n, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "%s", piece->key);
        }

        /* A network would carry NaN or infinity into all of its weights. */
        float *to = &episode->rows[piece->row * episode->W + at];
        if (!elements_scatter(to, episode->W, logs->values, piece->n, column->width,
                              piece->columns->scale, piece->columns->offset) &&
            !logs->keep_bad) {
            return not_finite(logs, piece, column, err);
        }
        at += column->width;
    }
    return STATUS_OK;
}

/* Reads the values of T transitions into logs->values, for an episode whose rows start at `first`.
 * The single value of a column with one row describes the whole recording (success, for example),
 * so it counts for the last transition, and the others are 0. */
static status read_transitions(struct logs *logs, const struct mapping_value *value, uint64_t first,
                               uint64_t T, const char *key, struct err *err)
{
    const struct recording_column *column = recording_find(&logs->recording, value->column);
    /* The value is read before the buffer is enlarged and overwritten. */
    if (column->rows == 1 && T > 1) {
        status s = read_values(logs, column, 0, 1, err);
        if (s != STATUS_OK) {
            return s;
        }
        const double last = logs->values[0];
        double *values = mem_resize(logs->values, T, sizeof *values);
        if (values == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s", key);
        }
        logs->values = values;
        logs->values_capacity = T;
        memset(values, 0, T * sizeof *values);
        values[T - 1] = last;
        return STATUS_OK;
    }
    /* With `next`, the values start one row later. */
    const status s = read_values(logs, column, first + (value->row == MAPPING_ROW_NEXT), T, err);
    return s == STATUS_OK ? s : err_context(err, s, "%s", key);
}

/* Copies the rewards of all transitions. They are not scaled. */
static status copy_rewards(struct logs *logs, uint64_t first, struct episode *episode,
                           struct err *err)
{
    /* Rewards follow the action in each row; one component for each task. */
    const uint32_t at = signature_rewards_at(&logs->signature);
    for (uint32_t k = 0; k < logs->mapping->K; k++) {
        const struct mapping_value *value = &logs->mapping->reward[k];
        const status s = read_transitions(logs, value, first, episode->T, "rewards", err);
        if (s != STATUS_OK) {
            return s;
        }
        for (uint64_t t = 0; t < episode->T; t++) {
            if (!isfinite(logs->values[t]) && !logs->keep_bad) {
                return err_set(err, STATUS_INVALID,
                               "rewards: %s: transition %" PRIu64 " has no value in column %s",
                               logs->mapping->rewards[k], t, value->column);
            }
            episode->rows[t * episode->W + at + k] = (float)logs->values[t];
        }
    }
    return STATUS_OK;
}

/* Stores whether the flag is set at the last of T transitions. Returns INVALID if it is set at an
 * earlier one, since the episode would continue after its end. */
static status read_flag(struct logs *logs, const struct mapping_value *flag, uint64_t first,
                        uint64_t T, const char *key, bool *set, struct err *err)
{
    *set = false;
    if (flag->column[0] == 0 || T == 0) {
        return STATUS_OK;
    }
    /* All values are looked at, so that the last one decides and an earlier one is an error. */
    const status s = read_transitions(logs, flag, first, T, key, err);
    for (uint64_t t = 0; s == STATUS_OK && t < T; t++) {
        if (mapping_is_set(flag, logs->values[t]) && t + 1 < T) {
            return err_set(err, STATUS_INVALID,
                           "%s: column %s is set at transition %" PRIu64
                           ", but the episode continues to %" PRIu64,
                           key, flag->column, t, T - 1);
        }
        *set = mapping_is_set(flag, logs->values[t]);
    }
    return s;
}

/* Converts physical actions to canonical ones in place. A value outside the limits is an error, or
 * is clipped, except for rounding: float32 logs of a limit may exceed it slightly. */
static status scale_actions(struct logs *logs, uint64_t first, struct episode *episode,
                            struct err *err)
{
    const struct signature *signature = &logs->signature;
    const uint32_t at = signature_action_at(signature);
    /* The slack covers limits and values that were rounded separately. */
    float low[SIGNATURE_ACTIONS_MAX], high[SIGNATURE_ACTIONS_MAX];
    for (uint32_t i = 0; i < signature->A; i++) {
        const float slack = 1e-5f * (signature->action_max[i] - signature->action_min[i]);
        low[i] = signature->action_min[i] - slack;
        high[i] = signature->action_max[i] + slack;
    }
    for (uint64_t t = 0; t < episode->T; t++) {
        float *action = &episode->rows[t * episode->W + at];
        for (uint32_t i = 0; i < signature->A; i++) {
            if ((action[i] >= low[i] && action[i] <= high[i]) || !isfinite(action[i])) {
                continue; /* a missing value was allowed when it was copied */
            }
            const float min = signature->action_min[i], max = signature->action_max[i];
            if (!logs->clip) {
                return err_set(err, STATUS_INVALID,
                               "action: row %" PRIu64 ", component %u: %g, expected %g..%g",
                               first + t, i, (double)action[i], (double)min, (double)max);
            }
            action[i] = action[i] < min ? min : max;
            logs->clipped++;
        }
        /* Canonical actions lie in -1..1, or beyond it by no more than the slack. */
        signature_to_canonical(signature, action, action);
    }
    return STATUS_OK;
}

/* Stores the number of transitions of an episode, and whether the last one terminates it. */
static status count_transitions(struct logs *logs, const struct place *place, uint32_t *T,
                                bool *terminated, struct err *err)
{
    const struct mapping *mapping = logs->mapping;

    /* Every row is a transition if it has its own next observation; otherwise the last row only
     * holds the observation after the last action, or lacks it. */
    const bool all = mapping->last == MAPPING_LAST_NEXT;
    uint64_t n = place->n - (all ? 0 : 1);
    *terminated = false;
    /* The limit holds before anything is read, because T must fit 32 bits. */
    if (place->n > EPISODE_TRANSITIONS_MAX) {
        return err_set(err, STATUS_INVALID, "%" PRIu64 " rows, expected at most %u", place->n,
                       EPISODE_TRANSITIONS_MAX);
    }
    status s = STATUS_OK;
    if (mapping->last == MAPPING_LAST_NONE) {
        /* The observation after the last row is unknown, so its action is dropped, unless the
         * episode terminates there and nothing after it is used. */
        s = read_flag(logs, &mapping->terminated, place->first, place->n, "terminated", terminated,
                      err);
        n += *terminated;
    } else {
        s = read_flag(logs, &mapping->terminated, place->first, n, "terminated", terminated, err);
    }
    /* An episode needs an observation, an action, and what follows it. */
    if (s == STATUS_OK && n == 0) {
        s = err_set(err, STATUS_INVALID, "%" PRIu64 " row is too short for a transition", place->n);
    }
    *T = (uint32_t)n;
    return s;
}

/* Fills the rows of an episode: observations, actions and rewards. */
static status fill(struct logs *logs, const struct place *place, struct episode *episode,
                   struct err *err)
{
    const struct mapping *mapping = logs->mapping;
    const uint32_t T = episode->T;
    /* Whether the recording has a row for the observation after the last transition. */
    const bool last_row = mapping->last == MAPPING_LAST_ROW || place->n > T;

    /* `at` is the offset in a row: slices of the observation come first, then the action. */
    uint32_t at = 0;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < mapping->n_slices; i++) {
        const struct piece rows = {
            "observation", &mapping->observation[i], place->first, last_row ? T + 1ull : T, 0, at};
        s = copy_piece(logs, &rows, episode, err);
        if (s == STATUS_OK && !last_row) {
            /* The last observation is in columns of its own. Without such columns the episode has
             * terminated and the observation is not used, so the one before stands in for it. */
            const bool next = mapping->last == MAPPING_LAST_NEXT;
            const struct piece last = {next ? "next_observation" : "observation",
                                       next ? &mapping->next[i] : &mapping->observation[i],
                                       place->first + T - 1,
                                       1,
                                       T,
                                       at};
            s = copy_piece(logs, &last, episode, err);
        }
        at += logs->signature.slices[i].size;
    }

    /* Behind the observation comes the action, first in the units of the logs. */
    if (s == STATUS_OK) {
        const uint64_t first = place->first + (mapping->action_row == MAPPING_ROW_NEXT);
        const struct piece actions = {"action", &mapping->action, first, T, 0, at};
        s = copy_piece(logs, &actions, episode, err);
    }
    if (s == STATUS_OK) {
        s = scale_actions(logs, place->first + (mapping->action_row == MAPPING_ROW_NEXT), episode,
                          err);
    }
    return s == STATUS_OK ? copy_rewards(logs, place->first, episode, err) : s;
}

/* Counts the gap behind row t of the episode, and does with it what the mapping says. */
static status on_gap(struct logs *logs, const struct place *place, struct episode *episode,
                     uint32_t t, double seconds, struct err *err)
{
    struct logs_gaps *gaps = &logs->gaps;
    const struct mapping *mapping = logs->mapping;
    gaps->n++;
    static const double bounds[LOGS_GAP_SIZES - 1] = {0, 10, 30, 100, 1000};
    int size = 0;
    while (size < LOGS_GAP_SIZES - 1 && seconds > bounds[size] * mapping->control_period_s) {
        size++;
    }
    gaps->sizes[size]++;
    if (gaps->n == 1 || seconds > gaps->longest_s) {
        gaps->longest_s = seconds;
        snprintf(gaps->place, sizeof gaps->place, "%s, row %" PRIu64, logs->files[place->file_i],
                 place->first + t);
    }
    if (mapping->gaps == MAPPING_GAPS_REFUSE) {
        return err_set(err, STATUS_INVALID,
                       "column %s: %.6g s between rows %" PRIu64 " and %" PRIu64
                       ", the control period is %g s (time_gaps: split would cut the episode here)",
                       mapping->time_column, seconds, place->first + t, place->first + t + 1,
                       mapping->control_period_s);
    }
    /* A step that took longer than the others cannot be used; it is marked like one without an
     * action. */
    if (mapping->gaps == MAPPING_GAPS_SPLIT) {
        episode->rows[(size_t)t * episode->W + signature_action_at(&logs->signature)] = NAN;
    }
    return STATUS_OK;
}

/* Looks at the intervals between the rows of the episode. A missing time gives no interval. */
static status look_at_times(struct logs *logs, const struct place *place, struct episode *episode,
                            struct err *err)
{
    const struct mapping *mapping = logs->mapping;
    if (mapping->time_column[0] == 0 || !(mapping->control_period_s > 0)) {
        return STATUS_OK;
    }
    logs->gaps.has_times = true;
    /* Steps whose both rows are logged. */
    const struct recording_column *column = recording_find(&logs->recording, mapping->time_column);
    const uint64_t n = place->n < episode->T + 1ull ? place->n : episode->T + 1ull;
    status s = read_values(logs, column, place->first, n, err);
    for (uint32_t t = 0; s == STATUS_OK && t + 1 < n; t++) {
        const double seconds = (logs->values[t + 1] - logs->values[t]) * mapping->time_scale;
        if (seconds > mapping->gap_periods * mapping->control_period_s || seconds <= 0) {
            s = on_gap(logs, place, episode, t, seconds, err);
        }
    }
    return s == STATUS_OK ? s : err_context(err, s, "time");
}

status logs_read(struct logs *logs, uint64_t episode_i, struct episode *episode, struct err *err)
{
    ASSERT(logs->mapping != NULL);
    ASSERT(episode_i < logs->n_episodes);
    ASSERT(episode->W == signature_width(&logs->signature));
    const struct place *place = &logs->episodes[episode_i];

    /* Find out the length, make room for T + 1 rows, and fill them. The action, rewards and
     * discount of the last row stay 0. */
    bool terminated = false;
    uint32_t T = 0;
    episode_clear(episode);
    status s = go_to(logs, place->file_i, place->recording_i, err);
    if (s == STATUS_OK) {
        s = count_transitions(logs, place, &T, &terminated, err);
    }
    if (s == STATUS_OK) {
        s = episode_reserve(episode, T + 1ull, err);
    }
    if (s == STATUS_OK) {
        memset(episode->rows, 0, (T + 1ull) * episode->W * sizeof *episode->rows);
        episode->T = T;
        s = fill(logs, place, episode, err);
    }

    /* The discount is 1, and 0 at a termination. */
    if (s == STATUS_OK) {
        /* Rows with a discount of 0 have no successor in the critic's targets. */
        const uint32_t discount_at = signature_discount_at(&logs->signature);
        for (uint32_t t = 0; t < T; t++) {
            episode->rows[(size_t)t * episode->W + discount_at] =
                t + 1 == T && terminated ? 0.0f : 1.0f;
        }
        s = look_at_times(logs, place, episode, err);
    }
    /* Rows that somebody cuts around are checked when they are cut. */
    if (s == STATUS_OK && !logs->keep_bad && logs->mapping->gaps != MAPPING_GAPS_SPLIT) {
        s = episode_check(episode, &logs->signature, err);
    }
    if (s == STATUS_OK) {
        return s;
    }

    /* Say which episode is bad. */
    char where[PATH_SIZE + 128];
    logs_place(logs, episode_i, where, sizeof where);
    return err_context(err, s, "%s", where);
}
