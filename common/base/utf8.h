/* UTF-8 texts from outside: are they sound, where may they be cut, what may reach a terminal.
 *
 * Sound means RFC 3629: shortest form, no surrogates, nothing above U+10FFFF; and no NUL, because
 * all texts here end with one. A control character is one of U+0000..U+001F, U+007F..U+009F. */
#ifndef HINDCAST_BASE_UTF8_H
#define HINDCAST_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The number of bytes at the beginning of bytes(size) that are sound; `size` when all are. */
size_t utf8_sound(const void *bytes, size_t size);

/* Is the whole text sound? */
bool utf8_is_text(const char *text);

/* Is the whole text sound, and without control characters? Names of tables, writers, runs. */
bool utf8_is_name(const char *text);

/* The largest number of bytes, at most `most`, at which a sound `text` can be cut between two
 * characters. */
size_t utf8_cut(const char *text, size_t most);

/* Removes an incomplete character at the end: for a text that snprintf may have cut. */
void utf8_trim(char *text);

/* Replaces control characters by spaces and bytes that are not sound by '?'; a C1 control character
 * by two spaces. The text keeps its size. */
void utf8_clean(char *text);

#endif
