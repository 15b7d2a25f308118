/* Cores: the affinity mask, and the CPU quota of control groups.
 *
 * A quota is a share of time over all processors ("max 100000", or "250000 100000" for 2.5 of them)
 * and leaves the mask as it is, so a container with 2 of 64 processors shows 64. With 64 threads it
 * would be stopped in every period after 1/32 of it. Version 2 has one hierarchy (line "0::/a/b" of
 * /proc/self/cgroup, file cpu.max), version 1 one for each controller ("4:cpu,cpuacct:/a/b", files
 * cpu.cfs_quota_us and cpu.cfs_period_us). Each group on the way to the root may set a quota. */
#include "common/base/cores.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define PATH_SIZE     1024
#define FILE_BYTES    256
#define CGROUPS_BYTES (64u << 10)

/* A whole small file, terminated; false where it cannot be read. */
static bool read_small(const char *folder, const char *name, char text[FILE_BYTES])
{
    char path[PATH_SIZE + 64];
    void *bytes;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (file_read(path, FILE_BYTES - 1, &bytes, &size, NULL) != STATUS_OK) {
        return false;
    }
    memcpy(text, bytes, size + 1);
    mem_free(bytes);
    return true;
}

/* The quota of one group, in whole cores and at least 1; `cores` where it sets none. */
static int quota_of(const char *folder, int cores)
{
    char text[FILE_BYTES], period_text[FILE_BYTES];
    char *end;
    double quota = -1, period = 0;
    /* Version 2 holds quota and period in one file, version 1 in two. A quota below 0 stands for
     * none. */
    if (read_small(folder, "cpu.max", text)) {
        quota = strtod(text, &end); /* "max" is no number: no quota */
        quota = end == text ? -1 : quota;
        period = strtod(end, NULL);
    } else if (read_small(folder, "cpu.cfs_quota_us", text) &&
               read_small(folder, "cpu.cfs_period_us", period_text)) {
        quota = strtod(text, NULL); /* -1: no quota */
        period = strtod(period_text, NULL);
    }
    /* No quota, or one that all cores together cannot exceed. */
    if (!(quota > 0 && period > 0) || quota / period >= cores) {
        return cores;
    }
    /* Rounded down: a thread more than the quota allows would be stopped in each period. But one
     * thread there must be. */
    const int whole = (int)(quota / period);
    return whole > 1 ? whole : 1;
}

/* The least quota of the group `path` below `root` and of all above it. */
static int quota_on_the_way(const char *root, const char *path, int cores)
{
    char folder[PATH_SIZE];
    const size_t root_size = strlen(root);
    const int n = snprintf(folder, sizeof folder, "%s%s", root, path);
    /* A path that does not fit is not followed; its quota does not count. */
    if (n < 0 || (size_t)n >= sizeof folder) {
        return cores;
    }
    /* The group itself, then one folder name less each time, up to the root. */
    for (;;) {
        cores = quota_of(folder, cores);
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= root_size || slash == NULL || slash < folder + root_size) {
            return cores;
        }
        *slash = '\0';
    }
}

/* Is "cpu" one of the names in "cpu,cpuacct"? */
static bool names_cpu(const char *controllers, size_t size)
{
    for (size_t i = 0; i < size;) {
        const size_t n = strcspn(controllers + i, ",:");
        if (n == 3 && strncmp(controllers + i, "cpu", 3) == 0) {
            return true;
        }
        i += n + 1;
    }
    return false;
}

int cores_within_quota(int cores, const char *cgroup_folder, const char *cgroup_text)
{
    /* Each line: NUMBER:CONTROLLERS:PATH. */
    for (const char *line = cgroup_text; *line != '\0';) {
        const size_t size = strcspn(line, "\n");
        const char *controllers = memchr(line, ':', size);
        const char *path = controllers == NULL ? NULL
                                               : memchr(controllers + 1, ':',
                                                        (size_t)(line + size - controllers - 1));
        if (path != NULL) {
            char copy[PATH_SIZE], root[PATH_SIZE];
            /* Version 2 names no controllers. In version 1 only the hierarchy with the cpu
             * controller counts. */
            const size_t n_controllers = (size_t)(path - controllers - 1);
            snprintf(copy, sizeof copy, "%.*s", (int)(line + size - path - 1), path + 1);
            if (n_controllers == 0) {
                cores = quota_on_the_way(cgroup_folder, copy, cores);
            } else if (names_cpu(controllers + 1, n_controllers)) {
                snprintf(root, sizeof root, "%.900s/cpu",
                         cgroup_folder); /* a link to cpu,cpuacct */
                cores = quota_on_the_way(root, copy, cores);
            }
        }
        line += size + (line[size] == '\n');
    }
    return cores;
}

int cores_available(void)
{
    cpu_set_t set;
    /* Where the mask cannot be read, as with more cores than the type holds, one core counts. */
    const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    void *text;
    size_t size;
    if (file_read("/proc/self/cgroup", CGROUPS_BYTES, &text, &size, NULL) != STATUS_OK) {
        return cores;
    }
    const int within = cores_within_quota(cores, "/sys/fs/cgroup", text);
    mem_free(text);
    return within;
}
