/* The state that the files of the service share:
 *
 *   service.c          life, posting, settling
 *   service_corrupt.c  damaged episodes leave index and store
 *   service_load.c     what the store holds becomes tables
 *   service_info.c     Info
 *   client.c           who inserts, and how fast
 *   service_metrics.c  metrics, the status line
 *   store_call.c       unary calls whose answer waits for the store
 *   writer_calls.c     OpenInsert, Seal, UpdatePriorities
 *   operator_calls.c   SetTable, Delete, Compact
 *   dump_call.c        Dump
 *   used_up.c          episodes that have been sampled max_times_sampled times leave the store
 *   insert_stream.c    Insert
 *   sample_stream.c    Sample, over sample_op.c
 *
 * All of it belongs to the call thread, except where a comment says otherwise. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_SERVICE_PRIVATE_H
#define HINDCAST_REPLAY_SERVER_SERVICE_SERVICE_PRIVATE_H

#include <pthread.h>

#include "common/rpc/server.h"
#include "proto/replay.pb-c.h"
#include "replay_server/service/client.h"
#include "replay_server/service/served_table.h"
#include "replay_server/service/service.h"
#include "replay_server/store/buffer_pool.h"
#include "replay_server/store/gatherer.h"
#include "replay_server/store/inserter.h"
#include "replay_server/store/scrubber.h"

#define TICK_MS          200
#define INSERT_QUEUE_MAX 4096u
#define GATHER_QUEUE_MAX 4096u
#define TABLES_MAX       256u

struct insert_stream;
struct sample_stream;

struct service {
    struct options options;
    struct experiment experiment;
    uint64_t config_digest;
    uint64_t start_ns;
    struct store *store;
    struct store_reader *reader; /* for batches gathered on the call thread */
    struct inserter *inserter;
    struct gatherer *gatherer;
    struct scrubber *scrubber; /* NULL: off */
    struct buffer_pool *insert_pool;
    struct buffer_pool *sample_pool;
    struct endpoint *endpoint;
    struct rpc_server *server; /* the endpoint's */
    struct served_table *tables;
    uint32_t n_tables;
    uint64_t next_chunk;                  /* of the next episode; runs ahead of the store's */
    uint64_t insert_reserved;             /* bytes of insert_pool promised to episodes under way */
    struct insert_stream *insert_streams; /* all that have a call, newest first */
    struct sample_stream *sample_streams;
    uint32_t sample_wanting; /* sample streams that have credit: they share the sample pool */
    uint64_t n_responses;    /* drawn so far: they are numbered from 1 */
    struct used_up *used_up_first, *used_up_last;     /* to be deleted, by number of response */
    struct insert_stream *parked_first, *parked_last; /* those that wait, in order of parking */
    struct insert_stream *advancing; /* insert_streams_advance: the one to look at next */
    bool inserts_may_go;             /* something changed that a parked insert may wait for */
    bool samples_may_go;
    bool settling;

    pthread_mutex_t
        post_lock; /* guards the next three: threads that post against the server's end */
    bool posting;  /* the call thread takes posts */
    struct insert_job *insert_orphans; /* what came back after that; dealt with at close */
    struct gather_job *gather_orphans;

    pthread_mutex_t text_lock; /* guards text */
    char text[256];
    uint64_t reported_ns;
    uint64_t reported_sampled, reported_inserted;
    struct service_metrics *metrics;
    struct dump *dump;         /* the copy that is being made; NULL: none */
    bool compacting;           /* a compaction is with the inserter */
    double compaction_pause_s; /* how long the last one kept inserts waiting */
    struct client *clients;
    uint64_t n_over_quota; /* inserts refused by max_client_bytes, max_client_episodes */
    uint64_t n_slowed;     /* inserts that have waited for max_client_bytes_per_s */
};

/* ---- service.c ---- */
struct served_table *service_table(const struct service *service,
                                   const char *name); /* "" is "default"; NULL: none */
struct served_table *service_table_of_number(const struct service *service, uint32_t number);
/* Lets the streams go on whose wait is over. At the end of every event on the call thread. */
void service_settle(struct service *service);

/* ---- service_corrupt.c ---- */
/* Takes a corrupt episode out of index and store. */
void service_drop_corrupt(struct service *service, struct served_table *table, uint64_t id);

/* ---- service_load.c ---- */
/* `scan`: check every chunk first. */
status service_load(struct service *service, bool scan, struct err *err) MUST_CHECK;

/* ---- service_info.c ---- */
/* A table's options as a message; it points into itself. */
#define SETTINGS_MAX 24u
struct settings_wire {
    size_t n;
    Hindcast__Setting items[SETTINGS_MAX];
    Hindcast__Setting *pointers[SETTINGS_MAX];
    char values[SETTINGS_MAX][TABLE_OPTION_VALUE_SIZE];
};
void settings_wire_fill(struct settings_wire *wire, const struct table_options *options);
void on_info(struct rpc_call *call, const ProtobufCMessage *message);

/* ---- service_metrics.c ---- */
enum service_call {
    CALL_INFO,
    CALL_OPEN_INSERT,
    CALL_INSERT, /* an episode, from its first chunk until it is stored */
    CALL_SEAL,
    CALL_SAMPLE, /* a response, from its draw until it is gathered */
    CALL_UPDATE_PRIORITIES,
    CALL_SET_TABLE,
    CALL_DELETE,
    CALL_DUMP,
    CALL_COMPACT,
    N_CALLS
};
/* A call that began at start_ns has been answered. */
void service_observe(const struct service *service, enum service_call call, uint64_t start_ns);
/* Looks how much of what would be drawn is in memory. */
void service_probe_residence(struct service *service);
status service_metrics_new(struct service *service, struct err *err) MUST_CHECK;
void service_metrics_free(struct service *service);
void service_metrics_update(struct service *service);

/* ---- writer_calls.c ---- */
void on_open_insert(struct rpc_call *call, const ProtobufCMessage *message);
void on_seal(struct rpc_call *call, const ProtobufCMessage *message);
void on_update_priorities(struct rpc_call *call, const ProtobufCMessage *message);

/* ---- store_call.c ---- */
void on_store_call_done(struct rpc_call *call);

/* ---- operator_calls.c ---- */
void on_set_table(struct rpc_call *call, const ProtobufCMessage *message);
void on_delete(struct rpc_call *call, const ProtobufCMessage *message);
void on_compact(struct rpc_call *call, const ProtobufCMessage *message);

/* ---- dump_call.c ---- */
struct dump;
void on_dump(struct rpc_call *call, const ProtobufCMessage *message);
void on_dump_done(struct rpc_call *call);
/* Gives up the copy that is being made. When the call thread has ended. */
void dump_close(struct service *service);

/* ---- used_up.c ---- */
struct used_up;
/* Room for n episodes; NULL: out of memory. */
struct used_up *used_up_new(struct served_table *table, uint32_t n);
void used_up_free(struct used_up *used_up); /* NULL is fine */
/* Response `number` has drawn the last snippet of this episode, which has left the index. */
void used_up_add(struct used_up *used_up, uint64_t id);
/* Takes what response `number` has used up. It is deleted once no response up to that one is still
 * being gathered: each of them may have drawn from it. */
void used_up_post(struct service *service, struct used_up *used_up, uint64_t number);
/* Deletes what can be deleted by now. */
void used_up_delete(struct service *service);
/* Are there episodes of this table that are out of the index and not on their way out of the store? */
bool used_up_waits(const struct service *service, const struct served_table *table);
/* Hands to the store how often episodes were sampled, with every tick; and all of it, at the end. */
void used_up_save_times(struct service *service);
void used_up_save_times_all(struct service *service);
/* When all responses have been gathered, or given up: deletes everything. */
void used_up_delete_all(struct service *service);

/* ---- insert_stream.c ---- */
void on_insert_start(struct rpc_call *call);
void on_insert_message(struct rpc_call *call, const ProtobufCMessage *message);
void on_insert_half_closed(struct rpc_call *call);
void on_insert_sent(struct rpc_call *call);
void on_insert_done(struct rpc_call *call);
/* Lets parked streams go on, in order of parking; true when one did. */
bool insert_streams_advance(struct service *service);
/* Sends the acknowledgements that came together. */
void insert_streams_acknowledge(struct service *service);
/* Ends the streams of `writer` that are older than its generation, or all of them but `keep`. */
void insert_streams_fence(struct service *service, const struct writer *writer,
                          const struct insert_stream *keep);
void insert_streams_check_idle(struct service *service, uint64_t now_ns);
struct insert_stream *insert_stream_next(const struct insert_stream *stream);
/* Does it wait, and why? `since_ns` is when it began. */
bool insert_stream_waits(struct insert_stream *stream, const struct served_table **table,
                         const char **who, const char **why, uint64_t *since_ns);
/* What does it hold of the insert pool, and since when? False: nothing. */
bool insert_stream_holds(const struct insert_stream *stream, const struct served_table **table,
                         const char **who, size_t *bytes, uint64_t *since_ns);

/* ---- sample_stream.c ---- */
void on_sample_start(struct rpc_call *call);
void on_sample_message(struct rpc_call *call, const ProtobufCMessage *message);
void on_sample_half_closed(struct rpc_call *call);
void on_sample_sent(struct rpc_call *call);
void on_sample_done(struct rpc_call *call);
bool sample_streams_advance(struct service *service);
void sample_streams_gathered(struct gather_job *job); /* posted by a gather thread */
struct sample_stream *sample_stream_next(const struct sample_stream *stream);
bool sample_stream_waits(const struct sample_stream *stream, const struct served_table **table,
                         const char **who, const char **why, uint64_t *since_ns);
/* What does it hold of the sample pool, and since when has nothing of it been sent? False:
 * nothing. */
bool sample_stream_holds(const struct sample_stream *stream, const struct served_table **table,
                         const char **who, size_t *bytes, uint64_t *since_ns);
size_t sample_streams_gathering(const struct service *service);
/* The lowest number of a response that is not gathered yet; UINT64_MAX: all are. */
uint64_t sample_streams_oldest(const struct service *service);
void sample_streams_check_idle(struct service *service, uint64_t now_ns);

#endif
