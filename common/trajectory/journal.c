/* The journal's file: opening and repairing it, appending, reading, compacting. The layout of the
 * bytes is in journal_format.c.
 *
 * `end` is the end of the last acknowledged record. Nothing behind it counts, so an append that
 * failed is undone by leaving `end` where it is; the bytes are cut off when possible and otherwise
 * overwritten by the next append or cut by the next open.
 *
 * An acknowledged record was synced. It leaves the file only when a shard has its episode; until
 * then a crash at any moment loses nothing. The journal is locked as long as it is open, and used
 * by one thread. */
#include "common/trajectory/journal.h"
#include "common/trajectory/dataset_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define LOG_MODULE "journal"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/trajectory/journal_format.h"

/* Longer paths are refused. */
#define PATH_SIZE 4096

/* An open journal: the file, and where its records are. */
struct journal {
    char *path;
    int fd;
    /* Of a file beside the journal, which stays when the journal is replaced. */
    int lock_fd;
    struct journal_format format;
    uint64_t end; /* of the last acknowledged record, bytes; what lies behind it does not count */
    uint64_t transitions;
    uint64_t n, capacity;
    struct journal_record *records; /* (n) */
    /* The episodes are in a shard, but the file could not be emptied: the next append does that
     * first. */
    bool stale;
};

/* ---- opening ---- */

/* Adds a record to the list in memory. */
static status add_record(struct journal *journal, const struct journal_record *place,
                         struct err *err)
{
    /* The list doubles, so that adding is cheap on average. */
    if (journal->n == journal->capacity) {
        uint64_t capacity = journal->capacity == 0 ? 256 : 2 * journal->capacity;
        struct journal_record *records = mem_resize(journal->records, capacity, sizeof *records);
        if (records == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " records", journal->path,
                           capacity);
        }
        journal->records = records;
        journal->capacity = capacity;
    }
    journal->records[journal->n++] = *place;
    journal->transitions += place->T;
    return STATUS_OK;
}

/* Lists all valid records. Bytes that are none are damage when a valid record follows, and a record
 * that was not finished when none does. */
static status scan(struct journal *journal, const unsigned char *bytes, uint64_t size,
                   const struct dataset_writer *writer, struct journal_found *found,
                   struct err *err)
{
    /* Record by record; what is not a record is skipped or ends the scan. */
    uint64_t at = JOURNAL_FORMAT_FILE_HEADER;
    journal->end = at;
    while (at < size) {
        struct journal_record place = {.at = at};
        uint64_t length =
            journal_format_read_record(&journal->format, bytes + at, size - at, &place);
        if (length == 0) {
            /* Is there a valid record further on? */
            uint64_t next = journal_format_find_record(&journal->format, bytes, size, at + 1);
            if (next == size) {
                found->torn_bytes = size - at;
                break;
            }
            found->corrupt++;
            log_warn("%s: bytes %" PRIu64 " to %" PRIu64 " are damaged and skipped", journal->path,
                     at, next);
            at = next;
            continue;
        }
        /* A crash between writing the shard and emptying the journal left it in both. */
        if (writer != NULL && dataset_writer_last_has(writer, &place.identity)) {
            found->dropped++;
        } else {
            status s = add_record(journal, &place, err);
            if (s != STATUS_OK) {
                return s;
            }
        }
        at += length;
        journal->end = at;
    }
    found->episodes = journal->n;
    return STATUS_OK;
}

/* Replaces the file by an empty journal, atomically. */
static status start_empty(struct journal *journal, struct err *err)
{
    unsigned char header[JOURNAL_FORMAT_FILE_HEADER];
    journal_format_make_file_header(&journal->format, header);
    const struct file_part part = {.bytes = header, .size = sizeof header};
    status s = file_replace(journal->path, &part, 1, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The descriptor of the old file would go on writing to a file without a name. */
    int fd = open(journal->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return err_errno(err, errno, "open %s", journal->path);
    }
    if (journal->fd >= 0) {
        close(journal->fd);
    }
    journal->fd = fd;
    journal->end = JOURNAL_FORMAT_FILE_HEADER;
    journal->n = 0;
    journal->transitions = 0;
    journal->stale = false;
    return STATUS_OK;
}

/* Cuts off what lies behind the last record. */
static status cut_end(struct journal *journal, struct err *err)
{
    /* Synced, so that the torn bytes do not come back after a power cut. */
    if (ftruncate(journal->fd, (off_t)journal->end) != 0) {
        return err_errno(err, errno, "cut %s at byte %" PRIu64, journal->path, journal->end);
    }
    return file_sync(journal->fd, err);
}

/* Replaces the file by one with the listed records alone; `bytes` is its contents so far. A record
 * that is in the last shard must not stay: once another shard is the last, it could no longer be
 * recognised and would be written a second time. */
static status keep_listed(struct journal *journal, const unsigned char *bytes, struct err *err)
{
    struct file_part *parts = mem_array(journal->n + 1, sizeof *parts);
    if (parts == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " records", journal->path, journal->n);
    }
    /* The header first, then each record as it is; only its place changes. */
    parts[0] = (struct file_part){.bytes = bytes, .size = JOURNAL_FORMAT_FILE_HEADER};
    uint64_t end = JOURNAL_FORMAT_FILE_HEADER;
    for (uint64_t i = 0; i < journal->n; i++) {
        struct journal_record *place = &journal->records[i];
        size_t size =
            JOURNAL_FORMAT_RECORD_HEADER + journal_format_rows_size(place->T, journal->format.W);
        parts[i + 1] = (struct file_part){.bytes = bytes + place->at, .size = size};
        place->at = end;
        end += size;
    }
    status s = file_replace(journal->path, parts, journal->n + 1, err);
    journal->end = end;
    mem_free(parts);
    return s;
}

/* Reads, checks and repairs a journal that is there. */
static status open_existing(struct journal *journal, const struct dataset_writer *writer,
                            struct journal_found *found, struct err *err)
{
    void *bytes;
    size_t size;
    /* Read as a whole: looking for records needs all of it. The limit is checked before a record is
     * appended, so the last one may extend beyond it. */
    status s =
        file_read(journal->path, JOURNAL_BYTES_MAX + EPISODE_BYTES_MAX + 4096, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A file that is too short has lost its header; what it was cannot be told. */
    if (size < JOURNAL_FORMAT_FILE_HEADER) {
        s = err_set(err, STATUS_CORRUPT, "%s: %zu bytes, a journal has at least %u", journal->path,
                    size, JOURNAL_FORMAT_FILE_HEADER);
    } else {
        s = journal_format_check_file_header(&journal->format, bytes, err);
        s = s == STATUS_OK ? s : err_context(err, s, "%s", journal->path);
    }
    if (s == STATUS_OK) {
        s = scan(journal, bytes, size, writer, found, err);
    }
    /* Rewritten only where something has to leave it. */
    if (s == STATUS_OK && found->dropped > 0) {
        s = keep_listed(journal, bytes, err);
    }
    mem_free(bytes);
    if (s != STATUS_OK) {
        return s;
    }
    /* Opened after keep_listed, which may have replaced the file. */
    journal->fd = open(journal->path, O_RDWR | O_CLOEXEC);
    if (journal->fd < 0) {
        return err_errno(err, errno, "open %s", journal->path);
    }
    /* keep_listed leaves no torn bytes. */
    if (found->torn_bytes > 0 && found->dropped == 0) {
        log_warn("%s: cutting off the last %" PRIu64 " bytes, an episode that was not finished",
                 journal->path, found->torn_bytes);
        s = cut_end(journal, err);
    }
    return s;
}

/* Locks the journal, then opens or creates it. EXISTS: another process has it. */
static status open_file(struct journal *journal, const struct dataset_writer *writer,
                        struct journal_found *found, struct err *err)
{
    char lock_path[PATH_SIZE];
    int length = snprintf(lock_path, sizeof lock_path, "%s.lock", journal->path);
    if (length < 0 || (size_t)length >= sizeof lock_path) {
        return err_set(err, STATUS_INVALID, "%s: path too long", journal->path);
    }
    /* The lock first: what another process is writing looks like damage. */
    status s = file_lock(lock_path, &journal->lock_fd, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (access(journal->path, F_OK) != 0) {
        return start_empty(journal, err);
    }
    return open_existing(journal, writer, found, err);
}

status journal_open(struct journal **journal, const char *path, const struct signature *signature,
                    const struct dataset_writer *writer, struct journal_found *found,
                    struct err *err)
{
    struct journal_found counts = {0};
    struct journal *made = mem_new(sizeof *made);
    /* The signature's digest goes to the header, so that rows of another meaning are refused. */
    char *json = signature_to_json(signature);
    if (made == NULL || json == NULL || (made->path = mem_text(path)) == NULL) {
        mem_free(json);
        mem_free(made);
        return err_set(err, STATUS_NO_MEMORY, "%s: open journal", path);
    }
    /* 0 is a file descriptor, so "not open" has to be said. */
    made->fd = -1;
    made->lock_fd = -1;
    made->format.W = signature_width(signature);
    made->format.digest = XXH64(json, strlen(json), 0);
    mem_free(json);
    status s = open_file(made, writer, &counts, err);
    if (s != STATUS_OK) {
        journal_close(made);
        return s;
    }
    if (found != NULL) {
        *found = counts;
    }
    *journal = made;
    return STATUS_OK;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    if (journal->fd >= 0) {
        close(journal->fd);
    }
    if (journal->lock_fd >= 0) {
        close(journal->lock_fd);
    }
    mem_free(journal->records);
    mem_free(journal->path);
    mem_free(journal);
}

/* ---- appending and reading ---- */

uint64_t journal_episodes(const struct journal *journal)
{
    return journal->n;
}

uint64_t journal_transitions(const struct journal *journal)
{
    return journal->transitions;
}

uint64_t journal_bytes(const struct journal *journal)
{
    return journal->end;
}

/* Writes and syncs a record behind the last one; `end` does not move. */
static status write_record(struct journal *journal, const struct episode *episode, struct err *err)
{
    unsigned char header[JOURNAL_FORMAT_RECORD_HEADER];
    journal_format_make_record_header(episode, header);
    /* Always at `end`, whatever a failed append left behind it. */
    if (lseek(journal->fd, (off_t)journal->end, SEEK_SET) < 0) {
        return err_errno(err, errno, "seek to byte %" PRIu64, journal->end);
    }
    status s = file_write_all(journal->fd, header, sizeof header, err);
    if (s == STATUS_OK) {
        s = file_write_all(journal->fd, episode->rows,
                           journal_format_rows_size(episode->T, episode->W), err);
    }
    /* Acknowledged means synced: only after this may the caller count on the record. */
    return s == STATUS_OK ? file_sync(journal->fd, err) : s;
}

status journal_append(struct journal *journal, const struct episode *episode, struct err *err)
{
    ASSERT(episode->W == journal->format.W);
    ASSERT(episode->T >= 1);
    /* The file of a compacted journal is emptied before anything new goes to it. */
    status s = journal->stale ? start_empty(journal, err) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    uint64_t size = JOURNAL_FORMAT_RECORD_HEADER + journal_format_rows_size(episode->T, episode->W);
    /* An episode that is larger than the limit still fits an empty journal. */
    if (journal->n > 0 && journal->end + size > JOURNAL_BYTES_MAX) {
        return err_set(err, STATUS_FULL,
                       "%s: %" PRIu64 " bytes, and %" PRIu64 " more do not fit: compact it first",
                       journal->path, journal->end, size);
    }
    /* The list grows first: a record in the file must not fail for lack of memory. */
    struct journal_record place = {
        .at = journal->end, .T = episode->T, .identity = episode->identity};
    s = add_record(journal, &place, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = write_record(journal, episode, err);
    if (s != STATUS_OK) {
        journal->n--;
        journal->transitions -= episode->T;
        /* The record counts as not written, also after a failed sync, which leaves its state
         * unknown. What cannot be cut off now is overwritten by the next append or cut by the
         * next open. */
        if (ftruncate(journal->fd, (off_t)journal->end) != 0) {
            log_warn("%s: cannot cut off a partly written episode", journal->path);
        }
        return err_context(err, s, "append to %s", journal->path);
    }
    journal->end += size;
    return STATUS_OK;
}

status journal_read(struct journal *journal, uint64_t i, struct episode *episode, struct err *err)
{
    ASSERT(i < journal->n);
    ASSERT(episode->W == journal->format.W);
    const struct journal_record *place = &journal->records[i];
    unsigned char header[JOURNAL_FORMAT_RECORD_HEADER];
    uint64_t size = journal_format_rows_size(place->T, journal->format.W);
    /* The rows are read to where the caller wants them. */
    episode_clear(episode);
    status s = episode_reserve(episode, (size_t)place->T + 1, err);
    if (s == STATUS_OK) {
        s = file_read_at(journal->fd, header, sizeof header, (off_t)place->at, err);
    }
    if (s == STATUS_OK) {
        s = file_read_at(journal->fd, episode->rows, size, (off_t)(place->at + sizeof header), err);
    }
    /* The checksum covers header and rows; the header must also be the one that was listed. */
    if (s == STATUS_OK &&
        !journal_format_same_record(&journal->format, place, header, episode->rows)) {
        s = err_set(err, STATUS_CORRUPT, "bad checksum");
    }
    if (s != STATUS_OK) {
        return err_context(err, s, "%s: record at byte %" PRIu64, journal->path, place->at);
    }
    episode->T = place->T;
    episode->identity = place->identity;
    return STATUS_OK;
}

/* ---- compacting ---- */

/* Reads all episodes; list(n) points to them. Those whose bytes were damaged since are left out. */
static status read_all(struct journal *journal, struct episode *episodes,
                       const struct episode **list, size_t *n, struct err *err)
{
    *n = 0;
    for (uint64_t i = 0; i < journal->n; i++) {
        struct err why = {0};
        /* Each episode has memory of its own, since the shard is made from all of them. */
        episode_init(&episodes[*n], journal->format.W);
        status s = journal_read(journal, i, &episodes[*n], &why);
        if (s == STATUS_OK) {
            list[*n] = &episodes[*n];
            (*n)++;
            continue;
        }
        /* Its place is taken by the next episode. */
        episode_fini(&episodes[*n]);
        if (s != STATUS_CORRUPT) {
            return err_set(err, s, "%s", why.text);
        }
        log_error("left out of the shard: %s", why.text);
    }
    return STATUS_OK;
}

status journal_compact(struct journal *journal, struct dataset_writer *writer, struct err *err)
{
    if (journal->n == 0) {
        /* The shard of an earlier call is there, but the file could not be emptied then. */
        return journal->stale ? start_empty(journal, err) : STATUS_OK;
    }
    struct episode *episodes = mem_array(journal->n, sizeof *episodes);
    const struct episode **list = mem_array(journal->n, sizeof *list);
    size_t n = 0;
    status s = STATUS_OK;
    if (episodes == NULL || list == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "%" PRIu64 " episodes", journal->n);
    } else {
        s = read_all(journal, episodes, list, &n, err);
    }
    /* All may have been damaged; then there is nothing to write, and the journal is emptied. */
    if (s == STATUS_OK && n > 0) {
        s = dataset_writer_shard(writer, list, n, err);
    }
    /* Freed whether or not the shard was written. */
    for (size_t i = 0; i < n; i++) {
        episode_fini(&episodes[i]);
    }
    mem_free(list);
    mem_free(episodes);
    if (s != STATUS_OK) {
        return err_context(err, s, "compact %s", journal->path);
    }
    /* The shard has them now: the journal must not keep them, whatever happens to its file. */
    journal->n = 0;
    journal->transitions = 0;
    journal->stale = true;
    s = start_empty(journal, err);
    return s == STATUS_OK ? s : err_context(err, s, "empty %s", journal->path);
}
