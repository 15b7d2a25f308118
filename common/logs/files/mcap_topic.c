/* A topic copies what it needs of its channel, since the file is closed between the two readings. */
#include "common/logs/files/mcap_topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/columns/recording.h"
#include "common/logs/messages/message_json.h"

#define NS_IN_S 1000000000u

void mcap_topic_free(struct mcap_topic *topic)
{
    if (topic == NULL) {
        return;
    }
    for (int i = 0; i < MCAP_CLOCKS; i++) {
        mem_free(topic->stamps[i]);
    }
    message_fields_fini(&topic->fields);
    ros_definition_fini(&topic->ros);
    mem_free(topic->name);
    mem_free(topic->encoding);
    mem_free(topic->schema_name);
    mem_free(topic->schema_encoding);
    mem_free(topic->definition);
    mem_free(topic->unread);
    mem_free(topic);
}

/* Copies what a channel says. Returns NULL if memory fails. */
static struct mcap_topic *copy(const struct mcap_channel *channel)
{
    const struct mcap_schema *schema = channel->schema;
    struct mcap_topic *topic = mem_new(sizeof *topic);
    if (topic == NULL) {
        return NULL;
    }
    topic->name = mem_text(channel->topic);
    topic->encoding = mem_text(channel->encoding);
    topic->schema_name = mem_text(schema == NULL ? "" : schema->name);
    topic->schema_encoding = mem_text(schema == NULL ? "" : schema->encoding);
    topic->definition_size = schema == NULL ? 0 : schema->size;
    topic->definition = mem_new(topic->definition_size + 1);
    if (topic->name == NULL || topic->encoding == NULL || topic->schema_name == NULL ||
        topic->schema_encoding == NULL || topic->definition == NULL) {
        mcap_topic_free(topic);
        return NULL;
    }
    if (topic->definition_size > 0) {
        memcpy(topic->definition, schema->data, topic->definition_size);
    }
    return topic;
}

/* Decides how the messages are read, or why they are not. */
static status prepare(struct mcap_topic *topic, struct err *err)
{
    char why[256] = "";
    struct err reason = {0};
    if (strcmp(topic->encoding, "json") == 0) {
        return STATUS_OK;
    }
    if (strcmp(topic->encoding, "cdr") != 0) {
        snprintf(why, sizeof why, "its messages are in %.40s, expected cdr or json",
                 topic->encoding[0] != 0 ? topic->encoding : "an unnamed encoding");
    } else if (strcmp(topic->schema_encoding, "ros2msg") != 0) {
        snprintf(why, sizeof why, "its definition is in %.40s, expected ros2msg",
                 topic->schema_encoding[0] != 0 ? topic->schema_encoding : "no language");
    } else {
        const status s = ros_definition_parse(&topic->ros, topic->schema_name, topic->definition,
                                              topic->definition_size, &topic->fields, &reason);
        if (s == STATUS_OK) {
            topic->is_ros = true;
            return s;
        }
        if (s != STATUS_INVALID) {
            return err_set(err, s, "%s", reason.text);
        }
        snprintf(why, sizeof why, "%.250s", reason.text);
    }
    topic->unread = mem_text(why);
    return topic->unread != NULL ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "topic");
}

status mcap_topic_new(struct mcap_topic **topic, const struct mcap_channel *channel,
                      struct err *err)
{
    struct mcap_topic *made = copy(channel);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "topic");
    }
    const status s = prepare(made, err);
    if (s != STATUS_OK) {
        mcap_topic_free(made);
        return s;
    }
    *topic = made;
    return s;
}

bool mcap_topic_same(const struct mcap_topic *topic, const struct mcap_channel *channel)
{
    const struct mcap_schema *schema = channel->schema;
    const size_t size = schema == NULL ? 0 : schema->size;
    return strcmp(topic->encoding, channel->encoding) == 0 &&
           strcmp(topic->schema_name, schema == NULL ? "" : schema->name) == 0 &&
           topic->definition_size == size &&
           (size == 0 || memcmp(topic->definition, schema->data, size) == 0);
}

/* ---- messages ---- */

double mcap_seconds(uint64_t ns)
{
    const uint64_t whole = ns / NS_IN_S;
    return (double)whole + (double)(ns % NS_IN_S) * 1e-9;
}

status mcap_topic_read(struct mcap_topic *topic, const struct mcap_message *message,
                       struct err *err)
{
    struct message_fields *fields = &topic->fields;
    message_fields_begin(fields);
    status s = topic->is_ros
                   ? ros_message_read(&topic->ros, message->data, message->size, fields, err)
                   : message_json_read(message->data, message->size, fields, err);
    const uint64_t row = fields->row;
    if (s == STATUS_OK) {
        s = message_fields_end(fields, err);
    }
    if (s == STATUS_OK && fields->loading) {
        topic->stamps[MCAP_CLOCK_LOG][row] = mcap_seconds(message->log_time_ns);
        topic->stamps[MCAP_CLOCK_PUBLISH][row] = mcap_seconds(message->publish_time_ns);
    }
    return s;
}

void mcap_topic_find_stamp(struct mcap_topic *topic)
{
    static const char *const pairs[][2] = {
        {"header/stamp/sec", "header/stamp/nanosec"},
        {"header/stamp/secs", "header/stamp/nsecs"},
        {"timestamp/sec", "timestamp/nsec"},
        {"stamp/sec", "stamp/nanosec"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0] && !topic->has_stamp; i++) {
        topic->has_stamp = message_fields_find(&topic->fields, pairs[i][0], &topic->sec) &&
                           message_fields_find(&topic->fields, pairs[i][1], &topic->nanosec) &&
                           message_field_is_column(&topic->fields.fields[topic->sec]) &&
                           topic->fields.fields[topic->sec].width == 1 &&
                           message_field_is_column(&topic->fields.fields[topic->nanosec]) &&
                           topic->fields.fields[topic->nanosec].width == 1;
    }
}

status mcap_topic_load(struct mcap_topic *topic, struct err *err)
{
    const uint64_t rows = topic->fields.rows;
    for (int i = 0; i < MCAP_CLOCKS; i++) {
        if (topic->stamps[i] == NULL &&
            (topic->stamps[i] = mem_array(rows > 0 ? rows : 1, sizeof **topic->stamps)) == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " messages", topic->name, rows);
        }
    }
    return message_fields_load(&topic->fields, err);
}

void mcap_topic_set_header(struct mcap_topic *topic)
{
    /* The stamp of the message itself is the sum of two fields. */
    for (uint64_t row = 0; topic->has_stamp && row < topic->fields.rows; row++) {
        topic->stamps[MCAP_CLOCK_HEADER][row] =
            topic->fields.fields[topic->sec].values[row] +
            topic->fields.fields[topic->nanosec].values[row] * 1e-9;
    }
}

/* ---- notes ---- */

/* Returns whether the texts of a field say what the values of other fields are, as in a JointState
 * of a single joint. */
static bool names_others(const struct message_field *field)
{
    const char *slash = strrchr(field->name, '/');
    const char *last = slash == NULL ? field->name : slash + 1;
    return strcmp(last, "name") == 0 || strcmp(last, "names") == 0 ||
           strcmp(last, "joint_names") == 0;
}

/* Says which fields of a topic are no columns, and the texts of those that name others. */
static void note_fields(const struct mcap_topic *topic, struct text *notes)
{
    for (uint32_t i = 0; i < topic->fields.n; i++) {
        const struct message_field *field = &topic->fields.fields[i];
        if (field->text && field->texts != NULL && (field->most > 1 || names_others(field))) {
            text_format(notes, "%s/%s is: %s%s\n", topic->name, field->name, field->texts,
                        field->changing ? " (in the first message; it changes, so check the fields "
                                          "that it names)"
                                        : "");
        } else if (!field->text && field->varying) {
            text_format(notes, "%s/%s is left out: its length varies, up to %u values\n",
                        topic->name, field->name, field->most);
        } else if (!field->text && field->width > RECORDING_WIDTH_MAX) {
            text_format(notes, "%s/%s is left out: it has %u values in each message\n", topic->name,
                        field->name, field->width);
        }
    }
}

void mcap_topic_notes(const struct mcap_topic *topic, struct text *notes)
{
    if (topic->unread != NULL) {
        text_format(notes, "topic %s (%s) is left out: %s\n", topic->name, topic->schema_name,
                    topic->unread);
    } else {
        note_fields(topic, notes);
    }
}
