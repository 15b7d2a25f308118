/* Proposes in three steps. The survey reads the stamps of all topics and the columns of those that
 * may be actions or events. Then each topic gets a role by the words in its name, and its fields
 * become slices and actions. Last come the clock, the control period and the episodes, which follow
 * from the stamps. */
#include "common/logs/propose/propose_topics.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/memory.h"
#include "common/logs/columns/clock_report.h"
#include "common/logs/propose/propose.h"

#define GAP_PERIODS    10   /* periods of a topic that are a pause */
#define OFFSET_MAX_S   1.0  /* between two clocks that tell the same time */
#define NICE_TOLERANCE 2e-3 /* relative error of a rounded control period */
#define DENSE_SHARE    0.5  /* messages in a control step from which a topic is no event */
#define LISTED_MAX     60   /* topics that an error lists */

enum role {
    ROLE_OBSERVATION,
    ROLE_ACTION,
    ROLE_REWARD,
    ROLE_SUCCESS,
    ROLE_TERMINATED,
    ROLE_TIMEOUT,
    ROLE_IGNORED,
};

/* Words of topics and fields. Names are divided at everything but letters. */
static const struct {
    const char *word;
    enum role role;
} words[] = {
    {"command", ROLE_ACTION},      {"commands", ROLE_ACTION},   {"commanded", ROLE_ACTION},
    {"cmd", ROLE_ACTION},          {"cmds", ROLE_ACTION},       {"action", ROLE_ACTION},
    {"actions", ROLE_ACTION},      {"control", ROLE_ACTION},    {"ctrl", ROLE_ACTION},
    {"setpoint", ROLE_ACTION},     {"setpoints", ROLE_ACTION},  {"target", ROLE_ACTION},
    {"desired", ROLE_ACTION},      {"reward", ROLE_REWARD},     {"rewards", ROLE_REWARD},
    {"success", ROLE_SUCCESS},     {"succeeded", ROLE_SUCCESS}, {"terminated", ROLE_TERMINATED},
    {"terminal", ROLE_TERMINATED}, {"timeout", ROLE_TIMEOUT},   {"truncated", ROLE_TIMEOUT},
    {"done", ROLE_TIMEOUT},
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

struct topic {
    char name[RECORDING_NAME_SIZE];
    enum role role;
    size_t files;     /* in which it has messages */
    uint64_t fewest;  /* messages in one file */
    uint64_t first;   /* in the first file with it */
    bool header;      /* it has a header stamp, which advances, in all files with messages */
    double offset;    /* mean of header - log */
    double positives; /* events: the most values above 0 in one file */
    char event[RECORDING_NAME_SIZE]; /* its first column of one number */
};

struct proposal {
    struct logs *logs;
    struct mapping *mapping;
    struct text *notes;
    struct err *err;
    size_t n_topics;
    struct topic *topics;
    struct recording all; /* the columns of all files */
    struct clock_report log, header;
    double *stamps[2]; /* scratch: of log and header */
    double *values;    /* scratch */
};

/* ---- names ---- */

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
static enum role role_of(const char *name)
{
    enum role role = ROLE_OBSERVATION;
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
static struct topic *topic_of(struct proposal *p, const char *column)
{
    struct topic *longest = NULL;
    for (size_t i = 0; i < p->n_topics; i++) {
        const size_t n = strlen(p->topics[i].name);
        if (strncmp(p->topics[i].name, column, n) == 0 && column[n] == '/' &&
            (longest == NULL || n > strlen(longest->name))) {
            longest = &p->topics[i];
        }
    }
    return longest;
}

/* The field of a column, or NULL if it is a clock, no measurement or no number. */
static const char *field_of(const struct topic *topic, const struct recording_column *column)
{
    const char *field = column->name + strlen(topic->name) + 1;
    return column->kind == RECORDING_NUMBERS && field[0] != '@' && !is_ignored_field(field) ? field
                                                                                            : NULL;
}

/* ---- survey ---- */

/* Finds or adds a topic. */
static status add_topic(struct proposal *p, const char *name, size_t n, struct topic **topic)
{
    for (size_t i = 0; i < p->n_topics; i++) {
        if (strlen(p->topics[i].name) == n && strncmp(p->topics[i].name, name, n) == 0) {
            *topic = &p->topics[i];
            return STATUS_OK;
        }
    }
    struct topic *grown = mem_resize(p->topics, p->n_topics + 1, sizeof *grown);
    if (grown == NULL) {
        return err_set(p->err, STATUS_NO_MEMORY, "list of topics");
    }
    p->topics = grown;
    *topic = &p->topics[p->n_topics++];
    **topic = (struct topic){.fewest = UINT64_MAX, .header = true};
    memcpy((*topic)->name, name, n);
    (*topic)->role = is_ignored_topic((*topic)->name) ? ROLE_IGNORED : role_of((*topic)->name);
    return STATUS_OK;
}

/* Reads a column into a scratch buffer, which grows. */
static status read_into(struct proposal *p, struct log_file *file,
                        const struct recording_column *column, double **buffer)
{
    const uint64_t n = column->rows * column->width;
    if (n > LOG_FILE_BYTES_MAX / sizeof(double)) {
        return err_set(p->err, STATUS_INVALID, "%s: too large to read", column->name);
    }
    mem_free(*buffer);
    *buffer = mem_array(n + 1, sizeof **buffer);
    if (*buffer == NULL) {
        return err_set(p->err, STATUS_NO_MEMORY, "%s", column->name);
    }
    return log_file_read(file, 0, column, 0, column->rows, *buffer, p->err);
}

/* Reads the clocks of a topic in one file. */
static status survey_clocks(struct proposal *p, struct log_file *file,
                            const struct recording *recording, const struct recording_column *log,
                            struct topic *topic)
{
    char name[RECORDING_NAME_SIZE + 8];
    snprintf(name, sizeof name, "%s/@header", topic->name);
    const struct recording_column *header = recording_find(recording, name);
    const uint64_t n = log->rows;
    topic->files++;
    topic->fewest = n < topic->fewest ? n : topic->fewest;
    status s = read_into(p, file, log, &p->stamps[0]);
    if (s == STATUS_OK) {
        s = clock_report_add(&p->log, topic->name, p->stamps[0], NULL, n, p->err);
    }
    if (s != STATUS_OK || header == NULL) {
        topic->header = false;
        return s;
    }
    s = read_into(p, file, header, &p->stamps[1]);
    /* A driver that does not set the stamp leaves it at 0. */
    for (uint64_t i = 0; s == STATUS_OK && i < n; i++) {
        topic->header &= isfinite(p->stamps[1][i]);
    }
    topic->header &= n < 2 || p->stamps[1][n - 1] != p->stamps[1][0];
    if (s == STATUS_OK && topic->header) {
        s = clock_report_add(&p->header, topic->name, p->stamps[1], p->stamps[0], n, p->err);
    }
    return s;
}

/* Finds the value of an event's topic, and how often it is set. */
static status survey_event(struct proposal *p, struct log_file *file,
                           const struct recording_column *column, struct topic *topic)
{
    if (topic->event[0] == 0) {
        memcpy(topic->event, column->name, sizeof topic->event);
    }
    if (strcmp(topic->event, column->name) != 0) {
        return STATUS_OK;
    }
    const status s = read_into(p, file, column, &p->values);
    double positives = 0;
    for (uint64_t i = 0; s == STATUS_OK && i < column->rows; i++) {
        positives += p->values[i] > 0;
    }
    topic->positives = fmax(topic->positives, positives);
    return s;
}

/* Surveys the topics of one file, and collects its columns. */
static status survey_file(struct proposal *p, struct log_file *file, struct recording *recording)
{
    status s = log_file_describe(file, 0, recording, p->err);
    for (uint32_t i = 0; s == STATUS_OK && i < recording->n; i++) {
        const struct recording_column *column = &recording->columns[i];
        const size_t n = strlen(column->name);
        if (n > 5 && strcmp(column->name + n - 5, "/@log") == 0 && column->rows > 0) {
            struct topic *topic = NULL;
            s = add_topic(p, column->name, n - 5, &topic);
            if (s == STATUS_OK) {
                s = survey_clocks(p, file, recording, column, topic);
            }
        }
    }
    for (uint32_t i = 0; s == STATUS_OK && i < recording->n; i++) {
        const struct recording_column *column = &recording->columns[i];
        struct topic *topic = topic_of(p, column->name);
        if (recording_find(&p->all, column->name) == NULL) {
            s = recording_add(&p->all, column->name, column->kind, column->width, column->rows,
                              p->err);
        }
        if (s == STATUS_OK && topic != NULL && topic->role >= ROLE_REWARD &&
            topic->role < ROLE_IGNORED && column->width == 1 && field_of(topic, column) != NULL) {
            s = survey_event(p, file, column, topic);
        }
    }
    return s;
}

static status survey(struct proposal *p)
{
    struct recording recording = {0};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < logs_n_files(p->logs); i++) {
        struct log_file *file;
        s = logs_file(p->logs, i, &file, p->err);
        if (s == STATUS_OK) {
            /* What a file says about its fields is the same in all of them; warnings differ. */
            log_file_notes(file, i > 0, p->notes);
            s = survey_file(p, file, &recording);
            if (s != STATUS_OK) {
                (void)err_context(p->err, s, "%s", logs_path(p->logs, i));
            }
        }
    }
    recording_fini(&recording);
    return s;
}

/* ---- roles ---- */

/* Leaves out topics that cannot be resampled in every file. Events may be missing. */
static void leave_out_topics(struct proposal *p)
{
    for (size_t i = 0; i < p->n_topics; i++) {
        struct topic *topic = &p->topics[i];
        if (topic->role == ROLE_IGNORED) {
            text_format(p->notes, "topic %s is left out\n", topic->name);
        } else if (topic->role <= ROLE_ACTION && topic->files < logs_n_files(p->logs)) {
            text_format(p->notes,
                        "topic %s is left out: only %zu of %zu files have messages of it\n",
                        topic->name, topic->files, logs_n_files(p->logs));
            topic->role = ROLE_IGNORED;
        } else if (topic->role <= ROLE_ACTION && topic->fewest < 2) {
            text_format(p->notes, "topic %s is left out: it has a single message in a file\n",
                        topic->name);
            topic->role = ROLE_IGNORED;
        } else if (topic->role >= ROLE_REWARD && topic->event[0] == 0) {
            text_format(p->notes, "topic %s is left out: it has no field of one number\n",
                        topic->name);
            topic->role = ROLE_IGNORED;
        }
    }
}

/* Sets an error that lists the topics. */
static status list_topics(const struct proposal *p, const char *missing)
{
    struct text names = {0};
    for (size_t i = 0; i < p->n_topics && i < LISTED_MAX; i++) {
        text_format(&names, "%s%s", i == 0 ? "" : ", ", p->topics[i].name);
    }
    /* Why a topic is left out may be why there is none. */
    const char *notes = p->notes->bytes != NULL ? p->notes->bytes : "";
    const status s =
        err_set(p->err, STATUS_INVALID,
                "%s: no topic looks like %s; write a mapping by hand. Topics: %.400s%s%.400s",
                logs_path(p->logs, 0), missing, names.bytes ? names.bytes : "none",
                notes[0] != 0 ? ". " : "", notes);
    text_fini(&names);
    return s;
}

/* The name of a slice for a topic and the first n bytes of a field: "imu.orientation". */
static void slice_name(const struct topic *topic, const char *field, size_t n,
                       char name[SIGNATURE_NAME_SIZE])
{
    char whole[2 * RECORDING_NAME_SIZE];
    snprintf(whole, sizeof whole, "%s%s%.*s", topic->name + (topic->name[0] == '/'),
             n > 0 ? "." : "", (int)n, field);
    /* The end of a long name tells more than its beginning. */
    const size_t length = strlen(whole);
    const char *from =
        length < SIGNATURE_NAME_SIZE ? whole : whole + length - (SIGNATURE_NAME_SIZE - 1);
    size_t i = 0;
    for (; from[i] != 0; i++) {
        const unsigned char c = (unsigned char)from[i];
        name[i] = (char)(isalnum(c) || c == '.' || c == '-' ? c : c == '/' ? '.' : '_');
    }
    name[i] = 0;
}

/* The bytes of a field's name that it shares with its neighbours: those before the last '/', if
 * its values are single numbers. */
static size_t group_size(const char *field, const struct recording_column *column)
{
    const char *slash = strrchr(field, '/');
    return column->width > 1 ? strlen(field) : slash == NULL ? 0 : (size_t)(slash - field);
}

/* Adds a column to the slice of its group, or to a new one. */
static status add_observation(struct proposal *p, const struct topic *topic, const char *field,
                              const struct recording_column *column)
{
    struct mapping *m = p->mapping;
    char name[SIGNATURE_NAME_SIZE];
    slice_name(topic, field, group_size(field, column), name);
    uint32_t i = 0;
    while (i < m->n_slices && strcmp(m->slices[i], name) != 0) {
        i++;
    }
    if (i == SIGNATURE_SLICES_MAX) {
        return err_set(p->err, STATUS_INVALID,
                       "more than %d groups of fields: write a mapping by hand",
                       SIGNATURE_SLICES_MAX);
    }
    if (i == m->n_slices) {
        memcpy(m->slices[m->n_slices++], name, sizeof name);
    }
    return mapping_columns_add(&m->observation[i], column->name, p->err);
}

/* Names the four columns x, y, z, w of an orientation once, for slerp. */
static status add_quaternion(struct proposal *p, const struct recording_column *column)
{
    const size_t n = strlen(column->name);
    if (n < 3 || strcmp(column->name + n - 2, "/w") != 0 || column->width != 1) {
        return STATUS_OK;
    }
    char name[RECORDING_NAME_SIZE];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%.*s/%c", (int)(n - 2), column->name, "xyz"[i]);
        if (recording_find(&p->all, name) == NULL) {
            return STATUS_OK;
        }
    }
    name[n - 2] = 0;
    struct resample_column *made = mapping_resample_column(&p->mapping->resample, name);
    if (made == NULL) {
        return err_set(p->err, STATUS_NO_MEMORY, "columns of the mapping");
    }
    made->method = RESAMPLE_SLERP;
    return STATUS_OK;
}

static status add_observations(struct proposal *p)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < p->all.n; i++) {
        const struct recording_column *column = &p->all.columns[i];
        const struct topic *topic = topic_of(p, column->name);
        const char *field = topic == NULL ? NULL : field_of(topic, column);
        if (field != NULL && topic->role == ROLE_OBSERVATION) {
            s = add_observation(p, topic, field, column);
            if (s == STATUS_OK) {
                s = add_quaternion(p, column);
            }
        }
    }
    return s == STATUS_OK && p->mapping->n_slices == 0 ? list_topics(p, "an observation") : s;
}

/* ---- actions ---- */

/* Widens low and high (width) by the values of a column in all files. */
static status range_of(struct proposal *p, const struct recording_column *column, double *low,
                       double *high)
{
    struct recording recording = {0};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < logs_n_files(p->logs); i++) {
        struct log_file *file;
        s = logs_file(p->logs, i, &file, p->err);
        if (s == STATUS_OK) {
            s = log_file_describe(file, 0, &recording, p->err);
        }
        const struct recording_column *here =
            s == STATUS_OK ? recording_find(&recording, column->name) : NULL;
        if (here == NULL || here->kind != RECORDING_NUMBERS || here->width != column->width) {
            continue; /* logs_map names the file that does not fit */
        }
        s = read_into(p, file, here, &p->values);
        for (uint64_t t = 0; s == STATUS_OK && t < here->rows * here->width; t++) {
            const double value = p->values[t];
            if (isfinite(value)) {
                low[t % here->width] = fmin(low[t % here->width], value);
                high[t % here->width] = fmax(high[t % here->width], value);
            }
        }
    }
    recording_fini(&recording);
    return s;
}

/* Adds a column to the actions, unless it never changes. */
static status add_action(struct proposal *p, const struct recording_column *column)
{
    struct mapping *m = p->mapping;
    if (column->width > SIGNATURE_ACTIONS_MAX - m->A) {
        return err_set(p->err, STATUS_INVALID, "%s: more than %d action values", column->name,
                       SIGNATURE_ACTIONS_MAX);
    }
    double *low = &m->action_min[m->A], *high = &m->action_max[m->A];
    for (uint32_t j = 0; j < column->width; j++) {
        low[j] = INFINITY;
        high[j] = -INFINITY;
    }
    status s = range_of(p, column, low, high);
    uint32_t constant = 0;
    for (uint32_t j = 0; s == STATUS_OK && j < column->width; j++) {
        constant += !(low[j] < high[j]);
    }
    if (s != STATUS_OK) {
        return s;
    }
    if (constant == column->width) {
        text_format(p->notes, "%s is left out of the action: it never changes\n", column->name);
        return STATUS_OK;
    }
    for (uint32_t j = 0; j < column->width; j++) {
        if (!(low[j] < high[j])) {
            const double value = isfinite(low[j]) ? low[j] : 0;
            text_format(p->notes,
                        PROPOSE_CONFIRM "action %u (%s) never changes (%g): its limits are a "
                                        "guess\n",
                        m->A + j, column->name, value);
            low[j] = value - 1;
            high[j] = value + 1;
        }
    }
    m->A += column->width;
    return mapping_columns_add(&m->action, column->name, p->err);
}

static status add_actions(struct proposal *p)
{
    struct mapping *m = p->mapping;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < p->all.n; i++) {
        const struct recording_column *column = &p->all.columns[i];
        const struct topic *topic = topic_of(p, column->name);
        if (topic != NULL && topic->role == ROLE_ACTION && field_of(topic, column) != NULL) {
            s = add_action(p, column);
        }
    }
    if (s == STATUS_OK && m->A == 0) {
        return list_topics(p, "a command that changes");
    }
    text_add(p->notes,
             "action limits are the smallest and largest values in the logs: replace them "
             "by those of the actuators, if known\n");
    return s;
}

/* ---- clocks ---- */

static bool is_used(const struct topic *topic)
{
    return topic->role != ROLE_IGNORED;
}

/* Chooses the clock of each topic. Stamps in headers are when something was measured, and are used
 * where all of them tell the same time as the recorder, or where all topics have them. */
static status decide_clocks(struct proposal *p)
{
    bool all = true, near = true, any = false;
    for (size_t i = 0; i < p->n_topics; i++) {
        const struct topic *topic = &p->topics[i];
        if (!is_used(topic)) {
            continue;
        }
        const struct clock_summary *clock = clock_report_find(&p->header, topic->name);
        all &= topic->header;
        any |= topic->header;
        near &= !topic->header || clock == NULL || clock->offsets == 0 ||
                fabs(clock->offset_sum / (double)clock->offsets) < OFFSET_MAX_S;
    }
    struct mapping_resample *resample = &p->mapping->resample;
    resample->clock = any && (near || all) ? RESAMPLE_HEADER : RESAMPLE_LOG;
    if (any && resample->clock == RESAMPLE_LOG) {
        text_add(p->notes, "the headers' stamps are of another clock than the recorder's, and some "
                           "topics have none: the times of recording are used\n");
    }
    for (size_t i = 0; i < p->n_topics && resample->clock == RESAMPLE_HEADER; i++) {
        const struct topic *topic = &p->topics[i];
        if (is_used(topic) && !topic->header) {
            struct resample_group *group = mapping_resample_group(resample, topic->name);
            if (group == NULL) {
                return err_set(p->err, STATUS_NO_MEMORY, "groups of the mapping");
            }
            group->clock = RESAMPLE_LOG;
        }
    }
    return STATUS_OK;
}

/* The summary of a topic's stamps by the clock that the mapping uses. */
static const struct clock_summary *clock_of(const struct proposal *p, const struct topic *topic)
{
    const bool header = p->mapping->resample.clock == RESAMPLE_HEADER && topic->header;
    return clock_report_find(header ? &p->header : &p->log, topic->name);
}

/* The period without pauses. */
static double period_of(const struct clock_summary *clock)
{
    return clock != NULL && clock->regular > 0 ? clock->regular_sum / (double)clock->regular : 0;
}

/* A period that someone would have chosen: of a whole rate, or of tenths of a millisecond. */
static double nice_period(double period)
{
    const double of_rate = 1 / fmax(round(1 / period), 1);
    const double of_tenths = fmax(round(period * 1e4), 1) / 1e4;
    const double nice = fabs(of_rate - period) <= fabs(of_tenths - period) ? of_rate : of_tenths;
    if (fabs(nice - period) <= NICE_TOLERANCE * period) {
        return nice;
    }
    char rounded[32];
    snprintf(rounded, sizeof rounded, "%.4g", period);
    return strtod(rounded, NULL);
}

/* The control period is that of the fastest topic of actions; a pause is many periods of the
 * slowest topic. */
static void decide_periods(struct proposal *p)
{
    struct mapping *m = p->mapping;
    double fastest = INFINITY, slowest = 0;
    const struct topic *of = NULL;
    for (size_t i = 0; i < p->n_topics; i++) {
        const struct topic *topic = &p->topics[i];
        const double period = period_of(clock_of(p, topic));
        if (topic->role > ROLE_ACTION || period <= 0) {
            continue;
        }
        slowest = fmax(slowest, period);
        if (topic->role == ROLE_ACTION && period < fastest) {
            fastest = period;
            of = topic;
        }
    }
    if (of != NULL) {
        m->control_period_s = nice_period(fastest);
        text_format(p->notes,
                    "the control period is that of %s, whose mean without pauses is %.6g s\n",
                    of->name, fastest);
    } else {
        m->control_period_s = 0.05;
        text_add(p->notes, PROPOSE_CONFIRM "the control period is a guess: set it, in seconds\n");
    }
    char rounded[32];
    snprintf(rounded, sizeof rounded, "%.2g", GAP_PERIODS * fmax(slowest, m->control_period_s));
    m->resample.max_gap_s = strtod(rounded, NULL);
    text_format(p->notes,
                "an episode is split where a topic pauses for more than %s s (max_gap_s)\n",
                rounded);
}

/* ---- rewards and ends ---- */

/* Uses the event of a topic. Its values come after the action that led to it. */
static status set_event(struct proposal *p, const struct topic *topic, struct mapping_value *value)
{
    memcpy(value->column, topic->event, sizeof value->column);
    value->row = MAPPING_ROW_NEXT;
    /* A flag that is published all the time is a state and no event. */
    const double period = period_of(clock_of(p, topic));
    const bool dense = period > 0 && p->mapping->control_period_s / period > DENSE_SHARE;
    struct mapping_resample *resample = &p->mapping->resample;
    for (uint32_t i = 0; i < resample->n_columns; i++) {
        if (strcmp(resample->columns[i].name, topic->event) == 0) {
            return STATUS_OK;
        }
    }
    if (dense && topic->role != ROLE_REWARD) {
        struct resample_column *column = mapping_resample_column(resample, topic->event);
        if (column == NULL) {
            return err_set(p->err, STATUS_NO_MEMORY, "columns of the mapping");
        }
        column->method = RESAMPLE_HOLD;
    }
    return STATUS_OK;
}

/* The first topic with a role, or NULL. */
static const struct topic *with_role(const struct proposal *p, enum role role)
{
    for (size_t i = 0; i < p->n_topics; i++) {
        if (p->topics[i].role == role) {
            return &p->topics[i];
        }
    }
    return NULL;
}

/* Adds the topics of rewards, or success as the only reward. */
static status add_rewards(struct proposal *p)
{
    struct mapping *m = p->mapping;
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < p->n_topics && m->K < SIGNATURE_TASKS_MAX; i++) {
        if (p->topics[i].role == ROLE_REWARD) {
            slice_name(&p->topics[i], "", 0, m->rewards[m->K]);
            s = set_event(p, &p->topics[i], &m->reward[m->K++]);
        }
    }
    const struct topic *success = with_role(p, ROLE_SUCCESS);
    if (s == STATUS_OK && m->K == 0 && success != NULL) {
        memcpy(m->rewards[0], "success", sizeof "success");
        s = set_event(p, success, &m->reward[m->K++]);
        text_add(p->notes, "no reward is logged: success is used as the reward\n");
    } else if (m->K == 0) {
        text_add(p->notes,
                 "no reward is logged: compute one with restorer.relabel, a Lua script\n");
    }
    return s;
}

/* Adds the topics that end episodes. Several ends in one file divide it. */
static status add_ends(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct topic *success = with_role(p, ROLE_SUCCESS);
    const struct topic *terminated = with_role(p, ROLE_TERMINATED);
    const struct topic *timeout = with_role(p, ROLE_TIMEOUT);
    status s = STATUS_OK;
    if (terminated == NULL && success != NULL) {
        terminated = success;
        text_add(p->notes, "success ends an episode; every other end counts as a time limit\n");
    }
    if (terminated != NULL) {
        s = set_event(p, terminated, &m->terminated);
    }
    if (s == STATUS_OK && timeout != NULL) {
        s = set_event(p, timeout, &m->timeout);
    }
    const bool several = (terminated != NULL && terminated->positives > 1) ||
                         (timeout != NULL && timeout->positives > 1);
    if (several) {
        m->episodes = MAPPING_BY_FLAGS;
        text_add(p->notes,
                 PROPOSE_CONFIRM "a file has several episodes: each ends where a flag is set\n");
    }
    return s;
}

/* ---- the whole ---- */

static status propose(struct proposal *p)
{
    struct mapping *m = p->mapping;
    snprintf(m->format, sizeof m->format, "%s", logs_format(p->logs)->name);
    m->last = MAPPING_LAST_ROW;
    m->resample.on = true;
    m->resample.method = RESAMPLE_HOLD;
    status s = survey(p);
    if (s != STATUS_OK) {
        return s;
    }
    leave_out_topics(p);
    s = add_observations(p);
    if (s == STATUS_OK) {
        s = add_actions(p);
    }
    if (s == STATUS_OK) {
        s = decide_clocks(p);
    }
    if (s == STATUS_OK) {
        decide_periods(p);
        s = add_rewards(p);
    }
    if (s == STATUS_OK) {
        s = add_ends(p);
    }
    if (s == STATUS_OK) {
        text_add(p->notes, PROPOSE_CONFIRM
                 "topics are taken for actions by their names, and all others for observations\n");
        text_add(p->notes, "times of recording, in all files:\n");
        clock_report_print(&p->log, p->notes);
        if (p->header.n > 0) {
            text_add(p->notes, "stamps in headers:\n");
            clock_report_print(&p->header, p->notes);
        }
    }
    return s;
}

status propose_topics(struct logs *logs, struct mapping *mapping, struct text *notes,
                      struct err *err)
{
    struct proposal p = {.logs = logs, .mapping = mapping, .notes = notes, .err = err};
    const status s = propose(&p);
    recording_fini(&p.all);
    clock_report_fini(&p.log);
    clock_report_fini(&p.header);
    mem_free(p.topics);
    mem_free(p.stamps[0]);
    mem_free(p.stamps[1]);
    mem_free(p.values);
    return s;
}
