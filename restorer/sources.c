/* Finding datasets in a folder and numbering their shards through. */
#include "restorer/sources.h"
#include "common/trajectory/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/memory.h"

#define PATH_SIZE 4096

struct sources {
    size_t n;
    struct dataset *datasets[SOURCES_MAX];
    size_t n_shards;
};

size_t sources_n(const struct sources *sources)
{
    return sources->n;
}

const char *sources_folder(const struct sources *sources, size_t i)
{
    ASSERT(i < sources->n);
    return dataset_folder(sources->datasets[i]);
}

const struct signature *sources_signature(const struct sources *sources)
{
    return dataset_signature(sources->datasets[0]);
}

size_t sources_n_shards(const struct sources *sources)
{
    return sources->n_shards;
}

uint64_t sources_episodes(const struct sources *sources)
{
    uint64_t n = 0;
    for (size_t i = 0; i < sources->n; i++) {
        n += dataset_episodes(sources->datasets[i]);
    }
    return n;
}

const struct dataset *sources_shard(const struct sources *sources, size_t i, size_t *shard_i)
{
    for (size_t d = 0; d < sources->n; d++) {
        const size_t n = dataset_n_shards(sources->datasets[d]);
        if (i < n) {
            *shard_i = i;
            return sources->datasets[d];
        }
        i -= n;
    }
    UNREACHABLE("shard within the list");
    return NULL;
}

void sources_close(struct sources *sources)
{
    if (sources == NULL) {
        return;
    }
    for (size_t i = 0; i < sources->n; i++) {
        dataset_close(sources->datasets[i]);
    }
    mem_free(sources);
}

/* Exactly the same rows: also the rewards, and their order. */
static status check_same(const struct sources *sources, const struct dataset *dataset,
                         struct err *err)
{
    status s = signature_same(sources_signature(sources), dataset_signature(dataset), err);
    return s == STATUS_OK
               ? s
               : err_context(err, s, "%s (here) and %s (there) differ",
                             dataset_folder(sources->datasets[0]), dataset_folder(dataset));
}

static status add(struct sources *sources, const char *folder, struct err *err)
{
    struct dataset *dataset;
    if (sources->n == SOURCES_MAX) {
        return err_set(err, STATUS_INVALID, "%s: more than %d datasets", folder, SOURCES_MAX);
    }
    status s = dataset_open(&dataset, folder, err);
    if (s == STATUS_OK && sources->n > 0) {
        s = check_same(sources, dataset, err);
        if (s != STATUS_OK) {
            dataset_close(dataset);
        }
    }
    if (s == STATUS_OK) {
        sources->datasets[sources->n++] = dataset;
        sources->n_shards += dataset_n_shards(dataset);
    }
    return s;
}

static bool is_dataset(const char *folder)
{
    static const char *const names[] = {"metadata.json", "data/metadata.json"};
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_SIZE];
        struct stat info;
        const int length = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (length > 0 && (size_t)length < sizeof path && stat(path, &info) == 0) {
            return true;
        }
    }
    return false;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static status add_subfolders(struct sources *sources, const char *folder, struct err *err)
{
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_visible, versionsort);
    if (n < 0) {
        return err_errno(err, errno, "%s", folder);
    }
    status s = STATUS_OK;
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        const int length = snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (s == STATUS_OK && length > 0 && (size_t)length < sizeof path && is_dataset(path)) {
            s = add(sources, path, err);
        }
        free(entries[i]);
    }
    free(entries);
    if (s == STATUS_OK && sources->n == 0) {
        s = err_set(err, STATUS_NOT_FOUND,
                    "%s: no dataset: neither it nor a subfolder has a metadata.json", folder);
    }
    return s;
}

status sources_open(struct sources **sources, const char *folder, struct err *err)
{
    struct sources *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", folder);
    }
    status s = is_dataset(folder) ? add(made, folder, err) : add_subfolders(made, folder, err);
    if (s != STATUS_OK) {
        sources_close(made);
        return s;
    }
    *sources = made;
    return STATUS_OK;
}
