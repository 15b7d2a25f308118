/* One writer's connection to one server: a list of episodes in order of sequence, and the position
 * up to which they were sent.
 *
 *     first .. (sent, not acknowledged) .. next_to_send .. last
 *
 * Connecting asks the server for the last committed sequence, drops the episodes that it has,
 * and sends the rest from the beginning. An acknowledgement drops episodes from the front. Every
 * problem with a connection ends in disconnect(). Memory is bounded by replay_writer, which
 * waits before it adds an episode. */
#define LOG_MODULE "replay_link"
#include "common/clients/replay_link.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/clients/peer.h"
#include "common/clients/signature_wire.h"

#define CALL_TIMEOUT_MS  20000
#define CONNECT_SLICE_MS 100
#define BACKOFF_MIN_MS   50.0
#define BACKOFF_MAX_MS   1000.0
#define FINISH_MS        100
#define MESSAGES_AT_ONCE 64 /* between two checks for acknowledgements */
#define LOOK_EVERY_NS    (20 * NS_PER_MS)
#define ROWS_FIELD       15

/* The first 8 bytes of what the server keeps with an episode, in front of the caller's cursor:
 *
 *     bits 56..63  to how many servers the writer inserts; 0: an earlier version, which did not say
 *     bits 48..55  the place of this one among them, from 0
 *     bits  0..47  the number of the episode among those of the writer, over all servers, from 1 */
#define MARK_SIZE     8
#define COUNTER_BITS  48u
#define COUNTER_MASK  ((1ull << COUNTER_BITS) - 1)
#define SERVERS_SHIFT 56u
_Static_assert(CONFIG_LIST_MAX < 256, "a place among the servers has 8 bits");

/* An episode on its way. It lives until the server has stored it and gRPC has read it. */
struct outgoing {
    struct outgoing *next;
    atomic_int references; /* the link's own, and one for each payload that gRPC still reads */
    uint64_t sequence;
    uint64_t counter;
    struct episode_identity identity;
    uint32_t n_rows;
    size_t bytes;
    size_t cursor_size;
    /* What the server keeps with the episode: the mark, then the caller's cursor. */
    uint8_t cursor[MARK_SIZE + REPLAY_CURSOR_MAX];
    float rows[];
};

struct replay_link {
    const struct replay_link_settings *settings;
    struct signature signature;
    struct rpc_channel *channel;
    struct rpc_stream *stream; /* NULL: not connected */
    bool sending;              /* a message is on its way into gRPC */
    uint32_t place;
    bool asked_again; /* whether the table is sealed, after a refusal */
    /* Given by the server. A writer that opens later gets a higher one, which shuts this one
     * out. */
    uint64_t generation;
    /* Rows of a chunk, as the server wants them. */
    uint32_t chunk_rows;
    struct outgoing *first, *last;
    struct outgoing *next_to_send; /* NULL: all sent */
    uint32_t next_chunk;           /* of next_to_send */
    bool stream_opened;            /* the first message of the stream has been sent */
    uint64_t last_sequence;        /* of the episode added last */
    size_t unacknowledged_bytes;
    uint64_t received_ns;   /* last check for acknowledgements */
    uint64_t away_since_ns; /* 0: connected, or never tried */
    double backoff_ms;
    struct rng rng; /* for jitter */
    struct replay_writer_counts counts;
    struct replay_link_position position;
};

/* ---- Outgoing episodes ---- */

/* Drops one reference; gRPC calls it from its own threads. */
static void release(void *arg)
{
    struct outgoing *episode = arg;
    if (atomic_fetch_sub(&episode->references, 1) == 1) {
        mem_free(episode);
    }
}

/* Is the episode passed over? A sealed table takes nothing new, and a server commits a writer's episodes
 * in order: it has had all up to the last one. One of them may be gone (Delete), and the server would
 * refuse it. */
static bool passes(const struct replay_link *link, uint64_t counter)
{
    return link->position.sealed && link->position.same_place && counter <= link->position.counter;
}

status replay_link_add(struct replay_link *link, const struct episode *episode, uint64_t counter,
                       const void *cursor, size_t cursor_size, struct err *err)
{
    ASSERT(cursor_size <= REPLAY_CURSOR_MAX && counter <= COUNTER_MASK);
    if (passes(link, counter)) {
        link->counts.episodes++;
        link->counts.duplicates++;
        link->counts.transitions += episode->T;
        return STATUS_OK;
    }
    const uint32_t n_rows = episode->T + 1;
    const size_t bytes = (size_t)n_rows * episode->W * sizeof(float);
    /* Allocated without zeroing: the rows are overwritten below. The copy is needed, since the
     * episode may have to be sent again after a reconnect. */
    struct outgoing *out = mem_resize(NULL, 1, sizeof *out + bytes);
    if (out == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "an episode of %zu bytes", bytes);
    }
    *out = (struct outgoing){.sequence = ++link->last_sequence,
                             .counter = counter,
                             .identity = episode->identity,
                             .n_rows = n_rows,
                             .bytes = bytes};
    atomic_init(&out->references, 1);
    /* What the server has had comes again after a restart: its cursor must not go back meanwhile, for
     * the next start has to know how far it had come. */
    const struct replay_link_position *had = &link->position;
    if (had->same_place && counter < had->counter) {
        counter = had->counter;
        cursor = had->cursor;
        cursor_size = had->cursor_size;
    }
    /* The mark comes first in the cursor, where the next start finds it. */
    const uint64_t mark = (uint64_t)link->settings->n_servers << SERVERS_SHIFT |
                          (uint64_t)link->place << COUNTER_BITS | counter;
    memcpy(out->cursor, &mark, MARK_SIZE);
    if (cursor_size > 0) {
        memcpy(out->cursor + MARK_SIZE, cursor, cursor_size);
    }
    out->cursor_size = MARK_SIZE + cursor_size;
    memcpy(out->rows, episode->rows, bytes);
    /* To the end of the list. */
    if (link->last) {
        link->last->next = out;
    } else {
        link->first = out;
    }
    link->last = out;
    /* Everything before it was sent, so it is the next one. */
    if (link->next_to_send == NULL) {
        link->next_to_send = out;
        link->next_chunk = 0;
    }
    link->unacknowledged_bytes += bytes;
    return STATUS_OK;
}

/* Drops everything up to `sequence`, which the server has stored, and what it has had before. */
static void acknowledge(struct replay_link *link, uint64_t sequence)
{
    /* From the front: the server commits episodes in the order of their sequence. */
    while (link->first &&
           (link->first->sequence <= sequence || passes(link, link->first->counter))) {
        struct outgoing *out = link->first;
        /* An episode that was to be sent again, but had arrived, is passed over. */
        if (link->next_to_send == out) {
            link->next_to_send = out->next;
            link->next_chunk = 0;
        }
        link->first = out->next;
        if (link->first == NULL) {
            link->last = NULL;
        }
        /* Counted now, as only a stored episode is a result. */
        link->unacknowledged_bytes -= out->bytes;
        link->counts.episodes++;
        link->counts.transitions += out->n_rows - 1;
        link->counts.bytes += out->bytes;
        release(out);
    }
}

size_t replay_link_unacknowledged_bytes(const struct replay_link *link)
{
    return link->unacknowledged_bytes;
}

bool replay_link_sendable(const struct replay_link *link)
{
    return link->next_to_send != NULL || link->sending; /* or gRPC still takes a message */
}

/* ---- Connecting ---- */

/* The caller may be asked to stop while the server is away. */
static bool stopping(const struct replay_link *link)
{
    return link->settings->stopping && link->settings->stopping(link->settings->stopping_arg);
}

/* May a later attempt succeed where this one failed? */
static bool transient(status code)
{
    return code == STATUS_UNAVAILABLE || code == STATUS_TIMEOUT || code == STATUS_RETRY ||
           code == STATUS_QUEUE_FULL || code == STATUS_LIMIT || code == STATUS_CLOSED ||
           code == STATUS_NOT_FOUND || code == STATUS_IO || code == STATUS_INTERNAL ||
           code == STATUS_OK;
}

/* What the server has kept with the last episode; nothing where there is none. */
static void read_cursor(struct replay_link *link, const ProtobufCBinaryData *cursor)
{
    struct replay_link_position *position = &link->position;
    uint64_t mark = 0;
    position->cursor_size = 0;
    if (cursor->len > 0) {
        memcpy(&mark, cursor->data, MARK_SIZE);
        position->cursor_size = cursor->len - MARK_SIZE;
        memcpy(position->cursor, cursor->data + MARK_SIZE, position->cursor_size);
    }
    position->counter = mark & COUNTER_MASK;
    position->same_place = mark >> SERVERS_SHIFT == link->settings->n_servers &&
                           (mark >> COUNTER_BITS & 0xff) == link->place;
}

/* OpenInsert: takes over the writer and learns what the server has of it. */
static status open_writer(struct replay_link *link, struct err *err)
{
    /* Too large for a stack, and needed only until the request is packed. */
    struct signature_wire *wire = mem_new(sizeof *wire);
    if (wire == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "OpenInsert");
    }
    signature_wire_fill(wire, &link->signature);
    /* Who writes, to which table, and rows of which form. */
    Hindcast__OpenInsertRequest request = HINDCAST__OPEN_INSERT_REQUEST__INIT;
    request.table = (char *)link->settings->table;
    request.writer = (char *)link->settings->writer;
    request.generation = link->generation;
    request.signature = &wire->message;
    const struct rpc_call_options options = {.timeout_ms = CALL_TIMEOUT_MS};
    struct rpc_message message;
    status s = rpc_unary(link->channel, &hindcast__replay__descriptor, "OpenInsert", &request.base,
                         NULL, &options, &message, err);
    mem_free(wire);
    if (s != STATUS_OK) {
        return s;
    }
    /* What comes from a server is checked before it is used. */
    const Hindcast__OpenInsertResponse *response =
        (const Hindcast__OpenInsertResponse *)message.body;
    struct replay_link_position *position = &link->position;
    if (response->chunk_rows == 0 || response->cursor.len > MARK_SIZE + REPLAY_CURSOR_MAX ||
        (response->cursor.len > 0 && response->cursor.len < MARK_SIZE)) {
        s = err_set(err, STATUS_INVALID, "%s: OpenInsert: chunk_rows %u, cursor of %zu bytes",
                    rpc_channel_address(link->channel), response->chunk_rows, response->cursor.len);
    } else {
        /* From here on the server takes nothing from an older generation. */
        link->generation = response->generation;
        link->chunk_rows = response->chunk_rows;
        /* Where an earlier process of this writer had come to. */
        position->sealed = response->sealed;
        read_cursor(link, &response->cursor);
        /* Acknowledgements of the last connection that were lost on their way. */
        acknowledge(link, response->last_sequence);
        /* This process is new: it goes on counting where the last one ended. */
        if (response->last_sequence > link->last_sequence) {
            link->last_sequence = response->last_sequence;
        }
    }
    rpc_message_free(&message);
    return s;
}

/* OpenInsert, then a new stream that starts with the first unacknowledged episode. */
static status connect_once(struct replay_link *link, struct err *err)
{
    /* A short wait, so that the caller can ask whether to stop. */
    status s = rpc_channel_wait(link->channel, CONNECT_SLICE_MS);
    if (s != STATUS_OK) {
        return rpc_address_unreachable(rpc_channel_address(link->channel), err);
    }
    s = open_writer(link, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = rpc_stream_open(&link->stream, link->channel, &hindcast__replay__descriptor, "Insert",
                        RPC_BIDI, NULL, err);
    /* Everything that is not acknowledged is sent again, from the first chunk on. */
    link->stream_opened = false;
    link->next_to_send = link->first;
    link->next_chunk = 0;
    return s;
}

/* Connects. Where that fails for a reason that may pass, sleeps for the backoff and returns OK, so
 * that the caller tries again; UNAVAILABLE after connect_timeout_ms. */
static status connect_or_wait(struct replay_link *link, struct err *err)
{
    const uint64_t now_ns = clock_now_ns();
    /* The first attempt since the connection was lost. */
    if (link->away_since_ns == 0) {
        link->away_since_ns = now_ns;
        link->backoff_ms = BACKOFF_MIN_MS;
    }
    struct err why = {0};
    status s = connect_once(link, &why);
    if (s == STATUS_OK) {
        link->away_since_ns = 0;
        return STATUS_OK;
    }
    /* A refusal comes again, however long one waits. */
    if (!transient(s)) {
        link->away_since_ns = 0;
        return err_set(err, s, "%s", why.text);
    }
    /* The server is away for too long. */
    if (now_ns - link->away_since_ns > link->settings->connect_timeout_ms * NS_PER_MS) {
        link->away_since_ns = 0;
        return err_set(err, STATUS_UNAVAILABLE, "%s", why.text);
    }
    /* Half of the backoff to all of it, so that writers do not come back all at once. */
    clock_sleep_ms((unsigned)(link->backoff_ms * (0.5 + 0.5 * rng_uniform(&link->rng))));
    link->backoff_ms =
        link->backoff_ms * 2 < BACKOFF_MAX_MS ? link->backoff_ms * 2 : BACKOFF_MAX_MS;
    return STATUS_OK;
}

/* Ends the stream. OK where trying again makes sense, else the server's refusal. */
static status disconnect(struct replay_link *link, struct err *err)
{
    struct err why = {0};
    /* Why the server ended the stream, if it did. */
    status s = rpc_stream_finish(link->stream, FINISH_MS, &why);
    link->stream = NULL;
    link->sending = false;
    link->counts.reconnects++;
    /* Another writer may have sealed the table since this one was opened: OpenInsert says so, and then
     * some of what is to be sent need not be. */
    const bool ask = s == STATUS_MISMATCH && !link->position.sealed && !link->asked_again;
    link->asked_again = link->asked_again || ask;
    if (!transient(s) && !ask) {
        return err_set(err, s, "%s", why.text);
    }
    log_info("the connection was lost; reconnecting reason=%s", why.text);
    /* A server that accepts the stream and ends it at once must not make us spin. */
    clock_sleep_ms((unsigned)(BACKOFF_MIN_MS * rng_uniform(&link->rng)));
    return STATUS_OK;
}

/* ---- Sending and receiving ---- */

/* Hands the next chunk to gRPC. */
static status start_chunk(struct replay_link *link)
{
    struct outgoing *out = link->next_to_send;
    Hindcast__InsertRequest request = HINDCAST__INSERT_REQUEST__INIT;
    Hindcast__Identity identity = HINDCAST__IDENTITY__INIT;
    /* Which rows of the episode this chunk has. */
    const uint32_t begin = link->next_chunk * link->chunk_rows;
    const uint32_t rest = out->n_rows - begin;
    const uint32_t n = rest < link->chunk_rows ? rest : link->chunk_rows;
    const size_t row_bytes = out->bytes / out->n_rows;
    /* The first message of a stream says who writes. */
    if (!link->stream_opened) {
        request.table = (char *)link->settings->table;
        request.writer = (char *)link->settings->writer;
        request.generation = link->generation;
    }
    request.sequence = out->sequence;
    request.chunk = link->next_chunk;
    request.last_chunk = n == rest;
    /* The first chunk describes the whole episode. */
    if (link->next_chunk == 0) {
        identity.source = out->identity.source;
        identity.shard = out->identity.shard;
        identity.episode = out->identity.episode;
        identity.relabel = out->identity.relabel;
        request.identity = &identity;
        request.n_rows = out->n_rows;
        request.restored = link->settings->restored;
        request.cursor.data = out->cursor;
        request.cursor.len = out->cursor_size;
    }
    /* gRPC reads the rows in place and calls release() when it has. */
    atomic_fetch_add(&out->references, 1);
    const struct rpc_payload payload = {.field = ROWS_FIELD,
                                        .bytes = (const uint8_t *)out->rows + begin * row_bytes,
                                        .size = n * row_bytes,
                                        .release = release,
                                        .arg = out};
    /* Where gRPC refuses the message, it releases the payload, too. */
    status s = rpc_stream_send_start(link->stream, &request.base, &payload);
    if (s == STATUS_OK) {
        link->sending = true;
        link->stream_opened = true;
        link->next_chunk++;
        if (n == rest) {
            link->next_to_send = out->next;
            link->next_chunk = 0;
        }
    }
    return s;
}

/* Takes the acknowledgements that have arrived, waiting up to `wait_ms` for the first. CLOSED: the
 * stream has ended. A check that finds nothing costs about a millisecond (gRPC's timers are that
 * coarse), so without need there is one only every LOOK_EVERY_NS. */
static status receive(struct replay_link *link, uint64_t wait_ms, bool needed)
{
    /* The last look was a moment ago, and looking costs time. */
    const uint64_t now_ns = clock_now_ns();
    if (wait_ms == 0 && !needed && now_ns - link->received_ns < LOOK_EVERY_NS) {
        return STATUS_OK;
    }
    link->received_ns = now_ns;
    struct rpc_message message;
    status s;
    /* Without a wait, everything that has arrived is taken; with one, a single message. */
    while ((s = rpc_stream_recv(link->stream, &message, wait_ms)) == STATUS_OK) {
        const Hindcast__InsertResponse *response = (const Hindcast__InsertResponse *)message.body;
        link->counts.duplicates += response->n_duplicates;
        acknowledge(link, response->sequence);
        rpc_message_free(&message);
        if (wait_ms > 0) {
            break; /* the caller checks whether that was enough */
        }
    }
    return s == STATUS_TIMEOUT ? STATUS_OK : s;
}

/* Sends as many chunks as gRPC takes without waiting longer than `wait_ms` for each. TIMEOUT:
 * one is stuck. */
static status send_some(struct replay_link *link, uint64_t wait_ms)
{
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < MESSAGES_AT_ONCE; i++) {
        /* A message that gRPC did not take at once is waited for before the next one is begun. */
        if (!link->sending) {
            if (link->next_to_send == NULL) {
                break;
            }
            s = start_chunk(link);
        }
        if (s == STATUS_OK) {
            s = rpc_stream_send_wait(link->stream, wait_ms);
            link->sending = s == STATUS_TIMEOUT;
        }
    }
    return s;
}

status replay_link_pump(struct replay_link *link, uint64_t send_ms, uint64_t receive_ms,
                        struct err *err)
{
    /* One round: connect where needed, send, then look for acknowledgements. */
    if (stopping(link)) {
        return err_set(err, STATUS_CLOSED, "stopping");
    }
    if (link->stream == NULL) {
        return link->first ? connect_or_wait(link, err) : STATUS_OK;
    }
    status s = send_some(link, send_ms);
    const bool stuck = s == STATUS_TIMEOUT;
    if (s == STATUS_OK || stuck) {
        /* When a message is stuck we have waited already; acknowledgements may free it. */
        s = receive(link, stuck || link->next_to_send ? 0 : receive_ms, stuck);
    }
    return s == STATUS_OK ? STATUS_OK : disconnect(link, err);
}

/* ---- Sealing ---- */

status replay_link_seal(struct replay_link *link, uint32_t n_writers, bool *sealed, struct err *err)
{
    ASSERT(link->first == NULL); /* everything is acknowledged */
    const uint64_t start_ns = clock_now_ns();
    /* The request is the same for every attempt, except for the generation. */
    Hindcast__SealRequest request = HINDCAST__SEAL_REQUEST__INIT;
    request.table = (char *)link->settings->table;
    request.writer = (char *)link->settings->writer;
    request.n_writers = n_writers;
    const struct rpc_call_options options = {.timeout_ms = CALL_TIMEOUT_MS};
    for (;;) {
        request.generation = link->generation;
        struct rpc_message message;
        status s = rpc_unary(link->channel, &hindcast__replay__descriptor, "Seal", &request.base,
                             NULL, &options, &message, err);
        if (s == STATUS_OK) {
            *sealed = ((const Hindcast__SealResponse *)message.body)->sealed;
            rpc_message_free(&message);
            return STATUS_OK;
        }
        /* Not sealed yet: is it worth another attempt? */
        if (stopping(link)) {
            return err_set(err, STATUS_CLOSED, "stopping");
        }
        if (!transient(s) ||
            clock_now_ns() - start_ns > link->settings->connect_timeout_ms * NS_PER_MS) {
            return s;
        }
        clock_sleep_ms(CONNECT_SLICE_MS);
    }
}

/* ---- Asking ---- */

/* One Info call. */
static status ask_room(struct replay_link *link, struct replay_writer_room *room, struct err *err)
{
    Hindcast__InfoRequest request = HINDCAST__INFO_REQUEST__INIT;
    request.table = (char *)link->settings->table;
    const struct rpc_call_options options = {.timeout_ms = CALL_TIMEOUT_MS};
    struct rpc_message message;
    status s = rpc_unary(link->channel, &hindcast__replay__descriptor, "Info", &request.base, NULL,
                         &options, &message, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Room of the one table that was asked for. */
    const Hindcast__InfoResponse *info = (const Hindcast__InfoResponse *)message.body;
    if (info->n_tables != 1) {
        s = err_set(err, STATUS_NOT_FOUND, "%s: has no table %s",
                    rpc_channel_address(link->channel), link->settings->table);
    } else {
        const Hindcast__TableInfo *table = info->tables[0];
        *room = (struct replay_writer_room){.episodes = table->episodes,
                                            .transitions = table->transitions,
                                            .bytes = table->bytes,
                                            .transitions_limit = table->transitions_limit,
                                            .bytes_limit = table->bytes_limit,
                                            .episodes_removed = table->episodes_removed};
    }
    rpc_message_free(&message);
    return s;
}

/* Asks again while the server is away, as for sealing. */
status replay_link_room(struct replay_link *link, struct replay_writer_room *room, struct err *err)
{
    const uint64_t start_ns = clock_now_ns();
    for (;;) {
        const status s = ask_room(link, room, err);
        if (s == STATUS_OK) {
            return s;
        }
        if (stopping(link)) {
            return err_set(err, STATUS_CLOSED, "stopping");
        }
        if (!transient(s) ||
            clock_now_ns() - start_ns > link->settings->connect_timeout_ms * NS_PER_MS) {
            return s;
        }
        clock_sleep_ms(CONNECT_SLICE_MS);
    }
}

/* ---- Opening and closing ---- */

status replay_link_open(struct replay_link **out, const struct experiment *experiment,
                        uint32_t place, const struct signature *signature,
                        const struct replay_link_settings *settings,
                        struct replay_link_position *position, struct err *err)
{
    const char *address = experiment->replay.items[place];
    struct replay_link *link = mem_new(sizeof *link);
    if (link == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", address);
    }
    link->settings = settings;
    link->place = place;
    link->signature = *signature;
    /* The seed is the time, so two processes of one writer differ. */
    rng_init(&link->rng, clock_wall_ns(), settings->writer, 0);
    status s = peer_channel_open(&link->channel, address, experiment, 0, err);
    if (s != STATUS_OK) {
        mem_free(link);
        return s;
    }
    /* connect_or_wait returns OK after a pause, too; the stream tells whether it has connected. */
    while (s == STATUS_OK && link->stream == NULL) {
        s = stopping(link) ? err_set(err, STATUS_CLOSED, "stopping") : connect_or_wait(link, err);
    }
    if (s != STATUS_OK) {
        replay_link_close(link);
        return s;
    }
    /* As OpenInsert said it. */
    *position = link->position;
    *out = link;
    return STATUS_OK;
}

void replay_link_close(struct replay_link *link)
{
    if (link == NULL) {
        return;
    }
    if (link->stream) {
        /* Unacknowledged episodes are not waited for: replay_writer_flush does that. */
        if (link->first) {
            rpc_stream_cancel(link->stream);
        }
        struct err err;
        if (rpc_stream_finish(link->stream, FINISH_MS, &err) != STATUS_OK) {
            log_debug("at close: %s", err.text);
        }
    }
    rpc_channel_close(link->channel);
    /* The link's own holds. Where gRPC still reads an episode, its hold is the last one. */
    while (link->first) {
        struct outgoing *next = link->first->next;
        release(link->first);
        link->first = next;
    }
    mem_free(link);
}

/* Adds to what is there: a writer sums over its links. */
void replay_link_counts(const struct replay_link *link, struct replay_writer_counts *counts)
{
    counts->episodes += link->counts.episodes;
    counts->transitions += link->counts.transitions;
    counts->duplicates += link->counts.duplicates;
    counts->bytes += link->counts.bytes;
    counts->reconnects += link->counts.reconnects;
}
