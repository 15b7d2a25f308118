/* Small helpers over cJSON. */
#ifndef HINDCAST_BASE_JSON_H
#define HINDCAST_BASE_JSON_H

#include <cjson/cJSON.h>

#include "common/base/status.h"

/* cJSON_ParseWithLengthOpts that knows why it fails: CORRUPT, or NO_MEMORY, which says nothing
 * about the bytes. `terminated`: a 0 byte must follow the value within `size`. *end (may be NULL):
 * behind the value, or where it went wrong. */
status json_parse(const void *bytes, size_t size, bool terminated, cJSON **json,
                  const char **end) MUST_CHECK;
/* Adds it under that name; where that fails (also for item NULL), the item is deleted. */
bool json_put(cJSON *object, const char *key, cJSON *item) MUST_CHECK;

/* Parses a whole file of at most `max_bytes`; *json is the caller's, cJSON_Delete it. Errors name
 * file and byte. */
status json_read(const char *path, size_t max_bytes, cJSON **json, struct err *err) MUST_CHECK;
/* Writes it, indented, aside and renamed. */
status json_write(const char *path, const cJSON *json, struct err *err) MUST_CHECK;
/* obj[key] as number or text; INVALID naming `where` and key when absent or of another type. */
status json_number(const cJSON *object, const char *key, double *value, const char *where,
                   struct err *err) MUST_CHECK;
status json_text(const cJSON *object, const char *key, const char **value, const char *where,
                 struct err *err) MUST_CHECK;

#endif
