/* Messages between protobuf-c and gRPC's byte buffers. Internal to common/rpc.
 *
 * Out: small fields are packed into one slice, the payload follows as a slice of the sender's own
 * memory. In: the payload field is cut out of the received slices and left where it is; the rest
 * is unpacked. The bytes are not trusted: every length is checked, and the memory for unpacking is
 * bounded. */
#ifndef HINDCAST_RPC_MESSAGE_H
#define HINDCAST_RPC_MESSAGE_H

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>

#include "common/rpc/rpc.h"

/* Unpacking may take this much, and this much for each byte on the wire (outside the payload). A
 * hostile message of many empty submessages would otherwise grow fifty times. */
#define MESSAGE_MEMORY_BYTES    (64u << 10)
#define MESSAGE_MEMORY_PER_BYTE 16u

struct message_block;

/* One received message with all memory behind it. All zero: empty. */
struct message {
    ProtobufCMessage *body;
    struct rpc_pieces payload;
    grpc_byte_buffer *buffer; /* owns what the pieces point to */
    grpc_byte_buffer_reader reader;
    struct message_block *blocks; /* newest first */
    size_t used_bytes;            /* of all blocks */
    size_t budget_bytes;          /* of used_bytes */
};

struct message_type {
    const ProtobufCMessageDescriptor *descriptor;
    uint32_t payload_field; /* 0: none */
    size_t max_bytes;       /* of a message that came compressed; others were measured by gRPC */
};

/* Takes `buffer` (also on errors) and fills `message`, which must be empty or cleared. INVALID: not
 * a message of this type, or a text in it is not UTF-8 or has a NUL; FULL: too large; NO_MEMORY.
 * After an error the message is empty. */
status message_read(struct message *message, grpc_byte_buffer *buffer,
                    const struct message_type *type, struct err *err) MUST_CHECK;
/* Empties the message, but keeps a little memory for the next one. */
void message_clear(struct message *message);
void message_fini(struct message *message);

/* The message as gRPC sends it. Takes `payload` (may be NULL), whose field must not be set in
 * `body`. */
grpc_byte_buffer *message_write(const ProtobufCMessage *body, const struct rpc_payload *payload);

#endif
