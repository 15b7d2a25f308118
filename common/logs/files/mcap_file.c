/* MCAP files, and rosbag2 folders of them, as a recording. The recording's columns are the fields
 * of the messages:
 *
 *     /joint_states/position      field `position` of topic /joint_states; a row for each message
 *     /joint_states/@log          when the message was recorded, in seconds
 *     /joint_states/@publish      when it was published
 *     /joint_states/@header       its own stamp, if it has one
 *
 * Columns of different topics have different rows; common/logs/mapping/resample.h brings them to a common
 * clock.
 *
 * Opening a file surveys it: all messages are read, so that topics, fields and sizes are known and
 * every error is found. Values are kept in a second reading when a column is first read. It keeps
 * the topic of that column, and those of the other topics that need little memory. What all topics
 * keep is at most LOG_FILE_BYTES_MAX. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/log_file.h"
#include "common/logs/files/mcap_topic.h"
#include "common/logs/files/rosbag_metadata.h"
#include "common/logs/messages/mcap.h"

#define EAGER_BYTES_MAX (1ull << 30) /* bytes of topics that are kept before they are needed */

/* A column: a field of a topic, or one of its clocks. */
struct place {
    struct mcap_topic *topic;
    bool is_clock;
    uint32_t i; /* field or enum clock */
};

struct bag {
    struct log_file base;
    char *path;
    char **parts; /* (n_parts) files in order */
    size_t n_parts;
    struct mcap_topic **topics; /* (n_topics) in the order of their first messages */
    size_t n_topics;
    struct recording recording;
    struct place *places; /* one for each column */
    uint64_t bytes;       /* of all values in memory */
    struct text warnings;
    uint32_t columns_left_out;
};

static const char *const clock_names[MCAP_CLOCKS] = {"@log", "@publish", "@header"};

static bool is_sqlite_bag(const unsigned char *head, size_t n)
{
    /* SQLite keeps the text of its tables in its first page. */
    return n > 16 && memcmp(head, "SQLite format 3", 16) == 0 &&
           memmem(head, n, "CREATE TABLE topics", 19) != NULL;
}

static bool bag_recognise(const unsigned char *head, size_t n)
{
    return mcap_recognise(head, n) || rosbag_metadata_recognise(head, n) || is_sqlite_bag(head, n);
}

/* ---- topics ---- */

/* Finds or adds the topic of a channel, which then points to it. Two channels may write to one topic,
 * but only in the same way. */
static status find_topic(struct bag *bag, struct mcap_channel *channel, struct err *err)
{
    for (size_t i = 0; i < bag->n_topics; i++) {
        if (strcmp(bag->topics[i]->name, channel->topic) == 0) {
            if (!mcap_topic_same(bag->topics[i], channel)) {
                return err_set(err, STATUS_INVALID, "has two definitions of its messages");
            }
            channel->user = bag->topics[i];
            return STATUS_OK;
        }
    }
    struct mcap_topic **grown =
        mem_resize(bag->topics, bag->n_topics + 1, sizeof(struct mcap_topic *));
    if (grown == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "list of topics");
    }
    bag->topics = grown;
    struct mcap_topic *topic;
    const status s = mcap_topic_new(&topic, channel, err);
    if (s == STATUS_OK) {
        bag->topics[bag->n_topics++] = topic;
        channel->user = topic;
    }
    return s;
}

/* ---- messages ---- */

/* Hands one message to its topic. `survey`: all topics are read, otherwise those that are wanted. */
static status on_message(struct bag *bag, const struct mcap_message *message, bool survey,
                         struct err *err)
{
    status s = STATUS_OK;
    if (message->channel->user == NULL) {
        s = find_topic(bag, message->channel, err);
    }
    struct mcap_topic *topic = message->channel->user;
    if (s == STATUS_OK) {
        topic->messages += survey;
        if (topic->unread == NULL && (survey || topic->wanted)) {
            s = mcap_topic_read(topic, message, err);
        }
    }
    return s;
}

/* Reads one part of the bag from front to back. */
static status read_part(struct bag *bag, const char *path, bool survey, struct err *err)
{
    struct mcap *file;
    status s = mcap_open(&file, path, survey, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct mcap_message message;
    uint64_t n = 0;
    while ((s = mcap_next(file, &message, err)) == STATUS_OK) {
        s = on_message(bag, &message, survey, err);
        if (s != STATUS_OK) {
            (void)err_context(err, s, "%s: byte %" PRIu64 ": topic %s: message at %.6f s", path,
                              message.at, message.channel->topic,
                              mcap_seconds(message.log_time_ns));
            break;
        }
        n++;
    }
    if (s == STATUS_CLOSED) {
        s = STATUS_OK;
        if (survey && mcap_cut_at(file) > 0) {
            text_format(&bag->warnings,
                        "%s: is cut off at byte %" PRIu64 ", as by a recorder that was killed: the "
                        "%" PRIu64 " messages before are read\n",
                        path, mcap_cut_at(file), n);
        }
    }
    mcap_close(file);
    return s;
}

static status read_parts(struct bag *bag, bool survey, struct err *err)
{
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < bag->n_parts; i++) {
        s = read_part(bag, bag->parts[i], survey, err);
    }
    return s;
}

/* ---- columns ---- */

/* Adds a column, unless its name is too long, is taken or there are too many. */
static status add_column(struct bag *bag, struct mcap_topic *topic, const char *name,
                         enum recording_kind kind, uint32_t width, struct place place,
                         struct err *err)
{
    char whole[2 * RECORDING_NAME_SIZE];
    const int n = snprintf(whole, sizeof whole, "%s/%s", topic->name, name);
    if (n < 0 || (size_t)n >= RECORDING_NAME_SIZE || bag->recording.n >= RECORDING_COLUMNS_MAX ||
        recording_find(&bag->recording, whole) != NULL) {
        bag->columns_left_out++;
        return STATUS_OK;
    }
    status s = recording_add(&bag->recording, whole, kind, width, topic->fields.rows, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct place *places = mem_resize(bag->places, bag->recording.n, sizeof *places);
    if (places == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: columns", topic->name);
    }
    bag->places = places;
    bag->places[bag->recording.n - 1] = place;
    return STATUS_OK;
}

/* Adds the clocks and fields of a topic as columns. */
static status add_columns(struct bag *bag, struct mcap_topic *topic, struct err *err)
{
    mcap_topic_find_stamp(topic);
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < MCAP_CLOCKS; i++) {
        if (i != MCAP_CLOCK_HEADER || topic->has_stamp) {
            s = add_column(bag, topic, clock_names[i], RECORDING_NUMBERS, 1,
                           (struct place){topic, true, i}, err);
        }
    }
    for (uint32_t i = 0; s == STATUS_OK && i < topic->fields.n; i++) {
        const struct message_field *field = &topic->fields.fields[i];
        const bool is_column = message_field_is_column(field);
        s = add_column(bag, topic, field->name,
                       is_column     ? RECORDING_NUMBERS
                       : field->text ? RECORDING_TEXT
                                     : RECORDING_OTHER,
                       is_column ? field->width : field->most, (struct place){topic, false, i},
                       err);
    }
    return s;
}

/* ---- opening ---- */

static void bag_close(struct log_file *file)
{
    struct bag *bag = (struct bag *)file;
    for (size_t i = 0; i < bag->n_topics; i++) {
        mcap_topic_free(bag->topics[i]);
    }
    for (size_t i = 0; i < bag->n_parts; i++) {
        mem_free(bag->parts[i]);
    }
    recording_fini(&bag->recording);
    text_fini(&bag->warnings);
    mem_free(bag->topics);
    mem_free(bag->parts);
    mem_free(bag->places);
    mem_free(bag->path);
    mem_free(bag);
}

/* Lists the files of the recording: those of a bag's metadata.yaml, or the file itself. */
static status find_parts(struct bag *bag, struct err *err)
{
    unsigned char head[LOG_FILE_HEAD_SIZE];
    int fd;
    size_t n = 0;
    if (file_open_regular(bag->path, &fd, NULL) == STATUS_OK) {
        const ssize_t got = pread(fd, head, sizeof head, 0);
        n = got > 0 ? (size_t)got : 0;
        close(fd);
    }
    if (is_sqlite_bag(head, n)) {
        return err_set(
            err, STATUS_INVALID,
            "%s: a ROS 2 bag in SQLite (.db3): convert it to MCAP with `ros2 bag convert "
            "-i BAG -o out.yaml`, where out.yaml has: output_bags: [{uri: BAG_mcap, "
            "storage_id: mcap, all_topics: true}]",
            bag->path);
    }
    if (rosbag_metadata_recognise(head, n)) {
        return rosbag_metadata_read(bag->path, &bag->parts, &bag->n_parts, err);
    }
    bag->parts = mem_array(1, sizeof *bag->parts);
    if (bag->parts == NULL || (bag->parts[0] = mem_text(bag->path)) == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", bag->path);
    }
    bag->n_parts = 1;
    return STATUS_OK;
}

static status bag_open(struct log_file **file, const char *path, struct err *err)
{
    struct bag *bag = mem_new(sizeof *bag);
    if (bag == NULL || (bag->path = mem_text(path)) == NULL) {
        mem_free(bag);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    bag->base.format = &log_format_mcap;
    status s = find_parts(bag, err);
    if (s == STATUS_OK) {
        s = read_parts(bag, true, err);
    }
    for (size_t i = 0; s == STATUS_OK && i < bag->n_topics; i++) {
        if (bag->topics[i]->unread == NULL) {
            s = add_columns(bag, bag->topics[i], err);
            if (s != STATUS_OK) {
                (void)err_context(err, s, "%s: topic %s", path, bag->topics[i]->name);
            }
        }
    }
    if (s != STATUS_OK) {
        bag_close(&bag->base);
        return s;
    }
    *file = &bag->base;
    return STATUS_OK;
}

/* ---- reading ---- */

static uint64_t bag_recordings(const struct log_file *file)
{
    (void)file;
    return 1;
}

static status bag_describe(struct log_file *file, uint64_t recording_i, struct recording *recording,
                           struct err *err)
{
    (void)recording_i;
    return recording_append(recording, &((const struct bag *)file)->recording, err);
}

/* Marks the topics to load: the one that is needed, and the smallest of the others. */
static status choose(struct bag *bag, struct mcap_topic *needed, struct err *err)
{
    uint64_t bytes = bag->bytes + message_fields_bytes(&needed->fields);
    if (bytes > LOG_FILE_BYTES_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%s: topic %s: the values that are needed take more than %llu bytes: split "
                       "the bag",
                       bag->path, needed->name, (unsigned long long)LOG_FILE_BYTES_MAX);
    }
    needed->wanted = true;
    for (;;) {
        struct mcap_topic *smallest = NULL;
        for (size_t i = 0; i < bag->n_topics; i++) {
            struct mcap_topic *topic = bag->topics[i];
            const bool open = topic->unread == NULL && !topic->loaded && !topic->wanted;
            if (open && (smallest == NULL || message_fields_bytes(&topic->fields) <
                                                 message_fields_bytes(&smallest->fields))) {
                smallest = topic;
            }
        }
        if (smallest == NULL || bytes + message_fields_bytes(&smallest->fields) > EAGER_BYTES_MAX) {
            return STATUS_OK;
        }
        bytes += message_fields_bytes(&smallest->fields);
        smallest->wanted = true;
    }
}

/* Reads the file a second time for the values of the topic. */
static status load(struct bag *bag, struct mcap_topic *needed, struct err *err)
{
    status s = choose(bag, needed, err);
    for (size_t i = 0; s == STATUS_OK && i < bag->n_topics; i++) {
        if (bag->topics[i]->wanted) {
            bag->bytes += message_fields_bytes(&bag->topics[i]->fields);
            s = mcap_topic_load(bag->topics[i], err);
        }
    }
    if (s == STATUS_OK) {
        s = read_parts(bag, false, err);
    }
    for (size_t i = 0; i < bag->n_topics; i++) {
        struct mcap_topic *topic = bag->topics[i];
        if (s == STATUS_OK && topic->wanted && topic->fields.row != topic->fields.rows) {
            s = err_set(err, STATUS_CORRUPT, "%s: topic %s: changed while it was read", bag->path,
                        topic->name);
        }
        topic->loaded |= topic->wanted && s == STATUS_OK;
        topic->wanted = false;
    }

    for (size_t i = 0; s == STATUS_OK && i < bag->n_topics; i++) {
        if (bag->topics[i]->loaded) {
            mcap_topic_set_header(bag->topics[i]);
        }
    }
    return s;
}

static status bag_read(struct log_file *file, uint64_t recording_i,
                       const struct recording_column *column, uint64_t first, uint64_t n,
                       double *values, struct err *err)
{
    (void)recording_i;
    struct bag *bag = (struct bag *)file;
    const struct place *place = &bag->places[column->index];
    if (!place->topic->loaded) {
        const status s = load(bag, place->topic, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    const double *from = place->is_clock ? place->topic->stamps[place->i]
                                         : place->topic->fields.fields[place->i].values;
    if (n > 0) {
        memcpy(values, from + first * column->width, n * column->width * sizeof *values);
    }
    return STATUS_OK;
}

/* Opening a bag again means to read all of it. The lists of fields and columns take some, too. */
static uint64_t bag_memory(const struct log_file *file)
{
    const struct bag *bag = (const struct bag *)file;
    return bag->bytes + (uint64_t)bag->recording.n *
                            (sizeof(struct recording_column) + 2 * sizeof(struct message_field));
}

static void bag_notes(const struct log_file *file, bool warnings, struct text *notes)
{
    const struct bag *bag = (const struct bag *)file;
    if (bag->warnings.bytes != NULL) {
        text_add(notes, bag->warnings.bytes);
    }
    if (warnings) {
        return;
    }
    for (size_t i = 0; i < bag->n_topics; i++) {
        mcap_topic_notes(bag->topics[i], notes);
    }
    if (bag->columns_left_out > 0) {
        text_format(notes,
                    "%u fields are left out: their names are too long, or there are too many\n",
                    bag->columns_left_out);
    }
}

const struct log_format log_format_mcap = {
    .name = "mcap",
    .what = "MCAP, as recorded by ROS 2",
    .recognise = bag_recognise,
    .open = bag_open,
    .close = bag_close,
    .n_recordings = bag_recordings,
    .describe = bag_describe,
    .read = bag_read,
    .memory = bag_memory,
    .notes = bag_notes,
};
