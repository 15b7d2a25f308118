/* The log files of a folder, as a list of paths. */
#ifndef HINDCAST_LOGS_LOGS_LIST_H
#define HINDCAST_LOGS_LOGS_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/logs/files/log_file.h"

#define LOGS_LIST_MAX     1000000u
#define LOGS_EPISODES_MAX 50000000u /* in all files of a list */

/* Initialise with {0}. */
struct logs_list {
    const struct log_format *format; /* of all files; NULL: the list is empty */
    size_t n, capacity;
    char **paths;    /* (n) in the order in which they were added */
    char *gzip_path; /* the first file that gzip has made, NULL: none */
};

/* Adds a file, if it has a known format; other files are passed over. Returns INVALID if its format
 * is not that of the files before it. */
status logs_list_add_file(struct logs_list *list, const char *path, struct err *err) MUST_CHECK;

/* Adds the files of a folder and of its subfolders (at most eight levels deep) in order of name,
 * numbers by their value. Names that begin with a dot and mapping.yaml are skipped. A folder with
 * the metadata.yaml of a ROS 2 bag is one file. `refused` tells the subfolders that are datasets of
 * their own, which are an error (INVALID); NULL: none is. */
status logs_list_add_folder(struct logs_list *list, const char *folder,
                            bool (*refused)(const char *folder), struct err *err) MUST_CHECK;

/* Returns INVALID if the list, which was made of `path`, is empty: most likely a mistyped path. */
status logs_list_check(const struct logs_list *list, const char *path, struct err *err) MUST_CHECK;

void logs_list_fini(struct logs_list *list);

#endif
