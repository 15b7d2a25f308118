/* The journal: finished episodes are on disk at once, until there are enough for a shard.
 *
 * It is an append-only file. What journal_append has acknowledged survives kill -9 and power cuts;
 * an episode that a crash left unfinished at the end is cut off by the next open; damage in the
 * middle costs the episodes that it hits and no others. The layout is in journal_format.h.
 *
 * Compacting writes all episodes as one shard, atomically, then replaces the journal by an empty
 * one. A crash in between leaves episodes in both; journal_open drops those whose identity is in
 * the last shard. Identities must therefore be unique within a folder, and not all 0. One
 * process per file (it is locked), one thread. */
#ifndef HINDCAST_TRAJECTORY_JOURNAL_H
#define HINDCAST_TRAJECTORY_JOURNAL_H

#include "common/trajectory/dataset_writer.h"

#define JOURNAL_BYTES_MAX (1ull << 30)

struct journal;

struct journal_found {
    uint64_t episodes;   /* good, and not in the last shard */
    uint64_t dropped;    /* in the last shard already */
    uint64_t corrupt;    /* damaged places, skipped: at least one episode each */
    uint64_t torn_bytes; /* cut from the end */
};

/* Opens or makes the file at `path`. `writer` is that of the folder it will be compacted into; not
 * kept. *found may be NULL. EXISTS: another process has it; MISMATCH: written with another
 * signature; CORRUPT: no journal; IO. */
status journal_open(struct journal **journal, const char *path, const struct signature *signature,
                    const struct dataset_writer *writer, struct journal_found *found,
                    struct err *err) MUST_CHECK;

/* On disk and synced when it returns OK; else not there. FULL: disk, or JOURNAL_BYTES_MAX (compact
 * first); IO. */
status journal_append(struct journal *journal, const struct episode *episode,
                      struct err *err) MUST_CHECK;

/* What it holds, in order of appending. */
uint64_t journal_episodes(const struct journal *journal);
uint64_t journal_transitions(const struct journal *journal);
uint64_t journal_bytes(const struct journal *journal);
/* Episode i into `episode` (reused). CORRUPT: its bytes changed since it was opened. */
status journal_read(struct journal *journal, uint64_t i, struct episode *episode,
                    struct err *err) MUST_CHECK;

/* All its episodes become the next shard of `writer`, then it is empty. OK when it was. After an
 * error nothing is lost and nothing is there twice: call it again. Holds all rows in memory
 * meanwhile. */
status journal_compact(struct journal *journal, struct dataset_writer *writer,
                       struct err *err) MUST_CHECK;

void journal_close(struct journal *journal); /* NULL is fine */

#endif
