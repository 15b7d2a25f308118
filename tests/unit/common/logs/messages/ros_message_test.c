/* Definitions of ROS 2 messages, and alignment and byte order of CDR. */
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/logs/messages/message_json.h"
#include "common/logs/messages/ros_definition.h"

static struct ros_definition definition;
static struct message_fields fields;

static void parse(const char *text)
{
    struct err err = {0};
    fields = (struct message_fields){0};
    if (ros_definition_parse(&definition, "pkg/msg/T", text, strlen(text), &fields, &err) !=
        STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static void release(void)
{
    ros_definition_fini(&definition);
    message_fields_fini(&fields);
}

/* Reads a message twice, so that its values are loaded. */
static void load(const void *bytes, size_t size)
{
    struct err err = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            assert_int_equal(message_fields_load(&fields, &err), STATUS_OK);
        }
        message_fields_begin(&fields);
        const status s = definition.n > 0
                             ? ros_message_read(&definition, bytes, size, &fields, &err)
                             : message_json_read(bytes, size, &fields, &err);
        if (s != STATUS_OK) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(message_fields_end(&fields, &err), STATUS_OK);
    }
}

static void check(const char *name, double value)
{
    uint32_t i;
    assert_true(message_fields_find(&fields, name, &i));
    assert_true(message_field_is_column(&fields.fields[i]));
    assert_true(fields.fields[i].values[0] == value);
}

static void numbers_are_aligned_to_their_size(void **state)
{
    (void)state;
    static const unsigned char little[] = {
        0,    1,    0, 0,       /* kind, options */
        0xfe, 0,                /* i8 -2, padding */
        0x34, 0x12,             /* u16 */
        1,    0,    0, 0,       /* flag, padding .. */
        0,    0,    0, 0, 0, 0, /* .. to a multiple of 8 behind the head */
    };
    unsigned char message[4 + 16 + 8] = {0};
    const double d = -0.5;
    memcpy(message, little, sizeof little);
    memcpy(message + 4 + 8, &d, sizeof d);
    message[4 + 16] = 7;
    parse("int8 i\nuint16 u\nbool flag\nfloat64 d\nint32 last\n");
    load(message, 4 + 16 + 4);
    check("i", -2);
    check("u", 0x1234);
    check("flag", 1);
    check("d", -0.5);
    check("last", 7);
    release();
}

static void the_other_byte_order(void **state)
{
    (void)state;
    static const unsigned char message[] = {0, 0, 0, 0, 0x12, 0x34, 0, 0, 0xff, 0xff, 0xff, 0xfe};
    parse("uint16 u\nint32 i\n");
    load(message, sizeof message);
    check("u", 0x1234);
    check("i", -2);
    release();
}

static void constants_defaults_and_comments_are_no_fields(void **state)
{
    (void)state;
    static const unsigned char message[] = {0, 1, 0, 0, 5, 6};
    parse("# first\nuint8 A=1\nuint8 B = 2\nstring C=\"x = y # z\"\r\n\n  uint8 a 9  # nine\nuint8 "
          "b# c\n");
    assert_int_equal(fields.n, 2);
    load(message, sizeof message);
    check("a", 5);
    check("b", 6);
    release();
}

static void an_empty_message_has_one_byte(void **state)
{
    (void)state;
    static const unsigned char message[] = {0, 1, 0, 0, 0, 3};
    parse("E e\nuint8 x\n===\nMSG: pkg/E\n# nothing\n");
    load(message, sizeof message);
    check("x", 3);
    release();
}

static void refused(const char *text, const char *part)
{
    struct err err = {0};
    struct message_fields none = {0};
    struct ros_definition made = {0};
    assert_int_equal(ros_definition_parse(&made, "pkg/msg/T", text, strlen(text), &none, &err),
                     STATUS_INVALID);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", err.text, part);
    }
    message_fields_fini(&none);
}

static void definitions_that_cannot_be_read(void **state)
{
    (void)state;
    refused("T t\n", "more than 32 deep");
    refused("Other o\n", "the definition of Other is not in the file");
    refused("float64[0] x\n", "expected a type and a name");
    refused("float64[x] y\n", "expected a type and a name");
    refused("float64\n", "expected a type and a name");
    refused("wstring w\n", "wstring is not supported");
    refused("A a\n===\nIDL: pkg/A\nstruct A {};\n", "expected \"MSG: TYPE\"");
    /* Each type doubles the one before: 2^20 fields. */
    char text[2048] = "A0 a\nA0 b\n";
    for (int i = 0; i < 20; i++) {
        const size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "===\nMSG: pkg/A%d\nA%d a\nA%d b\n", i, i + 1, i + 1);
    }
    strcat(text, "===\nMSG: pkg/A20\nint8 x\n");
    refused(text, "more than");
}

static void messages_that_do_not_fit(void **state)
{
    (void)state;
    struct err err = {0};
    static const unsigned char endless[] = {0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff};
    static const char *const texts[] = {"float64[] v\n", "string[] v\n", "string v\n",
                                        "E[] v\n===\nMSG: pkg/E\n"};
    for (int i = 0; i < 4; i++) {
        parse(texts[i]);
        message_fields_begin(&fields);
        assert_int_equal(ros_message_read(&definition, endless, sizeof endless, &fields, &err),
                         STATUS_CORRUPT);
        assert_non_null(strstr(err.text, "field v: byte 8"));
        release();
    }
}

static void json_fields(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": {\"b\": [[1, 2], [3, 4]]}, \"c\": true, \"d\": -Infinity, "
                               "\"e\": \"NaN\", \"f\": null, \"g\": [{\"h\": 5}, {\"h\": 6}]}";
    uint32_t i;
    definition = (struct ros_definition){0};
    fields = (struct message_fields){0};
    load(text, sizeof text - 1);
    check("c", 1);
    check("d", -(double)INFINITY);
    check("g/h", 5);
    assert_true(message_fields_find(&fields, "a/b", &i));
    assert_int_equal(fields.fields[i].width, 4);
    assert_true(message_fields_find(&fields, "e", &i));
    assert_string_equal(fields.fields[i].texts, "NaN");
    assert_false(message_fields_find(&fields, "f", &i));
    release();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_aligned_to_their_size),
        cmocka_unit_test(the_other_byte_order),
        cmocka_unit_test(constants_defaults_and_comments_are_no_fields),
        cmocka_unit_test(an_empty_message_has_one_byte),
        cmocka_unit_test(definitions_that_cannot_be_read),
        cmocka_unit_test(messages_that_do_not_fit),
        cmocka_unit_test(json_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
