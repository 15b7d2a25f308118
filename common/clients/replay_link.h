/* One writer's connection to one replay server. Episodes that were added and not yet acknowledged
 * are kept, and sent again after a reconnect. replay_writer distributes episodes over several of
 * these links. One thread. */
#ifndef HINDCAST_CLIENTS_REPLAY_LINK_H
#define HINDCAST_CLIENTS_REPLAY_LINK_H

#include "common/clients/replay_writer.h"

struct replay_link;

struct replay_link_settings {
    const char *table;
    const char *writer;
    bool restored;
    uint32_t n_servers; /* of the writer */
    uint64_t connect_timeout_ms;
    bool (*stopping)(void *arg);
    void *stopping_arg;
};

/* What the server said when the link was opened. */
struct replay_link_position {
    uint64_t counter; /* the writer's, stored with the last committed episode; 0: none */
    bool same_place;  /* this server was at the same place of a list of the same length then */
    size_t cursor_size;
    uint8_t cursor[REPLAY_CURSOR_MAX];
    bool sealed;
};

/* Opens the writer on experiment->replay's server `place`, waiting for it up to connect_timeout_ms.
 * `settings` and what it points to are borrowed until replay_link_close. */
status replay_link_open(struct replay_link **link, const struct experiment *experiment,
                        uint32_t place, const struct signature *signature,
                        const struct replay_link_settings *settings,
                        struct replay_link_position *position, struct err *err) MUST_CHECK;
void replay_link_close(struct replay_link *link);

/* Adds a copy to the list; sends nothing yet. `counter` increases with every episode of the writer,
 * over all servers. Where the table is sealed and the server has had the episode, this counts it as a
 * duplicate. */
status replay_link_add(struct replay_link *link, const struct episode *episode, uint64_t counter,
                       const void *cursor, size_t cursor_size, struct err *err) MUST_CHECK;

/* Sends what gRPC takes, waiting up to `send_ms` where it is stuck, then takes acknowledgements,
 * waiting up to `receive_ms` for one. Reconnects where needed. OK: there may be progress. CLOSED:
 * stopping. UNAVAILABLE: the server was away for connect_timeout_ms. Others are the server's
 * refusal; the list is unchanged, and the next call sends it again. */
status replay_link_pump(struct replay_link *link, uint64_t send_ms, uint64_t receive_ms,
                        struct err *err) MUST_CHECK;
/* Is there anything that gRPC has not taken yet? */
bool replay_link_sendable(const struct replay_link *link);
size_t replay_link_unacknowledged_bytes(const struct replay_link *link);

/* Seals the table for this writer. Everything must be acknowledged. */
status replay_link_seal(struct replay_link *link, uint32_t n_writers, bool *sealed,
                        struct err *err) MUST_CHECK;

/* What the table holds and may hold on this server. */
status replay_link_room(struct replay_link *link, struct replay_writer_room *room,
                        struct err *err) MUST_CHECK;

/* Adds the counts of this link to `counts`. */
void replay_link_counts(const struct replay_link *link, struct replay_writer_counts *counts);

#endif
