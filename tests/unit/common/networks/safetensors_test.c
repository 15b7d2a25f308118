/* safetensors: what is written reads back, deterministically; hostile bytes are refused, never
 * followed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/networks/safetensors.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static const float floats[6] = {1.0f, -2.0f, 3.5f, 0.0f, 1e-30f, 7.0f};
static const double doubles[1] = {0.1};
static const int32_t ints[2] = {-5, 7};
static const uint8_t bytes_3[3] = {1, 2, 255};

static void *encode(size_t *size, bool reversed)
{
    struct safetensors_writer *writer;
    struct err err;
    void *bytes;
    assert_int_equal(safetensors_writer_new(&writer), STATUS_OK);
    for (int i = 0; i < 5; i++) {
        switch (reversed ? 4 - i : i) {
        case 0:
            assert_int_equal(safetensors_add(writer, "b/weight", SAFETENSORS_F32, 2,
                                             (const size_t[]){2, 3}, floats, &err),
                             STATUS_OK);
            break;
        case 1:
            assert_int_equal(
                safetensors_add(writer, "scalar", SAFETENSORS_F64, 0, NULL, doubles, &err),
                STATUS_OK);
            break;
        case 2:
            assert_int_equal(
                safetensors_add(writer, "a", SAFETENSORS_I32, 1, (const size_t[]){2}, ints, &err),
                STATUS_OK);
            break;
        case 3:
            assert_int_equal(safetensors_add(writer, "raw", SAFETENSORS_U8, 1, (const size_t[]){3},
                                             bytes_3, &err),
                             STATUS_OK);
            break;
        default:
            assert_int_equal(safetensors_add(writer, "empty", SAFETENSORS_I64, 1,
                                             (const size_t[]){0}, NULL, &err),
                             STATUS_OK);
            break;
        }
    }
    assert_int_equal(safetensors_note(writer, reversed ? "z" : "text",
                                      reversed ? "1" : "a \"quoted\" \\ line\n\xc3\xa9", &err),
                     STATUS_OK);
    assert_int_equal(safetensors_note(writer, reversed ? "text" : "z",
                                      reversed ? "a \"quoted\" \\ line\n\xc3\xa9" : "1", &err),
                     STATUS_OK);
    assert_int_equal(safetensors_note(writer, "z", "2", &err), STATUS_EXISTS);
    assert_int_equal(safetensors_add(writer, "a", SAFETENSORS_F64, 0, NULL, doubles, &err),
                     STATUS_EXISTS);
    assert_int_equal(safetensors_add(writer, "", SAFETENSORS_F64, 0, NULL, doubles, &err),
                     STATUS_INVALID);
    assert_int_equal(safetensors_encode(writer, &bytes, size, &err), STATUS_OK);
    safetensors_writer_free(writer);
    return bytes;
}

static void written_is_read(void **state)
{
    (void)state;
    size_t size, size2;
    void *bytes = encode(&size, false);
    void *bytes2 = encode(&size2, true);
    assert_int_equal(size, size2);
    assert_memory_equal(bytes, bytes2, size); /* whatever the order of adding */

    struct safetensors *file;
    struct err err;
    assert_int_equal(safetensors_parse(&file, bytes, size, &err), STATUS_OK);
    assert_int_equal(safetensors_count(file), 5);
    assert_string_equal(safetensors_at(file, 0)->name, "a");
    assert_string_equal(safetensors_metadata(file, "text"), "a \"quoted\" \\ line\n\xc3\xa9");
    assert_null(safetensors_metadata(file, "absent"));
    assert_int_equal(safetensors_metadata_count(file), 2);
    float got[6];
    assert_int_equal(
        safetensors_copy(file, "b/weight", SAFETENSORS_F32, 2, (const size_t[]){2, 3}, got, &err),
        STATUS_OK);
    assert_memory_equal(got, floats, sizeof floats);
    const struct safetensors_tensor *scalar = safetensors_find(file, "scalar");
    assert_int_equal(scalar->n_dims, 0);
    assert_int_equal(scalar->count, 1);
    assert_memory_equal(scalar->data, doubles, sizeof doubles);
    assert_int_equal(safetensors_find(file, "empty")->count, 0);
    assert_null(safetensors_find(file, "b"));

    assert_int_equal(
        safetensors_copy(file, "b", SAFETENSORS_F32, 1, (const size_t[]){1}, got, &err),
        STATUS_NOT_FOUND);
    assert_int_equal(
        safetensors_copy(file, "b/weight", SAFETENSORS_F64, 2, (const size_t[]){2, 3}, got, &err),
        STATUS_MISMATCH);
    assert_int_equal(
        safetensors_copy(file, "b/weight", SAFETENSORS_F32, 1, (const size_t[]){6}, got, &err),
        STATUS_MISMATCH);
    assert_int_equal(
        safetensors_copy(file, "b/weight", SAFETENSORS_F32, 2, (const size_t[]){3, 2}, got, &err),
        STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "dimension 0 is 2, expected 3"));
    safetensors_free(file);
    mem_free(bytes);
    mem_free(bytes2);
}

static void files_are_replaced_whole(void **state)
{
    (void)state;
    char folder[SCRATCH_SIZE], path[2 * SCRATCH_SIZE];
    scratch_make(folder);
    scratch_path(path, folder, "x.safetensors");
    struct err err;
    struct safetensors_writer *writer;
    assert_int_equal(safetensors_writer_new(&writer), STATUS_OK);
    assert_int_equal(
        safetensors_add(writer, "a", SAFETENSORS_F32, 1, (const size_t[]){6}, floats, &err),
        STATUS_OK);
    assert_int_equal(safetensors_replace(writer, path, &err), STATUS_OK);
    /* Each write or sync that fails leaves the file as it was. */
    assert_int_equal(
        safetensors_add(writer, "b", SAFETENSORS_F32, 1, (const size_t[]){6}, floats, &err),
        STATUS_OK);
    for (uint64_t nth = 1;; nth++) {
        file_fail_at(nth, 28 /* ENOSPC */);
        const status s = safetensors_replace(writer, path, &err);
        file_fail_at(0, 0);
        struct safetensors *file;
        assert_int_equal(safetensors_read(&file, path, 1 << 20, &err), STATUS_OK);
        const size_t count = safetensors_count(file);
        safetensors_free(file);
        if (s == STATUS_OK) {
            assert_int_equal(count, 2);
            assert_true(nth > 1);
            break;
        }
        assert_true(count == 1 || count == 2);
    }
    struct safetensors *file;
    assert_int_equal(safetensors_read(&file, path, 10, &err), STATUS_INVALID);
    assert_int_equal(safetensors_read(&file, "/nonexistent/x", 10, &err), STATUS_NOT_FOUND);
    safetensors_writer_free(writer);
    scratch_remove(folder);
}

/* ---- Hostile bytes ---- */

/* A file with this header and `body` zero bytes; in a block of exactly its size, so that a
 * sanitizer sees one byte too many. */
static status parse_text(const char *header, size_t body, struct err *err)
{
    const size_t length = strlen(header);
    unsigned char *bytes = malloc(8 + length + body);
    assert_non_null(bytes);
    memset(bytes, 0, 8 + length + body);
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    }
    memcpy(bytes + 8, header, length);
    struct safetensors *file;
    const status s = safetensors_parse(&file, bytes, 8 + length + body, err);
    if (s == STATUS_OK) {
        safetensors_free(file);
    }
    free(bytes);
    return s;
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end   \
    "]}"

static void bad_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t body;
        const char *says;
    } bad[] = {
        {"", 0, "not a JSON object"},
        {"[]", 0, "not a JSON object"},
        {"{", 0, "not a JSON object"},
        {"{} x", 0, "not valid JSON at byte 3"},
        {"{}", 4, "4 bytes after the last tensor"},
        {"{\"a\":3}", 0, "not an object"},
        {"{\"\":3}", 0, "name"},
        {"{" T("a", "F32", "[2]", "0", "8") "}", 4, "range"},
        {"{" T("a", "F32", "[2]", "0", "8") "}", 12, "after"},
        {"{" T("a", "F16", "[2]", "0", "4") "}", 4, "dtype"},
        {"{" T("a", "F32", "[2]", "0", "4") "}", 4, "fill"},
        {"{" T("a", "F32", "2", "0", "8") "}", 8, "shape"},
        {"{" T("a", "F32", "[-2]", "0", "8") "}", 8, "dimension"},
        {"{" T("a", "F32", "[1.5]", "0", "8") "}", 8, "dimension"},
        {"{" T("a", "F32", "[1e300]", "0", "8") "}", 8, "dimension"},
        {"{" T("a", "F32", "[null]", "0", "8") "}", 8, "dimension"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "dimensions"},
        {"{" T("a", "F32", "[8,8,8,8,8,8,8,8]", "0", "8") "}", 8, "fill"},
        {"{" T("a", "F32", "[1]", "4", "0") "}", 4, "range"},
        {"{" T("a", "F32", "[1]", "-4", "0") "}", 4, "range"},
        {"{" T("a", "F32", "[1]", "4", "8") "}", 8, "gap"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "4", "12") "}", 12, "overlap"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("a", "F32", "[1]", "4", "8") "}", 8, "twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
        {"{\"__metadata__\":3}", 0, "not an object"},
        {"{\"__metadata__\":{\"a\":3}}", 0, "not a string"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        const status s = parse_text(bad[i].header, bad[i].body, &err);
        if (s != STATUS_CORRUPT || strstr(err.text, bad[i].says) == NULL) {
            fail_msg("%s: status %d, '%s', expected '%s'", bad[i].header, (int)s, err.text,
                     bad[i].says);
        }
    }
    struct err err;
    assert_int_equal(parse_text("{" T("a", "F32", "[1]", "0", "4") "}   ", 4, &err), STATUS_OK);
    assert_int_equal(parse_text("{}", 0, &err), STATUS_OK);
}

static void bad_sizes_are_refused(void **state)
{
    (void)state;
    struct safetensors *file;
    struct err err;
    const unsigned char huge[16] = {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'};
    for (size_t size = 0; size < sizeof huge; size++) {
        assert_int_equal(safetensors_parse(&file, huge, size, &err), STATUS_CORRUPT);
    }
    const unsigned char one_more[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    assert_int_equal(safetensors_parse(&file, one_more, sizeof one_more, &err), STATUS_CORRUPT);
}

/* Any damage to a good file is refused or gives a file whose tensors lie within it. */
static void damaged_files_are_safe(void **state)
{
    (void)state;
    size_t size;
    unsigned char *good = encode(&size, false);
    struct rng rng;
    rng_init(&rng, 1, "safetensors", 0);
    for (int round = 0; round < 20000; round++) {
        const size_t cut = rng_below(&rng, 4) == 0 ? rng_below(&rng, size) : size;
        unsigned char *bytes = malloc(cut + 1);
        assert_non_null(bytes);
        memcpy(bytes, good, cut);
        for (uint64_t i = rng_below(&rng, 4); i > 0 && cut > 0; i--) {
            static const char plausible[] = "0123456789[]{}\",";
            const unsigned char byte = rng_below(&rng, 2) == 0
                                           ? (unsigned char)rng_u64(&rng)
                                           : (unsigned char)plausible[rng_below(&rng, 16)];
            bytes[rng_below(&rng, cut)] = byte;
        }
        struct safetensors *file;
        struct err err;
        if (safetensors_parse(&file, bytes, cut, &err) == STATUS_OK) {
            volatile unsigned char sum = 0;
            for (size_t i = 0; i < safetensors_count(file); i++) {
                const struct safetensors_tensor *tensor = safetensors_at(file, i);
                const unsigned char *data = tensor->data;
                for (size_t j = 0; j < tensor->count * safetensors_type_size(tensor->type); j++) {
                    sum = (unsigned char)(sum + data[j]);
                }
            }
            safetensors_free(file);
        }
        free(bytes);
    }
    mem_free(good);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    size_t size;
    void *bytes = encode(&size, false);
    for (uint64_t nth = 1;; nth++) {
        struct safetensors *file;
        memory_fail_at(nth);
        const status s = safetensors_parse(&file, bytes, size, NULL);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            safetensors_free(file);
            assert_true(nth > 1);
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
    mem_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_is_read),         cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(bad_headers_are_refused), cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(damaged_files_are_safe),  cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
