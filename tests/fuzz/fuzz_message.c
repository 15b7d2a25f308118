/* Messages as they come off the wire: every request and answer of our services, cut into pieces at
 * random, payloads left where they are. The input's first byte chooses the message, its second the
 * pieces. */
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <stdlib.h>

#include "common/base/utf8.h"
#include "common/clients/signature_wire.h"
#include "common/rpc/message.h"
#include "proto/parameters.pb-c.h"
#include "proto/replay.pb-c.h"
#include "tests/fuzz/fuzz.h"

#define MAX_BYTES (1u << 20)
#define HEAD      2u  /* bytes before the message */
#define PAYLOAD   15u /* field of it, in those that have one (docs/wire.md) */

static const struct {
    const ProtobufCMessageDescriptor *descriptor;
    uint32_t payload_field;
} types[] = {
    {&hindcast__open_insert_request__descriptor, 0},
    {&hindcast__insert_request__descriptor, PAYLOAD},
    {&hindcast__sample_request__descriptor, 0},
    {&hindcast__sample_response__descriptor, PAYLOAD},
    {&hindcast__parameters_response__descriptor, PAYLOAD},
    {&hindcast__info_response__descriptor, 0},
    {&hindcast__update_priorities_request__descriptor, 0},
    {&hindcast__open_insert_response__descriptor, 0},
    {&hindcast__progress_response__descriptor, 0},
    {&hindcast__finish_request__descriptor, 0},
    {&hindcast__seal_request__descriptor, 0},
    {&hindcast__insert_response__descriptor, 0},
    {&hindcast__parameters_request__descriptor, 0},
    {&hindcast__set_table_request__descriptor, 0},
    {&hindcast__delete_request__descriptor, 0},
    {&hindcast__dump_request__descriptor, 0},
    {&hindcast__set_table_response__descriptor, 0},
};
#define N_TYPES (sizeof types / sizeof types[0])

static struct fuzz_input pack(uint8_t type, const ProtobufCMessage *message)
{
    struct fuzz_input input = {.size = HEAD + protobuf_c_message_get_packed_size(message)};
    uint8_t *bytes = malloc(input.size);
    fuzz_must(bytes == NULL || message->descriptor != types[type].descriptor, "pack");
    bytes[0] = type;
    bytes[1] = 7;
    protobuf_c_message_pack(message, bytes + HEAD);
    input.bytes = bytes;
    return input;
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    (void)scratch;
    static uint8_t bytes[64] = {1, 2, 3};
    static const ProtobufCBinaryData data = {sizeof bytes, bytes};
    char *text = (char *)"some-text";
    Hindcast__Signature__Slice slice = HINDCAST__SIGNATURE__SLICE__INIT;
    slice.name = text;
    slice.size = 3;
    Hindcast__Signature__Slice *slices[] = {&slice};
    float low[] = {-1, 0}, high[] = {1, 4};
    Hindcast__Signature signature = HINDCAST__SIGNATURE__INIT;
    signature.n_observation = 1;
    signature.observation = slices;
    signature.n_action_min = signature.n_action_max = 2;
    signature.action_min = low;
    signature.action_max = high;
    signature.n_rewards = 1;
    signature.rewards = &text;
    Hindcast__OpenInsertRequest open = HINDCAST__OPEN_INSERT_REQUEST__INIT;
    open.table = open.writer = text;
    open.signature = &signature;
    seeds[0] = pack(0, &open.base);
    Hindcast__Identity identity = HINDCAST__IDENTITY__INIT;
    identity.source = 5;
    Hindcast__InsertRequest insert = HINDCAST__INSERT_REQUEST__INIT;
    insert.table = insert.writer = text;
    insert.sequence = insert.n_rows = 300;
    insert.identity = &identity;
    insert.priority = 1.5;
    insert.cursor = insert.rows = data;
    seeds[1] = pack(1, &insert.base);
    Hindcast__SampleRequest sample = HINDCAST__SAMPLE_REQUEST__INIT;
    sample.table = text;
    sample.signature = &signature;
    sample.credit = sample.batch_snippets = 1000;
    seeds[2] = pack(2, &sample.base);
    uint32_t n_valid[] = {1, 300, 5};
    Hindcast__SampleResponse batch = HINDCAST__SAMPLE_RESPONSE__INIT;
    batch.n_n_valid = 3;
    batch.n_valid = n_valid;
    batch.table_version = 9;
    batch.rows = data;
    seeds[3] = pack(3, &batch.base);
    Hindcast__ParametersResponse parameters = HINDCAST__PARAMETERS_RESPONSE__INIT;
    parameters.modified = 1;
    parameters.run_id = text;
    parameters.package = data;
    seeds[4] = pack(4, &parameters.base);
    Hindcast__WriterInfo writer = HINDCAST__WRITER_INFO__INIT;
    writer.writer = text;
    Hindcast__WriterInfo *writers[] = {&writer, &writer};
    Hindcast__TableInfo table = HINDCAST__TABLE_INFO__INIT;
    table.name = text;
    table.signature = &signature;
    table.n_writers = 2;
    table.writers = writers;
    Hindcast__TableInfo *tables[] = {&table};
    Hindcast__InfoResponse info = HINDCAST__INFO_RESPONSE__INIT;
    info.n_tables = 1;
    info.tables = tables;
    seeds[5] = pack(5, &info.base);
    return 6;
}

/* The message in slices of at most `most` bytes. */
static grpc_byte_buffer *buffer_of(const uint8_t *bytes, size_t size, size_t most)
{
    grpc_slice slices[512];
    size_t n = 0;
    for (size_t at = 0; at < size; n++) {
        size_t part = n + 1 == sizeof slices / sizeof slices[0] ? size - at : most;
        part = part < size - at ? part : size - at;
        slices[n] = grpc_slice_from_copied_buffer((const char *)bytes + at, part);
        at += part;
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, n);
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(slices[i]);
    }
    return buffer;
}

/* Every text of an accepted message is UTF-8, submessages included. */
static void check_texts(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const bool text = field->type == PROTOBUF_C_TYPE_STRING;
        if (!text && field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        const char *base = (const char *)message;
        const void *const *values = (const void *const *)(const void *)(base + field->offset);
        size_t n = 1;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            n = *(const size_t *)(const void *)(base + field->quantifier_offset);
            values = *(const void *const *const *)values;
        }
        for (size_t k = 0; k < n; k++) {
            if (values[k] != NULL && text) {
                fuzz_must(!utf8_is_text(values[k]), "a text that is not UTF-8");
            } else if (values[k] != NULL) {
                check_texts(values[k]);
            }
        }
    }
}

/* What a handler does first with what it got. */
static void use(const struct message *message)
{
    fuzz_must(!protobuf_c_message_check(message->body), "protobuf-c finds the message unsound");
    check_texts(message->body);
    fuzz_must(message->used_bytes > message->budget_bytes, "more memory than its budget");
    if (message->payload.size > 0) {
        uint8_t *copy = malloc(message->payload.size);
        fuzz_must(copy == NULL, "memory");
        fuzz_must(!rpc_pieces_copy(&message->payload, copy, 0, message->payload.size), "pieces");
        free(copy);
    }
    if (message->body->descriptor == types[0].descriptor) {
        const Hindcast__OpenInsertRequest *open =
            (const Hindcast__OpenInsertRequest *)message->body;
        struct signature signature;
        struct err err = {0};
        if (signature_wire_read(&signature, open->signature, &err) == STATUS_OK) {
            fuzz_must(signature_check(&signature, &err), "signature_wire_read");
        }
    }
}

static bool run(const void *input, size_t size)
{
    static struct message message; /* used again and again, as a stream does */
    static bool ready;
    if (!ready) { /* here, in the child: gRPC has threads, which do not survive a fork */
        rpc_init();
        ready = true;
    }
    const uint8_t *bytes = input;
    if (size < HEAD) {
        return false;
    }
    struct message_type type = {types[bytes[0] % N_TYPES].descriptor,
                                types[bytes[0] % N_TYPES].payload_field, MAX_BYTES};
    struct err err = {0};
    status s =
        message_read(&message, buffer_of(bytes + HEAD, size - HEAD, 1 + bytes[1]), &type, &err);
    if (s == STATUS_OK) {
        use(&message);
        if (bytes[1] % 2 == 0) {
            message_clear(&message);
            return true;
        }
    }
    message_fini(&message);
    return s == STATUS_OK;
}

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"message", make_seeds, run, NULL};
    return fuzz_main(&target, argc, argv);
}
