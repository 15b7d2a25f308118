/* All subfolders are looked through, except those of a dataset. */
#include "common/logs/source/source_location.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "sources"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/logs/episodes/lerobot.h"
#include "common/logs/episodes/minari_logs.h"
#include "common/logs/files/log_file.h"
#include "common/trajectory/dataset.h"

#define DEPTH_MAX 8
#define NAMES_MAX 10 /* datasets that an error lists */

struct search {
    size_t n; /* datasets found */
    char first[SOURCE_PATH_SIZE];
    struct text names;          /* of the first NAMES_MAX */
    char log[SOURCE_PATH_SIZE]; /* the first log that belongs to no dataset, "": none */
};

bool source_location_has(const char *folder, const char *name, char path[SOURCE_PATH_SIZE])
{
    const int length = snprintf(path, SOURCE_PATH_SIZE, "%s/%s", folder, name);
    return length > 0 && length < SOURCE_PATH_SIZE && access(path, F_OK) == 0;
}

bool source_is_dataset(const char *path)
{
    char found[SOURCE_PATH_SIZE];
    return (source_location_has(path, "metadata.json", found) ||
            source_location_has(path, "data/metadata.json", found)) &&
           !minari_logs_is(path);
}

/* Returns whether FOLDER/metadata.json is that of a dataset of ours. Many programs write files of
 * this name. */
static bool is_ours(const char *folder)
{
    char path[SOURCE_PATH_SIZE];
    cJSON *metadata = NULL;
    const bool is = source_location_has(folder, "metadata.json", path) &&
                    json_read(path, DATASET_METADATA_MAX, &metadata, NULL) == STATUS_OK &&
                    cJSON_GetObjectItemCaseSensitive(metadata, "signature") != NULL;
    cJSON_Delete(metadata);
    return is;
}

bool source_location_is_hdf5(const char *folder)
{
    char path[SOURCE_PATH_SIZE];
    return is_ours(folder) || (source_location_has(folder, "data/metadata.json", path) &&
                               source_location_has(folder, "data/main_data.hdf5", path));
}

static bool is_dataset(const char *folder)
{
    return source_location_is_hdf5(folder) || minari_logs_is(folder) || lerobot_is(folder);
}

static void add(struct search *search, const char *path)
{
    if (search->n == 0) {
        snprintf(search->first, sizeof search->first, "%s", path);
    }
    if (search->n < NAMES_MAX) {
        text_format(&search->names, "%s%s", search->n == 0 ? "" : ", ", path);
    } else if (search->n == NAMES_MAX) {
        text_add(&search->names, ", ..");
    }
    search->n++;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Looks through a folder. What cannot be read is passed over: opening the logs gives the reason. */
static void look_through(struct search *search, const char *folder, int depth)
{
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_visible, versionsort);
    for (int i = 0; i < n; i++) {
        char path[SOURCE_PATH_SIZE];
        struct stat info;
        if (source_location_has(folder, entries[i]->d_name, path) && stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode) && is_dataset(path)) {
                add(search, path);
            } else if (S_ISDIR(info.st_mode) && depth < DEPTH_MAX) {
                look_through(search, path, depth + 1);
            } else if (S_ISREG(info.st_mode) && search->log[0] == 0 &&
                       log_format_of(path) != NULL) {
                snprintf(search->log, sizeof search->log, "%s", path);
            }
        }
        free(entries[i]);
    }
    free(entries);
}

/* Decides what is read: the one dataset that was found, or `path` if there is none. */
static status choose(const struct search *search, const char *path, char found[SOURCE_PATH_SIZE],
                     struct err *err)
{
    if (search->n > 1) {
        return err_set(err, STATUS_INVALID, "%s: holds %zu datasets: name one of them (%s)", path,
                       search->n, search->names.bytes != NULL ? search->names.bytes : "");
    }
    if (search->n == 1 && search->log[0] != 0) {
        return err_set(err, STATUS_INVALID,
                       "%s: holds a dataset, %s, and other logs, such as %s: name one of them",
                       path, search->first, search->log);
    }
    if (search->n == 1) {
        log_info("%s: the dataset %s is read, the only one in it", path, search->first);
    }
    snprintf(found, SOURCE_PATH_SIZE, "%s", search->n == 1 ? search->first : path);
    return STATUS_OK;
}

status source_location(const char *path, char found[SOURCE_PATH_SIZE], struct err *err)
{
    char mapping[SOURCE_PATH_SIZE];
    struct search search = {0};
    if (strlen(path) >= SOURCE_PATH_SIZE) {
        return err_set(err, STATUS_INVALID, "%.200s..: the path is too long", path);
    }
    if (!is_dataset(path) && !source_location_has(path, "mapping.yaml", mapping)) {
        look_through(&search, path, 0);
    }
    const status s = choose(&search, path, found, err);
    text_fini(&search.names);
    return s;
}
