/* resample_open reads the stamps of every recording and divides it into stretches. A column is
 * resampled when it is read. The stamps of one recording are in memory, and of the values those that
 * the wanted rows need. */
#include "common/logs/resample.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

#define SLACK_S        1e-6  /* rounding of stamps to doubles */
#define PHASE_STRENGTH 0.5   /* length of the mean vector from which the actions have a phase */
#define HELD_SHARE     0.75  /* of its period that the last observation is valid for */
#define NORM_TOLERANCE 0.01  /* of quaternions */
#define USES_MAX       16384 /* columns that a mapping names */
#define NO_GROUP       UINT32_MAX

static const double two_pi = 6.28318530717958647692;

/* A column that the mapping names. */
struct use {
    const char *name;
    const char *key; /* of the mapping, for errors */
    enum resample_method method;
    bool action;
    uint32_t group; /* in the current recording; NO_GROUP: it has no such column */
    const struct recording_column *column;   /* in the current recording */
    const struct recording_column *parts[4]; /* slerp of columns x, y, z, w; else parts[0] NULL */
    uint32_t part;                           /* which of them this column is */
};

/* The columns of one clock, in the current recording. */
struct group {
    char name[RECORDING_NAME_SIZE];       /* the topic */
    const struct resample_group *options; /* NULL: none */
    bool topic;                           /* otherwise rows without a value are passed over */
    bool bounds;      /* some column is not summed, so it needs values all the time */
    bool action;      /* some column is an action */
    bool observed;    /* some column is an observation that is not summed */
    double max_gap_s; /* INFINITY: pauses may be of any length */
    uint64_t n;
    double *stamps;  /* (n) ascending, with the delay */
    uint64_t *order; /* (n) rows of the stamps; NULL: their own index */
};

/* A stretch of time. */
struct span {
    double start, end;
};

struct spans {
    size_t n, capacity;
    struct span *spans;
};

/* A recording of the resampled file. */
struct stretch {
    uint64_t recording_i;
    double start;
    uint64_t n; /* rows */
    char *bad;  /* why it cannot be read; NULL: it can */
};

struct resampled {
    struct log_file base;
    struct log_file *inner;
    const struct mapping *mapping;
    uint32_t n_uses, n_groups;
    struct use *uses;
    struct group *groups;
    size_t n_stretches, capacity;
    struct stretch *stretches;
    struct recording recording; /* of the inner file, if `loaded` */
    bool loaded;
    uint64_t recording_i;
    double *raw; /* scratch buffer for values of the inner file */
    size_t raw_capacity;
};

/* ---- the columns that the mapping names ---- */

/* Returns the method that the mapping gives for a column by name, or RESAMPLE_DEFAULT. A
 * quaternion is named as a whole; *prefix_size is then the size of its name, otherwise 0. */
static enum resample_method method_of(const struct mapping_resample *resample, const char *name,
                                      size_t *prefix_size)
{
    *prefix_size = 0;
    for (uint32_t i = 0; i < resample->n_columns; i++) {
        const struct resample_column *column = &resample->columns[i];
        const size_t n = strlen(column->name);
        if (strcmp(column->name, name) == 0) {
            return column->method;
        }
        if (column->method == RESAMPLE_SLERP && strncmp(column->name, name, n) == 0 &&
            (name[n] == '/' || name[n] == '.' || name[n] == '_') && name[n + 1] != 0 &&
            strchr("xyzw", name[n + 1]) != NULL && name[n + 2] == 0) {
            *prefix_size = n;
            return column->method;
        }
    }
    return RESAMPLE_DEFAULT;
}

/* Adds a column under a key of the mapping. A column may have several keys, but only one method. */
static status add_use(struct resampled *r, const char *name, const char *key,
                      enum resample_method by_role, bool action, struct err *err)
{
    if (name[0] == 0) {
        return STATUS_OK;
    }
    size_t prefix_size;
    const enum resample_method given = method_of(&r->mapping->resample, name, &prefix_size);
    if (action && given != RESAMPLE_DEFAULT && given != RESAMPLE_HOLD) {
        return err_set(err, STATUS_INVALID, "resample: columns: %s: actions are always held", name);
    }
    const struct use made = {.name = name,
                             .key = key,
                             .method = given != RESAMPLE_DEFAULT ? given : by_role,
                             .action = action,
                             .group = NO_GROUP};
    for (uint32_t i = 0; i < r->n_uses; i++) {
        const struct use *use = &r->uses[i];
        if (strcmp(use->name, name) != 0) {
            continue;
        }
        if (use->action != action) {
            return err_set(err, STATUS_INVALID,
                           "column %s is an action and also in %s, where it has values of other "
                           "times: remove it there",
                           name, action ? use->key : key);
        }
        if (use->method != made.method) {
            return err_set(err, STATUS_INVALID,
                           "column %s is in %s and in %s: name its method in resample: columns",
                           name, use->key, key);
        }
        return STATUS_OK;
    }
    struct use *grown =
        r->n_uses < USES_MAX ? mem_resize(r->uses, r->n_uses + 1, sizeof *grown) : NULL;
    if (grown == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "columns of the mapping");
    }
    r->uses = grown;
    r->uses[r->n_uses++] = made;
    return STATUS_OK;
}

static status add_uses(struct resampled *r, const struct mapping_columns *columns, const char *key,
                       bool action, struct err *err)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < columns->n; i++) {
        s = add_use(r, columns->names[i], key, action ? RESAMPLE_HOLD : RESAMPLE_DEFAULT, action,
                    err);
    }
    return s;
}

/* Collects the columns. Rewards and flags are events, which are summed if nothing else is said. */
static status collect_uses(struct resampled *r, struct err *err)
{
    const struct mapping *m = r->mapping;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < m->n_slices; i++) {
        s = add_uses(r, &m->observation[i], "observation", false, err);
    }
    if (s == STATUS_OK) {
        s = add_uses(r, &m->action, "action", true, err);
    }
    for (uint32_t k = 0; s == STATUS_OK && k < m->K; k++) {
        s = add_use(r, m->reward[k].column, "rewards", RESAMPLE_SUM, false, err);
    }
    if (s == STATUS_OK) {
        s = add_use(r, m->terminated.column, "terminated", RESAMPLE_SUM, false, err);
    }
    if (s == STATUS_OK) {
        s = add_use(r, m->timeout.column, "timeout", RESAMPLE_SUM, false, err);
    }
    if (s == STATUS_OK && m->episodes == MAPPING_BY_COLUMN) {
        s = add_use(r, m->episode_column, "episodes", RESAMPLE_HOLD, false, err);
    }
    return s;
}

/* A name in the mapping that nothing belongs to is most likely misspelt. */
static status check_names(const struct resampled *r, struct err *err)
{
    const struct mapping_resample *resample = &r->mapping->resample;
    for (uint32_t i = 0; i < resample->n_groups; i++) {
        bool found = false;
        for (uint32_t j = 0; j < r->n_uses; j++) {
            found |= strncmp(r->uses[j].name, resample->groups[i].name,
                             strlen(resample->groups[i].name)) == 0;
        }
        if (!found) {
            return err_set(err, STATUS_INVALID,
                           "resample: groups: \"%s\": no column of the mapping begins like this",
                           resample->groups[i].name);
        }
    }
    for (uint32_t i = 0; i < resample->n_columns; i++) {
        bool found = false;
        for (uint32_t j = 0; j < r->n_uses; j++) {
            size_t n = 0;
            (void)method_of(resample, r->uses[j].name, &n);
            found |= strcmp(r->uses[j].name, resample->columns[i].name) == 0 ||
                     (n > 0 && n == strlen(resample->columns[i].name) &&
                      strncmp(r->uses[j].name, resample->columns[i].name, n) == 0);
        }
        if (!found) {
            return err_set(err, STATUS_INVALID,
                           "resample: columns: \"%s\": is not a column of the mapping",
                           resample->columns[i].name);
        }
    }
    return STATUS_OK;
}

/* ---- groups of a recording ---- */

/* Stores the topic of a column: the longest beginning of its name that has a clock. */
static bool topic_of(const struct recording *recording, const char *name,
                     char topic[RECORDING_NAME_SIZE])
{
    for (size_t n = strlen(name); n > 0; n--) {
        char clock[RECORDING_NAME_SIZE + 8];
        if (name[n] != '/') {
            continue;
        }
        snprintf(clock, sizeof clock, "%.*s/@log", (int)n, name);
        if (recording_find(recording, clock) != NULL) {
            snprintf(topic, RECORDING_NAME_SIZE, "%.*s", (int)n, name);
            return true;
        }
    }
    return false;
}

/* The options of the group with this name; NULL: none. */
static const struct resample_group *options_of(const struct mapping_resample *resample,
                                               const char *name)
{
    for (uint32_t i = 0; i < resample->n_groups; i++) {
        if (strcmp(resample->groups[i].name, name) == 0) {
            return &resample->groups[i];
        }
    }
    return NULL;
}

/* The options whose name is the longest beginning of the column's; NULL: none. */
static const struct resample_group *longest_options(const struct mapping_resample *resample,
                                                    const char *name)
{
    const struct resample_group *longest = NULL;
    for (uint32_t i = 0; i < resample->n_groups; i++) {
        const struct resample_group *group = &resample->groups[i];
        const size_t n = strlen(group->name);
        if (strncmp(group->name, name, n) == 0 && (longest == NULL || n > strlen(longest->name))) {
            longest = group;
        }
    }
    return longest;
}

/* Finds or adds the group of a column. Stores its index. */
static status group_of(struct resampled *r, const char *name, uint32_t *index, struct err *err)
{
    const struct mapping_resample *resample = &r->mapping->resample;
    struct group made = {0};
    made.topic = topic_of(&r->recording, name, made.name);
    made.options = made.topic ? options_of(resample, made.name) : longest_options(resample, name);
    if (!made.topic && made.options != NULL) {
        memcpy(made.name, made.options->name, sizeof made.name);
    }
    const double own = made.options == NULL ? 0 : made.options->max_gap_s;
    const double gap = own > 0 ? own : resample->max_gap_s;
    made.max_gap_s = gap > 0 ? gap : (double)INFINITY;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        if (strcmp(r->groups[i].name, made.name) == 0 && r->groups[i].topic == made.topic) {
            *index = i;
            return STATUS_OK;
        }
    }
    struct group *grown = mem_resize(r->groups, r->n_groups + 1, sizeof *grown);
    if (grown == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "groups of columns");
    }
    r->groups = grown;
    r->groups[r->n_groups] = made;
    *index = r->n_groups++;
    return STATUS_OK;
}

static void forget_groups(struct resampled *r)
{
    for (uint32_t i = 0; i < r->n_groups; i++) {
        mem_free(r->groups[i].stamps);
        mem_free(r->groups[i].order);
    }
    r->n_groups = 0;
}

/* Finds the four columns of a quaternion of which `use` is one. */
static status find_parts(struct resampled *r, struct use *use, size_t prefix_size, struct err *err)
{
    static const char names[] = "xyzw";
    for (uint32_t i = 0; i < 4; i++) {
        char name[RECORDING_NAME_SIZE];
        snprintf(name, sizeof name, "%.*s%c", (int)prefix_size + 1, use->name, names[i]);
        use->parts[i] = recording_find(&r->recording, name);
        if (use->parts[i] == NULL || use->parts[i]->kind != RECORDING_NUMBERS ||
            use->parts[i]->width != 1 || use->parts[i]->rows != use->column->rows) {
            return err_set(err, STATUS_INVALID, "resample: slerp of %s: no column %s of one number",
                           use->name, name);
        }
        use->part = strcmp(name, use->name) == 0 ? i : use->part;
    }
    return STATUS_OK;
}

/* Finds the column and the group of a use in the current recording. */
static status find_use(struct resampled *r, struct use *use, struct err *err)
{
    size_t prefix_size;
    (void)method_of(&r->mapping->resample, use->name, &prefix_size);
    use->group = NO_GROUP;
    use->parts[0] = NULL;
    use->column = recording_find(&r->recording, use->name);
    /* A topic of events may have none in this recording. Others are missed by mapping_signature. */
    if (use->column == NULL || use->column->kind != RECORDING_NUMBERS) {
        return STATUS_OK;
    }
    status s = group_of(r, use->name, &use->group, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct group *group = &r->groups[use->group];
    if (use->method == RESAMPLE_DEFAULT) {
        const enum resample_method own =
            group->options == NULL ? RESAMPLE_DEFAULT : group->options->method;
        const enum resample_method all = r->mapping->resample.method;
        use->method = own != RESAMPLE_DEFAULT ? own : all != RESAMPLE_DEFAULT ? all : RESAMPLE_HOLD;
    }
    group->bounds |= use->method != RESAMPLE_SUM;
    group->action |= use->action;
    group->observed |= use->method != RESAMPLE_SUM && !use->action;
    if (use->method != RESAMPLE_SLERP) {
        return STATUS_OK;
    }
    if (prefix_size > 0) {
        return find_parts(r, use, prefix_size, err);
    }
    return use->column->width == 4
               ? STATUS_OK
               : err_set(err, STATUS_INVALID, "resample: slerp of %s: has %u values, expected 4",
                         use->name, use->column->width);
}

/* ---- stamps ---- */

/* The column with the stamps of a group. */
static status clock_column(const struct resampled *r, const struct group *group, const char *of,
                           const struct recording_column **column, struct err *err)
{
    static const char *const clocks[] = {"log", "log", "publish", "header"};
    const struct mapping_resample *resample = &r->mapping->resample;
    const enum resample_clock own =
        group->options == NULL ? RESAMPLE_CLOCK_DEFAULT : group->options->clock;
    const char *clock = clocks[own != RESAMPLE_CLOCK_DEFAULT ? own : resample->clock];
    char name[RECORDING_NAME_SIZE + 16];
    if (group->options != NULL && group->options->time[0] != 0) {
        snprintf(name, sizeof name, "%s", group->options->time);
    } else if (group->topic) {
        snprintf(name, sizeof name, "%s/@%s", group->name, clock);
    } else if (resample->time[0] != 0) {
        snprintf(name, sizeof name, "%s", resample->time);
    } else {
        return err_set(err, STATUS_INVALID,
                       "resample: column %s has no stamps: name their column with time", of);
    }
    *column = recording_find(&r->recording, name);
    if (*column == NULL && group->topic) {
        return err_set(err, STATUS_INVALID,
                       "resample: topic %s has no %s stamps: choose another clock for it in groups",
                       group->name, clock);
    }
    if (*column == NULL || (*column)->kind != RECORDING_NUMBERS || (*column)->width != 1) {
        return err_set(err, STATUS_INVALID,
                       "resample: time: \"%s\" is not a column of single numbers", name);
    }
    return STATUS_OK;
}

struct stamped {
    double stamp;
    uint64_t row;
};

static int compare_stamped(const void *a, const void *b)
{
    const struct stamped *x = a, *y = b;
    return x->stamp != y->stamp ? (x->stamp > y->stamp) - (x->stamp < y->stamp)
                                : (x->row > y->row) - (x->row < y->row);
}

/* Sorts the stamps of a group and keeps the last message of several with one stamp. */
static status sort_stamps(struct group *group, struct err *err)
{
    bool ascending = true;
    for (uint64_t i = 1; i < group->n; i++) {
        ascending &= group->stamps[i] > group->stamps[i - 1];
    }
    if (ascending) {
        return STATUS_OK;
    }
    struct stamped *pairs = mem_array(group->n, sizeof *pairs);
    group->order = mem_array(group->n, sizeof *group->order);
    if (pairs == NULL || group->order == NULL) {
        mem_free(pairs);
        return err_set(err, STATUS_NO_MEMORY, "%s: stamps", group->name);
    }
    for (uint64_t i = 0; i < group->n; i++) {
        pairs[i] = (struct stamped){group->stamps[i], i};
    }
    qsort(pairs, group->n, sizeof *pairs, compare_stamped);
    uint64_t n = 0;
    for (uint64_t i = 0; i < group->n; i++) {
        n -= n > 0 && pairs[i].stamp == group->stamps[n - 1];
        group->stamps[n] = pairs[i].stamp;
        group->order[n++] = pairs[i].row;
    }
    group->n = n;
    mem_free(pairs);
    return STATUS_OK;
}

/* Adds the stamps of a topic to the report, with the log's for the drift of a header's. */
static status report_stamps(struct resampled *r, const struct group *group,
                            const struct recording_column *column,
                            struct resample_findings *findings, struct err *err)
{
    char name[RECORDING_NAME_SIZE + 8];
    snprintf(name, sizeof name, "%s/@log", group->name);
    const struct recording_column *log = group->topic ? recording_find(&r->recording, name) : NULL;
    double *recorded = NULL;
    status s = STATUS_OK;
    if (log != NULL && log != column && log->rows == group->n) {
        recorded = mem_array(group->n + 1, sizeof *recorded);
        s = recorded == NULL
                ? err_set(err, STATUS_NO_MEMORY, "%s: stamps", group->name)
                : log_file_read(r->inner, r->recording_i, log, 0, log->rows, recorded, err);
    }
    if (s == STATUS_OK) {
        s = clock_report_add(&findings->clocks, group->name[0] != 0 ? group->name : column->name,
                             group->stamps, recorded, group->n, err);
    }
    mem_free(recorded);
    return s;
}

/* Reads the stamps of a group, of which `of` is a column. */
static status read_stamps(struct resampled *r, struct group *group,
                          const struct recording_column *of, struct resample_findings *findings,
                          struct err *err)
{
    const struct recording_column *column = NULL;
    status s = clock_column(r, group, of->name, &column, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (column->rows != of->rows) {
        return err_set(err, STATUS_INVALID,
                       "resample: %s has %" PRIu64 " rows, its stamps %s have %" PRIu64, of->name,
                       of->rows, column->name, column->rows);
    }
    group->n = column->rows;
    group->stamps = mem_array(group->n + 1, sizeof *group->stamps);
    if (group->stamps == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: stamps", group->name);
    }
    s = log_file_read(r->inner, r->recording_i, column, 0, column->rows, group->stamps, err);
    if (s == STATUS_OK && findings != NULL) {
        s = report_stamps(r, group, column, findings, err);
    }
    const double delay = group->options == NULL ? 0 : group->options->delay_s;
    for (uint64_t i = 0; s == STATUS_OK && i < group->n; i++) {
        if (!isfinite(group->stamps[i])) {
            return err_set(err, STATUS_INVALID, "%s: row %" PRIu64 ": no value, expected a stamp",
                           column->name, i);
        }
        group->stamps[i] += delay;
    }
    if (s == STATUS_OK) {
        s = sort_stamps(group, err);
    }
    if (s == STATUS_OK && group->n == 1 && column->rows > 1) {
        return err_set(err, STATUS_INVALID,
                       "%s: all stamps are %g: choose another clock in resample: groups",
                       column->name, group->stamps[0] - delay);
    }
    return s;
}

/* Makes a recording of the inner file the current one. */
static status load(struct resampled *r, uint64_t recording_i, struct resample_findings *findings,
                   struct err *err)
{
    if (r->loaded && r->recording_i == recording_i) {
        return STATUS_OK;
    }
    r->loaded = false;
    r->recording_i = recording_i;
    forget_groups(r);
    status s = log_file_describe(r->inner, recording_i, &r->recording, err);
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_uses; i++) {
        s = find_use(r, &r->uses[i], err);
    }
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_uses; i++) {
        const struct use *use = &r->uses[i];
        struct group *group = use->group == NO_GROUP ? NULL : &r->groups[use->group];
        if (group != NULL && group->stamps == NULL) {
            s = read_stamps(r, group, use->column, findings, err);
        } else if (group != NULL && !group->topic && use->column->rows < group->n) {
            s = err_set(err, STATUS_INVALID, "%s: has %" PRIu64 " rows, expected %" PRIu64,
                        use->name, use->column->rows, group->n);
        }
    }
    r->loaded = s == STATUS_OK;
    return s;
}

/* ---- stretches ---- */

static status add_span(struct spans *spans, double start, double end, struct err *err)
{
    if (!(start <= end)) {
        return STATUS_OK;
    }
    if (spans->n == spans->capacity) {
        const size_t capacity = spans->capacity == 0 ? 16 : 2 * spans->capacity;
        struct span *grown = mem_resize(spans->spans, capacity, sizeof *grown);
        if (grown == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "stretches of time");
        }
        spans->spans = grown;
        spans->capacity = capacity;
    }
    spans->spans[spans->n++] = (struct span){start, end};
    return STATUS_OK;
}

static int compare_double(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Stores the median time between two stamps of a group; 0 if there is only one. */
static status median_period(const struct group *group, double *median, struct err *err)
{
    *median = 0;
    if (group->n < 2) {
        return STATUS_OK;
    }
    double *periods = mem_array(group->n - 1, sizeof *periods);
    if (periods == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: stamps", group->name);
    }
    for (uint64_t i = 0; i + 1 < group->n; i++) {
        periods[i] = group->stamps[i + 1] - group->stamps[i];
    }
    qsort(periods, group->n - 1, sizeof *periods, compare_double);
    *median = periods[(group->n - 1) / 2];
    mem_free(periods);
    return STATUS_OK;
}

/* Adds the stretches in which a group has values. */
static status runs_of(const struct resampled *r, const struct group *group, struct spans *runs,
                      struct err *err)
{
    const struct mapping *m = r->mapping;
    double split = m->resample.gaps_are_bad ? (double)INFINITY : group->max_gap_s;
    if (m->episodes == MAPPING_BY_GAPS) {
        split = fmin(split, m->resample.gap_s);
    }
    double period;
    status s = median_period(group, &period, err);
    /* An action is valid until the next one, from half a step before its message on, and its last
     * step has one more observation. */
    const double half = group->observed ? 0 : m->control_period_s / 2;
    const double valid = fmin(group->observed ? HELD_SHARE * period : period, split);
    uint64_t first = 0;
    for (uint64_t i = 0; s == STATUS_OK && i < group->n; i++) {
        if (i + 1 == group->n || group->stamps[i + 1] - group->stamps[i] > split) {
            const double end = group->stamps[i] + valid + half;
            const double next = i + 1 == group->n ? end : group->stamps[i + 1] - half;
            s = add_span(runs, group->stamps[first] - half, fmin(end, next), err);
            first = i + 1;
        }
    }
    return s;
}

/* Replaces `spans` by what it has in common with `others`. Both are in order of time. */
static status intersect(struct spans *spans, const struct spans *others, struct err *err)
{
    struct spans common = {0};
    status s = STATUS_OK;
    for (size_t i = 0, j = 0; s == STATUS_OK && i < spans->n && j < others->n;) {
        const struct span a = spans->spans[i], b = others->spans[j];
        s = add_span(&common, fmax(a.start, b.start), fmin(a.end, b.end), err);
        if (a.end < b.end) {
            i++;
        } else {
            j++;
        }
    }
    mem_free(spans->spans);
    *spans = common;
    return s;
}

/* The index after the last stamp that is at most t. */
static uint64_t count_until(const struct group *group, double t)
{
    uint64_t low = 0, high = group->n;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (group->stamps[middle] <= t) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Moves the start of a span to where the actions are in the control period. */
static double align(const struct resampled *r, struct span span)
{
    const double dt = r->mapping->control_period_s;
    const struct group *group = NULL;
    for (uint32_t i = 0; i < r->n_groups && group == NULL; i++) {
        group = r->groups[i].action ? &r->groups[i] : NULL;
    }
    if (group == NULL) {
        return span.start;
    }
    double x = 0, y = 0;
    const uint64_t first = count_until(group, span.start - dt / 2);
    const uint64_t end = count_until(group, span.end);
    for (uint64_t i = first; i < end; i++) {
        const double angle = two_pi * fmod(group->stamps[i] - span.start, dt) / dt;
        x += cos(angle);
        y += sin(angle);
    }
    if (end <= first || hypot(x, y) < PHASE_STRENGTH * (double)(end - first)) {
        return span.start;
    }
    const double phase = atan2(y, x) / two_pi * dt;
    return span.start + (phase < -SLACK_S ? phase + dt : fmax(phase, 0));
}

/* Appends a recording. `bad`: why it cannot be read, or an empty text. */
static status add_stretch(struct resampled *r, double start, uint64_t n, struct text *bad,
                          struct err *err)
{
    const bool is_bad = bad->size > 0 || bad->failed;
    char *why = is_bad ? text_take(bad, NULL) : NULL;
    if (r->n_stretches == r->capacity) {
        const size_t capacity = r->capacity == 0 ? 16 : 2 * r->capacity;
        struct stretch *grown = mem_resize(r->stretches, capacity, sizeof *grown);
        if (grown != NULL) {
            r->stretches = grown;
            r->capacity = capacity;
        }
    }
    if (r->n_stretches == r->capacity || (is_bad && why == NULL)) {
        mem_free(why);
        return err_set(err, STATUS_NO_MEMORY, "stretches of time");
    }
    r->stretches[r->n_stretches++] = (struct stretch){r->recording_i, start, n, why};
    return STATUS_OK;
}

/* Appends the first pause that is too long, where such pauses are bad. */
static void note_gap(const struct resampled *r, double start, double end, struct text *text)
{
    for (uint32_t i = 0; i < r->n_groups && r->mapping->resample.gaps_are_bad; i++) {
        const struct group *group = &r->groups[i];
        if (!group->bounds) {
            continue;
        }
        for (uint64_t j = count_until(group, start); j < group->n && group->stamps[j] <= end; j++) {
            if (j > 0 && group->stamps[j] - group->stamps[j - 1] > group->max_gap_s) {
                text_format(text, "%s has no message between %.6f s and %.6f s, max_gap_s is %g",
                            group->name, group->stamps[j - 1], group->stamps[j], group->max_gap_s);
                return;
            }
        }
    }
}

/* Adds the stretch of a span, unless it is too short for a transition. */
static status add_span_stretch(struct resampled *r, struct span span, uint64_t *n_short,
                               struct err *err)
{
    const double dt = r->mapping->control_period_s;
    const double start = align(r, span);
    const double steps = floor((span.end - start + SLACK_S) / dt);
    if (!(steps >= 1)) {
        ++*n_short;
        return STATUS_OK;
    }
    if (steps >= (double)LOG_FILE_ROWS_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%.6g s are more than %llu control periods: are the stamps in seconds?",
                       span.end - start, LOG_FILE_ROWS_MAX);
    }
    const uint64_t n = (uint64_t)steps + 1;
    struct text bad = {0};
    note_gap(r, start, start + dt * (double)(n - 1), &bad);
    return add_stretch(r, start, n, &bad, err);
}

/* Cuts the spans at the times of the mapping. */
static status cut_at_times(struct resampled *r, const struct spans *spans, uint64_t *n_short,
                           struct resample_findings *findings, struct err *err)
{
    const struct mapping_resample *resample = &r->mapping->resample;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < resample->n_times; i++) {
        for (size_t j = 0; s == STATUS_OK && j < spans->n; j++) {
            const struct span cut = {fmax(spans->spans[j].start, resample->times[i][0]),
                                     fmin(spans->spans[j].end, resample->times[i][1])};
            if (cut.start < cut.end) {
                s = add_span_stretch(r, cut, n_short, err);
                if (findings != NULL && findings->times_seen != NULL) {
                    findings->times_seen[i] = 1;
                }
            }
        }
    }
    return s;
}

/* The text of a recording whose topics have no time in common. */
static status add_nothing(struct resampled *r, struct err *err)
{
    struct text text = {0};
    text_add(&text, "there are no two control steps at which all topics have messages:");
    for (uint32_t i = 0; i < r->n_groups; i++) {
        const struct group *group = &r->groups[i];
        if (group->bounds && group->n > 0) {
            text_format(&text, " %s %.3f..%.3f s", group->name, group->stamps[0],
                        group->stamps[group->n - 1]);
        }
    }
    return add_stretch(r, 0, 2, &text, err);
}

/* Says how many events are outside of all stretches of the current recording. */
static void note_events(const struct resampled *r, size_t first, struct text *notes)
{
    const double dt = r->mapping->control_period_s;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        const struct group *group = &r->groups[i];
        uint64_t inside = 0;
        for (size_t j = first; j < r->n_stretches; j++) {
            const struct stretch *stretch = &r->stretches[j];
            inside += count_until(group, stretch->start + (double)stretch->n * dt + SLACK_S) -
                      count_until(group, stretch->start - dt + SLACK_S);
        }
        if (!group->bounds && inside < group->n) {
            text_format(notes,
                        "%s: %" PRIu64 " of %" PRIu64 " messages are outside of all episodes\n",
                        group->name, group->n - inside, group->n);
        }
    }
}

/* Divides the current recording into stretches. */
static status divide(struct resampled *r, struct resample_findings *findings, struct err *err)
{
    struct spans spans = {0};
    bool first = true;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_groups; i++) {
        if (!r->groups[i].bounds) {
            continue;
        }
        struct spans runs = {0};
        s = runs_of(r, &r->groups[i], first ? &spans : &runs, err);
        if (s == STATUS_OK && !first) {
            s = intersect(&spans, &runs, err);
        }
        first = false;
        mem_free(runs.spans);
    }

    const size_t before = r->n_stretches;
    uint64_t n_short = 0;
    if (s == STATUS_OK && r->mapping->episodes == MAPPING_BY_TIMES) {
        s = cut_at_times(r, &spans, &n_short, findings, err);
    } else {
        for (size_t i = 0; s == STATUS_OK && i < spans.n; i++) {
            s = add_span_stretch(r, spans.spans[i], &n_short, err);
        }
        if (s == STATUS_OK && r->n_stretches == before) {
            s = add_nothing(r, err);
            n_short = 0;
        }
    }
    if (s == STATUS_OK && findings != NULL) {
        note_events(r, before, &findings->notes);
        if (n_short > 0) {
            text_format(&findings->notes,
                        "%" PRIu64
                        " stretches between pauses are shorter than two control steps and "
                        "left out\n",
                        n_short);
        }
    }
    mem_free(spans.spans);
    return s;
}

/* ---- opening ---- */

static void resampled_close(struct log_file *file)
{
    struct resampled *r = (struct resampled *)file;
    forget_groups(r);
    for (size_t i = 0; i < r->n_stretches; i++) {
        mem_free(r->stretches[i].bad);
    }
    log_file_close(r->inner);
    recording_fini(&r->recording);
    mem_free(r->uses);
    mem_free(r->groups);
    mem_free(r->stretches);
    mem_free(r->raw);
    mem_free(r);
}

static uint64_t resampled_recordings(const struct log_file *file)
{
    return ((const struct resampled *)file)->n_stretches;
}

static status resampled_describe(struct log_file *file, uint64_t recording_i,
                                 struct recording *recording, struct err *err)
{
    struct resampled *r = (struct resampled *)file;
    const struct stretch *stretch = &r->stretches[recording_i];
    status s = load(r, stretch->recording_i, NULL, err);
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_uses; i++) {
        const struct use *use = &r->uses[i];
        /* A topic without events is a column of zeros. Other columns that are not there are
         * missed by the mapping. */
        if (use->group != NO_GROUP) {
            s = recording_add(recording, use->name, RECORDING_NUMBERS, use->column->width,
                              stretch->n, err);
        } else if (use->method == RESAMPLE_SUM) {
            s = recording_add(recording, use->name, RECORDING_NUMBERS, 1, stretch->n, err);
        }
    }
    return s;
}

/* ---- values ---- */

/* The rows of a column that are in memory: first .. first + n of the sorted stamps. */
struct window {
    const struct group *group;
    uint64_t first, n;
    uint64_t base; /* row of the inner file at which `values` begins */
    uint32_t width;
    const double *values;
};

static const double *value_at(const struct window *w, uint64_t i)
{
    const uint64_t row = w->group->order == NULL ? i : w->group->order[i];
    return &w->values[(row - w->base) * w->width];
}

/* Reads the rows that belong to the sorted stamps first .. first + n. */
static status open_window(struct resampled *r, const struct group *group,
                          const struct recording_column *column, uint64_t first, uint64_t n,
                          struct window *window, struct err *err)
{
    uint64_t low = first, high = first + n;
    if (group->order != NULL && n > 0) {
        low = high = group->order[first];
        for (uint64_t i = first; i < first + n; i++) {
            low = group->order[i] < low ? group->order[i] : low;
            high = group->order[i] > high ? group->order[i] : high;
        }
        high++;
    }
    const uint64_t count = (high - low) * column->width;
    if (count > LOG_FILE_BYTES_MAX / sizeof(double)) {
        return err_set(err, STATUS_INVALID, "%s: %" PRIu64 " values, too many to read at once",
                       column->name, count);
    }
    if (count > r->raw_capacity) {
        double *raw = mem_resize(r->raw, count, sizeof *raw);
        if (raw == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " values", column->name, count);
        }
        r->raw = raw;
        r->raw_capacity = count;
    }
    *window = (struct window){group, first, n, low, column->width, r->raw};
    return log_file_read(r->inner, r->recording_i, column, low, high - low, r->raw, err);
}

static bool has_values(const double *values, uint32_t width)
{
    for (uint32_t j = 0; j < width; j++) {
        if (isnan(values[j])) {
            return false;
        }
    }
    return true;
}

/* The newest row at or before stamp i, and the next one after it, that have values; in topics every
 * message counts. False if there is none before. *after is the window's end if there is none. */
static bool neighbours(const struct window *w, uint64_t i, uint64_t *before, uint64_t *after)
{
    *before = i;
    *after = i + 1;
    if (w->group->topic) {
        return true;
    }
    while (!has_values(value_at(w, *before), w->width)) {
        if (*before == w->first) {
            return false;
        }
        --*before;
    }
    while (*after < w->first + w->n && !has_values(value_at(w, *after), w->width)) {
        ++*after;
    }
    return true;
}

/* Stores the quaternion at `part` of the way from a to b along the arc. */
static bool slerp(const double a[4], const double b[4], double part, double out[4])
{
    double aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < 4; i++) {
        aa += a[i] * a[i];
        bb += b[i] * b[i];
        ab += a[i] * b[i];
    }
    const double na = sqrt(aa), nb = sqrt(bb);
    if (!(fabs(na - 1) <= NORM_TOLERANCE) || !(fabs(nb - 1) <= NORM_TOLERANCE)) {
        return false;
    }
    /* q and -q are the same rotation: the shorter of the two arcs is taken. Near 0 and where the
     * arc is short, the ratio of sines is that of the angles. */
    const double cosine = fmin(fabs(ab) / (na * nb), 1), sign = ab < 0 ? -1 : 1;
    const double angle = acos(cosine), sine = sin(angle);
    const double wa = sine > 1e-9 ? sin((1 - part) * angle) / sine : 1 - part;
    const double wb = sine > 1e-9 ? sin(part * angle) / sine : part;
    for (int i = 0; i < 4; i++) {
        out[i] = wa * a[i] / na + sign * wb * b[i] / nb;
    }
    return true;
}

/* One row of hold, linear or slerp (of a column of 4 values) at time t, from the window. */
static status interpolate(const struct window *w, const struct use *use, double t, double *out,
                          struct err *err)
{
    const struct group *group = w->group;
    const uint64_t until = count_until(group, t + SLACK_S);
    uint64_t before = 0, after = 0;
    if (until <= w->first || !neighbours(w, until - 1, &before, &after)) {
        return err_set(err, STATUS_INVALID, "%s: no value at or before %.6f s", use->name, t);
    }
    const double *a = value_at(w, before);
    const double from = group->stamps[before];
    if (!group->topic && t - from > group->max_gap_s) {
        return err_set(err, STATUS_INVALID,
                       "%s: no value between %.6f s and %.6f s, max_gap_s is %g", use->name, from,
                       t, group->max_gap_s);
    }
    /* After the last message its value is held. */
    const bool last = after >= w->first + w->n || use->method == RESAMPLE_HOLD;
    const double *b = last ? a : value_at(w, after);
    const double length = last ? 1 : group->stamps[after] - from;
    const double part = last ? 0 : fmin(fmax((t - from) / length, 0), 1);
    if (use->method == RESAMPLE_SLERP) {
        return slerp(a, b, part, out)
                   ? STATUS_OK
                   : err_set(err, STATUS_INVALID,
                             "%s: the quaternion at %.6f s does not have norm 1", use->name, from);
    }
    for (uint32_t j = 0; j < w->width; j++) {
        /* The first form is exact at both ends only without rounding; hold must not change bits. */
        out[j] = part == 0 ? a[j] : a[j] + (b[j] - a[j]) * part;
    }
    return STATUS_OK;
}

/* One row of a sum over the stamps in (from, to]. */
static void sum_up(const struct window *w, double from, double to, double *out)
{
    memset(out, 0, w->width * sizeof *out);
    const uint64_t end = count_until(w->group, to + SLACK_S);
    for (uint64_t i = count_until(w->group, from + SLACK_S); i < end; i++) {
        const double *value = value_at(w, i);
        for (uint32_t j = 0; j < w->width; j++) {
            out[j] += !w->group->topic && isnan(value[j]) ? 0 : value[j];
        }
    }
}

/* Reads the column's rows between two times, and one more on each side. */
static status read_around(struct resampled *r, const struct use *use,
                          const struct recording_column *column, double from, double to,
                          struct window *window, struct err *err)
{
    const struct group *group = &r->groups[use->group];
    const uint64_t until = count_until(group, from + SLACK_S);
    /* Where rows without values are passed over, the one with a value may be anywhere. */
    const uint64_t first = !group->topic || until == 0 ? 0 : until - 1;
    const uint64_t end = group->topic ? count_until(group, to + SLACK_S) + 1 : group->n;
    return open_window(r, group, column, first, (end < group->n ? end : group->n) - first, window,
                       err);
}

/* Rows first .. first + n of a quaternion in four columns; keeps the part that is asked for. */
static status read_quaternion(struct resampled *r, const struct use *use, double start, double dt,
                              uint64_t n, double *values, struct err *err)
{
    double *parts = NULL;
    struct window window = {0};
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < 4; i++) {
        s = read_around(r, use, use->parts[i], start, start + dt * (double)(n - 1), &window, err);
        if (s == STATUS_OK && parts == NULL) {
            parts = mem_array(window.n * 4 + 1, sizeof *parts);
            s = parts == NULL ? err_set(err, STATUS_NO_MEMORY, "%s", use->name) : STATUS_OK;
        }
        for (uint64_t j = 0; s == STATUS_OK && j < window.n; j++) {
            parts[j * 4 + i] = *value_at(&window, window.first + j);
        }
    }
    /* The window over the four is in the order of the stamps, beginning with its first. */
    struct group ordered = r->groups[use->group];
    ordered.order = NULL;
    const struct window whole = {&ordered, window.first, window.n, window.first, 4, parts};
    for (uint64_t k = 0; s == STATUS_OK && k < n; k++) {
        double q[4] = {0};
        s = interpolate(&whole, use, start + dt * (double)k, q, err);
        values[k] = q[use->part];
    }
    mem_free(parts);
    return s;
}

static status resampled_read(struct log_file *file, uint64_t recording_i,
                             const struct recording_column *column, uint64_t first, uint64_t n,
                             double *values, struct err *err)
{
    struct resampled *r = (struct resampled *)file;
    const struct stretch *stretch = &r->stretches[recording_i];
    const double dt = r->mapping->control_period_s;
    if (stretch->bad != NULL) {
        return err_set(err, STATUS_INVALID, "%s", stretch->bad);
    }
    status s = load(r, stretch->recording_i, NULL, err);
    if (s != STATUS_OK || n == 0) {
        return s;
    }
    /* Columns of the description are in the order of the uses, without those that are missing. */
    const struct use *use = NULL;
    for (uint32_t i = 0; i < r->n_uses && use == NULL; i++) {
        use = strcmp(r->uses[i].name, column->name) == 0 ? &r->uses[i] : NULL;
    }
    ASSERT(use != NULL);
    if (use->group == NO_GROUP) {
        memset(values, 0, n * sizeof *values);
        return STATUS_OK;
    }

    const double start = stretch->start + dt * (double)first + (use->action ? dt / 2 : 0);
    if (use->method == RESAMPLE_SLERP && use->parts[0] != NULL) {
        return read_quaternion(r, use, start, dt, n, values, err);
    }
    struct window window;
    const bool sum = use->method == RESAMPLE_SUM;
    s = read_around(r, use, use->column, start - (sum ? dt : 0), start + dt * (double)n, &window,
                    err);
    for (uint64_t k = 0; s == STATUS_OK && k < n; k++) {
        const double t = start + dt * (double)k;
        if (sum) {
            const bool last = first + k + 1 == stretch->n;
            sum_up(&window, t - dt, last ? t + dt : t, &values[k * column->width]);
        } else {
            s = interpolate(&window, use, t, &values[k * column->width], err);
        }
    }
    return s;
}

static void resampled_notes(const struct log_file *file, bool warnings, struct text *notes)
{
    log_file_notes(((const struct resampled *)file)->inner, warnings, notes);
}

/* The stamps are much less than the values, but the file below is only as large as it says. */
static uint64_t resampled_memory(const struct log_file *file)
{
    const struct resampled *r = (const struct resampled *)file;
    const struct log_format *format = r->inner->format;
    uint64_t bytes = format->memory != NULL ? format->memory(r->inner) : UINT64_MAX;
    for (uint32_t i = 0; i < r->n_groups && bytes != UINT64_MAX; i++) {
        bytes += r->groups[i].n * (sizeof(double) + sizeof(uint64_t));
    }
    return bytes == UINT64_MAX ? bytes : bytes + r->raw_capacity * sizeof(double);
}

/* Not in the table of formats: it recognises no file. */
static const struct log_format log_format_resampled = {
    .name = "resampled",
    .what = "another file, at the control period",
    .close = resampled_close,
    .n_recordings = resampled_recordings,
    .describe = resampled_describe,
    .read = resampled_read,
    .memory = resampled_memory,
    .notes = resampled_notes,
};

status resample_open(struct log_file **resampled, struct log_file *file,
                     const struct mapping *mapping, struct resample_findings *findings,
                     struct err *err)
{
    ASSERT(mapping->resample.on);
    struct resampled *r = mem_new(sizeof *r);
    if (r == NULL) {
        log_file_close(file);
        return err_set(err, STATUS_NO_MEMORY, "resampling");
    }
    r->base.format = &log_format_resampled;
    r->inner = file;
    r->mapping = mapping;
    status s = collect_uses(r, err);
    if (s == STATUS_OK) {
        s = check_names(r, err);
    }
    const uint64_t n = log_file_recordings(file);
    for (uint64_t i = 0; s == STATUS_OK && i < n; i++) {
        s = load(r, i, findings, err);
        if (s == STATUS_OK) {
            s = divide(r, findings, err);
        }
    }
    if (s != STATUS_OK) {
        resampled_close(&r->base);
        return s;
    }
    *resampled = &r->base;
    return STATUS_OK;
}

bool resample_is(const struct log_file *file)
{
    return file->format == &log_format_resampled;
}

double resample_start(const struct log_file *resampled, uint64_t recording_i)
{
    ASSERT(resample_is(resampled));
    return ((const struct resampled *)resampled)->stretches[recording_i].start;
}
