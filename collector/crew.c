/* Workers and what they share. Everything in struct crew below `mutex` is guarded by it. */
#include "collector/crew.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "collector/order.h"
#include "common/rollout/rollout.h"

#define LOG_MODULE "crew"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define ATTEMPTS_MAX   10 /* episodes in a row that the environment may fail */
#define POLICY_POLL_MS 50

struct worker {
    struct crew *crew;
    pthread_t thread;
    struct actor *actor;
    struct shared_policy *policy; /* what the actor uses; NULL: at random */
};

struct crew {
    struct crew_settings settings;
    struct signature signature;
    struct environment *anchor; /* keeps the shared model loaded between episodes */
    struct worker *workers;
    uint32_t n_started; /* threads to join */
    _Atomic bool stopping;
    _Atomic uint64_t steps;
    struct metric *steps_total;
    struct metric *failed_total;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* anything below */
    struct order order;
    uint32_t n_working; /* workers that have not left */
    struct err failure; /* code OK: none */
};

static bool crew_stopping(const struct crew *crew)
{
    return atomic_load_explicit(&crew->stopping, memory_order_relaxed);
}

void crew_stop(struct crew *crew)
{
    atomic_store(&crew->stopping, true);
    pthread_mutex_lock(&crew->mutex);
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->mutex);
}

uint64_t crew_steps(const struct crew *crew)
{
    return atomic_load_explicit(&crew->steps, memory_order_relaxed);
}

/* Waits until something changed or it is `until_ns` (clock_now_ns); false when it is. With the
 * mutex held. */
static bool wait_changed(struct crew *crew, uint64_t until_ns)
{
    struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    return pthread_cond_timedwait(&crew->changed, &crew->mutex, &until) != ETIMEDOUT;
}

/* ---- What a worker acts with ---- */

/* Makes `policy` (taken; NULL: at random) what the worker acts with. */
static status worker_use(struct worker *worker, struct shared_policy *policy, struct err *err)
{
    struct policy_source *source = worker->crew->settings.policies;
    status s = actor_use(worker->actor, policy == NULL ? NULL : policy->policy, true, err);
    struct shared_policy *unused = s == STATUS_OK ? worker->policy : policy;
    if (s == STATUS_OK) {
        worker->policy = policy;
    }
    if (unused != NULL) {
        policy_source_return(source, unused);
    }
    return s;
}

/* The newest parameters, if they are not those in use already. */
static status worker_refresh(struct worker *worker, struct err *err)
{
    struct policy_source *source = worker->crew->settings.policies;
    struct shared_policy *newest = policy_source_take(source);
    if (newest == NULL) {
        return STATUS_OK;
    }
    if (newest == worker->policy) {
        policy_source_return(source, newest);
        return STATUS_OK;
    }
    return worker_use(worker, newest, err);
}

/* What the episode will be acted with. CLOSED where the end came while waiting for parameters. */
static status worker_choose(struct worker *worker, uint64_t sequence, struct err *err)
{
    struct crew *crew = worker->crew;
    const struct crew_settings *settings = &crew->settings;
    if (settings->policies == NULL || sequence <= settings->random_episodes) {
        return worker_use(worker, NULL, err);
    }
    status s = worker_refresh(worker, err);
    while (s == STATUS_OK && worker->policy == NULL && settings->wait_for_policy) {
        if (crew_stopping(crew) || policy_source_finished(settings->policies)) {
            return STATUS_CLOSED;
        }
        clock_sleep_ms(POLICY_POLL_MS);
        s = worker_refresh(worker, err);
    }
    return s;
}

/* ---- One episode ---- */

static status before_step(void *arg, uint32_t step, struct err *err)
{
    struct worker *worker = arg;
    struct crew *crew = worker->crew;
    uint32_t refresh_steps = crew->settings.refresh_steps;
    atomic_fetch_add_explicit(&crew->steps, 1, memory_order_relaxed);
    if (crew_stopping(crew)) {
        return STATUS_CLOSED;
    }
    if (refresh_steps > 0 && step > 0 && step % refresh_steps == 0 && worker->policy != NULL) {
        return worker_refresh(worker, err);
    }
    return STATUS_OK;
}

static status act_episode(struct worker *worker, struct finished_episode *finished,
                          uint32_t attempt, struct err *err)
{
    struct crew *crew = worker->crew;
    const struct crew_settings *settings = &crew->settings;
    struct rollout_stream stream;
    struct environment *environment;
    status s = worker_choose(worker, finished->sequence, err);
    if (s != STATUS_OK) {
        return s;
    }
    rollout_stream(&stream, settings->seed, "collector", settings->index,
                   finished->sequence | (uint64_t)attempt << 48);
    s = environment_open(&environment, settings->environment, stream.start_seed, err);
    if (s != STATUS_OK) {
        return s;
    }
    uint32_t task = (uint32_t)rng_below(&stream.rng, actor_tasks(worker->actor));
    finished->task = actor_reward(worker->actor, task);
    finished->random = worker->policy == NULL;
    finished->version = finished->random ? 0 : worker->policy->version;
    finished->learner_step = finished->random ? 0 : worker->policy->learner_step;
    actor_start(worker->actor, &stream.rng, task);
    s = rollout_run(environment, worker->actor, finished->episode, before_step, worker, err);
    environment_close(environment);
    return s;
}

/* May another attempt help? A simulated state that went bad, a robot that stalled: yes. */
static bool worth_another(status s)
{
    return s == STATUS_CORRUPT || s == STATUS_TIMEOUT || s == STATUS_UNAVAILABLE ||
           s == STATUS_INVALID;
}

static status act_until_good(struct worker *worker, struct finished_episode *finished,
                             struct err *err)
{
    for (uint32_t attempt = 0;; attempt++) {
        status s = act_episode(worker, finished, attempt, err);
        if (s == STATUS_OK || !worth_another(s)) {
            return s;
        }
        metric_add(worker->crew->failed_total, 1);
        log_warn("episode failed and is acted again episode=%" PRIu64 " attempt=%u: %s",
                 finished->sequence, attempt + 1, err == NULL ? "" : err->text);
        if (attempt + 1 == ATTEMPTS_MAX) {
            return err_context(err, s, "episode %" PRIu64 " failed %d times", finished->sequence,
                               ATTEMPTS_MAX);
        }
    }
}

/* ---- Workers ---- */

/* The next sequence to act; CLOSED when there is nothing more to do. */
static status next_sequence(struct crew *crew, uint64_t *sequence)
{
    struct policy_source *policies = crew->settings.policies;
    status s = STATUS_QUEUE_FULL;
    while (s == STATUS_QUEUE_FULL) {
        if (crew_stopping(crew) || (policies != NULL && policy_source_finished(policies))) {
            return STATUS_CLOSED;
        }
        pthread_mutex_lock(&crew->mutex);
        s = order_start(&crew->order, sequence);
        if (s == STATUS_QUEUE_FULL) {
            (void)wait_changed(crew, clock_now_ns() + 200 * NS_PER_MS);
        }
        pthread_mutex_unlock(&crew->mutex);
    }
    return s;
}

static void hand_on(struct crew *crew, struct finished_episode *finished)
{
    metric_add(crew->steps_total, finished->episode->T);
    pthread_mutex_lock(&crew->mutex);
    order_finish(&crew->order, finished->sequence, finished);
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->mutex);
}

static status work(struct worker *worker, struct err *err)
{
    struct crew *crew = worker->crew;
    uint64_t sequence;
    status s;
    while ((s = next_sequence(crew, &sequence)) == STATUS_OK) {
        struct finished_episode *finished =
            finished_episode_new(sequence, signature_width(&crew->signature));
        if (finished == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "episode %" PRIu64 ": out of memory", sequence);
        }
        s = act_until_good(worker, finished, err);
        if (s != STATUS_OK) {
            finished_episode_free(finished);
            return s;
        }
        hand_on(crew, finished);
    }
    return s;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct crew *crew = worker->crew;
    struct err err = {0};
    status s = work(worker, &err);
    if (worker->policy != NULL) {
        policy_source_return(crew->settings.policies, worker->policy);
        worker->policy = NULL;
    }
    pthread_mutex_lock(&crew->mutex);
    crew->n_working--;
    if (s != STATUS_CLOSED && crew->failure.code == STATUS_OK) {
        crew->failure = err;
        crew->failure.code = s;
        atomic_store(&crew->stopping, true);
    }
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->mutex);
    return NULL;
}

/* ---- The crew ---- */

status crew_next(struct crew *crew, uint64_t timeout_ms, struct finished_episode **finished,
                 struct err *err)
{
    status s = STATUS_OK;
    uint64_t until_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&crew->mutex);
    struct finished_episode *item = order_next(&crew->order);
    bool in_time = true;
    while (item == NULL && crew->n_working > 0 && in_time) {
        in_time = wait_changed(crew, until_ns);
        item = order_next(&crew->order);
    }
    if (item != NULL) {
        *finished = item;
        pthread_cond_broadcast(&crew->changed); /* the window has moved */
    } else if (crew->n_working > 0) {
        s = STATUS_TIMEOUT;
    } else if (crew->failure.code != STATUS_OK) {
        s = err_set(err, crew->failure.code, "%s", crew->failure.text);
    } else {
        s = STATUS_CLOSED;
    }
    pthread_mutex_unlock(&crew->mutex);
    return s;
}

static status start_workers(struct crew *crew, struct err *err)
{
    uint32_t n = crew->settings.n_workers;
    crew->workers = mem_array(n, sizeof *crew->workers);
    if (crew->workers == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "crew: out of memory");
    }
    for (uint32_t i = 0; i < n; i++) {
        struct worker *worker = &crew->workers[i];
        worker->crew = crew;
        status s = actor_new(&worker->actor, &crew->signature, err);
        if (s != STATUS_OK) {
            return s;
        }
        pthread_mutex_lock(&crew->mutex);
        crew->n_working++;
        pthread_mutex_unlock(&crew->mutex);
        int number = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (number != 0) {
            pthread_mutex_lock(&crew->mutex);
            crew->n_working--;
            pthread_mutex_unlock(&crew->mutex);
            return err_errno(err, number, "start worker %u", i);
        }
        crew->n_started++;
    }
    return STATUS_OK;
}

status crew_start(struct crew **crew, const struct crew_settings *settings,
                  const struct signature *signature, struct err *err)
{
    struct crew *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "crew: out of memory");
    }
    made->settings = *settings;
    made->signature = *signature;
    made->steps_total = metric_counter("hindcast_collector_steps_total",
                                       "Control steps of finished episodes", NULL);
    made->failed_total =
        metric_counter("hindcast_collector_failed_episodes_total",
                       "Episodes in which the environment failed; acted again", NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    /* One under way each, and one that is finished: where the keeper waits for the replay, acting
     * must not run ahead with parameters that get old. */
    order_init(&made->order, settings->n_workers + 1, settings->done, settings->last);
    status s = environment_open(&made->anchor, settings->environment, 0, err);
    if (s == STATUS_OK) {
        s = start_workers(made, err);
    }
    if (s != STATUS_OK) {
        crew_free(made);
        return s;
    }
    *crew = made;
    return STATUS_OK;
}

void crew_free(struct crew *crew)
{
    if (crew == NULL) {
        return;
    }
    crew_stop(crew);
    for (uint32_t i = 0; i < crew->n_started; i++) {
        pthread_join(crew->workers[i].thread, NULL);
    }
    for (uint32_t i = 0; crew->workers != NULL && i < crew->settings.n_workers; i++) {
        actor_free(crew->workers[i].actor);
    }
    struct finished_episode *left;
    while ((left = order_drain(&crew->order)) != NULL) {
        finished_episode_free(left);
    }
    environment_close(crew->anchor);
    pthread_cond_destroy(&crew->changed);
    pthread_mutex_destroy(&crew->mutex);
    mem_free(crew->workers);
    mem_free(crew);
}
