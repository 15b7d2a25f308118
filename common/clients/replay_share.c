/* The thread that samples from one server.
 *
 * Its loop does one of four things: connect; grant credit for batches that have a slot in the ring;
 * wait for the ring when all granted batches have arrived; receive. Every problem with a connection
 * ends in disconnect(), which reconnects with backoff and asks for the batch that comes next: a
 * batch is a function of (seed, number), so nothing is lost or repeated by a reconnect. */
#define LOG_MODULE "replay_share"
#include "common/clients/replay_share.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/clients/signature_wire.h"

#define SLICE_MS       100u /* how often `stop` is checked while waiting */
#define SEND_MS        10000u
#define FINISH_MS      100u
#define INFO_MS        2000u
#define ASK_AFTER_NS   (2 * NS_PER_S) /* without a batch: ask the server what it is waiting for */
#define BACKOFF_MIN_MS 50.0
#define BACKOFF_MAX_MS 1000.0
#define PACK_BYTES     (256u << 10) /* small batches share a message up to this size */
#define ROWS_FIELD     15

struct replay_share {
    struct replay_share_settings settings;
    /* The signature as a message; requests point into it, so it lives as long as the share. */
    struct signature_wire wire;
    size_t part_bytes; /* rows of one batch's part */
    pthread_t thread;
    atomic_bool stop;
    _Atomic uint64_t away_since_ns; /* 0: the server is there */
    pthread_mutex_t lock;           /* guards why */
    char why[1024];                 /* why no batch comes; empty: they come */
    /* Used by the thread only: */
    struct rpc_stream *stream; /* NULL: not connected */
    bool opened;               /* the first request has been sent */
    uint64_t next;             /* batch that comes next */
    uint64_t granted;          /* one past the last batch that was asked for */
    uint64_t heard_ns;         /* last batch, or last call of ask_why */
    double backoff_ms;
    struct rng rng;
};

/* Records why no batch comes. */
static void say(struct replay_share *share, const char *text)
{
    pthread_mutex_lock(&share->lock);
    snprintf(share->why, sizeof share->why, "%s", text);
    pthread_mutex_unlock(&share->lock);
}

/* On the caller's thread, hence the lock. */
void replay_share_waits(struct replay_share *share, char *text, size_t size)
{
    pthread_mutex_lock(&share->lock);
    snprintf(text, size, "%s", share->why);
    pthread_mutex_unlock(&share->lock);
}

/* ---- Connecting ---- */

uint64_t replay_share_away_ns(const struct replay_share *share)
{
    const uint64_t since_ns = atomic_load(&share->away_since_ns);
    return since_ns ? clock_now_ns() - since_ns : 0;
}

/* The server cannot be reached, for this reason. Told once, until it is back. */
static void note_away(struct replay_share *share, const char *reason)
{
    if (atomic_load(&share->away_since_ns) == 0) {
        atomic_store(&share->away_since_ns, clock_now_ns());
        log_warn("sampling was interrupted and will be resumed batch=%" PRIu64 " reason=%s",
                 share->next, reason);
    }
}

/* May a later attempt succeed where this one failed? */
static bool transient(status code)
{
    return code == STATUS_UNAVAILABLE || code == STATUS_TIMEOUT || code == STATUS_RETRY ||
           code == STATUS_QUEUE_FULL || code == STATUS_LIMIT || code == STATUS_CLOSED ||
           code == STATUS_NOT_FOUND || code == STATUS_IO || code == STATUS_INTERNAL ||
           code == STATUS_FULL || code == STATUS_OK;
}

/* Sleeps for half to all of the backoff, then doubles it. */
static void back_off(struct replay_share *share)
{
    /* Random, so that the clients of a server that was away do not come back all at once. */
    clock_sleep_ms((unsigned)(share->backoff_ms * (0.5 + 0.5 * rng_uniform(&share->rng))));
    share->backoff_ms =
        share->backoff_ms * 2 < BACKOFF_MAX_MS ? share->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* One attempt to open the stream. A failure is recorded, not returned: the loop tries again. */
static void connect_once(struct replay_share *share)
{
    struct err err = {0};
    /* A server that is away is the most common case, and has its own text. */
    status s = rpc_channel_wait(share->settings.channel, SLICE_MS);
    if (s == STATUS_OK) {
        const struct rpc_call_options options = {.payload_field = ROWS_FIELD};
        s = rpc_stream_open(&share->stream, share->settings.channel, &hindcast__replay__descriptor,
                            "Sample", RPC_BIDI, &options, &err);
    } else {
        rpc_address_unreachable(rpc_channel_address(share->settings.channel), &err);
    }
    /* Status lines show the reason until batches come. */
    if (s != STATUS_OK) {
        note_away(share, err.text);
        say(share, err.text);
        back_off(share);
        return;
    }
    if (atomic_exchange(&share->away_since_ns, 0) != 0) {
        log_info("sampling is resumed batch=%" PRIu64 " server=%s", share->next,
                 rpc_channel_address(share->settings.channel));
    }
    /* What was granted on an earlier stream is void; batches are asked for again from `next`. */
    share->opened = false;
    share->granted = share->next;
    share->heard_ns = clock_now_ns();
}

/* Ends the stream. False: sampling cannot go on, and the ring has the error. */
static bool disconnect(struct replay_share *share)
{
    struct err err = {0};
    status s = rpc_stream_finish(share->stream, FINISH_MS, &err);
    share->stream = NULL;
    /* A stream that we cancelled has nothing to say. */
    if (atomic_load(&share->stop)) {
        return true;
    }
    /* An end without an error is unexpected, too: nobody has asked for it. */
    if (s == STATUS_OK) {
        err_set(&err, STATUS_UNAVAILABLE, "%s: the stream ended",
                rpc_channel_address(share->settings.channel));
    }
    /* A refusal comes again on every stream, so the caller hears of it. */
    if (!transient(s)) {
        replay_ring_fail(share->settings.ring, &err);
        return false;
    }
    note_away(share, err.text);
    say(share, err.text);
    back_off(share);
    return true;
}

/* ---- Batches ---- */

/* Grants credit for every batch that has a slot in the ring. CLOSED: the stream has ended. */
static status grant(struct replay_share *share)
{
    const struct replay_share_settings *set = &share->settings;
    /* Credit is what the window has grown by since the last request. */
    const uint64_t end = replay_ring_window_end(set->ring);
    if (end <= share->granted) {
        return STATUS_OK;
    }
    Hindcast__SampleRequest request = HINDCAST__SAMPLE_REQUEST__INIT;
    request.credit = end - share->granted;
    /* The first message of a stream also says what is sampled. */
    if (!share->opened) {
        request.table = (char *)set->table;
        request.signature = &share->wire.message;
        request.batch_snippets = set->B;
        request.snippet_transitions = set->N;
        request.seed = set->seed;
        request.first_batch = share->next;
        request.slice_begin = set->begin;
        request.slice_count = set->count;
        request.require_sealed = set->require_sealed;
        request.in_order = set->in_order;
        request.origins = set->origins;
        const size_t pack = PACK_BYTES / share->part_bytes;
        request.batches_per_response = pack > 1 ? (uint32_t)pack : 1;
    }
    /* After a failure the stream is over, whatever the reason; disconnect asks for it. */
    status s = rpc_stream_send(share->stream, &request.base, NULL, SEND_MS);
    if (s == STATUS_OK) {
        share->opened = true;
        share->granted = end;
    }
    return s == STATUS_OK ? s : STATUS_CLOSED;
}

/* Is the response what was asked for? Everything that deliver() relies on is checked here; the
 * server is another process and may be another version. INVALID. */
static status check_response(const struct replay_share *share,
                             const Hindcast__SampleResponse *response,
                             const struct rpc_pieces *rows, struct err *err)
{
    const struct replay_share_settings *set = &share->settings;
    const char *address = rpc_channel_address(set->channel);
    /* The batches must be the next ones, and no more than were asked for. */
    if (response->first_batch != share->next || response->n_batches < 1 ||
        response->n_batches > share->granted - share->next) {
        return err_set(err, STATUS_INVALID,
                       "%s: batches %" PRIu64 " + %u: expected %" PRIu64 " + at most %" PRIu64,
                       address, response->first_batch, response->n_batches, share->next,
                       share->granted - share->next);
    }
    /* Every snippet has a length, and the rows have exactly the size of these batches. */
    const size_t n = (size_t)response->n_batches * set->count;
    if (response->n_n_valid != n || rows->size != response->n_batches * share->part_bytes) {
        return err_set(err, STATUS_INVALID, "%s: %zu snippets in %zu bytes: expected %zu in %zu",
                       address, response->n_n_valid, rows->size, n,
                       response->n_batches * share->part_bytes);
    }
    /* Either all snippets have a probability, or none has. */
    if (response->n_probability != 0 &&
        (response->n_probability != n || response->n_episode_id != n ||
         response->n_first_row != n)) {
        return err_set(err, STATUS_INVALID,
                       "%s: %zu probabilities, %zu episodes, %zu first rows: expected %zu", address,
                       response->n_probability, response->n_episode_id, response->n_first_row, n);
    }
    /* A server of an earlier version knows neither in_order nor origins. */
    const bool counted = response->table_transitions > 0 || set->in_order;
    if (set->origins && (response->n_probability == 0 || !counted)) {
        return err_set(err, STATUS_UNIMPLEMENTED, "%s: does not %s", address,
                       set->in_order ? "send transitions in order"
                                     : "say where snippets come from; use a newer server");
    }
    /* Weights are made of probabilities. */
    for (size_t i = 0; set->origins && i < n; i++) {
        if (!(response->probability[i] > 0 && isfinite(response->probability[i]))) {
            return err_set(err, STATUS_INVALID, "%s: probability %g: expected above 0", address,
                           response->probability[i]);
        }
    }
    /* A longer snippet would be read beyond its rows. */
    for (size_t i = 0; i < n; i++) {
        if (response->n_valid[i] < 1 || response->n_valid[i] > set->N) {
            return err_set(err, STATUS_INVALID, "%s: n_valid %u: expected 1..%u", address,
                           response->n_valid[i], set->N);
        }
    }
    return STATUS_OK;
}

/* Where the snippets of one batch come from, of those of a response from `from` on. */
static void deliver_origins(const struct replay_share *share, const struct replay_origins *origins,
                            const Hindcast__SampleResponse *response, size_t from)
{
    const struct replay_share_settings *set = &share->settings;
    memcpy(origins->episode_id + set->at, response->episode_id + from,
           set->count * sizeof *origins->episode_id);
    memcpy(origins->first_row + set->at, response->first_row + from,
           set->count * sizeof *origins->first_row);
    /* Batches are dealt out in proportion to transitions, so that what is even within each server is
     * even over all of them. */
    const double n = (double)response->table_transitions;
    for (uint32_t i = 0; i < set->count; i++) {
        origins->server[set->at + i] = set->server;
        origins->ratio[set->at + i] = n * response->probability[from + i];
    }
}

/* Copies a checked response into this server's part of each of its batches. */
static void deliver(struct replay_share *share, const Hindcast__SampleResponse *response,
                    const struct rpc_pieces *rows)
{
    const struct replay_share_settings *set = &share->settings;
    /* Floats of one snippet, with all its rows. */
    const size_t row_floats = share->part_bytes / sizeof(float) / set->count;
    /* Batch by batch, each into its slot of the ring. */
    for (uint32_t b = 0; b < response->n_batches; b++) {
        struct replay_batch *batch = replay_ring_begin_part(set->ring, share->next);
        /* Where the snippets of this batch begin in the response. */
        const size_t from = (size_t)b * set->count;
        const bool copied = rpc_pieces_copy(rows, batch->rows + set->at * row_floats,
                                            b * share->part_bytes, share->part_bytes);
        ASSERT(copied);
        memcpy(batch->n_valid + set->at, response->n_valid + from,
               set->count * sizeof *batch->n_valid);
        if (batch->origins) {
            deliver_origins(share, batch->origins, response, from);
        }
        replay_ring_end_part(set->ring, batch, set->part, response->table_version);
        share->next++;
    }
}

/* Asks the server why no batch comes, for status lines. */
static void ask_why(struct replay_share *share)
{
    Hindcast__InfoRequest request = HINDCAST__INFO_REQUEST__INIT;
    request.table = (char *)share->settings.table;
    const struct rpc_call_options options = {.timeout_ms = INFO_MS};
    struct rpc_message message;
    struct err err;
    /* One question for each time of silence, whatever the answer is. */
    share->heard_ns = clock_now_ns();
    if (rpc_unary(share->settings.channel, &hindcast__replay__descriptor, "Info", &request.base,
                  NULL, &options, &message, &err) != STATUS_OK) {
        say(share, err.text);
        return;
    }
    /* The reason that the server gives for those who wait to sample. */
    const Hindcast__InfoResponse *info = (const Hindcast__InfoResponse *)message.body;
    for (size_t i = 0; info->n_tables == 1 && i < info->tables[0]->n_waiters; i++) {
        const Hindcast__Waiter *waiter = info->tables[0]->waiters[i];
        if (strcmp(waiter->what, "sample") == 0) {
            char text[256];
            snprintf(text, sizeof text, "%s: %s", rpc_channel_address(share->settings.channel),
                     waiter->why);
            say(share, text);
            break;
        }
    }
    rpc_message_free(&message);
}

/* Receives one response, or waits for SLICE_MS. False: sampling cannot go on. */
static bool receive(struct replay_share *share)
{
    struct rpc_message message;
    /* A short wait, so that `stop` is noticed. */
    status s = rpc_stream_recv(share->stream, &message, SLICE_MS);
    if (s == STATUS_TIMEOUT) {
        if (clock_now_ns() - share->heard_ns > ASK_AFTER_NS) {
            ask_why(share);
        }
        return true;
    }
    /* The stream has ended. */
    if (s != STATUS_OK) {
        return disconnect(share);
    }
    /* Nothing of a response is used before all of it is checked. */
    const Hindcast__SampleResponse *response = (const Hindcast__SampleResponse *)message.body;
    struct err err;
    s = check_response(share, response, &message.payload, &err);
    if (s == STATUS_OK) {
        deliver(share, response, &message.payload);
        share->heard_ns = clock_now_ns();
        /* Batches come: forget the backoff and the reason for waiting. */
        if (share->backoff_ms > BACKOFF_MIN_MS || share->why[0]) {
            share->backoff_ms = BACKOFF_MIN_MS;
            say(share, "");
        }
    } else {
        /* A response that is wrong will be wrong again, so this is final. */
        replay_ring_fail(share->settings.ring, &err);
    }
    rpc_message_free(&message);
    return s == STATUS_OK;
}

/* The thread's loop, until it is stopped or sampling has failed for good. */
static void *run(void *arg)
{
    struct replay_share *share = arg;
    pthread_setname_np(pthread_self(), "replay-sample");
    /* Each turn does the first thing that can be done. */
    bool more = true;
    while (more && !atomic_load(&share->stop)) {
        if (share->stream == NULL) {
            connect_once(share);
        } else if (grant(share) != STATUS_OK) {
            more = disconnect(share);
        } else if (share->granted == share->next) {
            /* All granted batches have arrived: wait until the caller returns one. */
            (void)replay_ring_wait_window(share->settings.ring, share->granted, SLICE_MS);
        } else {
            more = receive(share);
        }
    }
    /* Stopped, or failed for good. */
    if (share->stream) {
        rpc_stream_cancel(share->stream);
        (void)disconnect(share);
    }
    return NULL;
}

/* ---- Opening and closing ---- */

status replay_share_open(struct replay_share **out, const struct replay_share_settings *settings,
                         struct err *err)
{
    struct replay_share *share = mem_new(sizeof *share);
    if (share == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "replay sampler");
    }
    ASSERT(settings->count >= 1);
    /* Everything that the thread reads is set before it starts. */
    share->settings = *settings;
    share->part_bytes = (size_t)settings->count * (settings->N + 1) *
                        signature_width(settings->signature) * sizeof(float);
    /* The ring knows where the caller goes on. */
    share->next = replay_ring_next_number(settings->ring);
    share->backoff_ms = BACKOFF_MIN_MS;
    rng_init(&share->rng, clock_wall_ns(), "replay_share", settings->part);
    signature_wire_fill(&share->wire, settings->signature);
    pthread_mutex_init(&share->lock, NULL);
    int rc = pthread_create(&share->thread, NULL, run, share);
    if (rc != 0) {
        pthread_mutex_destroy(&share->lock);
        mem_free(share);
        return err_errno(err, rc, "replay sampler: thread");
    }
    *out = share;
    return STATUS_OK;
}

void replay_share_close(struct replay_share *share)
{
    /* The thread looks at `stop` between short waits. */
    if (share) {
        atomic_store(&share->stop, true);
        pthread_join(share->thread, NULL);
        pthread_mutex_destroy(&share->lock);
        mem_free(share);
    }
}
