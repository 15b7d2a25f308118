/* The number of the newest published version, kept across kill -9: checkpoints are rarer than
 * publications, and a client must never meet the same number with other parameters. One line,
 * RUN_DIR/learner.version, overwritten in place:
 *
 *     run_id version\n        padded with spaces to 96 bytes
 *
 * Not synced: it outlives the process, not the machine; then numbering goes on from the
 * checkpoint's. */
#ifndef HINDCAST_BASE_COUNTER_FILE_H
#define HINDCAST_BASE_COUNTER_FILE_H

#include <stdint.h>

#include "common/base/status.h"

struct counter_file {
    int fd; /* -1: closed */
    char run_id[64];
};

/* Opens or makes the file. *version <- the number recorded for this run; 0 where it holds none, or
 * another run's. */
status counter_file_open(struct counter_file *record, const char *path, const char *run_id,
                         uint64_t *version, struct err *err) MUST_CHECK;
status counter_file_set(struct counter_file *record, uint64_t version, struct err *err) MUST_CHECK;
void counter_file_close(struct counter_file *record);

#endif
