/* Building HDF5 files in memory, so that their bytes can be written atomically by common/base/file.
 * What the groups and datasets mean is decided by the caller.
 *
 * The same contents give the same bytes: no times are stored, and the version of the format is
 * fixed. Callers hold hdf5_lock around every function here. What fails in memory fails for lack of
 * it, hence NO_MEMORY for errors that HDF5 does not explain. */
#include "common/trajectory/hdf5_writing.h"

#include <string.h>

#include "common/base/memory.h"

#define CHUNK_BYTES_MAX (1u << 20) /* HDF5's chunk cache holds 1 MiB; larger chunks bypass it */
/* The step in which the memory of a file grows. */
#define IMAGE_INCREMENT (4u << 20)

/* The type that h5py reads as booleans. Negative: error. */
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

/* ---- the bytes of the file ---- */

/* HDF5's function for this, H5Fget_file_image, clears a flag in the superblock of this format and
 * leaves its checksum wrong (1.10.8). Therefore the memory driver allocates through the callbacks
 * below, and the memory is kept when the file is closed. */
struct hdf5_image {
    unsigned char *bytes;
    size_t size; /* of the memory; the file may be shorter */
    bool keep;
};

/* HDF5 allocates the memory of the file through this, and lets it grow through image_realloc. Both
 * tell the image where it is. */
static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *arg)
{
    (void)op;
    struct hdf5_image *image = arg;
    image->bytes = mem_array(size, 1);
    image->size = image->bytes != NULL ? size : 0;
    return image->bytes;
}

/* HDF5 copies through this; nothing is special about it. */
static void *image_memcpy(void *to, const void *from, size_t size, H5FD_file_image_op_t op,
                          void *arg)
{
    (void)op;
    (void)arg;
    return memcpy(to, from, size);
}

/* On failure the old memory stays, and the image goes on pointing to it. */
static void *image_realloc(void *memory, size_t size, H5FD_file_image_op_t op, void *arg)
{
    (void)op;
    struct hdf5_image *image = arg;
    unsigned char *bytes = mem_resize(memory, size, 1);
    if (bytes != NULL) {
        image->bytes = bytes;
        image->size = size;
    }
    return bytes;
}

/* Called when the file is closed, and for memory that HDF5 gives up on the way. Only the close may
 * leave the bytes, and only when they are wanted. */
static herr_t image_free(void *memory, H5FD_file_image_op_t op, void *arg)
{
    struct hdf5_image *image = arg;
    if (op != H5FD_FILE_IMAGE_OP_FILE_CLOSE || !image->keep) {
        mem_free(memory);
        image->bytes = NULL;
    }
    return 0;
}

/* HDF5 copies the pointer to the image along with the properties; there is one image, so both
 * copies share it, and nothing is freed with a copy. */
static void *image_share(void *arg)
{
    return arg;
}

static herr_t image_unshare(void *arg)
{
    (void)arg;
    return 0;
}

/* The access properties of such a file. The 1.10 format has checksums over its own structures, so a
 * flipped byte in one of them is an error and not followed. */
static hid_t image_access(struct hdf5_image *image)
{
    H5FD_file_image_callbacks_t callbacks = {.image_malloc = image_malloc,
                                             .image_memcpy = image_memcpy,
                                             .image_realloc = image_realloc,
                                             .image_free = image_free,
                                             .udata_copy = image_share,
                                             .udata_free = image_unshare,
                                             .udata = image};
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list >= 0 && (H5Pset_fapl_core(list, IMAGE_INCREMENT, 0) < 0 ||
                      H5Pset_file_image_callbacks(list, &callbacks) < 0 ||
                      H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) < 0 ||
                      H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0)) {
        H5Pclose(list);
        return -1;
    }
    return list;
}

status hdf5_writing_begin(struct hdf5_writing *writing, int compression, struct err *err)
{
    ASSERT(compression >= 0 && compression <= 9);
    /* The image has to outlive the file, which allocates through it. */
    struct hdf5_image *image = mem_new(sizeof *image);
    hid_t access_list = image != NULL ? image_access(image) : -1;
    hid_t create_list = H5Pcreate(H5P_FILE_CREATE);
    hid_t file = -1;
    if (access_list >= 0 && create_list >= 0 && H5Pset_obj_track_times(create_list, 0) >= 0) {
        file = H5Fcreate("image", H5F_ACC_TRUNC, create_list, access_list);
    }
    /* The last thing that can fail; what was made before is undone there. */
    hid_t bool_type = file >= 0 ? make_bool_type() : -1;
    status s = STATUS_OK;
    if (bool_type < 0) {
        s = hdf5_error(err, STATUS_NO_MEMORY, "begin an HDF5 file in memory");
        if (file >= 0) {
            H5Fclose(file);
        }
        mem_free(image);
    } else {
        *writing = (struct hdf5_writing){
            .file = file, .bool_type = bool_type, .compression = compression, .image = image};
    }
    if (create_list >= 0) {
        H5Pclose(create_list);
    }
    if (access_list >= 0) {
        H5Pclose(access_list);
    }
    return s;
}

/* Closing without `keep` frees the bytes as well. */
void hdf5_writing_abort(struct hdf5_writing *writing)
{
    H5Tclose(writing->bool_type);
    H5Fclose(writing->file);
    H5Eclear2(H5E_DEFAULT);
    mem_free(writing->image);
}

/* Bytes 28..35 of the superblock: where the file ends. */
static uint64_t end_of_file(const struct hdf5_image *image)
{
    uint64_t end = 0;
    if (image->bytes != NULL && image->size >= 48) {
        memcpy(&end, image->bytes + 28, sizeof end);
    }
    return end <= image->size ? end : 0;
}

status hdf5_writing_end(struct hdf5_writing *writing, void **bytes, size_t *size, struct err *err)
{
    struct hdf5_image *image = writing->image;
    /* From here on the close leaves the bytes to the image. */
    H5Tclose(writing->bool_type);
    image->keep = true;
    status s = STATUS_OK;
    if (H5Fclose(writing->file) < 0) {
        s = hdf5_error(err, STATUS_NO_MEMORY, "end an HDF5 file in memory");
    }
    /* The driver grows its memory in steps of IMAGE_INCREMENT, hence the look into the
     * superblock. */
    uint64_t end = end_of_file(image);
    if (s == STATUS_OK && end == 0) {
        s = err_set(err, STATUS_INTERNAL, "end an HDF5 file in memory: it has no end");
    }
    /* The memory may be larger than the file: its size is what the superblock says. */
    if (s == STATUS_OK) {
        *bytes = image->bytes;
        *size = (size_t)end;
    } else {
        mem_free(image->bytes);
    }
    mem_free(image);
    return s;
}

/* ---- the contents of the file ---- */

status hdf5_writing_group(hid_t *group, hid_t parent, const char *name, struct err *err)
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

/* The layout of a dataset of n rows: chunks of whole rows with a checksum, shuffled and deflated if
 * compression is on. Negative: error. */
static hid_t make_layout(const struct hdf5_writing *writing, const hsize_t *dims, int rank,
                         size_t value_bytes)
{
    /* As many whole rows as fit a chunk, at least one. */
    hsize_t chunk[2] = {dims[0], dims[1]};
    size_t row_bytes = value_bytes * (rank > 1 ? (size_t)dims[1] : 1);
    if (chunk[0] * row_bytes > CHUNK_BYTES_MAX) {
        chunk[0] = row_bytes >= CHUNK_BYTES_MAX ? 1 : CHUNK_BYTES_MAX / row_bytes;
    }
    /* The order of the filters is the order in which they are applied: shuffle, deflate,
     * checksum. */
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

/* Writes one dataset of n rows with this layout. The values are converted from memory_type to
 * file_type. */
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
    /* Closing flushes the chunks, so it may fail too. */
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

status hdf5_writing_floats(const struct hdf5_writing *writing, hid_t group, const char *name,
                           const float *values, uint64_t n, uint64_t row_size, struct err *err)
{
    /* A row size of 0 makes a dataset of one dimension. */
    const hsize_t dims[2] = {n, row_size};
    return write_dataset(writing, group, name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, values, dims,
                         row_size == 0 ? 1 : 2, err);
}

/* Flags have the type that Minari's files have for them. */
status hdf5_writing_flags(const struct hdf5_writing *writing, hid_t group, const char *name,
                          const int8_t *values, uint64_t n, struct err *err)
{
    const hsize_t dims[2] = {n, 0};
    return write_dataset(writing, group, name, writing->bool_type, writing->bool_type, values, dims,
                         1, err);
}

status hdf5_writing_attribute(hid_t object, const char *name, const uint64_t *values, size_t n,
                              struct err *err)
{
    const hsize_t dims[1] = {n};
    /* One number is a scalar, as h5py writes attributes. */
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
