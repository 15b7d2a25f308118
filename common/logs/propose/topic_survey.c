/* Names are divided into words; of a file, the stamps of every topic are read, and those columns that
 * may be events. */
#include "common/logs/propose/topic_survey.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/memory.h"

/* Words of topics and fields. Names are divided at everything but letters. */
static const struct {
    const char *word;
    enum topic_role role;
} words[] = {
    {"command", TOPIC_ACTION},      {"commands", TOPIC_ACTION},   {"commanded", TOPIC_ACTION},
    {"cmd", TOPIC_ACTION},          {"cmds", TOPIC_ACTION},       {"action", TOPIC_ACTION},
    {"actions", TOPIC_ACTION},      {"control", TOPIC_ACTION},    {"ctrl", TOPIC_ACTION},
    {"setpoint", TOPIC_ACTION},     {"setpoints", TOPIC_ACTION},  {"target", TOPIC_ACTION},
    {"desired", TOPIC_ACTION},      {"reward", TOPIC_REWARD},     {"rewards", TOPIC_REWARD},
    {"success", TOPIC_SUCCESS},     {"succeeded", TOPIC_SUCCESS}, {"terminated", TOPIC_TERMINATED},
    {"terminal", TOPIC_TERMINATED}, {"timeout", TOPIC_TIMEOUT},   {"truncated", TOPIC_TIMEOUT},
    {"done", TOPIC_TIMEOUT},
};

/* Topics that say nothing about the robot's state. */
static const char *const ignored_topics[] = {
    "/rosout", "/parameter_events", "/diagnostics", "/clock", "/tf", "/tf_static", "/events",
};

/* Fields that are no measurements: stamps, numbers of messages, layouts, covariances. */
static const char *const ignored_fields[] = {
    "header", "stamp", "seq",       "sec",    "secs",       "nanosec",
    "nsec",   "nsecs", "timestamp", "layout", "covariance",
};

/* Takes the next word of letters. Returns NULL at the end. */
static const char *next_word(const char *text, size_t *n)
{
    while (*text != 0 && !isalpha((unsigned char)*text)) {
        text++;
    }
    *n = 0;
    while (isalpha((unsigned char)text[*n])) {
        ++*n;
    }
    return *n > 0 ? text : NULL;
}

/* The role of the last word that has one. */
static enum topic_role role_of(const char *name)
{
    enum topic_role role = TOPIC_OBSERVATION;
    size_t n;
    for (const char *at = next_word(name, &n); at != NULL; at = next_word(at + n, &n)) {
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            if (strlen(words[i].word) == n && strncasecmp(words[i].word, at, n) == 0) {
                role = words[i].role;
            }
        }
    }
    return role;
}

static bool is_ignored_topic(const char *name)
{
    for (size_t i = 0; i < sizeof ignored_topics / sizeof ignored_topics[0]; i++) {
        const size_t n = strlen(ignored_topics[i]);
        if (strncmp(name, ignored_topics[i], n) == 0 && (name[n] == 0 || name[n] == '/')) {
            return true;
        }
    }
    return strstr(name, "/_action/") != NULL;
}

static bool is_ignored_field(const char *field)
{
    size_t n;
    for (const char *at = next_word(field, &n); at != NULL; at = next_word(at + n, &n)) {
        for (size_t i = 0; i < sizeof ignored_fields / sizeof ignored_fields[0]; i++) {
            if (strlen(ignored_fields[i]) == n && strncasecmp(ignored_fields[i], at, n) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* The topic of a column of a file; NULL: none of the survey's. */
static struct topic *topic_of(const struct topic_survey *survey, const char *column)
{
    struct topic *longest = NULL;
    for (size_t i = 0; i < survey->n_topics; i++) {
        const size_t n = strlen(survey->topics[i].name);
        if (strncmp(survey->topics[i].name, column, n) == 0 && column[n] == '/' &&
            (longest == NULL || n > strlen(longest->name))) {
            longest = &survey->topics[i];
        }
    }
    return longest;
}

const char *topic_field(const struct topic *topic, const struct recording_column *column)
{
    const char *field = column->name + strlen(topic->name) + 1;
    return column->kind == RECORDING_NUMBERS && field[0] != '@' && !is_ignored_field(field) ? field
                                                                                            : NULL;
}

const struct topic *topic_survey_topic(const struct topic_survey *survey, const char *column)
{
    return topic_of(survey, column);
}

const struct topic *topic_survey_with_role(const struct topic_survey *survey, enum topic_role role)
{
    for (size_t i = 0; i < survey->n_topics; i++) {
        if (survey->topics[i].role == role) {
            return &survey->topics[i];
        }
    }
    return NULL;
}

/* ---- files ---- */

/* Finds or adds a topic. */
static status add_topic(struct topic_survey *survey, const char *name, size_t n,
                        struct topic **topic, struct err *err)
{
    for (size_t i = 0; i < survey->n_topics; i++) {
        if (strlen(survey->topics[i].name) == n && strncmp(survey->topics[i].name, name, n) == 0) {
            *topic = &survey->topics[i];
            return STATUS_OK;
        }
    }
    struct topic *grown = mem_resize(survey->topics, survey->n_topics + 1, sizeof *grown);
    if (grown == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "list of topics");
    }
    survey->topics = grown;
    *topic = &survey->topics[survey->n_topics++];
    **topic = (struct topic){.fewest = UINT64_MAX, .header = true};
    memcpy((*topic)->name, name, n);
    (*topic)->role = is_ignored_topic((*topic)->name) ? TOPIC_IGNORED : role_of((*topic)->name);
    return STATUS_OK;
}

/* Reads a column into a scratch buffer, which grows. */
static status read_into(struct log_file *file, const struct recording_column *column,
                        double **buffer, struct err *err)
{
    const uint64_t n = column->rows * column->width;
    if (n > LOG_FILE_BYTES_MAX / sizeof(double)) {
        return err_set(err, STATUS_INVALID, "%s: too large to read", column->name);
    }
    mem_free(*buffer);
    *buffer = mem_array(n + 1, sizeof **buffer);
    if (*buffer == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", column->name);
    }
    return log_file_read(file, 0, column, 0, column->rows, *buffer, err);
}

/* Reads the clocks of a topic in one file. */
static status survey_clocks(struct topic_survey *survey, struct log_file *file,
                            const struct recording *recording, const struct recording_column *log,
                            struct topic *topic, struct err *err)
{
    char name[RECORDING_NAME_SIZE + 8];
    snprintf(name, sizeof name, "%s/@header", topic->name);
    const struct recording_column *header = recording_find(recording, name);
    const uint64_t n = log->rows;
    topic->files++;
    topic->fewest = n < topic->fewest ? n : topic->fewest;
    status s = read_into(file, log, &survey->stamps[0], err);
    if (s == STATUS_OK) {
        s = clock_report_add(&survey->log, topic->name, survey->stamps[0], NULL, n, err);
    }
    if (s != STATUS_OK || header == NULL) {
        topic->header = false;
        return s;
    }
    s = read_into(file, header, &survey->stamps[1], err);
    /* A driver that does not set the stamp leaves it at 0. */
    for (uint64_t i = 0; s == STATUS_OK && i < n; i++) {
        topic->header &= isfinite(survey->stamps[1][i]);
    }
    topic->header &= n < 2 || survey->stamps[1][n - 1] != survey->stamps[1][0];
    if (s == STATUS_OK && topic->header) {
        s = clock_report_add(&survey->header, topic->name, survey->stamps[1], survey->stamps[0], n,
                             err);
    }
    return s;
}

/* Finds the value of an event's topic, and how often it is set. */
static status survey_event(struct topic_survey *survey, struct log_file *file,
                           const struct recording_column *column, struct topic *topic,
                           struct err *err)
{
    if (topic->event[0] == 0) {
        memcpy(topic->event, column->name, sizeof topic->event);
    }
    if (strcmp(topic->event, column->name) != 0) {
        return STATUS_OK;
    }
    const status s = read_into(file, column, &survey->values, err);
    double positives = 0;
    for (uint64_t i = 0; s == STATUS_OK && i < column->rows; i++) {
        positives += survey->values[i] > 0;
    }
    topic->positives = fmax(topic->positives, positives);
    return s;
}

/* Surveys the topics of one file, and collects its columns. */
static status survey_file(struct topic_survey *survey, struct log_file *file,
                          struct recording *recording, struct err *err)
{
    status s = log_file_describe(file, 0, recording, err);
    for (uint32_t i = 0; s == STATUS_OK && i < recording->n; i++) {
        const struct recording_column *column = &recording->columns[i];
        const size_t n = strlen(column->name);
        if (n > 5 && strcmp(column->name + n - 5, "/@log") == 0 && column->rows > 0) {
            struct topic *topic = NULL;
            s = add_topic(survey, column->name, n - 5, &topic, err);
            if (s == STATUS_OK) {
                s = survey_clocks(survey, file, recording, column, topic, err);
            }
        }
    }
    for (uint32_t i = 0; s == STATUS_OK && i < recording->n; i++) {
        const struct recording_column *column = &recording->columns[i];
        struct topic *topic = topic_of(survey, column->name);
        if (recording_find(&survey->all, column->name) == NULL) {
            s = recording_add(&survey->all, column->name, column->kind, column->width, column->rows,
                              err);
        }
        if (s == STATUS_OK && topic != NULL && topic->role >= TOPIC_REWARD &&
            topic->role < TOPIC_IGNORED && column->width == 1 &&
            topic_field(topic, column) != NULL) {
            s = survey_event(survey, file, column, topic, err);
        }
    }
    return s;
}

status topic_survey_make(struct topic_survey *survey, struct logs *logs, struct text *notes,
                         struct err *err)
{
    struct recording recording = {0};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < logs_n_files(logs); i++) {
        struct log_file *file;
        s = logs_file(logs, i, &file, err);
        if (s == STATUS_OK) {
            /* What a file says about its fields is the same in all of them; warnings differ. */
            log_file_notes(file, i > 0, notes);
            s = survey_file(survey, file, &recording, err);
            if (s != STATUS_OK) {
                (void)err_context(err, s, "%s", logs_path(logs, i));
            }
        }
    }
    recording_fini(&recording);
    return s;
}

status topic_survey_range(struct topic_survey *survey, struct logs *logs,
                          const struct recording_column *column, double *low, double *high,
                          struct err *err)
{
    struct recording recording = {0};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < logs_n_files(logs); i++) {
        struct log_file *file;
        s = logs_file(logs, i, &file, err);
        if (s == STATUS_OK) {
            s = log_file_describe(file, 0, &recording, err);
        }
        const struct recording_column *here =
            s == STATUS_OK ? recording_find(&recording, column->name) : NULL;
        if (here == NULL || here->kind != RECORDING_NUMBERS || here->width != column->width) {
            continue; /* logs_map names the file that does not fit */
        }
        s = read_into(file, here, &survey->values, err);
        for (uint64_t t = 0; s == STATUS_OK && t < here->rows * here->width; t++) {
            const double value = survey->values[t];
            if (isfinite(value)) {
                low[t % here->width] = fmin(low[t % here->width], value);
                high[t % here->width] = fmax(high[t % here->width], value);
            }
        }
    }
    recording_fini(&recording);
    return s;
}

void topic_survey_fini(struct topic_survey *survey)
{
    recording_fini(&survey->all);
    clock_report_fini(&survey->log);
    clock_report_fini(&survey->header);
    mem_free(survey->topics);
    mem_free(survey->stamps[0]);
    mem_free(survey->stamps[1]);
    mem_free(survey->values);
}
