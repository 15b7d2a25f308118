/* hindcast doctor: is this machine fit for a run? One line for each thing that runs have failed or
 * been slow for, and below a bad one what to do about it. Nothing is changed but a file that is
 * written and removed to see whether that works. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/cores.h"
#include "common/base/installation.h"
#include "common/base/memory.h"
#include "common/networks/kernels.h"
#include "deploy/local/commands.h"
#include "deploy/local/program_output.h"
#include "deploy/local/programs.h"

/* What a run of the quick start's size takes; larger logs need more. */
#define MEMORY_LOW (2.0 * 1e9)
#define DISK_LOW   (5.0 * 1e9)
#define FILES_LOW  1024u

enum finding { GOOD, NOTE, BAD };

/* Prints one line: what was looked at and what was found. Returns whether it is bad. */
static bool tell(enum finding finding, const char *what, const char *format, ...) PRINTF_LIKE(3, 4);
static bool tell(enum finding finding, const char *what, const char *format, ...)
{
    static const char *const words[] = {"ok", "note", "BAD"};
    printf("%-5s %-12s ", words[finding], what);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    return finding == BAD;
}

/* The value of "KEY : value" in a file of /proc, without its newline; false where it is not there. */
static bool proc_value(const char *path, const char *key, char *value, size_t size)
{
    FILE *file = fopen(path, "re");
    char line[512];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, key, strlen(key)) == 0) {
            colon += 1 + strspn(colon + 1, " \t");
            snprintf(value, size, "%.*s", (int)strcspn(colon, "\n"), colon);
            found = true;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

/* That it can run our code at all was checked before main(). */
static bool look_at_processor(void)
{
    char name[256] = "unknown processor";
    (void)proc_value("/proc/cpuinfo", "model name", name, sizeof name);
    const int cores = cores_available();
    return tell(cores > 1 ? GOOD : NOTE, "processor", "%s, %d core%s%s", name, cores,
                cores == 1 ? "" : "s",
                cores > 1 ? "" : ": learner, replay server and evaluator share it");
}

static bool look_at_matrix_units(void)
{
    if (kernels_bf16_pays()) {
        return tell(GOOD, "bf16", "kernels %s: learner.precision: bf16 is faster than f32",
                    kernels_name());
    }
    return tell(GOOD, "bf16", "kernels %s: stay with learner.precision: f32", kernels_name());
}

/* The memory that is free, or less where a cgroup limits this process. */
static bool look_at_memory(void)
{
    char text[64] = "0";
    (void)proc_value("/proc/meminfo", "MemAvailable", text, sizeof text);
    double bytes = 1024.0 * strtod(text, NULL);
    FILE *limit = fopen("/sys/fs/cgroup/memory.max", "re");
    if (limit != NULL) {
        double most = 0;
        if (fscanf(limit, "%lf", &most) == 1 && most > 0 && most < bytes) {
            bytes = most;
        }
        (void)fclose(limit);
    }
    return tell(bytes < MEMORY_LOW ? BAD : GOOD, "memory", "%.1f GB available%s", bytes / 1e9,
                bytes < MEMORY_LOW ? ": a small run takes about 2 GB; end other programs, or use "
                                     "smaller learner.batch_snippets and learner.widths"
                                   : "");
}

static bool look_at_disk(void)
{
    struct statvfs disk;
    if (statvfs(".", &disk) != 0) {
        return tell(BAD, "disk", "this folder: %s", strerror(errno));
    }
    const double bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    if ((disk.f_flag & ST_RDONLY) != 0) {
        return tell(BAD, "disk",
                    "this folder is read-only; runs are written to runs/ here, or to "
                    "experiment.run_dir");
    }
    return tell(bytes < DISK_LOW ? BAD : GOOD, "disk", "%.1f GB free here%s", bytes / 1e9,
                bytes < DISK_LOW ? ": the replay table is about as large as the logs; set "
                                   "experiment.run_dir to a folder with space"
                                 : "");
}

/* Files are synced as runs sync them. */
static bool look_at_writing(void)
{
    char path[] = "hindcast-doctor-XXXXXX";
    const int fd = mkstemp(path);
    const bool works =
        fd >= 0 && write(fd, path, sizeof path) == (ssize_t)sizeof path && fsync(fd) == 0;
    const int number = errno;
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    return works ? tell(GOOD, "writing", "files can be written and synced here")
                 : tell(BAD, "writing",
                        "a file here: %s; go to a folder of yours, or set "
                        "experiment.run_dir",
                        strerror(number));
}

static bool look_at_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return tell(BAD, "open files", "%s", strerror(errno));
    }
    return tell(files.rlim_cur < FILES_LOW ? BAD : GOOD, "open files", "at most %llu%s",
                (unsigned long long)files.rlim_cur,
                files.rlim_cur < FILES_LOW ? ": a server needs one for each connection; ulimit -n "
                                             "4096"
                                           : "");
}

/* Sockets of a run are in its folder, and the kernel limits their path. */
static bool look_at_sockets(void)
{
    char here[PATH_MAX] = "";
    if (getcwd(here, sizeof here) == NULL) {
        return tell(BAD, "sockets", "this folder: %s", strerror(errno));
    }
    const size_t rest = strlen("/runs//parameters.sock") + 20; /* and a name */
    const size_t most = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    if (strlen(here) + rest > most) {
        return tell(NOTE, "sockets",
                    "the path of this folder is long: runs with names of more than "
                    "%d characters need experiment.replay and "
                    "experiment.parameters with ports",
                    strlen(here) + rest - 20 < most ? (int)(most - (strlen(here) + rest - 20)) : 0);
    }
    return tell(GOOD, "sockets", "paths of sockets in runs/ here are short enough");
}

static bool look_at_loopback(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const bool works = fd >= 0 &&
                       bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
                       listen(fd, 1) == 0;
    const int number = errno;
    if (fd >= 0) {
        close(fd);
    }
    return works ? tell(GOOD, "ports", "a port of 127.0.0.1 can be listened on")
                 : tell(BAD, "ports", "127.0.0.1: %s; metrics and hindcast status need it",
                        strerror(number));
}

/* Times of several machines are compared in curves and logs only; a wrong clock is no error. */
static bool look_at_clock(void)
{
    struct timex about = {0};
    const int state = adjtimex(&about);
    return state >= 0 && state != TIME_ERROR
               ? tell(GOOD, "clock", "synchronized")
               : tell(NOTE, "clock",
                      "not synchronized: times in logs of several machines will not "
                      "agree; install chrony or systemd-timesyncd");
}

/* Every program of a run is there, and of one version. */
static bool look_at_programs(void)
{
    bool bad = false;
    const struct program *program;
    for (size_t i = 0; (program = programs_get(i)) != NULL; i++) {
        char path[PATH_MAX];
        struct err err;
        if (programs_find(program->name, path, &err) != STATUS_OK) {
            bad = tell(BAD, "programs", "%s; build all of Hindcast", err.text) || bad;
            continue;
        }
        char *version = program_output((const char *const[]){path, "--version", NULL});
        if (version == NULL) {
            bad = tell(BAD, "programs", "%s does not start; run it to see why", path) || bad;
        } else if (strncmp(version, HINDCAST_VERSION "\n", sizeof HINDCAST_VERSION) != 0) {
            bad = tell(BAD, "programs", "%s is version %.*s, this is %s; build all of Hindcast",
                       path, (int)strcspn(version, "\n"), version, HINDCAST_VERSION) ||
                  bad;
        }
        mem_free(version);
    }
    return bad || tell(GOOD, "programs", "all are there, version %s", HINDCAST_VERSION);
}

static bool look_at_models(void)
{
    char path[PATH_MAX];
    struct err err;
    return installation_folder(path, sizeof path, "control_suite", &err) == STATUS_OK
               ? tell(GOOD, "models", "those of the control suite are there")
               : tell(NOTE, "models",
                      "%s; without them there are no environments of the control "
                      "suite: deploy/install_dependencies fetches them",
                      err.text);
}

int command_doctor(int argc, char **argv)
{
    static const char usage[] =
        "usage: hindcast doctor\n"
        "Looks at what runs need of this machine: processor, matrix units, memory, disk, file\n"
        "limits, sockets, ports, clock, programs and models. Run it in the folder in which you\n"
        "start runs. A line that begins with BAD says what to do; then the exit status is 1.\n";
    if (argc > 1) {
        const bool help = strcmp(argv[1], "--help") == 0;
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    static bool (*const looks[])(void) = {look_at_processor, look_at_matrix_units, look_at_memory,
                                          look_at_disk,      look_at_writing,      look_at_files,
                                          look_at_sockets,   look_at_loopback,     look_at_clock,
                                          look_at_programs,  look_at_models};
    bool bad = false;
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        bad = looks[i]() || bad;
    }
    return bad ? 1 : 0;
}
