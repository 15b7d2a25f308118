/* One decoder for all questions: how many bytes does the character at this place have?
 *
 * Texts from peers, files and command lines pass through here before they are printed or sent. A
 * string of protobuf must be UTF-8, and a terminal must not get a control sequence that somebody
 * else has made up. */
#include "common/base/utf8.h"

#include <stdint.h>
#include <string.h>

/* The size of the sound character that begins bytes(size), or 0. The second byte's range excludes
 * long forms (E0, F0), surrogates (ED) and what lies above U+10FFFF (F4). */
static size_t character_size(const unsigned char *bytes, size_t size)
{
    const unsigned char first = size > 0 ? bytes[0] : 0;
    if (first == 0) {
        return 0;
    }
    if (first < 0x80) {
        return 1;
    }
    /* C0 and C1 would begin long forms, F5 and above lie beyond U+10FFFF. */
    const size_t n = first >= 0xc2 && first <= 0xdf   ? 2
                     : first >= 0xe0 && first <= 0xef ? 3
                     : first >= 0xf0 && first <= 0xf4 ? 4
                                                      : 0;
    if (n == 0 || n > size) {
        return 0;
    }
    /* The second byte has a smaller range after some first bytes. */
    const unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < least || bytes[1] > most) {
        return 0;
    }
    /* All bytes after the second are 80..BF. */
    for (size_t i = 2; i < n; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

/* Is the sound character of n bytes a control character? U+0080..U+009F are C2 80..C2 9F. */
static bool is_control(const unsigned char *bytes, size_t n)
{
    return n == 1 ? bytes[0] < 0x20 || bytes[0] == 0x7f
                  : n == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0;
}

size_t utf8_sound(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    size_t done = 0;
    while (done < size) {
        /* One character at a time, until one is not sound. */
        const size_t n = character_size(at + done, size - done);
        if (n == 0) {
            break;
        }
        done += n;
    }
    return done;
}

bool utf8_is_text(const char *text)
{
    const size_t size = strlen(text);
    return utf8_sound(text, size) == size;
}

bool utf8_is_name(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    /* Sound characters only, and none that a terminal would obey. */
    for (size_t left = strlen(text); left > 0;) {
        const size_t n = character_size(at, left);
        if (n == 0 || is_control(at, n)) {
            return false;
        }
        at += n;
        left -= n;
    }
    return true;
}

size_t utf8_cut(const char *text, size_t most)
{
    const size_t size = strlen(text);
    if (size <= most) {
        return size;
    }
    /* Bytes 80..BF continue a character: go back to its first byte. */
    size_t cut = most;
    while (cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80) {
        cut--;
    }
    return cut;
}

void utf8_trim(char *text)
{
    const size_t size = strlen(text);
    /* An incomplete character has at most three bytes. */
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        const unsigned char byte = (unsigned char)text[size - back];
        if ((byte & 0xc0) == 0x80) {
            continue;
        }
        /* The last character begins here; does it have all its bytes? */
        if (byte >= 0xc0 && character_size((unsigned char *)text + size - back, back) == 0) {
            text[size - back] = '\0';
        }
        return;
    }
}

void utf8_clean(char *text)
{
    /* In place and at the same length, so that cleaning cannot fail. */
    unsigned char *at = (unsigned char *)text;
    for (size_t left = strlen(text); left > 0;) {
        size_t n = character_size(at, left);
        if (n == 0) {
            /* One byte at a time: the next one may begin a sound character. */
            *at = '?';
            n = 1;
        } else if (is_control(at, n)) {
            /* All bytes of it: C2 80..C2 9F become two spaces. */
            memset(at, ' ', n);
        }
        at += n;
        left -= n;
    }
}
