/* A folder is read; only what is found there is ever served, by comparison of whole URLs. */
#include "common/dashboard/films.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/memory.h"

#define PATH_SIZE 4096
#define FILMS_MAX 64 /* of a run */
#define SUFFIX    ".gif"

void film_files_fini(struct film_files *files)
{
    for (size_t i = 0; i < files->n; i++) {
        mem_free(files->items[i].url);
        mem_free(files->items[i].path);
    }
    mem_free(files->items);
    *files = (struct film_files){0};
}

const char *film_files_find(const struct film_files *files, const char *url)
{
    for (size_t i = 0; i < files->n; i++) {
        if (strcmp(files->items[i].url, url) == 0) {
            return files->items[i].path;
        }
    }
    return NULL;
}

static bool make_room(struct film_files *files)
{
    if (files->n < files->capacity) {
        return true;
    }
    const size_t capacity = 2 * files->capacity + 16;
    struct film_file *items = mem_array(capacity, sizeof *items);
    if (items == NULL) {
        return false;
    }
    if (files->n > 0) {
        memcpy(items, files->items, files->n * sizeof *items);
    }
    mem_free(files->items);
    files->items = items;
    files->capacity = capacity;
    return true;
}

/* Adds a file of the run; false: out of memory. */
static bool add_file(struct film_files *files, const char *name, const char *folder,
                     const char *task, const char *suffix)
{
    char url[PATH_SIZE], path[PATH_SIZE];
    if ((size_t)snprintf(url, sizeof url, "%s/%s%s", name, task, suffix) >= sizeof url ||
        (size_t)snprintf(path, sizeof path, "%s/films/%s%s", folder, task, suffix) >= sizeof path) {
        return true; /* cannot be reached under such a name */
    }
    if (!make_room(files)) {
        return false;
    }
    struct film_file *file = &files->items[files->n];
    file->url = mem_text(url);
    file->path = mem_text(path);
    if (file->url == NULL || file->path == NULL) {
        mem_free(file->url);
        mem_free(file->path);
        return false;
    }
    files->n++;
    return true;
}

/* One film, if that is what the entry of the folder is; false: out of memory. */
static bool add_film(cJSON *list, struct film_files *files, const char *name, const char *folder,
                     const char *entry)
{
    char path[PATH_SIZE], task[256];
    struct stat about;
    const size_t length = strlen(entry);
    if (entry[0] == '.' || length <= strlen(SUFFIX) || length >= sizeof task ||
        strcmp(entry + length - strlen(SUFFIX), SUFFIX) != 0 ||
        (size_t)snprintf(path, sizeof path, "%s/films/%s", folder, entry) >= sizeof path ||
        lstat(path, &about) != 0 || !S_ISREG(about.st_mode)) {
        return true;
    }
    (void)snprintf(task, sizeof task, "%.*s", (int)(length - strlen(SUFFIX)), entry);
    cJSON *film = cJSON_CreateObject();
    bool ok = cJSON_AddStringToObject(film, "task", task) != NULL;
    ok = cJSON_AddNumberToObject(film, "time", (double)about.st_mtime) != NULL && ok;
    ok = ok && add_file(files, name, folder, task, SUFFIX);
    ok = ok && add_file(files, name, folder, task, ".png");
    ok = ok && cJSON_AddItemToArray(list, film);
    if (!ok) {
        cJSON_Delete(film);
    }
    return ok;
}

cJSON *films_of(const char *name, const char *folder, struct film_files *files)
{
    char path[PATH_SIZE];
    struct dirent **entries;
    cJSON *list = cJSON_CreateArray();
    bool ok = list != NULL;
    const bool fits = (size_t)snprintf(path, sizeof path, "%s/films", folder) < sizeof path;
    const int n = fits ? scandir(path, &entries, NULL, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        if (i < FILMS_MAX) {
            ok = ok && add_film(list, files, name, folder, entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    if (!ok) {
        cJSON_Delete(list);
        return NULL;
    }
    return list;
}
