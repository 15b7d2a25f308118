/* Where the models of a family of environments are. */
#ifndef HINDCAST_ENVIRONMENTS_MODEL_FOLDER_H
#define HINDCAST_ENVIRONMENTS_MODEL_FOLDER_H

#include <stddef.h>

#include "common/base/status.h"

/* folder(size) <- what the environment variable names, where it is set, else share/hindcast/NAME
 * beside the program (common/base/installation.h). `variable` may be NULL. NOT_FOUND, with what to
 * do; INVALID: the path is too long. */
status model_folder_find(char *folder, size_t size, const char *name, const char *variable,
                         struct err *err) MUST_CHECK;

#endif
