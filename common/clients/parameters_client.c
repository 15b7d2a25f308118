/* Following the Parameters service.
 *
 * One thread keeps a Watch stream open and replaces the newest snapshot by what arrives; takers
 * wait on a condition. Snapshots are reference counted, so a taker keeps its own while newer ones
 * come. A stream without a message for STREAM_QUIET_MS is opened anew, because a connection that
 * was cut without a reset stays silent for ever.
 *
 * `newest` is written by the watching thread alone, under the mutex, so that thread may read it
 * without. Nothing else that takers see changes outside the mutex, except the two flags. */
#include "common/clients/parameters_client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/utf8.h"
#include "common/clients/peer.h"
#include "proto/parameters.pb-c.h"

#define LOG_MODULE "parameters"
#include "common/base/log.h"

#define PACKAGE_MAX_BYTES ((64u << 20) + 65536u) /* a package and its envelope */
#define PACKAGE_FIELD     15
#define RECV_SLICE_MS     500   /* how long close may wait for the thread */
#define STREAM_QUIET_MS   30000 /* then the stream is opened anew */
#define SEND_TIMEOUT_MS   10000
#define BACKOFF_FIRST_MS  100
#define BACKOFF_MAX_MS    2000

/* A snapshot and its reference count; the package follows in the same block. */
struct held_snapshot {
    struct parameters_snapshot shown;
    atomic_uint holders;
};

struct parameters_client {
    struct rpc_channel *channel;
    pthread_t thread;
    /* Set once, by close. */
    atomic_bool closing;
    /* For status lines: was there a connection when the thread looked last? */
    atomic_bool connected;

    pthread_mutex_t mutex; /* guards the fields below */
    pthread_cond_t news;
    unsigned takers;                           /* threads inside take: close waits for them */
    struct held_snapshot *newest;              /* NULL: none yet */
    bool end_taken;                            /* the end of the run was handed out */
    bool any_taken;                            /* any snapshot was */
    char run_id_taken[PARAMETERS_RUN_ID_SIZE]; /* of the last snapshot handed out */
    struct rpc_stream *stream;                 /* to be cancelled by close; NULL between streams */
};

/* ---- Snapshots ---- */

/* From what a taker has to what it is a part of. */
static struct held_snapshot *snapshot_of(const struct parameters_snapshot *shown)
{
    return (struct held_snapshot *)(void *)(uintptr_t)shown; /* its first member */
}

void parameters_snapshot_release(const struct parameters_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    struct held_snapshot *held = snapshot_of(snapshot);
    /* The last holder frees it, a taker or the watching thread. */
    if (atomic_fetch_sub(&held->holders, 1) == 1) {
        mem_free(held);
    }
}

/* A snapshot with room for the package, counted once. NULL: out of memory. */
static struct held_snapshot *snapshot_new(const Hindcast__ParametersResponse *response,
                                          size_t package_size, unsigned char **package)
{
    /* One block of memory for both, so that they cannot be freed apart. */
    struct held_snapshot *held = mem_new(sizeof(*held) + package_size);
    if (held == NULL) {
        return NULL;
    }
    atomic_init(&held->holders, 1);
    *package = (unsigned char *)(held + 1);
    held->shown = (struct parameters_snapshot){.version = response->version,
                                               .learner_step = response->learner_step,
                                               .finished = response->finished,
                                               .package = *package,
                                               .package_size = package_size};
    snprintf(held->shown.run_id, sizeof(held->shown.run_id), "%s", response->run_id);
    return held;
}

/* *held becomes a snapshot of what the response says, or NULL where it says nothing new. */
static status snapshot_from(struct held_snapshot **held, const struct held_snapshot *newest,
                            const struct rpc_message *message, struct err *err)
{
    const Hindcast__ParametersResponse *response = (const void *)message->body;
    *held = NULL;
    /* A response of another program, or of a broken one, is refused whole. */
    if (response->version == 0) {
        return err_set(err, STATUS_INVALID, "response without a version");
    }
    if (strlen(response->run_id) >= PARAMETERS_RUN_ID_SIZE) {
        return err_set(err, STATUS_INVALID, "run_id has %zu bytes, at most %d expected",
                       strlen(response->run_id), PARAMETERS_RUN_ID_SIZE - 1);
    }
    /* Without a package there is news only if the run that we follow has ended. */
    bool same = newest != NULL && newest->shown.version == response->version &&
                strcmp(newest->shown.run_id, response->run_id) == 0;
    if (!response->modified && (!same || !response->finished || newest->shown.finished)) {
        return STATUS_OK;
    }
    /* The news of the end comes without a package when we have the last version. */
    size_t size = response->modified ? message->payload.size : newest->shown.package_size;
    if (size == 0) {
        return err_set(err, STATUS_INVALID, "version %llu without a package",
                       (unsigned long long)response->version);
    }
    unsigned char *package = NULL;
    struct held_snapshot *made = snapshot_new(response, size, &package);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "a package of %zu bytes", size);
    }
    /* A package from the message, or a copy of the one that we have. */
    if (!response->modified) {
        memcpy(package, newest->shown.package, size);
    } else if (!rpc_pieces_copy(&message->payload, package, 0, size)) {
        mem_free(made);
        return err_set(err, STATUS_INTERNAL, "a package shorter than it says");
    }
    *held = made;
    return STATUS_OK;
}

/* ---- The watching thread ---- */

/* Replaces the newest snapshot by what the response says; *finished when the run has ended. Only
 * the watching thread changes `newest`, so it may read it without the mutex. */
static status take_response(struct parameters_client *client, const struct rpc_message *message,
                            bool *finished, struct err *err)
{
    struct held_snapshot *held = NULL;
    status s = snapshot_from(&held, client->newest, message, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The end of the run is told even when it brings no snapshot. */
    if (((const Hindcast__ParametersResponse *)(const void *)message->body)->finished) {
        *finished = true;
    }
    if (held == NULL) {
        return STATUS_OK;
    }
    /* The swap. Takers that wait are woken and look whether it is news for them. */
    pthread_mutex_lock(&client->mutex);
    struct held_snapshot *old = client->newest;
    /* Another run has taken over: its end is news again. */
    if (old != NULL && strcmp(old->shown.run_id, held->shown.run_id) != 0) {
        client->end_taken = false;
    }
    client->newest = held;
    pthread_cond_broadcast(&client->news);
    pthread_mutex_unlock(&client->mutex);
    /* Outside the mutex, since freeing a package may take long. */
    if (old != NULL) {
        parameters_snapshot_release(&old->shown);
    }
    return STATUS_OK;
}

/* Makes the stream known to close, which cancels it. NULL: there is none. */
static void set_stream(struct parameters_client *client, struct rpc_stream *stream)
{
    pthread_mutex_lock(&client->mutex);
    client->stream = stream;
    pthread_mutex_unlock(&client->mutex);
}

/* Receives until the stream ends (CLOSED), has been silent for too long (TIMEOUT), or the client is
 * closed (CLOSED). *heard: at least one message came. */
static status receive_all(struct parameters_client *client, struct rpc_stream *stream, bool *heard,
                          bool *finished, struct err *err)
{
    /* When the last message came; silence is measured from here. */
    uint64_t heard_ns = clock_now_ns();
    while (!atomic_load(&client->closing)) {
        struct rpc_message message = {0};
        /* A short wait, so that close is noticed. */
        status s = rpc_stream_recv(stream, &message, RECV_SLICE_MS);
        if (s == STATUS_TIMEOUT) {
            /* Silence is no error, but it is the time to look whether the server is still there. */
            atomic_store(&client->connected, rpc_channel_wait(client->channel, 0) == STATUS_OK);
            if (clock_now_ns() - heard_ns > STREAM_QUIET_MS * NS_PER_MS) {
                return STATUS_TIMEOUT;
            }
            continue;
        }
        if (s != STATUS_OK) {
            return s;
        }
        /* A message proves that the connection works. */
        atomic_store(&client->connected, true);
        heard_ns = clock_now_ns();
        *heard = true;
        s = take_response(client, &message, finished, err);
        rpc_message_free(&message);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_CLOSED;
}

/* One Watch stream from open to end. OK: the server ended it without an error. */
static status watch_once(struct parameters_client *client, bool *heard, bool *finished,
                         struct err *err)
{
    /* Waits for the server's process instead of failing while it starts. */
    struct rpc_call_options options = {.wait_for_ready = true, .payload_field = PACKAGE_FIELD};
    struct rpc_stream *stream = NULL;
    status s = rpc_stream_open(&stream, client->channel, &hindcast__parameters__descriptor, "Watch",
                               RPC_SERVER_STREAM, &options, err);
    if (s != STATUS_OK) {
        return s;
    }
    set_stream(client, stream);

    /* The server sends a package only when it has a newer one than ours. */
    Hindcast__ParametersRequest request = HINDCAST__PARAMETERS_REQUEST__INIT;
    if (client->newest != NULL) {
        request.newer_than = client->newest->shown.version;
        request.run_id = client->newest->shown.run_id;
    }
    struct err why = {0};
    /* One request; all that follows comes from the server. */
    s = rpc_stream_send(stream, &request.base, NULL, SEND_TIMEOUT_MS);
    if (s == STATUS_OK) {
        s = rpc_stream_half_close(stream);
    }
    if (s == STATUS_OK) {
        s = receive_all(client, stream, heard, finished, &why);
    }
    set_stream(client, NULL);
    /* The server's status counts only if it ended the stream; otherwise it is that of our
     * cancel. */
    bool ended = s == STATUS_CLOSED && !atomic_load(&client->closing);
    if (!ended) {
        rpc_stream_cancel(stream);
    }
    /* A stream that we cancelled ends at once, one that the server ended has a status to fetch. */
    status end = rpc_stream_finish(stream, ended ? 1000 : 100, ended ? err : NULL);
    /* A refusal of what was received counts more than the end that it led to. */
    if (!ended && err != NULL && why.text[0]) {
        *err = why;
    }
    return ended ? end : s;
}

/* Sleeps about `backoff_ms`, with jitter, in slices that notice close. */
static void wait_before_retry(struct parameters_client *client, struct rng *rng,
                              uint64_t backoff_ms)
{
    /* Half to one and a half times the backoff, so that clients do not come back all at once. */
    uint64_t left_ms = backoff_ms / 2 + rng_below(rng, backoff_ms);
    while (left_ms > 0 && !atomic_load(&client->closing)) {
        uint64_t slice_ms = left_ms < 100 ? left_ms : 100;
        clock_sleep_ms((unsigned)slice_ms);
        left_ms -= slice_ms;
    }
}

/* The thread's loop: one stream after another until the client is closed. */
static void *watch_for_ever(void *arg)
{
    struct parameters_client *client = arg;
    struct rng rng;
    /* The seed differs from process to process, and from start to start. */
    rng_init(&rng, clock_wall_ns(), "parameters_client", (uint64_t)getpid());
    uint64_t backoff_ms = BACKOFF_FIRST_MS;
    while (!atomic_load(&client->closing)) {
        struct err err = {0};
        bool heard = false;
        bool finished = false;
        status s = watch_once(client, &heard, &finished, &err);
        if (atomic_load(&client->closing)) {
            break;
        }
        /* After mere silence the connection may well be there. */
        if (s != STATUS_TIMEOUT) {
            atomic_store(&client->connected, false);
        }
        /* A stream that brought something was a good one: start over with the backoff. */
        backoff_ms = heard ? BACKOFF_FIRST_MS : backoff_ms;
        if (finished) {
            backoff_ms = BACKOFF_MAX_MS; /* only a new run can bring anything */
        } else if (s != STATUS_OK && s != STATUS_TIMEOUT) {
            log_debug("watching parameters failed reason=%s",
                      err.text[0] ? err.text : status_text(s));
        }
        /* A stream that was only silent is opened anew at once. */
        if (s != STATUS_TIMEOUT) {
            wait_before_retry(client, &rng, backoff_ms);
            backoff_ms = backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
        }
    }
    atomic_store(&client->connected, false);
    return NULL;
}

/* ---- The interface ---- */

status parameters_client_open(struct parameters_client **client,
                              const struct experiment *experiment, struct err *err)
{
    struct parameters_client *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "parameters client");
    }
    /* A message carries a whole package, which is larger than the usual limit. */
    status s = peer_channel_open(&made->channel, experiment->parameters, experiment,
                                 PACKAGE_MAX_BYTES, err);
    if (s != STATUS_OK) {
        s = err_context(err, s, "parameters at %s", experiment->parameters);
        goto free_client;
    }
    /* Takers wait with deadlines on the monotonic clock. */
    pthread_mutex_init(&made->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&made->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    /* The thread last: it uses everything above. */
    int error = pthread_create(&made->thread, NULL, watch_for_ever, made);
    if (error != 0) {
        s = err_errno(err, error, "parameters client: thread");
        goto close_channel;
    }
    *client = made;
    return STATUS_OK;

close_channel:
    pthread_cond_destroy(&made->news);
    pthread_mutex_destroy(&made->mutex);
    rpc_channel_close(made->channel);
free_client:
    mem_free(made);
    return s;
}

/* Must the newest snapshot be handed to a taker that has version `newer_than`? Under the mutex. */
static bool is_news(const struct parameters_client *client, uint64_t newer_than)
{
    const struct held_snapshot *newest = client->newest;
    if (newest == NULL) {
        return false;
    }
    /* A newer version, the end where it was not handed out yet, or another run. */
    return newest->shown.version > newer_than || (newest->shown.finished && !client->end_taken) ||
           (client->any_taken && strcmp(newest->shown.run_id, client->run_id_taken) != 0);
}

status parameters_client_take(struct parameters_client *client, uint64_t newer_than,
                              uint64_t timeout_ms, const struct parameters_snapshot **snapshot)
{
    uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                                .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    status s = STATUS_OK;
    pthread_mutex_lock(&client->mutex);
    /* Counted as a taker, so that close does not free the client under this thread. */
    client->takers++;
    while (!is_news(client, newer_than) && s == STATUS_OK) {
        if (atomic_load(&client->closing)) {
            s = STATUS_CLOSED;
        } else if (pthread_cond_timedwait(&client->news, &client->mutex, &deadline) != 0 &&
                   clock_now_ns() >= deadline_ns && !is_news(client, newer_than)) {
            s = STATUS_TIMEOUT;
        }
    }
    /* The taker gets a hold of its own, and what it has seen is noted for is_news. */
    if (s == STATUS_OK) {
        struct held_snapshot *newest = client->newest;
        atomic_fetch_add(&newest->holders, 1);
        client->end_taken = newest->shown.finished;
        client->any_taken = true;
        memcpy(client->run_id_taken, newest->shown.run_id, sizeof(client->run_id_taken));
        *snapshot = &newest->shown;
    }
    client->takers--;
    /* close waits until no taker is left. */
    if (atomic_load(&client->closing)) {
        pthread_cond_broadcast(&client->news);
    }
    pthread_mutex_unlock(&client->mutex);
    return s;
}

status parameters_client_finish(struct parameters_client *client, uint64_t version,
                                const char *reason, const char *who, uint64_t timeout_ms,
                                struct err *err)
{
    /* The run whose parameters the caller has, not one that may have replaced it meanwhile. */
    char run_id[PARAMETERS_RUN_ID_SIZE];
    pthread_mutex_lock(&client->mutex);
    memcpy(run_id, client->run_id_taken, sizeof(run_id));
    pthread_mutex_unlock(&client->mutex);

    /* Texts that are too long are cut, at the end of a character. */
    char reason_sent[512], who_sent[128];
    snprintf(reason_sent, sizeof(reason_sent), "%s", reason);
    snprintf(who_sent, sizeof(who_sent), "%s", who);
    utf8_trim(reason_sent);
    utf8_trim(who_sent);
    Hindcast__FinishRequest request = HINDCAST__FINISH_REQUEST__INIT;
    request.version = version;
    request.reason = reason_sent;
    request.who = who_sent;
    request.run_id = run_id;

    /* Finish may be repeated: finishing a finished run is OK. So an answer that was lost costs no
     * more than another call. */
    uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns) {
            return err_set(err, STATUS_TIMEOUT, "finish: no answer from %s within %llu ms",
                           rpc_channel_address(client->channel), (unsigned long long)timeout_ms);
        }
        /* At least one millisecond, because 0 stands for the default time. */
        struct rpc_call_options options = {.timeout_ms = (deadline_ns - now_ns) / NS_PER_MS + 1,
                                           .wait_for_ready = true};
        struct rpc_message response = {0};
        status s = rpc_unary(client->channel, &hindcast__parameters__descriptor, "Finish",
                             &request.base, NULL, &options, &response, err);
        if (s == STATUS_OK) {
            rpc_message_free(&response);
            return STATUS_OK;
        }
        /* Anything but an absent server is an answer. */
        if (s != STATUS_UNAVAILABLE || clock_now_ns() + 200 * NS_PER_MS >= deadline_ns) {
            return err_context(err, s, "finish");
        }
        clock_sleep_ms(100);
    }
}

bool parameters_client_connected(const struct parameters_client *client)
{
    return atomic_load(&client->connected);
}

void parameters_client_close(struct parameters_client *client)
{
    if (client == NULL) {
        return;
    }
    /* Stops the stream and wakes the takers. Under the mutex, the thread cannot free the stream. */
    pthread_mutex_lock(&client->mutex);
    atomic_store(&client->closing, true);
    if (client->stream != NULL) {
        rpc_stream_cancel(client->stream);
    }
    pthread_cond_broadcast(&client->news);
    /* A taker that has not left yet still uses the mutex and the condition. */
    while (client->takers > 0) {
        pthread_cond_wait(&client->news, &client->mutex);
    }
    pthread_mutex_unlock(&client->mutex);
    pthread_join(client->thread, NULL);
    /* Snapshots that takers hold outlive the client. */
    if (client->newest != NULL) {
        parameters_snapshot_release(&client->newest->shown);
    }
    pthread_cond_destroy(&client->news);
    pthread_mutex_destroy(&client->mutex);
    rpc_channel_close(client->channel);
    mem_free(client);
}
