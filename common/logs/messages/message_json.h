/* Messages in JSON. Their fields become known as messages are read. */
#ifndef HINDCAST_LOGS_MESSAGE_JSON_H
#define HINDCAST_LOGS_MESSAGE_JSON_H

#include "common/logs/messages/message_fields.h"

#define MESSAGE_JSON_MAX (16u << 20) /* bytes of a message */

/* Puts the values of a message into `fields`, between message_fields_begin and message_fields_end.
 * The field `a/b` is b of the object a; what is in an array is put side by side; a message that is
 * no object is the field `value`. true and false are 1 and 0, null is a missing value. NaN and
 * Infinity, which Python writes, are read. Returns CORRUPT with the byte where the text is not
 * JSON. */
status message_json_read(const uint8_t *bytes, size_t size, struct message_fields *fields,
                         struct err *err) MUST_CHECK;

#endif
