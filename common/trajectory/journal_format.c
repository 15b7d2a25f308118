/* Making and checking the headers of a journal's file and records.
 *
 * The layout is in the header. All numbers are little-endian, whatever the machine; rows are the
 * bytes of the floats as they are in memory. Every byte is covered by a checksum, so a torn or
 * damaged record is not taken for a good one. No state and no files here. */
#include "common/trajectory/journal_format.h"

#include <string.h>
#include <xxhash.h>

#include "common/base/bytes.h"

/* Increased when the layout changes; a journal of another version is refused, not guessed at. */
#define VERSION 1u

/* The magic of records is long enough to be searched for in damaged files. */
static const char file_magic[8] = {'H', 'C', 'J', 'O', 'U', 'R', 'N', '1'};
static const char record_magic[8] = {'H', 'C', 'E', 'P', 'I', 'S', 'O', 'D'};

/* ---- the file ---- */

void journal_format_make_file_header(const struct journal_format *format,
                                     unsigned char header[JOURNAL_FORMAT_FILE_HEADER])
{
    /* The checksum comes last, since it covers all fields before it. */
    memcpy(header, file_magic, sizeof file_magic);
    bytes_put32(header + 8, VERSION);
    bytes_put32(header + 12, format->W);
    bytes_put64(header + 16, format->digest);
    bytes_put64(header + 24, XXH64(header, 24, 0));
}

status journal_format_check_file_header(const struct journal_format *format,
                                        const unsigned char header[JOURNAL_FORMAT_FILE_HEADER],
                                        struct err *err)
{
    /* Damage first: the fields below mean something only if the header is whole. */
    if (memcmp(header, file_magic, sizeof file_magic) != 0 ||
        XXH64(header, 24, 0) != bytes_get64(header + 24)) {
        return err_set(err, STATUS_CORRUPT, "no journal, or its header is damaged");
    }
    if (bytes_get32(header + 8) != VERSION) {
        return err_set(err, STATUS_MISMATCH, "version %u, expected %u", bytes_get32(header + 8),
                       VERSION);
    }
    /* Rows of another width or meaning must not be appended to. */
    if (bytes_get32(header + 12) != format->W || bytes_get64(header + 16) != format->digest) {
        return err_set(err, STATUS_MISMATCH,
                       "written with another signature (rows of %u floats, here %u)",
                       bytes_get32(header + 12), format->W);
    }
    return STATUS_OK;
}

/* ---- records ---- */

uint64_t journal_format_rows_size(uint32_t T, uint32_t W)
{
    return ((uint64_t)T + 1) * W * sizeof(float);
}

/* Of the header without its checksum, and of the rows. */
static uint64_t record_checksum(const unsigned char *header, const void *rows, size_t size)
{
    /* Two rounds instead of a streaming state: the first is the seed of the second. */
    return XXH64(rows, size, XXH64(header, 56, 0));
}

void journal_format_make_record_header(const struct episode *episode,
                                       unsigned char header[JOURNAL_FORMAT_RECORD_HEADER])
{
    /* The checksum is the last field and covers all those before it. */
    const uint64_t size = journal_format_rows_size(episode->T, episode->W);
    memcpy(header, record_magic, sizeof record_magic);
    bytes_put32(header + 8, episode->T);
    bytes_put32(header + 12, episode->W);
    bytes_put64(header + 16, size);
    bytes_put64(header + 24, episode->identity.source);
    bytes_put64(header + 32, episode->identity.shard);
    bytes_put64(header + 40, episode->identity.episode);
    bytes_put64(header + 48, episode->identity.relabel);
    bytes_put64(header + 56, record_checksum(header, episode->rows, size));
}

uint64_t journal_format_read_record(const struct journal_format *format, const unsigned char *bytes,
                                    uint64_t left, struct journal_record *record)
{
    /* Too little is left for a header, or there is none here. */
    if (left < JOURNAL_FORMAT_RECORD_HEADER ||
        memcmp(bytes, record_magic, sizeof record_magic) != 0) {
        return 0;
    }
    /* Plausible sizes first, so that the checksum never runs over memory that is not there. */
    const uint32_t T = bytes_get32(bytes + 8);
    if (T < 1 || T > EPISODE_TRANSITIONS_MAX || bytes_get32(bytes + 12) != format->W) {
        return 0;
    }
    const uint64_t size = journal_format_rows_size(T, format->W);
    if (bytes_get64(bytes + 16) != size || size > left - JOURNAL_FORMAT_RECORD_HEADER ||
        record_checksum(bytes, bytes + JOURNAL_FORMAT_RECORD_HEADER, size) !=
            bytes_get64(bytes + 56)) {
        return 0;
    }
    /* Only now: without a record *record is untouched. */
    record->T = T;
    record->identity = (struct episode_identity){.source = bytes_get64(bytes + 24),
                                                 .shard = bytes_get64(bytes + 32),
                                                 .episode = bytes_get64(bytes + 40),
                                                 .relabel = bytes_get64(bytes + 48)};
    return JOURNAL_FORMAT_RECORD_HEADER + size;
}

uint64_t journal_format_find_record(const struct journal_format *format, const unsigned char *bytes,
                                    uint64_t size, uint64_t from)
{
    /* A magic within rows is possible; only a record with a good checksum counts. */
    struct journal_record record;
    while (from < size) {
        const unsigned char *found =
            memmem(bytes + from, size - from, record_magic, sizeof record_magic);
        if (found == NULL) {
            return size;
        }
        from = (uint64_t)(found - bytes);
        if (journal_format_read_record(format, found, size - from, &record) > 0) {
            return from;
        }
        from++;
    }
    return size;
}

bool journal_format_same_record(const struct journal_format *format,
                                const struct journal_record *record,
                                const unsigned char header[JOURNAL_FORMAT_RECORD_HEADER],
                                const float *rows)
{
    const uint64_t size = journal_format_rows_size(record->T, format->W);
    /* T was listed when the journal was opened. The rows in memory have that size, so it is
     * compared before the checksum. */
    return bytes_get32(header + 8) == record->T &&
           record_checksum(header, rows, size) == bytes_get64(header + 56);
}
