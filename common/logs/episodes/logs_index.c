/* The index is built from the columns of every recording, and from the values of those that say
 * where episodes end; other values are not read. */
#include "common/logs/episodes/logs_index.h"

#include <inttypes.h>

#include "common/base/memory.h"

#define FLAG_ROWS 16384u /* read at once, so that their values stay in the cache */

/* Adds n rows of the current recording, from `first` on, as an episode. */
static status add_episode(struct logs_index *index, const struct logs_cursor *cursor,
                          uint64_t first, uint64_t n, struct err *err)
{
    if (index->n >= LOGS_EPISODES_MAX) {
        return err_set(err, STATUS_INVALID, "more than %u episodes", LOGS_EPISODES_MAX);
    }
    /* Doubling keeps the cost of growing linear. */
    if (index->n == index->capacity) {
        const uint64_t capacity = index->capacity == 0 ? 256 : 2 * index->capacity;
        struct logs_place *places = mem_resize(index->places, capacity, sizeof *places);
        if (places == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "list of episodes");
        }
        index->places = places;
        index->capacity = capacity;
    }
    const double start_s = index->mapping->resample.on
                               ? resample_start(cursor->open, cursor->recording_i) +
                                     (double)first * index->mapping->control_period_s
                               : 0;
    index->places[index->n++] =
        (struct logs_place){(uint32_t)cursor->open_i, cursor->recording_i, first, n, start_s};
    return STATUS_OK;
}

/* Adds the episodes of the current recording. A new one starts wherever the value of the episode
 * column changes. */
static status split_by_column(struct logs_index *index, struct logs_cursor *cursor, uint64_t rows,
                              struct err *err)
{
    /* mapping_signature has checked that the column exists and has one value in each row. */
    const struct recording_column *column =
        recording_find(&cursor->recording, index->mapping->episode_column);
    status s = logs_cursor_read(cursor, column, 0, rows, err);
    /* NaN differs from itself: each row without a value becomes an episode of one row, which most
     * mappings refuse as too short. */
    uint64_t first = 0;
    for (uint64_t t = 1; s == STATUS_OK && t <= rows; t++) {
        if (t == rows || cursor->values[t] != cursor->values[t - 1]) {
            s = add_episode(index, cursor, first, t - first, err);
            first = t;
        }
    }
    return s;
}

/* Sets ends[t] for the rows in which the flag is set. */
static status mark_ends(struct logs_cursor *cursor, const struct mapping_value *flag, uint64_t rows,
                        unsigned char *ends, struct err *err)
{
    if (flag->column[0] == 0) {
        return STATUS_OK;
    }
    const struct recording_column *column = recording_find(&cursor->recording, flag->column);
    for (uint64_t first = 0; first < rows; first += FLAG_ROWS) {
        const uint64_t n = rows - first < FLAG_ROWS ? rows - first : FLAG_ROWS;
        const status s = logs_cursor_read(cursor, column, first, n, err);
        if (s != STATUS_OK) {
            return s;
        }
        /* Both flags mark the same array: an episode ends where either is set. */
        for (uint64_t t = 0; t < n; t++) {
            ends[first + t] |= mapping_is_set(flag, cursor->values[t]);
        }
    }
    return STATUS_OK;
}

/* Adds the episodes of the current recording. Each ends with a row in which a flag is set. Rows
 * after the last such row form an episode that was cut off by the end of the recording. */
static status split_by_flags(struct logs_index *index, struct logs_cursor *cursor, uint64_t rows,
                             struct err *err)
{
    /* One byte for each row, for the time of this recording only. */
    unsigned char *ends = mem_array(rows, 1);
    if (ends == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "flags of %" PRIu64 " rows", rows);
    }
    status s = mark_ends(cursor, &index->mapping->terminated, rows, ends, err);
    if (s == STATUS_OK) {
        s = mark_ends(cursor, &index->mapping->timeout, rows, ends, err);
    }
    /* Rows between two ends, the later one included, are an episode. */
    uint64_t first = 0;
    for (uint64_t t = 0; s == STATUS_OK && t < rows; t++) {
        if (ends[t] || t + 1 == rows) {
            s = add_episode(index, cursor, first, t + 1 - first, err);
            first = t + 1;
        }
    }
    mem_free(ends);
    return s;
}

/* Adds the episodes of the current recording, which must have the same signature as all others. */
static status index_recording(struct logs_index *index, struct logs_cursor *cursor, struct err *err)
{
    /* Columns may have other widths in another file, which would make rows of another size. */
    struct signature signature;
    status s = mapping_signature(index->mapping, &cursor->recording, &signature, err);
    if (s == STATUS_OK && index->n > 0) {
        s = signature_same(&index->signature, &signature, err);
    }
    if (s != STATUS_OK) {
        return s;
    }

    /* The rows of the first observation column count; reading an episode fails if another column is
     * shorter. */
    index->signature = signature;
    const uint64_t rows =
        recording_find(&cursor->recording, index->mapping->observation[0].names[0])->rows;
    switch (index->mapping->episodes) {
    case MAPPING_BY_RECORDING:
    case MAPPING_BY_GAPS:
    case MAPPING_BY_TIMES: /* each stretch of time is a recording of the resampled file */
        return add_episode(index, cursor, 0, rows, err);
    case MAPPING_BY_COLUMN:
        return split_by_column(index, cursor, rows, err);
    case MAPPING_BY_FLAGS:
        return split_by_flags(index, cursor, rows, err);
    }
    return STATUS_INTERNAL;
}

/* Indexes every recording of every file. The first one that does not fit ends this, since the
 * mapping is then wrong for these logs. */
static status index_all(struct logs_index *index, struct logs_cursor *cursor, struct err *err)
{
    for (size_t i = 0; i < cursor->files->n; i++) {
        struct log_file *file;
        status s = logs_cursor_file(cursor, i, &file, err);
        const uint64_t n = s == STATUS_OK ? log_file_recordings(file) : 0;
        for (uint64_t j = 0; s == STATUS_OK && j < n; j++) {
            s = logs_cursor_seek(cursor, i, j, err);
            if (s == STATUS_OK) {
                s = index_recording(index, cursor, err);
            }
            if (s != STATUS_OK) {
                return err_context(err, s, "%s: recording %" PRIu64, cursor->files->paths[i], j);
            }
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

status logs_index_build(struct logs_index *index, struct logs_cursor *cursor,
                        const struct mapping *mapping, struct err *err)
{
    logs_cursor_use_mapping(cursor, mapping);
    index->mapping = mapping;
    index->n = 0;
    return index_all(index, cursor, err);
}

void logs_index_fini(struct logs_index *index)
{
    mem_free(index->places);
}

uint64_t logs_index_first(const struct logs_index *index, size_t file_i)
{
    uint64_t low = 0, high = index->n;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (index->places[middle].file_i < file_i) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
