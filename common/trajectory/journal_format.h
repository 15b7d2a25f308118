/* The bytes of a journal (little-endian). Pure: from memory to memory; files are journal.c's.
 *
 *     file     0   8  magic "HCJOURN1"
 *              8   4  version, 1
 *             12   4  W, floats a row
 *             16   8  XXH64 of the signature's JSON
 *             24   8  XXH64 of bytes 0..23
 *             32      records
 *
 *     record   0   8  magic "HCEPISOD"
 *              8   4  T, transitions
 *             12   4  W
 *             16   8  size of the rows in bytes: (T + 1) * W * 4
 *             24  32  identity: source, shard, episode, relabel
 *             56   8  XXH64 of the rows, seeded with XXH64 of bytes 0..55
 *             64      rows, (T + 1, W) float32 */
#ifndef HINDCAST_TRAJECTORY_JOURNAL_FORMAT_H
#define HINDCAST_TRAJECTORY_JOURNAL_FORMAT_H

#include "common/trajectory/episode.h"

#define JOURNAL_FORMAT_FILE_HEADER   32u
#define JOURNAL_FORMAT_RECORD_HEADER 64u

/* What a journal's file header says. */
struct journal_format {
    uint32_t W;
    uint64_t digest; /* XXH64 of the signature's JSON */
};

/* A record, without its rows. */
struct journal_record {
    uint64_t at; /* of its header in the file, bytes */
    uint32_t T;
    struct episode_identity identity;
};

void journal_format_make_file_header(const struct journal_format *format,
                                     unsigned char header[JOURNAL_FORMAT_FILE_HEADER]);
/* CORRUPT: no journal, or damaged; MISMATCH: another version, or another signature. */
status journal_format_check_file_header(const struct journal_format *format,
                                        const unsigned char header[JOURNAL_FORMAT_FILE_HEADER],
                                        struct err *err) MUST_CHECK;

/* (T + 1) rows of W floats, in bytes. */
uint64_t journal_format_rows_size(uint32_t T, uint32_t W);
/* A record is this header and then the episode's rows as they are. */
void journal_format_make_record_header(const struct episode *episode,
                                       unsigned char header[JOURNAL_FORMAT_RECORD_HEADER]);

/* Is there a whole, sound record at `bytes`, of which `left` are there? Then its size, and T and
 * identity of *record; else 0. */
uint64_t journal_format_read_record(const struct journal_format *format, const unsigned char *bytes,
                                    uint64_t left, struct journal_record *record);
/* The offset of the first sound record at or after `from`; `size` when there is none. */
uint64_t journal_format_find_record(const struct journal_format *format, const unsigned char *bytes,
                                    uint64_t size, uint64_t from);
/* Are these the header and the rows (of the size that its T asks for) of `record`? */
bool journal_format_same_record(const struct journal_format *format,
                                const struct journal_record *record,
                                const unsigned char header[JOURNAL_FORMAT_RECORD_HEADER],
                                const float *rows);

#endif
