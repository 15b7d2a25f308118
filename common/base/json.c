/* Whole JSON files read and written, and fields looked up with errors that name the file and the
 * key.
 *
 * cJSON returns NULL for bad text and for lack of memory alike. The two must not be confused: the
 * one says that a file is damaged, the other says nothing about it. So cJSON's allocation goes
 * through noting_malloc, which records a failure for the thread that parses. */
#include "common/base/json.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"

/* Has an allocation of cJSON failed on this thread? Cleared before each parse. */
static _Thread_local bool out_of_memory;

/* What cJSON allocates with: malloc, which leaves a note when it fails. */
static void *noting_malloc(size_t size)
{
    void *memory = malloc(size);
    out_of_memory = out_of_memory || memory == NULL;
    return memory;
}

/* Before any thread uses cJSON. */
__attribute__((constructor)) static void install(void)
{
    cJSON_Hooks hooks = {.malloc_fn = noting_malloc, .free_fn = free};
    cJSON_InitHooks(&hooks);
}

status json_parse(const void *bytes, size_t size, bool terminated, cJSON **json, const char **end)
{
    out_of_memory = false;
    cJSON *parsed = cJSON_ParseWithLengthOpts(bytes, size, end, terminated);
    if (parsed == NULL) {
        /* Only a text for which there was enough memory may be called damaged. */
        return out_of_memory ? STATUS_NO_MEMORY : STATUS_CORRUPT;
    }
    *json = parsed;
    return STATUS_OK;
}

bool json_put(cJSON *object, const char *key, cJSON *item)
{
    if (object != NULL && cJSON_AddItemToObject(object, key, item)) {
        return true;
    }
    /* The object did not take the item, so it is ours to free. */
    cJSON_Delete(item);
    return false;
}

status json_read(const char *path, size_t max_bytes, cJSON **json, struct err *err)
{
    void *bytes = NULL;
    size_t size = 0;
    status s = file_read_regular(path, max_bytes, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    const char *end = NULL;
    /* size + 1: the closing 0 byte counts for cJSON, which then refuses trailing text. */
    s = json_parse(bytes, size + 1, true, json, &end);
    /* Computed before the bytes are freed. */
    const size_t byte = end == NULL ? 0 : (size_t)(end - (const char *)bytes);
    mem_free(bytes);
    if (s == STATUS_CORRUPT) {
        return err_set(err, s, "%s: not valid JSON at byte %zu", path, byte);
    }
    return s == STATUS_OK ? s : err_set(err, s, "%s: out of memory while reading JSON", path);
}

status json_write(const char *path, const cJSON *json, struct err *err)
{
    /* The whole text first, so that a file is only replaced by a complete one. */
    char *text = cJSON_Print(json);
    if (text == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory while writing JSON", path);
    }
    /* A final newline, as text files have. */
    const struct file_part parts[] = {{text, strlen(text)}, {"\n", 1}};
    const status s = file_replace(path, parts, 2, err);
    cJSON_free(text);
    return s;
}

status json_number(const cJSON *object, const char *key, double *value, const char *where,
                   struct err *err)
{
    /* The error tells a key that is missing from a value of another type. */
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
