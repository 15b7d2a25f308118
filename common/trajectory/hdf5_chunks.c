/* A chunk is read, unpacked and copied to its place, one after the other.
 *
 * The file may come from anyone: a chunk unpacks into a buffer of the size that the dataset's shape
 * gives, and anything that does not fill it exactly is damage. Its stored size, which the file
 * claims, is bounded before memory is taken for it. */
#include "common/trajectory/hdf5_chunks.h"

#include <libdeflate.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/memory.h"

#define SUM_BYTES 4u /* of fletcher32, behind the data */

/* The memory for one chunk on its way. */
struct unpacker {
    struct libdeflate_decompressor *deflate;
    size_t capacity;            /* of each buffer */
    unsigned char *data, *next; /* what is unpacked so far; where the next filter puts its result */
};

/* ---- what can be read ---- */

/* Lists the filters; false where there is another one, one of them twice, or no deflate. */
static bool list_filters(struct hdf5_chunks *chunks, hid_t layout)
{
    const int n = H5Pget_nfilters(layout);
    unsigned seen = 0;
    if (n < 1 || n > HDF5_CHUNKS_FILTERS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < (unsigned)n; i++) {
        unsigned flags, values[1] = {0};
        size_t n_values = 1;
        const H5Z_filter_t filter =
            H5Pget_filter2(layout, i, &flags, &n_values, values, 0, NULL, NULL);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
            filter != H5Z_FILTER_FLETCHER32) {
            return false;
        }
        /* Bytes are shuffled over values, whose size the filter repeats. */
        if ((seen & 1u << filter) != 0 ||
            (filter == H5Z_FILTER_SHUFFLE && values[0] != chunks->value_bytes)) {
            return false;
        }
        seen |= 1u << filter;
        chunks->filters[i] = filter;
    }
    chunks->n = (unsigned)n;
    return (seen & 1u << H5Z_FILTER_DEFLATE) != 0;
}

bool hdf5_chunks_find(struct hdf5_chunks *chunks, hid_t dataset, const struct hdf5_shape *shape)
{
    if (shape->rank > 2) {
        return false;
    }
    hid_t layout = H5Dget_create_plist(dataset);
    hid_t type = H5Dget_type(dataset);
    struct hdf5_chunks found = {.rows = shape->dims[0],
                                .columns = shape->row_size,
                                .chunk = {0, 1},
                                .value_bytes = type >= 0 ? H5Tget_size(type) : 0};
    const bool good =
        layout >= 0 && found.value_bytes > 0 && H5Pget_layout(layout) == H5D_CHUNKED &&
        H5Pget_chunk(layout, 2, found.chunk) == shape->rank && list_filters(&found, layout);
    if (type >= 0) {
        H5Tclose(type);
    }
    if (layout >= 0) {
        H5Pclose(layout);
    }
    H5Eclear2(H5E_DEFAULT);
    if (good) {
        found.chunk_bytes = found.chunk[0] * found.chunk[1] * found.value_bytes;
        *chunks = found;
    }
    return good;
}

/* ---- filters ---- */

/* HDF5's fletcher32: over numbers of two bytes, the first byte being the higher one. */
static uint32_t fletcher32(const unsigned char *data, size_t n)
{
    uint32_t sum1 = 0, sum2 = 0;
    while (n > 0) {
        /* Sums of 360 such numbers do not overflow. */
        const size_t most = n < 720 ? n : 720;
        for (size_t i = 0; i < most; i += 2) {
            sum1 += (uint32_t)data[i] << 8 | (i + 1 < most ? data[i + 1] : 0u);
            sum2 += sum1;
        }
        sum1 = (sum1 & 0xffff) + (sum1 >> 16);
        sum2 = (sum2 & 0xffff) + (sum2 >> 16);
        data += most;
        n -= most;
    }
    sum1 = (sum1 & 0xffff) + (sum1 >> 16);
    sum2 = (sum2 & 0xffff) + (sum2 >> 16);
    return sum2 << 16 | sum1;
}

/* Checks the sum behind the data and cuts it off. */
static status undo_fletcher32(const unsigned char *data, size_t *size)
{
    if (*size < SUM_BYTES) {
        return STATUS_CORRUPT;
    }
    *size -= SUM_BYTES;
    const uint32_t stored = bytes_get32(data + *size);
    const uint32_t sum = fletcher32(data, *size);
    /* HDF5 1.6.2 wrote the bytes of each half in the other order, and later ones accept that. */
    const uint32_t other = (sum & 0x00ff00ff) << 8 | (sum & 0xff00ff00) >> 8;
    return stored == sum || stored == other ? STATUS_OK : STATUS_CORRUPT;
}

/* From all first bytes, all second bytes, .. back to whole values. What does not fill a value
 * stands at the end, as it was. */
static void undo_shuffle(unsigned char *to, const unsigned char *from, size_t size,
                         size_t value_bytes)
{
    const size_t n = size / value_bytes;
    if (value_bytes == 4) {
        for (size_t i = 0; i < n; i++) {
            const unsigned char value[4] = {from[i], from[n + i], from[2 * n + i], from[3 * n + i]};
            memcpy(to + 4 * i, value, sizeof value);
        }
    } else {
        for (size_t b = 0; b < value_bytes; b++) {
            for (size_t i = 0; i < n; i++) {
                to[i * value_bytes + b] = from[b * n + i];
            }
        }
    }
    memcpy(to + n * value_bytes, from + n * value_bytes, size - n * value_bytes);
}

/* The result of a filter becomes what the next one works on. */
static void swap(struct unpacker *unpacker)
{
    unsigned char *data = unpacker->data;
    unpacker->data = unpacker->next;
    unpacker->next = data;
}

/* Undoes one filter on *size bytes of unpacker->data. */
static status undo(struct unpacker *unpacker, H5Z_filter_t filter, size_t value_bytes, size_t *size)
{
    if (filter == H5Z_FILTER_FLETCHER32) {
        return undo_fletcher32(unpacker->data, size);
    }
    if (filter == H5Z_FILTER_SHUFFLE) {
        undo_shuffle(unpacker->next, unpacker->data, *size, value_bytes);
    } else if (libdeflate_zlib_decompress(unpacker->deflate, unpacker->data, *size, unpacker->next,
                                          unpacker->capacity, size) != LIBDEFLATE_SUCCESS) {
        return STATUS_CORRUPT;
    }
    swap(unpacker);
    return STATUS_OK;
}

/* ---- chunks ---- */

/* Damage, told in HDF5's own way, for hdf5_error. */
static status damaged(const char *what)
{
    H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_PLINE, H5E_READERROR, "%s",
             what);
    return STATUS_CORRUPT;
}

/* The chunk that begins at `offset`, unpacked into unpacker->data. */
static status read_chunk(const struct hdf5_chunks *chunks, hid_t dataset, const hsize_t offset[2],
                         struct unpacker *unpacker)
{
    hsize_t stored;
    if (H5Dget_chunk_storage_size(dataset, offset, &stored) < 0) {
        return STATUS_CORRUPT;
    }
    if (stored == 0 || stored > unpacker->capacity) {
        return damaged("the stored size of a chunk is impossible");
    }
    /* Bit i of `skipped`: filter i was left out when this chunk was written. */
    uint32_t skipped = 0;
    if (H5Dread_chunk(dataset, H5P_DEFAULT, offset, &skipped, unpacker->data) < 0) {
        return STATUS_CORRUPT;
    }
    size_t size = (size_t)stored;
    status s = STATUS_OK;
    for (unsigned i = chunks->n; i-- > 0 && s == STATUS_OK;) {
        if ((skipped & 1u << i) == 0) {
            s = undo(unpacker, chunks->filters[i], chunks->value_bytes, &size);
        }
    }
    if (s != STATUS_OK) {
        return damaged("a chunk does not unpack, or its checksum is wrong");
    }
    return size == chunks->chunk_bytes ? STATUS_OK : damaged("a chunk unpacks to another size");
}

/* Copies the part of a chunk at `offset` that lies in rows first .. first + n. */
static void copy_rows(const struct hdf5_chunks *chunks, const hsize_t offset[2],
                      const unsigned char *data, uint64_t first, uint64_t n, unsigned char *bytes)
{
    const uint64_t end = offset[0] + chunks->chunk[0];
    const uint64_t begin = offset[0] > first ? offset[0] : first;
    const uint64_t last = end < first + n ? end : first + n;
    /* A chunk at an edge reaches beyond the dataset. */
    const hsize_t left = chunks->columns - offset[1];
    const size_t width = (left < chunks->chunk[1] ? left : chunks->chunk[1]) * chunks->value_bytes;
    const size_t from_stride = chunks->chunk[1] * chunks->value_bytes;
    const size_t to_stride = chunks->columns * chunks->value_bytes;
    const unsigned char *from = data + (begin - offset[0]) * from_stride;
    unsigned char *to = bytes + (begin - first) * to_stride + offset[1] * chunks->value_bytes;
    if (width == to_stride && width == from_stride) {
        memcpy(to, from, (last - begin) * width);
        return;
    }
    for (uint64_t row = begin; row < last; row++, from += from_stride, to += to_stride) {
        memcpy(to, from, width);
    }
}

static void free_unpacker(struct unpacker *unpacker)
{
    if (unpacker->deflate != NULL) {
        libdeflate_free_decompressor(unpacker->deflate);
    }
    mem_free(unpacker->data);
    mem_free(unpacker->next);
}

/* NO_MEMORY: nothing is left allocated. */
static status make_unpacker(struct unpacker *unpacker, size_t chunk_bytes)
{
    /* Deflate adds a few bytes to what it cannot pack, five to each 16 KiB at most, and zlib six. */
    const size_t capacity = chunk_bytes + chunk_bytes / 1024 + 1024;
    *unpacker = (struct unpacker){.deflate = libdeflate_alloc_decompressor(),
                                  .capacity = capacity,
                                  .data = mem_resize(NULL, capacity, 1),
                                  .next = mem_resize(NULL, capacity, 1)};
    if (unpacker->deflate == NULL || unpacker->data == NULL || unpacker->next == NULL) {
        free_unpacker(unpacker);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

status hdf5_chunks_read(const struct hdf5_chunks *chunks, hid_t dataset, uint64_t first, uint64_t n,
                        void *bytes)
{
    ASSERT(n >= 1 && first < chunks->rows && n <= chunks->rows - first);
    struct unpacker unpacker;
    status s = make_unpacker(&unpacker, chunks->chunk_bytes);
    if (s != STATUS_OK) {
        return s;
    }
    hsize_t offset[2] = {first / chunks->chunk[0] * chunks->chunk[0], 0};
    for (; s == STATUS_OK && offset[0] < first + n; offset[0] += chunks->chunk[0]) {
        for (offset[1] = 0; s == STATUS_OK && offset[1] < chunks->columns;
             offset[1] += chunks->chunk[1]) {
            s = read_chunk(chunks, dataset, offset, &unpacker);
            if (s == STATUS_OK) {
                copy_rows(chunks, offset, unpacker.data, first, n, bytes);
            }
        }
    }
    free_unpacker(&unpacker);
    return s;
}
