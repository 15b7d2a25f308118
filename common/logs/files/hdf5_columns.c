/* Open datasets, their windows, and the way from stored numbers to doubles.
 *
 * Numbers are read as they are stored and converted by elements.h, which is several times faster
 * than the conversion of HDF5; only what elements.h does not know (big-endian numbers, floats of 2
 * bytes) is left to HDF5, which then gives doubles. Compressed chunks are unpacked by hdf5_chunks. */
#include "common/logs/files/hdf5_columns.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/hdf5_chunks.h"

/* An open dataset. */
struct hdf5_column {
    bool open;
    hid_t dataset;
    struct hdf5_shape shape;
    struct element element; /* as in the file; doubles where HDF5 converts */
    bool as_stored;         /* HDF5 does not convert */
    bool compressed;        /* read by `chunks` and not by HDF5 */
    struct hdf5_chunks chunks;
    uint64_t row_bytes;    /* of a row of `element` */
    uint64_t window_rows;  /* a multiple of the rows of a chunk; 0: no window */
    uint64_t first, n;     /* rows that are in the window */
    unsigned char *window; /* (window_rows, row_bytes); NULL until used */
};

void hdf5_columns_close(struct hdf5_columns *columns)
{
    for (uint32_t i = 0; i < columns->n; i++) {
        if (columns->items[i].open) {
            (void)H5Dclose(columns->items[i].dataset);
        }
        mem_free(columns->items[i].window);
    }
    mem_free(columns->items);
    mem_free(columns->scratch);
    *columns = (struct hdf5_columns){0};
}

/* ---- opening ---- */

/* The place of column i; the array grows to hold it. */
static status place_of(struct hdf5_columns *columns, uint32_t i, struct hdf5_column **column,
                       struct err *err)
{
    ASSERT(i < RECORDING_COLUMNS_MAX);
    if (i >= columns->n) {
        struct hdf5_column *items = mem_resize(columns->items, i + 1, sizeof *items);
        if (items == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%u columns", i + 1);
        }
        memset(items + columns->n, 0, (i + 1 - columns->n) * sizeof *items);
        columns->items = items;
        columns->n = i + 1;
    }
    *column = &columns->items[i];
    return STATUS_OK;
}

/* The rows of a chunk, or 0 where the values are not in chunks. */
static uint64_t chunk_rows(hid_t dataset, const struct hdf5_shape *shape)
{
    hsize_t chunk[HDF5_RANK_MAX] = {0};
    hid_t layout = H5Dget_create_plist(dataset);
    const bool chunked = layout >= 0 && H5Pget_layout(layout) == H5D_CHUNKED &&
                         H5Pget_chunk(layout, HDF5_RANK_MAX, chunk) == shape->rank;
    if (layout >= 0) {
        (void)H5Pclose(layout);
    }
    return chunked ? chunk[0] : 0;
}

/* Decides the size of the window: as many whole chunks as there is room for, but not more than the
 * dataset has. */
static void plan_window(struct hdf5_columns *columns, struct hdf5_column *column)
{
    const uint64_t chunk = chunk_rows(column->dataset, &column->shape);
    const uint64_t left = HDF5_COLUMNS_BYTES - columns->window_bytes;
    const uint64_t most = (left < HDF5_WINDOW_BYTES ? left : HDF5_WINDOW_BYTES) / column->row_bytes;
    if (chunk == 0 || most < chunk) {
        return;
    }
    /* Rounded up to whole chunks: the last one may reach beyond the rows. */
    const uint64_t needed = (column->shape.dims[0] - 1) / chunk + 1;
    const uint64_t n = needed < most / chunk ? needed : most / chunk;
    column->window_rows = n * chunk;
    columns->window_bytes += column->window_rows * column->row_bytes;
}

/* Opens a column at its first use. */
static status open_column(struct hdf5_columns *columns, hid_t recording,
                          const struct recording_column *described, struct hdf5_column *column,
                          struct err *err)
{
    hid_t dataset;
    struct hdf5_shape shape;
    const status s =
        hdf5_dataset_open(&dataset, &shape, recording, described->name, UINT64_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The description was made earlier, and another program may have written the file since.
     * Reading with a wrong shape would overflow `values`. */
    if (shape.rank > 2 || shape.dims[0] != described->rows || shape.row_size != described->width) {
        (void)H5Dclose(dataset);
        return err_set(err, STATUS_CORRUPT, "%s: the shape has changed since the file was opened",
                       described->name);
    }
    *column = (struct hdf5_column){.open = true, .dataset = dataset, .shape = shape};
    column->element = hdf5_element_of(dataset);
    column->as_stored = column->element.kind != ELEMENT_NONE;
    if (!column->as_stored) {
        column->element = element_make(ELEMENT_FLOAT, sizeof(double));
    }
    column->compressed =
        column->as_stored && shape.chunked && hdf5_chunks_find(&column->chunks, dataset, &shape);
    column->row_bytes = shape.row_size * column->element.size;
    plan_window(columns, column);
    return STATUS_OK;
}

/* ---- reading ---- */

/* Reads rows first .. first + n as `column->element`. */
static status read_rows(const struct hdf5_column *column, uint64_t first, uint64_t n, void *bytes)
{
    if (column->compressed) {
        return hdf5_chunks_read(&column->chunks, column->dataset, first, n, bytes);
    }
    /* The selection covers whole rows: all columns of the second dimension. */
    const struct hdf5_shape *shape = &column->shape;
    const hsize_t start[2] = {first, 0};
    const hsize_t count[2] = {n, shape->rank == 2 ? shape->dims[1] : 1};
    hid_t type = column->as_stored ? H5Dget_type(column->dataset) : H5Tcopy(H5T_NATIVE_DOUBLE);
    hid_t in_file = H5Dget_space(column->dataset);
    hid_t in_memory = H5Screate_simple(shape->rank, count, NULL);
    const bool valid =
        type >= 0 && in_file >= 0 && in_memory >= 0 &&
        H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
        H5Dread(column->dataset, type, in_memory, in_file, H5P_DEFAULT, bytes) >= 0;
    /* What could be opened is closed, whichever call failed. */
    if (in_memory >= 0) {
        (void)H5Sclose(in_memory);
    }
    if (in_file >= 0) {
        (void)H5Sclose(in_file);
    }
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    return valid ? STATUS_OK : STATUS_CORRUPT;
}

/* Fills the window that holds row `first`. Windows begin at multiples of their size, and so at the
 * beginning of a chunk. */
static status move_window(struct hdf5_column *column, uint64_t first)
{
    if (column->window == NULL) {
        column->window = mem_resize(NULL, column->window_rows, column->row_bytes);
        if (column->window == NULL) {
            return STATUS_NO_MEMORY;
        }
    }
    /* Empty until the rows are there. */
    column->n = 0;
    column->first = first / column->window_rows * column->window_rows;
    const uint64_t left = column->shape.dims[0] - column->first;
    const uint64_t n = left < column->window_rows ? left : column->window_rows;
    const status s = read_rows(column, column->first, n, column->window);
    column->n = s == STATUS_OK ? n : 0;
    return s;
}

/* Where rows go to: as doubles, or as they are stored. */
struct destination {
    void *values;
    bool as_stored;
};

/* Puts n values of the column at place `at` of the destination. */
static void put(const struct destination *to, uint64_t at, const struct hdf5_column *column,
                const void *bytes, uint64_t n)
{
    if (to->as_stored) {
        const size_t size = column->element.size;
        memcpy((unsigned char *)to->values + at * size, bytes, n * size);
    } else {
        elements_to_doubles((double *)to->values + at, bytes, n, column->element);
    }
}

/* Reads rows through the window, which moves as often as needed. */
static status read_windows(struct hdf5_column *column, uint64_t first, uint64_t n,
                           const struct destination *to)
{
    const uint64_t row_size = column->shape.row_size;
    uint64_t done = 0; /* values */
    while (n > 0) {
        if (first < column->first || first - column->first >= column->n) {
            const status s = move_window(column, first);
            if (s != STATUS_OK) {
                return s;
            }
        }
        const uint64_t at = first - column->first;
        const uint64_t take = n < column->n - at ? n : column->n - at;
        put(to, done, column, column->window + at * column->row_bytes, take * row_size);
        first += take;
        n -= take;
        done += take * row_size;
    }
    return STATUS_OK;
}

/* Reads rows without a window: contiguous values, or chunks that are too large for one. */
static status read_directly(struct hdf5_columns *columns, struct hdf5_column *column,
                            uint64_t first, uint64_t n, const struct destination *to)
{
    const uint64_t count = n * column->shape.row_size;
    const struct element element = column->element;
    if (to->as_stored || (element.kind == ELEMENT_FLOAT && element.size == sizeof(double))) {
        return read_rows(column, first, n, to->values);
    }
    /* The scratch memory only grows: episodes of one length need a single allocation. */
    const uint64_t bytes = count * element.size;
    if (bytes > columns->scratch_size) {
        unsigned char *scratch = mem_resize(columns->scratch, bytes, 1);
        if (scratch == NULL) {
            return STATUS_NO_MEMORY;
        }
        columns->scratch = scratch;
        columns->scratch_size = bytes;
    }
    const status s = read_rows(column, first, n, columns->scratch);
    if (s == STATUS_OK) {
        put(to, 0, column, columns->scratch, count);
    }
    return s;
}

/* Finds the column, which is opened at its first use. */
static status find_column(struct hdf5_columns *columns, hid_t recording,
                          const struct recording_column *described, struct hdf5_column **column,
                          struct err *err)
{
    const status s = place_of(columns, described->index, column, err);
    return s == STATUS_OK && !(*column)->open
               ? open_column(columns, recording, described, *column, err)
               : s;
}

/* Reads rows that exist in the description. */
static status read_checked(struct hdf5_columns *columns, struct hdf5_column *column,
                           const struct recording_column *described, uint64_t first, uint64_t n,
                           const struct destination *to, struct err *err)
{
    ASSERT(n >= 1 && first < described->rows && n <= described->rows - first);
    const status s = column->window_rows > 0 ? read_windows(column, first, n, to)
                                             : read_directly(columns, column, first, n, to);
    return s == STATUS_OK ? s : hdf5_error(err, s, "%s", described->name);
}

status hdf5_columns_read(struct hdf5_columns *columns, hid_t recording,
                         const struct recording_column *described, uint64_t first, uint64_t n,
                         double *values, struct err *err)
{
    struct hdf5_column *column = NULL;
    const struct destination to = {values, false};
    const status s = find_column(columns, recording, described, &column, err);
    return s == STATUS_OK ? read_checked(columns, column, described, first, n, &to, err) : s;
}

status hdf5_columns_read_floats(struct hdf5_columns *columns, hid_t recording,
                                const struct recording_column *described, uint64_t first,
                                uint64_t n, float *values, struct err *err)
{
    struct hdf5_column *column = NULL;
    const struct destination to = {values, true};
    const status s = find_column(columns, recording, described, &column, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (column->element.kind != ELEMENT_FLOAT || column->element.size != sizeof *values) {
        return STATUS_NOT_FOUND;
    }
    return read_checked(columns, column, described, first, n, &to, err);
}
