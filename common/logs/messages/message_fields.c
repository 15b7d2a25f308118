/* Counts the values of each field in the survey, and stores them in the second reading. Both run
 * through the same functions, so that what is counted is what is stored. */
#include "common/logs/messages/message_fields.h"

#include <math.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/memory.h"

#define HASH_START 14695981039346656037ull /* FNV-1a */
#define HASH_PRIME 1099511628211ull

void message_fields_fini(struct message_fields *fields)
{
    for (uint32_t i = 0; i < fields->n; i++) {
        mem_free(fields->fields[i].values);
        mem_free(fields->fields[i].texts);
    }
    mem_free(fields->fields);
    *fields = (struct message_fields){0};
}

status message_fields_add(struct message_fields *fields, const char *name, bool text, uint32_t *i,
                          struct err *err)
{
    const size_t length = strlen(name);
    if (length == 0 || length >= RECORDING_NAME_SIZE) {
        return err_set(err, STATUS_INVALID,
                       "a field's name has %zu bytes, expected 1..%u: \"%.60s\"", length,
                       RECORDING_NAME_SIZE - 1, name);
    }
    if (fields->n >= RECORDING_COLUMNS_MAX) {
        return err_set(err, STATUS_INVALID, "more than %u fields", RECORDING_COLUMNS_MAX);
    }
    if (fields->n == fields->capacity) {
        const uint32_t capacity = fields->capacity == 0 ? 16 : 2 * fields->capacity;
        struct message_field *grown = mem_resize(fields->fields, capacity, sizeof *grown);
        if (grown == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%u fields", capacity);
        }
        fields->fields = grown;
        fields->capacity = capacity;
    }
    struct message_field *field = &fields->fields[fields->n];
    *field = (struct message_field){.text = text, .hash = HASH_START};
    memcpy(field->name, name, length + 1);
    *i = fields->n++;
    return STATUS_OK;
}

bool message_fields_find(struct message_fields *fields, const char *name, uint32_t *i)
{
    /* Messages of a topic are alike, so the next field is the one after the last one. */
    for (uint32_t k = 0; k < fields->n; k++) {
        uint32_t at = fields->guess + k;
        at -= at >= fields->n ? fields->n : 0;
        if (strcmp(fields->fields[at].name, name) == 0) {
            fields->guess = at + 1 < fields->n ? at + 1 : 0;
            *i = at;
            return true;
        }
    }
    return false;
}

bool message_field_is_column(const struct message_field *field)
{
    return !field->text && !field->varying && field->width >= 1 &&
           field->width <= RECORDING_WIDTH_MAX;
}

void message_fields_begin(struct message_fields *fields)
{
    for (uint32_t i = 0; i < fields->n; i++) {
        fields->fields[i].count = 0;
        fields->fields[i].touched = false;
        fields->fields[i].hash = HASH_START;
    }
    fields->guess = 0;
}

/* ---- values ---- */

/* The place of the next n values of field i, which are counted; NULL: they are not stored. */
static double *place_of(struct message_fields *fields, uint32_t i, uint32_t n)
{
    ASSERT(i < fields->n);
    struct message_field *field = &fields->fields[i];
    double *to = NULL;
    field->touched = true;
    if (fields->loading && field->values != NULL && fields->row < fields->rows &&
        n <= field->width && field->count <= field->width - n) {
        to = &field->values[fields->row * field->width + field->count];
    }
    /* A count that is full stays so: it then differs from every width that is a column's. */
    field->count = n > UINT32_MAX - field->count ? UINT32_MAX : field->count + n;
    return to;
}

void message_fields_put(struct message_fields *fields, uint32_t i, double value)
{
    double *to = place_of(fields, i, 1);
    if (to != NULL) {
        *to = value;
    }
}

uint32_t number_size(enum number_type type)
{
    static const uint8_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
    return sizes[type];
}

/* The 1, 2, 4 or 8 bytes of a number as an unsigned one. */
static uint64_t bits_of(const uint8_t *bytes, uint32_t size, bool swap)
{
    switch (size) {
    case 1:
        return bytes[0];
    case 2:
        return swap ? __builtin_bswap16(bytes_get16(bytes)) : bytes_get16(bytes);
    case 4:
        return swap ? __builtin_bswap32(bytes_get32(bytes)) : bytes_get32(bytes);
    default:
        return swap ? __builtin_bswap64(bytes_get64(bytes)) : bytes_get64(bytes);
    }
}

static double number_of(enum number_type type, uint64_t bits)
{
    float single;
    double value;
    const uint32_t bits32 = (uint32_t)bits;
    switch (type) {
    case NUMBER_BOOL:
        return bits != 0;
    case NUMBER_INT8:
        return (double)(int8_t)bits;
    case NUMBER_INT16:
        return (double)(int16_t)bits;
    case NUMBER_INT32:
        return (double)(int32_t)bits;
    case NUMBER_INT64:
        return (double)(int64_t)bits;
    case NUMBER_FLOAT32:
        memcpy(&single, &bits32, sizeof single);
        return (double)single;
    case NUMBER_FLOAT64:
        memcpy(&value, &bits, sizeof value);
        return value;
    case NUMBER_UINT8:
    case NUMBER_UINT16:
    case NUMBER_UINT32:
    case NUMBER_UINT64:
        break;
    }
    return (double)bits;
}

void message_fields_put_packed(struct message_fields *fields, uint32_t i, enum number_type type,
                               const uint8_t *bytes, uint32_t n, bool swap)
{
    double *to = place_of(fields, i, n);
    if (to != NULL) {
        const uint32_t size = number_size(type);
        for (uint32_t k = 0; k < n; k++) {
            to[k] = number_of(type, bits_of(bytes + (size_t)k * size, size, swap));
        }
    }
}

/* Appends a text to those that are kept, as far as there is room. Control characters become '?':
 * the texts are shown in comments of one line. */
static void keep_text(struct message_field *field, const char *text, size_t n)
{
    if (field->texts == NULL && (field->texts = mem_new(MESSAGE_TEXTS_SIZE)) == NULL) {
        return; /* the texts are a help to the reader and nothing depends on them */
    }
    size_t at = strlen(field->texts);
    if (at + n + 3 > MESSAGE_TEXTS_SIZE) {
        return;
    }
    if (at > 0) {
        memcpy(field->texts + at, ", ", 2);
        at += 2;
    }
    for (size_t k = 0; k < n; k++) {
        field->texts[at + k] = (unsigned char)text[k] < 0x20 || text[k] == 0x7f ? '?' : text[k];
    }
}

void message_fields_put_text(struct message_fields *fields, uint32_t i, const char *text, size_t n)
{
    struct message_field *field = &fields->fields[i];
    (void)place_of(fields, i, 1);
    field->varying |= !field->text; /* a field that is a number in other messages */
    for (size_t k = 0; k < n; k++) {
        field->hash = (field->hash ^ (unsigned char)text[k]) * HASH_PRIME;
    }
    field->hash = (field->hash ^ 0xffu) * HASH_PRIME; /* no byte of UTF-8: the end of a text */
    if (!field->seen) {
        keep_text(field, text, n);
    }
}

/* ---- messages ---- */

/* Learns from a message of the survey. */
static void learn(struct message_field *field)
{
    if (!field->touched) {
        return;
    }
    if (!field->seen) {
        field->seen = true;
        field->width = field->count;
        field->hash_first = field->hash;
    }
    field->varying |= field->count != field->width;
    field->changing |= field->text && field->hash != field->hash_first;
    field->most = field->count > field->most ? field->count : field->most;
}

status message_fields_end(struct message_fields *fields, struct err *err)
{
    if (!fields->loading) {
        for (uint32_t i = 0; i < fields->n; i++) {
            learn(&fields->fields[i]);
        }
        fields->rows++;
        return fields->rows <= RECORDING_ROWS_MAX
                   ? STATUS_OK
                   : err_set(err, STATUS_INVALID, "more than %llu messages", RECORDING_ROWS_MAX);
    }
    /* Someone may write the file between the two readings. */
    for (uint32_t i = 0; i < fields->n; i++) {
        const struct message_field *field = &fields->fields[i];
        if (message_field_is_column(field) && field->touched && field->count != field->width) {
            return err_set(err, STATUS_CORRUPT, "%s: changed while it was read", field->name);
        }
    }
    return ++fields->row <= fields->rows
               ? STATUS_OK
               : err_set(err, STATUS_CORRUPT, "has messages that came while it was read");
}

uint64_t message_fields_bytes(const struct message_fields *fields)
{
    uint64_t n = 2; /* log time and publish time */
    for (uint32_t i = 0; i < fields->n; i++) {
        n += message_field_is_column(&fields->fields[i]) ? fields->fields[i].width : 0;
    }
    return n * fields->rows * sizeof(double);
}

status message_fields_load(struct message_fields *fields, struct err *err)
{
    fields->loading = true;
    fields->row = 0;
    for (uint32_t i = 0; i < fields->n; i++) {
        struct message_field *field = &fields->fields[i];
        if (!message_field_is_column(field) || field->values != NULL) {
            continue;
        }
        const uint64_t n = fields->rows * field->width;
        field->values = mem_array(n > 0 ? n : 1, sizeof *field->values);
        if (field->values == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: %llu values", field->name,
                           (unsigned long long)n);
        }
        for (uint64_t k = 0; k < n; k++) {
            field->values[k] = NAN;
        }
    }
    return STATUS_OK;
}
