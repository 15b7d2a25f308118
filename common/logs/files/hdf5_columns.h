/* The datasets of one recording in an HDF5 file, read by rows as doubles.
 *
 * A dataset is opened when it is first read and then stays open. One in chunks is read through a
 * window of whole chunks, so that each chunk is unpacked once when rows are read in order, whatever
 * the length of the episodes. Windows take at most HDF5_COLUMNS_BYTES together; a dataset for which
 * there is no room is read without one.
 *
 * The caller holds hdf5_lock around every function. */
#ifndef HINDCAST_LOGS_HDF5_COLUMNS_H
#define HINDCAST_LOGS_HDF5_COLUMNS_H

#include "common/logs/columns/recording.h"
#include "common/trajectory/hdf5.h"

#define HDF5_COLUMNS_BYTES (256ull << 20) /* of all windows of a recording */
#define HDF5_WINDOW_BYTES  (4ull << 20)   /* of one window */

struct hdf5_column;

/* Initialise with {0}: nothing is open. */
struct hdf5_columns {
    uint32_t n;
    struct hdf5_column *items; /* (n), by recording_column.index */
    uint64_t window_bytes;     /* of all windows */
    unsigned char *scratch;    /* for values that are not doubles, without a window */
    size_t scratch_size;
};

/* Closes all datasets and frees all memory, for another recording or for good. */
void hdf5_columns_close(struct hdf5_columns *columns);

/* Reads rows first .. first + n, n >= 1, of `column` of the group `recording` into values (n,
 * width). The rows must exist in the description. CORRUPT where the dataset has another shape than
 * described, or cannot be read. */
status hdf5_columns_read(struct hdf5_columns *columns, hid_t recording,
                         const struct recording_column *column, uint64_t first, uint64_t n,
                         double *values, struct err *err) MUST_CHECK;
/* The same as floats. NOT_FOUND, without an error set, if they are not stored as those. */
status hdf5_columns_read_floats(struct hdf5_columns *columns, hid_t recording,
                                const struct recording_column *column, uint64_t first, uint64_t n,
                                float *values, struct err *err) MUST_CHECK;

#endif
