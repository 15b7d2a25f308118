/* Starts, stops and kills replay servers. Killing copies the store as the kernel has it at that
 * moment: the next incarnation opens the copy, while the killed one runs on into closed connections
 * until it has ended. */
#include "tests/sim/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "tests/lib/scratch.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/fiber.h"
#include "tests/sim/network.h"
#include "tests/sim/server_disk.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

#define PATH_MAX_SIZE    64
#define INCARNATIONS_MAX 200

struct incarnation {
    uint32_t server, number;
    int host;
    char path[PATH_MAX_SIZE];
    uint64_t away_ns;           /* before it starts */
    struct incarnation *before; /* must have ended first; NULL: none */
    struct service *service;
    bool up, asked_to_end, killed, over;
    struct fiber *fiber;
};

static const struct plan *plan;
static struct incarnation *incarnations[PLAN_SERVERS_MAX]; /* the latest of each */
static struct incarnation *all[INCARNATIONS_MAX];
static uint32_t n_all;
static int next_host;
static bool full, was_full, was_killed;

/* ---- One incarnation ---- */

static void *live(void *arg)
{
    struct incarnation *incarnation = arg;
    while (incarnation->before && !incarnation->before->over) {
        fiber_wait(incarnation->before, AGENDA_NEVER);
    }
    fiber_wait(NULL, agenda_now() + incarnation->away_ns);
    struct options options = plan->options;
    options.listen.n = 1;
    strcpy(options.listen.items[0], plan->experiment.replay.items[incarnation->server]);
    snprintf(options.path, sizeof options.path, "%s", incarnation->path);
    struct err err = {0};
    struct service *service;
    status s;
    while ((s = service_open(&service, &options, &plan->experiment, plan->seed, &err)) ==
               STATUS_FULL &&
           full) {
        fiber_wait(NULL, agenda_now() + NS_PER_S); /* a supervisor would start it again */
    }
    if (s != STATUS_OK) {
        verdict_wrong("server %u does not open: %s", incarnation->server, err.text);
    }
    s = service_start(service, &err);
    ASSERT(s == STATUS_OK);
    incarnation->service = service;
    incarnation->up = !incarnation->killed && !incarnation->asked_to_end;
    while (!incarnation->asked_to_end) {
        fiber_wait(&incarnation->asked_to_end, AGENDA_NEVER);
    }
    incarnation->up = false;
    service_close(service);
    if (incarnation->killed) {
        scratch_remove(incarnation->path);
    }
    incarnation->over = true;
    fiber_wake_all(incarnation);
    return NULL;
}

static struct incarnation *begin(uint32_t server, uint64_t away_ns, struct incarnation *before)
{
    ASSERT(n_all < INCARNATIONS_MAX);
    struct incarnation *incarnation = mem_new(sizeof *incarnation);
    ASSERT(incarnation != NULL);
    all[n_all++] = incarnation;
    incarnation->server = server;
    incarnation->number = incarnations[server] ? incarnations[server]->number + 1 : 1;
    incarnation->host = next_host++;
    incarnation->away_ns = away_ns;
    incarnation->before = before;
    snprintf(incarnation->path, sizeof incarnation->path, "replay-%u-%u", server,
             before ? 0 : incarnation->number);
    if (before) {
        strcpy(incarnation->path, before->path);
    }
    incarnations[server] = incarnation;
    incarnation->fiber = fiber_start("server", incarnation->host, live, incarnation);
    return incarnation;
}

static void end(struct incarnation *incarnation)
{
    incarnation->up = false;
    incarnation->asked_to_end = true;
    fiber_wake_all(&incarnation->asked_to_end);
}

/* ---- The interface ---- */

void servers_open(const struct plan *of)
{
    plan = of;
    full = was_full = was_killed = false;
    n_all = 0;
    next_host = 1;
    for (uint32_t i = 0; i < PLAN_SERVERS_MAX; i++) {
        incarnations[i] = NULL;
    }
    for (uint32_t i = 0; i < plan->n_servers; i++) {
        begin(i, 0, NULL);
    }
}

/* What the kernel has of the file, as it is now. */
static void copy_file(const char *from, const char *to)
{
    void *bytes;
    size_t size;
    struct err err;
    if (access(from, F_OK) != 0) {
        return;
    }
    status s = file_read(from, 1 << 30, &bytes, &size, &err);
    ASSERT(s == STATUS_OK);
    const int fd = open(to, O_CREAT | O_WRONLY | O_TRUNC, 0640);
    ASSERT(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
    mem_free(bytes);
}

static void copy_store(const char *from, const char *to)
{
    static const char *const names[] = {"data.mdb", "unclean"};
    char source[2 * PATH_MAX_SIZE], target[2 * PATH_MAX_SIZE];
    if (access(from, F_OK) != 0) {
        return;
    }
    ASSERT(mkdir(to, 0750) == 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(source, sizeof source, "%s/%s", from, names[i]);
        snprintf(target, sizeof target, "%s/%s", to, names[i]);
        copy_file(source, target);
    }
}

void servers_kill(uint32_t server, uint64_t away_ns)
{
    struct incarnation *incarnation = incarnations[server];
    if (n_all == INCARNATIONS_MAX || (incarnation->before && !incarnation->before->over)) {
        return; /* it has not started */
    }
    trace("server %u: killed", server);
    incarnation->killed = true;
    was_killed = true;
    end(incarnation);
    network_kill_host(incarnation->host);
    struct incarnation *next = begin(server, away_ns, NULL);
    copy_store(incarnation->path, next->path);
}

void servers_restart(uint32_t server, uint64_t away_ns)
{
    struct incarnation *incarnation = incarnations[server];
    if (n_all < INCARNATIONS_MAX && incarnation->up) {
        trace("server %u: asked to end", server);
        end(incarnation);
        begin(server, away_ns, incarnation);
    }
}

void servers_close(void)
{
    for (uint32_t i = 0; i < n_all; i++) {
        if (!all[i]->asked_to_end) {
            end(all[i]);
        }
    }
    for (uint32_t i = 0; i < n_all; i++) {
        fiber_join(all[i]->fiber, NULL);
    }
}

void servers_free(void)
{
    for (uint32_t i = 0; i < n_all; i++) {
        mem_free(all[i]);
    }
    n_all = 0;
    for (uint32_t i = 0; i < PLAN_SERVERS_MAX; i++) {
        incarnations[i] = NULL;
    }
}

struct service *servers_service(uint32_t server)
{
    return incarnations[server] && incarnations[server]->up ? incarnations[server]->service : NULL;
}

uint32_t servers_incarnation(uint32_t server)
{
    return incarnations[server]->number;
}

void servers_path(uint32_t server, char *path, size_t size)
{
    snprintf(path, size, "%s", incarnations[server]->path);
}

/* ---- Pages that are on the disk alone ---- */

int __wrap_mincore(void *address, size_t size, unsigned char *pages)
{
    (void)address;
    const unsigned char resident = !(plan->cold && chance_in(3));
    memset(pages, resident, (size + 4095) / 4096);
    return 0;
}

/* ---- Copies of a store ---- */

/* Waits, and lets others go on, until the pipe can be read from or written to; false: it never will be
 * written to. */
static bool await_pipe(int fd, short events)
{
    struct pollfd one = {.fd = fd, .events = events};
    while (poll(&one, 1, 0) == 0) {
        fiber_wait(NULL, agenda_now() + NS_PER_MS);
    }
    return events == POLLIN || (one.revents & POLLERR) == 0;
}

ssize_t __wrap_read(int fd, void *bytes, size_t size)
{
    struct stat info;
    if (fiber_self() != NULL && fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode)) {
        (void)await_pipe(fd, POLLIN);
    }
    return __real_read(fd, bytes, size);
}

/* LMDB writes into the pipe from a thread of its own, which is none of ours: its copy goes through a
 * file. */
int __wrap_mdb_env_copyfd2(MDB_env *env, mdb_filehandle_t fd, unsigned flags)
{
    char piece[4096];
    ssize_t n = 0;
    const int file = memfd_create("copy", MFD_CLOEXEC);
    ASSERT(file >= 0);
    int rc = __real_mdb_env_copyfd2(env, file, flags);
    ASSERT(lseek(file, 0, SEEK_SET) == 0);
    while (rc == 0 && (n = __real_read(file, piece, sizeof piece)) > 0) {
        /* A pipe that can be written to takes this much at once. */
        if (!await_pipe(fd, POLLOUT) || write(fd, piece, (size_t)n) != n) {
            rc = EPIPE;
        }
    }
    close(file);
    return rc;
}

/* ---- A full disk ---- */

void servers_fill(bool now)
{
    trace("the disk %s", now ? "is full" : "has room");
    full = now;
    was_full = was_full || now;
}

bool servers_lost_draws(void)
{
    return was_killed || was_full;
}

bool servers_marked_by_full_disk(uint32_t server)
{
    return was_full && incarnations[server]->number > 1;
}

int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags)
{
    return full ? MDB_MAP_FULL : __real_mdb_put(txn, dbi, key, value, flags);
}
