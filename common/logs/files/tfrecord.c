/* TFRecord files of tf.train.Example, as RL Unplugged's control suite datasets are. A file is one
 * recording, and a row of it is a transition.
 *
 *     record     length (8 bytes), masked CRC32C of these, Example, masked CRC32C of it
 *     Example    features by name: lists of floats, of integers, or of byte strings (left out)
 *
 * An Example holds one transition, in one of two layouts:
 *
 *     steps      observation/NAME, action, reward, discount and others: n >= 2 steps each, one
 *                after another; the number of rewards is n. Steps t and t + 1 make a transition.
 *                An Example of one step has none.
 *     SARSA      o_tm1/NAME or o_tm1, a_tm1, r_t, d_t, o_t, a_t: one transition
 *
 * Both become the columns of steps, with the observation after the action in next_observation/NAME.
 * A column `episode` numbers the episodes: a transition continues one if it begins with the
 * observation with which the transition before has ended, and that one's discount is not 0.
 *
 * The file is read and checked whole. All Examples must have the same features and sizes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/event_file.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/example.pb-c.h"
#include "common/logs/files/log_file.h"

#define COLUMNS_MAX 256u
#define HEAD_SIZE   12u /* length and its checksum */
#define TAIL_SIZE   4u

/* A feature of the first Example, and where its values go. */
struct feature {
    char name[RECORDING_NAME_SIZE]; /* as in the file */
    char column[RECORDING_NAME_SIZE];
    bool numbers;   /* otherwise left out: byte strings, or nothing */
    bool next;      /* its following row is an own column, `next_` and the name */
    uint32_t width; /* values of a step */
    uint32_t at;    /* offset in a row of the table */
    const Hindcast__Example__Feature *now; /* in the Example that is being read */
};

struct tfrecord {
    struct log_file base;
    char *path;
    struct recording recording;
    uint32_t n;
    struct feature features[COLUMNS_MAX];
    bool sarsa;
    uint32_t W, O; /* numbers of a row; those of its observations, which come first */
    uint64_t rows, capacity;
    float *values;    /* (rows, W): observations, next observations, other columns */
    double *episodes; /* (rows) */
    uint64_t record_i;
};

/* ---- records ---- */

static uint64_t number_at(const unsigned char *bytes, int n)
{
    uint64_t number = 0;
    for (int i = n; i-- > 0;) {
        number = number << 8 | bytes[i];
    }
    return number;
}

/* The checksum of the first length tells TFRecord from everything else. */
static bool tfrecord_recognise(const unsigned char *head, size_t n)
{
    return n >= HEAD_SIZE && event_file_masked_crc(head, 8) == number_at(head + 8, 4);
}

/* ---- features ---- */

/* The number of values, or -1 for byte strings and nothing. */
static int64_t count_of(const Hindcast__Example__Feature *feature)
{
    switch (feature->kind_case) {
    case HINDCAST__EXAMPLE__FEATURE__KIND_FLOAT_LIST:
        return (int64_t)feature->float_list->n_value;
    case HINDCAST__EXAMPLE__FEATURE__KIND_INT64_LIST:
        return (int64_t)feature->int64_list->n_value;
    default:
        return -1;
    }
}

/* Value i of a list of numbers. */
static float value_of(const Hindcast__Example__Feature *feature, size_t i)
{
    return feature->kind_case == HINDCAST__EXAMPLE__FEATURE__KIND_FLOAT_LIST
               ? feature->float_list->value[i]
               : (float)feature->int64_list->value[i];
}

static const Hindcast__Example__Feature *find(const Hindcast__Example__Example *example,
                                              const char *name)
{
    const Hindcast__Example__Features *features = example->features;
    for (size_t i = 0; features != NULL && i < features->n_feature; i++) {
        const Hindcast__Example__Entry *entry = features->feature[i];
        if (entry->value != NULL && strcmp(entry->key, name) == 0) {
            return entry->value;
        }
    }
    return NULL;
}

/* Does the name begin with the word, alone or before a '/'? */
static bool begins(const char *name, const char *word)
{
    const size_t n = strlen(word);
    return strncmp(name, word, n) == 0 && (name[n] == '\0' || name[n] == '/');
}

static int compare_entries(const void *a, const void *b)
{
    const Hindcast__Example__Entry *const *x = a;
    const Hindcast__Example__Entry *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

/* The column of a SARSA feature, or NULL for one that repeats another (o_t, a_t). */
static const char *sarsa_column(const char *name, char column[RECORDING_NAME_SIZE])
{
    static const char *const names[][2] = {
        {"a_tm1", "action"}, {"r_t", "reward"}, {"d_t", "discount"}};
    if (begins(name, "o_tm1")) {
        snprintf(column, RECORDING_NAME_SIZE, "observation%s", name + strlen("o_tm1"));
        return column;
    }
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(name, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return begins(name, "o_t") || strcmp(name, "a_t") == 0 ? NULL : name;
}

/* Adds one feature of the first Example. `n` is the number of its steps. */
static status add_feature(struct tfrecord *file, const Hindcast__Example__Entry *entry, uint64_t n,
                          struct err *err)
{
    char made[RECORDING_NAME_SIZE];
    const char *column = file->sarsa ? sarsa_column(entry->key, made) : entry->key;
    const size_t next_size = strlen("next_");
    if (column == NULL) {
        return STATUS_OK;
    }
    if (file->n == COLUMNS_MAX || strlen(column) + next_size >= RECORDING_NAME_SIZE ||
        strlen(entry->key) >= RECORDING_NAME_SIZE) {
        return err_set(err, STATUS_INVALID,
                       "feature %.60s: more than %u features, or its name is too long", entry->key,
                       COLUMNS_MAX);
    }
    struct feature *feature = &file->features[file->n++];
    *feature = (struct feature){.width = 1};
    snprintf(feature->name, sizeof feature->name, "%s", entry->key);
    snprintf(feature->column, sizeof feature->column, "%s", column);
    const int64_t count = count_of(entry->value);
    const uint64_t steps = file->sarsa ? 1 : n;
    feature->numbers =
        count > 0 && (uint64_t)count % steps == 0 && (uint64_t)count / steps <= RECORDING_WIDTH_MAX;
    feature->next = feature->numbers && begins(column, "observation");
    feature->width = feature->numbers ? (uint32_t)((uint64_t)count / steps) : 1;
    return STATUS_OK;
}

/* Gives every column its place in a row: observations, then next observations, then the rest. */
static status place_columns(struct tfrecord *file, struct err *err)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < file->n; i++) {
        if (file->features[i].next) {
            file->features[i].at = (uint32_t)at;
            at += file->features[i].width;
        }
    }
    file->O = (uint32_t)at;
    at *= 2;
    for (uint32_t i = 0; i < file->n; i++) {
        if (file->features[i].numbers && !file->features[i].next) {
            file->features[i].at = (uint32_t)at;
            at += file->features[i].width;
        }
    }
    file->W = (uint32_t)at;
    return file->O > 0 ? STATUS_OK
                       : err_set(err, STATUS_INVALID,
                                 "no feature is called observation, observation/NAME or o_tm1");
}

/* Adds the columns to the recording; rows are set at the end. */
static status add_columns(struct tfrecord *file, struct err *err)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; i < file->n && s == STATUS_OK; i++) {
        const struct feature *feature = &file->features[i];
        s = recording_add(&file->recording, feature->column,
                          feature->numbers ? RECORDING_NUMBERS : RECORDING_OTHER, feature->width, 0,
                          err);
        if (s == STATUS_OK && feature->next) {
            char next[RECORDING_NAME_SIZE + 8];
            snprintf(next, sizeof next, "next_%s", feature->column);
            s = recording_add(&file->recording, next, RECORDING_NUMBERS, feature->width, 0, err);
        }
    }
    return s == STATUS_OK ? recording_add(&file->recording, "episode", RECORDING_NUMBERS, 1, 0, err)
                          : s;
}

/* Takes the features of the first Example with a transition as those of the file. */
static status learn_features(struct tfrecord *file, const Hindcast__Example__Example *example,
                             uint64_t n, struct err *err)
{
    Hindcast__Example__Features *features = example->features;
    /* A map has no order on the wire; names give it one. */
    qsort(features->feature, features->n_feature, sizeof(*features->feature), compare_entries);
    status s = STATUS_OK;
    for (size_t i = 0; i < features->n_feature && s == STATUS_OK; i++) {
        if (features->feature[i]->value != NULL) {
            s = add_feature(file, features->feature[i], n, err);
        }
    }
    if (s == STATUS_OK) {
        s = place_columns(file, err);
    }
    return s == STATUS_OK ? add_columns(file, err) : s;
}

/* ---- transitions ---- */

/* Room for one more row. */
static status make_row(struct tfrecord *file, struct err *err)
{
    if (file->rows < file->capacity) {
        return STATUS_OK;
    }
    const uint64_t capacity = file->capacity == 0 ? 1024 : 2 * file->capacity;
    if (capacity > RECORDING_ROWS_MAX ||
        capacity > 2 * LOG_FILE_BYTES_MAX / (file->W * sizeof(float))) {
        return err_set(err, STATUS_INVALID, "more than %llu bytes of values",
                       (unsigned long long)LOG_FILE_BYTES_MAX);
    }
    float *values = mem_resize(file->values, capacity * file->W, sizeof *values);
    if (values != NULL) {
        file->values = values;
    }
    double *episodes = mem_resize(file->episodes, capacity, sizeof *episodes);
    if (episodes != NULL) {
        file->episodes = episodes;
    }
    if (values == NULL || episodes == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%" PRIu64 " transitions", capacity);
    }
    file->capacity = capacity;
    return STATUS_OK;
}

/* Copies step t of a feature to `to`. */
static void copy_step(const struct feature *feature, const Hindcast__Example__Feature *from,
                      uint64_t t, float *to)
{
    for (uint32_t j = 0; j < feature->width; j++) {
        to[j] = value_of(from, t * feature->width + j);
    }
}

/* Numbers the episode of the last row. */
static void number_episode(struct tfrecord *file)
{
    const float *row = file->values + file->rows * file->W;
    bool continues = file->rows > 0;
    if (continues) {
        const float *before = row - file->W;
        continues = memcmp(before + file->O, row, file->O * sizeof *row) == 0;
        for (uint32_t i = 0; i < file->n && continues; i++) {
            const struct feature *feature = &file->features[i];
            if (feature->numbers && strcmp(feature->column, "discount") == 0) {
                continues = before[feature->at] != 0;
            }
        }
    }
    const double number = file->rows > 0 ? file->episodes[file->rows - 1] : -1;
    file->episodes[file->rows] = continues ? number : number + 1;
}

/* Checks that the Example has every feature with n steps, and finds them. */
static status find_features(struct tfrecord *file, const Hindcast__Example__Example *example,
                            uint64_t n, struct err *err)
{
    for (uint32_t i = 0; i < file->n; i++) {
        struct feature *feature = &file->features[i];
        if (!feature->numbers) {
            continue;
        }
        feature->now = find(example, feature->name);
        const uint64_t expected = n * feature->width;
        const int64_t count = feature->now != NULL ? count_of(feature->now) : -1;
        if (count != (int64_t)expected) {
            return err_set(err, STATUS_INVALID,
                           "feature %s: %" PRId64 " numbers, expected %" PRIu64, feature->name,
                           count < 0 ? 0 : count, expected);
        }
    }
    return STATUS_OK;
}

/* The feature with the observation after a SARSA feature's: o_t/NAME for o_tm1/NAME. */
static status find_next(const struct feature *feature, const Hindcast__Example__Example *example,
                        const Hindcast__Example__Feature **next, struct err *err)
{
    char name[RECORDING_NAME_SIZE];
    snprintf(name, sizeof name, "o_t%s", feature->name + strlen("o_tm1"));
    *next = find(example, name);
    return *next != NULL && count_of(*next) == (int64_t)feature->width
               ? STATUS_OK
               : err_set(err, STATUS_INVALID, "feature %s: missing, or not %u numbers", name,
                         feature->width);
}

/* Adds the transition from step t. */
static status add_transition(struct tfrecord *file, const Hindcast__Example__Example *example,
                             uint64_t t, struct err *err)
{
    status s = make_row(file, err);
    float *row = file->values + file->rows * file->W;
    for (uint32_t i = 0; i < file->n && s == STATUS_OK; i++) {
        const struct feature *feature = &file->features[i];
        if (!feature->numbers) {
            continue;
        }
        copy_step(feature, feature->now, t, row + feature->at);
        if (feature->next && file->sarsa) {
            const Hindcast__Example__Feature *next;
            s = find_next(feature, example, &next, err);
            if (s == STATUS_OK) {
                copy_step(feature, next, 0, row + file->O + feature->at);
            }
        } else if (feature->next) {
            copy_step(feature, feature->now, t + 1, row + file->O + feature->at);
        }
    }
    if (s == STATUS_OK) {
        number_episode(file);
        file->rows++;
    }
    return s;
}

/* Adds the transitions of one Example. */
static status add_example(struct tfrecord *file, const Hindcast__Example__Example *example,
                          struct err *err)
{
    const Hindcast__Example__Feature *reward = find(example, "reward");
    const bool sarsa = reward == NULL && find(example, "r_t") != NULL;
    if (example->features == NULL || (reward == NULL && !sarsa)) {
        return err_set(err, STATUS_INVALID,
                       "no feature is called reward or r_t: not a record of steps or transitions");
    }
    if (file->n > 0 && sarsa != file->sarsa) {
        return err_set(err, STATUS_INVALID, "another layout than the records before");
    }
    /* A single step has no transition; it is the last of an episode. */
    const int64_t n = sarsa ? 1 : count_of(reward);
    if (n < 1 || (n == 1 && !sarsa)) {
        return n == 1 ? STATUS_OK : err_set(err, STATUS_INVALID, "feature reward: no numbers");
    }
    file->sarsa = sarsa;
    status s = file->n == 0 ? learn_features(file, example, (uint64_t)n, err) : STATUS_OK;
    if (s == STATUS_OK) {
        s = find_features(file, example, (uint64_t)n, err);
    }
    const int64_t transitions = sarsa ? 1 : n - 1;
    for (int64_t t = 0; t < transitions && s == STATUS_OK; t++) {
        s = add_transition(file, example, (uint64_t)t, err);
    }
    return s;
}

/* ---- the file ---- */

/* Checks one record and adds its transitions. *at is moved behind it. */
static status read_record(struct tfrecord *file, const unsigned char *bytes, size_t size,
                          size_t *at, struct err *err)
{
    const unsigned char *head = bytes + *at;
    const size_t left = size - *at;
    if (left < HEAD_SIZE + TAIL_SIZE) {
        return err_set(err, STATUS_CORRUPT, "the file ends within a record");
    }
    if (!tfrecord_recognise(head, left)) {
        return err_set(err, STATUS_CORRUPT, "the checksum of its length is wrong");
    }
    const uint64_t length = number_at(head, 8);
    if (length > left - HEAD_SIZE - TAIL_SIZE) {
        return err_set(err, STATUS_CORRUPT,
                       "has %" PRIu64 " bytes, but the file ends after %zu of them", length,
                       left - HEAD_SIZE);
    }
    if (event_file_masked_crc(head + HEAD_SIZE, length) !=
        number_at(head + HEAD_SIZE + length, TAIL_SIZE)) {
        return err_set(err, STATUS_CORRUPT, "its checksum is wrong");
    }
    Hindcast__Example__Example *example =
        hindcast__example__example__unpack(NULL, length, head + HEAD_SIZE);
    if (example == NULL) {
        return err_set(err, STATUS_CORRUPT, "is not a tf.train.Example");
    }
    const status s = add_example(file, example, err);
    hindcast__example__example__free_unpacked(example, NULL);
    *at += HEAD_SIZE + length + TAIL_SIZE;
    return s;
}

static void tfrecord_close(struct log_file *base)
{
    struct tfrecord *file = (struct tfrecord *)base;
    recording_fini(&file->recording);
    mem_free(file->values);
    mem_free(file->episodes);
    mem_free(file->path);
    mem_free(file);
}

/* Reads all records. */
static status read_all(struct tfrecord *file, const unsigned char *bytes, size_t size,
                       struct err *err)
{
    status s = STATUS_OK;
    for (size_t at = 0; at < size && s == STATUS_OK; file->record_i++) {
        s = read_record(file, bytes, size, &at, err);
        if (s != STATUS_OK) {
            (void)err_context(err, s, "record %" PRIu64, file->record_i);
        }
    }
    if (s == STATUS_OK && file->rows == 0) {
        s = err_set(err, STATUS_INVALID, "no record has a transition");
    }
    for (uint32_t i = 0; i < file->recording.n; i++) {
        file->recording.columns[i].rows = file->rows;
    }
    return s;
}

static status tfrecord_open(struct log_file **out, const char *path, struct err *err)
{
    struct err reason = {0};
    err = err != NULL ? err : &reason;
    struct tfrecord *file = mem_new(sizeof *file);
    if (file == NULL || (file->path = mem_text(path)) == NULL) {
        mem_free(file);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    file->base.format = &log_format_tfrecord;
    void *bytes;
    size_t size;
    status s = file_read_regular(path, LOG_FILE_BYTES_MAX, &bytes, &size, err);
    if (s == STATUS_OK) {
        s = read_all(file, bytes, size, err);
        mem_free(bytes);
        if (s != STATUS_OK) {
            (void)err_context(err, s, "%s", path);
        }
    }
    if (s != STATUS_OK) {
        tfrecord_close(&file->base);
        return s;
    }
    *out = &file->base;
    return STATUS_OK;
}

/* A file is one recording; its column `episode` tells episodes apart. */
static uint64_t tfrecord_recordings(const struct log_file *base)
{
    (void)base;
    return 1;
}

static status tfrecord_describe(struct log_file *base, uint64_t recording_i,
                                struct recording *recording, struct err *err)
{
    (void)recording_i;
    const struct tfrecord *file = (const struct tfrecord *)base;
    return recording_append(recording, &file->recording, err);
}

/* The place of a column in a row of the table, or UINT32_MAX for `episode`. */
static uint32_t place_of(const struct tfrecord *file, const char *column)
{
    for (uint32_t i = 0; i < file->n; i++) {
        const struct feature *feature = &file->features[i];
        if (strcmp(feature->column, column) == 0) {
            return feature->at;
        }
        if (feature->next && strncmp(column, "next_", 5) == 0 &&
            strcmp(feature->column, column + 5) == 0) {
            return file->O + feature->at;
        }
    }
    return UINT32_MAX;
}

static status tfrecord_read(struct log_file *base, uint64_t recording_i,
                            const struct recording_column *column, uint64_t first, uint64_t n,
                            double *values, struct err *err)
{
    (void)recording_i;
    (void)err;
    const struct tfrecord *file = (const struct tfrecord *)base;
    const uint32_t at = place_of(file, column->name);
    for (uint64_t t = 0; t < n; t++) {
        const float *row = file->values + (first + t) * file->W + at;
        if (at == UINT32_MAX) {
            values[t] = file->episodes[first + t];
            continue;
        }
        for (uint32_t j = 0; j < column->width; j++) {
            values[t * column->width + j] = (double)row[j];
        }
    }
    return STATUS_OK;
}

static uint64_t tfrecord_memory(const struct log_file *base)
{
    const struct tfrecord *file = (const struct tfrecord *)base;
    return file->capacity * (file->W * sizeof(float) + sizeof(double));
}

const struct log_format log_format_tfrecord = {
    .name = "tfrecord",
    .what = "TFRecord files of steps or transitions (RL Unplugged)",
    .recognise = tfrecord_recognise,
    .open = tfrecord_open,
    .close = tfrecord_close,
    .n_recordings = tfrecord_recordings,
    .describe = tfrecord_describe,
    .read = tfrecord_read,
    .memory = tfrecord_memory,
};
