/* Writing the manifest. */
#include "restorer/run_manifest.h"

#include <stdio.h>
#include <string.h>

#include "common/base/config.h"
#include "common/base/json.h"

#define PATH_SIZE          (CONFIG_TEXT_SIZE + 32)
#define MANIFEST_BYTES_MAX (16u << 20)

static bool add_datasets(cJSON *manifest, const struct sources *sources)
{
    cJSON *folders = cJSON_AddArrayToObject(manifest, "datasets");
    for (size_t i = 0; folders != NULL && i < sources_n(sources); i++) {
        if (!cJSON_AddItemToArray(folders, cJSON_CreateString(sources_folder(sources, i)))) {
            return false;
        }
    }
    return folders != NULL;
}

/* Does the manifest at `path` tell of the same datasets? */
static bool is_there(const char *path, const cJSON *manifest)
{
    cJSON *there;
    if (json_read(path, MANIFEST_BYTES_MAX, &there, NULL) != STATUS_OK) {
        return false;
    }
    const bool same = cJSON_Compare(cJSON_GetObjectItemCaseSensitive(there, "datasets"),
                                    cJSON_GetObjectItemCaseSensitive(manifest, "datasets"), true);
    cJSON_Delete(there);
    return same;
}

status run_manifest_write(const char *run_dir, const struct sources *sources,
                          struct dataset_summary *summary, struct err *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/restorer.json", run_dir);
    cJSON *manifest = summary != NULL ? dataset_summary_json(summary) : cJSON_CreateObject();
    status s = STATUS_OK;
    if (manifest == NULL || !add_datasets(manifest, sources)) {
        s = err_set(err, STATUS_NO_MEMORY, "%s", path);
    } else if (summary != NULL || !is_there(path, manifest)) {
        s = json_write(path, manifest, err);
    }
    cJSON_Delete(manifest);
    return s;
}
