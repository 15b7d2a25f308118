/* A GET of /status from each. */
#include "common/dashboard/processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SIZE      4096
#define ADDRESS_SUFFIX ".admin"

static int is_address_file(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name), suffix = strlen(ADDRESS_SUFFIX);
    return n > suffix && strcmp(entry->d_name + n - suffix, ADDRESS_SUFFIX) == 0;
}

/* What is shown of an answer, or of an error. NULL: out of memory. */
static cJSON *describe(const char *name, status s, const cJSON *answer, const struct err *err)
{
    const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "state"));
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "text"));
    const cJSON *fraction = cJSON_GetObjectItemCaseSensitive(answer, "fraction");
    /* Without a state of its own it counts as running. */
    const char *shown = s == STATUS_TIMEOUT  ? "silent"
                        : s == STATUS_DENIED ? "denied"
                        : s != STATUS_OK     ? "gone"
                        : state == NULL      ? "running"
                                             : state;
    cJSON *object = cJSON_CreateObject();
    const bool ok = cJSON_AddStringToObject(object, "name", name) &&
                    cJSON_AddStringToObject(object, "state", shown) &&
                    cJSON_AddStringToObject(
                        object, "text", s != STATUS_OK ? err->text : (text == NULL ? "" : text)) &&
                    (cJSON_IsNumber(fraction)
                         ? cJSON_AddNumberToObject(object, "fraction", fraction->valuedouble)
                         : cJSON_AddNullToObject(object, "fraction"));
    if (!ok) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static cJSON *ask(const char *run_dir, const char *file, const struct peek_access *access,
                  uint64_t timeout_ms)
{
    char path[PATH_SIZE], name[256];
    struct err err = {0};
    cJSON *answer = NULL;
    snprintf(path, sizeof path, "%.3000s/%.1000s", run_dir, file);
    snprintf(name, sizeof name, "%.*s", (int)(strlen(file) - strlen(ADDRESS_SUFFIX)), file);
    const status s = peek_json(&answer, path, "/status", access, timeout_ms, &err);
    cJSON *process = describe(name, s, answer, &err);
    cJSON_Delete(answer);
    return process;
}

cJSON *processes_ask(const char *run_dir, const struct peek_access *access, uint64_t timeout_ms)
{
    struct dirent **files;
    cJSON *list = cJSON_CreateArray();
    const int n = scandir(run_dir, &files, is_address_file, alphasort);
    for (int i = 0; i < n; i++) {
        cJSON *process = list == NULL ? NULL : ask(run_dir, files[i]->d_name, access, timeout_ms);
        if (!cJSON_AddItemToArray(list, process)) {
            cJSON_Delete(process);
            cJSON_Delete(list);
            list = NULL;
        }
        free(files[i]);
    }
    if (n >= 0) {
        free(files);
    }
    return list;
}

cJSON *processes_ask_at(const char *address, const struct peek_access *access, uint64_t timeout_ms)
{
    struct err err = {0};
    cJSON *answer = NULL;
    const status s = peek_json_at(&answer, address, "/status", access, timeout_ms, &err);
    const char *role = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "role"));
    cJSON *process = describe(role == NULL ? address : role, s, answer, &err);
    cJSON_Delete(answer);
    return process;
}

static const char *state_of(const cJSON *process)
{
    const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(process, "state"));
    return state == NULL ? "gone" : state;
}

bool processes_answers(const cJSON *process)
{
    const char *state = state_of(process);
    return strcmp(state, "gone") != 0 && strcmp(state, "silent") != 0;
}

bool processes_denies(const cJSON *process)
{
    return strcmp(state_of(process), "denied") == 0;
}
