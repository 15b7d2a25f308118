/* The Parameters service. See publisher.h.
 *
 * Watchers are kept in a list on the call thread. A publication posts one visit to that thread
 * (visits coalesce). A watcher that is still being sent an older version is passed over and looked
 * at again when that message has left: so it skips versions and never queues them.
 *
 * A package lives as long as something sends it. A client that does not read would keep its package
 * for ever, and each such client may have another one. So every message with a package is a
 * `delivery`, which ends within a time that its size allows, and all packages that are not the
 * newest have a common budget. Whoever exceeds either is ended; its client may come again. */
#include "learner/run/publisher.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/roles.h"
#include "common/base/utf8.h"
#include "common/service/wire_version.h"
#include "proto/parameters.pb-c.h"

#define LOG_MODULE "publisher"
#include "common/base/log.h"

#define PACKAGE_FIELD 15
#define CHECK_MS      1000
#define DELIVERY_MS   60000 /* for any package, and longer for a large one: */
#define DELIVERY_RATE 1024u /* bytes per ms */
#define OLD_MAX_BYTES ((size_t)256 << 20)

/* A version as published; freed when the last holder releases it. */
struct publication {
    /* Who needs it: the publisher, while it is the newest; each delivery; each message under
     * way. */
    atomic_uint holders;
    uint64_t pass; /* the last check of deliveries that has counted it; call thread */
    uint64_t version;
    uint64_t learner_step;
    bool finished;
    void *package;
    size_t size;
};

/* A package that is being sent to a client; call thread alone. */
struct delivery {
    struct delivery *next, **link; /* in publisher.deliveries; link NULL: nothing is being sent */
    struct rpc_call *call;
    struct publication *publication; /* held */
    uint64_t begin_ns;
};

/* A Watch call, on the call thread alone. */
struct watcher {
    struct watcher *next, **link; /* in publisher.watchers */
    struct rpc_call *call;
    uint64_t version; /* that the client has or is being sent; 0: none */
    bool asked;       /* its request has come */
    bool sending;     /* a message is being sent; there is never a second one */
    bool late;        /* the client lacks the version that is being sent */
    bool ended;       /* what is being sent is the last version */
    bool served;      /* the last version has left */
    struct delivery delivery;
};

struct publisher {
    struct rpc_server *server;
    struct metric *published, *watching;
    const struct config_texts *replay; /* what Progress names; NULL: nothing */
    /* Set once, with `end`, and never cleared. */
    atomic_bool ending;
    /* A visit is under way to the call thread; later publications need no second one. */
    atomic_bool visit_posted;

    /* Call thread alone. */
    struct watcher *watchers;
    unsigned n_watchers;
    struct delivery *deliveries;
    uint64_t pass; /* number of the last check of deliveries */
    /* Limits for clients that do not read; see publisher_set_limits. */
    uint64_t delivery_ms;
    size_t old_max_bytes;

    pthread_mutex_t mutex; /* guards what follows */
    struct publication *newest;
    char run_id[PUBLISHER_RUN_ID_SIZE];
    struct publisher_end end;
    struct publisher_progress progress;
    char state[PUBLISHER_TEXT_SIZE];
    unsigned
        watchers_most; /* most watchers at once, less those that left after the end was asked for */
    unsigned ends_delivered; /* watchers that were sent the last version */
    unsigned watches;        /* Watch calls since the start */
    bool got;                /* Get was used */
};

/* ---- Publications ---- */

/* Drops one hold. On any thread: gRPC calls it when it has sent the package. */
static void release(void *arg)
{
    struct publication *publication = arg;
    if (publication != NULL && atomic_fetch_sub(&publication->holders, 1) == 1) {
        mem_free(publication->package);
        mem_free(publication);
    }
}

/* The newest publication, held once more; NULL: there is none yet. */
static struct publication *hold_newest(struct publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    struct publication *newest = publisher->newest;
    if (newest != NULL) {
        atomic_fetch_add(&newest->holders, 1);
    }
    pthread_mutex_unlock(&publisher->mutex);
    return newest;
}

/* Is this the identity of the run, or empty? */
static bool same_run(struct publisher *publisher, const char *run_id)
{
    if (run_id == NULL || run_id[0] == '\0') {
        return true;
    }
    pthread_mutex_lock(&publisher->mutex);
    bool same = strcmp(publisher->run_id, run_id) == 0;
    pthread_mutex_unlock(&publisher->mutex);
    return same;
}

/* Sends a publication; with its package, unless the client has this version. */
static status send_publication(struct publisher *publisher, struct rpc_call *call,
                               struct publication *publication, bool modified)
{
    /* The name is copied, so that no lock is held while gRPC works. */
    char run_id[PUBLISHER_RUN_ID_SIZE];
    pthread_mutex_lock(&publisher->mutex);
    memcpy(run_id, publisher->run_id, sizeof(run_id));
    pthread_mutex_unlock(&publisher->mutex);

    /* The header: which version this is, and of which run. */
    Hindcast__ParametersResponse response = HINDCAST__PARAMETERS_RESPONSE__INIT;
    response.modified = modified;
    response.version = publication->version;
    response.learner_step = publication->learner_step;
    response.run_id = run_id;
    response.finished = publication->finished;
    /* A client that has this version needs the header alone: it may say that the run has ended. */
    if (!modified) {
        return rpc_call_send(call, &response.base, NULL);
    }
    /* The payload is a holder of its own, until gRPC calls release. */
    atomic_fetch_add(&publication->holders, 1);
    struct rpc_payload payload = {.field = PACKAGE_FIELD,
                                  .bytes = publication->package,
                                  .size = publication->size,
                                  .release = release,
                                  .arg = publication};
    return rpc_call_send(call, &response.base, &payload);
}

/* ---- Deliveries ---- */

/* Counts a package as being sent to `call`, and holds it. */
static void delivery_begin(struct publisher *publisher, struct delivery *delivery,
                           struct rpc_call *call, struct publication *publication)
{
    ASSERT(delivery->link == NULL);
    atomic_fetch_add(&publication->holders, 1);
    /* At the head of the list. `link` is the pointer that points to this delivery. */
    *delivery = (struct delivery){.next = publisher->deliveries,
                                  .link = &publisher->deliveries,
                                  .call = call,
                                  .publication = publication,
                                  .begin_ns = clock_now_ns()};
    if (delivery->next != NULL) {
        delivery->next->link = &delivery->next;
    }
    publisher->deliveries = delivery;
}

/* The package has left, or its call has ended. Does nothing where nothing is being sent. */
static void delivery_end(struct delivery *delivery)
{
    if (delivery->link == NULL) {
        return;
    }
    *delivery->link = delivery->next;
    if (delivery->next != NULL) {
        delivery->next->link = delivery->link;
    }
    delivery->link = NULL;
    release(delivery->publication);
}

/* Ends a call whose client does not read. The client sees TIMEOUT and may call again. */
static void delivery_abort(struct delivery *delivery, const char *why)
{
    /* Ending the call may free the delivery, so what is needed of it is read before. */
    struct rpc_call *call = delivery->call;
    log_warn("a client does not read its parameters and is ended peer=%s version=%llu: %s",
             rpc_call_peer(call), (unsigned long long)delivery->publication->version, why);
    delivery_end(delivery);
    rpc_call_abort(call, STATUS_TIMEOUT, why);
}

/* Bytes of the packages that are kept only because they are being sent, and the oldest of them. */
static size_t old_bytes(struct publisher *publisher, uint64_t newest, uint64_t *oldest)
{
    size_t bytes = 0;
    publisher->pass++;
    *oldest = newest;
    /* `pass` marks what was counted, so that a package that several clients read counts once. */
    for (struct delivery *d = publisher->deliveries; d != NULL; d = d->next) {
        struct publication *publication = d->publication;
        if (publication->version < newest && publication->pass != publisher->pass) {
            publication->pass = publisher->pass;
            bytes += publication->size;
            *oldest = publication->version < *oldest ? publication->version : *oldest;
        }
    }
    return bytes;
}

/* Ends deliveries that are too slow, and the oldest ones while old packages exceed their budget. On
 * a timer and after each publication. */
static void check_deliveries(void *arg)
{
    struct publisher *publisher = arg;
    const uint64_t now_ns = clock_now_ns();
    /* Those that take too long, whatever others hold. */
    struct delivery *next;
    for (struct delivery *d = publisher->deliveries; d != NULL; d = next) {
        next = d->next;
        /* A large package may take longer than a small one. */
        const uint64_t limit_ms = publisher->delivery_ms + d->publication->size / DELIVERY_RATE;
        if (now_ns - d->begin_ns > limit_ms * NS_PER_MS) {
            delivery_abort(d, "the parameters were not read in time");
        }
    }
    pthread_mutex_lock(&publisher->mutex);
    const uint64_t newest = publisher->newest != NULL ? publisher->newest->version : 0;
    pthread_mutex_unlock(&publisher->mutex);
    /* Then the budget. Version by version, for ending one of two clients that share a package frees
     * nothing. */
    uint64_t oldest;
    while (old_bytes(publisher, newest, &oldest) > publisher->old_max_bytes) {
        for (struct delivery *d = publisher->deliveries; d != NULL; d = next) {
            next = d->next;
            if (d->publication->version == oldest) {
                delivery_abort(d, "too many older versions are still being sent");
            }
        }
    }
}

/* ---- Get ---- */

/* Get was used. */
static void note_getter(struct publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    publisher->got = true;
    pthread_mutex_unlock(&publisher->mutex);
}

/* A client that lacked the last version was sent it. */
static void count_delivery(struct publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    publisher->ends_delivered++;
    pthread_mutex_unlock(&publisher->mutex);
}

static void on_get(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct publisher *publisher = rpc_call_service(call);
    const Hindcast__ParametersRequest *request = (const void *)message;
    /* The end waits for a client that uses Get as for one that watches. */
    note_getter(publisher);
    struct publication *newest = hold_newest(publisher);
    if (newest == NULL) {
        /* The client asks again; a Watch would wait. */
        rpc_call_finish(call, STATUS_UNAVAILABLE, "no parameters yet");
        return;
    }
    /* Versions of another run are not comparable: then the client has none. */
    uint64_t has = same_run(publisher, request->run_id) ? request->newer_than : 0;
    bool modified = newest->version > has;
    struct delivery *delivery = modified ? mem_new(sizeof(*delivery)) : NULL;
    if (modified && delivery == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "parameters");
        release(newest);
        return;
    }
    /* Counted from its beginning, so that a client that never reads does not escape the limits. */
    if (modified) {
        delivery_begin(publisher, delivery, call, newest);
        rpc_call_set_state(call, delivery);
    }
    status s = send_publication(publisher, call, newest, modified);
    rpc_call_finish(call, s, s == STATUS_OK ? "" : status_text(s));
    /* Nothing tells whether an answer to Get was read, so the last version counts as delivered
     * here. */
    if (s == STATUS_OK && newest->finished && modified) {
        count_delivery(publisher);
    }
    release(newest);
}

/* The call is over, whether the package was read or not. */
static void on_get_done(struct rpc_call *call)
{
    struct delivery *delivery = rpc_call_state(call);
    if (delivery != NULL) {
        delivery_end(delivery);
        rpc_call_set_state(call, NULL);
        mem_free(delivery);
    }
}

/* ---- Watch ---- */

/* A new stream. The watcher lives until on_watch_done. */
static void on_watch_start(struct rpc_call *call)
{
    struct publisher *publisher = rpc_call_service(call);
    struct watcher *watcher = mem_new(sizeof(*watcher));
    if (watcher == NULL) {
        /* Without a watcher the other callbacks do nothing. */
        rpc_call_finish(call, STATUS_NO_MEMORY, "watch");
        return;
    }
    /* Into the list. It is served when its request has come. */
    watcher->call = call;
    watcher->next = publisher->watchers;
    watcher->link = &publisher->watchers;
    if (watcher->next != NULL) {
        watcher->next->link = &watcher->next;
    }
    publisher->watchers = watcher;
    publisher->n_watchers++;
    metric_set(publisher->watching, publisher->n_watchers);
    rpc_call_set_state(call, watcher);

    /* The end of the run waits for as many clients as ever watched at the same time. */
    pthread_mutex_lock(&publisher->mutex);
    publisher->watches++;
    if (publisher->watchers_most < publisher->n_watchers) {
        publisher->watchers_most = publisher->n_watchers;
    }
    pthread_mutex_unlock(&publisher->mutex);
}

/* Sends the newest version to a watcher that lacks it and is not sending. */
static void serve(struct publisher *publisher, struct watcher *watcher)
{
    /* Not yet, or not now: on_watch_sent comes here again when the message has left. */
    if (!watcher->asked || watcher->sending || watcher->ended) {
        return;
    }
    struct publication *newest = hold_newest(publisher);
    if (newest == NULL) {
        return;
    }
    /* The end is news even for a client that has this version already. */
    bool modified = newest->version > watcher->version;
    if (modified || newest->finished) {
        status s = send_publication(publisher, watcher->call, newest, modified);
        if (modified && s == STATUS_OK) {
            delivery_begin(publisher, &watcher->delivery, watcher->call, newest);
        }
        /* Nothing else is sent until on_watch_sent. If sending failed, the call ends here. */
        watcher->sending = true;
        watcher->late = modified;
        watcher->version = newest->version;
        watcher->ended = newest->finished;
        if (s != STATUS_OK) {
            watcher->ended = true;
            rpc_call_finish(watcher->call, s, status_text(s));
        }
    }
    release(newest);
}

/* The request: which version the client has. A second request is ignored. */
static void on_watch_message(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct publisher *publisher = rpc_call_service(call);
    struct watcher *watcher = rpc_call_state(call);
    const Hindcast__ParametersRequest *request = (const void *)message;
    if (watcher == NULL || watcher->asked) {
        return;
    }
    /* Versions of another run are not comparable, as in Get. */
    watcher->asked = true;
    watcher->version = same_run(publisher, request->run_id) ? request->newer_than : 0;
    serve(publisher, watcher);
}

/* The message has left, so there is room for the next one. */
static void on_watch_sent(struct rpc_call *call)
{
    struct publisher *publisher = rpc_call_service(call);
    struct watcher *watcher = rpc_call_state(call);
    if (watcher == NULL) {
        return;
    }
    /* The last version ends the stream; otherwise there may be a newer one by now. */
    watcher->sending = false;
    delivery_end(&watcher->delivery);
    if (watcher->ended) {
        watcher->served = true;
        if (watcher->late) {
            count_delivery(publisher);
        }
        rpc_call_finish(call, STATUS_OK, "");
        return;
    }
    serve(publisher, watcher);
}

/* The stream is over, whoever ended it. */
static void on_watch_done(struct rpc_call *call)
{
    struct publisher *publisher = rpc_call_service(call);
    struct watcher *watcher = rpc_call_state(call);
    if (watcher == NULL) {
        return;
    }
    /* Where a package was still being sent, nobody reads it now. */
    delivery_end(&watcher->delivery);
    /* A client that leaves after the end was asked for needs no last version: often it is the one
     * that asked. */
    pthread_mutex_lock(&publisher->mutex);
    if (atomic_load(&publisher->ending) && !watcher->served && publisher->watchers_most > 0) {
        publisher->watchers_most--;
    }
    pthread_mutex_unlock(&publisher->mutex);
    /* Out of the list. */
    *watcher->link = watcher->next;
    if (watcher->next != NULL) {
        watcher->next->link = watcher->link;
    }
    publisher->n_watchers--;
    metric_set(publisher->watching, publisher->n_watchers);
    rpc_call_set_state(call, NULL);
    mem_free(watcher);
}

/* After one or more publications; call thread. */
static void visit_watchers(void *arg)
{
    struct publisher *publisher = arg;
    /* First of all: a version that is published from here on posts another visit, so that no
     * version is missed. */
    atomic_store(&publisher->visit_posted, false);
    for (struct watcher *watcher = publisher->watchers; watcher != NULL; watcher = watcher->next) {
        serve(publisher, watcher);
    }
    check_deliveries(publisher);
}

/* ---- Finish, Progress ---- */

/* A text that is too long is cut between two characters: half of one is not UTF-8, and no client
 * could read a message with it. */
static void set_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
    utf8_trim(to);
}

/* Sets the reason of the end, once. False where there was one already. */
static bool set_end(struct publisher *publisher, const struct publisher_end *end)
{
    pthread_mutex_lock(&publisher->mutex);
    bool first = !atomic_load(&publisher->ending);
    if (first) {
        /* The reason before the flag, because the flag is read without the mutex. */
        publisher->end = *end;
        atomic_store(&publisher->ending, true);
    }
    pthread_mutex_unlock(&publisher->mutex);
    return first;
}

static void on_finish(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct publisher *publisher = rpc_call_service(call);
    const Hindcast__FinishRequest *request = (const void *)message;
    /* A Finish that was meant for an earlier run must not end this one. */
    if (!same_run(publisher, request->run_id)) {
        rpc_call_finish(call, STATUS_MISMATCH, "another run is being learned here by now");
        return;
    }
    /* Both go into Progress, the log and the header of the last checkpoint. */
    if (!utf8_is_name(request->reason) || !utf8_is_name(request->who)) {
        rpc_call_finish(call, STATUS_INVALID, "reason, who: expected no control characters");
        return;
    }
    /* Empty texts get a default, because people read them. */
    struct publisher_end end = {.version = request->version};
    set_text(end.reason, sizeof(end.reason), request->reason[0] ? request->reason : "asked");
    set_text(end.who, sizeof(end.who), request->who[0] ? request->who : "unknown");
    Hindcast__FinishResponse response = HINDCAST__FINISH_RESPONSE__INIT;
    /* The first call decides; later ones learn what it said. */
    response.accepted = set_end(publisher, &end);
    if (response.accepted) {
        log_info("finish asked for by=%s version=%llu: %s", end.who,
                 (unsigned long long)end.version, end.reason);
    }
    /* From here on `end` is the reason that counts, which may be that of an earlier call. */
    (void)publisher_ending(publisher, &end);
    response.reason = end.reason;
    rpc_call_reply(call, &response.base);
}

static void on_progress(struct rpc_call *call, const ProtobufCMessage *message)
{
    (void)message;
    struct publisher *publisher = rpc_call_service(call);
    /* Everything is copied under the lock; the message is made outside it. */
    char run_id[PUBLISHER_RUN_ID_SIZE], reason[PUBLISHER_TEXT_SIZE], state[PUBLISHER_TEXT_SIZE];
    Hindcast__ProgressResponse response = HINDCAST__PROGRESS_RESPONSE__INIT;
    pthread_mutex_lock(&publisher->mutex);
    struct publisher_progress progress = publisher->progress;
    memcpy(run_id, publisher->run_id, sizeof(run_id));
    memcpy(reason, publisher->end.reason, sizeof(reason));
    memcpy(state, publisher->state, sizeof(state));
    response.version = publisher->newest != NULL ? publisher->newest->version : 0;
    response.finished = publisher->newest != NULL && publisher->newest->finished;
    pthread_mutex_unlock(&publisher->mutex);

    /* The counters, then one entry for each quantity of the last report. */
    response.learner_step = progress.learner_step;
    response.learner_steps = progress.learner_steps;
    response.program_version = (char *)HINDCAST_VERSION;
    response.wire_version = WIRE_VERSION;
    response.wire_version_oldest = WIRE_VERSION_OLDEST;
    response.steps_per_second = progress.steps_per_second;
    response.learning_seconds = progress.learning_seconds;
    response.finish_reason = reason;
    response.run_id = run_id;
    response.state = state;
    Hindcast__ProgressResponse__Report reports[PUBLISHER_REPORTS_MAX];
    Hindcast__ProgressResponse__Report *places[PUBLISHER_REPORTS_MAX];
    for (size_t i = 0; i < progress.n_reports; i++) {
        reports[i] = (Hindcast__ProgressResponse__Report)HINDCAST__PROGRESS_RESPONSE__REPORT__INIT;
        reports[i].name = (char *)(uintptr_t)progress.reports[i].name;
        reports[i].value = progress.reports[i].value;
        places[i] = &reports[i];
    }
    response.n_reports = progress.n_reports;
    response.reports = places;
    response.followers = publisher->n_watchers;
    char *replay[CONFIG_LIST_MAX];
    response.replay = replay;
    for (size_t i = 0; publisher->replay != NULL && i < publisher->replay->n; i++) {
        replay[response.n_replay++] = (char *)(uintptr_t)publisher->replay->items[i];
    }
    rpc_call_reply(call, &response.base);
}

/* A client that may follow the run may also end it: the stop rule belongs to evaluators. */
#define ROLES (ROLE_LEARN | ROLE_EVALUATE | ROLE_ADMIN)

static const struct rpc_method METHODS[] = {
    {.name = "Get", .kind = RPC_UNARY, .roles = ROLES, .message = on_get, .done = on_get_done},
    {.name = "Watch",
     .kind = RPC_SERVER_STREAM,
     .roles = ROLES,
     .start = on_watch_start,
     .message = on_watch_message,
     .sent = on_watch_sent,
     .done = on_watch_done},
    {.name = "Finish", .kind = RPC_UNARY, .roles = ROLES, .message = on_finish},
    {.name = "Progress", .kind = RPC_UNARY, .roles = ROLES, .message = on_progress},
};

/* ---- What the learner calls ---- */

status publisher_new(struct publisher **publisher, struct rpc_server *server, struct err *err)
{
    struct publisher *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "publisher");
    }
    made->server = server;
    made->delivery_ms = DELIVERY_MS;
    made->old_max_bytes = OLD_MAX_BYTES;
    made->published = metric_gauge("hindcast_learner_published_version",
                                   "Newest version of the parameters", NULL);
    made->watching =
        metric_gauge("hindcast_learner_watchers", "Clients that watch the parameters", NULL);
    pthread_mutex_init(&made->mutex, NULL);
    status s = rpc_server_add(server, &hindcast__parameters__descriptor, METHODS,
                              sizeof(METHODS) / sizeof(METHODS[0]), made, err);
    if (s != STATUS_OK) {
        pthread_mutex_destroy(&made->mutex);
        mem_free(made);
        return s;
    }
    /* Slow clients are looked for also while nothing is published. */
    rpc_server_every(server, CHECK_MS, check_deliveries, made);
    *publisher = made;
    return STATUS_OK;
}

void publisher_set_limits(struct publisher *publisher, uint64_t delivery_ms, size_t old_max_bytes)
{
    publisher->delivery_ms = delivery_ms;
    publisher->old_max_bytes = old_max_bytes;
}

void publisher_set_replay(struct publisher *publisher, const struct config_texts *replay)
{
    publisher->replay = replay;
}

void publisher_free(struct publisher *publisher)
{
    if (publisher == NULL) {
        return;
    }
    /* The server is closed, so all calls have ended. */
    ASSERT(publisher->watchers == NULL && publisher->deliveries == NULL);
    release(publisher->newest);
    pthread_mutex_destroy(&publisher->mutex);
    mem_free(publisher);
}

void publisher_set_run(struct publisher *publisher, const char *run_id)
{
    pthread_mutex_lock(&publisher->mutex);
    snprintf(publisher->run_id, sizeof(publisher->run_id), "%s", run_id);
    pthread_mutex_unlock(&publisher->mutex);
}

status publisher_publish(struct publisher *publisher, void *package, size_t size, uint64_t version,
                         uint64_t learner_step, bool finished, struct err *err)
{
    /* A larger package would exceed the limit of a message, and no client could receive it. */
    if (size > PUBLISHER_PACKAGE_MAX_BYTES) {
        mem_free(package);
        return err_set(err, STATUS_INVALID, "a package of %zu bytes, at most %u can be sent", size,
                       PUBLISHER_PACKAGE_MAX_BYTES);
    }
    /* The first hold is the publisher's own. */
    struct publication *made = mem_new(sizeof(*made));
    if (made == NULL) {
        mem_free(package);
        return err_set(err, STATUS_NO_MEMORY, "publication");
    }
    atomic_init(&made->holders, 1);
    made->version = version;
    made->learner_step = learner_step;
    made->finished = finished;
    made->package = package;
    made->size = size;

    /* The swap. Whoever sends the old one holds it. */
    pthread_mutex_lock(&publisher->mutex);
    struct publication *old = publisher->newest;
    ASSERT(version >= 1 && (old == NULL || version > old->version));
    publisher->newest = made;
    pthread_mutex_unlock(&publisher->mutex);
    release(old);

    /* One visit to the watchers serves all versions published until it runs. */
    metric_set(publisher->published, (double)version);
    if (!atomic_exchange(&publisher->visit_posted, true) &&
        rpc_server_post(publisher->server, visit_watchers, publisher) != STATUS_OK) {
        atomic_store(&publisher->visit_posted,
                     false); /* the server is closed, all calls have ended */
    }
    return STATUS_OK;
}

bool publisher_ending(struct publisher *publisher, struct publisher_end *end)
{
    /* The usual answer, every step, needs no lock. */
    if (!atomic_load(&publisher->ending)) {
        return false;
    }
    if (end != NULL) {
        pthread_mutex_lock(&publisher->mutex);
        *end = publisher->end;
        pthread_mutex_unlock(&publisher->mutex);
    }
    return true;
}

bool publisher_end(struct publisher *publisher, const char *reason, const char *who)
{
    struct publisher_end end = {0};
    set_text(end.reason, sizeof(end.reason), reason);
    set_text(end.who, sizeof(end.who), who);
    return set_end(publisher, &end);
}

void publisher_set_progress(struct publisher *publisher, const struct publisher_progress *progress)
{
    pthread_mutex_lock(&publisher->mutex);
    publisher->progress = *progress;
    pthread_mutex_unlock(&publisher->mutex);
}

void publisher_set_state(struct publisher *publisher, const char *text)
{
    pthread_mutex_lock(&publisher->mutex);
    set_text(publisher->state, sizeof(publisher->state), text);
    utf8_clean(publisher->state); /* it may quote what a peer sent, or a path */
    pthread_mutex_unlock(&publisher->mutex);
}

bool publisher_delivered(struct publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    /* Clients of Get cannot be counted; one delivery stands for them. */
    unsigned followers = publisher->watchers_most;
    if (followers == 0 && publisher->got) {
        followers = 1;
    }
    /* Before the last version is published, nothing can have been delivered. */
    bool delivered = publisher->newest != NULL && publisher->newest->finished &&
                     publisher->ends_delivered >= followers;
    pthread_mutex_unlock(&publisher->mutex);
    return delivered;
}

unsigned publisher_followers(struct publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    /* Callers of Get cannot be told apart, so all of them count as one. */
    unsigned followers = publisher->watches + (publisher->got ? 1 : 0);
    pthread_mutex_unlock(&publisher->mutex);
    return followers;
}
