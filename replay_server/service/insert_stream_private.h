/* What the files of Insert share:
 *
 *   insert_stream.c     the stream: life, parking, handlers, acknowledgements
 *   insert_incoming.c   the episode that is coming in
 *   insert_admission.c  limits, the way to the inserter and back */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_INSERT_STREAM_PRIVATE_H
#define HINDCAST_REPLAY_SERVER_SERVICE_INSERT_STREAM_PRIVATE_H

#include "replay_server/service/service_private.h"

enum insert_state { READY, RECEIVING };
enum insert_kind {
    KIND_STORE,     /* a new episode */
    KIND_SEEN,      /* its sequence was queued before: acknowledged when that job is back */
    KIND_DUPLICATE, /* its identity is resident: only the writer's sequence moves */
};

struct incoming {
    enum insert_kind kind;
    struct store_episode episode;
    uint64_t sequence;
    uint32_t n_chunks, next_chunk;
    struct buffer *first, *last; /* chunks so far */
    uint64_t need_bytes;         /* of insert_pool, for all chunks */
    bool reserved;               /* need_bytes are counted by insert_reserve */
    uint64_t reserved_ns;        /* since then */
    uint64_t begun_ns;           /* its first chunk came */
    bool complete;
    uint32_t cursor_size;
    uint8_t cursor[WRITER_CURSOR_MAX];
};

struct insert_stream {
    struct service *service;
    struct rpc_call *call; /* NULL: over; only jobs still refer to the stream */
    struct insert_stream *next, *previous;
    struct served_table *table; /* NULL before the first message */
    struct writer *writer;
    struct client *client; /* NULL once the call is over */
    uint64_t generation;
    enum insert_state state;
    bool held, failed, half_closed;
    /* Waiting (parked): */
    bool parked;
    struct insert_stream *parked_next, *parked_previous; /* in order of parking */
    uint64_t since_ns;
    char why[128];
    bool by_rate;      /* the limiter refused; `why` is made anew when somebody asks */
    bool by_share;     /* its table has its share of memory */
    bool by_quota;     /* its client inserts too fast */
    uint64_t seen;     /* episodes that the table had taken by then */
    uint64_t heard_ns; /* last message */
    struct incoming in;
    uint32_t n_jobs;        /* with the inserter */
    uint64_t last_sequence; /* of this stream */
    /* What can be acknowledged and has not been: */
    uint64_t ack_sequence, ack_episode_id;
    uint32_t ack_episodes, ack_duplicates;
};

/* ---- insert_stream.c ---- */
void insert_stream_resume(struct insert_stream *stream);
/* Reads no more until resumed; `why` is what Info shows. A stream that waits already keeps its
 * place and the time since when. */
void insert_stream_park(struct insert_stream *stream, const char *why);
/* Ends the stream with an error; what is with the inserter goes on. */
void insert_stream_fail(struct insert_stream *stream, status code, const char *text);

/* ---- insert_incoming.c ---- */
/* Chunk 0: checks what it says about the episode. */
status insert_incoming_begin(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                             struct err *err) MUST_CHECK;
/* Any chunk: checks its place and size, takes its rows. */
status insert_incoming_take(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                            struct err *err) MUST_CHECK;
void insert_incoming_drop(struct insert_stream *stream);

/* ---- insert_admission.c ---- */
/* Takes back what is counted for an episode of this table. */
void insert_unreserve(struct service *service, struct served_table *table, uint64_t bytes);
/* Takes the episode under way as far as it can go now. True when it went on. */
bool insert_stream_advance(struct insert_stream *stream);
/* Writes into `why` what the limiter makes the stream wait for. False: nothing, now. */
bool insert_stream_rate(const struct insert_stream *stream, char *why, size_t size);

#endif
