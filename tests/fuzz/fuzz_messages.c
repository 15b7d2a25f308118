/* Definitions of ROS 2 messages and messages by them, and messages in JSON. An input is one of
 *
 *     C definition \f message          the message is read twice, for its fields and for its values
 *     J message
 */
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/messages/message_json.h"
#include "common/logs/messages/ros_definition.h"
#include "tests/fuzz/fuzz.h"

static const char nested[] =
    "Cstd_msgs/Header header\nstring[] name\nfloat64[<=3] position # m\n"
    "uint8 A=1\nint16[2] pair\nbool[] flags\nP[] points\n"
    "===\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame\n"
    "===\nMSG: pkg/P\nfloat32 x\nstring<=4 y\n"
    "\f\0\1\0\0\1\0\0\0\2\0\0\0\2\0\0\0a\0\0\0\1\0\0\0\2\0\0\0b\0\0\0"
    "\0\0\0\0\1\0\2\0\1\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0c";
static const char json[] = "J{\"a\": {\"b\": [1, 2.5, null]}, \"c\": true, \"d\": \"t\", \"e\": "
                           "[{\"f\": -1e9}], \"g\": NaN}";

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    (void)scratch;
    seeds[0] = (struct fuzz_input){(void *)nested, sizeof nested};
    seeds[1] = (struct fuzz_input){(void *)json, sizeof json - 1};
    return 2;
}

/* Reads one message: in the survey, and with room for the values. */
static status read_twice(const struct ros_definition *definition, const uint8_t *bytes, size_t size,
                         struct message_fields *fields, struct err *err)
{
    status s = STATUS_OK;
    for (int pass = 0; s == STATUS_OK && pass < 2; pass++) {
        if (pass == 1) {
            s = message_fields_load(fields, err);
        }
        message_fields_begin(fields);
        if (s == STATUS_OK) {
            s = definition != NULL ? ros_message_read(definition, bytes, size, fields, err)
                                   : message_json_read(bytes, size, fields, err);
        }
        if (s == STATUS_OK) {
            s = message_fields_end(fields, err);
        }
    }
    return s;
}

static bool run(const void *input, size_t size)
{
    const char *text = input;
    struct message_fields fields = {0};
    struct ros_definition definition = {0};
    struct err err = {0};
    status s = STATUS_INVALID;
    if (size > 0 && text[0] == 'J') {
        s = read_twice(NULL, (const uint8_t *)text + 1, size - 1, &fields, &err);
        fuzz_must(s != STATUS_OK && err.text[0] == '\0', "no text");
    } else if (size > 0) {
        const char *end = memchr(text, '\f', size);
        const size_t n = end == NULL ? size : (size_t)(end - text);
        s = ros_definition_parse(&definition, "pkg/msg/T", text + 1, n > 0 ? n - 1 : 0, &fields,
                                 &err);
        if (s == STATUS_OK && end != NULL) {
            s = read_twice(&definition, (const uint8_t *)end + 1, size - n - 1, &fields, &err);
        }
        fuzz_must(s != STATUS_OK && err.text[0] == '\0', "no text");
    }
    ros_definition_fini(&definition);
    message_fields_fini(&fields);
    return s == STATUS_OK;
}

static const char *const words[] = {
    "T[] t\n",  "float64[", "string<=", "wstring w\n", "===\nMSG: pkg/T\n",
    "[<=4]",    "=1\n",     "\f",       "NaN",         "-Infinity",
    "[[[[[[[[", "\"\":",    "\\u0000",  "uint8[4000]", NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"messages", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
