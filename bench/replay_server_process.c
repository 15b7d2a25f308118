/* Starting and stopping replay servers. See replay_server_process.h. */
#include "bench/replay_server_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <libgen.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/status.h"

/* A port that was free a moment ago: the server binds it by its number. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT(bind(fd, (struct sockaddr *)&address, size) == 0);
    ASSERT(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

void replay_server_process_binary(char *path, size_t size)
{
    char self[900];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    ASSERT(length > 0);
    self[length] = '\0';
    snprintf(path, size, "%s/../replay_server/hindcast-replay-server", dirname(self));
}

/* Starts it with this thread's cores, which it inherits. */
static int spawn_pinned(pid_t *pid, const struct replay_server_process *server,
                        const posix_spawn_file_actions_t *actions, char **argv)
{
    cpu_set_t mine, one;
    ASSERT(sched_getaffinity(0, sizeof mine, &mine) == 0);
    if (server->core >= 0) {
        CPU_ZERO(&one);
        CPU_SET((size_t)server->core, &one);
        ASSERT(sched_setaffinity(0, sizeof one, &one) == 0);
    }
    const int rc = posix_spawn(pid, server->binary, actions, NULL, argv, environ);
    ASSERT(sched_setaffinity(0, sizeof mine, &mine) == 0);
    return rc;
}

pid_t replay_server_process_start(const struct replay_server_process *server, char *address,
                                  size_t size)
{
    char run_dir[800], path[900], listen[64], durability[64], limit[64], log[900], tls[3][800];
    pid_t pid = 0;
    /* Each server has a folder, a port and a log file of its own. */
    snprintf(address, size, "127.0.0.1:%d", free_port());
    snprintf(run_dir, sizeof run_dir, "--run_dir=%s/%s", server->folder, server->name);
    snprintf(path, sizeof path, "--path=%s/%s/store", server->folder, server->name);
    snprintf(log, sizeof log, "%s/%s.log", server->folder, server->name);
    snprintf(listen, sizeof listen, "--listen=%s", address);
    snprintf(durability, sizeof durability, "--durability=%s", server->durability);
    snprintf(limit, sizeof limit, "--max_episodes=%u", server->max_episodes);
    /* Scrubbing is off: it would read the disk while we measure. */
    char *argv[16] = {(char *)(uintptr_t)server->binary, run_dir, path, listen, durability, limit,
                      (char *)"--scrub_bytes_per_s=0"};
    size_t n_flags = 7;
    if (server->tls) {
        snprintf(tls[0], sizeof tls[0], "--tls_ca=%s/ca.pem", server->tls);
        snprintf(tls[1], sizeof tls[1], "--tls_cert=%s/server.pem", server->tls);
        snprintf(tls[2], sizeof tls[2], "--tls_key=%s/server.key", server->tls);
        for (size_t i = 0; i < 3; i++) {
            argv[n_flags++] = tls[i];
        }
    }
    for (size_t i = 0; i < sizeof server->more / sizeof server->more[0]; i++) {
        if (server->more[i]) {
            argv[n_flags++] = (char *)(uintptr_t)server->more[i];
        }
    }
    /* The log goes to a file, which is removed with the folder. */
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log, O_CREAT | O_WRONLY | O_TRUNC,
                                     0600);
    const int rc = spawn_pinned(&pid, server, &actions, argv);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        fprintf(stderr, "bench: %s: %s\n", server->binary, strerror(rc));
        exit(EXIT_FAILURE);
    }
    return pid;
}

void replay_server_process_stop(pid_t pid)
{
    if (pid > 0) {
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
    }
}

double replay_server_process_cpu(pid_t pid)
{
    struct timespec used;
    clockid_t clock;
    ASSERT(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &used) == 0);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}
