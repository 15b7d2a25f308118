/* The container of MCAP files: records one after another, of which messages are handed out in the
 * order of the file. (https://mcap.dev/spec, version "0"; the layouts are drawn in mcap.c.)
 *
 * The file is read from front to back, and the index at its end is never used: it might disagree
 * with the messages, and a recorder that was killed has not written it. Checksums of chunks and of
 * the data section are verified. Chunks without compression or with lz4 or zstd are read.
 *
 * Files are not trusted. A chunk claims its size before it is unpacked; more than MCAP_CHUNK_MAX
 * bytes, or far more than its compressed bytes can be expected to hold, are refused.
 *
 * A file must be used by one thread at a time. */
#ifndef HINDCAST_LOGS_MCAP_H
#define HINDCAST_LOGS_MCAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define MCAP_MAGIC_SIZE 8u
#define MCAP_CHUNK_MAX  (512ull << 20) /* bytes of a record, and of an unpacked chunk */

/* A definition of messages. */
struct mcap_schema {
    char *name;          /* "sensor_msgs/msg/JointState" */
    char *encoding;      /* "ros2msg", "jsonschema", .. */
    const uint8_t *data; /* (size) the definition; not terminated */
    size_t size;
};

/* A source of messages. Several channels may have one topic. */
struct mcap_channel {
    char *topic;
    char *encoding;                   /* of the messages: "cdr", "json", .. */
    const struct mcap_schema *schema; /* NULL: none */
    void *user;                       /* the caller's; NULL at first */
};

struct mcap_message {
    struct mcap_channel *channel;
    uint64_t log_time_ns, publish_time_ns;
    const uint8_t *data; /* (size) valid until the next call */
    size_t size;
    uint64_t at; /* byte of the file at which its record, or the chunk with it, begins */
};

struct mcap;

/* Returns whether a file with these first n bytes is MCAP. */
bool mcap_recognise(const unsigned char *head, size_t n);
/* Opens a file. `check`: verify the checksum of the whole data section, which takes time. Returns
 * NOT_FOUND, IO, NO_MEMORY, or CORRUPT where it is not MCAP. */
status mcap_open(struct mcap **file, const char *path, bool check, struct err *err) MUST_CHECK;
/* NULL is allowed. Frees the channels. */
void mcap_close(struct mcap *file);
/* The next message. Returns CLOSED at the end of the messages, and CORRUPT with the byte of the
 * file where something is wrong. */
status mcap_next(struct mcap *file, struct mcap_message *message, struct err *err) MUST_CHECK;

/* After mcap_next has returned CLOSED: the byte at which the file is cut off in the middle of a
 * record, because its recorder was killed; 0 if it is whole. */
uint64_t mcap_cut_at(const struct mcap *file);

#endif
