/* A JSON text, parsed once and looked at: for bytes that are not trusted.
 *
 * Values have numbers: 0 is the outermost one, and JSON_NONE stands for a value that is not there.
 * Every function takes JSON_NONE and answers as for a value of the wrong type, so that a path of
 * lookups needs one check, at its end.
 *
 * Parsing takes time and memory in proportion to the text, and no recursion. Numbers are read by strtod(), so
 * the calling thread must have the C locale, as all programs of Hindcast do. Nothing changes
 * afterwards: any number of threads may look. Unlike json.h, this needs no library at run time and no state of the
 * process, so that the policy library (policy_library/) can be part of any program. */
#ifndef HINDCAST_BASE_JSON_VIEW_H
#define HINDCAST_BASE_JSON_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

#define JSON_NONE           (-1)
#define JSON_VIEW_DEPTH_MAX 64 /* arrays and objects within each other */

enum json_type {
    JSON_OTHER, /* null, true, false; and JSON_NONE */
    JSON_NUMBER,
    JSON_TEXT,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_view;

/* Parses `text`(size), of which it keeps a copy: one value, before and after which only white space
 * may stand. CORRUPT, with the byte where it went wrong if that is known; NO_MEMORY. Refused as
 * corrupt, too: texts that hold NUL, numbers beyond a double's range, more than JSON_VIEW_DEPTH_MAX
 * levels. */
status json_view_parse(struct json_view **view, const char *text, size_t size,
                       struct err *err) MUST_CHECK;
/* NULL is fine. */
void json_view_free(struct json_view *view);

enum json_type json_view_type(const struct json_view *view, int value);
/* The number of items of an array or of members of an object; 0 for other types. */
int json_view_size(const struct json_view *view, int value);
/* The first item of an array, or the value of an object's first member; and the one after `value`.
 * JSON_NONE where there is none. */
int json_view_first(const struct json_view *view, int value);
int json_view_next(const struct json_view *view, int value);
/* The name of a member, given by its value; NULL if `value` is no member of an object. */
const char *json_view_key(const struct json_view *view, int value);
/* The value of an object's first member of this name. */
int json_view_member(const struct json_view *view, int object, const char *key);
/* The text, unescaped, which lives as long as the view; NULL if the value is no text. */
const char *json_view_text(const struct json_view *view, int value);
/* False if the value is no number. */
bool json_view_number(const struct json_view *view, int value, double *number);

#endif
