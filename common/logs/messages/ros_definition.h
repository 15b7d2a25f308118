/* Definitions of ROS 2 messages as text ("ros2msg"), and messages by them in CDR.
 *
 * A definition is the .msg file of a type, followed by those of the types in it, each after a line
 * of '=' and a line "MSG: package/Type". It is flattened into a tree of fields; the numbers and
 * texts in it are the leaves, which become the fields of message_fields.h. Values in sequences of
 * messages are put side by side.
 *
 * Sources: the interface definitions of ROS 2 (design.ros2.org), and CDR as in OMG DDSI-RTPS 2.3,
 * section 10, with the alignment of XCDR version 1. */
#ifndef HINDCAST_LOGS_ROS_DEFINITION_H
#define HINDCAST_LOGS_ROS_DEFINITION_H

#include "common/logs/messages/message_fields.h"

#define ROS_FIELDS_MAX 8192u /* of a flattened definition */
#define ROS_DEPTH_MAX  32u   /* of messages in messages */

enum ros_kind { ROS_NUMBER, ROS_TEXT, ROS_MESSAGE };
enum ros_shape { ROS_ONE, ROS_ARRAY, ROS_SEQUENCE };

struct ros_field {
    enum ros_kind kind;
    enum number_type type; /* ROS_NUMBER */
    enum ros_shape shape;
    uint32_t n;                /* ROS_ARRAY: its length */
    uint32_t leaf;             /* ROS_NUMBER, ROS_TEXT: index in message_fields */
    uint32_t first, n_members; /* ROS_MESSAGE: its fields */
    const char *name;          /* in the definition's text, not terminated; for errors */
    uint32_t name_size;
};

/* fields[0] is the message itself. */
struct ros_definition {
    uint32_t n, capacity;
    struct ros_field *fields;
};

/* Parses the definition (size) of the message `type`, such as "sensor_msgs/msg/Imu", and adds its
 * leaves to the empty `fields`. The text must live as long as the definition. Returns INVALID with
 * the type and field that cannot be read. */
status ros_definition_parse(struct ros_definition *definition, const char *type, const char *text,
                            size_t size, struct message_fields *fields, struct err *err) MUST_CHECK;
void ros_definition_fini(struct ros_definition *definition);

/* Puts the values of a message of `size` bytes into `fields`, between message_fields_begin and
 * message_fields_end. Returns CORRUPT with the field and byte where it does not fit the
 * definition. */
status ros_message_read(const struct ros_definition *definition, const uint8_t *bytes, size_t size,
                        struct message_fields *fields, struct err *err) MUST_CHECK;

#endif
