/* One topic of an MCAP file: how its messages are read, and the values of their fields. */
#ifndef HINDCAST_LOGS_MCAP_TOPIC_H
#define HINDCAST_LOGS_MCAP_TOPIC_H

#include "common/base/text.h"
#include "common/logs/messages/mcap.h"
#include "common/logs/messages/message_fields.h"
#include "common/logs/messages/ros_definition.h"

/* The columns of a topic besides its fields. */
enum mcap_clock { MCAP_CLOCK_LOG, MCAP_CLOCK_PUBLISH, MCAP_CLOCK_HEADER, MCAP_CLOCKS };

struct mcap_topic {
    char *name, *encoding; /* of its first channel */
    char *schema_name, *schema_encoding;
    char *definition; /* (definition_size) */
    size_t definition_size;
    struct ros_definition ros;
    bool is_ros;
    struct message_fields fields;
    char *unread; /* why its messages are not read; NULL: they are */
    uint64_t messages;
    uint32_t sec, nanosec; /* fields of the header's stamp, if `has_stamp` */
    bool has_stamp;
    double *stamps[MCAP_CLOCKS]; /* (rows) seconds; NULL: no room yet */
    bool loaded, wanted;         /* the caller's: the values are there, or are to be read next */
};

/* Makes the topic of a channel, which it copies, and decides how its messages are read, or why they
 * are not. */
status mcap_topic_new(struct mcap_topic **topic, const struct mcap_channel *channel,
                      struct err *err) MUST_CHECK;
/* NULL is allowed. */
void mcap_topic_free(struct mcap_topic *topic);

/* Returns whether a channel writes to the topic in the same way as its first one. */
bool mcap_topic_same(const struct mcap_topic *topic, const struct mcap_channel *channel);

/* Reads a message: its fields, and its clocks where the topic is being loaded. */
status mcap_topic_read(struct mcap_topic *topic, const struct mcap_message *message,
                       struct err *err) MUST_CHECK;
/* After all messages were read once: finds the fields with the stamp of the message itself. */
void mcap_topic_find_stamp(struct mcap_topic *topic);
/* Makes room for the values, which mcap_topic_read then stores when the messages are read again. */
status mcap_topic_load(struct mcap_topic *topic, struct err *err) MUST_CHECK;
/* After that: sets the clock MCAP_CLOCK_HEADER from its fields, if there is a stamp. */
void mcap_topic_set_header(struct mcap_topic *topic);

/* Appends lines on the topic, if it is not read, or on which of its fields are no columns. */
void mcap_topic_notes(const struct mcap_topic *topic, struct text *notes);

/* Returns the nanoseconds as seconds. */
double mcap_seconds(uint64_t ns);

#endif
