/* The fields of a topic's messages, and their values as columns.
 *
 * A topic is read twice. The survey learns which fields there are and how many values each has in a
 * message; the values are kept in the second reading, when the sizes of all columns are known:
 *
 *     message_fields_begin, message_fields_put .., message_fields_end     for every message
 *     message_fields_load                                                makes room for the values
 *     message_fields_begin, message_fields_put .., message_fields_end     the same messages again
 *
 * A field whose number of values differs from message to message is no column; neither is text.
 * In a message that does not have the field, its values are NaN. */
#ifndef HINDCAST_LOGS_MESSAGE_FIELDS_H
#define HINDCAST_LOGS_MESSAGE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/logs/columns/recording.h"

#define MESSAGE_TEXTS_SIZE 512u /* bytes of the texts that are kept of a field */

enum number_type {
    NUMBER_BOOL,
    NUMBER_INT8,
    NUMBER_UINT8,
    NUMBER_INT16,
    NUMBER_UINT16,
    NUMBER_INT32,
    NUMBER_UINT32,
    NUMBER_INT64,
    NUMBER_UINT64,
    NUMBER_FLOAT32,
    NUMBER_FLOAT64,
};

struct message_field {
    char name[RECORDING_NAME_SIZE]; /* path in the message: "header/stamp/sec" */
    bool text;                      /* texts, which are no numbers */
    bool seen;                      /* in an earlier message */
    bool varying;                   /* the number of values differs between messages */
    bool changing;                  /* texts: they differ between messages */
    uint32_t width;                 /* values in the first message that has the field */
    uint32_t most;                  /* values in the longest message */
    uint32_t count;                 /* values in the current message */
    bool touched;                   /* the current message has the field; otherwise it is missing */
    uint64_t hash, hash_first;      /* of the texts in the current and the first message */
    double *values;                 /* (rows, width); NULL: not loaded */
    char *texts;                    /* of the first message, separated by ", "; NULL: none */
};

/* Initialise with {0}. */
struct message_fields {
    uint32_t n, capacity;
    struct message_field *fields; /* (n) */
    uint64_t rows;                /* messages of the survey */
    bool loading;
    uint64_t row;   /* messages of the second reading */
    uint32_t guess; /* where message_fields_find looks first */
};

void message_fields_fini(struct message_fields *fields);
/* Appends a field. Returns INVALID if its name is too long or there are too many. */
status message_fields_add(struct message_fields *fields, const char *name, bool text, uint32_t *i,
                          struct err *err) MUST_CHECK;
/* Stores the index of a field. Fast where fields are looked up in their order. */
bool message_fields_find(struct message_fields *fields, const char *name, uint32_t *i);

/* Whether the field is a column: numbers, of one width, few enough. */
bool message_field_is_column(const struct message_field *field);

void message_fields_begin(struct message_fields *fields);
/* Appends values of field i: one, n packed in bytes (of the other byte order if `swap`), or a
 * text of n bytes. */
void message_fields_put(struct message_fields *fields, uint32_t i, double value);
void message_fields_put_packed(struct message_fields *fields, uint32_t i, enum number_type type,
                               const uint8_t *bytes, uint32_t n, bool swap);
void message_fields_put_text(struct message_fields *fields, uint32_t i, const char *text, size_t n);
/* Ends a message. Returns CORRUPT if the messages are not those of the survey. */
status message_fields_end(struct message_fields *fields, struct err *err) MUST_CHECK;

/* Bytes that the values of all columns take. */
uint64_t message_fields_bytes(const struct message_fields *fields);
/* Makes room for the values, which are NaN until they are put. */
status message_fields_load(struct message_fields *fields, struct err *err) MUST_CHECK;

/* Bytes of a number. */
uint32_t number_size(enum number_type type);

#endif
