/* Paths relative to the running program, so that an installation may be moved as a whole.
 * /proc/self/exe names the file that the kernel runs, also where the program was started through a
 * symbolic link or found in PATH. */
#include "common/base/installation.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

status installation_programs(char *path, size_t size, struct err *err)
{
    char program[PATH_MAX];
    /* readlink does not terminate its result, and one that fills the buffer may have been cut. */
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program);
    if (n <= 0 || (size_t)n == sizeof program) {
        return err_errno(err, n < 0 ? errno : ENAMETOOLONG, "/proc/self/exe");
    }
    program[n] = '\0';
    /* The path is absolute, so that there is a slash. What is left is the folder. */
    *strrchr(program, '/') = '\0';
    if (strlen(program) >= size) {
        return err_set(err, STATUS_INVALID, "%.200s: path longer than %zu bytes", program, size);
    }
    memcpy(path, program, strlen(program) + 1);
    return STATUS_OK;
}

status installation_folder(char *path, size_t size, const char *name, struct err *err)
{
    char programs[PATH_MAX];
    status s = installation_programs(programs, sizeof programs, err);
    /* PREFIX/bin/x and BUILD/role/x look one level up, BUILD/hindcast where it is. */
    static const char *const levels[] = {"/..", ""};
    /* The first level that has the folder wins. */
    for (size_t i = 0; s == STATUS_OK && i < sizeof levels / sizeof levels[0]; i++) {
        const int n = snprintf(path, size, "%s%s/share/hindcast/%s", programs, levels[i], name);
        if (n < 0 || (size_t)n >= size) {
            s = err_set(err, STATUS_INVALID, "%.200s: path longer than %zu bytes", programs, size);
        } else if (access(path, R_OK) == 0) {
            return STATUS_OK;
        }
    }
    return s != STATUS_OK ? s
                          : err_set(err, STATUS_NOT_FOUND,
                                    "no share/hindcast/%s in %.300s or its parent", name, programs);
}
