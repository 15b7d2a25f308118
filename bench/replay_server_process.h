/* Real replay servers for benchmarks: each a process with an empty store, on a free port of
 * loopback. A failure to start ends the program. */
#ifndef HINDCAST_BENCH_REPLAY_SERVER_PROCESS_H
#define HINDCAST_BENCH_REPLAY_SERVER_PROCESS_H

#include <sys/types.h>

struct replay_server_process {
    const char *binary;
    const char *folder;     /* that gets its files */
    const char *name;       /* of this server's files there */
    const char *durability; /* as the option has it */
    unsigned max_episodes;  /* 0: no limit */
    int core;               /* that it is pinned to; -1: none */
    const char *tls;        /* a folder that certificates_make has filled; NULL: in the clear */
    const char *more[2];    /* further flags; NULL: none */
};

/* The binary beside this program's folder, as a build tree has it. */
void replay_server_process_binary(char *path, size_t size);

/* Returns the process and writes its address. */
pid_t replay_server_process_start(const struct replay_server_process *server, char *address,
                                  size_t size);
/* Waits for its end, so that what follows has the machine alone. 0 is fine. */
void replay_server_process_stop(pid_t pid);

/* Processor time of a process so far [s]. */
double replay_server_process_cpu(pid_t pid);

#endif
