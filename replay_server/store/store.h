/* The store on disk: one LMDB environment. docs/storage.md, "The store", draws the bytes.
 *
 *   chunks    chunk key (uint64)         -> header + rows; an episode's chunks are id, id + 1, ..
 *   episodes  episode id (uint64)        -> length, identity, priority, table
 *   writers   table number + name        -> generation, last sequence, cursor
 *   meta      "store"                    -> format, next chunk key
 *             "table:" + name            -> number, signature, sealed
 *             "history:" + table number  -> counters
 *
 * Chunk keys rise and are never used again, so both large databases are written by appending. What
 * is committed survives kill -9 of this process in every mode, without repair; durability says what
 * a power cut may take (STORE_EACH: nothing).
 *
 * Threads: one writes (store_begin .. store_commit); any number read, each with its own
 * store_reader. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_STORE_H
#define HINDCAST_REPLAY_SERVER_STORE_STORE_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/trajectory/episode.h"
#include "replay_server/table/writers.h"

#define STORE_CHUNK_BYTES     65520u /* 16 x 4096 - 16: fills 16 pages of LMDB exactly */
#define STORE_CHUNK_HEADER    32u
#define STORE_TABLE_NAME_SIZE 65 /* with the terminating 0 */

enum store_durability {
    STORE_EACH,     /* a commit returns when it is on the disk */
    STORE_INTERVAL, /* store_sync every so often; a power cut loses what came after the
                       last one, and nothing else */
    STORE_NONE,     /* never synced: scratch */
};

struct store_settings {
    const char *path;   /* a folder; made where absent */
    uint64_t map_bytes; /* how large the store may become (sparse: takes only what it holds) */
    enum store_durability durability;
};

struct store;

/* How many whole rows of width W fit a chunk; >= 3 for every legal W. */
uint32_t store_chunk_rows(uint32_t W);
/* Chunks of an episode, and what it takes on disk, about. */
uint32_t store_n_chunks(uint32_t n_rows, uint32_t W);
uint64_t store_episode_bytes(uint32_t n_rows, uint32_t W);

/* What tables remember; the table's number is its key in the other databases. */
struct store_table {
    char name[STORE_TABLE_NAME_SIZE];
    uint32_t number;
    bool sealed;
    struct signature signature;
};

/* What has happened to a table since it was made: counters of table and limiter. The meaning of
 * each is served_table.c's. */
#define STORE_HISTORY 16
struct store_history {
    uint32_t table;
    uint64_t counts[STORE_HISTORY];
};

struct store_episode {
    uint64_t id; /* key of its first chunk */
    uint32_t table;
    uint32_t n_rows;
    uint32_t W;
    bool restored;
    uint32_t client; /* who inserted it (client.h); 0: an earlier version, which did not say */
    uint32_t times_sampled; /* snippets, where the table has max_times_sampled */
    double priority;
    struct episode_identity identity;
};

struct store_writer {
    uint32_t table;
    char name[WRITER_NAME_SIZE];
    bool done;
    uint64_t generation;
    uint64_t last_sequence;
    uint32_t cursor_size;
    uint8_t cursor[WRITER_CURSOR_MAX];
};

/* Checks the data file at `path` as store_open does (lmdb_check.h). */
status store_check_file(const char *path, struct err *err) MUST_CHECK;

/* Opens or makes it. A store of an earlier format becomes one of today's. EXISTS: another process
 * has it; INVALID: a network file system, a format that this program does not know; CORRUPT; IO. After a power cut with `interval` it is what it was when
 * it was synced last; with `none` *scan is set: check everything before serving. */
status store_open(struct store **store, const struct store_settings *settings, bool *scan,
                  struct err *err) MUST_CHECK;
/* After a scan that found the store whole, or made it so: it counts as clean from here on. */
status store_mark(struct store *store, struct err *err) MUST_CHECK;
/* No transaction or reader may be open. */
void store_close(struct store *store);
/* Does the store take nothing more until it is opened again? So it is after a write to LMDB's
 * header page, or a sync of `interval`, failed (what the disk has is then unknown), and after its
 * files were removed. Any thread. */
bool store_broken(const struct store *store);
/* Are data.mdb and the lock still the files in the folder that they were at open? IO: they were
 * removed or replaced, and the store is broken. Every commit checks it. Any thread. */
status store_check_present(struct store *store, struct err *err) MUST_CHECK;

uint64_t store_next_chunk(const struct store *store); /* as committed; >= 1 */
uint64_t store_commits(const struct store *store);    /* so far in this process; any thread */
/* Bytes in use (not counting free pages) and of the file. Any thread. */
void store_sizes(const struct store *store, uint64_t *used_bytes, uint64_t *file_bytes,
                 uint64_t *map_bytes);

/* Everything there is, in key order; at open. A record that fails its check: CORRUPT, naming it.
 * `visit` returning other than OK ends it. */
status store_each_table(struct store *store,
                        status (*visit)(void *arg, const struct store_table *table,
                                        struct err *err),
                        void *arg, struct err *err) MUST_CHECK;
status store_each_history(struct store *store,
                          status (*visit)(void *arg, const struct store_history *history,
                                          struct err *err),
                          void *arg, struct err *err) MUST_CHECK;
status store_each_writer(struct store *store,
                         status (*visit)(void *arg, const struct store_writer *writer,
                                         struct err *err),
                         void *arg, struct err *err) MUST_CHECK;
status store_each_episode(struct store *store,
                          status (*visit)(void *arg, const struct store_episode *episode,
                                          struct err *err),
                          void *arg, struct err *err) MUST_CHECK;

/* ---- Writing: one thread ----
 * After any error but NOT_FOUND the transaction is dead: store_abort. FULL: map or disk is full. */
status store_begin(struct store *store, struct err *err) MUST_CHECK;
/* One chunk: `chunk` holds STORE_CHUNK_HEADER bytes of room, then n rows of width W; the header is
 * filled in here. Keys must rise from put to put. */
status store_put_chunk(struct store *store, uint64_t key, void *chunk, uint32_t n_rows, uint32_t W,
                       struct err *err) MUST_CHECK;
/* The same in two steps: fill the header in (any thread), and put what has its header for this key
 * already. */
void store_seal_chunk(void *chunk, uint64_t key, uint32_t n_rows, uint32_t W);
status store_put_sealed_chunk(struct store *store, uint64_t key, void *chunk, uint32_t n_rows,
                              uint32_t W, struct err *err) MUST_CHECK;
/* After its chunks. */
status store_put_episode(struct store *store, const struct store_episode *episode,
                         struct err *err) MUST_CHECK;
/* Removes the episode and its chunks. NOT_FOUND: it is not there. CORRUPT: it cannot be removed;
 * some of its chunks may be gone. */
status store_remove_episode(struct store *store, uint64_t id, struct err *err) MUST_CHECK;
status store_put_priority(struct store *store, uint64_t id, double priority,
                          struct err *err) MUST_CHECK; /* NOT_FOUND */
status store_put_times_sampled(struct store *store, uint64_t id, uint32_t times,
                               struct err *err) MUST_CHECK; /* NOT_FOUND */
/* `keep_position`: last_sequence and cursor stay what they are in the store. */
status store_put_writer(struct store *store, const struct store_writer *writer, bool keep_position,
                        struct err *err) MUST_CHECK;
status store_put_table(struct store *store, const struct store_table *table,
                       struct err *err) MUST_CHECK;
status store_put_history(struct store *store, const struct store_history *history,
                         struct err *err) MUST_CHECK;
/* Changes something small: pages that one transaction frees can be used from the second one after
 * it, and an empty one does not count. */
status store_touch(struct store *store, struct err *err) MUST_CHECK;
/* Ends the transaction in any case. */
status store_commit(struct store *store, struct err *err) MUST_CHECK;
void store_abort(struct store *store);
/* Makes all committed so far durable. Between transactions. */
status store_sync(struct store *store, struct err *err) MUST_CHECK;
/* `interval`: what was removed or replaced since the last sync takes its room until the next one.
 * Is that so much that it should not be waited for? */
bool store_wants_sync(const struct store *store);
/* After FULL: syncs at once where that can help; true: try again. Between transactions. */
bool store_release(struct store *store);

/* ---- Reading ---- */
struct store_reader;

status store_reader_open(struct store_reader **reader, struct store *store,
                         struct err *err) MUST_CHECK;
void store_reader_close(struct store_reader *reader);
/* Sees all that is committed by now. Pointers got before are gone. Cheap when nothing was committed
 * since. */
status store_reader_refresh(struct store_reader *reader, struct err *err) MUST_CHECK;
/* Lets go of the snapshot, so that its pages can be used again: before a pause. Pointers are gone.
 */
void store_reader_rest(struct store_reader *reader);
/* The rows of chunk `key`, n of width W, valid until the next refresh or rest; not aligned for
 * float. Checked against their checksum when first read since open. NOT_FOUND: removed meanwhile;
 * CORRUPT. */
status store_reader_chunk(struct store_reader *reader, uint64_t key, uint32_t n_rows, uint32_t W,
                          const uint8_t **rows) MUST_CHECK;
/* Are rows [first, first + n) of chunk `key` in memory, so that reading them waits for no disk? Of a
 * chunk that has not been checked yet: is all of it? True for a chunk that is not there. */
bool store_reader_resident(struct store_reader *reader, uint64_t key, uint32_t first, uint32_t n,
                           uint32_t W);
/* Asks the disk for these rows, or for all of the chunk, and does not wait for them. */
void store_reader_ask(struct store_reader *reader, uint64_t key, uint32_t first, uint32_t n,
                      uint32_t W);
/* The episode with the smallest id > `after` in the snapshot; NOT_FOUND at the end. A record that
 * fails its check is passed over. */
status store_reader_next_episode(struct store_reader *reader, uint64_t after,
                                 struct store_episode *episode) MUST_CHECK;

#endif
