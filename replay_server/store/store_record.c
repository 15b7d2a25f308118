/* The store's records, to bytes and back. The offsets are drawn in store_record.h and
 * docs/storage.md.
 *
 * A record is read from a disk that may have damaged it: every reader checks size, checksum, format
 * and the ranges of all numbers before it believes any of them, and says only whether the record is
 * sound. */
#include "replay_server/store/store_record.h"

#include <math.h>
#include <string.h>
#include <xxh_x86dispatch.h>

#include "common/base/bytes.h"
#include "common/base/memory.h"

#define FLAG_RESTORED 1u
#define FLAG_DONE     1u
#define FLAG_SEALED   1u
#define TABLE_HEADER  16u

static const char chunk_magic[4] = {'H', 'C', 'C', '1'};
static const char store_magic[4] = {'H', 'C', 'R', 'S'};

/* ---- Checksums ---- */

/* Writes the check into the last four bytes of a record of `size` bytes, computed over everything
 * before it, zeros included. */
static void seal(uint8_t *bytes, size_t size)
{
    bytes_put32(bytes + size - 4, (uint32_t)XXH3_64bits(bytes, size - 4));
}

/* Is the check right? The caller has made sure that there are at least four bytes. */
static bool sealed(const uint8_t *bytes, size_t size)
{
    return bytes_get32(bytes + size - 4) == (uint32_t)XXH3_64bits(bytes, size - 4);
}

/* ---- Chunks ---- */

/* Over the header's first 24 bytes, and with that as the seed over the rows: a chunk with the right
 * rows and the wrong key fails too. */
static uint64_t chunk_sum(const uint8_t *chunk, size_t rows_bytes)
{
    const uint64_t header = XXH3_64bits(chunk, 24);
    return XXH3_64bits_withSeed(chunk + STORE_CHUNK_HEADER, rows_bytes, header);
}

/* The header's own bytes come first, because the checksum of the rows is seeded with theirs. */
void chunk_header_write(uint8_t *chunk, uint64_t key, uint32_t n_rows, uint32_t W)
{
    memcpy(chunk, chunk_magic, 4);
    bytes_put32(chunk + 4, n_rows);
    bytes_put32(chunk + 8, W);
    bytes_put32(chunk + 12, 0);
    bytes_put64(chunk + 16, key);
    bytes_put64(chunk + 24, chunk_sum(chunk, (size_t)n_rows * W * 4));
}

bool chunk_header_check(const uint8_t *chunk, size_t size, uint64_t key, uint32_t n_rows,
                        uint32_t W, bool full)
{
    /* The header is compared with what the index says and never believed: a chunk of another shape,
     * or of another episode, is damage even if its checksum is right. */
    const size_t rows_bytes = (size_t)n_rows * W * 4;
    return size == STORE_CHUNK_HEADER + rows_bytes && memcmp(chunk, chunk_magic, 4) == 0 &&
           bytes_get32(chunk + 4) == n_rows && bytes_get32(chunk + 8) == W &&
           bytes_get32(chunk + 12) == 0 && bytes_get64(chunk + 16) == key &&
           (!full || bytes_get64(chunk + 24) == chunk_sum(chunk, rows_bytes));
}

/* ---- Episodes ---- */

static bool format_known(uint32_t format)
{
    return format >= STORE_FORMAT_OLDEST && format <= STORE_FORMAT;
}

void episode_record_write(uint8_t bytes[EPISODE_RECORD_SIZE], const struct store_episode *episode)
{
    /* Fields that are not set below are 0, in every version of this format. */
    memset(bytes, 0, EPISODE_RECORD_SIZE);
    bytes_put32(bytes, STORE_FORMAT);
    bytes_put32(bytes + 4, episode->table);
    bytes_put32(bytes + 8, episode->n_rows);
    bytes_put32(bytes + 12, episode->W);
    bytes_put32(bytes + 16, episode->restored ? FLAG_RESTORED : 0);
    bytes_put32(bytes + 20, episode->times_sampled);
    memcpy(bytes + 24, &episode->priority, 8);
    bytes_put64(bytes + 32, episode->identity.source);
    bytes_put64(bytes + 40, episode->identity.shard);
    bytes_put64(bytes + 48, episode->identity.episode);
    bytes_put64(bytes + 56, episode->identity.relabel);
    bytes_put32(bytes + 64, episode->client);
    seal(bytes, EPISODE_RECORD_SIZE);
}

bool episode_record_read(struct store_episode *episode, uint64_t id, const void *from, size_t size)
{
    const uint8_t *bytes = from;
    /* Checksum before fields: from here on the bytes are those that were written. */
    if (size != EPISODE_RECORD_SIZE || !sealed(bytes, size) || !format_known(bytes_get32(bytes))) {
        return false;
    }
    *episode = (struct store_episode){
        .id = id,
        .table = bytes_get32(bytes + 4),
        .n_rows = bytes_get32(bytes + 8),
        .W = bytes_get32(bytes + 12),
        .restored = bytes_get32(bytes + 16) & FLAG_RESTORED,
        .times_sampled = bytes_get32(bytes + 20),
        .client = bytes_get32(bytes + 64),
        .identity = {.source = bytes_get64(bytes + 32),
                     .shard = bytes_get64(bytes + 40),
                     .episode = bytes_get64(bytes + 48),
                     .relabel = bytes_get64(bytes + 56)},
    };
    memcpy(&episode->priority, bytes + 24, 8);
    /* Numbers that the rest of the program takes for granted. */
    return episode->n_rows >= 2 && episode->n_rows <= EPISODE_TRANSITIONS_MAX + 1 &&
           episode->W >= 1 && episode->W <= SIGNATURE_ROW_MAX && isfinite(episode->priority) &&
           episode->priority > 0;
}

/* ---- Writers ---- */

size_t writer_record_write(uint8_t bytes[WRITER_RECORD_MAX], const struct store_writer *writer)
{
    ASSERT(writer->cursor_size <= WRITER_CURSOR_MAX);
    /* Fixed fields and the check take 32 bytes; the cursor lies between them. */
    const size_t size = 32 + writer->cursor_size;
    bytes_put32(bytes, RECORD_FORMAT);
    bytes_put32(bytes + 4, writer->done ? FLAG_DONE : 0);
    bytes_put64(bytes + 8, writer->generation);
    bytes_put64(bytes + 16, writer->last_sequence);
    bytes_put32(bytes + 24, writer->cursor_size);
    memcpy(bytes + 28, writer->cursor, writer->cursor_size);
    seal(bytes, size);
    return size;
}

bool writer_record_read(struct store_writer *writer, const void *from, size_t size)
{
    const uint8_t *bytes = from;
    /* Size first: everything else is read relative to it. */
    if (size < 32 || size > WRITER_RECORD_MAX || !sealed(bytes, size) ||
        bytes_get32(bytes) != RECORD_FORMAT || bytes_get32(bytes + 24) != size - 32) {
        return false;
    }
    writer->done = bytes_get32(bytes + 4) & FLAG_DONE;
    writer->generation = bytes_get64(bytes + 8);
    writer->last_sequence = bytes_get64(bytes + 16);
    writer->cursor_size = bytes_get32(bytes + 24);
    memcpy(writer->cursor, bytes + 28, writer->cursor_size);
    return true;
}

/* ---- The store ---- */

void store_record_write(uint8_t bytes[STORE_RECORD_SIZE], uint64_t next_chunk)
{
    memset(bytes, 0, STORE_RECORD_SIZE);
    memcpy(bytes, store_magic, 4);
    bytes_put32(bytes + 4, STORE_FORMAT);
    bytes_put64(bytes + 8, next_chunk);
    seal(bytes, STORE_RECORD_SIZE);
}

/* A way out for each side: an unknown format is most likely that of a later version. */
static status refuse_format(uint32_t format, struct err *err)
{
    return err_set(err, STATUS_INVALID,
                   "store format %u, this program (%s) reads %u to %u: run the version of Hindcast "
                   "that wrote it, or move the folder away, and the logs are restored anew",
                   format, HINDCAST_VERSION, STORE_FORMAT_OLDEST, STORE_FORMAT);
}

status store_record_read(uint64_t *next_chunk, uint32_t *format, const void *from, size_t size,
                         struct err *err)
{
    const uint8_t *bytes = from;
    /* The magic first: a file of another program should not be called a damaged store. */
    if (size < 8 || memcmp(bytes, store_magic, 4) != 0) {
        return err_set(err, STATUS_INVALID, "not a replay store");
    }
    /* Before the checksum, because another format may have another size. */
    if (!format_known(bytes_get32(bytes + 4))) {
        return refuse_format(bytes_get32(bytes + 4), err);
    }
    if (size != STORE_RECORD_SIZE || !sealed(bytes, size) || bytes_get64(bytes + 8) == 0) {
        return err_set(err, STATUS_CORRUPT, "store record: bad checksum");
    }
    *next_chunk = bytes_get64(bytes + 8);
    *format = bytes_get32(bytes + 4);
    return STATUS_OK;
}

/* ---- Tables ---- */

void history_record_write(uint8_t bytes[HISTORY_RECORD_SIZE], const struct store_history *history)
{
    memset(bytes, 0, HISTORY_RECORD_SIZE);
    bytes_put32(bytes, RECORD_FORMAT);
    bytes_put32(bytes + 4, history->table);
    memcpy(bytes + 8, history->counts, sizeof history->counts);
    seal(bytes, HISTORY_RECORD_SIZE);
}

bool history_record_read(struct store_history *history, const void *from, size_t size)
{
    const uint8_t *bytes = from;
    /* A sound record of another format counts as none; the caller starts the history anew. */
    if (size != HISTORY_RECORD_SIZE || !sealed(bytes, size) ||
        bytes_get32(bytes) != RECORD_FORMAT) {
        return false;
    }
    history->table = bytes_get32(bytes + 4);
    memcpy(history->counts, bytes + 8, sizeof history->counts);
    return true;
}

status table_record_write(void **out, size_t *out_size, const struct store_table *table,
                          struct err *err)
{
    /* The signature as in metadata.json: one text for logs, policies and stores. */
    char *json = signature_to_json(&table->signature);
    if (json == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "table %s", table->name);
    }
    const size_t json_size = strlen(json);
    const size_t size = TABLE_HEADER + json_size + 4;
    uint8_t *bytes = mem_new(size);
    if (bytes == NULL) {
        mem_free(json);
        return err_set(err, STATUS_NO_MEMORY, "table %s", table->name);
    }
    /* A header of fixed size, the text without a terminating 0, the check. */
    bytes_put32(bytes, RECORD_FORMAT);
    bytes_put32(bytes + 4, table->number);
    bytes_put32(bytes + 8, table->sealed ? FLAG_SEALED : 0);
    bytes_put32(bytes + 12, (uint32_t)json_size);
    memcpy(bytes + TABLE_HEADER, json, json_size);
    seal(bytes, size);
    mem_free(json);
    *out = bytes;
    *out_size = size;
    return STATUS_OK;
}

status table_record_read(struct store_table *table, const void *from, size_t size, struct err *err)
{
    const uint8_t *bytes = from;
    /* Sizes are compared before the text is read: the size in the header is not believed alone. */
    if (size < TABLE_HEADER + 4 || !sealed(bytes, size) || bytes_get32(bytes) != RECORD_FORMAT ||
        bytes_get32(bytes + 12) != size - TABLE_HEADER - 4) {
        return err_set(err, STATUS_CORRUPT, "table record: bad checksum");
    }
    const size_t json_size = size - TABLE_HEADER - 4;
    /* The parser wants a terminated string, and the record has none; mem_new gives zeros. */
    char *json = mem_new(json_size + 1);
    if (json == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "table record");
    }
    memcpy(json, bytes + TABLE_HEADER, json_size);
    status s = signature_from_json(&table->signature, json, err);
    mem_free(json);
    if (s != STATUS_OK) {
        return s;
    }
    /* The name is not in the record: it is part of the key, and the caller has it. */
    table->number = bytes_get32(bytes + 4);
    table->sealed = bytes_get32(bytes + 8) & FLAG_SEALED;
    return STATUS_OK;
}
