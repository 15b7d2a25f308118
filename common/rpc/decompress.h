/* Compressed messages, unpacked with a bound. Internal to common/rpc.
 *
 * Other clients may send gzip or deflate. gRPC itself unpacks before it looks at the size, so that
 * 16 MB of zeros, packed, would fill the memory; its own unpacking is therefore switched off
 * (GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION). */
#ifndef HINDCAST_RPC_DECOMPRESS_H
#define HINDCAST_RPC_DECOMPRESS_H

#include <grpc/byte_buffer.h>

#include "common/base/status.h"

/* Replaces *buffer, where it is compressed, by what was in it. FULL: that is more than max_bytes;
 * INVALID: it is not what it says it is. After an error *buffer is what it was. */
status decompress(grpc_byte_buffer **buffer, size_t max_bytes, struct err *err) MUST_CHECK;

#endif
