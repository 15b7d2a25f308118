#include "common/logs/source/source_mapping.h"

#include <sys/stat.h>

#include "common/logs/propose/propose.h"
#include "common/logs/source/source_location.h"

status source_find_mapping(struct logs *logs, const char *path, const char *given,
                           struct mapping *mapping, bool *proposed, struct text *notes,
                           struct err *err)
{
    char beside[SOURCE_PATH_SIZE];
    *proposed = false;
    if (given != NULL && given[0] != '\0') {
        return mapping_read(mapping, given, err);
    }
    /* A mapping.yaml in the folder of logs needs no option. Where `path` is a file there is none. */
    if (source_location_has(path, "mapping.yaml", beside)) {
        return mapping_read(mapping, beside, err);
    }
    *proposed = true;
    return propose_mapping(logs, mapping, notes, err);
}

status source_mapping_check(const char *path, const struct text *notes, struct err *err)
{
    char guess[192];
    struct stat info;
    if (propose_is_certain(notes, guess, sizeof guess)) {
        return STATUS_OK;
    }
    /* A mapping beside the logs is found; one elsewhere has to be named. */
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    return err_set(
        err, STATUS_INVALID,
        "%.400s: there is no mapping, and the proposed one has to be confirmed (%s). Run "
        "hindcast dataset map %.400s > %.400s%smapping.yaml, check that file, and try "
        "again%s",
        path, guess, path, folder ? path : "", folder ? "/" : "",
        folder ? "" : " with restorer.mapping: mapping.yaml");
}
