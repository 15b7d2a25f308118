/* A text that grows. Where memory fails once, the whole text has failed, and text_take says so:
 * nothing is left out in silence. (open_memstream leaves out the piece and says nothing of it.) */
#ifndef HINDCAST_BASE_TEXT_H
#define HINDCAST_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* All zero: empty. */
struct text {
    char *bytes; /* ends with 0 once something has been added */
    size_t size; /* without that 0 */
    size_t room;
    bool failed; /* memory failed: what was added since is not there */
};

void text_fini(struct text *text);

void text_add(struct text *text, const char *piece);
void text_add_bytes(struct text *text, const void *bytes, size_t n);
void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As a JSON string, in quotes; UTF-8 passes as it is. */
void text_add_quoted(struct text *text, const char *piece);

/* The words of a paragraph, between single spaces, in lines of at most `width` characters (longer where
 * one word is), each indented by `indent` spaces and ended by a newline. */
void text_add_wrapped(struct text *text, const char *paragraph, size_t indent, size_t width);
/* Finite: with as few of 15 to 17 digits as read back as the same double. */
void text_add_number(struct text *text, double value);

/* The whole text, mem_free, and its size (may be NULL); the text is empty again. NULL: memory
 * failed somewhere on the way. */
char *text_take(struct text *text, size_t *size);

#endif
