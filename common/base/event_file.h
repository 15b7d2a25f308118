/* Scalars for TensorBoard: an event file, as `tensorboard --logdir` reads it.
 *
 *     FOLDER/events.out.tfevents.<ms since 1970>.<pid>      a new one for each start
 *
 * A file is a sequence of records, and a record that a crash cut short ends what is read of it:
 *
 *     0       u64  length of the message, little endian, as all numbers here
 *     8       u32  masked CRC32C of the eight bytes before
 *     12      Event (common/base/event.proto)
 *     12 + n  u32  masked CRC32C of the message
 *
 * A restart says from which step on it repeats what earlier files hold (SessionLog.START), and
 * TensorBoard leaves that out of them. Records are gathered and written every few seconds. One
 * thread at a time. */
#ifndef HINDCAST_BASE_EVENT_FILE_H
#define HINDCAST_BASE_EVENT_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define EVENT_TAG_SIZE    96
#define EVENT_SCALARS_MAX 1024 /* of one step */

struct event_scalar {
    char tag[EVENT_TAG_SIZE]; /* "critic_loss", "kl_mean/3": the part before / is the group */
    double value;
};

struct event_file;

/* A new file in `folder`, which is made if absent. What earlier files hold of steps `first_step`
 * and later is void. */
status event_file_open(struct event_file **file, const char *folder, uint64_t first_step,
                       struct err *err) MUST_CHECK;
/* Writes what is left. NULL is fine. */
void event_file_close(struct event_file *file);

/* One point of each scalar at this step, at most EVENT_SCALARS_MAX. What a full disk does not take
 * is lost, with a warning; what is in the file stays readable. */
void event_file_add(struct event_file *file, uint64_t step, const struct event_scalar *scalars,
                    size_t n);

/* Writes what has waited for some seconds; cheap when there is nothing. */
void event_file_flush_if_due(struct event_file *file);

/* CRC32C (Castagnoli), as the records carry it: rotated, and a constant added. For tests. */
uint32_t event_file_masked_crc(const void *bytes, size_t size);

#endif
