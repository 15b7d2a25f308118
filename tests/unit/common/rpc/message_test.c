/* common/rpc, messages: payloads in and out, and bytes that nobody should send. */
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <string.h>
#include <zlib.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/rpc/message.h"
#include "tests/lib/check.h"
#include "tests/lib/echo/echo_pair.h"

#define MAX_BYTES 100000

static const struct message_type WITH_PAYLOAD = {&hindcast__test__echo_request__descriptor,
                                                 ECHO_PAYLOAD, MAX_BYTES};
static const struct message_type WITHOUT = {&hindcast__test__echo_request__descriptor, 0,
                                            MAX_BYTES};
static const struct message_type TREE = {&hindcast__test__echo_tree__descriptor, 0, MAX_BYTES};

/* The bytes as a buffer of slices of at most `piece` bytes; 0: random sizes, some empty. */
static grpc_byte_buffer *buffer_of(const uint8_t *bytes, size_t size, size_t piece, struct rng *rng)
{
    grpc_slice slices[4096];
    size_t n = 0;
    for (size_t at = 0; at < size && n < 4095;) {
        size_t part = piece ? piece : rng_below(rng, 40);
        part = part < size - at ? part : size - at;
        slices[n++] = grpc_slice_from_copied_buffer((const char *)bytes + at, part);
        at += part;
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, n);
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(slices[i]);
    }
    return buffer;
}

/* Reads the bytes as an EchoRequest with payload; what came of it is freed. */
static status read_bytes(const uint8_t *bytes, size_t size, size_t piece, struct rng *rng)
{
    struct message message = {0};
    struct err err;
    status s = message_read(&message, buffer_of(bytes, size, piece, rng), &WITH_PAYLOAD, &err);
    message_fini(&message);
    return s;
}

static size_t bytes_of(grpc_byte_buffer *buffer, uint8_t *to, size_t size)
{
    grpc_byte_buffer_reader reader;
    grpc_byte_buffer_reader_init(&reader, buffer);
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    size_t n = GRPC_SLICE_LENGTH(all);
    assert_true(n <= size);
    memcpy(to, GRPC_SLICE_START_PTR(all), n);
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(buffer);
    return n;
}

/* A request with everything in it, packed; its payload is `payload_size` times 'p'. */
static size_t packed(uint8_t *to, size_t size, size_t payload_size)
{
    uint8_t payload[1000];
    memset(payload, 'p', sizeof payload);
    echo_request request = ECHO_REQUEST;
    request.number = -5;
    request.text = echo_text("some text");
    request.size = 1u << 20;
    request.after = echo_text("afterwards");
    struct rpc_payload lent = {ECHO_PAYLOAD, payload, payload_size, NULL, NULL};
    return bytes_of(message_write(&request.base, &lent), to, size);
}

static void assert_whole(const struct message *message, size_t payload_size)
{
    const echo_request *request = (const echo_request *)message->body;
    assert_int_equal(request->number, -5);
    assert_string_equal(request->text, "some text");
    assert_int_equal(request->size, 1u << 20);
    assert_string_equal(request->after, "afterwards");
    assert_int_equal(request->payload.len, 0);
    assert_int_equal(message->payload.size, payload_size);
    uint8_t copy[1000];
    assert_true(rpc_pieces_copy(&message->payload, copy, 0, payload_size));
    for (size_t i = 0; i < payload_size; i++) {
        assert_int_equal(copy[i], 'p');
    }
    assert_false(rpc_pieces_copy(&message->payload, copy, 1, payload_size));
    assert_false(rpc_pieces_copy(&message->payload, copy, SIZE_MAX, 2));
}

static void any_split_reads_the_same(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1, "rpc_message_test", 0);
    struct message message = {0}; /* used again and again, as a call does */
    for (size_t payload_size = 0; payload_size <= 1000; payload_size += 125) {
        uint8_t bytes[1200];
        size_t size = packed(bytes, sizeof bytes, payload_size);
        for (size_t piece = 0; piece < 30; piece++) {
            struct err err;
            grpc_byte_buffer *buffer = buffer_of(bytes, size, piece, &rng);
            assert_int_equal(message_read(&message, buffer, &WITH_PAYLOAD, &err), STATUS_OK);
            assert_whole(&message, payload_size);
            message_clear(&message);
        }
    }
    message_fini(&message);
}

static void fields_may_follow_the_payload(void **state)
{
    (void)state;
    /* number 3, payload "xyz", after "tail", number 4: the last one counts */
    static const uint8_t BYTES[] = {0x08, 3, 0x7a, 3,   'x', 'y', 'z',  0x82,
                                    0x01, 4, 't',  'a', 'i', 'l', 0x08, 4};
    for (size_t piece = 1; piece <= sizeof BYTES; piece++) {
        struct message message = {0};
        struct err err;
        assert_int_equal(message_read(&message, buffer_of(BYTES, sizeof BYTES, piece, NULL),
                                      &WITH_PAYLOAD, &err),
                         STATUS_OK);
        assert_int_equal(((echo_request *)message.body)->number, 4);
        assert_string_equal(((echo_request *)message.body)->after, "tail");
        assert_int_equal(message.payload.size, 3);
        message_fini(&message);
    }
}

static void without_a_payload_field_all_is_body(void **state)
{
    (void)state;
    uint8_t bytes[1200];
    size_t size = packed(bytes, sizeof bytes, 50);
    struct message message = {0};
    struct err err;
    assert_int_equal(message_read(&message, buffer_of(bytes, size, 9, NULL), &WITHOUT, &err),
                     STATUS_OK);
    assert_int_equal(((echo_request *)message.body)->payload.len, 50);
    assert_int_equal(message.payload.size, 0);
    message_fini(&message);
}

static void every_cut_is_refused_or_whole(void **state)
{
    (void)state;
    uint8_t bytes[1200];
    size_t size = packed(bytes, sizeof bytes, 200);
    size_t refused = 0;
    for (size_t cut = 0; cut < size; cut++) {
        for (size_t piece = 1; piece < 12; piece += 5) {
            status s = read_bytes(bytes, cut, piece, NULL);
            assert_true(s == STATUS_OK || s == STATUS_INVALID);
            refused += s == STATUS_INVALID;
        }
    }
    assert_true(refused > 200 * 3); /* all cuts within the payload, at least */
}

static void bad_bytes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        size_t size;
        uint8_t bytes[24];
    } BAD[] = {
        {"payload twice", 6, {0x7a, 1, 'x', 0x7a, 1, 'y'}},
        {"payload as a number", 2, {0x78, 1}},
        {"payload as 8 bytes", 9, {0x79, 1, 2, 3, 4, 5, 6, 7, 8}},
        {"payload longer than the message", 3, {0x7a, 5, 'x'}},
        {"payload of 2^64 - 1 bytes",
         12,
         {0x7a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 'x'}},
        {"payload length cut", 2, {0x7a, 0x80}},
        {"field number 0", 2, {0x02, 0}},
        {"field number above 2^29", 6, {0xfa, 255, 255, 255, 31, 0}},
        {"group", 2, {0x0b, 0x0c}},
        {"wire type 6", 2, {0x0e, 1}},
        {"varint of 11 bytes", 12, {0x08, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1}},
        {"4 bytes, 3 there", 4, {0x0d, 1, 2, 3}},
        {"8 bytes, 1 there", 2, {0x09, 1}},
        {"text as a number", 2, {0x10, 1}},
        {"text longer than the message", 3, {0x12, 9, 'x'}},
        {"tag cut", 1, {0x88}},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        for (size_t piece = 1; piece < 4; piece++) {
            status s = read_bytes(BAD[i].bytes, BAD[i].size, piece, NULL);
            if (s != STATUS_INVALID) {
                fail_msg("%s: %s, expected invalid", BAD[i].what, status_text(s));
            }
        }
    }
}

static void random_damage_is_survived(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 7, "rpc_message_test", 1);
    unsigned refused = 0;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t bytes[400];
        size_t size = packed(bytes, sizeof bytes, rng_below(&rng, 60));
        for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--) {
            bytes[rng_below(&rng, size)] = (uint8_t)rng_u64(&rng);
        }
        status s = read_bytes(bytes, size, 0, &rng);
        assert_true(s == STATUS_OK || s == STATUS_INVALID);
        refused += s == STATUS_INVALID;
    }
    assert_in_range(refused, 2000, 19000);
}

static void unpacking_may_not_grow_without_bound(void **state)
{
    (void)state;
    enum { SIZE = 200000 };
    uint8_t *bytes = mem_new(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i += 2) {
        bytes[i] = 0x0a; /* children: an empty EchoTree, 2 bytes on the wire, about 90 in memory */
    }
    struct message message = {0};
    struct err err;
    assert_int_equal(message_read(&message, buffer_of(bytes, SIZE, 8192, NULL), &TREE, &err),
                     STATUS_INVALID);
    /* A few are fine. */
    assert_int_equal(message_read(&message, buffer_of(bytes, 200, 8192, NULL), &TREE, &err),
                     STATUS_OK);
    assert_int_equal(((Hindcast__Test__EchoTree *)message.body)->n_children, 100);
    message_fini(&message);
    mem_free(bytes);
}

/* ---- Compression ---- */

/* `size` bytes of `bytes`, packed as gzip or zlib. */
static grpc_byte_buffer *compressed(const uint8_t *bytes, size_t size,
                                    grpc_compression_algorithm algorithm)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, algorithm == GRPC_COMPRESS_GZIP ? 31 : 15,
                                  8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    size_t bound = deflateBound(&stream, size);
    grpc_slice slice = grpc_slice_malloc(bound);
    uint8_t *copy = mem_new(size + 1);
    memcpy(copy, bytes, size);
    stream.next_in = copy;
    stream.avail_in = (unsigned)size;
    stream.next_out = GRPC_SLICE_START_PTR(slice);
    stream.avail_out = (unsigned)bound;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    GRPC_SLICE_SET_LENGTH(slice, bound - stream.avail_out);
    deflateEnd(&stream);
    mem_free(copy);
    grpc_byte_buffer *buffer = grpc_raw_compressed_byte_buffer_create(&slice, 1, algorithm);
    grpc_slice_unref(slice);
    return buffer;
}

static void compressed_messages_are_unpacked(void **state)
{
    (void)state;
    static const grpc_compression_algorithm ALGORITHMS[] = {GRPC_COMPRESS_GZIP,
                                                            GRPC_COMPRESS_DEFLATE};
    for (size_t i = 0; i < 2; i++) {
        uint8_t bytes[1200];
        size_t size = packed(bytes, sizeof bytes, 900);
        struct message message = {0};
        struct err err;
        assert_int_equal(
            message_read(&message, compressed(bytes, size, ALGORITHMS[i]), &WITH_PAYLOAD, &err),
            STATUS_OK);
        assert_whole(&message, 900);
        message_fini(&message);

        /* Cut, or damaged. */
        grpc_byte_buffer *good = compressed(bytes, size, ALGORITHMS[i]);
        grpc_slice whole = grpc_slice_ref(good->data.raw.slice_buffer.slices[0]);
        grpc_byte_buffer_destroy(good);
        grpc_slice part = grpc_slice_sub(whole, 0, GRPC_SLICE_LENGTH(whole) - 7);
        grpc_byte_buffer *cut = grpc_raw_compressed_byte_buffer_create(&part, 1, ALGORITHMS[i]);
        assert_int_equal(message_read(&message, cut, &WITH_PAYLOAD, &err), STATUS_INVALID);
        GRPC_SLICE_START_PTR(whole)[GRPC_SLICE_LENGTH(whole) / 2] ^= 0x55;
        GRPC_SLICE_START_PTR(whole)[0] ^= 0x55;
        grpc_byte_buffer *bad = grpc_raw_compressed_byte_buffer_create(&whole, 1, ALGORITHMS[i]);
        assert_int_equal(message_read(&message, bad, &WITH_PAYLOAD, &err), STATUS_INVALID);
        grpc_slice_unref(part);
        grpc_slice_unref(whole);
    }
}

static void compressed_bombs_are_refused(void **state)
{
    (void)state;
    enum { SIZE = 50 << 20 };
    uint8_t *zeros = mem_new(SIZE);
    assert_non_null(zeros);
    struct message message = {0};
    struct err err;
    assert_int_equal(
        message_read(&message, compressed(zeros, SIZE, GRPC_COMPRESS_GZIP), &WITH_PAYLOAD, &err),
        STATUS_FULL);
    mem_free(zeros);
}

static void lack_of_memory_is_survived(void **state)
{
    (void)state;
    uint8_t bytes[1200];
    size_t size = packed(bytes, sizeof bytes, 900);
    struct message message = {0};
    status s = STATUS_NO_MEMORY;
    uint64_t nth = 1;
    for (; s != STATUS_OK && nth < 100; nth++) {
        struct err err;
        memory_fail_at(nth);
        s = message_read(&message, buffer_of(bytes, size, 1, NULL), &WITH_PAYLOAD, &err);
        memory_fail_at(0);
        assert_true(s == STATUS_OK || s == STATUS_NO_MEMORY || s == STATUS_INVALID);
    }
    assert_int_equal(s, STATUS_OK);
    assert_true(nth > 2);
    assert_whole(&message, 900);
    message_fini(&message);
}

static void count_release(void *arg)
{
    (*(unsigned *)arg)++;
}

static void payloads_are_released_once(void **state)
{
    (void)state;
    static const uint8_t BYTES[100];
    for (size_t size = 0; size <= 100; size += 50) {
        unsigned released = 0;
        echo_request request = ECHO_REQUEST;
        struct rpc_payload payload = {ECHO_PAYLOAD, BYTES, size, count_release, &released};
        grpc_byte_buffer *buffer = message_write(&request.base, &payload);
        assert_int_equal(released, size == 0 ? 1 : 0);
        grpc_byte_buffer_destroy(buffer);
        assert_int_equal(released, 1);
    }
}

/* One string field: tag, length, bytes. */
static size_t put_text(uint8_t *to, unsigned field, const char *bytes, size_t size)
{
    size_t n = 0;
    const unsigned tag = field << 3 | 2;
    if (tag >= 0x80) {
        to[n++] = (uint8_t)(tag | 0x80);
        to[n++] = (uint8_t)(tag >> 7);
    } else {
        to[n++] = (uint8_t)tag;
    }
    to[n++] = (uint8_t)size;
    memcpy(to + n, bytes, size);
    return n + size;
}

static void texts_are_utf8_without_nul(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *refused; /* NULL: accepted */
    } CASES[] = {
        {"", 0, NULL},
        {"plain\ttext\n", 11, NULL},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, NULL},
        {"a\0b", 3, "byte 1 is 0, which a text must not contain"},
        {"ab\xff", 3, "byte 2 is not UTF-8"},
        {"ab\xc3", 3, "byte 2 is not UTF-8"}, /* cut inside a character */
        {"\xed\xa0\x80", 3, "byte 0 is not UTF-8"},
        {"\xc0\x80", 2, "byte 0 is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        /* As the first text, as the second, and behind a payload that may hold anything. */
        for (int place = 0; place < 3; place++) {
            uint8_t bytes[128];
            size_t n = 0;
            if (place == 1) {
                n += put_text(bytes + n, 2, "first", 5);
            } else if (place == 2) {
                n += put_text(bytes + n, ECHO_PAYLOAD, "\xff\0\xfe", 3);
            }
            n += put_text(bytes + n, place == 0 ? 2 : 16, CASES[i].bytes, CASES[i].size);
            for (size_t piece = 1; piece < 8; piece++) {
                struct message message = {0};
                struct err err = {0};
                const status s =
                    message_read(&message, buffer_of(bytes, n, piece, NULL), &WITH_PAYLOAD, &err);
                message_fini(&message);
                if (CASES[i].refused == NULL) {
                    assert_int_equal(s, STATUS_OK);
                    continue;
                }
                assert_int_equal(s, STATUS_INVALID);
                assert_non_null(strstr(err.text, CASES[i].refused));
                assert_non_null(strstr(err.text, place == 0 ? "text" : "after"));
            }
        }
    }
}

static void codes_go_both_ways(void **state)
{
    (void)state;
#define CHECK(name, number, text)                                                                  \
    if (rpc_code(STATUS_##name) == GRPC_STATUS_ABORTED) {                                          \
        assert_int_equal(rpc_status(rpc_code(STATUS_##name)), STATUS_RETRY);                       \
        aborted++;                                                                                 \
    } else if (STATUS_##name != STATUS_NO_MEMORY) {                                                \
        assert_int_equal(rpc_status(rpc_code(STATUS_##name)), STATUS_##name);                      \
    }
    int aborted = 0;
    STATUS_MAP(CHECK)
#undef CHECK
    assert_int_equal(aborted, 7); /* the parts of what was one status; all others have a code */
    assert_int_equal(rpc_code(STATUS_NO_MEMORY), GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(rpc_code(STATUS_MISMATCH), GRPC_STATUS_FAILED_PRECONDITION);
    assert_int_equal(rpc_status(GRPC_STATUS_UNAUTHENTICATED), STATUS_DENIED);
    assert_int_equal(rpc_status(99), STATUS_INTERNAL);
}

static void local_addresses_are_known(void **state)
{
    (void)state;
    static const char *const LOCAL[] = {"unix:/tmp/x",      "unix:x",         "127.0.0.1:1",
                                        "127.9.8.7:50",     "[::1]:0",        "localhost:1",
                                        "ipv4:127.0.0.1:5", "dns:localhost:1"};
    static const char *const REMOTE[] = {"0.0.0.0:1",
                                         "[::]:1",
                                         "10.0.0.1:1",
                                         "example.org:1",
                                         "127.example.org:1",
                                         "127.0.0.1",
                                         "127.0.0:1",
                                         "localhostx:1",
                                         "",
                                         "127.0.0.999:1"};
    for (size_t i = 0; i < sizeof LOCAL / sizeof LOCAL[0]; i++) {
        if (!rpc_address_is_local(LOCAL[i])) {
            fail_msg("%s: expected local", LOCAL[i]);
        }
    }
    for (size_t i = 0; i < sizeof REMOTE / sizeof REMOTE[0]; i++) {
        if (rpc_address_is_local(REMOTE[i])) {
            fail_msg("%s: expected not local", REMOTE[i]);
        }
    }
}

static int init(void **state)
{
    (void)state;
    rpc_init();
    return 0;
}

static int fini(void **state)
{
    (void)state;
    rpc_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_reads_the_same),
        cmocka_unit_test(fields_may_follow_the_payload),
        cmocka_unit_test(without_a_payload_field_all_is_body),
        cmocka_unit_test(every_cut_is_refused_or_whole),
        cmocka_unit_test(bad_bytes_are_refused),
        cmocka_unit_test(random_damage_is_survived),
        cmocka_unit_test(unpacking_may_not_grow_without_bound),
        cmocka_unit_test(compressed_messages_are_unpacked),
        cmocka_unit_test(compressed_bombs_are_refused),
        cmocka_unit_test(lack_of_memory_is_survived),
        cmocka_unit_test(payloads_are_released_once),
        cmocka_unit_test(texts_are_utf8_without_nul),
        cmocka_unit_test(codes_go_both_ways),
        cmocka_unit_test(local_addresses_are_known),
    };
    return cmocka_run_group_tests(tests, init, fini);
}
