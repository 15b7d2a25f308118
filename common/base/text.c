/* A text that grows by doubling, with one flag for all failures: after one that could not be
 * served, further pieces are dropped, and text_take reports the loss. Callers add pieces without
 * looking and check once, at the end.
 *
 * Once there are bytes, a final 0 follows them, which `size` does not count. */
#include "common/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

/* Also for a text that was taken or never used: both are empty. */
void text_fini(struct text *text)
{
    mem_free(text->bytes);
    *text = (struct text){0};
}

/* Makes space for n more bytes and the final 0. False: memory failed, now or before. */
static bool reserve(struct text *text, size_t n)
{
    if (text->failed) {
        return false;
    }
    /* One byte more than n: the final 0 is kept at all times. */
    if (text->room - text->size <= n) {
        /* Doubling keeps the copies small in comparison with the text. */
        const size_t room = 2 * (text->size + n) + 256;
        char *larger = mem_resize(text->bytes, room, 1);
        if (larger == NULL) {
            text->failed = true;
            return false;
        }
        text->bytes = larger;
        text->room = room;
    }
    return true;
}

void text_add_bytes(struct text *text, const void *bytes, size_t n)
{
    if (reserve(text, n)) {
        memcpy(text->bytes + text->size, bytes, n);
        text->size += n;
        text->bytes[text->size] = '\0';
    }
}

void text_add(struct text *text, const char *piece)
{
    text_add_bytes(text, piece, strlen(piece));
}

void text_format(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    /* First the length, then the text; the arguments are read twice. */
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(n >= 0);
    if (reserve(text, (size_t)n)) {
        va_start(args, format);
        /* vsnprintf writes a final 0, for which reserve has made room. */
        vsnprintf(text->bytes + text->size, (size_t)n + 1, format, args);
        va_end(args);
        text->size += (size_t)n;
    }
}

void text_add_quoted(struct text *text, const char *piece)
{
    text_add(text, "\"");
    /* Everything that JSON wants escaped; bytes of UTF-8 pass. */
    for (const char *c = piece; *c != 0; c++) {
        if (*c == '"' || *c == '\\') {
            text_format(text, "\\%c", *c);
        } else if ((unsigned char)*c < 0x20) {
            text_format(text, "\\u%04x", (unsigned)*c);
        } else {
            text_add_bytes(text, c, 1);
        }
    }
    text_add(text, "\"");
}

void text_add_wrapped(struct text *text, const char *paragraph, size_t indent, size_t width)
{
    size_t column = 0; /* 0: the line has no word yet */
    for (const char *word = paragraph; *word != '\0';) {
        const size_t length = strcspn(word, " ");
        if (column > 0 && column + 1 + length <= width) {
            text_add(text, " ");
            column++;
        } else {
            text_format(text, "%s%*s", column > 0 ? "\n" : "", (int)indent, "");
            column = indent;
        }
        text_add_bytes(text, word, length);
        column += length;
        word += length + (word[length] == ' ');
    }
    text_add(text, "\n");
}

void text_add_number(struct text *text, double value)
{
    /* Long enough for 17 digits, a sign, a point and an exponent. */
    char digits[40];
    /* 17 digits always read back as the same double; most numbers need fewer. */
    for (int n = 15; n <= 17; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, value);
        if (strtod(digits, NULL) == value) {
            break;
        }
    }
    text_add(text, digits);
}

char *text_take(struct text *text, size_t *size)
{
    text_add(text, ""); /* so that an empty one is a text too */
    /* Half a text is no text. */
    if (text->failed) {
        text_fini(text);
        return NULL;
    }
    /* The bytes are the caller's from here on, and the text is empty again. */
    char *bytes = text->bytes;
    if (size != NULL) {
        *size = text->size;
    }
    *text = (struct text){0};
    return bytes;
}
