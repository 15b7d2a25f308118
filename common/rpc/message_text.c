/* Walks over the wire format beside its descriptor and looks at every string.
 *
 * proto3 demands UTF-8, but protobuf-c does not check it: bytes that are not UTF-8 would reach
 * JSON, checkpoints and terminals, and a NUL would cut a name so that two names become one. The
 * check stands here, once, so that no handler and no client has to remember it. */
#include "common/rpc/message_text.h"

#include "common/base/utf8.h"

#define DEPTH_MAX 32 /* of submessages */

/* The bytes that are still to be read. */
struct reader {
    const uint8_t *at, *end;
};

/* As message.c's, over bytes in one stretch. */
static bool read_varint(struct reader *r, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 70 && r->at < r->end; shift += 7) {
        const uint8_t byte = *r->at++;
        *value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if ((byte & 0x80) == 0) {
            return true;
        }
    }
    return false;
}

/* False when there are fewer. */
static bool skip(struct reader *r, uint64_t size)
{
    if (size > (uint64_t)(r->end - r->at)) {
        return false;
    }
    r->at += size;
    return true;
}

/* Skips a value that is not length-delimited. Groups do not exist in proto3. */
static bool skip_number(struct reader *r, unsigned wire_type)
{
    uint64_t value;
    return wire_type == 0   ? read_varint(r, &value)
           : wire_type == 1 ? skip(r, 8)
           : wire_type == 5 ? skip(r, 4)
                            : false;
}

/* INVALID names the field, and says what is wrong with which byte. */
static status check_string(const ProtobufCFieldDescriptor *field, const uint8_t *bytes, size_t size,
                           struct err *err)
{
    const size_t sound = utf8_sound(bytes, size);
    if (sound == size) {
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID, "message: %s: byte %zu is %s", field->name, sound,
                   bytes[sound] == 0 ? "0, which a text must not contain" : "not UTF-8");
}

/* One message of this type, and those within it. */
static status check(const ProtobufCMessageDescriptor *descriptor, struct reader r, unsigned depth,
                    struct err *err)
{
    /* The recursion is bounded: else a small message of nothing but nested headers could use up the
     * stack. */
    if (depth == DEPTH_MAX) {
        return err_set(err, STATUS_INVALID, "message: submessages are nested too deeply");
    }
    while (r.at < r.end) {
        uint64_t tag, size;
        if (!read_varint(&r, &tag)) {
            return STATUS_OK; /* malformed: unpacking refuses it */
        }
        /* Numbers hold no text. */
        if ((tag & 7) != 2) {
            if (!skip_number(&r, tag & 7)) {
                return STATUS_OK;
            }
            continue;
        }
        if (!read_varint(&r, &size) || size > (uint64_t)(r.end - r.at)) {
            return STATUS_OK;
        }
        /* The bytes of a string, a submessage or a bytes field, or packed numbers. */
        const uint8_t *begin = r.at;
        r.at += size;
        /* A field that the descriptor does not know is never read, so it is not looked at. */
        const ProtobufCFieldDescriptor *field =
            tag >> 3 <= UINT32_MAX
                ? protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3))
                : NULL;
        status s = STATUS_OK;
        if (field != NULL && field->type == PROTOBUF_C_TYPE_STRING) {
            s = check_string(field, begin, size, err);
        } else if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE) {
            s = check(field->descriptor, (struct reader){begin, r.at}, depth + 1, err);
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

status message_check_texts(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                           size_t size, struct err *err)
{
    return check(descriptor, (struct reader){bytes, bytes + size}, 0, err);
}
