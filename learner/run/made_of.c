/* The manifest is the restorer's, and for people as much as for programs: what it does not have, or
 * what cannot be read, is left out. */
#include "learner/run/made_of.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/json.h"
#include "common/base/memory.h"

#define MANIFEST_BYTES_MAX (64u << 20)

/* The digest of one source; false where the manifest does not have those of all its files. */
static bool digest_of(const cJSON *log, uint64_t *digest)
{
    const cJSON *file = cJSON_GetObjectItemCaseSensitive(log, "metadata");
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(log, "files");
    if (!cJSON_IsString(file)) {
        return false;
    }
    *digest = XXH64(file->valuestring, strlen(file->valuestring), 0);
    cJSON_ArrayForEach(file, files)
    {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file, "xxh64"));
        if (text == NULL) {
            return false;
        }
        *digest = XXH64(text, strlen(text), *digest);
    }
    return true;
}

/* The sources, by the last part of their folders' names. */
static void add_datasets(cJSON *json, const cJSON *manifest, const cJSON *made_of)
{
    cJSON *datasets = cJSON_AddArrayToObject(json, "datasets");
    const cJSON *folder = cJSON_GetObjectItemCaseSensitive(manifest, "datasets");
    folder = folder != NULL ? folder->child : NULL;
    const cJSON *log;
    cJSON_ArrayForEach(log, cJSON_GetObjectItemCaseSensitive(made_of, "logs"))
    {
        cJSON *one = cJSON_CreateObject();
        const char *path = cJSON_GetStringValue(folder);
        const char *name = path != NULL ? strrchr(path, '/') : NULL;
        uint64_t digest;
        char text[24];
        cJSON_AddStringToObject(one, "folder", name != NULL ? name + 1 : path != NULL ? path : "");
        cJSON_AddNumberToObject(one, "files",
                                cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(log, "files")));
        if (digest_of(log, &digest)) {
            snprintf(text, sizeof text, "%016" PRIx64, digest);
            cJSON_AddStringToObject(one, "digest", text);
        }
        cJSON_AddItemToArray(datasets, one);
        folder = folder != NULL ? folder->next : NULL;
    }
}

char *made_of_json(const char *run_dir, uint64_t table_version)
{
    static const char *const rules[] = {"relabel", "rewards", "actions", "rules", "holdout"};
    char path[PATH_MAX], version[24];
    cJSON *manifest = NULL;
    snprintf(path, sizeof path, "%s/restorer.json", run_dir);
    cJSON *json = cJSON_CreateObject();
    if (table_version != 0) {
        snprintf(version, sizeof version, "%016" PRIx64, table_version);
        cJSON_AddStringToObject(json, "table_version", version);
    }
    if (json_read(path, MANIFEST_BYTES_MAX, &manifest, NULL) == STATUS_OK) {
        const cJSON *made_of = cJSON_GetObjectItemCaseSensitive(manifest, "made_of");
        add_datasets(json, manifest, made_of);
        for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
            const cJSON *rule = cJSON_GetObjectItemCaseSensitive(made_of, rules[i]);
            if (rule != NULL) {
                cJSON_AddItemToObject(json, rules[i], cJSON_Duplicate(rule, true));
            }
        }
    }
    cJSON_Delete(manifest);
    char *printed = cJSON_PrintUnformatted(json);
    char *text = printed != NULL ? mem_text(printed) : NULL;
    cJSON_free(printed);
    cJSON_Delete(json);
    return text;
}
