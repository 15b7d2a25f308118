/* The films that an evaluator leaves in RUN_DIR/films (docs/tasks.md), as the page offers them: TASK.gif,
 * with a contact sheet TASK.png beside it. */
#ifndef HINDCAST_DASHBOARD_FILMS_H
#define HINDCAST_DASHBOARD_FILMS_H

#include "common/base/json.h"

/* What the page may ask for, and where it is. */
struct film_files {
    size_t n, capacity;
    struct film_file {
        char *url; /* "abm+mpo/seed-1/reach.gif": the run's name and the file's, not encoded */
        char *path;
    } * items;
};
void film_files_fini(struct film_files *files);
/* The path of this URL, or NULL. */
const char *film_files_find(const struct film_files *files, const char *url);

/* The films of a run, in order of their tasks: [{"task", "time": seconds since 1970}, ..]; adds both
 * files of each to `files`. NULL: out of memory. */
cJSON *films_of(const char *name, const char *folder, struct film_files *files);

#endif
