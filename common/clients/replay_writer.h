/* Inserting episodes into replay servers: a blocking client that neither loses nor duplicates one.
 *
 * It opens the writer (OpenInsert), streams episodes in chunks with a bounded number of bytes in
 * flight, reconnects with backoff and jitter, and resends what was not acknowledged, which sequence
 * numbers make safe. With several servers each episode goes to the one that its identity hashes to,
 * and the cursor is kept per server. One thread. */
#ifndef HINDCAST_CLIENTS_REPLAY_WRITER_H
#define HINDCAST_CLIENTS_REPLAY_WRITER_H

#include "common/base/experiment.h"
#include "common/trajectory/episode.h"

#define REPLAY_CURSOR_MAX 1016 /* the limit of the wire, less 8 bytes for our own counter */

struct replay_writer;

struct replay_writer_options {
    const char *table;          /* NULL: "default" */
    const char *writer;         /* "restorer-0" */
    bool restored;              /* logs, not fresh data */
    size_t max_in_flight_bytes; /* sent and not yet acknowledged; 0: 8 MiB */
    /* How long a server may be away before calls fail with UNAVAILABLE; 0: 60 s. */
    uint64_t connect_timeout_ms;
    /* Called while waiting: true makes the call return CLOSED soon. May be NULL. */
    bool (*stopping)(void *arg);
    void *stopping_arg;
};

/* Connects to experiment->replay and opens the writer there. `cursor` (REPLAY_CURSOR_MAX bytes of
 * room, size out) is what came with the last committed episode; with several servers, that of the
 * server furthest behind. *sealed: nothing more is taken. */
status replay_writer_open(struct replay_writer **writer, const struct experiment *experiment,
                          const struct signature *signature,
                          const struct replay_writer_options *options, void *cursor,
                          size_t *cursor_size, bool *sealed, struct err *err) MUST_CHECK;

/* Inserts a copy of one episode; waits while too much is in flight or the server makes writers
 * wait. `cursor` is what replay_writer_open returns after a restart once this episode is
 * committed. OK, CLOSED (stopping), UNAVAILABLE, FULL, MISMATCH. */
status replay_writer_insert(struct replay_writer *writer, const struct episode *episode,
                            const void *cursor, size_t cursor_size, struct err *err) MUST_CHECK;

/* Sends and receives what it can without waiting: for a writer that is not called for long. */
status replay_writer_poll(struct replay_writer *writer, struct err *err) MUST_CHECK;

/* Waits until every inserted episode is acknowledged. TIMEOUT. */
status replay_writer_flush(struct replay_writer *writer, uint64_t timeout_ms,
                           struct err *err) MUST_CHECK;

/* Flushes without a time limit, then seals. *sealed: all n_writers writers have sealed. */
status replay_writer_seal(struct replay_writer *writer, uint32_t n_writers, bool *sealed,
                          struct err *err) MUST_CHECK;

/* What the table holds and may hold, over all servers; a limit is 0 where a server has none. */
struct replay_writer_room {
    uint64_t episodes, transitions, bytes;
    uint64_t transitions_limit, bytes_limit;
    uint64_t episodes_removed; /* since the table was made */
};
/* Asks the servers (Info). UNAVAILABLE, TIMEOUT, NOT_FOUND: no such table. */
status replay_writer_room(struct replay_writer *writer, struct replay_writer_room *room,
                          struct err *err) MUST_CHECK;

struct replay_writer_counts {
    uint64_t episodes, transitions, duplicates, bytes, reconnects;
    double waited_s; /* because of the server's limits or of max_in_flight_bytes */
};
void replay_writer_counts(const struct replay_writer *writer, struct replay_writer_counts *counts);

void replay_writer_close(struct replay_writer *writer); /* does not wait: flush first */

#endif
