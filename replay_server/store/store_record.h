/* The bytes of the store's small records, drawn offset by offset. All numbers little-endian, every
 * record ends with the low 32 bits of XXH3-64 over what is before. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_STORE_RECORD_H
#define HINDCAST_REPLAY_SERVER_STORE_STORE_RECORD_H

#include "replay_server/store/store.h"

/* A store of format 1 differs in its episodes alone, which have 0 at 20 and at 64. */
#define STORE_FORMAT        2u
#define STORE_FORMAT_OLDEST 1u
#define RECORD_FORMAT       1u /* of writers, histories and tables */

/* Chunk header:  0 magic "HCC1" | 4 rows u32 | 8 W u32 | 12 0 u32 | 16 key u64 | 24 XXH3-64 over
 * the rows, seeded with that of bytes 0..23 */
void chunk_header_write(uint8_t *chunk, uint64_t key, uint32_t n_rows, uint32_t W);
/* Do size and header fit? `full` also checks the rows. */
bool chunk_header_check(const uint8_t *chunk, size_t size, uint64_t key, uint32_t n_rows,
                        uint32_t W, bool full);

/* Episode (72 bytes):  0 format u32, that of the store | 4 table u32 | 8 n_rows u32 | 12 W u32 | 16
 * flags u32 (1: restored) | 20 times sampled u32 | 24 priority f64 | 32 identity 4 x u64 | 64 client
 * u32 | 68 check u32 */
#define EPISODE_RECORD_SIZE 72u
void episode_record_write(uint8_t bytes[EPISODE_RECORD_SIZE], const struct store_episode *episode);
bool episode_record_read(struct store_episode *episode, uint64_t id, const void *bytes,
                         size_t size);

/* Writer (32 + cursor):  0 format u32 | 4 flags u32 (1: done) | 8 generation u64 | 16 last_sequence
 * u64 | 24 cursor size u32 | 28 cursor | check u32 */
#define WRITER_RECORD_MAX (32u + WRITER_CURSOR_MAX)
size_t writer_record_write(uint8_t bytes[WRITER_RECORD_MAX], const struct store_writer *writer);
bool writer_record_read(struct store_writer *writer, const void *bytes, size_t size);

/* Store (24):  0 magic "HCRS" | 4 format u32 | 8 next chunk key u64 | 16 0 u32 | 20 check u32 */
#define STORE_RECORD_SIZE 24u
void store_record_write(uint8_t bytes[STORE_RECORD_SIZE], uint64_t next_chunk);
/* INVALID: written by a format that is not in STORE_FORMAT_OLDEST .. STORE_FORMAT. */
status store_record_read(uint64_t *next_chunk, uint32_t *format, const void *bytes, size_t size,
                         struct err *err) MUST_CHECK;

/* History (144):  0 format u32 | 4 table u32 | 8 counts 16 x u64 | 136 0 u32 | 140 check u32 */
#define HISTORY_RECORD_SIZE 144u
void history_record_write(uint8_t bytes[HISTORY_RECORD_SIZE], const struct store_history *history);
bool history_record_read(struct store_history *history, const void *bytes, size_t size);

/* Table (20 + JSON):  0 format u32 | 4 number u32 | 8 flags u32 (1: sealed) | 12 JSON size u32 | 16
 * signature as JSON | check u32. The bytes are the caller's (mem_free). */
status table_record_write(void **bytes, size_t *size, const struct store_table *table,
                          struct err *err) MUST_CHECK;
status table_record_read(struct store_table *table, const void *bytes, size_t size,
                         struct err *err) MUST_CHECK;

#endif
