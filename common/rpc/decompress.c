/* gzip and zlib streams out of byte buffers, into slices, up to a limit. gRPC's own decompression
 * is off (GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION), because it unpacks before it looks at the
 * size: a few kilobytes could become gigabytes. */
#include "common/rpc/decompress.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/slice_buffer.h>
#include <limits.h>
#include <zlib.h>

#define SLICE_BYTES (64u << 10)

/* Inflates what `stream` has as input, appending to `out`. */
static status inflate_input(z_stream *stream, grpc_slice_buffer *out, size_t max_bytes, bool *end,
                            struct err *err)
{
    /* Until the input is used up or the stream ends; bytes behind its end are ignored. */
    while (stream->avail_in > 0 && !*end) {
        /* The output goes straight into slices; nothing is copied. */
        grpc_slice slice = grpc_slice_malloc(SLICE_BYTES);
        stream->next_out = GRPC_SLICE_START_PTR(slice);
        stream->avail_out = SLICE_BYTES;
        int code = inflate(stream, Z_NO_FLUSH);
        GRPC_SLICE_SET_LENGTH(slice, SLICE_BYTES - stream->avail_out);
        grpc_slice_buffer_add(out, slice);
        *end = code == Z_STREAM_END;
        if (code != Z_OK && !*end) {
            return err_set(err, STATUS_INVALID, "message: damaged compression");
        }
        /* Looked at after each 64 KiB: a bomb is found before it has grown. */
        if (out->length > max_bytes) {
            return err_set(err, STATUS_FULL, "message: more than %zu bytes when unpacked",
                           max_bytes);
        }
    }
    return STATUS_OK;
}

/* The whole buffer, slice by slice. INVALID: damaged, or it ends too early. */
static status inflate_all(z_stream *stream, grpc_byte_buffer *in, grpc_slice_buffer *out,
                          size_t max_bytes, struct err *err)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, in)) {
        return err_set(err, STATUS_INVALID, "message: unreadable");
    }
    /* Slice by slice: the input may be split anywhere, even within gzip's header. */
    bool end = false;
    status s = STATUS_OK;
    grpc_slice *slice;
    while (s == STATUS_OK && grpc_byte_buffer_reader_peek(&reader, &slice)) {
        stream->next_in = GRPC_SLICE_START_PTR(*slice);
        stream->avail_in = (unsigned)GRPC_SLICE_LENGTH(*slice);
        s = inflate_input(stream, out, max_bytes, &end, err);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    /* All input is used up, but the stream did not end. */
    if (s == STATUS_OK && !end) {
        s = err_set(err, STATUS_INVALID, "message: compression is cut short");
    }
    return s;
}

status decompress(grpc_byte_buffer **buffer, size_t max_bytes, struct err *err)
{
    /* gRPC notes in the buffer how the message came. */
    grpc_compression_algorithm algorithm = (*buffer)->data.raw.compression;
    if (algorithm == GRPC_COMPRESS_NONE) {
        return STATUS_OK;
    }
    z_stream stream = {0};
    /* 16 asks zlib for gzip's header. */
    int window = algorithm == GRPC_COMPRESS_GZIP ? MAX_WBITS + 16 : MAX_WBITS;
    if (inflateInit2(&stream, window) != Z_OK) {
        return err_set(err, STATUS_NO_MEMORY, "message: out of memory");
    }
    grpc_slice_buffer out;
    grpc_slice_buffer_init(&out);
    status s = inflate_all(&stream, *buffer, &out, max_bytes, err);
    inflateEnd(&stream);
    /* The caller's buffer is replaced only when all of it could be unpacked. */
    if (s == STATUS_OK) {
        grpc_byte_buffer_destroy(*buffer);
        *buffer = grpc_raw_byte_buffer_create(out.slices, out.count);
    }
    grpc_slice_buffer_destroy(&out);
    return s;
}
