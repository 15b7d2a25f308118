/* Reading numbers out of HDF5 files and building such files in memory. What the groups and datasets
 * mean is not known here. */
#include "common/trajectory/hdf5.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"

#define CHUNK_BYTES_MAX (1u << 20) /* HDF5's chunk cache holds 1 MiB; larger chunks bypass it */
#define IMAGE_INCREMENT (4u << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void hdf5_lock(void)
{
    pthread_mutex_lock(&lock);
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
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *reason = NULL;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
    code = reason != NULL ? err_set(err, code, "%s: %s", text, reason)
                          : err_set(err, code, "%s", text);
    H5Eclear2(H5E_DEFAULT);
    return code;
}

/* ---- reading ---- */

status hdf5_open(hid_t *file, const char *path, struct err *err)
{
    if (access(path, R_OK) != 0) {
        return err_errno(err, errno, "%s", path);
    }
    hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
    if (access_list < 0) {
        return hdf5_error(err, STATUS_NO_MEMORY, "%s: open", path);
    }
    /* Shards never change once they are there, and read-only folders refuse locks. */
    H5Pset_file_locking(access_list, 0, 1);
    H5Pset_fclose_degree(access_list, H5F_CLOSE_STRONG);
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

enum hdf5_kind hdf5_kind_of(hid_t parent, const char *name)
{
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

/* Rank, dims and kind of an opened dataset; refuses what is too large to be an episode. */
static status read_shape(struct hdf5_shape *shape, hid_t dataset, const char *name,
                         uint64_t max_values, struct err *err)
{
    hid_t space = H5Dget_space(dataset);
    hid_t type = H5Dget_type(dataset);
    hsize_t dims[H5S_MAX_RANK] = {0};
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    status s = STATUS_OK;
    if (type < 0 || rank < 0 || (rank > 0 && H5Sget_simple_extent_dims(space, dims, NULL) < 0)) {
        s = hdf5_error(err, STATUS_CORRUPT, "%s: shape", name);
    } else if (rank < 1 || rank > HDF5_RANK_MAX) {
        s = err_set(err, STATUS_INVALID, "%s: %d dimensions, expected 1..%d", name, rank,
                    HDF5_RANK_MAX);
    } else {
        *shape = (struct hdf5_shape){.rank = rank, .row_size = 1, .kind = H5Tget_class(type)};
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
    htri_t there = H5Lexists(parent, name, H5P_DEFAULT);
    if (there == 0) {
        return err_set(err, STATUS_NOT_FOUND, "%s: is not there", name);
    }
    hid_t opened = there < 0 ? -1 : H5Dopen2(parent, name, H5P_DEFAULT);
    if (opened < 0) {
        return hdf5_error(err, STATUS_CORRUPT, "%s: open", name);
    }
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

status hdf5_read_floats(float *values, hid_t dataset, const struct hdf5_shape *shape,
                        const char *name, struct err *err)
{
    if (shape->kind != H5T_FLOAT && shape->kind != H5T_INTEGER) {
        return err_set(err, STATUS_INVALID, "%s: expected floats or integers", name);
    }
    if (H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        return hdf5_error(err, STATUS_CORRUPT, "%s: read", name);
    }
    return STATUS_OK;
}

status hdf5_read_flags(int *values, hid_t dataset, const struct hdf5_shape *shape, const char *name,
                       struct err *err)
{
    if (shape->kind != H5T_ENUM && shape->kind != H5T_INTEGER) {
        return err_set(err, STATUS_INVALID, "%s: expected booleans or integers", name);
    }
    if (H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        return hdf5_error(err, STATUS_CORRUPT, "%s: read", name);
    }
    return STATUS_OK;
}

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

/* ---- writing ---- */

static hid_t make_bool_type(void)
{
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    const int8_t no = 0;
    const int8_t yes = 1;
    if (type >= 0 &&
        (H5Tenum_insert(type, "FALSE", &no) < 0 || H5Tenum_insert(type, "TRUE", &yes) < 0)) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

status hdf5_writing_begin(struct hdf5_writing *writing, int compression, struct err *err)
{
    ASSERT(compression >= 0 && compression <= 9);
    hid_t access_list = H5Pcreate(H5P_FILE_ACCESS);
    hid_t create_list = H5Pcreate(H5P_FILE_CREATE);
    hid_t file = -1;
    /* In memory, without a backing file. The 1.10 format checksums its own structures: a flipped
     * byte is noticed, not followed. */
    if (access_list >= 0 && create_list >= 0 &&
        H5Pset_fapl_core(access_list, IMAGE_INCREMENT, 0) >= 0 &&
        H5Pset_fclose_degree(access_list, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_libver_bounds(access_list, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
        H5Pset_obj_track_times(create_list, 0) >= 0) {
        file = H5Fcreate("image", H5F_ACC_TRUNC, create_list, access_list);
    }
    hid_t bool_type = file >= 0 ? make_bool_type() : -1;
    status s = STATUS_OK;
    if (bool_type < 0) {
        s = hdf5_error(err, STATUS_NO_MEMORY, "begin an HDF5 file in memory");
        if (file >= 0) {
            H5Fclose(file);
        }
    } else {
        *writing =
            (struct hdf5_writing){.file = file, .bool_type = bool_type, .compression = compression};
    }
    if (create_list >= 0) {
        H5Pclose(create_list);
    }
    if (access_list >= 0) {
        H5Pclose(access_list);
    }
    return s;
}

void hdf5_writing_abort(struct hdf5_writing *writing)
{
    H5Tclose(writing->bool_type);
    H5Fclose(writing->file);
    H5Eclear2(H5E_DEFAULT);
}

status hdf5_writing_end(struct hdf5_writing *writing, void **image, size_t *size, struct err *err)
{
    status s = STATUS_OK;
    void *bytes = NULL;
    ssize_t n = H5Fflush(writing->file, H5F_SCOPE_GLOBAL) < 0
                    ? -1
                    : H5Fget_file_image(writing->file, NULL, 0);
    if (n > 0) {
        bytes = mem_new((size_t)n);
        if (bytes == NULL) {
            s = err_set(err, STATUS_NO_MEMORY, "an HDF5 file of %zd bytes in memory", n);
        }
    }
    if (s == STATUS_OK &&
        (bytes == NULL || H5Fget_file_image(writing->file, bytes, (size_t)n) != n)) {
        s = hdf5_error(err, STATUS_INTERNAL, "take the bytes of an HDF5 file in memory");
    }
    hdf5_writing_abort(writing);
    if (s != STATUS_OK) {
        mem_free(bytes);
        return s;
    }
    *image = bytes;
    *size = (size_t)n;
    return STATUS_OK;
}

status hdf5_make_group(hid_t *group, hid_t parent, const char *name, struct err *err)
{
    hid_t create_list = H5Pcreate(H5P_GROUP_CREATE);
    hid_t made = -1;
    /* No times: the same episodes give the same bytes. */
    if (create_list >= 0 && H5Pset_obj_track_times(create_list, 0) >= 0) {
        made = H5Gcreate2(parent, name, H5P_DEFAULT, create_list, H5P_DEFAULT);
    }
    if (create_list >= 0) {
        H5Pclose(create_list);
    }
    if (made < 0) {
        return hdf5_error(err, STATUS_NO_MEMORY, "%s: make a group", name);
    }
    *group = made;
    return STATUS_OK;
}

/* How a dataset of n rows is laid out: chunks of whole rows, shuffled and deflated where asked,
 * checksummed. */
static hid_t make_layout(const struct hdf5_writing *writing, const hsize_t *dims, int rank,
                         size_t value_bytes)
{
    hsize_t chunk[2] = {dims[0], dims[1]};
    size_t row_bytes = value_bytes * (rank > 1 ? (size_t)dims[1] : 1);
    if (chunk[0] * row_bytes > CHUNK_BYTES_MAX) {
        chunk[0] = row_bytes >= CHUNK_BYTES_MAX ? 1 : CHUNK_BYTES_MAX / row_bytes;
    }
    hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
    bool good = layout >= 0 && H5Pset_obj_track_times(layout, 0) >= 0 &&
                H5Pset_chunk(layout, rank, chunk) >= 0;
    if (good && writing->compression > 0) {
        good = H5Pset_shuffle(layout) >= 0 &&
               H5Pset_deflate(layout, (unsigned)writing->compression) >= 0;
    }
    if (!good || H5Pset_fletcher32(layout) < 0) {
        if (layout >= 0) {
            H5Pclose(layout);
        }
        return -1;
    }
    return layout;
}

static status write_dataset(const struct hdf5_writing *writing, hid_t group, const char *name,
                            hid_t file_type, hid_t memory_type, const void *values,
                            const hsize_t *dims, int rank, struct err *err)
{
    hid_t layout = make_layout(writing, dims, rank, H5Tget_size(file_type));
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t dataset = -1;
    if (layout >= 0 && space >= 0) {
        dataset = H5Dcreate2(group, name, file_type, space, H5P_DEFAULT, layout, H5P_DEFAULT);
    }
    status s = STATUS_OK;
    if (dataset < 0 || H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        s = hdf5_error(err, STATUS_NO_MEMORY, "%s: write", name);
    }
    if (dataset >= 0 && H5Dclose(dataset) < 0 && s == STATUS_OK) {
        s = hdf5_error(err, STATUS_NO_MEMORY, "%s: write", name);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (layout >= 0) {
        H5Pclose(layout);
    }
    return s;
}

status hdf5_write_floats(const struct hdf5_writing *writing, hid_t group, const char *name,
                         const float *values, uint64_t n, uint64_t row_size, struct err *err)
{
    const hsize_t dims[2] = {n, row_size};
    return write_dataset(writing, group, name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, values, dims,
                         row_size == 0 ? 1 : 2, err);
}

status hdf5_write_flags(const struct hdf5_writing *writing, hid_t group, const char *name,
                        const int8_t *values, uint64_t n, struct err *err)
{
    const hsize_t dims[2] = {n, 0};
    return write_dataset(writing, group, name, writing->bool_type, writing->bool_type, values, dims,
                         1, err);
}

status hdf5_write_attribute(hid_t object, const char *name, const uint64_t *values, size_t n,
                            struct err *err)
{
    const hsize_t dims[1] = {n};
    hid_t space = n == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, dims, NULL);
    hid_t attribute = -1;
    if (space >= 0) {
        attribute = H5Acreate2(object, name, H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    }
    status s = STATUS_OK;
    if (attribute < 0 || H5Awrite(attribute, H5T_NATIVE_UINT64, values) < 0) {
        s = hdf5_error(err, STATUS_NO_MEMORY, "%s: write attribute", name);
    }
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return s;
}
