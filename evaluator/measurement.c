/* The threads of the pool, each with a group of environments, take episode numbers off one counter
 * until there are none.
 *
 * Which thread acts an episode does not matter: its start and its actions come from a stream that
 * is derived from its number, and the environment forgets what it did before. Every thread writes
 * only to the entries of its own episodes, so the returns need no lock.
 *
 * An episode in which the environment fails is counted and left out of the statistics; it is not an
 * error unless nothing is left. */
#include "evaluator/measurement.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/rollout/rollout_group.h"
#include "evaluator/statistics.h"

#define LOG_MODULE "measurement"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#define WAIT_LOG_NS (60 * NS_PER_S) /* a wait that goes on is logged this often */

/* One measurement: what its threads share. The mutex is for the failure only. */
struct job {
    const struct policy *policy;
    const struct environment_pool *pool;
    const struct measurement_settings *settings;
    struct measurement *made;
    _Atomic uint32_t next; /* task * episodes + episode */
    _Atomic uint32_t failed;
    _Atomic uint64_t steps;
    _Atomic bool over;               /* stopping, or an error: the threads leave */
    _Atomic uint64_t wait_logged_ns; /* when a wait for the environment was last logged; 0: none */
    pthread_mutex_t mutex;           /* guards `failure` */
    struct err failure;              /* the first; code OK: none */
};

/* The environment's signature; all environments of a pool have the same one. */
static const struct signature *signature_of(const struct job *job)
{
    return &job->pool->description.signature;
}

/* Records the first failure and makes all threads leave. */
static void fail_job(struct job *job, status s, const struct err *err)
{
    pthread_mutex_lock(&job->mutex);
    if (job->failure.code == STATUS_OK) {
        job->failure = *err;
        job->failure.code = s;
    }
    pthread_mutex_unlock(&job->mutex);
    atomic_store(&job->over, true);
}

/* CLOSED: the threads are to leave. */
static status check_stop(struct job *job)
{
    const struct measurement_settings *settings = job->settings;
    /* `over` is read without ordering: it only has to be seen soon, and the join orders the
     * rest. */
    bool stop = atomic_load_explicit(&job->over, memory_order_relaxed) ||
                (settings->stopping != NULL && settings->stopping(settings->arg));
    return stop ? STATUS_CLOSED : STATUS_OK;
}

/* Says what the environment waits for: each time to whoever asked, in the log once a minute. */
static void tell_wait(struct job *job, const char *reason)
{
    const uint64_t now_ns = clock_now_ns(), logged_ns = atomic_load(&job->wait_logged_ns);
    if (job->settings->waiting != NULL) {
        job->settings->waiting(job->settings->arg, reason);
    }
    if (logged_ns == 0 || now_ns - logged_ns > WAIT_LOG_NS) {
        atomic_store(&job->wait_logged_ns, now_ns);
        log_warn("waiting: %s", reason);
    }
}

/* ---- A thread ---- */

/* What acts in one environment. */
struct slot {
    uint32_t number; /* of its episode */
    bool again;      /* the environment was not ready: the same number is next */
    struct episode episode;
};

struct worker {
    struct job *job;
    struct rollout_group *group;
    struct slot *slots; /* one for each environment of the thread */
};

/* Episode `number` of the job begins. */
static status begin_episode(void *arg, uint32_t lane, struct environment_start *start,
                            struct episode **episode, struct err *err)
{
    struct worker *worker = arg;
    struct job *job = worker->job;
    struct slot *slot = &worker->slots[lane];
    struct actor *actor = rollout_group_actor(worker->group, lane);
    const struct measurement_settings *settings = job->settings;
    (void)err;
    if (!slot->again) {
        /* Each number is taken by one lane of one thread only. */
        slot->number = atomic_fetch_add(&job->next, 1);
    }
    if (slot->number >= job->made->n_tasks * settings->episodes) {
        return STATUS_CLOSED;
    }
    slot->again = false;
    /* Episodes are numbered task by task. The stream has no task in it, so that tasks are compared
     * from the same starts. */
    const uint32_t task = slot->number / settings->episodes;
    struct rollout_stream stream;
    rollout_stream(&stream, settings->seed, settings->stream, settings->index,
                   slot->number % settings->episodes);
    /* The policy may know only some of the environment's tasks, hence two numbers for one task. */
    *start =
        (struct environment_start){.seed = stream.start_seed, .task = actor_reward(actor, task)};
    *episode = &slot->episode;
    actor_start(actor, &stream.rng, task);
    return STATUS_OK;
}

/* Asked before every step, so that a measurement ends within one step. */
static status before_step(void *arg, uint32_t lane, uint32_t step, struct err *err)
{
    (void)lane;
    (void)step;
    (void)err;
    return check_stop(((struct worker *)arg)->job);
}

/* What is measured of an episode that came to its end. */
static void record(struct job *job, struct slot *slot, uint32_t reward)
{
    struct episode *episode = &slot->episode;
    job->made->returns[slot->number] = episode_return(episode, signature_of(job), reward);
    if (job->made->success != NULL) {
        const bool success = rollout_success(&job->pool->description, episode, reward);
        job->made->success[slot->number] = success ? 1.0 : 0.0;
    }
    atomic_fetch_add(&job->steps, episode->T);
    if (job->made->kept != NULL) {
        /* The rows move to the measurement; the lane goes on with an empty episode. */
        job->made->kept[slot->number] = *episode;
        episode_init(episode, signature_width(signature_of(job)));
    }
}

/* A failure of the environment is counted and is no error: the return stays NaN. */
static status end_episode(void *arg, uint32_t lane, status outcome, struct err *err)
{
    struct worker *worker = arg;
    struct job *job = worker->job;
    struct slot *slot = &worker->slots[lane];
    if (outcome == STATUS_RETRY) {
        /* A robot may be away, or stopped. */
        slot->again = true;
        tell_wait(job, err->text);
        return check_stop(job);
    }
    atomic_store(&job->wait_logged_ns, 0);
    if (outcome == STATUS_CLOSED || outcome == STATUS_NO_MEMORY) {
        return outcome;
    }
    if (outcome == STATUS_OK) {
        const uint32_t task = slot->number / job->settings->episodes;
        record(job, slot, actor_reward(rollout_group_actor(worker->group, lane), task));
    } else {
        log_warn("episode failed and is not counted episode=%u: %s", slot->number, err->text);
        atomic_fetch_add(&job->failed, 1);
    }
    return STATUS_OK;
}

/* Takes episode numbers until there are none left. */
static status measure_episodes(struct worker *worker, uint32_t n_lanes, struct err *err)
{
    static const struct rollout_calls calls = {
        .begin = begin_episode, .before_step = before_step, .end = end_episode};
    struct job *job = worker->job;
    status s = STATUS_OK;
    /* The thread that started the measurement has checked already that policy and environment
     * fit. */
    for (uint32_t i = 0; i < n_lanes; i++) {
        struct actor *actor = rollout_group_actor(worker->group, i);
        episode_init(&worker->slots[i].episode, signature_width(signature_of(job)));
        s = s != STATUS_OK ? s : actor_use(actor, job->policy, job->settings->sample, err);
    }
    s = s != STATUS_OK ? s : rollout_group_run(worker->group, n_lanes, &calls, worker, err);
    for (uint32_t i = 0; i < n_lanes; i++) {
        episode_fini(&worker->slots[i].episode);
    }
    return s;
}

/* Thread i of the pool, with its environments. */
static void work_episodes(void *arg, int i)
{
    struct job *job = arg;
    const struct environment_pool *pool = job->pool;
    const uint32_t first = environment_pool_first(pool, (uint32_t)i);
    uint32_t n = environment_pool_first(pool, (uint32_t)i + 1) - first;
    /* A thread that took more than its share of few episodes would leave others without any. */
    const uint32_t total = job->made->n_tasks * job->settings->episodes;
    const uint32_t share = (total + pool->n_threads - 1) / pool->n_threads;
    n = n < share ? n : share;
    struct worker worker = {.job = job, .slots = mem_array(n, sizeof *worker.slots)};
    struct err err = {0};
    status s = worker.slots != NULL ? STATUS_OK
                                    : err_set(&err, STATUS_NO_MEMORY, "measurement: out of memory");
    s = s != STATUS_OK ? s : rollout_group_new(&worker.group, pool->environments + first, n, &err);
    s = s != STATUS_OK ? s : measure_episodes(&worker, n, &err);
    rollout_group_free(worker.group);
    mem_free(worker.slots);
    if (s != STATUS_OK) {
        fail_job(job, s, &err);
    }
}

/* ---- The measurement ---- */

/* Measures on all threads and returns the first failure. */
static status run_threads(struct job *job, struct err *err)
{
    thread_pool_run(job->pool->threads, work_episodes, job);
    /* No lock: no thread works on the job any more. */
    if (job->failure.code != STATUS_OK) {
        return err_set(err, job->failure.code, "%s", job->failure.text);
    }
    return STATUS_OK;
}

/* Fills in the names of the policy's tasks and allocates their returns. MISMATCH: policy and
 * environment do not fit. */
static status make_measurement(struct job *job, struct err *err)
{
    struct actor *actor;
    struct measurement *made = job->made;
    status s = actor_new(&actor, signature_of(job), err);
    if (s != STATUS_OK) {
        return s;
    }
    /* An actor is the only one that knows how the policy's tasks relate to the environment's, so
     * one is made for that alone. */
    s = actor_use(actor, job->policy, job->settings->sample, err);
    if (s == STATUS_OK) {
        /* The tasks are the policy's, named as in the environment. */
        made->n_tasks = actor_tasks(actor);
        made->episodes = job->settings->episodes;
        for (uint32_t k = 0; k < made->n_tasks; k++) {
            memcpy(made->tasks[k], signature_of(job)->rewards[actor_reward(actor, k)],
                   SIGNATURE_NAME_SIZE);
        }
        size_t n = (size_t)made->n_tasks * made->episodes;
        made->returns = mem_array(n, sizeof *made->returns);
        made->kept = job->settings->keep ? mem_array(n, sizeof *made->kept) : NULL;
        const bool defined = job->pool->description.success_steps > 0;
        made->success = defined ? mem_array(n, sizeof *made->success) : NULL;
        s = made->returns != NULL && (made->kept != NULL || !job->settings->keep) &&
                    (made->success != NULL || !defined)
                ? STATUS_OK
                : err_set(err, STATUS_NO_MEMORY, "measurement: out of memory");
        /* NaN: not measured yet, or failed. */
        for (size_t i = 0; s == STATUS_OK && i < n; i++) {
            made->returns[i] = NAN;
            if (defined) {
                made->success[i] = NAN;
            }
        }
    }
    actor_free(actor);
    return s;
}

/* Copies row k of `all` (n_tasks, episodes), without failed episodes, to `values`; returns how many. */
static size_t good_values(const struct measurement *measurement, const double *all, uint32_t k,
                          double *values)
{
    const double *row = all + (size_t)k * measurement->episodes;
    size_t n = 0;
    for (uint32_t i = 0; i < measurement->episodes; i++) {
        if (!isnan(row[i])) {
            values[n++] = row[i];
        }
    }
    return n;
}

/* Does every task have at least one return? */
static status check_complete(const struct measurement *made, struct err *err)
{
    for (uint32_t k = 0; k < made->n_tasks; k++) {
        bool any = false;
        for (uint32_t i = 0; i < made->episodes; i++) {
            any = any || !isnan(made->returns[(size_t)k * made->episodes + i]);
        }
        if (!any) {
            return err_set(err, STATUS_CORRUPT,
                           "task %s: the environment failed in all %u episodes", made->tasks[k],
                           made->episodes);
        }
    }
    return STATUS_OK;
}

/* Times the whole and collects the counts of all threads. */
static status run_job(struct job *job, struct err *err)
{
    /* The counts are taken over even after a failure; only the caller decides what they are
     * worth. */
    uint64_t started_ns = clock_now_ns();
    status s = make_measurement(job, err);
    if (s == STATUS_OK) {
        s = run_threads(job, err);
    }
    if (s == STATUS_OK) {
        s = check_complete(job->made, err);
    }
    job->made->failed = atomic_load(&job->failed);
    job->made->steps = atomic_load(&job->steps);
    job->made->seconds = (double)(clock_now_ns() - started_ns) / 1e9;
    return s;
}

status measurement_take(struct measurement **measurement, const struct policy *policy,
                        struct environment_pool *pool, const struct measurement_settings *settings,
                        struct err *err)
{
    ASSERT(settings->episodes >= 1);
    ASSERT(pool->n >= 1);
    status s;
    struct job *job = mem_new(sizeof *job);
    struct measurement *made = mem_new(sizeof *made);
    if (job == NULL || made == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "measurement: out of memory");
    } else {
        /* The job lives as long as this call; its threads end before it does. */
        job->policy = policy;
        job->settings = settings;
        job->pool = pool;
        job->made = made;
        pthread_mutex_init(&job->mutex, NULL);
        s = run_job(job, err);
        pthread_mutex_destroy(&job->mutex);
    }
    mem_free(job);
    if (s != STATUS_OK) {
        measurement_free(made);
        return s;
    }
    *measurement = made;
    return STATUS_OK;
}

void measurement_free(struct measurement *measurement)
{
    if (measurement != NULL) {
        size_t n =
            measurement->kept == NULL ? 0 : (size_t)measurement->n_tasks * measurement->episodes;
        for (size_t i = 0; i < n; i++) {
            episode_fini(&measurement->kept[i]);
        }
        mem_free(measurement->kept);
        mem_free(measurement->returns);
        mem_free(measurement->success);
        mem_free(measurement);
    }
}

/* Every task weighs the same, however many of its episodes failed. */
double measurement_mean(const struct measurement *measurement)
{
    double sum = 0;
    for (uint32_t k = 0; k < measurement->n_tasks; k++) {
        /* A task without a good return does not get here: see check_complete. */
        double task = 0;
        size_t n = 0;
        for (uint32_t i = 0; i < measurement->episodes; i++) {
            double value = measurement->returns[(size_t)k * measurement->episodes + i];
            if (!isnan(value)) {
                task += value;
                n++;
            }
        }
        sum += task / (double)n;
    }
    return sum / measurement->n_tasks;
}

/* ---- JSON ---- */

/* How often task k succeeded, where success is defined; false: out of memory. Overwrites `values`. */
static bool add_success(cJSON *task, const struct measurement *measurement, uint32_t k,
                        double *values)
{
    if (measurement->success == NULL) {
        return true;
    }
    size_t n = good_values(measurement, measurement->success, k, values);
    double successes = 0.0;
    for (size_t i = 0; i < n; i++) {
        successes += values[i];
    }
    /* A task without a good episode does not get here: see check_complete. */
    struct rate_interval interval = rate_interval_of(successes, (double)n);
    return cJSON_AddNumberToObject(task, "success_rate", successes / (double)n) &&
           cJSON_AddNumberToObject(task, "success_low", interval.low) &&
           cJSON_AddNumberToObject(task, "success_high", interval.high);
}

/* The statistics of one task and its returns; NULL: out of memory. `values` has room for `episodes`
 * numbers and is overwritten. */
static cJSON *task_json(const struct measurement *measurement, uint32_t k, double *values)
{
    cJSON *task = cJSON_CreateObject();
    /* The list is made before statistics_of sorts the values. */
    size_t n = good_values(measurement, measurement->returns, k, values);
    cJSON *returns = cJSON_CreateDoubleArray(values, (int)n); /* in order of episodes */
    struct statistics of = statistics_of(values, n);
    /* A failed cJSON_Add.. leaves the object as it was, so a chain of them needs one check. */
    bool ok = returns != NULL && cJSON_AddStringToObject(task, "task", measurement->tasks[k]) &&
              cJSON_AddNumberToObject(task, "n", (double)n);
    for (size_t i = 0; ok && i < STATISTICS_N; i++) {
        ok = cJSON_AddNumberToObject(task, statistics_names[i], statistics_get(&of, i)) != NULL;
    }
    ok = ok && add_success(task, measurement, k, values);
    /* Owned by the task only after the last call. */
    if (!ok || !cJSON_AddItemToObject(task, "returns", returns)) {
        cJSON_Delete(returns);
        cJSON_Delete(task);
        return NULL;
    }
    return task;
}

status measurement_to_json(const struct measurement *measurement, cJSON *object)
{
    double *values = mem_array(measurement->episodes, sizeof *values);
    /* The totals first, then one object per task. */
    bool ok = values != NULL &&
              cJSON_AddNumberToObject(object, "return_mean", measurement_mean(measurement)) &&
              cJSON_AddNumberToObject(object, "failed_episodes", measurement->failed) &&
              cJSON_AddNumberToObject(object, "steps", (double)measurement->steps) &&
              cJSON_AddNumberToObject(object, "seconds", measurement->seconds);
    cJSON *tasks = ok ? cJSON_AddArrayToObject(object, "tasks") : NULL;
    for (uint32_t k = 0; tasks != NULL && k < measurement->n_tasks; k++) {
        cJSON *task = task_json(measurement, k, values);
        if (task == NULL || !cJSON_AddItemToArray(tasks, task)) {
            cJSON_Delete(task);
            tasks = NULL;
        }
    }
    mem_free(values);
    return tasks != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

double measurement_number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}
