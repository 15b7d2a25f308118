/* Every file is looked at: names and shapes of the arrays, the first row, and the range of the
 * actions. One file that does not fit is enough for the general rules to apply to all. */
#include "common/logs/propose/propose_exorl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

/* The arrays that every file has. */
enum { OBSERVATION, ACTION, REWARD, DISCOUNT, N_ARRAYS };
static const char *const arrays[N_ARRAYS] = {"observation", "action", "reward", "discount"};

/* Are there these arrays, with one row each for the reset and for every step? */
static bool fits(const struct recording *recording)
{
    const struct recording_column *observation = recording_find(recording, arrays[OBSERVATION]);
    for (int i = 0; i < N_ARRAYS; i++) {
        const struct recording_column *column = recording_find(recording, arrays[i]);
        if (column == NULL || column->kind != RECORDING_NUMBERS || column->rows < 2 ||
            column->rows != observation->rows || (i >= REWARD && column->width != 1)) {
            return false;
        }
    }
    return recording_find(recording, arrays[ACTION])->width <= SIGNATURE_ACTIONS_MAX;
}

/* Is the first row 0, and are all values within -1..1? */
static status look_at(struct log_file *file, const struct recording_column *column, bool bounded,
                      bool *good, struct err *err)
{
    const uint64_t n = column->rows * column->width;
    double *values = n <= LOG_FILE_BYTES_MAX / sizeof *values ? mem_array(n, sizeof *values) : NULL;
    if (values == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", column->name);
    }
    const status s = log_file_read(file, 0, column, 0, column->rows, values, err);
    for (uint64_t i = 0; s == STATUS_OK && i < n; i++) {
        *good =
            *good && (i >= column->width || values[i] == 0) && (!bounded || fabs(values[i]) <= 1);
    }
    mem_free(values);
    return s;
}

/* Looks at one file. */
static status look_at_file(struct logs *logs, size_t i, struct recording *recording, bool *good,
                           struct err *err)
{
    struct log_file *file;
    status s = logs_file(logs, i, &file, err);
    if (s == STATUS_OK) {
        s = log_file_describe(file, 0, recording, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    *good = fits(recording);
    if (*good) {
        s = look_at(file, recording_find(recording, arrays[ACTION]), true, good, err);
    }
    if (s == STATUS_OK && *good) {
        s = look_at(file, recording_find(recording, arrays[REWARD]), false, good, err);
    }
    return s;
}

/* The mapping that the layout has; `recording` is one of its files. */
static status fill(struct mapping *mapping, const struct recording *recording, struct err *err)
{
    snprintf(mapping->format, sizeof mapping->format, "npz");
    mapping->n_slices = 1;
    snprintf(mapping->slices[0], sizeof mapping->slices[0], "%s", arrays[OBSERVATION]);
    mapping->last = MAPPING_LAST_ROW;
    status s = mapping_columns_add(&mapping->observation[0], arrays[OBSERVATION], err);
    if (s == STATUS_OK) {
        s = mapping_columns_add(&mapping->action, arrays[ACTION], err);
    }
    mapping->action_row = MAPPING_ROW_NEXT;
    mapping->A = recording_find(recording, arrays[ACTION])->width;
    for (uint32_t i = 0; i < mapping->A; i++) {
        mapping->action_min[i] = -1;
        mapping->action_max[i] = 1;
    }
    mapping->K = 1;
    snprintf(mapping->rewards[0], sizeof mapping->rewards[0], "%s", arrays[REWARD]);
    snprintf(mapping->reward[0].column, sizeof mapping->reward[0].column, "%s", arrays[REWARD]);
    mapping->reward[0].row = MAPPING_ROW_NEXT;
    snprintf(mapping->terminated.column, sizeof mapping->terminated.column, "%s", arrays[DISCOUNT]);
    mapping->terminated.row = MAPPING_ROW_NEXT;
    mapping->terminated.is_below = true;
    mapping->terminated.above = 0.5;
    return s;
}

status propose_exorl(struct logs *logs, bool *is_exorl, struct mapping *mapping, struct text *notes,
                     struct err *err)
{
    struct recording recording = {0};
    status s = STATUS_OK;
    *is_exorl = logs_format(logs) == &log_format_npz;
    for (size_t i = 0; i < logs_n_files(logs) && *is_exorl && s == STATUS_OK; i++) {
        s = look_at_file(logs, i, &recording, is_exorl, err);
    }
    if (s == STATUS_OK && *is_exorl) {
        s = fill(mapping, &recording, err);
        text_add(notes,
                 "the layout of ExORL: the first row of each file is the reset, so the action, "
                 "reward and discount of a step are in the row after its observation\n"
                 "an episode terminates where its last discount is below 0.5; actions are "
                 "within -1..1\n"
                 "the control period is unknown: set it, in seconds\n");
        if (recording_find(&recording, "physics") != NULL) {
            text_add(notes, "column \"physics\" is left out: it is the state of the simulator\n");
        }
    }
    recording_fini(&recording);
    return s;
}
