/* The exchange over gRPC at ranks other than 0. See exchange.h.
 *
 * There is one Join stream, used by the training thread alone. On it this rank sends Join, then its
 * sums, step by step; rank 0 answers with Start and the state, then the totals. A stream that ends
 * is opened again after a pause that grows, and rank 0 sends from where to go on. Only a refusal is
 * final: other terms, another run, parameters that differ. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/clients/peer.h"
#include "learner/exchange/exchange_kind.h"
#include "proto/exchange.pb-c.h"

#define LOG_MODULE "exchange"
#include "common/base/log.h"

#define SEND_TIMEOUT_MS  30000
#define BLOCK_TIMEOUT_MS 60000 /* for one block of the state */
#define FINISH_MS        1000
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS   2000
#define WAITS_PERIOD_MS  1000 /* between messages that say what this rank waits for */

struct client {
    struct exchange base;
    struct rpc_channel *channel;
    char *terms;
    /* How this process is named in texts of rank 0. */
    char who[128];
    /* Tells this process from an earlier one with the same rank. */
    uint64_t incarnation;
    /* Makes the state for the signature in Start. */
    exchange_make *make;
    void *make_arg;
    size_t n_scalars;
    struct rng rng;

    struct rpc_stream *stream; /* NULL: to be opened */
    /* When the next stream may be opened, and how long the next pause is. */
    uint64_t backoff_ms, retry_ns;
    char said[EXCHANGE_TEXT_SIZE]; /* why the last stream ended */
    bool in;                       /* Start and state were received on this stream */
    bool sent;                     /* the sums of this step were sent, the total is awaited */
    uint64_t waits_ns;             /* when rank 0 was last told that this rank waits */
    /* Of the group that this rank was in last; rank 0 never goes below it. */
    uint64_t generation;
    char run_id[64];
    struct exchange_buffer *sums; /* what is sent */
};

/* ---- Streams ---- */

/* Finishes a stream that has ended, or cancels it because of `why`. Returns a final status as it
 * is, and GROUP_BROKEN for everything else: then client_form opens a new stream after a pause. */
static status end_stream(struct client *client, struct err *why, struct err *err)
{
    struct err said = {0};
    /* A stream that rank 0 has ended is not cancelled: its own status is the reason. */
    if (why != NULL) {
        rpc_stream_cancel(client->stream);
    }
    status s = rpc_stream_finish(client->stream, FINISH_MS, &said);
    client->stream = NULL;
    client->in = false;
    client->sent = false;
    /* A reason of our own goes before what the cancelled stream says. */
    if (why != NULL) {
        said = *why;
        s = why->code;
    }
    snprintf(client->said, sizeof client->said, "%.*s", EXCHANGE_TEXT_SIZE - 1,
             said.text[0] ? said.text : "no answer");
    if (s == STATUS_MISMATCH || s == STATUS_INVALID || s == STATUS_CORRUPT || s == STATUS_DENIED ||
        s == STATUS_UNIMPLEMENTED || s == STATUS_NO_MEMORY) {
        return err_set(err, s, "%s", said.text);
    }
    /* The pause is random, so that ranks that lost rank 0 together do not come back together. */
    const uint64_t pause_ms = client->backoff_ms / 2 + rng_below(&client->rng, client->backoff_ms);
    client->retry_ns = clock_now_ns() + pause_ms * NS_PER_MS;
    client->backoff_ms =
        client->backoff_ms * 2 < BACKOFF_MAX_MS ? client->backoff_ms * 2 : BACKOFF_MAX_MS;
    /* Not a warning: rank 0 logs the loss of a rank as one, and names the reason. */
    log_info("out of the group generation=%" PRIu64 ": %s", client->generation, client->said);
    return err_set(err, STATUS_GROUP_BROKEN, "%s", client->said);
}

/* Opens the stream and sends Join. The answer, Start, comes when all ranks have joined. */
static status join(struct client *client, struct err *err)
{
    /* Calls wait for rank 0's process, so that ranks may be started in any order. */
    const struct rpc_call_options options = {.wait_for_ready = true,
                                             .payload_field = EXCHANGE_PAYLOAD};
    status s = rpc_stream_open(&client->stream, client->channel, &hindcast__exchange__descriptor,
                               "Join", RPC_BIDI, &options, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* What rank 0 checks: this rank's place, its process, its run if it has one, its terms. */
    Hindcast__RankMessage__Join body = HINDCAST__RANK_MESSAGE__JOIN__INIT;
    body.rank = client->base.rank;
    body.ranks = client->base.ranks;
    body.incarnation = client->incarnation;
    body.run_id = client->run_id;
    body.generation = client->generation;
    body.terms = client->terms;
    body.who = client->who;
    Hindcast__RankMessage message = HINDCAST__RANK_MESSAGE__INIT;
    message.join = &body;
    /* Does not wait: the message leaves when rank 0 can be reached, and receive() tells. */
    s = rpc_stream_send_start(client->stream, &message.base, NULL);
    return s == STATUS_OK ? s : end_stream(client, NULL, err);
}

/* The next message within `timeout_ms`: OK, TIMEOUT, CLOSED after End, or what end_stream
 * returns. */
static status receive(struct client *client, struct rpc_message *message, uint64_t timeout_ms,
                      struct err *err)
{
    /* A timeout leaves the stream open; everything else but a message ends it. */
    *message = (struct rpc_message){0};
    status s = rpc_stream_recv(client->stream, message, timeout_ms);
    if (s == STATUS_TIMEOUT) {
        return s;
    }
    if (s != STATUS_OK) {
        return end_stream(client, NULL, err);
    }
    /* End may take the place of any other message. */
    client->base.counts.received_bytes += message->payload.size;
    const Hindcast__GroupMessage *body = (const void *)message->body;
    if (body->end == NULL) {
        return STATUS_OK;
    }
    /* Kept for exchange_end_of, since the message is freed here. */
    client->base.end_of.finished = body->end->finished;
    snprintf(client->base.end_of.reason, sizeof client->base.end_of.reason, "%s",
             body->end->reason);
    rpc_message_free(message);
    return err_set(err, STATUS_CLOSED, "rank 0 has ended: %s", client->base.end_of.reason);
}

/* Sending failed, because the stream has ended. Its last message may be End: that is why. */
static status read_end(struct client *client, struct err *err)
{
    /* A message that arrived before the stream ended, if there is one. */
    struct rpc_message message;
    const status s = receive(client, &message, FINISH_MS, err);
    if (s != STATUS_OK && s != STATUS_TIMEOUT) {
        return s;
    }
    rpc_message_free(&message);
    /* The stream is not at its end, and still nothing could be sent. */
    struct err why = {.code = STATUS_UNAVAILABLE, .text = "rank 0 does not take what is sent"};
    return end_stream(client, &why, err);
}

/* Rank 0 sent a message that makes no sense. Cancels the stream; the status is final. */
static status give_up(struct client *client, struct err *why, struct err *err)
{
    /* The reason is that of rank 0's message, so the text names rank 0. */
    struct err copy = *why;
    (void)err_context(&copy, copy.code, "rank 0");
    return end_stream(client, &copy, err);
}

/* ---- Forming ---- */

/* Receives one block of the state into `block`. */
static status take_block(struct client *client, float *block, size_t floats, struct err *err)
{
    /* Blocks are large, so each has a time limit of its own. */
    struct rpc_message message;
    status s = receive(client, &message, BLOCK_TIMEOUT_MS, err);
    if (s == STATUS_TIMEOUT) {
        struct err why = {.code = STATUS_UNAVAILABLE, .text = "the state does not come"};
        return end_stream(client, &why, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* Sizes were agreed on in Start; a block of another size is a fault of rank 0. */
    const size_t size = floats * sizeof(float);
    struct err why = {0};
    if (message.payload.size != size) {
        s = err_set(&why, STATUS_INVALID, "a block of %zu bytes, expected %zu",
                    message.payload.size, size);
    } else {
        const bool whole = rpc_pieces_copy(&message.payload, block, 0, size);
        ASSERT(whole);
    }
    rpc_message_free(&message);
    return s == STATUS_OK ? s : give_up(client, &why, err);
}

/* Checks Start and fills in everything of `start` except the values of the state. */
static status read_start(struct client *client, const Hindcast__GroupMessage *body,
                         struct exchange_start *start, struct err *err)
{
    const Hindcast__GroupMessage__Start *from = body->start;
    /* Texts of a message are checked before they are copied. */
    if (from == NULL) {
        return err_set(err, STATUS_INVALID, "a total before Start");
    }
    if (strlen(from->run_id) >= sizeof start->run_id || !from->run_id[0]) {
        return err_set(err, STATUS_INVALID, "Start with run_id of %zu bytes", strlen(from->run_id));
    }
    status s = signature_from_json(&start->signature, from->signature, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "Start: signature");
    }
    /* The state's sizes follow from the signature and this rank's own options; they must be rank
     * 0's. */
    snprintf(start->run_id, sizeof start->run_id, "%s", from->run_id);
    start->next_batch = from->next_batch;
    start->learning_seconds = from->learning_seconds;
    start->n_parameters = from->n_parameters;
    s = client->make(client->make_arg, start, err);
    if (s != STATUS_OK) {
        return s;
    }
    const size_t size = state_layout(start->state)->size;
    if (from->n_parameters != size || from->n_scalars != client->n_scalars) {
        return err_set(err, STATUS_MISMATCH,
                       "Start with %" PRIu64 " parameters and %" PRIu64
                       " scalars, expected %zu and %zu",
                       from->n_parameters, from->n_scalars, size, client->n_scalars);
    }
    if (size > EXCHANGE_PARAMETERS_MAX) {
        return err_set(err, STATUS_INVALID, "%zu parameters, at most %zu", size,
                       EXCHANGE_PARAMETERS_MAX);
    }
    return STATUS_OK;
}

/* Receives what the group begins from: Start, which is `body`, then the blocks of the state. */
static status take_start(struct client *client, const Hindcast__GroupMessage *body,
                         struct exchange_start *start, struct err *err)
{
    struct err why = {0};
    status s = read_start(client, body, start, &why);
    if (s != STATUS_OK) {
        return give_up(client, &why, err);
    }
    /* The blocks follow. `body` does not outlive its message, so its numbers are kept. */
    const uint64_t generation = body->generation, step = body->step;
    for (size_t i = 0; s == STATUS_OK && i < EXCHANGE_BLOCKS; i++) {
        s = take_block(client, state_write(start->state, (enum state_block)i),
                       state_layout(start->state)->size, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* Join must have left before sums can. */
    if (rpc_stream_send_wait(client->stream, SEND_TIMEOUT_MS) != STATUS_OK) {
        return end_stream(client, NULL, err);
    }
    /* Now this rank is a member. */
    state_set_step(start->state, step);
    client->generation = generation;
    client->base.counts.generation = generation;
    snprintf(client->run_id, sizeof client->run_id, "%s", start->run_id);
    client->in = true;
    client->backoff_ms = BACKOFF_FIRST_MS;
    client->said[0] = '\0';
    log_info("rank %u of %u is in generation=%" PRIu64 " step=%" PRIu64 " batch=%" PRIu64,
             client->base.rank, client->base.ranks, generation, step, start->next_batch);
    return STATUS_OK;
}

/* TIMEOUT with what client_form waits for: rank 0's process, the end of a pause, or other ranks. */
static status say_forming(struct client *client, struct err *err)
{
    /* Two questions: is rank 0's process there, and what did the last stream end with? */
    const bool there = rpc_channel_wait(client->channel, 0) == STATUS_OK;
    const char *said = client->stream == NULL && client->said[0] ? client->said : NULL;
    return err_set(err, STATUS_TIMEOUT, "for rank 0 at %s%s%s",
                   rpc_channel_address(client->channel), said != NULL || there ? ": " : "",
                   said != NULL ? said
                   : there      ? "it forms the group"
                                : "");
}

/* One attempt of at most timeout_ms. Called again after TIMEOUT, it goes on with the same
 * stream. */
static status client_form(struct exchange *exchange, struct exchange_start *start,
                          uint64_t timeout_ms, struct err *err)
{
    struct client *client = (struct client *)exchange;
    const uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    while (clock_now_ns() < deadline_ns) {
        /* In the pause after a lost stream. */
        if (client->stream == NULL && clock_now_ns() < client->retry_ns) {
            clock_sleep_ms(10);
            continue;
        }
        /* Join once for each stream, then wait for Start in as many calls as it takes. */
        status s = client->stream == NULL ? join(client, err) : STATUS_OK;
        struct rpc_message message;
        if (s == STATUS_OK) {
            const uint64_t now_ns = clock_now_ns();
            const uint64_t left_ms = now_ns < deadline_ns ? (deadline_ns - now_ns) / NS_PER_MS : 0;
            s = receive(client, &message, left_ms, err);
        }
        if (s == STATUS_OK) {
            s = take_start(client, (const void *)message.body, start, err);
            rpc_message_free(&message);
        }
        /* After GROUP_BROKEN, a new stream within the same call, if there is time. */
        if (s != STATUS_TIMEOUT && s != STATUS_GROUP_BROKEN) {
            return s;
        }
    }
    return say_forming(client, err);
}

/* ---- The barrier ---- */

/* Makes client->sums a buffer of this size that no message holds any more. */
static status make_buffer(struct client *client, size_t size, struct err *err)
{
    struct exchange_buffer *old = client->sums;
    if (old != NULL && old->size == size && atomic_load(&old->holders) == 1) {
        return STATUS_OK;
    }
    /* The old buffer lives on while a message holds it. */
    exchange_buffer_release(old);
    client->sums = exchange_buffer_new(size);
    return client->sums != NULL ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "exchange: sums");
}

/* Sends this rank's sums for the step after `mark`. */
static status send_sums(struct client *client, const struct exchange_mark *mark,
                        struct update_sums sums, struct err *err)
{
    /* One buffer serves all steps, unless gRPC is slow to release it. */
    status s = make_buffer(client, exchange_sums_size(sums.n_gradients, sums.n_scalars), err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A copy: the sums of the next step are computed while gRPC may still send these. */
    exchange_sums_write(client->sums->bytes, sums);
    Hindcast__RankMessage message = HINDCAST__RANK_MESSAGE__INIT;
    message.generation = client->generation;
    message.step = mark->step;
    message.batch = mark->batch;
    message.digest = mark->digest;
    /* Sending waits until gRPC has taken the message, or the stream has ended. */
    const struct rpc_payload payload = exchange_payload(client->sums);
    s = rpc_stream_send(client->stream, &message.base, &payload, SEND_TIMEOUT_MS);
    if (s != STATUS_OK) {
        return read_end(client, err);
    }
    client->base.counts.sent_bytes += client->sums->size;
    client->sent = true;
    return STATUS_OK;
}

/* Replaces the sums by the total of the step after `mark`. INVALID: the message is no such total,
 * and the sums are unchanged. */
static status take_total(const struct client *client, const struct rpc_message *message,
                         const struct exchange_mark *mark, struct update_sums sums, struct err *err)
{
    /* It must be of this step: a total of another one would be applied to the wrong state. */
    const Hindcast__GroupMessage *body = (const void *)message->body;
    const size_t gradients = sums.n_gradients * sizeof(float);
    const size_t scalars = sums.n_scalars * sizeof(double);
    if (body->generation != client->generation || body->step != mark->step + 1 ||
        body->start != NULL || message->payload.size != gradients + scalars) {
        return err_set(err, STATUS_INVALID,
                       "a total of generation %" PRIu64 " step %" PRIu64
                       " with %zu bytes, expected %" PRIu64 ", %" PRIu64 ", %zu",
                       body->generation, body->step, message->payload.size, client->generation,
                       mark->step + 1, gradients + scalars);
    }
    /* Straight into the sums of the step, without a buffer in between. */
    const bool whole = rpc_pieces_copy(&message->payload, sums.gradients, 0, gradients) &&
                       rpc_pieces_copy(&message->payload, sums.scalars, gradients, scalars);
    ASSERT(whole);
    return STATUS_OK;
}

/* See exchange_sum. Sends this rank's sums once, then waits for the total. */
static status client_sum(struct exchange *exchange, const struct exchange_mark *mark,
                         struct update_sums sums, uint64_t timeout_ms, struct err *err)
{
    struct client *client = (struct client *)exchange;
    /* The group broke in a wait between two barriers. */
    if (!client->in) {
        return err_set(err, STATUS_GROUP_BROKEN, "%s", client->said);
    }
    /* A call after TIMEOUT goes on waiting; the sums are sent once. */
    status s = client->sent ? STATUS_OK : send_sums(client, mark, sums, err);
    struct rpc_message message;
    s = s == STATUS_OK ? receive(client, &message, timeout_ms, err) : s;
    if (s == STATUS_TIMEOUT) {
        return err_set(err, s, "for rank 0 of %u at step %" PRIu64, client->base.ranks,
                       mark->step + 1);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* The total replaces the sums, and the next call begins another step. */
    struct err why = {0};
    s = take_total(client, &message, mark, sums, &why);
    rpc_message_free(&message);
    client->sent = false;
    return s == STATUS_OK ? s : give_up(client, &why, err);
}

/* Tells rank 0 what this rank waits for, unless that was done within the last second. */
static status say_waits(struct client *client, const char *what)
{
    const uint64_t now_ns = clock_now_ns();
    if (now_ns - client->waits_ns < WAITS_PERIOD_MS * NS_PER_MS) {
        return STATUS_OK;
    }
    client->waits_ns = now_ns;
    /* `what` may be longer than rank 0 takes. */
    char text[EXCHANGE_TEXT_SIZE];
    snprintf(text, sizeof text, "%s", what);
    Hindcast__RankMessage message = HINDCAST__RANK_MESSAGE__INIT;
    message.generation = client->generation;
    message.waits = text;
    return rpc_stream_send(client->stream, &message.base, NULL, SEND_TIMEOUT_MS);
}

/* See exchange_waits. In the barrier there is nothing to say: the sums have been sent. */
static status client_waits(struct exchange *exchange, const char *what, struct err *err)
{
    struct client *client = (struct client *)exchange;
    if (!client->in || client->sent) {
        return client->in ? STATUS_OK : err_set(err, STATUS_GROUP_BROKEN, "%s", client->said);
    }
    if (say_waits(client, what) != STATUS_OK) {
        return read_end(client, err);
    }
    /* Between sums only End or the stream's end can come. */
    struct rpc_message message;
    status s = receive(client, &message, 0, err);
    if (s != STATUS_OK) {
        return s == STATUS_TIMEOUT ? STATUS_OK : s;
    }
    rpc_message_free(&message);
    struct err why = {.code = STATUS_INVALID, .text = "an unexpected message"};
    return give_up(client, &why, err);
}

/* ---- Opening and closing ---- */

/* This rank leaves. The end of the stream tells rank 0. */
static void client_end(struct exchange *exchange, bool finished, const char *reason)
{
    (void)finished;
    (void)reason;
    struct client *client = (struct client *)exchange;
    if (client->stream != NULL) {
        struct err err = {0};
        /* A cancelled stream ends at once, and rank 0 sees that this rank is gone. */
        rpc_stream_cancel(client->stream);
        if (rpc_stream_finish(client->stream, FINISH_MS, &err) != STATUS_OK) {
            log_debug("left: %s", err.text);
        }
        client->stream = NULL;
        client->in = false;
    }
}

/* Only rank 0 has someone to tell. */
static bool client_told(struct exchange *exchange)
{
    (void)exchange;
    return true;
}

static void client_close(struct exchange *exchange)
{
    struct client *client = (struct client *)exchange;
    client_end(exchange, false, "");
    rpc_channel_close(client->channel);
    exchange_buffer_release(client->sums);
    mem_free(client->terms);
    mem_free(client);
}

static const struct exchange_kind KIND = {.form = client_form,
                                          .sum = client_sum,
                                          .waits = client_waits,
                                          .end = client_end,
                                          .told = client_told,
                                          .close = client_close};

/* A number that distinguishes this process from any other that joins as the same rank. Not 0. */
static uint64_t incarnation(void)
{
    /* Without random bytes, the clock and the process id are as good as one can do. */
    uint64_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance) {
        chance = clock_wall_ns() ^ (uint64_t)getpid() << 40;
    }
    return chance | 1;
}

status exchange_open_client(struct exchange **exchange, const struct exchange_options *options,
                            struct err *err)
{
    struct client *client = mem_new(sizeof *client);
    /* `options` need not outlive this call. */
    char *terms = mem_text(options->terms);
    if (client == NULL || terms == NULL) {
        mem_free(client);
        mem_free(terms);
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    /* The stream is opened by client_form; here is only what must not fail later. */
    client->base = (struct exchange){.kind = &KIND, .rank = options->rank, .ranks = options->ranks};
    client->terms = terms;
    client->incarnation = incarnation();
    client->make = options->make;
    client->make_arg = options->make_arg;
    client->n_scalars = options->n_scalars;
    client->backoff_ms = BACKOFF_FIRST_MS;
    rng_init(&client->rng, client->incarnation, "exchange", options->rank);
    /* How this process is named in rank 0's log and errors. */
    char host[64] = "unknown";
    (void)gethostname(host, sizeof host - 1);
    snprintf(client->who, sizeof client->who, "%s pid %ld", host, (long)getpid());
    /* Opening a channel connects to nothing yet; it checks the address and reads the files. */
    status s = peer_channel_open(&client->channel, options->address, options->experiment,
                                 EXCHANGE_MESSAGE_MAX, err);
    if (s != STATUS_OK) {
        mem_free(client->terms);
        mem_free(client);
        return err_context(err, s, "exchange at %s", options->address);
    }
    *exchange = &client->base;
    return STATUS_OK;
}
