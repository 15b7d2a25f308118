/* The texts of a received message. Internal to common/rpc. */
#ifndef HINDCAST_RPC_MESSAGE_TEXT_H
#define HINDCAST_RPC_MESSAGE_TEXT_H

#include <protobuf-c/protobuf-c.h>

#include "common/base/status.h"

/* Is every string field in these bytes, also of submessages, UTF-8 without NUL? INVALID names the
 * field and the byte. Looks at the bytes and not at the unpacked message, because protobuf-c keeps
 * a string as a C text, which ends at the first NUL. Malformed bytes are left to protobuf-c. */
status message_check_texts(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                           size_t size, struct err *err) MUST_CHECK;

#endif
