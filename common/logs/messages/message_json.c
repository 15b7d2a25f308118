/* Walks the tree that cJSON makes of a message. */
#include "common/logs/messages/message_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/base/utf8.h"

#define DEPTH_MAX 64

struct walk {
    struct message_fields *fields;
    struct err *err;
};

/* Finds the field of a path, or adds it. */
static status field_of(struct walk *w, const char *path, bool text, uint32_t *i)
{
    return message_fields_find(w->fields, path, i)
               ? STATUS_OK
               : message_fields_add(w->fields, path, text, i, w->err);
}

/* Joins an object's path and a key. */
static status join(struct walk *w, const char *prefix, const char *key,
                   char path[RECORDING_NAME_SIZE])
{
    const int n =
        snprintf(path, RECORDING_NAME_SIZE, "%s%s%s", prefix, prefix[0] != 0 ? "/" : "", key);
    if (key[0] == 0 || n < 0 || (size_t)n >= RECORDING_NAME_SIZE || !utf8_is_name(key)) {
        return err_set(
            w->err, STATUS_INVALID,
            "\"%.60s\": expected a key of 1..%u bytes of UTF-8 without control characters", key,
            RECORDING_NAME_SIZE - 1);
    }
    return STATUS_OK;
}

/* Puts what is in `node`. In an array, null keeps its place as a missing value. */
static status put(struct walk *w, const cJSON *node, const char *path, bool in_array, int depth)
{
    uint32_t i = 0;
    status s = STATUS_OK;
    if (depth > DEPTH_MAX) {
        return err_set(w->err, STATUS_INVALID, "%s: more than %d deep", path, DEPTH_MAX);
    }
    if (cJSON_IsObject(node)) {
        for (const cJSON *child = node->child; s == STATUS_OK && child != NULL;
             child = child->next) {
            char below[RECORDING_NAME_SIZE];
            s = join(w, path, child->string, below);
            if (s == STATUS_OK) {
                s = put(w, child, below, in_array, depth + 1);
            }
        }
        return s;
    }
    const char *name = path[0] != 0 ? path : "value";
    if (cJSON_IsArray(node)) {
        for (const cJSON *child = node->child; s == STATUS_OK && child != NULL;
             child = child->next) {
            s = put(w, child, name, true, depth + 1);
        }
        /* An empty array has no values, which differs from no array. */
        if (node->child == NULL) {
            s = field_of(w, name, false, &i);
            if (s == STATUS_OK) {
                message_fields_put_packed(w->fields, i, NUMBER_UINT8, NULL, 0, false);
            }
        }
        return s;
    }
    if (cJSON_IsNull(node) && !in_array) {
        return STATUS_OK;
    }
    s = field_of(w, name, cJSON_IsString(node), &i);
    if (s != STATUS_OK) {
        return s;
    }
    if (cJSON_IsString(node)) {
        message_fields_put_text(w->fields, i, node->valuestring, strlen(node->valuestring));
    } else {
        message_fields_put(w->fields, i,
                           cJSON_IsNumber(node) ? node->valuedouble
                           : cJSON_IsNull(node) ? (double)NAN
                                                : cJSON_IsTrue(node));
    }
    return STATUS_OK;
}

/* Copies a text (size) with NaN as null and Infinity as 1e999, which is read as infinity. Texts in
 * quotes are left alone. Stores the new size; NULL: out of memory. */
static char *without_nan(const char *text, size_t size, size_t *made)
{
    /* The longest replacement is one byte longer than what it replaces. */
    char *copy = mem_array(size + 1, 2);
    size_t n = 0;
    bool quoted = false;
    for (size_t i = 0; copy != NULL && i < size;) {
        if (!quoted && size - i >= 3 && memcmp(text + i, "NaN", 3) == 0) {
            memcpy(copy + n, "null", 4);
            n += 4;
            i += 3;
        } else if (!quoted && size - i >= 8 && memcmp(text + i, "Infinity", 8) == 0) {
            memcpy(copy + n, "1e999", 5);
            n += 5;
            i += 8;
        } else {
            const bool escaped = quoted && text[i] == '\\' && i + 1 < size;
            quoted ^= text[i] == '"';
            copy[n++] = text[i++];
            if (escaped) {
                copy[n++] = text[i++];
            }
        }
    }
    *made = n;
    return copy;
}

/* Parses a message. What cJSON does not know is looked for only where it fails. */
static status parse(const uint8_t *bytes, size_t size, cJSON **json, struct err *err)
{
    const char *end = NULL;
    status s = json_parse(bytes, size, false, json, &end);
    if (s == STATUS_CORRUPT) {
        size_t made = 0;
        char *text = without_nan((const char *)bytes, size, &made);
        s = text == NULL ? STATUS_NO_MEMORY : json_parse(text, made, false, json, NULL);
        mem_free(text);
    }
    if (s == STATUS_CORRUPT) {
        const size_t at = end == NULL ? 0 : (size_t)((const uint8_t *)end - bytes);
        return err_set(err, s, "byte %zu of the message: not valid JSON", at);
    }
    return s == STATUS_OK ? s : err_set(err, s, "out of memory while reading JSON");
}

status message_json_read(const uint8_t *bytes, size_t size, struct message_fields *fields,
                         struct err *err)
{
    if (size > MESSAGE_JSON_MAX) {
        return err_set(err, STATUS_INVALID, "a message of %zu bytes, expected at most %u", size,
                       MESSAGE_JSON_MAX);
    }
    cJSON *json = NULL;
    status s = parse(bytes, size, &json, err);
    if (s == STATUS_OK) {
        struct walk w = {fields, err};
        s = put(&w, json, "", false, 0);
        cJSON_Delete(json);
    }
    return s;
}
