/* Control groups are folders: making one makes the group, writing a number into its files sets the
 * limit and moves a process. The files have other names in the two versions of the interface. */
#include "bench/memory_group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a version keeps its groups, the mark of its line in /proc/self/cgroup, and its file. */
static const struct version {
    const char *root, *mark, *limit_file;
} versions[] = {{"/sys/fs/cgroup/memory", ":memory:", "memory.limit_in_bytes"},
                {"/sys/fs/cgroup", "0::", "memory.max"}};

/* The group of this process in that version: "/a/b". False: none. */
static bool own_group(const struct version *version, char *path, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[4096];
    bool found = false;
    while (!found && file && fgets(line, sizeof line, file)) {
        const char *at = strstr(line, version->mark);
        if (at) {
            snprintf(path, size, "%s", at + strlen(version->mark));
            path[strcspn(path, "\n")] = '\0';
            found = true;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

static status write_number(const struct memory_group *group, const char *name, uint64_t number,
                           struct err *err)
{
    char path[sizeof group->folder + 64];
    snprintf(path, sizeof path, "%s/%s", group->folder, name);
    FILE *file = fopen(path, "w");
    const bool written = file && fprintf(file, "%" PRIu64, number) > 0;
    /* The kernel answers when the buffer is written. */
    const bool closed = file && fclose(file) == 0;
    return written && closed ? STATUS_OK
                             : err_set(err, STATUS_UNAVAILABLE, "%s: %s", path, strerror(errno));
}

status memory_group_make(struct memory_group *group, uint64_t limit_bytes, struct err *err)
{
    status s = err_set(err, STATUS_UNAVAILABLE, "no control groups for memory here");
    for (size_t i = 0; s != STATUS_OK && i < sizeof versions / sizeof versions[0]; i++) {
        char own[2048];
        if (!own_group(&versions[i], own, sizeof own)) {
            continue;
        }
        snprintf(group->folder, sizeof group->folder, "%s%s/hindcast-bench-%d", versions[i].root,
                 own, (int)getpid());
        if (mkdir(group->folder, 0755) != 0) {
            s = err_set(err, STATUS_UNAVAILABLE, "%s: %s", group->folder, strerror(errno));
            continue;
        }
        s = write_number(group, versions[i].limit_file, limit_bytes, err);
        if (s != STATUS_OK) {
            memory_group_remove(group);
        }
    }
    return s;
}

status memory_group_add(const struct memory_group *group, pid_t pid, struct err *err)
{
    return write_number(group, "cgroup.procs", (uint64_t)pid, err);
}

void memory_group_remove(const struct memory_group *group)
{
    (void)rmdir(group->folder);
}
