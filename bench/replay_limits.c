/* Three short loops over memory, store and disk. Each of them uses one resource that the server
 * needs, in the way in which the server uses it, without anything else around it. A machine that is
 * slow today makes limit and figure slow alike, and leaves their ratio. */
#include "bench/replay_limits.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/noise.h"
#include "replay_server/store/store.h"

/* As in the store: blocks of a sync, the size of a chunk's buffer, episodes of a commit. */
#define SYNC_BYTES      (16u << 20)
#define CHUNK_BYTES     65536u
#define COMMIT_EPISODES 64u
#define PAGE_BYTES      4096u
#define READERS_MAX     64u

static double since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) * 1e-9;
}

static void need(status s, const struct err *err, const char *what)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "replay_limits: %s: %s: %s\n", what, status_text(s), err->text);
        exit(EXIT_FAILURE);
    }
}

double replay_limits_memcpy(void)
{
    /* The two buffers are larger than the caches of most machines. */
    const size_t size = 64u << 20;
    char *from = mem_aligned(size);
    char *to = mem_aligned(size);
    double best = 0;
    for (int i = 0; i < 8; i++) {
        const uint64_t start_ns = clock_now_ns();
        /* A change of the source, and the empty asm, keep the copy from being left out. */
        memset(from, i, 4096);
        memcpy(to, from, size);
        __asm__ volatile("" : : "r"(to) : "memory");
        const double rate = (double)size / since(start_ns);
        best = rate > best ? rate : best;
    }
    mem_free(from);
    mem_free(to);
    return best;
}

/* Puts `episode` with chunks id .. ; the number of chunks. `chunk` is scratch. */
static uint32_t put_episode(struct store *store, const struct episode *episode, uint64_t id,
                            unsigned number, uint8_t *chunk)
{
    struct err err;
    const uint32_t n_rows = episode->T + 1, W = episode->W;
    const uint32_t chunk_rows = store_chunk_rows(W);
    const uint32_t n_chunks = store_n_chunks(n_rows, W);
    /* An episode is a row of chunks, as the writer thread of the server stores it. */
    for (uint32_t i = 0, first = 0; i < n_chunks; i++, first += chunk_rows) {
        const uint32_t n = n_rows - first < chunk_rows ? n_rows - first : chunk_rows;
        memcpy(chunk + STORE_CHUNK_HEADER, episode->rows + (size_t)first * W,
               (size_t)n * W * sizeof(float));
        need(store_put_chunk(store, id + i, chunk, n, W, &err), &err, "put");
    }
    /* The record of the episode makes the chunks an episode; it is put after them. */
    const struct store_episode record = {
        .id = id, .n_rows = n_rows, .W = W, .priority = 1, .identity = {1, 2, number, 0}};
    need(store_put_episode(store, &record, &err), &err, "put episode");
    return n_chunks;
}

double replay_limits_store_write(const char *folder, double seconds, const struct episode *episode,
                                 unsigned table_episodes)
{
    char path[800];
    struct err err;
    struct store *store = NULL;
    bool scan;
    /* The map is much larger than the table. */
    snprintf(path, sizeof path, "%s/limit", folder);
    const struct store_settings settings = {
        .path = path, .map_bytes = 8ull << 30, .durability = STORE_NONE};
    need(store_open(&store, &settings, &scan, &err), &err, "store");
    uint8_t *chunk = mem_aligned(CHUNK_BYTES);
    /* Identifiers rise: those of an episode's chunks follow one another. */
    uint64_t id = 1, oldest = 1;
    double steps = 0;
    uint64_t start_ns = clock_now_ns();
    /* The first two tables' worth of episodes fill the store and turn it over once, untimed. */
    for (unsigned k = 0; k < 2 * table_episodes || since(start_ns) < seconds; k++) {
        if (k == 2 * table_episodes) {
            start_ns = clock_now_ns(); /* warm from here on */
            steps = 0;
        }
        /* Many episodes share a commit, as they do in the server under load. */
        if (k % COMMIT_EPISODES == 0) {
            need(store_begin(store, &err), &err, "begin");
        }
        /* Once the table is full, each new episode takes the place of the oldest. */
        if (k >= table_episodes) {
            need(store_remove_episode(store, oldest, &err), &err, "remove");
            oldest += store_n_chunks(episode->T + 1, episode->W);
        }
        id += put_episode(store, episode, id, k, chunk);
        steps += episode->T;
        if (k % COMMIT_EPISODES == COMMIT_EPISODES - 1) {
            need(store_commit(store, &err), &err, "commit");
        }
    }
    /* What was not committed is dropped. */
    const double rate = steps / since(start_ns);
    store_abort(store);
    store_close(store);
    mem_free(chunk);
    return rate;
}

/* One of the threads that read. */
struct reading {
    int fd;
    uint64_t n_pages, seed, until_ns, reads;
};

static void *read_pages(void *arg)
{
    struct reading *reading = arg;
    /* Reading past the cache needs memory at a multiple of the disk's block. */
    char *block = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    ASSERT(block != NULL);
    while (clock_now_ns() < reading->until_ns) {
        const uint64_t at =
            noise_below(reading->n_pages, reading->seed, reading->reads++, 0x72656164u, 0);
        ASSERT(pread(reading->fd, block, PAGE_BYTES, (off_t)(at * PAGE_BYTES)) == PAGE_BYTES);
    }
    free(block);
    return NULL;
}

double replay_limits_random_reads(const char *file, unsigned depth, double seconds)
{
    struct reading readings[READERS_MAX];
    pthread_t threads[READERS_MAX];
    struct stat info;
    ASSERT(depth >= 1 && depth <= READERS_MAX);
    const int fd = open(file, O_RDONLY | O_DIRECT);
    ASSERT(fd >= 0 && fstat(fd, &info) == 0 && info.st_size >= (off_t)PAGE_BYTES);
    const uint64_t start_ns = clock_now_ns();
    for (unsigned i = 0; i < depth; i++) {
        readings[i] = (struct reading){.fd = fd,
                                       .n_pages = (uint64_t)info.st_size / PAGE_BYTES,
                                       .seed = start_ns + i,
                                       .until_ns = start_ns + (uint64_t)(seconds * 1e9)};
        ASSERT(pthread_create(&threads[i], NULL, read_pages, &readings[i]) == 0);
    }
    double reads = 0;
    for (unsigned i = 0; i < depth; i++) {
        pthread_join(threads[i], NULL);
        reads += (double)readings[i].reads;
    }
    const double rate = reads / since(start_ns);
    close(fd);
    return rate;
}

double replay_limits_disk_sync(const char *folder, double seconds)
{
    char path[800];
    snprintf(path, sizeof path, "%s/sync", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    ASSERT(fd >= 0);
    char *buffer = mem_aligned(SYNC_BYTES);
    memset(buffer, 1, SYNC_BYTES);
    double bytes = 0;
    /* The first 16 blocks make the file grow, which is slower than writing it again; they do not
     * count. */
    uint64_t start_ns = clock_now_ns();
    for (unsigned i = 0; i < 16 || since(start_ns) < seconds; i++) {
        if (i == 16) {
            bytes = 0;
            start_ns = clock_now_ns();
        }
        ASSERT(pwrite(fd, buffer, SYNC_BYTES, (off_t)(i % 16) * SYNC_BYTES) == SYNC_BYTES);
        ASSERT(fdatasync(fd) == 0);
        bytes += SYNC_BYTES;
    }
    const double rate = bytes / since(start_ns);
    close(fd);
    mem_free(buffer);
    return rate;
}
