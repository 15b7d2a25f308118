/* Reads messages in CDR, the bytes that ROS 2 sends and records.
 *
 *     kind(2) options(2) fields ..          kind 0: big-endian, 1: little-endian
 *
 * A number is aligned to its own size, counted from the byte after `options`. A sequence has its
 * length(4) in front, a text its size(4), which counts the 0 at its end. A message without members
 * has one byte. */
#include <inttypes.h>

#include "common/base/bytes.h"
#include "common/logs/messages/ros_definition.h"

#define HEAD_SIZE    4u
#define PADDING_SIZE 8u /* fewer bytes than this may follow the last field */

struct reader {
    const struct ros_definition *definition;
    struct message_fields *fields;
    const uint8_t *bytes;
    size_t size, at;
    bool swap;
    struct err *err;
};

/* The name of a field for errors: the path of a leaf, or the last part of a message's. */
static status misfit(const struct reader *r, const struct ros_field *field, const char *what)
{
    if (field->kind == ROS_MESSAGE) {
        return err_set(r->err, STATUS_CORRUPT, "field %.*s: byte %zu of the message: %s",
                       (int)field->name_size, field->name, r->at, what);
    }
    return err_set(r->err, STATUS_CORRUPT, "field %s: byte %zu of the message: %s",
                   r->fields->fields[field->leaf].name, r->at, what);
}

/* Takes n numbers of `size` bytes behind the padding. Returns NULL if they are not there. */
static const uint8_t *take(struct reader *r, uint32_t size, uint64_t n)
{
    const size_t from_head = r->at - HEAD_SIZE;
    const size_t at = HEAD_SIZE + ((from_head + size - 1) & ~(size_t)(size - 1));
    if (n == 0) {
        return r->bytes + r->at;
    }
    if (at > r->size || n > (r->size - at) / size) {
        return NULL;
    }
    r->at = at + (size_t)n * size;
    return r->bytes + at;
}

/* Reads a length or size. */
static bool take_count(struct reader *r, uint32_t *n)
{
    const uint8_t *bytes = take(r, 4, 1);
    if (bytes == NULL) {
        return false;
    }
    *n = r->swap ? __builtin_bswap32(bytes_get32(bytes)) : bytes_get32(bytes);
    return true;
}

static status read_text(struct reader *r, const struct ros_field *field)
{
    uint32_t size = 0;
    const uint8_t *text = take_count(r, &size) ? take(r, 1, size) : NULL;
    if (text == NULL) {
        return misfit(r, field, "a text that is longer than the message");
    }
    message_fields_put_text(r->fields, field->leaf, (const char *)text, size > 0 ? size - 1 : 0);
    return STATUS_OK;
}

static status read_field(struct reader *r, const struct ros_field *field);

static status read_members(struct reader *r, const struct ros_field *message)
{
    if (message->n_members == 0) {
        return take(r, 1, 1) != NULL ? STATUS_OK : misfit(r, message, "the message ends here");
    }
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < message->n_members; i++) {
        s = read_field(r, &r->definition->fields[message->first + i]);
    }
    return s;
}

/* The depth of the calls is bounded by that of the definition. */
static status read_field(struct reader *r, const struct ros_field *field)
{
    uint32_t n = field->shape == ROS_ARRAY ? field->n : 1;
    if (field->shape == ROS_SEQUENCE && !take_count(r, &n)) {
        return misfit(r, field, "the message ends here");
    }
    if (field->kind == ROS_NUMBER) {
        const uint8_t *bytes = take(r, number_size(field->type), n);
        if (bytes == NULL) {
            return misfit(r, field, "more values than the message has");
        }
        message_fields_put_packed(r->fields, field->leaf, field->type, bytes, n, r->swap);
        return STATUS_OK;
    }

    /* Every text and every message takes a byte, so that the length cannot be endless. */
    if (n > r->size - r->at) {
        return misfit(r, field, "more elements than the message has bytes");
    }
    if (field->kind == ROS_TEXT && n == 0) {
        message_fields_put_packed(r->fields, field->leaf, NUMBER_UINT8, r->bytes, 0, false);
    }
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < n; i++) {
        s = field->kind == ROS_TEXT ? read_text(r, field) : read_members(r, field);
    }
    return s;
}

status ros_message_read(const struct ros_definition *definition, const uint8_t *bytes, size_t size,
                        struct message_fields *fields, struct err *err)
{
    ASSERT(definition->n > 0);
    struct reader r = {definition, fields, bytes, size, HEAD_SIZE, false, err};
    if (size < HEAD_SIZE) {
        return err_set(err, STATUS_CORRUPT, "a message of %zu bytes, expected at least %u", size,
                       HEAD_SIZE);
    }
    const unsigned kind = (unsigned)bytes[0] << 8 | bytes[1];
    if (kind > 1) {
        return err_set(err, STATUS_CORRUPT,
                       "a message whose encapsulation is 0x%04x, expected 0x0000 or 0x0001 (CDR)",
                       kind);
    }
    r.swap = kind == 0;
    status s = read_members(&r, &definition->fields[0]);
    if (s == STATUS_OK && r.size - r.at >= PADDING_SIZE) {
        s = err_set(err, STATUS_CORRUPT,
                    "%zu bytes follow the last field: the definition is not that of the message",
                    r.size - r.at);
    }
    return s;
}
