/* How many cores this process may keep busy. */
#ifndef HINDCAST_BASE_CORES_H
#define HINDCAST_BASE_CORES_H

/* At least 1: the processors of its affinity mask, or fewer where a CPU quota of its cgroup, or of
 * one above it, allows less (containers): a quota of 2.5 gives 2. Reads files under /sys/fs/cgroup;
 * what cannot be read limits nothing. */
int cores_available(void);

/* The same for tests: with another folder instead of /sys/fs/cgroup, and other text instead of that
 * of /proc/self/cgroup. `cores` is the size of the affinity mask. */
int cores_within_quota(int cores, const char *cgroup_folder, const char *cgroup_text);

#endif
