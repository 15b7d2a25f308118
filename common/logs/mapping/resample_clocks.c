/* The columns that a mapping names, the groups of columns that have one clock, and the stamps of each
 * group in a recording, sorted. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/mapping/resample_parts.h"

#define USES_MAX 16384 /* columns that a mapping names */

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
    const struct resample_use made = {.name = name,
                                      .key = key,
                                      .method = given != RESAMPLE_DEFAULT ? given : by_role,
                                      .action = action,
                                      .group = RESAMPLE_NO_GROUP};
    for (uint32_t i = 0; i < r->n_uses; i++) {
        const struct resample_use *use = &r->uses[i];
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
    struct resample_use *grown =
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
status resample_collect_uses(struct resampled *r, struct err *err)
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
status resample_check_names(const struct resampled *r, struct err *err)
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
    struct resample_clocked made = {0};
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
    struct resample_clocked *grown = mem_resize(r->groups, r->n_groups + 1, sizeof *grown);
    if (grown == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "groups of columns");
    }
    r->groups = grown;
    r->groups[r->n_groups] = made;
    *index = r->n_groups++;
    return STATUS_OK;
}

void resample_forget_groups(struct resampled *r)
{
    for (uint32_t i = 0; i < r->n_groups; i++) {
        mem_free(r->groups[i].stamps);
        mem_free(r->groups[i].order);
    }
    r->n_groups = 0;
}

/* Finds the four columns of a quaternion of which `use` is one. */
static status find_parts(struct resampled *r, struct resample_use *use, size_t prefix_size,
                         struct err *err)
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
static status find_use(struct resampled *r, struct resample_use *use, struct err *err)
{
    size_t prefix_size;
    (void)method_of(&r->mapping->resample, use->name, &prefix_size);
    use->group = RESAMPLE_NO_GROUP;
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
    struct resample_clocked *group = &r->groups[use->group];
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
static status clock_column(const struct resampled *r, const struct resample_clocked *group,
                           const char *of, const struct recording_column **column, struct err *err)
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
static status sort_stamps(struct resample_clocked *group, struct err *err)
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
static status report_stamps(struct resampled *r, const struct resample_clocked *group,
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
static status read_stamps(struct resampled *r, struct resample_clocked *group,
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
status resample_load(struct resampled *r, uint64_t recording_i, struct resample_findings *findings,
                     struct err *err)
{
    if (r->loaded && r->recording_i == recording_i) {
        return STATUS_OK;
    }
    r->loaded = false;
    r->recording_i = recording_i;
    resample_forget_groups(r);
    status s = log_file_describe(r->inner, recording_i, &r->recording, err);
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_uses; i++) {
        s = find_use(r, &r->uses[i], err);
    }
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_uses; i++) {
        const struct resample_use *use = &r->uses[i];
        struct resample_clocked *group =
            use->group == RESAMPLE_NO_GROUP ? NULL : &r->groups[use->group];
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

/* The index after the last stamp that is at most t. */
uint64_t resample_count_until(const struct resample_clocked *group, double t)
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
