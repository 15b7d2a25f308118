/* One value of one option: from text into its field, and back.
 *
 * Parsing is strict: the whole text must be the value, in range, or the error says what was
 * expected. Printing is its inverse: what is printed reads back as the same value, so that a
 * configuration that was logged, or kept in a checkpoint, can be used again.
 *
 * config_value_parse changes a field only when the whole value is good. config_list_add, for lists
 * that come item by item from a file, adds to the field itself. */
#include "common/base/config_value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Fields, and what they take ---- */

void *config_field(const struct config_section *section, const struct config_option *option)
{
    return (char *)section->values + option->offset;
}

size_t config_value_size(const struct config_option *option)
{
    /* The types as they are declared in config.h. */
    switch (option->type) {
    case CONFIG_BOOL:
        return sizeof(bool);
    case CONFIG_INT:
        return sizeof(int64_t);
    case CONFIG_REAL:
        return sizeof(double);
    case CONFIG_TEXT:
    case CONFIG_CHOICE:
        return CONFIG_TEXT_SIZE;
    case CONFIG_INTS:
        return sizeof(struct config_ints);
    case CONFIG_TEXTS:
        return sizeof(struct config_texts);
    }
    return 0;
}

bool config_is_list(const struct config_option *option)
{
    return option->type == CONFIG_INTS || option->type == CONFIG_TEXTS;
}

/* min == max means that there are none. */
static bool has_limits(const struct config_option *option)
{
    return option->min < option->max;
}

/* Integers are compared as doubles, which is exact up to 2^53. */
static bool within(const struct config_option *option, double value)
{
    return !has_limits(option) || (value >= option->min && value <= option->max);
}

/* These take K, M, G and T behind the number. */
static bool in_bytes(const struct config_option *option)
{
    return option->unit != NULL && strcmp(option->unit, "bytes") == 0;
}

void config_expected(const struct config_option *option, char *text, size_t size)
{
    /* " 1..65536", for numbers that have limits. */
    char limits[64] = "";
    if (has_limits(option)) {
        snprintf(limits, sizeof limits, " %.15g..%.15g", option->min, option->max);
    }
    /* One phrase for each type, to stand behind "expected". */
    switch (option->type) {
    case CONFIG_BOOL:
        snprintf(text, size, "true or false");
        break;
    case CONFIG_INT:
        /* Sizes show that suffixes are allowed. */
        snprintf(text, size, in_bytes(option) ? "bytes, such as 4096 or 64M,%s" : "an integer%s",
                 limits);
        break;
    case CONFIG_REAL:
        snprintf(text, size, "a number%s", limits);
        break;
    case CONFIG_TEXT:
        snprintf(text, size, "text of at most %d bytes", CONFIG_TEXT_SIZE - 1);
        break;
    case CONFIG_CHOICE:
        /* The table has choices with bars between them, which read well as they are. */
        snprintf(text, size, "one of %s", option->choices);
        break;
    case CONFIG_INTS:
        snprintf(text, size, "a list of at most %d integers%s", CONFIG_LIST_MAX, limits);
        break;
    case CONFIG_TEXTS:
        snprintf(text, size, "a list of at most %d texts", CONFIG_LIST_MAX);
        break;
    }
}

/* The error of all parsers: the text as it was given, and what would have been right. */
static status refuse(const struct config_option *option, const char *text, struct err *err)
{
    char expected[256];
    config_expected(option, expected, sizeof expected);
    return err_set(err, STATUS_INVALID, "\"%.64s\": expected %s", text, expected);
}

/* ---- From text ---- */

/* A suffix multiplies by a power of 1024 and is allowed where bytes are counted. *shift is that
 * power as bits, 0 where there is no suffix. False: this is no suffix. */
static bool parse_suffix(const char *end, bool bytes, int *shift)
{
    *shift = 0;
    if (*end == '\0') {
        return true;
    }
    const char *letters = "KMGT";
    /* The place of a letter in this row is its power of 1024. */
    const char *found = strchr(letters, *end);
    if (!bytes || found == NULL || end[1] != '\0') {
        return false;
    }
    *shift = 10 * (int)(found - letters + 1);
    return true;
}

/* Decimal, where bytes are counted with a suffix; the whole text, without overflow, in range. */
static bool parse_int(const struct config_option *option, const char *text, int64_t *value)
{
    /* strtoll skips spaces and takes an empty text; a digit must come first. */
    const char *digits = text + (*text == '-' || *text == '+');
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *end = NULL;
    int shift = 0;
    /* Too many digits show in errno only. */
    errno = 0;
    const long long parsed = strtoll(text, &end, 10);
    if (errno != 0 || !parse_suffix(end, in_bytes(option), &shift)) {
        return false;
    }
    /* Neither the suffix nor the digits may overflow. */
    int64_t scaled;
    if (__builtin_mul_overflow((int64_t)parsed, (int64_t)1 << shift, &scaled) ||
        !within(option, (double)scaled)) {
        return false;
    }
    *value = scaled;
    return true;
}

/* A finite number in range, written as C and YAML write it; the whole text. */
static bool parse_real(const struct config_option *option, const char *text, double *value)
{
    /* strtod also takes hexadecimal, "inf" and "nan". */
    if (text[0] == '\0' || strspn(text, "0123456789+-.eE") != strlen(text)) {
        return false;
    }
    /* What is too large becomes infinite and is refused; what is too small becomes 0. */
    char *end = NULL;
    const double parsed = strtod(text, &end);
    if (*end != '\0' || !isfinite(parsed) || !within(option, parsed)) {
        return false;
    }
    *value = parsed;
    return true;
}

/* Is the text one of "a|b|c", as a whole? */
static bool is_choice(const char *choices, const char *text)
{
    const size_t length = strlen(text);
    /* Piece by piece between the bars, so that a part of a choice is not taken for it. */
    for (const char *at = choices; at != NULL && length > 0;) {
        const char *bar = strchrnul(at, '|');
        if ((size_t)(bar - at) == length && memcmp(at, text, length) == 0) {
            return true;
        }
        at = *bar == '|' ? bar + 1 : NULL;
    }
    return false;
}

/* Copies it when it fits. */
static bool parse_text(const char *text, char field[CONFIG_TEXT_SIZE])
{
    const size_t length = strlen(text);
    if (length >= CONFIG_TEXT_SIZE) {
        return false;
    }
    /* Zeros to the end, so that equal texts are equal bytes. */
    memset(field, 0, CONFIG_TEXT_SIZE);
    memcpy(field, text, length);
    return true;
}

void config_list_clear(const struct config_option *option, void *field)
{
    memset(field, 0,
           option->type == CONFIG_INTS ? sizeof(struct config_ints) : sizeof(struct config_texts));
}

status config_list_add(const struct config_option *option, void *field, const char *text,
                       struct err *err)
{
    bool ok = false;
    /* An item is parsed into the next free place and counts only when it is good. An empty text is
     * refused: it comes from two commas in a row. */
    if (option->type == CONFIG_INTS) {
        struct config_ints *list = field;
        ok = list->n < CONFIG_LIST_MAX && parse_int(option, text, &list->items[list->n]);
        list->n += ok ? 1 : 0;
    } else {
        struct config_texts *list = field;
        ok = list->n < CONFIG_LIST_MAX && text[0] != '\0' && parse_text(text, list->items[list->n]);
        list->n += ok ? 1 : 0;
    }
    return ok ? STATUS_OK : refuse(option, text, err);
}

/* Adds the items between the commas of text(size). */
static status add_items(const struct config_option *option, void *list, const char *text,
                        size_t size, struct err *err)
{
    /* Items between commas, with spaces around them. */
    const char *end = text + size;
    while (text < end) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *stop = comma == NULL ? end : comma;
        /* Spaces on either side do not belong to the item. */
        while (text < stop && *text == ' ') {
            text++;
        }
        size_t length = (size_t)(stop - text);
        while (length > 0 && text[length - 1] == ' ') {
            length--;
        }
        /* One byte longer than allowed: an item that is too long is refused, not cut. */
        char item[CONFIG_TEXT_SIZE + 1];
        snprintf(item, sizeof item, "%.*s",
                 (int)(length < CONFIG_TEXT_SIZE ? length : CONFIG_TEXT_SIZE), text);
        const status s = config_list_add(option, list, item, err);
        if (s != STATUS_OK) {
            return s;
        }
        if (comma != NULL && comma + 1 == end) {
            return refuse(option, ",", err); /* nothing behind the last comma */
        }
        text = comma == NULL ? end : comma + 1;
    }
    return STATUS_OK;
}

/* All items of a flag or default: "[1, 2]" or "1,2". */
static status parse_list(const struct config_option *option, void *field, const char *text,
                         struct err *err)
{
    union {
        struct config_ints ints;
        struct config_texts texts;
    } list;
    config_list_clear(option, &list);
    /* Brackets are optional in flags. */
    size_t size = strlen(text);
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        text++;
        size -= 2;
    }
    /* Into a list aside: the field changes only when all items are good. */
    const status s = add_items(option, &list, text, size, err);
    if (s == STATUS_OK) {
        memcpy(field, &list, option->type == CONFIG_INTS ? sizeof list.ints : sizeof list.texts);
    }
    return s;
}

status config_value_parse(const struct config_option *option, void *field, const char *text,
                          struct err *err)
{
    /* Each parser leaves the field alone when it refuses. */
    bool ok = false;
    switch (option->type) {
    case CONFIG_BOOL:
        ok = strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
        if (ok) {
            *(bool *)field = text[0] == 't';
        }
        break;
    case CONFIG_INT:
        ok = parse_int(option, text, field);
        break;
    case CONFIG_REAL:
        ok = parse_real(option, text, field);
        break;
    case CONFIG_TEXT:
        ok = parse_text(text, field);
        break;
    case CONFIG_CHOICE:
        ok = is_choice(option->choices, text) && parse_text(text, field);
        break;
    case CONFIG_INTS:
    case CONFIG_TEXTS:
        /* Lists tell which item is wrong, so the error is theirs. */
        return parse_list(option, field, text, err);
    }
    return ok ? STATUS_OK : refuse(option, text, err);
}

/* ---- To text ---- */

void config_text_print(struct text *out, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./";
    const char first = text[0];
    /* Letters first: a leading digit or sign could read as a number, "~" as nothing. */
    const bool bare =
        ((first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '/') &&
        strspn(text, plain) == strlen(text);
    if (bare) {
        text_add(out, text);
        return;
    }
    /* Quoted, with the escapes of YAML's double quotes. */
    text_add(out, "\"");
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\') {
            text_format(out, "\\%c", *at);
        } else if (*at < 0x20 || *at == 0x7f) {
            text_format(out, "\\x%02x", *at);
        } else {
            text_add_bytes(out, at, 1);
        }
    }
    text_add(out, "\"");
}

void config_value_print(struct text *out, const struct config_option *option, const void *field)
{
    /* The inverse of config_value_parse. */
    switch (option->type) {
    case CONFIG_BOOL:
        text_add(out, *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_INT:
        text_format(out, "%" PRId64, *(const int64_t *)field);
        break;
    case CONFIG_REAL:
        /* No more digits than are needed to read back the same number. */
        text_add_number(out, *(const double *)field);
        break;
    case CONFIG_TEXT:
    case CONFIG_CHOICE:
        config_text_print(out, field);
        break;
    case CONFIG_INTS: {
        /* The form that YAML and flags share: [1, 2]. */
        const struct config_ints *list = field;
        text_add(out, "[");
        for (size_t i = 0; i < list->n; i++) {
            text_format(out, "%s%" PRId64, i == 0 ? "" : ", ", list->items[i]);
        }
        text_add(out, "]");
        break;
    }
    case CONFIG_TEXTS: {
        const struct config_texts *list = field;
        text_add(out, "[");
        /* Quoted where YAML needs it. */
        for (size_t i = 0; i < list->n; i++) {
            text_add(out, i == 0 ? "" : ", ");
            config_text_print(out, list->items[i]);
        }
        text_add(out, "]");
        break;
    }
    }
}
