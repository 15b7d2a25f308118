/* Reading arrays of numbers out of HDF5 files, which may come from anyone.
 *
 * A file is opened only if it is a regular file. HDF5 itself would follow external links and
 * virtual datasets into other files, take raw bytes of any file (external storage), load filter
 * plugins, fill in values that were never written, and unpack a chunk of any size. All of this is
 * refused before a value is read: what a dataset gives is what its own file contains. What groups
 * and datasets mean is decided by the callers.
 *
 * HDF5 is not used by two threads at once: callers hold hdf5_lock around every call of this file
 * and of HDF5. Errors of HDF5 are collected by hdf5_error and never printed. */
#include "common/trajectory/hdf5.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/trajectory/hdf5_chunks.h"

/* The largest chunk that may be unpacked for a dataset that is itself smaller. */
#define CHUNK_BYTES_MAX (64u << 20)
/* Beyond PACKED_FREE bytes an array may not be more than PACKED_FACTOR times as large as what is
 * stored of it: deflate packs zeros a thousandfold, and logs not nearly as much. */
#define PACKED_FREE   (64u << 20)
#define PACKED_FACTOR 200u

/* Held around all calls of HDF5, whose build may not be safe for threads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Makes HDF5 refuse what reaches out of the file. Once per process. */
static void close_ways_out(void)
{
    H5open();
    /* Following an external link now fails: its link class is unknown. */
    H5Lunregister(H5L_TYPE_EXTERNAL);
    /* No filter is loaded from a plugin folder; those that are built in stay. */
    H5PLset_loading_state(0);
    H5Eclear2(H5E_DEFAULT);
}

void hdf5_lock(void)
{
    /* The first caller closes the ways out, with the lock held. */
    pthread_mutex_lock(&lock);
    static bool closed = false;
    if (!closed) {
        close_ways_out();
        closed = true;
    }
    /* In a thread-safe build each thread has its own error stack with its own printing. */
    static _Thread_local bool quiet = false;
    if (!quiet) {
        H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
        quiet = true;
    }
}

void hdf5_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* ---- errors ---- */

/* An H5E_walk2_t that keeps the innermost message. */
static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *arg)
{
    const char **text = arg;
    if (n == 0 && error->desc != NULL) {
        *text = error->desc;
    }
    return 0;
}

status hdf5_error(struct err *err, status code, const char *format, ...)
{
    /* The caller's words first, then HDF5's reason where there is one. */
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *reason = NULL;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
    code = reason != NULL ? err_set(err, code, "%s: %s", text, reason)
                          : err_set(err, code, "%s", text);
    /* The stack is emptied, so that the next error does not show this one. */
    H5Eclear2(H5E_DEFAULT);
    return code;
}

/* ---- reading ---- */

status hdf5_open(hid_t *file, const char *path, struct err *err)
{
    /* A FIFO would make HDF5 wait for ever, a device has no end. */
    struct stat info;
    if (access(path, R_OK) != 0 || stat(path, &info) != 0) {
        return err_errno(err, errno, "%s", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return err_set(err, STATUS_INVALID, "%s: is not a regular file", path);
    }
    hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
    if (access_list < 0) {
        return hdf5_error(err, STATUS_NO_MEMORY, "%s: open", path);
    }
    /* Shards never change once they are there, and read-only folders refuse locks. */
    H5Pset_file_locking(access_list, 0, 1);
    H5Pset_fclose_degree(access_list, H5F_CLOSE_STRONG);
    /* Datasets are read whole: the sieve buffer, 64 KiB zeroed for each of them, has no use. */
    H5Pset_sieve_buf_size(access_list, 1);
    /* Read-only: even a damaged file is never changed. */
    hid_t opened = H5Fopen(path, H5F_ACC_RDONLY, access_list);
    status s = STATUS_OK;
    if (opened < 0) {
        s = hdf5_error(err, STATUS_CORRUPT, "%s: not a whole HDF5 file", path);
    } else {
        *file = opened;
    }
    H5Pclose(access_list);
    return s;
}

/* What is the object called `name`? No error: whatever cannot be opened is HDF5_OTHER. */
enum hdf5_kind hdf5_kind_of(hid_t parent, const char *name)
{
    /* HDF5_ABSENT until it is found. */
    enum hdf5_kind kind = HDF5_ABSENT;
    hid_t object = H5Oopen(parent, name, H5P_DEFAULT);
    if (object >= 0) {
        H5I_type_t type = H5Iget_type(object);
        kind = type == H5I_GROUP ? HDF5_GROUP : type == H5I_DATASET ? HDF5_DATASET : HDF5_OTHER;
        H5Oclose(object);
    } else if (H5Lexists(parent, name, H5P_DEFAULT) > 0) {
        kind = HDF5_OTHER; /* a link to what cannot be opened */
    }
    H5Eclear2(H5E_DEFAULT);
    return kind;
}

/* Is every chunk there, and is unpacking them bounded? See check_storage. */
static status check_chunks(hid_t dataset, hid_t space, hid_t layout, const struct hdf5_shape *shape,
                           uint64_t bytes, size_t value_bytes, const char *name, struct err *err)
{
    /* HDF5 unpacks whole chunks, and gives the fill value for chunks that are not there. */
    hsize_t chunk[HDF5_RANK_MAX];
    hsize_t stored = 0;
    uint64_t expected = 1;
    uint64_t chunk_bytes = value_bytes;
    if (H5Pget_chunk(layout, HDF5_RANK_MAX, chunk) != shape->rank ||
        H5Dget_num_chunks(dataset, space, &stored) < 0) {
        return hdf5_error(err, STATUS_CORRUPT, "%s: chunks", name);
    }
    /* The bytes of a chunk, and how many chunks the shape needs. */
    for (int i = 0; i < shape->rank; i++) {
        if (chunk[i] == 0 || chunk[i] > UINT64_MAX / chunk_bytes) {
            return err_set(err, STATUS_CORRUPT, "%s: chunks: impossible size", name);
        }
        chunk_bytes *= chunk[i];
        expected *= (shape->dims[i] - 1) / chunk[i] + 1;
    }
    if (stored < expected) {
        return err_set(
            err, STATUS_INVALID,
            "%s: only %llu of its %llu chunks were written; the other values do not exist", name,
            (unsigned long long)stored, (unsigned long long)expected);
    }
    /* A chunk is unpacked whole, even where one value of it is wanted. */
    if (chunk_bytes > CHUNK_BYTES_MAX && chunk_bytes > bytes) {
        return err_set(err, STATUS_INVALID,
                       "%s: chunks of %llu bytes for %llu bytes of values, expected at most %u",
                       name, (unsigned long long)chunk_bytes, (unsigned long long)bytes,
                       CHUNK_BYTES_MAX);
    }
    /* Deflate makes gigabytes of zeros from a few megabytes. */
    const uint64_t packed = H5Dget_storage_size(dataset);
    if (bytes > PACKED_FREE && packed < bytes / PACKED_FACTOR) {
        return err_set(err, STATUS_INVALID,
                       "%s: %llu stored bytes unpack to %llu, expected at most %u times as many",
                       name, (unsigned long long)packed, (unsigned long long)bytes, PACKED_FACTOR);
    }
    return STATUS_OK;
}

/* Is every value of a dataset stored in this file, and is reading it bounded? `bytes` is the
 * size of all its values in the file's type. */
static status check_storage(hid_t dataset, hid_t space, hid_t layout, struct hdf5_shape *shape,
                            uint64_t bytes, size_t value_bytes, const char *name, struct err *err)
{
    /* Layouts by what they would read: other files, this file whole, or chunks. */
    const H5D_layout_t kind = H5Pget_layout(layout);
    if (kind == H5D_VIRTUAL) {
        return err_set(
            err, STATUS_INVALID,
            "%s: is a virtual dataset, whose values are in other files; expected values in "
            "this file (h5repack makes such a copy)",
            name);
    }
    if (H5Pget_external_count(layout) > 0) {
        return err_set(
            err, STATUS_INVALID,
            "%s: has external storage, its values are in other files; expected values in "
            "this file",
            name);
    }
    /* Compact values are in the header of the dataset, and small. */
    if (kind == H5D_COMPACT) {
        return STATUS_OK;
    }
    if (kind != H5D_CHUNKED) {
        return err_set(err, STATUS_INVALID, "%s: was created, but its values were never written",
                       name);
    }
    shape->chunked = true;
    return check_chunks(dataset, space, layout, shape, bytes, value_bytes, name, err);
}

/* check_storage where it is needed: not for contiguous values in this file, the usual case, which
 * have an address. */
static status check_values(hid_t dataset, hid_t space, hid_t type, struct hdf5_shape *shape,
                           const char *name, struct err *err)
{
    if (H5Dget_offset(dataset) != HADDR_UNDEF) {
        return STATUS_OK;
    }
    /* Contiguous values that were never written have no address, so they come here too. */
    const size_t value_bytes = H5Tget_size(type);
    hid_t layout = H5Dget_create_plist(dataset);
    if (layout < 0 || value_bytes == 0) {
        return hdf5_error(err, STATUS_CORRUPT, "%s: layout", name);
    }
    const uint64_t bytes = shape->dims[0] * shape->row_size * value_bytes;
    const status s = check_storage(dataset, space, layout, shape, bytes, value_bytes, name, err);
    H5Pclose(layout);
    return s;
}

/* The dimensions of an opened dataset; refuses what is too large to be an episode. */
static status read_shape(struct hdf5_shape *shape, hid_t dataset, const char *name,
                         uint64_t max_values, struct err *err)
{
    /* Handles are closed at the end, whatever happens in between. */
    hid_t space = H5Dget_space(dataset);
    hid_t type = H5Dget_type(dataset);
    hsize_t dims[H5S_MAX_RANK] = {0};
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    status s = STATUS_OK;
    /* From the outside in: is there a shape, is its rank one of ours, and are its sizes
     * possible. */
    if (type < 0 || rank < 0 || (rank > 0 && H5Sget_simple_extent_dims(space, dims, NULL) < 0)) {
        s = hdf5_error(err, STATUS_CORRUPT, "%s: shape", name);
    } else if (rank < 1 || rank > HDF5_RANK_MAX) {
        s = err_set(err, STATUS_INVALID, "%s: %d dimensions, expected 1..%d", name, rank,
                    HDF5_RANK_MAX);
    } else {
        *shape = (struct hdf5_shape){.rank = rank, .row_size = 1, .kind = H5Tget_class(type)};
        /* The total is bounded before it is multiplied, so it cannot overflow. */
        uint64_t total = 1;
        for (int i = 0; i < rank && s == STATUS_OK; i++) {
            shape->dims[i] = dims[i];
            if (dims[i] == 0 || dims[i] > max_values || total > max_values / dims[i]) {
                s = err_set(err, STATUS_INVALID, "%s: dimension %d is %llu: empty, or too large",
                            name, i, (unsigned long long)dims[i]);
                break;
            }
            total *= dims[i];
            shape->row_size *= i == 0 ? 1 : dims[i];
        }
        /* How the values are stored decides whether they may be read at all. */
        if (s == STATUS_OK) {
            s = check_values(dataset, space, type, shape, name, err);
        }
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return s;
}

status hdf5_dataset_open(hid_t *dataset, struct hdf5_shape *shape, hid_t parent, const char *name,
                         uint64_t max_values, struct err *err)
{
    /* An absent dataset is no damage, and is told apart from one that cannot be opened. */
    hid_t opened = H5Dopen2(parent, name, H5P_DEFAULT);
    if (opened < 0) {
        struct err reason = {0};
        const status s = hdf5_error(&reason, STATUS_CORRUPT, "%s: open", name);
        return H5Lexists(parent, name, H5P_DEFAULT) == 0
                   ? err_set(err, STATUS_NOT_FOUND, "%s: is not there", name)
                   : err_set(err, s, "%s", reason.text);
    }
    /* The shape goes out only with a dataset that is open. */
    struct hdf5_shape read;
    status s = read_shape(&read, opened, name, max_values, err);
    if (s != STATUS_OK) {
        H5Dclose(opened);
        return s;
    }
    *shape = read;
    *dataset = opened;
    return STATUS_OK;
}

/* Why values that are not numbers cannot be read. */
static status wrong_kind(const struct hdf5_shape *shape, const char *name, const char *expected,
                         struct err *err)
{
    if (shape->kind == H5T_VLEN) {
        return err_set(err, STATUS_INVALID,
                       "%s: values of variable length (images as JPEG?) are not read, expected %s",
                       name, expected);
    }
    return err_set(err, STATUS_INVALID, "%s: expected %s", name, expected);
}

status hdf5_check_floats(const struct hdf5_shape *shape, const char *name, struct err *err)
{
    return shape->kind == H5T_FLOAT || shape->kind == H5T_INTEGER
               ? STATUS_OK
               : wrong_kind(shape, name, "floats or integers", err);
}

/* All values, as `type` in memory. as_stored: that is how the file has them, so that compressed
 * chunks can be unpacked without HDF5. */
static status read_all(void *values, hid_t dataset, const struct hdf5_shape *shape, bool as_stored,
                       hid_t type, const char *name, struct err *err)
{
    struct hdf5_chunks chunks;
    status s;
    if (as_stored && shape->chunked && hdf5_chunks_find(&chunks, dataset, shape)) {
        s = hdf5_chunks_read(&chunks, dataset, 0, shape->dims[0], values);
    } else {
        const herr_t code = H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        s = code < 0 ? STATUS_CORRUPT : STATUS_OK;
    }
    return s == STATUS_OK ? s : hdf5_error(err, s, "%s: read", name);
}

status hdf5_read_floats(float *values, hid_t dataset, const struct hdf5_shape *shape,
                        const char *name, struct err *err)
{
    const status s = hdf5_check_floats(shape, name, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* HDF5 converts whatever numbers the file has to floats. */
    const struct element element = shape->chunked ? hdf5_element_of(dataset) : (struct element){0};
    const bool as_stored = element.kind == ELEMENT_FLOAT && element.size == sizeof *values;
    return read_all(values, dataset, shape, as_stored, H5T_NATIVE_FLOAT, name, err);
}

struct element hdf5_element_of(hid_t dataset)
{
    struct element element = {ELEMENT_NONE, 0};
    hid_t type = H5Dget_type(dataset);
    /* An enumeration, such as h5py's booleans, is stored as its base type. */
    hid_t base = type >= 0 && H5Tget_class(type) == H5T_ENUM ? H5Tget_super(type) : -1;
    hid_t number = base >= 0 ? base : type;
    if (number >= 0 && H5Tget_class(number) == H5T_INTEGER) {
        const size_t size = H5Tget_size(number);
        const bool plain = H5Tget_precision(number) == 8 * size && H5Tget_offset(number) == 0;
        const bool native = size == 1 || H5Tget_order(number) == H5T_ORDER_LE;
        const bool has_sign = H5Tget_sign(number) == H5T_SGN_2;
        element = element_make(!plain || !native ? ELEMENT_NONE
                               : has_sign        ? ELEMENT_SIGNED
                                                 : ELEMENT_UNSIGNED,
                               size);
    } else if (number >= 0 &&
               (H5Tequal(number, H5T_IEEE_F32LE) > 0 || H5Tequal(number, H5T_IEEE_F64LE) > 0)) {
        element = element_make(ELEMENT_FLOAT, H5Tget_size(number));
    }
    if (base >= 0) {
        H5Tclose(base);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    return element;
}

/* Flags of one byte, as they are: HDF5 would convert them one by one, with a buffer of a megabyte
 * that it clears each time. They are read into the end of `values` and spread from the front, which
 * never overtakes what is still to be read. */
static status read_bytes(int *values, hid_t dataset, const struct hdf5_shape *shape,
                         struct element element, const char *name, struct err *err)
{
    const size_t n = shape->dims[0] * shape->row_size;
    signed char *bytes = (signed char *)values + 3 * n;
    hid_t type = H5Dget_type(dataset);
    if (type < 0) {
        return hdf5_error(err, STATUS_CORRUPT, "%s: type", name);
    }
    const status s = read_all(bytes, dataset, shape, true, type, name, err);
    H5Tclose(type);
    if (s != STATUS_OK) {
        return s;
    }
    for (size_t i = 0; i < n; i++) {
        const int value = element.kind == ELEMENT_SIGNED ? bytes[i] : (unsigned char)bytes[i];
        memcpy((char *)values + i * sizeof value, &value, sizeof value);
    }
    return STATUS_OK;
}

status hdf5_read_flags(int *values, hid_t dataset, const struct hdf5_shape *shape, const char *name,
                       struct err *err)
{
    /* Booleans are an enumeration in h5py's files. */
    if (shape->kind != H5T_ENUM && shape->kind != H5T_INTEGER) {
        return wrong_kind(shape, name, "booleans or integers", err);
    }
    const struct element element = hdf5_element_of(dataset);
    if (element.kind != ELEMENT_NONE && element.size == 1) {
        return read_bytes(values, dataset, shape, element, name, err);
    }
    return read_all(values, dataset, shape, false, H5T_NATIVE_INT, name, err);
}

/* An attribute of n whole numbers. NOT_FOUND also where it has another type or size: attributes are
 * hints, and a wrong one counts as absent. */
status hdf5_read_attribute(uint64_t *values, size_t n, hid_t object, const char *name)
{
    status s = STATUS_NOT_FOUND;
    hid_t attribute = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    hid_t space = attribute >= 0 ? H5Aget_space(attribute) : -1;
    hid_t type = attribute >= 0 ? H5Aget_type(attribute) : -1;
    if (space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == (hssize_t)n &&
        H5Tget_class(type) == H5T_INTEGER && H5Aread(attribute, H5T_NATIVE_UINT64, values) >= 0) {
        s = STATUS_OK;
    }
    /* Whatever was opened is closed, in either case. */
    if (type >= 0) {
        H5Tclose(type);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    H5Eclear2(H5E_DEFAULT);
    return s;
}

/* Reads the text of an attribute of type `type`, a string. */
static status read_string(char *text, size_t size, hid_t attribute, hid_t type)
{
    /* A text of variable length is allocated by HDF5. */
    if (H5Tis_variable_str(type) > 0) {
        char *read = NULL;
        hid_t memory = H5Tcopy(H5T_C_S1);
        const bool good = memory >= 0 && H5Tset_size(memory, H5T_VARIABLE) >= 0 &&
                          H5Tset_cset(memory, H5Tget_cset(type)) >= 0 &&
                          H5Aread(attribute, memory, &read) >= 0 && read != NULL;
        if (good) {
            snprintf(text, size, "%s", read);
        }
        if (read != NULL) {
            H5free_memory(read);
        }
        if (memory >= 0) {
            H5Tclose(memory);
        }
        return good ? STATUS_OK : STATUS_NOT_FOUND;
    }
    /* One of fixed length need not end with a 0. */
    const size_t length = H5Tget_size(type);
    char *read = length > 0 && length <= 65536 ? mem_new(length + 1) : NULL;
    const bool good = read != NULL && H5Aread(attribute, type, read) >= 0;
    if (good) {
        snprintf(text, size, "%s", read);
    }
    mem_free(read);
    return good ? STATUS_OK : STATUS_NOT_FOUND;
}

status hdf5_read_text(char *text, size_t size, hid_t object, const char *name)
{
    status s = STATUS_NOT_FOUND;
    hid_t attribute = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    hid_t space = attribute >= 0 ? H5Aget_space(attribute) : -1;
    hid_t type = attribute >= 0 ? H5Aget_type(attribute) : -1;
    if (space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == 1) {
        const H5T_class_t kind = H5Tget_class(type);
        double number;
        int64_t whole;
        if (kind == H5T_STRING) {
            s = read_string(text, size, attribute, type);
        } else if (kind == H5T_FLOAT && H5Aread(attribute, H5T_NATIVE_DOUBLE, &number) >= 0) {
            snprintf(text, size, "%.17g", number);
            s = STATUS_OK;
        } else if ((kind == H5T_INTEGER || kind == H5T_ENUM) &&
                   H5Aread(attribute, H5T_NATIVE_INT64, &whole) >= 0) {
            snprintf(text, size, "%lld", (long long)whole);
            s = STATUS_OK;
        }
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    H5Eclear2(H5E_DEFAULT);
    return s;
}
