/* The programs that come with this one. */
#ifndef HINDCAST_LOCAL_PROGRAMS_H
#define HINDCAST_LOCAL_PROGRAMS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

/* All of them print a table of their options with --options. */
struct program {
    const char *name;   /* "hindcast-learner" */
    const char *folder; /* of the build tree that it is in */
    bool up;            /* `hindcast up` starts it */
};

/* Number `i`; NULL beyond the last. */
const struct program *programs_get(size_t i);
/* Its path: beside this program (installed) or in its folder of the build. NOT_FOUND. */
status programs_find(const char *name, char path[PATH_MAX], struct err *err) MUST_CHECK;

#endif
