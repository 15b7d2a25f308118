/* Frames are collected until they make a data file, and an episode lies in one file. What meta/ says
 * of all episodes is written at the end; info.json comes last, and with it the dataset is complete.
 *
 * Source of the layout: LeRobotDataset v3.0, https://huggingface.co/docs/lerobot */
#include "common/logs/source/lerobot_export.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/logs/files/parquet_writer.h"
#include "common/logs/mapping/mapping.h"
#include "common/trajectory/dataset_export.h"

#define PATH_SIZE      4096
#define FILE_BYTES_MAX (100ull << 20) /* of frames, before compression; info.json says so, too */
#define FILES_IN_CHUNK 1000
#define DATA_PATH      "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"

/* Statistics of the frames so far, for stats.json. `squares` is the sum of squared distances from
 * the mean (Welford's algorithm), since sums of squares would lose the digits of a small spread. */
struct statistics {
    uint32_t n; /* dimensions */
    uint64_t rows;
    double *min, *max, *mean, *squares;
};

/* The frames of a data file, in columns. */
struct frames {
    uint64_t n, capacity;
    float *observation, *next, *action, *reward, *timestamp;
    int64_t *frame, *episode, *index, *task;
    uint8_t *done, *terminated;
};

/* Episodes so far, as meta/episodes has them. */
struct episodes {
    uint64_t n, capacity;
    int64_t *index, *length, *from, *to, *chunk, *file, *zero;
    const char **task;
};

struct export
{
    const struct lerobot_export_options *options;
    const struct signature *signature;
    double fps;
    struct frames frames;
    struct episodes episodes;
    uint64_t total_frames, n_files;
    struct statistics observation, action;
};

/* A column that grows, and the size of its rows. */
struct growing {
    void **memory;
    size_t row_size;
};

/* Makes room for n more rows in all columns of a table. */
static status grow(uint64_t used, uint64_t *capacity, uint64_t n, const struct growing *columns,
                   size_t n_columns, struct err *err)
{
    if (used + n <= *capacity) {
        return STATUS_OK;
    }
    const uint64_t rows = 2 * (used + n);
    for (size_t i = 0; i < n_columns; i++) {
        void *memory = mem_resize(*columns[i].memory, rows, columns[i].row_size);
        if (memory == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%" PRIu64 " rows", rows);
        }
        *columns[i].memory = memory;
    }
    *capacity = rows;
    return STATUS_OK;
}

/* ---- statistics ---- */

static status statistics_init(struct statistics *statistics, uint32_t n, struct err *err)
{
    statistics->n = n;
    statistics->min = mem_array(4ull * n, sizeof *statistics->min);
    if (statistics->min == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "statistics");
    }
    statistics->max = statistics->min + n;
    statistics->mean = statistics->max + n;
    statistics->squares = statistics->mean + n;
    for (uint32_t i = 0; i < n; i++) {
        statistics->min[i] = INFINITY;
        statistics->max[i] = -INFINITY;
    }
    return STATUS_OK;
}

static void statistics_add(struct statistics *statistics, const float *values, uint64_t rows)
{
    for (uint64_t t = 0; t < rows; t++) {
        statistics->rows++;
        for (uint32_t i = 0; i < statistics->n; i++) {
            const double value = (double)values[t * statistics->n + i];
            statistics->min[i] = fmin(statistics->min[i], value);
            statistics->max[i] = fmax(statistics->max[i], value);
            const double distance = value - statistics->mean[i];
            statistics->mean[i] += distance / (double)statistics->rows;
            statistics->squares[i] += distance * (value - statistics->mean[i]);
        }
    }
}

static void add_numbers(struct text *text, const char *key, const double *numbers, uint32_t n)
{
    text_format(text, "\"%s\": [", key);
    for (uint32_t i = 0; i < n; i++) {
        text_add(text, i == 0 ? "" : ", ");
        text_add_number(text, numbers[i]);
    }
    text_add(text, "], ");
}

/* Adds the entry of a feature to stats.json. The squares become standard deviations. */
static void add_statistics(struct text *text, const char *feature, struct statistics *statistics)
{
    for (uint32_t i = 0; i < statistics->n; i++) {
        statistics->squares[i] = sqrt(statistics->squares[i] / (double)statistics->rows);
    }
    text_format(text, "\"%s\": {", feature);
    add_numbers(text, "min", statistics->min, statistics->n);
    add_numbers(text, "max", statistics->max, statistics->n);
    add_numbers(text, "mean", statistics->mean, statistics->n);
    add_numbers(text, "std", statistics->squares, statistics->n);
    text_format(text, "\"count\": [%" PRIu64 "]}", statistics->rows);
}

/* ---- data files ---- */

/* Stores FOLDER/NAME and makes the folders above it. */
static status make_path(const struct export *to, const char *name, char path[PATH_SIZE],
                        struct err *err)
{
    const int length = snprintf(path, PATH_SIZE, "%s/%s", to->options->to, name);
    if (length < 0 || length >= PATH_SIZE) {
        return err_set(err, STATUS_INVALID, "%.200s..: the path is too long", to->options->to);
    }
    char *slash = strrchr(path, '/');
    *slash = 0;
    const status s = file_make_folders(path, err);
    *slash = '/';
    return s;
}

/* Writes the collected frames as the next data file. */
static status write_frames(struct export *to, struct err *err)
{
    struct frames *f = &to->frames;
    const uint32_t O = signature_observation(to->signature), A = to->signature->A;
    if (f->n == 0) {
        return STATUS_OK;
    }
    const struct parquet_field fields[] = {
        {"observation.state", PARQUET_FLOAT, O, f->observation},
        {"action", PARQUET_FLOAT, A, f->action},
        {"timestamp", PARQUET_FLOAT, 0, f->timestamp},
        {"frame_index", PARQUET_INT64, 0, f->frame},
        {"episode_index", PARQUET_INT64, 0, f->episode},
        {"index", PARQUET_INT64, 0, f->index},
        {"task_index", PARQUET_INT64, 0, f->task},
        {"next.observation.state", PARQUET_FLOAT, O, f->next},
        {"next.done", PARQUET_BOOLEAN, 0, f->done},
        {"next.terminated", PARQUET_BOOLEAN, 0, f->terminated},
        {"next.reward", PARQUET_FLOAT, 0, f->reward}, /* last: left out if there is none */
    };
    const size_t n = sizeof fields / sizeof fields[0] - (to->signature->K == 0);
    char name[64], path[PATH_SIZE];
    snprintf(name, sizeof name, "data/chunk-%03" PRIu64 "/file-%03" PRIu64 ".parquet",
             to->n_files / FILES_IN_CHUNK, to->n_files % FILES_IN_CHUNK);
    status s = make_path(to, name, path, err);
    if (s == STATUS_OK) {
        s = parquet_write(path, fields, n, f->n, NULL, NULL, err);
    }
    to->n_files += s == STATUS_OK;
    f->n = 0;
    return s;
}

/* Makes room for the frames of an episode. */
static status reserve_frames(struct export *to, uint64_t n, struct err *err)
{
    struct frames *f = &to->frames;
    const size_t O = signature_observation(to->signature), A = to->signature->A;
    const struct growing columns[] = {
        {(void **)&f->observation, O * sizeof(float)},
        {(void **)&f->next, O * sizeof(float)},
        {(void **)&f->action, A * sizeof(float)},
        {(void **)&f->reward, sizeof(float)},
        {(void **)&f->timestamp, sizeof(float)},
        {(void **)&f->frame, sizeof(int64_t)},
        {(void **)&f->episode, sizeof(int64_t)},
        {(void **)&f->index, sizeof(int64_t)},
        {(void **)&f->task, sizeof(int64_t)},
        {(void **)&f->done, 1},
        {(void **)&f->terminated, 1},
    };
    return grow(f->n, &f->capacity, n, columns, sizeof columns / sizeof columns[0], err);
}

/* Adds an episode to the list of meta/episodes. It is in the file that is being filled. */
static status list_episode(struct export *to, uint32_t T, struct err *err)
{
    struct episodes *e = &to->episodes;
    const struct growing columns[] = {
        {(void **)&e->index, sizeof(int64_t)}, {(void **)&e->length, sizeof(int64_t)},
        {(void **)&e->from, sizeof(int64_t)},  {(void **)&e->to, sizeof(int64_t)},
        {(void **)&e->chunk, sizeof(int64_t)}, {(void **)&e->file, sizeof(int64_t)},
        {(void **)&e->zero, sizeof(int64_t)},  {(void **)&e->task, sizeof(char *)},
    };
    const status s = grow(e->n, &e->capacity, 1, columns, sizeof columns / sizeof columns[0], err);
    if (s != STATUS_OK) {
        return s;
    }
    e->index[e->n] = (int64_t)e->n;
    e->length[e->n] = T;
    e->from[e->n] = (int64_t)to->total_frames;
    e->to[e->n] = (int64_t)to->total_frames + T;
    e->chunk[e->n] = (int64_t)(to->n_files / FILES_IN_CHUNK);
    e->file[e->n] = (int64_t)(to->n_files % FILES_IN_CHUNK);
    e->zero[e->n] = 0;
    e->task[e->n] = to->options->task;
    e->n++;
    return STATUS_OK;
}

/* Adds the frames of an episode. */
static status add_episode(void *context, struct episode *episode, struct err *err)
{
    struct export *to = context;
    struct frames *f = &to->frames;
    const uint32_t O = signature_observation(to->signature), A = to->signature->A, T = episode->T;
    const uint64_t frame_size = (2ull * O + A + 2) * sizeof(float) + 4 * sizeof(int64_t) + 2;
    status s = STATUS_OK;
    if ((f->n + T) * frame_size > FILE_BYTES_MAX) {
        s = write_frames(to, err);
    }
    /* One row more, since observations are stored with the last one. */
    if (s == STATUS_OK) {
        s = reserve_frames(to, T + 1ull, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t n = f->n;
    float *observation = f->observation + n * O, *action = f->action + n * A;
    const bool terminated = dataset_export_parts(to->signature, episode, to->options->reward_k,
                                                 observation, action, f->reward + n);
    memcpy(f->next + n * O, observation + O, (size_t)T * O * sizeof *observation);
    for (uint32_t t = 0; t < T; t++) {
        f->timestamp[n + t] = (float)(t / to->fps);
        f->frame[n + t] = t;
        f->episode[n + t] = (int64_t)to->episodes.n;
        f->index[n + t] = (int64_t)(to->total_frames + t);
        f->task[n + t] = 0;
        f->done[n + t] = t + 1 == T;
        f->terminated[n + t] = t + 1 == T && terminated;
    }
    statistics_add(&to->observation, observation, T);
    statistics_add(&to->action, action, T);
    s = list_episode(to, T, err);
    f->n += T;
    to->total_frames += T;
    return s;
}

/* ---- meta ---- */

/* Writes meta/episodes and meta/tasks.parquet, whose column "task" is the index of a pandas
 * table. */
static status write_tables(const struct export *to, struct err *err)
{
    static const char pandas[] =
        "{\"index_columns\": [\"task\"], \"column_indexes\": [], \"columns\": ["
        "{\"name\": \"task_index\", \"field_name\": \"task_index\", \"pandas_type\": \"int64\", "
        "\"numpy_type\": \"int64\", \"metadata\": null}, "
        "{\"name\": \"task\", \"field_name\": \"task\", \"pandas_type\": \"unicode\", "
        "\"numpy_type\": \"object\", \"metadata\": null}], \"pandas_version\": \"2.0.0\"}";
    const struct episodes *e = &to->episodes;
    const struct parquet_field episodes[] = {
        {"episode_index", PARQUET_INT64, 0, e->index},
        {"tasks", PARQUET_TEXT, 1, e->task},
        {"length", PARQUET_INT64, 0, e->length},
        {"data/chunk_index", PARQUET_INT64, 0, e->chunk},
        {"data/file_index", PARQUET_INT64, 0, e->file},
        {"dataset_from_index", PARQUET_INT64, 0, e->from},
        {"dataset_to_index", PARQUET_INT64, 0, e->to},
        {"meta/episodes/chunk_index", PARQUET_INT64, 0, e->zero},
        {"meta/episodes/file_index", PARQUET_INT64, 0, e->zero},
    };
    static const int64_t zero = 0;
    const struct parquet_field tasks[] = {
        {"task_index", PARQUET_INT64, 0, &zero},
        {"task", PARQUET_TEXT, 0, &to->options->task},
    };
    char path[PATH_SIZE];
    status s = make_path(to, "meta/episodes/chunk-000/file-000.parquet", path, err);
    if (s == STATUS_OK) {
        s = parquet_write(path, episodes, sizeof episodes / sizeof episodes[0], e->n, NULL, NULL,
                          err);
    }
    if (s == STATUS_OK) {
        s = make_path(to, "meta/tasks.parquet", path, err);
    }
    return s == STATUS_OK ? parquet_write(path, tasks, 2, 1, "pandas", pandas, err) : s;
}

/* Writes a text as a file of the dataset. Takes the text. */
static status write_text(const struct export *to, const char *name, struct text *text,
                         struct err *err)
{
    char path[PATH_SIZE];
    status s = make_path(to, name, path, err);
    if (s == STATUS_OK && text->failed) {
        s = err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    if (s == STATUS_OK) {
        const struct file_part part = {.bytes = text->bytes, .size = text->size};
        s = file_replace(path, &part, 1, err);
    }
    text_fini(text);
    return s;
}

/* Adds a feature of floats with the names of the observation, or with numbered names. */
static void add_feature(struct text *text, const struct export *to, const char *name, uint32_t n,
                        bool observation)
{
    text_format(text, "    \"%s\": {\"dtype\": \"float32\", \"shape\": [%u], \"names\": [", name,
                n);
    for (uint32_t i = 0; i < n; i++) {
        char value[SIGNATURE_NAME_SIZE + 32];
        if (observation) {
            signature_name_observation(to->signature, i, value, sizeof value);
        } else {
            snprintf(value, sizeof value, "action_%u", i);
        }
        text_add(text, i == 0 ? "" : ", ");
        text_add_quoted(text, value);
    }
    text_add(text, "]},\n");
}

static status write_info(const struct export *to, struct err *err)
{
    static const char *const scalars[][2] = {
        {"timestamp", "float32"},    {"frame_index", "int64"},   {"episode_index", "int64"},
        {"index", "int64"},          {"task_index", "int64"},    {"next.done", "bool"},
        {"next.terminated", "bool"}, {"next.reward", "float32"},
    };
    const uint32_t O = signature_observation(to->signature);
    struct text text = {0};
    text_format(&text,
                "{\n  \"codebase_version\": \"v3.0\",\n  \"robot_type\": null,\n"
                "  \"total_episodes\": %" PRIu64 ",\n  \"total_frames\": %" PRIu64 ",\n"
                "  \"total_tasks\": 1,\n  \"chunks_size\": %d,\n"
                "  \"data_files_size_in_mb\": %llu,\n  \"video_files_size_in_mb\": 200,\n"
                "  \"fps\": ",
                to->episodes.n, to->total_frames, FILES_IN_CHUNK, FILE_BYTES_MAX >> 20);
    text_add_number(&text, to->fps);
    text_format(&text,
                ",\n  \"splits\": {\"train\": \"0:%" PRIu64 "\"},\n  \"data_path\": \"" DATA_PATH
                "\",\n  \"video_path\": null,\n  \"features\": {\n",
                to->episodes.n);
    add_feature(&text, to, "observation.state", O, true);
    add_feature(&text, to, "action", to->signature->A, false);
    add_feature(&text, to, "next.observation.state", O, true);
    const size_t n = sizeof scalars / sizeof scalars[0] - (to->signature->K == 0);
    for (size_t i = 0; i < n; i++) {
        text_format(&text, "    \"%s\": {\"dtype\": \"%s\", \"shape\": [1], \"names\": null}%s\n",
                    scalars[i][0], scalars[i][1], i + 1 < n ? "," : "");
    }
    text_add(&text, "  }\n}\n");
    return write_text(to, "meta/info.json", &text, err);
}

/* Writes mapping.yaml, by which Hindcast reads the same rows again. */
static status write_mapping(const struct export *to, struct err *err)
{
    const struct signature *signature = to->signature;
    struct mapping *mapping = mem_new(sizeof *mapping);
    if (mapping == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "mapping");
    }
    mapping_init(mapping);
    snprintf(mapping->format, sizeof mapping->format, "parquet");
    mapping->control_period_s = 1 / to->fps;
    mapping->episodes = MAPPING_BY_COLUMN;
    snprintf(mapping->episode_column, sizeof mapping->episode_column, "episode_index");
    mapping->n_slices = 1;
    snprintf(mapping->slices[0], sizeof mapping->slices[0], "state");
    mapping->last = MAPPING_LAST_NEXT;
    status s = mapping_columns_add(&mapping->observation[0], "observation.state", err);
    if (s == STATUS_OK) {
        s = mapping_columns_add(&mapping->next[0], "next.observation.state", err);
    }
    if (s == STATUS_OK) {
        s = mapping_columns_add(&mapping->action, "action", err);
    }
    mapping->A = signature->A;
    for (uint32_t i = 0; i < signature->A; i++) {
        mapping->action_min[i] = (double)signature->action_min[i];
        mapping->action_max[i] = (double)signature->action_max[i];
    }
    if (signature->K > 0) {
        mapping->K = 1;
        memcpy(mapping->rewards[0], signature->rewards[to->options->reward_k],
               sizeof mapping->rewards[0]);
        snprintf(mapping->reward[0].column, sizeof mapping->reward[0].column, "next.reward");
    }
    snprintf(mapping->terminated.column, sizeof mapping->terminated.column, "next.terminated");
    struct text text = {0};
    if (s == STATUS_OK) {
        mapping_write(mapping, &text);
        s = write_text(to, "mapping.yaml", &text, err);
    }
    mapping_fini(mapping);
    mem_free(mapping);
    return s;
}

/* Writes what describes the data files. */
static status write_meta(struct export *to, struct err *err)
{
    status s = write_tables(to, err);
    if (s == STATUS_OK) {
        struct text text = {0};
        text_add(&text, "{");
        add_statistics(&text, "observation.state", &to->observation);
        text_add(&text, ",\n");
        add_statistics(&text, "action", &to->action);
        text_add(&text, "}\n");
        s = write_text(to, "meta/stats.json", &text, err);
    }
    if (s == STATUS_OK) {
        s = write_mapping(to, err);
    }
    return s == STATUS_OK ? write_info(to, err) : s;
}

/* ---- the export ---- */

/* Frames per second, from the option or the control period. Rounding of the period must not make a
 * fraction of it. */
static status find_fps(struct export *to, struct err *err)
{
    const double period = to->signature->control_period_s;
    to->fps = to->options->fps;
    if (to->fps == 0 && period > 0) {
        const double fps = 1 / period;
        to->fps = fabs(fps - round(fps)) < 1e-4 * fps && round(fps) >= 1 ? round(fps) : fps;
    }
    return to->fps > 0 ? STATUS_OK
                       : err_set(err, STATUS_INVALID,
                                 "the control period of the dataset is unknown: give --fps");
}

static void release(struct export *to)
{
    void *const memory[] = {
        to->frames.observation, to->frames.next,   to->frames.action,     to->frames.reward,
        to->frames.timestamp,   to->frames.frame,  to->frames.episode,    to->frames.index,
        to->frames.task,        to->frames.done,   to->frames.terminated, to->episodes.index,
        to->episodes.length,    to->episodes.from, to->episodes.to,       to->episodes.chunk,
        to->episodes.file,      to->episodes.zero, to->episodes.task,     to->observation.min,
        to->action.min,
    };
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        mem_free(memory[i]);
    }
}

status lerobot_export(const struct dataset *dataset, const struct lerobot_export_options *options,
                      uint64_t *n_bad, struct err *err)
{
    if (access(options->to, F_OK) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: is there already", options->to);
    }
    struct export to = {.options = options, .signature = dataset_signature(dataset)};
    status s = find_fps(&to, err);
    if (s == STATUS_OK) {
        s = statistics_init(&to.observation, signature_observation(to.signature), err);
    }
    if (s == STATUS_OK) {
        s = statistics_init(&to.action, to.signature->A, err);
    }
    if (s == STATUS_OK) {
        s = dataset_export_episodes(dataset, add_episode, &to, n_bad, err);
    }
    if (s == STATUS_OK && to.episodes.n == 0) {
        s = err_set(err, STATUS_INVALID, "%s: there is no good episode", dataset_folder(dataset));
    }
    if (s == STATUS_OK) {
        s = write_frames(&to, err);
    }
    if (s == STATUS_OK) {
        s = write_meta(&to, err);
    }
    release(&to);
    return s;
}
