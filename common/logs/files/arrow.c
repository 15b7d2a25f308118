/* Arrow IPC files (Feather version 2), such as Minari writes. A file is one recording.
 *
 * There is no C library for them that can be installed by its package: nanoarrow is distributed as
 * source or inside a Python module. Numbers, structs and lists of fixed size are few enough to be
 * read here.
 *
 *     0       "ARROW1", 2 bytes of padding
 *     ..      messages: 4 bytes 0xff, size of the metadata (4), metadata, body
 *     end-10  footer: schema, and the places of the record batches; its size (4), "ARROW1"
 *
 * The whole file is read when it is opened. Bodies may be compressed by LZ4 or Zstandard. */
#include <inttypes.h>
#include <lz4frame.h>
#include <math.h>
#include <string.h>
#include <zstd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/arrow_columns.h"
#include "common/logs/files/log_file.h"

#define MAGIC        "ARROW1"
#define MAGIC_SIZE   6
#define BLOCK_SIZE   24 /* bytes of a place of a record batch in the footer */
#define NODE_SIZE    16
#define RECORD_BATCH 3 /* kind of message */
#define BUFFER_SIZE  16
#define BATCHES_MAX  1000000u

enum codec { CODEC_NONE = -1, CODEC_LZ4 = 0, CODEC_ZSTD = 1 };

/* A record batch. */
struct batch {
    struct flatbuffer metadata;
    flatbuffer_table table;
    const unsigned char *body;
    size_t body_size;
    struct flatbuffer_vector nodes, buffers;
    int codec;
};

struct arrow {
    struct log_file base;
    char *path;
    unsigned char *bytes;
    size_t size;
    struct recording recording;
    struct arrow_column *columns; /* (recording.n) */
    uint32_t n_batches;
    struct batch *batches; /* (n_batches) */
    uint64_t *first_rows;  /* (n_batches + 1) */
};

static bool arrow_recognise(const unsigned char *head, size_t n)
{
    return n >= 8 && memcmp(head, MAGIC "\0\0", 8) == 0;
}

static status damaged(const struct arrow *arrow, const char *what, struct err *err)
{
    return err_set(err, STATUS_CORRUPT, "%s: %s: damaged", arrow->path, what);
}

/* ---- opening ---- */

/* Reads the place of record batch i from the footer, and its metadata. */
static status open_batch(struct arrow *arrow, const struct flatbuffer *footer, size_t block_at,
                         struct batch *batch, uint64_t *rows, struct err *err)
{
    const uint64_t at = (uint64_t)flatbuffer_number(footer, block_at, 8);
    const uint64_t metadata_size = (uint32_t)flatbuffer_number(footer, block_at + 8, 4);
    const uint64_t body_size = (uint64_t)flatbuffer_number(footer, block_at + 16, 8);
    if (at > arrow->size || metadata_size < 16 || metadata_size > arrow->size - at ||
        body_size > arrow->size - at - metadata_size) {
        return damaged(arrow, "the place of a record batch", err);
    }

    /* Older writers leave out the 4 bytes 0xff. */
    const bool marked = memcmp(arrow->bytes + at, "\xff\xff\xff\xff", 4) == 0;
    const size_t prefix = marked ? 8 : 4;
    batch->metadata =
        (struct flatbuffer){arrow->bytes + at + prefix, (size_t)metadata_size - prefix};
    batch->body = arrow->bytes + at + metadata_size;
    batch->body_size = (size_t)body_size;

    const flatbuffer_table message = flatbuffer_root(&batch->metadata);
    batch->table = flatbuffer_child(&batch->metadata, message, 2);
    const int64_t n = flatbuffer_integer(&batch->metadata, batch->table, 0, 8, 0);
    if (flatbuffer_integer(&batch->metadata, message, 1, 1, 0) != RECORD_BATCH ||
        batch->table == 0 || n < 0 || (uint64_t)n > RECORDING_ROWS_MAX) {
        return damaged(arrow, "a record batch", err);
    }
    batch->nodes = flatbuffer_vector(&batch->metadata, batch->table, 1, NODE_SIZE);
    batch->buffers = flatbuffer_vector(&batch->metadata, batch->table, 2, BUFFER_SIZE);
    const flatbuffer_table compression = flatbuffer_child(&batch->metadata, batch->table, 3);
    batch->codec = compression == 0
                       ? CODEC_NONE
                       : (int)flatbuffer_integer(&batch->metadata, compression, 0, 1, CODEC_LZ4);
    *rows = (uint64_t)n;
    return STATUS_OK;
}

/* Reads the footer: the record batches and the columns. */
static status read_footer(struct arrow *arrow, struct err *err)
{
    const size_t tail = MAGIC_SIZE + 4;
    if (arrow->size < 8 + tail ||
        memcmp(arrow->bytes + arrow->size - MAGIC_SIZE, MAGIC, MAGIC_SIZE) != 0) {
        return damaged(arrow, "the end of the file", err);
    }
    const struct flatbuffer whole = {arrow->bytes, arrow->size};
    const uint32_t footer_size = (uint32_t)flatbuffer_number(&whole, arrow->size - tail, 4);
    if (footer_size > arrow->size - tail - 8) {
        return damaged(arrow, "the size of the footer", err);
    }
    const struct flatbuffer footer = {arrow->bytes + arrow->size - tail - footer_size, footer_size};
    const flatbuffer_table root = flatbuffer_root(&footer);
    const flatbuffer_table schema = flatbuffer_child(&footer, root, 1);
    const struct flatbuffer_vector blocks = flatbuffer_vector(&footer, root, 3, BLOCK_SIZE);
    if (flatbuffer_integer(&footer, schema, 0, 2, 0) != 0) {
        return err_set(err, STATUS_INVALID, "%s: big-endian files cannot be read", arrow->path);
    }

    arrow->batches = mem_array((size_t)blocks.n + 1, sizeof *arrow->batches);
    arrow->first_rows = mem_array((size_t)blocks.n + 1, sizeof *arrow->first_rows);
    if (arrow->batches == NULL || arrow->first_rows == NULL || blocks.n > BATCHES_MAX) {
        return err_set(err, STATUS_NO_MEMORY, "%s: %u record batches", arrow->path, blocks.n);
    }
    arrow->n_batches = blocks.n;
    for (uint32_t i = 0; i < blocks.n; i++) {
        uint64_t rows = 0;
        const status s = open_batch(arrow, &footer, blocks.at + (size_t)i * BLOCK_SIZE,
                                    &arrow->batches[i], &rows, err);
        if (s != STATUS_OK) {
            return s;
        }
        arrow->first_rows[i + 1] = arrow->first_rows[i] + rows;
    }
    if (arrow->first_rows[blocks.n] > RECORDING_ROWS_MAX) {
        return err_set(err, STATUS_INVALID, "%s: %" PRIu64 " rows, expected at most %llu",
                       arrow->path, arrow->first_rows[blocks.n], RECORDING_ROWS_MAX);
    }
    const status s = arrow_columns_of(&footer, schema, arrow->first_rows[blocks.n],
                                      &arrow->recording, &arrow->columns, err);
    return s == STATUS_OK ? s : err_context(err, s, "%s", arrow->path);
}

/* Also closes a file that was opened only in part. */
static void arrow_close(struct log_file *file)
{
    struct arrow *arrow = (struct arrow *)file;
    recording_fini(&arrow->recording);
    mem_free(arrow->columns);
    mem_free(arrow->batches);
    mem_free(arrow->first_rows);
    mem_free(arrow->bytes);
    mem_free(arrow->path);
    mem_free(arrow);
}

static status arrow_open(struct log_file **file, const char *path, struct err *err)
{
    struct arrow *arrow = mem_new(sizeof *arrow);
    if (arrow == NULL || (arrow->path = mem_text(path)) == NULL) {
        mem_free(arrow);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    arrow->base.format = &log_format_arrow;
    void *bytes = NULL;
    status s = file_read_regular(path, LOG_FILE_BYTES_MAX, &bytes, &arrow->size, err);
    arrow->bytes = bytes;
    if (s == STATUS_OK) {
        s = read_footer(arrow, err);
    }
    if (s != STATUS_OK) {
        arrow_close(&arrow->base);
        return s;
    }
    *file = &arrow->base;
    return STATUS_OK;
}

static uint64_t arrow_recordings(const struct log_file *file)
{
    (void)file;
    return 1;
}

static status arrow_describe(struct log_file *file, uint64_t recording_i,
                             struct recording *recording, struct err *err)
{
    (void)recording_i;
    const struct arrow *arrow = (const struct arrow *)file;
    return recording_append(recording, &arrow->recording, err);
}

static uint64_t arrow_memory(const struct log_file *file)
{
    return ((const struct arrow *)file)->size;
}

/* ---- values ---- */

/* The bytes of a buffer; `made` is to be released with mem_free. */
struct bytes {
    const unsigned char *at;
    size_t size;
    void *made;
};

/* Decompresses exactly `size` bytes. */
static bool decompress(int codec, const unsigned char *from, size_t from_size, void *to,
                       size_t size)
{
    if (codec == CODEC_ZSTD) {
        return ZSTD_decompress(to, size, from, from_size) == size;
    }
    LZ4F_dctx *context = NULL;
    if (codec != CODEC_LZ4 ||
        LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) {
        return false;
    }
    /* One call decompresses all blocks that it has room for; a call without progress ends it. */
    size_t done = 0, read = 0;
    bool valid = true;
    while (valid && done < size) {
        size_t n_to = size - done, n_from = from_size - read;
        const size_t left =
            LZ4F_decompress(context, (char *)to + done, &n_to, from + read, &n_from, NULL);
        valid = !LZ4F_isError(left) && n_to + n_from > 0;
        done += n_to;
        read += n_from;
    }
    (void)LZ4F_freeDecompressionContext(context);
    return valid;
}

/* Finds buffer i of a record batch, which must have at least `needed` bytes. A buffer of size 0 is
 * absent, which is allowed for the bits of a field without missing values. */
static status find_buffer(const struct arrow *arrow, const struct batch *batch, uint32_t i,
                          uint64_t needed, const char *name, struct bytes *found, struct err *err)
{
    *found = (struct bytes){0};
    if (i >= batch->buffers.n) {
        return damaged(arrow, name, err);
    }
    const size_t at = batch->buffers.at + (size_t)i * BUFFER_SIZE;
    const uint64_t offset = (uint64_t)flatbuffer_number(&batch->metadata, at, 8);
    const uint64_t size = (uint64_t)flatbuffer_number(&batch->metadata, at + 8, 8);
    if (offset > batch->body_size || size > batch->body_size - offset) {
        return damaged(arrow, name, err);
    }
    found->at = batch->body + offset;
    found->size = (size_t)size;
    /* A compressed buffer begins with its size, or -1 if it is stored as it is. */
    if (batch->codec != CODEC_NONE && size >= 8) {
        const struct flatbuffer prefix = {found->at, 8};
        const int64_t whole = flatbuffer_number(&prefix, 0, 8);
        found->at += 8;
        found->size -= 8;
        if (whole >= 0) {
            /* Writers pad buffers, so they may be somewhat larger than needed. */
            if ((uint64_t)whole > needed + 4096 || (uint64_t)whole > LOG_FILE_BYTES_MAX) {
                return damaged(arrow, name, err);
            }
            found->made = mem_array((size_t)whole + 1, 1);
            if (found->made == NULL) {
                return err_set(err, STATUS_NO_MEMORY, "%s: %s", arrow->path, name);
            }
            if (!decompress(batch->codec, found->at, found->size, found->made, (size_t)whole)) {
                return damaged(arrow, name, err);
            }
            found->at = found->made;
            found->size = (size_t)whole;
        }
    }
    return found->size != 0 && found->size < needed ? damaged(arrow, name, err) : STATUS_OK;
}

static bool bit(const unsigned char *bits, uint64_t i)
{
    return (bits[i / 8] >> (i % 8) & 1) != 0;
}

/* Replaces values that are missing by NaN. `level` is the field of the values or one that contains
 * it; `values` has rows first .. first + n, each of the column's width. */
static status mark_missing(const struct arrow *arrow, const struct batch *batch, uint64_t rows,
                           const struct recording_column *column, const struct arrow_level *level,
                           uint64_t first, uint64_t n, double *values, struct err *err)
{
    /* The number of slots in the batch must be what the schema says. */
    const size_t node_at = batch->nodes.at + (size_t)level->node_i * NODE_SIZE;
    if (level->node_i >= batch->nodes.n ||
        (uint64_t)flatbuffer_number(&batch->metadata, node_at, 8) != rows * level->slots) {
        return damaged(arrow, column->name, err);
    }
    if (flatbuffer_number(&batch->metadata, node_at + 8, 8) == 0) {
        return STATUS_OK;
    }
    struct bytes bits;
    const status s = find_buffer(arrow, batch, level->present_i, (rows * level->slots + 7) / 8,
                                 column->name, &bits, err);
    const uint64_t per_slot = column->width / level->slots;
    for (uint64_t i = 0; s == STATUS_OK && bits.size > 0 && i < n * column->width; i++) {
        if (!bit(bits.at, first * level->slots + i / per_slot)) {
            values[i] = NAN;
        }
    }
    mem_free(bits.made);
    return s;
}

/* Reads rows first .. first + n of a record batch with `rows` rows. */
static status read_batch(const struct arrow *arrow, const struct batch *batch, uint64_t rows,
                         const struct recording_column *column, uint64_t first, uint64_t n,
                         double *values, struct err *err)
{
    const struct arrow_column *about = &arrow->columns[column->index];
    const uint64_t all = rows * column->width, at = first * column->width;
    const uint64_t count = n * column->width;
    const bool bits = about->element.kind == ELEMENT_NONE;
    struct bytes stored;
    status s =
        find_buffer(arrow, batch, about->values_i, bits ? (all + 7) / 8 : all * about->element.size,
                    column->name, &stored, err);
    if (s == STATUS_OK && stored.size == 0) {
        s = damaged(arrow, column->name, err);
    }
    if (s == STATUS_OK && bits) {
        for (uint64_t i = 0; i < count; i++) {
            values[i] = bit(stored.at, at + i);
        }
    } else if (s == STATUS_OK && about->half) {
        elements_halves_to_doubles(values, stored.at + at * 2, count);
    } else if (s == STATUS_OK) {
        elements_to_doubles(values, stored.at + at * about->element.size, count, about->element);
    }
    mem_free(stored.made);
    for (uint64_t i = 0; s == STATUS_OK && about->divisor != 1 && i < count; i++) {
        values[i] /= about->divisor;
    }
    for (uint32_t i = 0; s == STATUS_OK && i < about->n_levels; i++) {
        s = mark_missing(arrow, batch, rows, column, &about->levels[i], first, n, values, err);
    }
    return s;
}

/* Reads rows of a column. log_file_read has checked the range. */
static status arrow_read(struct log_file *file, uint64_t recording_i,
                         const struct recording_column *column, uint64_t first, uint64_t n,
                         double *values, struct err *err)
{
    (void)recording_i;
    const struct arrow *arrow = (const struct arrow *)file;
    const uint64_t end = first + n;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < arrow->n_batches; i++) {
        /* The part of the range that lies in record batch i. */
        const uint64_t batch_first = arrow->first_rows[i], batch_end = arrow->first_rows[i + 1];
        const uint64_t from = first > batch_first ? first : batch_first;
        const uint64_t to = end < batch_end ? end : batch_end;
        if (from < to) {
            s = read_batch(arrow, &arrow->batches[i], batch_end - batch_first, column,
                           from - batch_first, to - from, values + (from - first) * column->width,
                           err);
        }
    }
    return s;
}

const struct log_format log_format_arrow = {
    .name = "arrow",
    .what = "Arrow IPC (Feather)",
    .recognise = arrow_recognise,
    .open = arrow_open,
    .close = arrow_close,
    .n_recordings = arrow_recordings,
    .describe = arrow_describe,
    .read = arrow_read,
    .memory = arrow_memory,
};
