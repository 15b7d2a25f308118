/* JSON over jsmn, which finds the tokens of a text. jsmn is lenient in what it accepts; what it
 * leaves open is checked here: that objects consist of names and values, that words are numbers,
 * true, false or null, that nothing follows the value.
 *
 * Tokens come in the order of the text, with links to their parents. They are turned into values
 * in one pass, in which names disappear into the values that they name and each value is linked to
 * its next sibling. Texts are unescaped in place, in our copy of the input: an escape is never
 * shorter than what it stands for. */
#include "common/base/json_view.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#include <jsmn.h>

#include "common/base/memory.h"

#define SIZE_MAX_BYTES (1u << 30) /* jsmn counts bytes in int */

struct value {
    enum json_type type;
    int size;         /* items or members */
    int first, next;  /* values, or JSON_NONE */
    const char *key;  /* of a member, otherwise NULL */
    const char *text; /* JSON_TEXT */
    double number;    /* JSON_NUMBER */
};

struct json_view {
    char *text; /* the copy in which texts are unescaped */
    int n;
    struct value *values; /* (n), parents before their children */
};

/* ---- Texts ---- */

/* The value of four hexadecimal digits, which jsmn has checked. */
static uint32_t hex4(const char *digits)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        const char c = digits[i];
        const int digit = c <= '9' ? c - '0' : c <= 'F' ? c - 'A' + 10 : c - 'a' + 10;
        code = code << 4 | (uint32_t)digit;
    }
    return code;
}

/* Writes `code` as UTF-8. Returns the place behind it. */
static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    /* The first byte says how many follow, of six bits each. */
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned first[] = {0, 0xC0, 0xE0, 0xF0};
    *to++ = (char)(first[more] | code >> (6 * more));
    while (more-- > 0) {
        *to++ = (char)(0x80u | (code >> (6 * more) & 0x3Fu));
    }
    return to;
}

/* Decodes \uXXXX at *from, of which two make a code above U+FFFF. False: half of such a pair, or
 * U+0000, which would end the text. */
static bool take_unicode(const char **from, const char *end, char **to)
{
    uint32_t code = hex4(*from + 2);
    *from += 6;
    if (code >= 0xD800 && code <= 0xDFFF) {
        /* The second half must follow at once. */
        if (code > 0xDBFF || end - *from < 6 || (*from)[0] != '\\' || (*from)[1] != 'u') {
            return false;
        }
        const uint32_t low = hex4(*from + 2);
        if (low < 0xDC00 || low > 0xDFFF) {
            return false;
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        *from += 6;
    }
    *to = put_utf8(*to, code);
    return code != 0;
}

/* Unescapes text[begin, end) in place and ends it with 0, over its closing quote at the latest.
 * Returns its begin; NULL for what is no text. */
static char *unescape(char *text, int begin, int end)
{
    const char *from = text + begin;
    const char *const stop = text + end;
    char *to = text + begin;
    while (from < stop) {
        if ((unsigned char)*from < 0x20) {
            return NULL; /* control characters must be escaped */
        }
        if (*from != '\\') {
            *to++ = *from++;
        } else if (from[1] == 'u') {
            if (stop - from < 6 || !take_unicode(&from, stop, &to)) {
                return NULL;
            }
        } else {
            /* jsmn lets only these pass. */
            static const char names[] = "\"\\/bfnrt";
            static const char characters[] = "\"\\/\b\f\n\r\t";
            *to++ = characters[strchr(names, from[1]) - names];
            from += 2;
        }
    }
    *to = '\0';
    return text + begin;
}

/* ---- Tokens to values ---- */

/* The tokens of a text, and for each one that is no name the number of its value. */
struct tokens {
    jsmntok_t *token; /* (n) */
    int n;
    int *value_of; /* (n) */
    int *last;     /* (n) the last child so far, by value; JSON_NONE */
};

/* Whether arrays and objects are nested too deeply. jsmn looks for the beginning of what a bracket
 * closes level by level, which takes the square of the depth. */
static bool is_deep(const char *text, size_t size)
{
    int depth = 0;
    bool in_text = false;
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (in_text) {
            i += c == '\\'; /* what is escaped ends no text */
            in_text = c != '"';
        } else if (c == '"') {
            in_text = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_VIEW_DEPTH_MAX) {
                return true;
            }
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return false;
}

/* Parses in two passes: jsmn counts, then fills. */
static status tokenize(struct tokens *tokens, const char *text, size_t size, struct err *err)
{
    if (is_deep(text, size)) {
        return err_set(err, STATUS_CORRUPT, "JSON: more than %d levels", JSON_VIEW_DEPTH_MAX);
    }
    jsmn_parser parser;
    jsmn_init(&parser);
    const int n = jsmn_parse(&parser, text, size, NULL, 0);
    if (n < 1) {
        return err_set(err, STATUS_CORRUPT, "not valid JSON at byte %u", parser.pos);
    }
    tokens->token = mem_array((size_t)n, sizeof *tokens->token);
    tokens->value_of = mem_array((size_t)n, sizeof *tokens->value_of);
    tokens->last = mem_array((size_t)n, sizeof *tokens->last);
    if (tokens->token == NULL || tokens->value_of == NULL || tokens->last == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "JSON of %d values", n);
    }
    jsmn_init(&parser);
    tokens->n = jsmn_parse(&parser, text, size, tokens->token, (unsigned)n);
    /* It also stops at a NUL, which has no place in JSON. */
    if (tokens->n < 1 || parser.pos != size) {
        return err_set(err, STATUS_CORRUPT, "not valid JSON at byte %u", parser.pos);
    }
    return STATUS_OK;
}

/* A word: a number, or one of three names. The text behind it is a delimiter, so that strtod()
 * stops there. */
static bool read_word(struct value *value, const char *text, const jsmntok_t *token)
{
    static const char *const names[] = {"true", "false", "null"};
    const size_t length = (size_t)(token->end - token->start);
    const char *word = text + token->start;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (length == strlen(names[i]) && strncmp(word, names[i], length) == 0) {
            value->type = JSON_OTHER;
            return true;
        }
    }
    /* jsmn lets no "inf" or "nan" begin a word, and hexadecimal numbers are none in JSON. */
    char *end;
    value->type = JSON_NUMBER;
    value->number = strtod(word, &end);
    return end == text + token->end && isfinite(value->number) &&
           memchr(word, 'x', length) == NULL && memchr(word, 'X', length) == NULL;
}

/* Appends the value of token i, which has the name `key` or none, to the array or object `parent`,
 * a token (-1: the outermost value). */
static bool add_value(struct json_view *view, struct tokens *tokens, int i, int parent,
                      const char *key)
{
    const jsmntok_t *token = &tokens->token[i];
    const int at = view->n++;
    struct value *value = &view->values[at];
    *value = (struct value){.first = JSON_NONE, .next = JSON_NONE, .key = key};
    tokens->value_of[i] = at;
    tokens->last[i] = JSON_NONE;
    /* Behind its last sibling. */
    if (parent >= 0) {
        struct value *container = &view->values[tokens->value_of[parent]];
        *(container->size++ == 0 ? &container->first : &view->values[tokens->last[parent]].next) =
            at;
        tokens->last[parent] = at;
    }
    switch (token->type) {
    case JSMN_STRING:
        value->type = JSON_TEXT;
        value->text = unescape(view->text, token->start, token->end);
        return value->text != NULL;
    case JSMN_PRIMITIVE:
        return read_word(value, view->text, token);
    default:
        value->type = token->type == JSMN_OBJECT ? JSON_OBJECT : JSON_ARRAY;
        return true;
    }
}

/* All values, in the order of the text. Returns the first token that is out of place, or -1. */
static int add_values(struct json_view *view, struct tokens *tokens)
{
    for (int i = 0; i < tokens->n; i++) {
        const jsmntok_t *token = &tokens->token[i];
        const int parent = token->parent;
        const bool in_object = parent >= 0 && tokens->token[parent].type == JSMN_OBJECT;
        /* A member is a name and its value: two tokens, the second one a child of the first. */
        if (in_object) {
            const bool is_name = token->type == JSMN_STRING && token->size == 1 &&
                                 i + 1 < tokens->n && tokens->token[i + 1].parent == i;
            const char *key = is_name ? unescape(view->text, token->start, token->end) : NULL;
            if (key == NULL || !add_value(view, tokens, i + 1, parent, key)) {
                return i;
            }
            i++;
            continue;
        }
        /* An item of an array, or the outermost value, of which there is one. */
        const bool in_array = parent >= 0 && tokens->token[parent].type == JSMN_ARRAY;
        if ((!in_array && i > 0) || (token->type == JSMN_STRING && token->size > 0) ||
            !add_value(view, tokens, i, in_array ? parent : -1, NULL)) {
            return i;
        }
    }
    return -1;
}

/* Fills a view that has its copy of the text. */
static status fill(struct json_view *view, size_t size, struct err *err)
{
    struct tokens tokens = {0};
    status s = tokenize(&tokens, view->text, size, err);
    if (s == STATUS_OK) {
        view->values = mem_array((size_t)tokens.n, sizeof *view->values);
        s = view->values != NULL ? STATUS_OK
                                 : err_set(err, STATUS_NO_MEMORY, "JSON of %d values", tokens.n);
    }
    if (s == STATUS_OK) {
        const int bad = add_values(view, &tokens);
        if (bad >= 0) {
            s = err_set(err, STATUS_CORRUPT, "not valid JSON at byte %d", tokens.token[bad].start);
        }
    }
    mem_free(tokens.token);
    mem_free(tokens.value_of);
    mem_free(tokens.last);
    return s;
}

status json_view_parse(struct json_view **out, const char *text, size_t size, struct err *err)
{
    if (size > SIZE_MAX_BYTES) {
        return err_set(err, STATUS_CORRUPT, "JSON of %zu bytes: expected at most %u", size,
                       SIZE_MAX_BYTES);
    }
    struct json_view *view = mem_new(sizeof *view);
    if (view == NULL || (view->text = mem_new(size + 1)) == NULL) {
        json_view_free(view);
        return err_set(err, STATUS_NO_MEMORY, "JSON of %zu bytes", size);
    }
    memcpy(view->text, text, size);
    const status s = fill(view, size, err);
    if (s != STATUS_OK) {
        json_view_free(view);
        return s;
    }
    *out = view;
    return STATUS_OK;
}

void json_view_free(struct json_view *view)
{
    if (view != NULL) {
        mem_free(view->values);
        mem_free(view->text);
        mem_free(view);
    }
}

/* ---- Looking ---- */

/* The value, or one of no type and no parts. */
static const struct value *value_at(const struct json_view *view, int value)
{
    static const struct value none = {.type = JSON_OTHER, .first = JSON_NONE, .next = JSON_NONE};
    ASSERT(value < view->n);
    return value >= 0 ? &view->values[value] : &none;
}

enum json_type json_view_type(const struct json_view *view, int value)
{
    return value_at(view, value)->type;
}

int json_view_size(const struct json_view *view, int value)
{
    return value_at(view, value)->size;
}

int json_view_first(const struct json_view *view, int value)
{
    return value_at(view, value)->first;
}

int json_view_next(const struct json_view *view, int value)
{
    return value_at(view, value)->next;
}

const char *json_view_key(const struct json_view *view, int value)
{
    return value_at(view, value)->key;
}

int json_view_member(const struct json_view *view, int object, const char *key)
{
    if (value_at(view, object)->type != JSON_OBJECT) {
        return JSON_NONE;
    }
    int member = json_view_first(view, object);
    while (member != JSON_NONE && strcmp(json_view_key(view, member), key) != 0) {
        member = json_view_next(view, member);
    }
    return member;
}

const char *json_view_text(const struct json_view *view, int value)
{
    return value_at(view, value)->text;
}

bool json_view_number(const struct json_view *view, int value, double *number)
{
    *number = value_at(view, value)->number;
    return value_at(view, value)->type == JSON_NUMBER;
}
