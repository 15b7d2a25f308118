/* A file that is put away is closed, or kept for its next use. With a mapping that resamples, a file
 * is opened on top of the plain one (resample.h). */
#include "common/logs/episodes/logs_cursor.h"

#include <inttypes.h>

#include "common/base/memory.h"

#define KEPT_BYTES_MAX (512ull << 20) /* of files that stay open */

/* Makes room for the list of files that are kept. Without it none is kept. */
static bool may_keep(struct logs_cursor *cursor)
{
    if (cursor->kept == NULL) {
        cursor->kept = mem_array(cursor->files->n, sizeof(*cursor->kept));
        cursor->kept_sizes = mem_array(cursor->files->n, sizeof *cursor->kept_sizes);
    }
    if (cursor->kept == NULL || cursor->kept_sizes == NULL) {
        mem_free(cursor->kept);
        mem_free(cursor->kept_sizes);
        cursor->kept = NULL;
        cursor->kept_sizes = NULL;
    }
    return cursor->kept != NULL;
}

/* Ends the use of the open file: closes it, or keeps it for its next use where opening it again is
 * expensive. The first files are kept, and none is given up for another: files are read in order,
 * once for the index and once for the values, and then most of them would be given up just before
 * they are needed. */
static void put_away(struct logs_cursor *cursor)
{
    struct log_file *file = cursor->open;
    cursor->open = NULL;
    if (file == NULL) {
        return;
    }
    const uint64_t bytes = file->format->memory != NULL ? file->format->memory(file) : UINT64_MAX;
    if (bytes > KEPT_BYTES_MAX || bytes > KEPT_BYTES_MAX - cursor->kept_bytes ||
        !may_keep(cursor)) {
        log_file_close(file);
        return;
    }
    cursor->kept[cursor->open_i] = file;
    cursor->kept_sizes[cursor->open_i] = bytes;
    cursor->kept_bytes += bytes;
}

void logs_cursor_fini(struct logs_cursor *cursor)
{
    put_away(cursor);
    for (size_t i = 0; cursor->kept != NULL && i < cursor->files->n; i++) {
        log_file_close(cursor->kept[i]);
    }
    mem_free(cursor->kept);
    mem_free(cursor->kept_sizes);
    mem_free(cursor->values);
    recording_fini(&cursor->recording);
}

/* Opens file i, or takes it from the files that are kept. */
static status open_plain(struct logs_cursor *cursor, size_t file_i, struct log_file **file,
                         struct err *err)
{
    if (cursor->kept == NULL || cursor->kept[file_i] == NULL) {
        return log_file_open(file, cursor->files->paths[file_i], err);
    }
    *file = cursor->kept[file_i];
    cursor->kept[file_i] = NULL;
    cursor->kept_bytes -= cursor->kept_sizes[file_i];
    return STATUS_OK;
}

/* Opens file i as the mapping sees it: with rows at the control period, if it resamples. */
static status open_file(struct logs_cursor *cursor, size_t file_i, struct err *err)
{
    struct log_file *file;
    status s = open_plain(cursor, file_i, &file, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (cursor->findings != NULL) {
        log_file_notes(file, true, &cursor->findings->notes);
    }
    if (cursor->mapping != NULL && cursor->mapping->resample.on && !resample_is(file)) {
        s = resample_open(&file, file, cursor->mapping, cursor->findings, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "%s", cursor->files->paths[file_i]);
        }
    }
    cursor->open = file;
    cursor->open_i = file_i;
    return STATUS_OK;
}

void logs_cursor_use_mapping(struct logs_cursor *cursor, const struct mapping *mapping)
{
    /* Files that the mapping before resampled are of no use any more. */
    put_away(cursor);
    cursor->described = false;
    for (size_t i = 0; i < cursor->files->n && cursor->kept != NULL; i++) {
        if (cursor->kept[i] != NULL && resample_is(cursor->kept[i])) {
            log_file_close(cursor->kept[i]);
            cursor->kept[i] = NULL;
            cursor->kept_bytes -= cursor->kept_sizes[i];
        }
    }
    cursor->mapping = mapping;
}

status logs_cursor_file(struct logs_cursor *cursor, size_t file_i, struct log_file **file,
                        struct err *err)
{
    ASSERT(file_i < cursor->files->n);

    /* The description belongs to the file that is put away here, so it becomes invalid too. */
    if (cursor->open == NULL || cursor->open_i != file_i) {
        put_away(cursor);
        cursor->described = false;
        const status s = open_file(cursor, file_i, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    *file = cursor->open;
    return STATUS_OK;
}

status logs_cursor_seek(struct logs_cursor *cursor, size_t file_i, uint64_t recording_i,
                        struct err *err)
{
    /* Reading episodes in order makes both steps no-ops most of the time. */
    struct log_file *file;
    status s = logs_cursor_file(cursor, file_i, &file, err);
    if (s != STATUS_OK || (cursor->described && cursor->recording_i == recording_i)) {
        return s;
    }
    /* An error in between must not leave a recording that looks described. */
    cursor->described = false;
    s = log_file_describe(file, recording_i, &cursor->recording, err);
    if (s == STATUS_OK) {
        cursor->described = true;
        cursor->recording_i = recording_i;
    }
    return s;
}

status logs_cursor_reserve(struct logs_cursor *cursor, uint64_t n, const char *what,
                           struct err *err)
{
    /* The buffer only grows: episodes of one length need a single allocation. */
    if (n > cursor->values_capacity) {
        double *values = mem_resize(cursor->values, n, sizeof *values);
        if (values == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " values", what, n);
        }
        cursor->values = values;
        cursor->values_capacity = n;
    }
    return STATUS_OK;
}

/* Makes room for n rows of a column. */
static status reserve_rows(struct logs_cursor *cursor, const struct recording_column *column,
                           uint64_t n, struct err *err)
{
    /* No overflow: formats limit rows and width. */
    const uint64_t count = n * column->width;
    if (count > LOG_FILE_BYTES_MAX / sizeof(double)) {
        return err_set(err, STATUS_INVALID, "%s: %" PRIu64 " values, too many to read at once",
                       column->name, count);
    }
    return logs_cursor_reserve(cursor, count, column->name, err);
}

status logs_cursor_read(struct logs_cursor *cursor, const struct recording_column *column,
                        uint64_t first, uint64_t n, struct err *err)
{
    const status s = reserve_rows(cursor, column, n, err);
    return s == STATUS_OK ? log_file_read(cursor->open, cursor->recording_i, column, first, n,
                                          cursor->values, err)
                          : s;
}

status logs_cursor_read_floats(struct logs_cursor *cursor, const struct recording_column *column,
                               uint64_t first, uint64_t n, struct err *err)
{
    const status s = reserve_rows(cursor, column, n, err);
    return s == STATUS_OK ? log_file_read_floats(cursor->open, cursor->recording_i, column, first,
                                                 n, cursor->floats, err)
                          : s;
}
