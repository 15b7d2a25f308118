/* Reading and writing whole JSON files, and looking up fields with readable errors. */
#include "common/base/json.h"

#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"

status json_read(const char *path, size_t max_bytes, cJSON **json, struct err *err)
{
    void *bytes = NULL;
    size_t size = 0;
    const status s = file_read(path, max_bytes, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    const char *end = NULL;
    /* size + 1: the closing 0 byte counts for cJSON, which then refuses trailing text. */
    cJSON *parsed = cJSON_ParseWithLengthOpts(bytes, size + 1, &end, 1);
    const size_t byte = end == NULL ? 0 : (size_t)(end - (const char *)bytes);
    mem_free(bytes);
    if (parsed == NULL) {
        return err_set(err, STATUS_CORRUPT, "%s: not valid JSON at byte %zu", path, byte);
    }
    *json = parsed;
    return STATUS_OK;
}

status json_write(const char *path, const cJSON *json, struct err *err)
{
    char *text = cJSON_Print(json);
    if (text == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory while writing JSON", path);
    }
    const struct file_part parts[] = {{text, strlen(text)}, {"\n", 1}};
    const status s = file_replace(path, parts, 2, err);
    cJSON_free(text);
    return s;
}

status json_number(const cJSON *object, const char *key, double *value, const char *where,
                   struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) {
        return err_set(err, STATUS_INVALID, "%s: \"%s\" is %s: expected a number", where, key,
                       item == NULL ? "absent" : "of another type");
    }
    *value = item->valuedouble;
    return STATUS_OK;
}

status json_text(const cJSON *object, const char *key, const char **value, const char *where,
                 struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsString(item) || item->valuestring == NULL) {
        return err_set(err, STATUS_INVALID, "%s: \"%s\" is %s: expected text", where, key,
                       item == NULL ? "absent" : "of another type");
    }
    *value = item->valuestring;
    return STATUS_OK;
}
