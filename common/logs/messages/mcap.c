/* Reads the records of an MCAP file in order, and those of each chunk out of its unpacked bytes.
 *
 *     file      magic(8) record .. magic(8)
 *     magic     89 'M' 'C' 'A' 'P' '0' 0d 0a
 *     record    opcode(1) size(8) content(size)
 *     schema    id(2) name encoding data           channel   id(2) schema_id(2) topic encoding map
 *     message   channel_id(2) sequence(4) log_time(8) publish_time(8) data
 *     chunk     start(8) end(8) unpacked_size(8) unpacked_crc(4) compression records
 *     data end  crc(4) of all bytes before this record
 *
 * Numbers are little-endian. Texts and maps have a size(4) in front, the records of a chunk a
 * size(8). A crc of 0 means that there is none. Everything behind `data end` is index and is not
 * read. */
#include "common/logs/messages/mcap.h"

#include <errno.h>
#include <inttypes.h>
#include <lz4frame.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/messages/mcap_cursor.h"
#include "common/logs/messages/mcap_definitions.h"

static const unsigned char magic[MCAP_MAGIC_SIZE] = {0x89, 'M', 'C', 'A', 'P', '0', '\r', '\n'};

enum opcode {
    OPCODE_NONE = 0, /* not an opcode; what a file system leaves behind the last bytes */
    OPCODE_SCHEMA = 3,
    OPCODE_CHANNEL = 4,
    OPCODE_MESSAGE = 5,
    OPCODE_CHUNK = 6,
    OPCODE_DATA_END = 15,
};

#define RECORD_HEAD      9u  /* opcode and size */
#define MESSAGE_HEAD     22u /* bytes of a message before its data */
#define READ_BUFFER      (1u << 20)
#define RATIO_MAX        1000u         /* unpacked over compressed bytes, .. */
#define RATIO_FREE_BYTES (64ull << 20) /* .. beyond this many, which anything may have */

struct mcap {
    char *path;
    FILE *stream;
    uint64_t size, at; /* of the file; the byte that is read next */
    bool whole;        /* the file ends with the magic */
    uint64_t cut_at;   /* 0: not cut, as far as it has been read */
    bool ended;
    bool check; /* the checksum of the data section */
    uLong crc;  /* of the bytes before `at`, if `check` */

    struct mcap_definitions definitions;

    uint8_t *record; /* content of the current record of the file */
    size_t record_capacity;
    uint64_t record_at;
    uint8_t *unpacked; /* records of the current chunk */
    size_t unpacked_capacity;
    uint64_t unpacked_total;  /* of all chunks so far */
    struct mcap_cursor chunk; /* what is left of the current chunk */

    LZ4F_dctx *lz4;
    ZSTD_DCtx *zstd;
};

bool mcap_recognise(const unsigned char *head, size_t n)
{
    return n >= sizeof magic && memcmp(head, magic, sizeof magic) == 0;
}

static status corrupt(const struct mcap *file, const char *what, struct err *err)
{
    return err_set(err, STATUS_CORRUPT, "%s: byte %" PRIu64 ": %s", file->path, file->record_at,
                   what);
}

/* Adds to an error where the current record is. */
static status located(const struct mcap *file, status s, struct err *err)
{
    return s == STATUS_OK ? s
                          : err_context(err, s, "%s: byte %" PRIu64, file->path, file->record_at);
}

/* Fills `message` from the content of a message record. */
static status read_message(struct mcap *file, struct mcap_cursor c, struct mcap_message *message,
                           struct err *err)
{
    const uint8_t *head = mcap_cursor_take(&c, MESSAGE_HEAD);
    if (head == NULL) {
        return corrupt(file, "a message that is too short", err);
    }
    struct mcap_channel *channel = file->definitions.channels[bytes_get16(head)];
    if (channel == NULL) {
        return err_set(err, STATUS_CORRUPT,
                       "%s: byte %" PRIu64 ": a message of channel %u, which is not defined",
                       file->path, file->record_at, bytes_get16(head));
    }
    *message = (struct mcap_message){.channel = channel,
                                     .log_time_ns = bytes_get64(head + 6),
                                     .publish_time_ns = bytes_get64(head + 14),
                                     .data = c.at,
                                     .size = c.left,
                                     .at = file->record_at};
    return STATUS_OK;
}

/* ---- chunks ---- */

/* Makes room for `size` bytes in a buffer whose contents are not needed any more. */
static status make_room(struct mcap *file, uint8_t **buffer, size_t *capacity, uint64_t size,
                        struct err *err)
{
    if (size <= *capacity) {
        return STATUS_OK;
    }
    mem_free(*buffer);
    *capacity = 0;
    *buffer = mem_array(size, 1);
    if (*buffer == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: byte %" PRIu64 ": %" PRIu64 " bytes", file->path,
                       file->record_at, size);
    }
    *capacity = size;
    return STATUS_OK;
}

/* Unpacks lz4 frames. Returns whether they give exactly n bytes. */
static bool unpack_lz4(struct mcap *file, struct mcap_cursor packed, uint8_t *to, size_t n)
{
    if (file->lz4 == NULL &&
        LZ4F_isError(LZ4F_createDecompressionContext(&file->lz4, LZ4F_VERSION))) {
        file->lz4 = NULL;
        return false;
    }
    /* A frame that is given up on leaves the context in the middle of it. */
    LZ4F_resetDecompressionContext(file->lz4);
    size_t made = 0, hint = 1;
    while (packed.left > 0) {
        size_t out = n - made, in = packed.left;
        hint = LZ4F_decompress(file->lz4, to + made, &out, packed.at, &in, NULL);
        if (LZ4F_isError(hint) || (in == 0 && out == 0)) {
            return false;
        }
        (void)mcap_cursor_take(&packed, in);
        made += out;
    }
    return made == n && (hint == 0 || n == 0); /* 0: the frame is complete */
}

/* Unpacks zstd frames. Returns whether they give exactly n bytes. */
static bool unpack_zstd(struct mcap *file, struct mcap_cursor packed, uint8_t *to, size_t n)
{
    if (file->zstd == NULL && (file->zstd = ZSTD_createDCtx()) == NULL) {
        return false;
    }
    return ZSTD_decompressDCtx(file->zstd, to, n, packed.at, packed.left) == n;
}

/* Refuses a chunk that unpacks to more than is reasonable, before any memory is taken for it. */
static status check_size(struct mcap *file, uint64_t packed, uint64_t unpacked, struct err *err)
{
    file->unpacked_total += unpacked <= MCAP_CHUNK_MAX ? unpacked : 0;
    if (unpacked > MCAP_CHUNK_MAX) {
        return err_set(err, STATUS_CORRUPT,
                       "%s: byte %" PRIu64 ": a chunk claims %" PRIu64
                       " bytes, expected at most %llu",
                       file->path, file->record_at, unpacked, MCAP_CHUNK_MAX);
    }
    if ((unpacked > RATIO_FREE_BYTES && unpacked / RATIO_MAX > packed) ||
        (file->unpacked_total > RATIO_FREE_BYTES &&
         file->unpacked_total / RATIO_MAX > file->size)) {
        return err_set(err, STATUS_CORRUPT,
                       "%s: byte %" PRIu64 ": unpacks to more than %u times its size", file->path,
                       file->record_at, RATIO_MAX);
    }
    return STATUS_OK;
}

/* Unpacks a chunk, so that file->chunk holds its records. */
static status open_chunk(struct mcap *file, struct mcap_cursor c, struct err *err)
{
    const uint8_t *head = mcap_cursor_take(&c, 28);
    size_t name_size = 0;
    const uint8_t *name = head == NULL ? NULL : mcap_cursor_sized(&c, &name_size);
    const uint8_t *size = name == NULL ? NULL : mcap_cursor_take(&c, 8);
    if (size == NULL || bytes_get64(size) != c.left) {
        return corrupt(file, "a damaged chunk", err);
    }
    const uint64_t n = bytes_get64(head + 16);
    const uint32_t crc = bytes_get32(head + 24);
    status s = check_size(file, c.left, n, err);
    if (s != STATUS_OK) {
        return s;
    }

    /* Without compression the records are where they have been read. */
    if (name_size == 0) {
        if (n != c.left) {
            return corrupt(file, "a chunk whose size is wrong", err);
        }
        file->chunk = c;
    } else {
        const bool lz4 = name_size == 3 && memcmp(name, "lz4", 3) == 0;
        if (!lz4 && (name_size != 4 || memcmp(name, "zstd", 4) != 0)) {
            return err_set(err, STATUS_INVALID,
                           "%s: byte %" PRIu64
                           ": compressed with \"%.*s\", expected lz4, zstd or none",
                           file->path, file->record_at, (int)(name_size < 40 ? name_size : 40),
                           (const char *)name);
        }
        s = make_room(file, &file->unpacked, &file->unpacked_capacity, n > 0 ? n : 1, err);
        if (s != STATUS_OK) {
            return s;
        }
        if (!(lz4 ? unpack_lz4 : unpack_zstd)(file, c, file->unpacked, n)) {
            return corrupt(file,
                           lz4 ? "a chunk that lz4 cannot unpack, or of another size"
                               : "a chunk that zstd cannot unpack, or of another size",
                           err);
        }
        file->chunk = (struct mcap_cursor){file->unpacked, n};
    }

    if (crc != 0 && crc32(0, file->chunk.at, (uInt)n) != crc) {
        file->chunk.left = 0;
        return corrupt(file, "a chunk whose checksum is wrong", err);
    }
    return STATUS_OK;
}

/* ---- records ---- */

/* Reads n bytes at the place of the file, which moves on. */
static status read_bytes(struct mcap *file, void *bytes, size_t n, struct err *err)
{
    if (fread(bytes, 1, n, file->stream) != n) {
        return ferror(file->stream)
                   ? err_errno(err, errno, "%s: byte %" PRIu64, file->path, file->at)
                   : corrupt(file, "the file became shorter while it was read", err);
    }
    file->at += n;
    if (file->check) {
        file->crc = crc32(file->crc, bytes, (uInt)n);
    }
    return STATUS_OK;
}

/* Reads over n bytes, which count for the checksum of the data section. */
static status skip_bytes(struct mcap *file, uint64_t n, struct err *err)
{
    unsigned char piece[65536];
    status s = STATUS_OK;
    while (s == STATUS_OK && n > 0) {
        const size_t some = n < sizeof piece ? (size_t)n : sizeof piece;
        s = read_bytes(file, piece, some, err);
        n -= some;
    }
    return s;
}

/* Ends the messages of a file that has no proper end. */
static status cut_off(struct mcap *file)
{
    file->cut_at = file->record_at;
    file->ended = true;
    return STATUS_CLOSED;
}

/* Checks the checksum of all that was read before the record `data end`. */
static status end_of_data(struct mcap *file, uLong crc, struct mcap_cursor c, struct err *err)
{
    const uint8_t *expected = mcap_cursor_take(&c, 4);
    if (expected == NULL) {
        return corrupt(file, "a damaged end of the data", err);
    }
    if (file->check && bytes_get32(expected) != 0 && bytes_get32(expected) != crc) {
        return corrupt(file, "the checksum of the data before is wrong", err);
    }
    file->ended = true;
    return STATUS_CLOSED;
}

/* Reads the next record of the file into file->record. Returns CLOSED where the file ends without
 * `data end`; see cut_off. */
static status next_record(struct mcap *file, uint8_t *opcode, struct mcap_cursor *content,
                          struct err *err)
{
    /* What belongs to the data ends where the magic begins, if that is there. */
    const uint64_t end = file->size - (file->whole ? sizeof magic : 0);
    file->record_at = file->at;
    uint8_t head[RECORD_HEAD];
    if (end - file->at < sizeof head) {
        return file->whole ? corrupt(file, "expected a record", err) : cut_off(file);
    }
    status s = read_bytes(file, head, sizeof head, err);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t size = bytes_get64(head + 1);
    *opcode = head[0];
    if (!file->whole && (size > end - file->at || *opcode == OPCODE_NONE)) {
        return cut_off(file);
    }
    if (size > end - file->at) {
        return err_set(err, STATUS_CORRUPT,
                       "%s: byte %" PRIu64 ": a record claims %" PRIu64 " bytes, %" PRIu64
                       " are left",
                       file->path, file->record_at, size, end - file->at);
    }

    /* Attachments, indexes and what later versions may add are passed over. */
    *content = (struct mcap_cursor){0};
    if (*opcode != OPCODE_SCHEMA && *opcode != OPCODE_CHANNEL && *opcode != OPCODE_MESSAGE &&
        *opcode != OPCODE_CHUNK && *opcode != OPCODE_DATA_END) {
        return *opcode == OPCODE_NONE ? corrupt(file, "expected a record", err)
                                      : skip_bytes(file, size, err);
    }
    if (size > MCAP_CHUNK_MAX) {
        return err_set(err, STATUS_CORRUPT,
                       "%s: byte %" PRIu64 ": a record of %" PRIu64 " bytes, expected at most %llu",
                       file->path, file->record_at, size, MCAP_CHUNK_MAX);
    }
    s = make_room(file, &file->record, &file->record_capacity, size > 0 ? size : 1, err);
    if (s == STATUS_OK) {
        s = read_bytes(file, file->record, size, err);
        *content = (struct mcap_cursor){file->record, size};
    }
    return s;
}

/* Takes the next record out of the current chunk. */
static status next_in_chunk(struct mcap *file, uint8_t *opcode, struct mcap_cursor *content,
                            struct err *err)
{
    const uint8_t *head = mcap_cursor_take(&file->chunk, RECORD_HEAD);
    const uint64_t size = head == NULL ? 0 : bytes_get64(head + 1);
    const uint8_t *bytes = head == NULL ? NULL : mcap_cursor_take(&file->chunk, size);
    if (bytes == NULL) {
        file->chunk.left = 0;
        return corrupt(file, "a chunk that ends within a record", err);
    }
    *opcode = head[0];
    *content = (struct mcap_cursor){bytes, size};
    return STATUS_OK;
}

status mcap_next(struct mcap *file, struct mcap_message *message, struct err *err)
{
    status s = STATUS_OK;
    while (s == STATUS_OK) {
        if (file->ended) {
            return STATUS_CLOSED;
        }
        const bool in_chunk = file->chunk.left > 0;
        const uLong crc = file->crc;
        uint8_t opcode = 0;
        struct mcap_cursor content = {0};
        s = in_chunk ? next_in_chunk(file, &opcode, &content, err)
                     : next_record(file, &opcode, &content, err);
        if (s != STATUS_OK) {
            return s;
        }
        switch (opcode) {
        case OPCODE_SCHEMA:
            s = located(file, mcap_definitions_schema(&file->definitions, content, err), err);
            break;
        case OPCODE_CHANNEL:
            s = located(file, mcap_definitions_channel(&file->definitions, content, err), err);
            break;
        case OPCODE_MESSAGE:
            return read_message(file, content, message, err);
        case OPCODE_CHUNK:
            s = in_chunk ? corrupt(file, "a chunk within a chunk", err)
                         : open_chunk(file, content, err);
            break;
        case OPCODE_DATA_END:
            s = in_chunk ? corrupt(file, "the data ends within a chunk", err)
                         : end_of_data(file, crc, content, err);
            break;
        default: /* passed over */
            break;
        }
    }
    return s;
}

/* ---- opening ---- */

/* Finds the size of the file and whether it has its end, and reads the magic at its beginning. */
static status look_at(struct mcap *file, struct err *err)
{
    struct stat info;
    if (fstat(fileno(file->stream), &info) != 0) {
        return err_errno(err, errno, "%s", file->path);
    }
    file->size = (uint64_t)info.st_size;
    unsigned char head[sizeof magic], tail[sizeof magic];
    if (file->size < sizeof magic || fread(head, 1, sizeof head, file->stream) != sizeof head ||
        !mcap_recognise(head, sizeof head)) {
        return corrupt(file, "not an MCAP file", err);
    }
    file->whole = file->size >= 2 * sizeof magic &&
                  fseeko(file->stream, -(off_t)sizeof magic, SEEK_END) == 0 &&
                  fread(tail, 1, sizeof tail, file->stream) == sizeof tail &&
                  mcap_recognise(tail, sizeof tail);
    if (fseeko(file->stream, (off_t)sizeof magic, SEEK_SET) != 0) {
        return err_errno(err, errno, "%s", file->path);
    }
    /* The magic counts for the checksum of the data. */
    file->at = sizeof magic;
    file->crc = crc32(0, magic, sizeof magic);
    return STATUS_OK;
}

status mcap_open(struct mcap **out, const char *path, bool check, struct err *err)
{
    struct mcap *file = mem_new(sizeof *file);
    if (file == NULL || (file->path = mem_text(path)) == NULL ||
        !mcap_definitions_init(&file->definitions)) {
        mcap_close(file);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    file->check = check;
    int fd;
    status s = file_open_regular(path, &fd, err);
    if (s == STATUS_OK && (file->stream = fdopen(fd, "rb")) == NULL) {
        close(fd);
        s = err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    if (s == STATUS_OK) {
        (void)setvbuf(file->stream, NULL, _IOFBF, READ_BUFFER);
        s = look_at(file, err);
    }
    if (s != STATUS_OK) {
        mcap_close(file);
        return s;
    }
    *out = file;
    return STATUS_OK;
}

void mcap_close(struct mcap *file)
{
    if (file == NULL) {
        return;
    }
    mcap_definitions_fini(&file->definitions);
    if (file->stream != NULL) {
        (void)fclose(file->stream);
    }
    LZ4F_freeDecompressionContext(file->lz4);
    ZSTD_freeDCtx(file->zstd);
    mem_free(file->record);
    mem_free(file->unpacked);
    mem_free(file->path);
    mem_free(file);
}

uint64_t mcap_cut_at(const struct mcap *file)
{
    return file->cut_at;
}
