/* Who writes into a table, and how far each writer is: generation, sequences, cursor.
 *
 * A writer's episodes carry rising sequences and are committed in that order. `queued` runs ahead
 * of `committed` by what is on its way to the store. When one of these episodes fails, all that
 * were queued behind it fail too (`epoch` tells them from those that are sent again later), so that
 * `committed` never skips an episode. Pure; one thread, except where a field says otherwise. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_WRITERS_H
#define HINDCAST_REPLAY_SERVER_TABLE_WRITERS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define WRITER_NAME_SIZE  129 /* with the terminating 0 */
#define WRITER_CURSOR_MAX 1024
#define WRITERS_MAX       4096
/* The largest generation and sequence that a client may give. Above it there is room for more
 * generations, which writer_open gives by itself, than a writer can ever use: no client can spoil a
 * writer's name by using up the range. */
#define WRITER_NUMBER_MAX (1ull << 62)

struct writer {
    char name[WRITER_NAME_SIZE];
    bool done;          /* has called Seal .. */
    uint32_t n_writers; /* .. with this number, since the server's start; 0: not yet */
    uint32_t cursor_size;
    uint64_t generation;               /* 0: never opened */
    uint64_t committed;                /* last sequence in the store; 0: none */
    uint64_t queued;                   /* last sequence handed to the store; >= committed */
    uint64_t epoch;                    /* grows with every failure on the way to the store */
    uint64_t failed_epoch;             /* the inserter thread's: jobs up to this epoch fail */
    uint8_t cursor[WRITER_CURSOR_MAX]; /* that came with `committed` */
};

/* All zero: none. */
struct writers {
    struct writer **items; /* a writer's address does not change */
    size_t n;
};

/* A name is [a-zA-Z0-9_./-]{1,max}. INVALID says what is wrong; `what` names the field. */
status writers_check_name(const char *what, const char *name, size_t max,
                          struct err *err) MUST_CHECK;

void writers_fini(struct writers *writers);
struct writer *writers_find(const struct writers *writers, const char *name); /* NULL: none */
/* Finds or adds. The name has been checked. FULL: there are WRITERS_MAX; NO_MEMORY. */
status writers_add(struct writers *writers, const char *name, struct writer **writer,
                   struct err *err) MUST_CHECK;

/* Opens `writer` with `generation` (0: one more than the last). MISMATCH: an older one; INVALID:
 * above WRITER_NUMBER_MAX. */
status writer_open(struct writer *writer, uint64_t generation, struct err *err) MUST_CHECK;
/* The episode with this sequence, and its cursor, are in the store. */
void writer_commit(struct writer *writer, uint64_t sequence, const uint8_t *cursor,
                   uint32_t cursor_size);
/* A job of this epoch has failed: what was queued behind it fails too, and is not queued any more.
 * The first failure of an epoch counts. */
void writer_fail(struct writer *writer, uint64_t epoch);

/* The writer has inserted all it has, as one of n_writers. MISMATCH: another writer gave another
 * number; the text names it. */
status writer_finish(struct writer *writer, const struct writers *all, uint32_t n_writers,
                     struct err *err) MUST_CHECK;
size_t writers_n_done(const struct writers *writers);

#endif
