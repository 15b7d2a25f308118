/* Each recording is read once, column by column. Columns are found by name, since recordings may
 * order them differently. */
#include "common/logs/propose/propose_findings.h"

#include <inttypes.h>
#include <math.h>

#include "common/base/memory.h"

/* The recording that is read. One description is used for all recordings, to save its memory. */
struct look {
    struct proposal *p;
    struct log_file *file;
    uint64_t recording_i;
    struct recording recording; /* its columns */
    uint64_t rows;              /* of the first observation column, for the length of all */
    unsigned char *ends;        /* (n_ends) last rows of episodes, if a column numbers them */
    uint64_t n_ends;
};

static void look_fini(struct look *look)
{
    recording_fini(&look->recording);
    mem_free(look->ends);
}

/* Returns the column of numbers with this name, or NULL. */
static const struct recording_column *numbers(const struct look *look, const char *name)
{
    const struct recording_column *column = recording_find(&look->recording, name);
    return column != NULL && column->kind == RECORDING_NUMBERS ? column : NULL;
}

/* As numbers(), for the column that has the role in the first recording. */
static const struct recording_column *with_role(const struct look *look, enum propose_role role)
{
    const struct recording_column *first = proposal_with_role(look->p, role);
    return first != NULL ? numbers(look, first->name) : NULL;
}

/* Returns the values (rows, width) of a column, to be released with mem_free, or NULL with *s and
 * the error set. */
static double *read_column(const struct look *look, const struct recording_column *column,
                           status *s)
{
    /* The size is checked first: a recording may be larger than memory. */
    const uint64_t n = column->rows * column->width;
    double *values = NULL;
    if (n > LOG_FILE_BYTES_MAX / sizeof *values) {
        *s = err_set(look->p->err, STATUS_INVALID, "%s: too large to read", column->name);
    } else if ((values = mem_array(n > 0 ? n : 1, sizeof *values)) == NULL) {
        *s = err_set(look->p->err, STATUS_NO_MEMORY, "%s", column->name);
    } else {
        *s = log_file_read(look->file, look->recording_i, column, 0, column->rows, values,
                           look->p->err);
    }
    if (*s != STATUS_OK) {
        mem_free(values);
        return NULL;
    }
    return values;
}

/* Finds the last rows of episodes in the recording, if a column numbers them. */
static status find_ends(struct look *look)
{
    const struct mapping *m = look->p->mapping;
    mem_free(look->ends);
    look->ends = NULL;
    const struct recording_column *column =
        m->episodes == MAPPING_BY_COLUMN ? numbers(look, m->episode_column) : NULL;
    if (column == NULL || column->width != 1) {
        return STATUS_OK;
    }
    status s;
    double *values = read_column(look, column, &s);
    if (values == NULL) {
        return s;
    }
    look->ends = mem_array(column->rows + 1, 1);
    look->n_ends = column->rows;
    if (look->ends == NULL) {
        s = err_set(look->p->err, STATUS_NO_MEMORY, "ends of episodes");
    }
    for (uint64_t t = 0; s == STATUS_OK && t + 1 < column->rows; t++) {
        look->ends[t] = values[t] != values[t + 1];
    }
    mem_free(values);
    return s;
}

/* Returns whether row t of n is the last of the recording, or of an episode. */
static bool is_last(const struct look *look, uint64_t t, uint64_t n)
{
    return t + 1 == n || (look->ends != NULL && t < look->n_ends && look->ends[t] != 0);
}

/* Widens the limits of the actions, and checks whether the last row has an action. */
static status look_at_actions(struct look *look, struct propose_findings *found)
{
    struct mapping *m = look->p->mapping;
    const uint64_t rows = look->rows;
    /* `at` is the component with which the column begins. */
    uint32_t at = 0;
    for (uint32_t i = 0; i < m->action.n; i++) {
        const struct recording_column *column = numbers(look, m->action.names[i]);
        if (column == NULL) {
            return err_set(look->p->err, STATUS_INVALID, "recording %" PRIu64 ": no column \"%s\"",
                           look->recording_i, m->action.names[i]);
        }
        status s;
        double *values = read_column(look, column, &s);
        if (values == NULL) {
            return s;
        }

        /* A recording may have wider columns than the first; the mapping is refused later. */
        for (uint64_t t = 0; t < column->rows; t++) {
            for (uint32_t j = 0; j < column->width && at + j < m->A; j++) {
                const double value = values[t * column->width + j];
                if (isfinite(value)) {
                    m->action_min[at + j] = fmin(m->action_min[at + j], value);
                    m->action_max[at + j] = fmax(m->action_max[at + j], value);
                }
            }
        }

        /* These hold only if they hold for all columns of all recordings. */
        found->shorter_actions &= column->rows + 1 == rows;
        found->empty_last &=
            column->rows == rows && rows > 0 && isnan(values[(rows - 1) * column->width]);
        at += column->width;
        mem_free(values);
    }
    return STATUS_OK;
}

/* Finds where in the recording a reward is set, or a flag that marks the end of an episode. */
static status look_at_value(struct look *look, const char *name, bool is_reward,
                            struct propose_findings *found)
{
    /* A column that is missing or of another shape says nothing; the mapping is checked later. */
    const struct recording_column *column = numbers(look, name);
    if (column == NULL || column->width != 1 || column->rows == 0) {
        return STATUS_OK;
    }
    status s;
    double *values = read_column(look, column, &s);
    if (values == NULL) {
        return s;
    }

    /* The last row is looked at separately, since it may lie behind the last action. It does where
     * it has no value; the row before it is then the last one of an action. */
    const double last = values[column->rows - 1];
    const uint64_t n = column->rows - (isnan(last) && column->rows > 1);
    for (uint64_t t = 0; t < n; t++) {
        const bool is_end = is_last(look, t, n);
        found->flags_inside |= !is_end && !is_reward && values[t] > 0;
        found->sparse &= is_end || !is_reward || values[t] == 0;
    }
    if (column->rows == look->rows && look->rows > 1) {
        found->last_row_nonzero |= isfinite(last) && last != 0;
        found->last_row_valued |= isfinite(last);
    }
    mem_free(values);
    return STATUS_OK;
}

/* Finds where `done` is set. */
static status look_at_done(struct look *look, struct propose_findings *found)
{
    const struct recording_column *column = with_role(look, PROPOSE_ROLE_DONE);
    if (column == NULL || column->rows == 0) {
        found->all_done = false;
        return STATUS_OK;
    }
    status s;
    double *values = read_column(look, column, &s);
    if (values == NULL) {
        return s;
    }
    /* Set in the last row only, `done` says that a recording is an episode. */
    for (uint64_t t = 0; t < column->rows; t++) {
        const bool is_end = is_last(look, t, column->rows);
        found->all_done &= !is_end || values[t] > 0;
        found->flags_inside |= !is_end && values[t] > 0;
    }
    mem_free(values);
    return STATUS_OK;
}

/* Estimates the control period from the time column of the first recording that has one. */
static status look_at_time(struct look *look, struct propose_findings *found)
{
    /* Later recordings are not asked once the period is known. */
    const struct recording_column *column = with_role(look, PROPOSE_ROLE_TIME);
    if (!isnan(found->period) || column == NULL || column->rows < 2 || column->width != 1) {
        return STATUS_OK;
    }
    status s;
    double *values = read_column(look, column, &s);
    if (values != NULL) {
        /* The mean over the recording if it is one episode, since the clock may jump between
         * episodes; otherwise the difference of the first two rows. */
        const bool rising = values[column->rows - 1] > values[0] && !found->flags_inside &&
                            look->p->mapping->episodes == MAPPING_BY_RECORDING;
        found->period = rising ? (values[column->rows - 1] - values[0]) / (double)(column->rows - 1)
                               : values[1] - values[0];
        mem_free(values);
    }
    return s;
}

/* Collects the findings of one recording: its actions, rewards, flags and times. */
static status look_at_recording(struct look *look, struct propose_findings *found)
{
    const struct mapping *m = look->p->mapping;
    struct err *err = look->p->err;
    status s = log_file_describe(look->file, look->recording_i, &look->recording, err);
    if (s != STATUS_OK) {
        return s;
    }
    const struct recording_column *observation =
        recording_find(&look->recording, m->observation[0].names[0]);
    if (observation == NULL) {
        return err_set(err, STATUS_INVALID, "recording %" PRIu64 ": no column \"%s\"",
                       look->recording_i, m->observation[0].names[0]);
    }
    look->rows = observation->rows;

    s = find_ends(look);
    if (s == STATUS_OK) {
        s = look_at_actions(look, found);
    }
    for (uint32_t k = 0; s == STATUS_OK && k < m->K; k++) {
        s = look_at_value(look, m->reward[k].column, true, found);
    }
    if (s == STATUS_OK) {
        s = look_at_value(look, m->terminated.column, false, found);
    }
    if (s == STATUS_OK) {
        s = look_at_value(look, m->timeout.column, false, found);
    }
    if (s == STATUS_OK) {
        s = look_at_done(look, found);
    }
    return s == STATUS_OK ? look_at_time(look, found) : s;
}

status propose_findings_collect(struct proposal *p, struct propose_findings *found)
{
    /* What holds for all recordings is true until one of them says otherwise. */
    *found = (struct propose_findings){.shorter_actions = true,
                                       .empty_last = true,
                                       .sparse = true,
                                       .all_done = true,
                                       .period = NAN};
    struct look look = {.p = p};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < logs_n_files(p->logs); i++) {
        s = logs_file(p->logs, i, &look.file, p->err);
        const uint64_t n = s == STATUS_OK ? log_file_recordings(look.file) : 0;
        for (look.recording_i = 0; s == STATUS_OK && look.recording_i < n; look.recording_i++) {
            s = look_at_recording(&look, found);
            if (s != STATUS_OK) {
                (void)err_context(p->err, s, "%s", logs_path(p->logs, i));
            }
        }
    }
    look_fini(&look);
    return s;
}

/* ---- gaps ---- */

/* Adds the gaps between the times of one recording. *has: it has such a column of times. */
static status count_gaps(struct look *look, const char *name, bool *has, uint64_t *gaps)
{
    const struct mapping *m = look->p->mapping;
    status s = log_file_describe(look->file, look->recording_i, &look->recording, look->p->err);
    if (s != STATUS_OK) {
        return s;
    }
    /* One time for each row, also in later recordings, or the mapping would not fit them. */
    const struct recording_column *time = numbers(look, name);
    const struct recording_column *first =
        recording_find(&look->recording, m->observation[0].names[0]);
    *has = time != NULL && time->width == 1 && first != NULL && time->rows == first->rows;
    if (!*has || m->episodes != MAPPING_BY_RECORDING) {
        return STATUS_OK; /* between two episodes of a recording the clock may jump */
    }
    double *values = read_column(look, time, &s);
    for (uint64_t t = 1; values != NULL && t < time->rows; t++) {
        const double seconds = values[t] - values[t - 1];
        *gaps += seconds > m->gap_periods * m->control_period_s || seconds <= 0;
    }
    mem_free(values);
    return s;
}

status propose_findings_gaps(struct proposal *p, const char *name, bool *has, uint64_t *gaps)
{
    struct look look = {.p = p};
    status s = STATUS_OK;
    *has = true;
    *gaps = 0;
    for (size_t i = 0; s == STATUS_OK && *has && i < logs_n_files(p->logs); i++) {
        s = logs_file(p->logs, i, &look.file, p->err);
        const uint64_t n = s == STATUS_OK ? log_file_recordings(look.file) : 0;
        for (look.recording_i = 0; s == STATUS_OK && *has && look.recording_i < n;
             look.recording_i++) {
            s = count_gaps(&look, name, has, gaps);
        }
    }
    look_fini(&look);
    return s;
}
