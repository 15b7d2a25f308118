/* hindcast_process_*, read from /proc and getrusage when a page of metrics is made (a
 * metrics_hook), on the thread that makes it. Each reader returns 0 where the kernel does not tell:
 * a missing figure must not end a process. */
#include "common/base/process_metrics.h"

#include <dirent.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"

/* The second field of statm, in pages. */
static double resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return 0;
    }
    /* The first field is the size of the address space, which says little. */
    unsigned long long pages = 0;
    const int n = fscanf(file, "%*u %llu", &pages);
    fclose(file);
    return n == 1 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : 0;
}

/* Entries of /proc/self/fd. */
static double open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) {
        return 0;
    }
    double n = -3; /* ".", ".." and this folder itself */
    while (readdir(folder) != NULL) {
        n++;
    }
    closedir(folder);
    return n;
}

/* User and system time of all threads, ended ones too. */
static double cpu_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* When this process began, by the wall clock: now, less its age by the clock since boot. */
static double start_seconds(void)
{
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL) {
        return 0;
    }
    /* One line: the number of the process, its name in brackets, then numbers. */
    char text[1024];
    const size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    /* The name in brackets may hold anything: count fields behind the last bracket; the 20th is the
     * start in ticks. */
    const char *at = text + size;
    while (at > text && *at != ')') {
        at--;
    }
    unsigned long long ticks = 0;
    if (sscanf(at,
               ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &ticks) != 1) {
        return 0;
    }
    /* Ticks since boot -> age -> the moment on the wall clock. */
    struct timespec boot;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    const double since_boot = (double)boot.tv_sec + 1e-9 * (double)boot.tv_nsec;
    const double age = since_boot - (double)ticks / (double)sysconf(_SC_CLK_TCK);
    return 1e-9 * (double)clock_wall_ns() - age;
}

void process_metrics_update(void *unused)
{
    (void)unused;
    /* Two pages may be made at once. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static double start;
    pthread_mutex_lock(&lock);
    /* Constant: read once. */
    if (start == 0) {
        start = start_seconds();
        metric_set(metric_gauge("hindcast_process_start_time_seconds",
                                "When the process began, seconds since 1970.", NULL),
                   start);
        metric_set(metric_gauge("hindcast_build_info", "1, with the version as label.",
                                "version=\"" HINDCAST_VERSION "\""),
                   1);
    }
    /* These change from page to page. */
    metric_set(metric_gauge("hindcast_process_resident_bytes", "Resident memory.", NULL),
               resident_bytes());
    metric_set(metric_gauge("hindcast_process_open_fds", "Open file descriptors.", NULL),
               open_files());
    struct metric *cpu = metric_counter("hindcast_process_cpu_seconds_total",
                                        "Processor time, user and system.", NULL);
    /* A counter only grows; it is raised by what is missing. */
    const double now = cpu_seconds();
    if (now > metric_value(cpu)) {
        metric_add(cpu, now - metric_value(cpu));
    }
    pthread_mutex_unlock(&lock);
}
