/* What memory, LMDB and disk of this machine can do by themselves: the limits that the replay
 * server is held against. Ends the program when one cannot be measured. */
#ifndef HINDCAST_BENCH_REPLAY_LIMITS_H
#define HINDCAST_BENCH_REPLAY_LIMITS_H

#include "common/trajectory/episode.h"

/* Bytes a second copied by one thread, out of caches. */
double replay_limits_memcpy(void);

/* Transitions a second of copies of `episode` put straight into LMDB, no server, no sync, the
 * oldest of `table_episodes` removed: the writer thread's work alone. In a new store under
 * `folder`. */
double replay_limits_store_write(const char *folder, double seconds, const struct episode *episode,
                                 unsigned table_episodes);

/* Reads a second of one page each, at random places of `file`, past the page cache: the most that the
 * disk does, with `depth` of them under way. */
double replay_limits_random_reads(const char *file, unsigned depth, double seconds);

/* Bytes a second written and synced, 16 MiB at a time, over the same blocks again and again, as the
 * store does once it is full. In a file under `folder`. */
double replay_limits_disk_sync(const char *folder, double seconds);

#endif
