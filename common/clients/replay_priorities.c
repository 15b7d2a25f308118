/* Sending priorities back. See replay_priorities.h.
 *
 * Each server has two lists of episodes: one that replay_priorities_add fills, and one that is being
 * sent, which stays until the server has answered. When that is so the lists are exchanged. So a
 * call takes no lock while it lasts, memory is bounded, and a call that fails is simply made again:
 * setting priorities is idempotent.
 *
 * A list finds an episode by a hash of its id with linear probing, half full at most. */
#define LOG_MODULE "replay_priorities"
#include "common/clients/replay_priorities.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/clients/peer.h"
#include "proto/replay.pb-c.h"

#define EPISODES_MAX  65536u /* of one list: what a call may carry */
#define PLACES_BITS   17     /* of its hash; twice as many */
#define SEND_EVERY_MS 500u
#define CALL_MS       5000u
#define RETRY_NS      NS_PER_S
#define PRIORITY_MIN  1e-30
#define PRIORITY_MAX  1e30

struct waiting {
    uint64_t episode_id;
    double sum; /* of n priorities */
    uint32_t n;
};

struct list {
    struct waiting *episodes; /* (EPISODES_MAX) in the order in which they came */
    uint32_t *places;         /* (2^PLACES_BITS) 1 + index of the episode; 0: none */
    uint32_t n;
};

struct destination {
    struct rpc_channel *channel;
    struct list lists[2];
    struct list *filling; /* guarded by the lock */
    struct list *sending; /* the thread's */
    uint64_t retry_ns;    /* the thread's: not before; 0: at any time */
};

struct replay_priorities {
    char *table;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards stop, counts, and what destinations are filled with */
    pthread_cond_t wake;
    bool stop;
    struct replay_priorities_counts counts;
    struct metric *updated, *absent, *lost;
    /* The thread's: the arrays of a request. */
    uint64_t *ids;
    double *values;
    size_t n;
    struct destination destinations[CONFIG_LIST_MAX];
};

/* ---- Lists ---- */

static status list_init(struct list *list)
{
    list->episodes = mem_array(EPISODES_MAX, sizeof *list->episodes);
    list->places = mem_array((size_t)1 << PLACES_BITS, sizeof *list->places);
    return list->episodes && list->places ? STATUS_OK : STATUS_NO_MEMORY;
}

static void list_fini(struct list *list)
{
    mem_free(list->episodes);
    mem_free(list->places);
}

static void list_clear(struct list *list)
{
    if (list->n > 0) {
        memset(list->places, 0, sizeof *list->places << PLACES_BITS);
        list->n = 0;
    }
}

/* The episode's entry, a new one where it has none. NULL: the list is full. */
static struct waiting *list_find(struct list *list, uint64_t episode_id)
{
    /* The upper bits of a product with an odd number depend on all bits of the id. */
    uint32_t place = (uint32_t)((episode_id * 0x9e3779b97f4a7c15u) >> (64 - PLACES_BITS));
    while (list->places[place] != 0) {
        struct waiting *there = &list->episodes[list->places[place] - 1];
        if (there->episode_id == episode_id) {
            return there;
        }
        place = (place + 1) & ((1u << PLACES_BITS) - 1);
    }
    if (list->n == EPISODES_MAX) {
        return NULL;
    }
    list->episodes[list->n] = (struct waiting){.episode_id = episode_id};
    list->places[place] = ++list->n;
    return &list->episodes[list->n - 1];
}

/* ---- Adding ---- */

/* Under the lock. */
static void count_lost(struct replay_priorities *priorities, uint64_t n)
{
    priorities->counts.lost += n;
    metric_add(priorities->lost, (double)n);
}

void replay_priorities_add(struct replay_priorities *priorities,
                           const struct replay_origins *origins, const double *priority, uint32_t n)
{
    pthread_mutex_lock(&priorities->lock);
    for (uint32_t i = 0; i < n; i++) {
        ASSERT(origins->server[i] < priorities->n && isfinite(priority[i]));
        struct list *list = priorities->destinations[origins->server[i]].filling;
        struct waiting *episode = list_find(list, origins->episode_id[i]);
        if (episode) {
            episode->sum += priority[i];
            episode->n++;
        } else {
            count_lost(priorities, 1);
        }
    }
    pthread_mutex_unlock(&priorities->lock);
}

struct replay_priorities_counts replay_priorities_counts(struct replay_priorities *priorities)
{
    pthread_mutex_lock(&priorities->lock);
    const struct replay_priorities_counts counts = priorities->counts;
    pthread_mutex_unlock(&priorities->lock);
    return counts;
}

/* ---- Sending ---- */

/* Can the call succeed when it is made again? A table that is not there may be made. */
static bool transient(status code)
{
    return code == STATUS_UNAVAILABLE || code == STATUS_TIMEOUT || code == STATUS_RETRY ||
           code == STATUS_QUEUE_FULL || code == STATUS_LIMIT || code == STATUS_CLOSED ||
           code == STATUS_NOT_FOUND || code == STATUS_IO || code == STATUS_INTERNAL ||
           code == STATUS_FULL;
}

/* One call with all of a list. */
static status call(struct replay_priorities *priorities, const struct destination *to,
                   struct err *err)
{
    const struct list *list = to->sending;
    Hindcast__UpdatePrioritiesRequest request = HINDCAST__UPDATE_PRIORITIES_REQUEST__INIT;
    const struct rpc_call_options options = {.timeout_ms = CALL_MS};
    struct rpc_message message;
    for (uint32_t i = 0; i < list->n; i++) {
        const double mean = list->episodes[i].sum / list->episodes[i].n;
        priorities->ids[i] = list->episodes[i].episode_id;
        priorities->values[i] = fmin(fmax(mean, PRIORITY_MIN), PRIORITY_MAX);
    }
    request.table = priorities->table;
    request.n_episode_id = request.n_priority = list->n;
    request.episode_id = priorities->ids;
    request.priority = priorities->values;
    const status s = rpc_unary(to->channel, &hindcast__replay__descriptor, "UpdatePriorities",
                               &request.base, NULL, &options, &message, err);
    if (s != STATUS_OK) {
        return s;
    }
    const Hindcast__UpdatePrioritiesResponse *response =
        (const Hindcast__UpdatePrioritiesResponse *)message.body;
    pthread_mutex_lock(&priorities->lock);
    priorities->counts.updated += response->updated;
    priorities->counts.absent += response->absent;
    pthread_mutex_unlock(&priorities->lock);
    metric_add(priorities->updated, response->updated);
    metric_add(priorities->absent, response->absent);
    rpc_message_free(&message);
    return STATUS_OK;
}

/* Sends what waits for one server, if it may get something now. */
static void send_to(struct replay_priorities *priorities, struct destination *to)
{
    if (to->retry_ns > clock_now_ns()) {
        return;
    }
    /* What was not sent last time comes first. */
    if (to->sending->n == 0) {
        pthread_mutex_lock(&priorities->lock);
        struct list *filled = to->filling;
        to->filling = to->sending;
        to->sending = filled;
        pthread_mutex_unlock(&priorities->lock);
    }
    if (to->sending->n == 0) {
        return;
    }
    struct err err = {0};
    const status s = call(priorities, to, &err);
    if (s != STATUS_OK && transient(s)) {
        log_info("priorities wait: %s", err.text);
        to->retry_ns = clock_now_ns() + RETRY_NS;
        return;
    }
    to->retry_ns = 0;
    if (s != STATUS_OK) {
        log_warn("priorities of %u episodes are lost: %s", to->sending->n, err.text);
        pthread_mutex_lock(&priorities->lock);
        count_lost(priorities, to->sending->n);
        pthread_mutex_unlock(&priorities->lock);
    }
    list_clear(to->sending);
}

/* Waits until it is time to send. False: to stop. */
static bool wait_for_time(struct replay_priorities *priorities)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)SEND_EVERY_MS * (long)NS_PER_MS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&priorities->lock);
    int rc = 0;
    while (rc == 0 && !priorities->stop) {
        rc = pthread_cond_timedwait(&priorities->wake, &priorities->lock, &until);
    }
    const bool stop = priorities->stop;
    pthread_mutex_unlock(&priorities->lock);
    return !stop;
}

static void *run(void *arg)
{
    struct replay_priorities *priorities = arg;
    pthread_setname_np(pthread_self(), "replay-priority");
    while (wait_for_time(priorities)) {
        for (size_t i = 0; i < priorities->n; i++) {
            send_to(priorities, &priorities->destinations[i]);
        }
    }
    /* Nothing is added any more: both lists of each. */
    for (size_t i = 0; i < priorities->n; i++) {
        send_to(priorities, &priorities->destinations[i]);
        send_to(priorities, &priorities->destinations[i]);
    }
    return NULL;
}

/* ---- Opening and closing ---- */

/* Channels and memory; replay_priorities_close frees what is there. */
static status make(struct replay_priorities *made, const struct experiment *experiment,
                   const char *table, struct err *err)
{
    static const char help[] = "Priorities of episodes that were sent back, by what became of them";
    static const char name[] = "hindcast_learner_priorities_total";
    made->updated = metric_counter(name, help, "outcome=\"updated\"");
    made->absent = metric_counter(name, help, "outcome=\"absent\"");
    made->lost = metric_counter(name, help, "outcome=\"lost\"");
    made->table = mem_text(table);
    made->ids = mem_array(EPISODES_MAX, sizeof *made->ids);
    made->values = mem_array(EPISODES_MAX, sizeof *made->values);
    if (made->table == NULL || made->ids == NULL || made->values == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "priorities");
    }
    for (size_t i = 0; i < experiment->replay.n; i++) {
        struct destination *to = &made->destinations[i];
        const status s =
            peer_channel_open(&to->channel, experiment->replay.items[i], experiment, 0, err);
        if (s != STATUS_OK) {
            return s;
        }
        made->n++;
        to->filling = &to->lists[0];
        to->sending = &to->lists[1];
        if (list_init(to->filling) != STATUS_OK || list_init(to->sending) != STATUS_OK) {
            return err_set(err, STATUS_NO_MEMORY, "priorities");
        }
    }
    return STATUS_OK;
}

status replay_priorities_open(struct replay_priorities **out, const struct experiment *experiment,
                              const char *table, struct err *err)
{
    struct replay_priorities *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "priorities");
    }
    pthread_mutex_init(&made->lock, NULL);
    /* Waits use the monotonic clock: a step of the wall clock must not shorten or extend them. */
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&made->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    status s = make(made, experiment, table, err);
    if (s == STATUS_OK) {
        const int rc = pthread_create(&made->thread, NULL, run, made);
        made->started = rc == 0;
        s = rc == 0 ? STATUS_OK : err_errno(err, rc, "priorities: thread");
    }
    if (s != STATUS_OK) {
        replay_priorities_close(made);
        return s;
    }
    *out = made;
    return STATUS_OK;
}

void replay_priorities_close(struct replay_priorities *priorities)
{
    if (priorities == NULL) {
        return;
    }
    if (priorities->started) {
        pthread_mutex_lock(&priorities->lock);
        priorities->stop = true;
        pthread_cond_signal(&priorities->wake);
        pthread_mutex_unlock(&priorities->lock);
        pthread_join(priorities->thread, NULL);
    }
    uint64_t left = 0;
    for (size_t i = 0; i < priorities->n; i++) {
        struct destination *to = &priorities->destinations[i];
        left += to->lists[0].n + to->lists[1].n;
        rpc_channel_close(to->channel);
        list_fini(&to->lists[0]);
        list_fini(&to->lists[1]);
    }
    if (left > 0) {
        log_warn("priorities of %" PRIu64 " episodes are lost: their servers are away", left);
        metric_add(priorities->lost, (double)left);
    }
    pthread_cond_destroy(&priorities->wake);
    pthread_mutex_destroy(&priorities->lock);
    mem_free(priorities->table);
    mem_free(priorities->ids);
    mem_free(priorities->values);
    mem_free(priorities);
}
