/* protobuf-c messages to and from gRPC byte buffers, with a payload that is never copied.
 *
 * A message's memory is a list of blocks that only grows and is freed whole: protobuf-c's many
 * small allocations cost nothing, and a budget bounds what a hostile message can make it allocate.
 *
 * A payload that was received stays in its buffer, and the pieces that describe it point there,
 * until message_clear. One that is sent belongs to gRPC until its release function is called. */
#include "common/rpc/message.h"

#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/rpc/decompress.h"
#include "common/rpc/message_text.h"
#include "common/rpc/operation.h"

#define BLOCK_BYTES 1008u /* the first block; each further one is twice as large */
#define BLOCK_KEEP_BYTES                                                                           \
    (16u                                                                                           \
     << 10) /* a block of this size or less is kept for the next message                       \
                 */
#define TAG_MAX_BYTES    5
#define VARINT_MAX_BYTES 10
#define FIELD_MAX        ((1u << 29) - 1)

/* A block of a message's memory. The newest comes first in the list and is the largest. */
struct message_block {
    struct message_block *next;
    size_t size;
    size_t used;
    _Alignas(16) unsigned char bytes[];
};

/* ---- Memory ---- */

/* Aligned, zeroed memory of the message; NULL beyond its budget or without memory. */
static void *message_take(struct message *m, size_t size)
{
    /* The budget counts before memory is asked for. */
    if (size > m->budget_bytes - m->used_bytes) {
        return NULL;
    }
    /* Aligned for any type that protobuf-c unpacks. */
    size = (size + 15) & ~(size_t)15;
    struct message_block *block = m->blocks;
    if (block == NULL || size > block->size - block->used) {
        /* Each block is twice as large as the one before: few of them, however large the
         * message. */
        size_t capacity = block == NULL ? BLOCK_BYTES : 2 * block->size;
        capacity = capacity < size ? size : capacity;
        block = mem_new(sizeof *block + capacity);
        if (block == NULL) {
            return NULL;
        }
        block->size = capacity;
        block->next = m->blocks;
        m->blocks = block;
    }
    void *bytes = block->bytes + block->used;
    block->used += size;
    /* Rounding up must not lead beyond the budget, or the subtraction above would wrap. */
    m->used_bytes = m->used_bytes + size < m->budget_bytes ? m->used_bytes + size : m->budget_bytes;
    return bytes;
}

/* What protobuf-c allocates with. It takes NULL for a failure, so 0 bytes become one. */
static void *allocate(void *arg, size_t size)
{
    return message_take(arg, size == 0 ? 1 : size);
}

static void allocate_free(void *arg, void *pointer)
{
    (void)arg;
    (void)pointer; /* goes with the message */
}

void message_clear(struct message *m)
{
    /* The payload's pieces end here. */
    if (m->buffer != NULL) {
        grpc_byte_buffer_reader_destroy(&m->reader);
        grpc_byte_buffer_destroy(m->buffer);
    }
    /* One small block stays for the next message: most messages then need no allocation. */
    struct message_block *keep = NULL;
    for (struct message_block *block = m->blocks, *next; block != NULL; block = next) {
        next = block->next;
        if (keep == NULL && block->size <= BLOCK_KEEP_BYTES) {
            keep = block;
            keep->next = NULL;
            keep->used = 0;
        } else {
            mem_free(block);
        }
    }
    *m = (struct message){.blocks = keep};
}

void message_fini(struct message *m)
{
    message_clear(m);
    mem_free(m->blocks);
    m->blocks = NULL;
}

/* ---- Walking over foreign bytes that lie in pieces ---- */

/* A place in a message whose bytes lie in several pieces. */
struct cursor {
    const struct rpc_piece *piece; /* where the next byte is */
    size_t in_piece;
    size_t at;   /* bytes before it in the whole message */
    size_t size; /* of the whole message */
};

/* The next byte; false at the end. */
static bool cursor_byte(struct cursor *c, uint8_t *byte)
{
    if (c->at == c->size) {
        return false;
    }
    /* The ends of pieces, and empty ones, are stepped over. */
    while (c->in_piece == c->piece->size) {
        c->piece++;
        c->in_piece = 0;
    }
    *byte = c->piece->bytes[c->in_piece++];
    c->at++;
    return true;
}

/* A number of seven bits a byte; false when it is cut, or longer than ten bytes. */
static bool cursor_varint(struct cursor *c, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < VARINT_MAX_BYTES; i++) {
        uint8_t byte;
        if (!cursor_byte(c, &byte)) {
            return false;
        }
        *value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            return true;
        }
    }
    return false;
}

/* Moves on by `size` bytes, over as many pieces as it takes; false beyond the end. */
static bool cursor_skip(struct cursor *c, uint64_t size)
{
    if (size > c->size - c->at) {
        return false;
    }
    c->at += size;
    /* Piece by piece; at the exact end of one it stays there, so that there need not be a next
     * one. */
    while (size > 0) {
        /* Either the place is within this piece, or its rest is skipped, too. */
        size_t left = c->piece->size - c->in_piece;
        if (size < left) {
            c->in_piece += size;
            return true;
        }
        size -= left;
        c->in_piece = c->piece->size;
        if (size > 0) {
            c->piece++;
            c->in_piece = 0;
        }
    }
    return true;
}

/* Skips the value of a field of this wire type. Groups do not exist in proto3 and are refused. */
static bool cursor_skip_value(struct cursor *c, unsigned wire_type)
{
    uint64_t value;
    /* 0: a varint; 1: eight bytes; 2: a length and as many bytes; 5: four bytes. */
    switch (wire_type) {
    case 0:
        return cursor_varint(c, &value);
    case 1:
        return cursor_skip(c, 8);
    case 2:
        return cursor_varint(c, &value) && cursor_skip(c, value);
    case 5:
        return cursor_skip(c, 4);
    default:
        return false;
    }
}

/* Where the payload field lies: tag, then bytes begin .. end. All at the message's end when it is
 * absent. */
struct extent {
    size_t tag, begin, end;
};

/* Where it lies. INVALID: a message that cannot be walked over, or a field that comes twice. */
static status find_payload(const struct rpc_pieces *pieces, uint32_t field, struct extent *found,
                           struct err *err)
{
    struct cursor c = {.piece = pieces->pieces, .size = pieces->size};
    *found = (struct extent){pieces->size, pieces->size, pieces->size};
    bool seen = false;
    /* Field by field over the whole message: the payload may be anywhere in it. */
    while (c.at < c.size) {
        size_t start = c.at;
        uint64_t tag, length;
        if (!cursor_varint(&c, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_MAX) {
            return err_set(err, STATUS_INVALID, "message: bad field tag at byte %zu", start);
        }
        /* Another field: passed over. */
        if (tag >> 3 != field) {
            if (!cursor_skip_value(&c, tag & 7)) {
                return err_set(err, STATUS_INVALID,
                               "message: field %u at byte %zu is cut or malformed",
                               (unsigned)(tag >> 3), start);
            }
            continue;
        }
        /* protobuf would take the last of two; for a payload that is never meant. */
        if (seen || (tag & 7) != 2) {
            return err_set(err, STATUS_INVALID, "message: payload field %u %s", field,
                           seen ? "comes twice" : "is not of type bytes");
        }
        if (!cursor_varint(&c, &length)) {
            return err_set(err, STATUS_INVALID, "message: payload length is cut");
        }
        *found = (struct extent){start, c.at, c.at + length};
        seen = true;
        if (!cursor_skip(&c, length)) {
            return err_set(err, STATUS_INVALID, "message: payload of %zu bytes, %zu are there",
                           (size_t)length, c.size - c.at);
        }
    }
    return STATUS_OK;
}

/* ---- Reading ---- */

/* All slices of the buffer, as pieces in the message's own memory. */
static status list_pieces(struct message *m, struct rpc_pieces *all)
{
    grpc_slice *slice;
    size_t n = 0;
    /* Counted first, then listed: the reader begins again. */
    while (grpc_byte_buffer_reader_peek(&m->reader, &slice)) {
        n++;
    }
    grpc_byte_buffer_reader_destroy(&m->reader);
    if (!grpc_byte_buffer_reader_init(&m->reader, m->buffer)) {
        return STATUS_INVALID;
    }
    struct rpc_piece *pieces = message_take(m, (n + 1) * sizeof *pieces);
    if (pieces == NULL) {
        return STATUS_NO_MEMORY;
    }
    *all = (struct rpc_pieces){.pieces = pieces};
    while (all->n < n && grpc_byte_buffer_reader_peek(&m->reader, &slice)) {
        size_t size = GRPC_SLICE_LENGTH(*slice);
        /* Empty slices get no piece. */
        if (size > 0) {
            pieces[all->n++] = (struct rpc_piece){GRPC_SLICE_START_PTR(*slice), size};
            all->size += size;
        }
    }
    return STATUS_OK;
}

/* The pieces of bytes begin .. end, in the message's own memory. */
static status cut_pieces(struct message *m, const struct rpc_pieces *all, size_t begin, size_t end,
                         struct rpc_pieces *cut)
{
    /* A part has no more pieces than the whole. */
    struct rpc_piece *pieces = message_take(m, (all->n + 1) * sizeof *pieces);
    if (pieces == NULL) {
        return STATUS_NO_MEMORY;
    }
    *cut = (struct rpc_pieces){.pieces = pieces, .size = end - begin};
    /* Where piece i begins in the whole message. */
    size_t at = 0;
    for (size_t i = 0; i < all->n && at < end; i++) {
        size_t size = all->pieces[i].size;
        /* The part of this piece that lies within begin .. end. */
        size_t from = begin > at ? begin - at : 0;
        size_t to = end - at < size ? end - at : size;
        if (from < to) {
            pieces[cut->n++] = (struct rpc_piece){all->pieces[i].bytes + from, to - from};
        }
        at += size;
    }
    return STATUS_OK;
}

/* All but tag .. end, in one stretch: where it is if it lies so already, else copied. */
static const uint8_t *rest_of(struct message *m, const struct rpc_pieces *all,
                              struct extent payload)
{
    static const uint8_t NOTHING[1];
    size_t after = all->size - payload.end;
    if (payload.tag + after == 0) {
        return NOTHING;
    }
    /* Usual: small fields in front, in the first piece, and the payload last. */
    if (after == 0 && payload.tag <= all->pieces[0].size) {
        return all->pieces[0].bytes;
    }
    /* Otherwise a copy without the payload, since protobuf-c wants one stretch. */
    uint8_t *rest = message_take(m, payload.tag + after);
    if (rest == NULL || !rpc_pieces_copy(all, rest, 0, payload.tag) ||
        !rpc_pieces_copy(all, rest + payload.tag, payload.end, after)) {
        return NULL;
    }
    return rest;
}

/* Everything after decompression: the payload cut out, texts checked, the rest unpacked. */
static status read_fields(struct message *m, const ProtobufCMessageDescriptor *descriptor,
                          uint32_t payload_field, struct err *err)
{
    struct rpc_pieces all;
    m->budget_bytes = SIZE_MAX; /* of our own lists, which are no larger than what was received */
    status s = list_pieces(m, &all);
    if (s != STATUS_OK) {
        return err_set(err, s, "message: %s", status_text(s));
    }
    /* Without a payload field the payload is empty and lies at the end. */
    struct extent payload = {all.size, all.size, all.size};
    if (payload_field != 0) {
        s = find_payload(&all, payload_field, &payload, err);
        if (s != STATUS_OK) {
            return s;
        }
        s = cut_pieces(m, &all, payload.begin, payload.end, &m->payload);
        if (s != STATUS_OK) {
            return err_set(err, s, "message: %s", status_text(s));
        }
    }
    /* All other fields in one stretch, which is checked and then unpacked. */
    const uint8_t *rest = rest_of(m, &all, payload);
    if (rest == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "message: out of memory");
    }
    size_t rest_size = payload.tag + (all.size - payload.end);
    /* What is no text must not get any further. */
    s = message_check_texts(descriptor, rest, rest_size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* What a hostile message may make us allocate is bounded by what it took to send it. */
    m->budget_bytes = m->used_bytes + MESSAGE_MEMORY_BYTES + MESSAGE_MEMORY_PER_BYTE * rest_size;
    ProtobufCAllocator allocator = {.alloc = allocate, .free = allocate_free, .allocator_data = m};
    m->body = protobuf_c_message_unpack(descriptor, &allocator, rest_size, rest);
    /* Either the bytes are wrong, or they ask for more than the budget: both are the sender's
     * fault. */
    if (m->body == NULL) {
        return err_set(err, STATUS_INVALID, "message: %zu bytes are not a %s", rest_size,
                       descriptor->name);
    }
    return STATUS_OK;
}

status message_read(struct message *m, grpc_byte_buffer *buffer, const struct message_type *type,
                    struct err *err)
{
    ASSERT(m->buffer == NULL);
    /* gRPC hands compressed messages over as they came (see decompress.c). The buffer is taken,
     * whatever happens to it. */
    status s = decompress(&buffer, type->max_bytes, err);
    /* From here on the bytes are read through the reader, piece by piece. */
    if (s == STATUS_OK && !grpc_byte_buffer_reader_init(&m->reader, buffer)) {
        s = err_set(err, STATUS_INVALID, "message: unreadable");
    }
    if (s != STATUS_OK) {
        grpc_byte_buffer_destroy(buffer);
        return s;
    }
    /* From here on the message owns the buffer: pieces point into it. */
    m->buffer = buffer;
    s = read_fields(m, type->descriptor, type->payload_field, err);
    if (s != STATUS_OK) {
        message_clear(m);
    }
    return s;
}

/* ---- Writing ---- */

/* Writes a number with seven bits a byte, and returns its size. */
static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t n = 0;
    /* The upper bit of a byte says that another one follows. */
    while (value >= 0x80) {
        to[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    to[n++] = (uint8_t)value;
    return n;
}

#ifdef __SANITIZE_THREAD__
/* gRPC releases a payload on a thread of its choice, in an order that ThreadSanitizer cannot see.
 */
struct handed_payload {
    void (*release)(void *arg);
    void *arg;
};

static void release_handed(void *handed)
{
    op_take(handed);
    const struct handed_payload payload = *(struct handed_payload *)handed;
    mem_free(handed);
    payload.release(payload.arg);
}

static grpc_slice slice_of(void *bytes, const struct rpc_payload *payload)
{
    struct handed_payload *handed = mem_new(sizeof *handed);
    ASSERT(handed != NULL);
    *handed = (struct handed_payload){payload->release, payload->arg};
    op_give(handed);
    return grpc_slice_new_with_user_data(bytes, payload->size, release_handed, handed);
}
#else
static grpc_slice slice_of(void *bytes, const struct rpc_payload *payload)
{
    return grpc_slice_new_with_user_data(bytes, payload->size, payload->release, payload->arg);
}
#endif

/* The payload's bytes as a slice that releases them when gRPC is done. */
static grpc_slice payload_slice(const struct rpc_payload *payload)
{
    /* Nobody wants to know when the bytes are free again: they are copied. */
    if (payload->release == NULL) {
        return grpc_slice_from_copied_buffer(payload->bytes, payload->size);
    }
    union {
        const void *in;
        void *out;
    } bytes = {.in = payload->bytes}; /* gRPC only reads it */
    return slice_of(bytes.out, payload);
}

grpc_byte_buffer *message_write(const ProtobufCMessage *body, const struct rpc_payload *payload)
{
    size_t size = protobuf_c_message_get_packed_size(body);
    /* An empty payload is an absent field. */
    bool has_payload = payload != NULL && payload->size > 0;
    grpc_slice slices[2];
    /* With room for the payload's tag and length behind the body. */
    slices[0] = grpc_slice_malloc(size + (has_payload ? TAG_MAX_BYTES + VARINT_MAX_BYTES : 0));
    uint8_t *to = GRPC_SLICE_START_PTR(slices[0]);
    size_t used = protobuf_c_message_pack(body, to);
    ASSERT(used == size);
    if (has_payload) {
        ASSERT(payload->field >= 1 && payload->field <= FIELD_MAX);
        /* Tag and length of the payload stand behind the small fields; its bytes are a slice of
         * their own. */
        used += put_varint(to + used, (uint64_t)payload->field << 3 | 2);
        used += put_varint(to + used, payload->size);
        GRPC_SLICE_SET_LENGTH(slices[0], used);
        slices[1] = payload_slice(payload);
    } else if (payload != NULL && payload->release != NULL) {
        /* Empty: not sent, and released at once. */
        payload->release(payload->arg);
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, has_payload ? 2 : 1);
    /* The buffer holds references of its own. */
    grpc_slice_unref(slices[0]);
    if (has_payload) {
        grpc_slice_unref(slices[1]);
    }
    return buffer;
}
