/* Lives of replay servers. See server.h. */
#include "tests/sim/server.h"

#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "tests/lib/scratch.h"
#include "tests/sim/agenda.h"
#include "tests/sim/fiber.h"
#include "tests/sim/network.h"
#include "tests/sim/server_disk.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

#define PATH_MAX_SIZE 64
#define LIVES_MAX     200

struct life {
    uint32_t server, number;
    int host;
    char path[PATH_MAX_SIZE];
    uint64_t away_ns;    /* before it begins */
    struct life *before; /* that must be over first; NULL: none */
    struct service *service;
    bool up, asked_to_end, killed, over;
    struct fiber *fiber;
};

static const struct plan *plan;
static struct life *lives[PLAN_SERVERS_MAX]; /* the latest of each */
static struct life *all[LIVES_MAX];
static uint32_t n_all;
static int next_host;
static bool full, was_full;

/* ---- One life ---- */

static void *live(void *arg)
{
    struct life *life = arg;
    while (life->before && !life->before->over) {
        fiber_wait(life->before, AGENDA_NEVER);
    }
    fiber_wait(NULL, agenda_now() + life->away_ns);
    struct options options = plan->options;
    options.listen.n = 1;
    strcpy(options.listen.items[0], plan->experiment.replay.items[life->server]);
    snprintf(options.path, sizeof options.path, "%s", life->path);
    struct err err = {0};
    struct service *service;
    status s;
    while ((s = service_open(&service, &options, &plan->experiment, plan->seed, &err)) ==
               STATUS_FULL &&
           full) {
        fiber_wait(NULL, agenda_now() + NS_PER_S); /* whoever supervises it tries again */
    }
    if (s != STATUS_OK) {
        verdict_wrong("server %u does not open: %s", life->server, err.text);
    }
    s = service_start(service, &err);
    ASSERT(s == STATUS_OK);
    life->service = service;
    life->up = !life->killed && !life->asked_to_end;
    while (!life->asked_to_end) {
        fiber_wait(&life->asked_to_end, AGENDA_NEVER);
    }
    life->up = false;
    service_close(service);
    if (life->killed) {
        scratch_remove(life->path);
    }
    life->over = true;
    fiber_wake_all(life);
    return NULL;
}

static struct life *begin(uint32_t server, uint64_t away_ns, struct life *before)
{
    ASSERT(n_all < LIVES_MAX);
    struct life *life = mem_new(sizeof *life);
    ASSERT(life != NULL);
    all[n_all++] = life;
    life->server = server;
    life->number = lives[server] ? lives[server]->number + 1 : 1;
    life->host = next_host++;
    life->away_ns = away_ns;
    life->before = before;
    snprintf(life->path, sizeof life->path, "replay-%u-%u", server, before ? 0 : life->number);
    if (before) {
        strcpy(life->path, before->path);
    }
    lives[server] = life;
    life->fiber = fiber_start("server", life->host, live, life);
    return life;
}

static void end(struct life *life)
{
    life->up = false;
    life->asked_to_end = true;
    fiber_wake_all(&life->asked_to_end);
}

/* ---- The interface ---- */

void servers_open(const struct plan *of)
{
    plan = of;
    full = was_full = false;
    n_all = 0;
    next_host = 1;
    for (uint32_t i = 0; i < PLAN_SERVERS_MAX; i++) {
        lives[i] = NULL;
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
    struct life *life = lives[server];
    if (n_all == LIVES_MAX || (life->before && !life->before->over)) {
        return; /* it has not begun */
    }
    trace("server %u: killed", server);
    life->killed = true;
    end(life);
    network_kill_host(life->host);
    struct life *next = begin(server, away_ns, NULL);
    copy_store(life->path, next->path);
}

void servers_restart(uint32_t server, uint64_t away_ns)
{
    struct life *life = lives[server];
    if (n_all < LIVES_MAX && life->up) {
        trace("server %u: asked to end", server);
        end(life);
        begin(server, away_ns, life);
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
        lives[i] = NULL;
    }
}

struct service *servers_service(uint32_t server)
{
    return lives[server] && lives[server]->up ? lives[server]->service : NULL;
}

uint32_t servers_life(uint32_t server)
{
    return lives[server]->number;
}

void servers_path(uint32_t server, char *path, size_t size)
{
    snprintf(path, size, "%s", lives[server]->path);
}

/* ---- A full disk ---- */

void servers_fill(bool now)
{
    trace("the disk %s", now ? "is full" : "has room");
    full = now;
    was_full = was_full || now;
}

bool servers_marked_by_full_disk(uint32_t server)
{
    return was_full && lives[server]->number > 1;
}

int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags)
{
    return full ? MDB_MAP_FULL : __real_mdb_put(txn, dbi, key, value, flags);
}
