/* Whether a folder is a dataset, or has one further down, as where Minari keeps its datasets. */
#ifndef HINDCAST_LOGS_SOURCE_LOCATION_H
#define HINDCAST_LOGS_SOURCE_LOCATION_H

#include <stdbool.h>

#include "common/base/status.h"

#define SOURCE_PATH_SIZE 4096

/* Stores FOLDER/NAME, and returns whether there is such a file or folder. */
bool source_location_has(const char *folder, const char *name, char path[SOURCE_PATH_SIZE]);

/* Returns whether there is metadata in the folder, ours or Minari's. Minari's Arrow form is read as
 * logs. */
bool source_is_dataset(const char *path);
/* The same by contents, since other programs write files called metadata.json, too: returns whether
 * it has a signature, or lies beside Minari's data/main_data.hdf5. */
bool source_location_is_hdf5(const char *folder);

/* Stores what is to be read as the logs in `path`: the one dataset below it, if it is a folder that
 * has a dataset in it and is none itself; otherwise `path`. A dataset is a folder with metadata.json
 * of ours, data/metadata.json of Minari, or meta/info.json of LeRobot, at most eight levels down; a
 * folder with a mapping.yaml holds logs, whatever is below. What is chosen is logged (INFO).
 *
 * Returns INVALID if there are several datasets, or one and logs beside it; the error names them. */
status source_location(const char *path, char found[SOURCE_PATH_SIZE], struct err *err) MUST_CHECK;

#endif
