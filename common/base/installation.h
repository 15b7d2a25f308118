/* Where the program is installed, and with it the read-only data that it came with.
 *
 * Nothing about places is compiled in, so that an installed tree can be moved. A prefix and a build
 * folder have the same layout:
 *
 *     PREFIX/bin/hindcast, hindcast-learner, ..     BUILD/hindcast, BUILD/learner/hindcast-learner, ..
 *     PREFIX/share/hindcast/control_suite/, sawyer/  BUILD/share/hindcast/control_suite/, sawyer/ */
#ifndef HINDCAST_BASE_INSTALLATION_H
#define HINDCAST_BASE_INSTALLATION_H

#include <stddef.h>

#include "common/base/status.h"

/* The folder that holds the running program. IO when the kernel does not tell; INVALID when the
 * path does not fit. */
status installation_programs(char *path, size_t size, struct err *err) MUST_CHECK;

/* The folder share/hindcast/NAME beside the program's folder, or in it. NOT_FOUND, naming both. */
status installation_folder(char *path, size_t size, const char *name, struct err *err) MUST_CHECK;

#endif
