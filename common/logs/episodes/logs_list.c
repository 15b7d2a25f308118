/* Folders are read with scandir(), which sorts; a file counts if a format recognises its contents. */
#include "common/logs/episodes/logs_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/memory.h"

#define PATH_SIZE 4096
#define DEPTH_MAX 8

status logs_list_add_file(struct logs_list *list, const char *path, struct err *err)
{
    const struct log_format *format = log_format_of(path);
    if (format == NULL && list->gzip_path == NULL && log_file_is_gzip(path)) {
        list->gzip_path = mem_text(path); /* for a message, if there are no other logs */
    }
    if (format == NULL) {
        return STATUS_OK; /* folders of logs also hold README.md, videos, .. */
    }
    if (list->format != NULL && list->format != format) {
        return err_set(err, STATUS_INVALID,
                       "%s is %s and %s is %s: expected files of one format in a folder",
                       list->paths[0], list->format->name, path, format->name);
    }

    /* Append a copy of the path. */
    if (list->n >= LOGS_LIST_MAX) {
        return err_set(err, STATUS_INVALID, "%s: more than %u files", path, LOGS_LIST_MAX);
    }
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        char **paths = mem_resize(list->paths, capacity, sizeof *paths);
        if (paths == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: list of files", path);
        }
        list->paths = paths;
        list->capacity = capacity;
    }
    char *copy = mem_text(path);
    if (copy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list of files", path);
    }
    list->format = format;
    list->paths[list->n++] = copy;
    return STATUS_OK;
}

/* Adds the metadata.yaml of a rosbag2 folder, which stands for the files of that folder. */
static status add_bag(struct logs_list *list, const char *folder, bool *is_bag, struct err *err)
{
    char path[PATH_SIZE];
    const int length = snprintf(path, sizeof path, "%s/metadata.yaml", folder);
    *is_bag = length > 0 && (size_t)length < sizeof path && log_format_of(path) == &log_format_mcap;
    return *is_bag ? logs_list_add_file(list, path, err) : STATUS_OK;
}

static int is_visible(const struct dirent *entry)
{
    /* The mapping file in a folder of logs is not itself a log. */
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "mapping.yaml") != 0;
}

/* Adds the files of a folder and of its subfolders in order of name. Entries that disappear
 * meanwhile are skipped. */
static status add_folder(struct logs_list *list, const char *folder, int depth,
                         bool (*refused)(const char *folder), struct err *err)
{
    bool is_bag;
    status s = add_bag(list, folder, &is_bag, err);
    if (s != STATUS_OK || is_bag) {
        return s;
    }
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_visible, versionsort);
    if (n < 0) {
        return err_errno(err, errno, "%s", folder);
    }
    /* All entries are freed even after an error, since scandir() allocates each of them. */
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        struct stat info;
        /* Links are followed by stat(), and DEPTH_MAX also ends a cycle of links. */
        const int length = snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (s == STATUS_OK && length > 0 && (size_t)length < sizeof path &&
            stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode) && refused != NULL && refused(path)) {
                s = err_set(err, STATUS_INVALID,
                            "%s: is a dataset of its own within the folder: expected its own path",
                            path);
            } else if (S_ISDIR(info.st_mode) && depth < DEPTH_MAX) {
                s = add_folder(list, path, depth + 1, refused, err);
            } else if (S_ISREG(info.st_mode)) {
                s = logs_list_add_file(list, path, err);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return s;
}

status logs_list_add_folder(struct logs_list *list, const char *folder,
                            bool (*refused)(const char *folder), struct err *err)
{
    return add_folder(list, folder, 0, refused, err);
}

status logs_list_check(const struct logs_list *list, const char *path, struct err *err)
{
    if (list->n > 0) {
        return STATUS_OK;
    }
    return list->gzip_path != NULL
               ? err_set(err, STATUS_INVALID,
                         "%s: is compressed with gzip: unpack it first (gunzip)", list->gzip_path)
               : err_set(err, STATUS_INVALID, "%s: contains no logs in a supported format (%s)",
                         path, log_format_names());
}

void logs_list_fini(struct logs_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        mem_free(list->paths[i]);
    }
    mem_free(list->paths);
    mem_free(list->gzip_path);
    *list = (struct logs_list){0};
}
