/* Writing the note. */
#include "restorer/note.h"

#include <stdio.h>
#include <string.h>

#include "common/base/config.h"
#include "common/base/json.h"

#define PATH_SIZE      (CONFIG_TEXT_SIZE + 32)
#define NOTE_BYTES_MAX (16u << 20)

static bool add_datasets(cJSON *note, const struct sources *sources)
{
    cJSON *folders = cJSON_AddArrayToObject(note, "datasets");
    for (size_t i = 0; folders != NULL && i < sources_n(sources); i++) {
        if (!cJSON_AddItemToArray(folders, cJSON_CreateString(sources_folder(sources, i)))) {
            return false;
        }
    }
    return folders != NULL;
}

/* Does the note at `path` tell of the same datasets? */
static bool is_there(const char *path, const cJSON *note)
{
    cJSON *there;
    if (json_read(path, NOTE_BYTES_MAX, &there, NULL) != STATUS_OK) {
        return false;
    }
    const bool same = cJSON_Compare(cJSON_GetObjectItemCaseSensitive(there, "datasets"),
                                    cJSON_GetObjectItemCaseSensitive(note, "datasets"), true);
    cJSON_Delete(there);
    return same;
}

status note_write(const char *run_dir, const struct sources *sources,
                  struct dataset_summary *summary, struct err *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/restorer.json", run_dir);
    cJSON *note = summary != NULL ? dataset_summary_json(summary) : cJSON_CreateObject();
    status s = STATUS_OK;
    if (note == NULL || !add_datasets(note, sources)) {
        s = err_set(err, STATUS_NO_MEMORY, "%s", path);
    } else if (summary != NULL || !is_there(path, note)) {
        s = json_write(path, note, err);
    }
    cJSON_Delete(note);
    return s;
}
