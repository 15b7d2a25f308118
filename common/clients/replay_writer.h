/* Inserting episodes into replay servers: a blocking client that never loses or doubles one.
 *
 * It opens the writer (OpenInsert), streams episodes as chunks with a bounded number in flight,
 * retries after broken connections with backoff and jitter, and resends what was not acknowledged:
 * sequences make that safe. One thread. With several servers every episode goes to the one that its
 * identity hashes to; its cursor then counts per server. */
#ifndef HINDCAST_CLIENTS_REPLAY_WRITER_H
#define HINDCAST_CLIENTS_REPLAY_WRITER_H

#include "common/base/experiment.h"
#include "common/trajectory/episode.h"

#define REPLAY_CURSOR_MAX 1016 /* what the wire allows less 8 bytes for our own counter */

struct replay_writer;

struct replay_writer_options {
    const char *table;           /* NULL: "default" */
    const char *writer;          /* "restorer-0" */
    bool restored;               /* logs, not fresh data */
    size_t max_in_flight_bytes;  /* sent and not yet acknowledged; 0: 8 MiB */
    uint64_t connect_timeout_ms; /* how long a server may be away before calls fail UNAVAILABLE; 0:
                                    60 s */
    /* Asked while waiting: true makes the call return CLOSED soon. May be NULL. */
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

/* Hands one episode over (copied); waits while too much is in flight or the server makes writers
 * wait. `cursor` is what a restart should be given once this episode is committed. OK, CLOSED
 * (stopping), UNAVAILABLE, FULL, MISMATCH. */
status replay_writer_insert(struct replay_writer *writer, const struct episode *episode,
                            const void *cursor, size_t cursor_size, struct err *err) MUST_CHECK;

/* Waits until all handed over is acknowledged. */
status replay_writer_flush(struct replay_writer *writer, uint64_t timeout_ms,
                           struct err *err) MUST_CHECK;

/* flush, then Seal with n_writers. *sealed: all writers have said so. */
status replay_writer_seal(struct replay_writer *writer, uint32_t n_writers, bool *sealed,
                          struct err *err) MUST_CHECK;

struct replay_writer_counts {
    uint64_t episodes, transitions, duplicates, bytes, reconnects;
    double waited_s; /* by the server's or our own limits */
};
void replay_writer_counts(const struct replay_writer *writer, struct replay_writer_counts *counts);

void replay_writer_close(struct replay_writer *writer); /* does not wait: flush first */

#endif
