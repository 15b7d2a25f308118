/* A control group with a memory limit, for one process that is to have less memory than the
 * machine. The page cache that the process fills counts. */
#ifndef HINDCAST_BENCH_MEMORY_GROUP_H
#define HINDCAST_BENCH_MEMORY_GROUP_H

#include <stdint.h>
#include <sys/types.h>

#include "common/base/status.h"

struct memory_group {
    char folder[4200];
};

/* Makes a group below the one of this process. UNAVAILABLE: this user or system cannot; the text says
 * what failed. */
status memory_group_make(struct memory_group *group, uint64_t limit_bytes,
                         struct err *err) MUST_CHECK;
/* Before the process touches what is to be limited. */
status memory_group_add(const struct memory_group *group, pid_t pid, struct err *err) MUST_CHECK;
/* When no process is in it any more. */
void memory_group_remove(const struct memory_group *group);

#endif
