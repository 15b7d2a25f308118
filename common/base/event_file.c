/* Records for TensorBoard (format: event_file.h), gathered in memory and appended every few
 * seconds.
 *
 * Points are a convenience, not data: nothing here may stop a run. A write that fails loses what
 * was gathered, with a warning, and the file is cut back to its last whole record, because a torn
 * record hides all that follows it from readers. */
#include "common/base/event_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nmmintrin.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/event.pb-c.h"
#include "common/base/file.h"
#include "common/base/memory.h"

#define LOG_MODULE "events"
#include "common/base/log.h"

/* Points wait in memory for FLUSH_MS, or until BUFFER_BYTES are full. OPEN_TRIES bounds the search
 * for a file name that is free. */
#define FLUSH_MS     2000
#define OPEN_TRIES   100
#define BUFFER_BYTES (256u << 10)
#define FRAME_BYTES  16 /* of a record, around its message */
#define POINT_BYTES  (EVENT_TAG_SIZE + 16)

struct event_file {
    int fd;
    char path[PATH_MAX];
    off_t size; /* of whole records in the file */
    /* When flush last ran, with success or without. */
    uint64_t written_ns;
    size_t n_bytes; /* in `bytes`: whole records */
    uint8_t bytes[BUFFER_BYTES];
};
_Static_assert(EVENT_SCALARS_MAX *POINT_BYTES + 2 * FRAME_BYTES + 64 < BUFFER_BYTES,
               "one step fits");

/* ---- Records ---- */

/* The processor has an instruction for it: SSE 4.2, which x86-64-v3 includes. */
static uint32_t crc32c(const uint8_t *bytes, size_t size)
{
    uint64_t crc = UINT32_MAX;
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        crc = _mm_crc32_u64(crc, word);
    }
    for (; size > 0; bytes++, size--) {
        crc = _mm_crc32_u8((uint32_t)crc, *bytes);
    }
    return ~(uint32_t)crc;
}

uint32_t event_file_masked_crc(const void *bytes, size_t size)
{
    const uint32_t crc = crc32c(bytes, size);
    /* TensorBoard stores checksums rotated by 15 bits, plus a constant. */
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Little-endian, as the format wants, on any machine. */
static void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> 8 * i);
    }
}

/* Writes what is gathered; after a failure the file ends where it did. */
static void flush(struct event_file *file)
{
    struct err err = {0};
    /* The time of this attempt counts even if it fails: the next one is FLUSH_MS later. */
    file->written_ns = clock_now_ns();
    if (file->n_bytes == 0) {
        return;
    }
    /* All or nothing, as far as the file is concerned. */
    if (file_write_all(file->fd, file->bytes, file->n_bytes, &err) == STATUS_OK) {
        file->size += (off_t)file->n_bytes;
    } else {
        log_warn("%s: %zu bytes are lost: %s", file->path, file->n_bytes, err.text);
        if (ftruncate(file->fd, file->size) != 0) {
            log_warn("%s: a piece of a record is left in it: %s", file->path, strerror(errno));
        }
    }
    file->n_bytes = 0;
}

/* Appends one record to what is gathered. */
static void put_event(struct event_file *file, const Hindcast__Event__Event *event)
{
    const size_t size = protobuf_c_message_get_packed_size(&event->base);
    ASSERT(size + FRAME_BYTES <= BUFFER_BYTES);
    /* A record that does not fit any more starts the next batch. */
    if (file->n_bytes + size + FRAME_BYTES > BUFFER_BYTES) {
        flush(file);
    }
    /* Length, its checksum, message, its checksum. */
    uint8_t *record = file->bytes + file->n_bytes;
    put_u32(record, (uint32_t)size);
    /* The length has eight bytes, of which the upper four are always 0. */
    put_u32(record + 4, 0);
    put_u32(record + 8, event_file_masked_crc(record, 8));
    protobuf_c_message_pack(&event->base, record + 12);
    put_u32(record + 12 + size, event_file_masked_crc(record + 12, size));
    file->n_bytes += size + FRAME_BYTES;
}

/* ---- What others call ---- */

/* An event of this step, at the present time. The caller says what happened. */
static Hindcast__Event__Event event_at(uint64_t step)
{
    Hindcast__Event__Event event = HINDCAST__EVENT__EVENT__INIT;
    event.wall_time = (double)clock_wall_ns() / 1e9;
    event.step = (int64_t)step;
    return event;
}

void event_file_add(struct event_file *file, uint64_t step, const struct event_scalar *scalars,
                    size_t n)
{
    ASSERT(n <= EVENT_SCALARS_MAX);
    /* protobuf-c wants an array of pointers to the values. The event borrows them and their tags,
     * which need to live only until it is packed. */
    Hindcast__Event__Summary__Value *values = mem_array(n + 1, sizeof(*values));
    Hindcast__Event__Summary__Value **places = mem_array(n + 1, sizeof(*places));
    /* Without memory the points of this step are missing, and nothing else happens. */
    if (values != NULL && places != NULL) {
        for (size_t i = 0; i < n; i++) {
            values[i] = (Hindcast__Event__Summary__Value)HINDCAST__EVENT__SUMMARY__VALUE__INIT;
            values[i].tag = (char *)(uintptr_t)scalars[i].tag;
            values[i].value_case = HINDCAST__EVENT__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
            values[i].simple_value = (float)scalars[i].value;
            places[i] = &values[i];
        }
        Hindcast__Event__Summary summary = HINDCAST__EVENT__SUMMARY__INIT;
        summary.n_value = n;
        summary.value = places;
        Hindcast__Event__Event event = event_at(step);
        event.what_case = HINDCAST__EVENT__EVENT__WHAT_SUMMARY;
        event.summary = &summary;
        put_event(file, &event);
    }
    mem_free(values);
    mem_free(places);
    event_file_flush_if_due(file);
}

void event_file_flush_if_due(struct event_file *file)
{
    if (file->n_bytes > 0 && clock_now_ns() - file->written_ns >= FLUSH_MS * NS_PER_MS) {
        flush(file);
    }
}

/* Files are read in the order of their names: the stamp's width is always the same. */
static status open_file(struct event_file *file, const char *folder, struct err *err)
{
    status s = file_make_folders(folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Two of one process within a millisecond: the later one gets a later stamp. */
    uint64_t stamp_ms = clock_wall_ns() / NS_PER_MS;
    for (int tries = 0; tries < OPEN_TRIES; tries++, stamp_ms++) {
        snprintf(file->path, sizeof(file->path), "%s/events.out.tfevents.%013llu.%d", folder,
                 (unsigned long long)stamp_ms, (int)getpid());
        /* To append: what is written after a cut belongs where the file ends now. */
        file->fd = open(file->path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (file->fd >= 0 || errno != EEXIST) {
            break;
        }
    }
    return file->fd < 0 ? err_errno(err, errno, "%s", file->path) : STATUS_OK;
}

status event_file_open(struct event_file **file, const char *folder, uint64_t first_step,
                       struct err *err)
{
    struct event_file *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "event file");
    }
    status s = open_file(made, folder, err);
    if (s != STATUS_OK) {
        mem_free(made);
        return s;
    }
    /* First the version of the format, which readers expect. */
    Hindcast__Event__Event version = event_at(0);
    version.what_case = HINDCAST__EVENT__EVENT__WHAT_FILE_VERSION;
    version.file_version = (char *)(uintptr_t) "brain.Event:2";
    put_event(made, &version);

    /* Then: from this step on, older files are void. */
    Hindcast__Event__SessionLog log = HINDCAST__EVENT__SESSION_LOG__INIT;
    log.status = HINDCAST__EVENT__SESSION_LOG__STATUS__START;
    Hindcast__Event__Event start = event_at(first_step);
    start.what_case = HINDCAST__EVENT__EVENT__WHAT_SESSION_LOG;
    start.session_log = &log;
    put_event(made, &start);
    /* At once, so that the file is complete before the first points come. */
    flush(made);
    *file = made;
    return STATUS_OK;
}

void event_file_close(struct event_file *file)
{
    if (file == NULL) {
        return;
    }
    flush(file);
    close(file->fd);
    mem_free(file);
}
