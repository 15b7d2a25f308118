/* The exchange over gRPC at rank 0: the training thread's part. See exchange.h.
 *
 * The call thread (exchange_service.c) puts what ranks send into buffers and keeps the group's
 * state; this thread waits on a condition variable until the group is complete or all sums are
 * there, adds them, and posts what is to be sent. Calls are never touched here: gRPC operations
 * belong to the call thread. */
#include "learner/exchange/exchange_host.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

#define LOG_MODULE "exchange"
#include "common/base/log.h"

#define WATCH_MS 100 /* between checks for silent ranks */

/* Has the ranks told that the group broke. Under the mutex. */
static void post_dissolve(struct host *host)
{
    if (!host->dissolving && rpc_server_post(host->server, host_dissolve, host) == STATUS_OK) {
        host->dissolving = true;
    }
}

/* Takes `sending` and has it sent. */
static status post(struct sending *sending, struct err *err)
{
    /* The call thread frees `sending` when it has sent it; this thread, when it cannot be
     * posted. */
    status s = rpc_server_post(sending->host->server, host_send_all, sending);
    if (s != STATUS_OK) {
        sending_free(sending);
        return err_set(err, s, "exchange: nothing can be sent");
    }
    return STATUS_OK;
}

/* ---- Forming ---- */

/* Makes the buffers for the ranks' sums, once their size is known. Under the mutex. */
static status make_buffers(struct host *host, size_t n_parameters, struct err *err)
{
    if (n_parameters > EXCHANGE_PARAMETERS_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%zu parameters: several learners can share at most %zu", n_parameters,
                       EXCHANGE_PARAMETERS_MAX);
    }
    /* A buffer for each rank but rank 0, made once: the sizes of a run do not change. */
    const size_t size = exchange_sums_size(n_parameters, host->n_scalars);
    for (uint32_t r = 1; r < host->base.ranks && host->sums_size == 0; r++) {
        host->sums[r] = host->sums[r] != NULL ? host->sums[r] : mem_aligned(size);
        if (host->sums[r] == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "sums of rank %u", r);
        }
    }
    host->sums_size = size;
    return STATUS_OK;
}

/* Start and a copy of the state: the training thread goes on to change it. NULL: out of memory. */
static struct sending *sending_start(struct host *host, const struct exchange_start *start)
{
    struct sending *sending = mem_new(sizeof *sending);
    if (sending == NULL) {
        return NULL;
    }
    /* What goes into the header of every message. */
    sending->host = host;
    sending->step = state_step(start->state);
    sending->signature = signature_to_json(&start->signature);
    sending->start = mem_new(sizeof *sending->start);
    bool whole = sending->signature != NULL && sending->start != NULL;
    /* One buffer for each block, shared by the messages to all ranks. */
    const size_t bytes = state_layout(start->state)->size * sizeof(float);
    for (size_t i = 0; i < EXCHANGE_BLOCKS && whole; i++) {
        sending->buffers[i] = exchange_buffer_new(bytes);
        whole = sending->buffers[i] != NULL;
        if (whole) {
            memcpy(sending->buffers[i]->bytes, state_read(start->state, (enum state_block)i),
                   bytes);
        }
    }
    /* Out of memory at any place above. sending_free takes what is there. */
    if (!whole) {
        sending_free(sending);
        return NULL;
    }
    /* What the ranks need before they can make room for the blocks. */
    *sending->start = (Hindcast__GroupMessage__Start)HINDCAST__GROUP_MESSAGE__START__INIT;
    snprintf(sending->run_id, sizeof sending->run_id, "%s", start->run_id);
    sending->start->run_id = sending->run_id;
    sending->start->signature = sending->signature;
    sending->start->next_batch = start->next_batch;
    sending->start->learning_seconds = start->learning_seconds;
    sending->start->n_parameters = state_layout(start->state)->size;
    sending->start->n_scalars = host->n_scalars;
    return sending;
}

/* Do all ranks that have joined belong to this run? Has the others refused. Under the mutex. */
static bool same_run(struct host *host)
{
    /* A rank without a run id joins for the first time, and belongs to any run. */
    bool same = true;
    for (uint32_t r = 1; r < host->base.ranks; r++) {
        const bool other = host->group.members[r].incarnation != 0 && host->run_ids[r][0] &&
                           strcmp(host->run_ids[r], host->run_id) != 0;
        if (other && !host->refuse[r]) {
            host->refuse[r] =
                rpc_server_post(host->server, host_refuse_other_runs, host) == STATUS_OK;
        }
        same = same && !other;
    }
    return same;
}

/* Waits for news until the deadline, or until silent ranks have to be looked for. */
static void wait_until(struct host *host, uint64_t deadline_ns)
{
    const uint64_t watch_ns = clock_now_ns() + WATCH_MS * NS_PER_MS;
    const uint64_t until_ns = deadline_ns < watch_ns ? deadline_ns : watch_ns;
    const struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S),
                                   .tv_nsec = (long)(until_ns % NS_PER_S)};
    /* Woken by the call thread whenever something of the group has changed. */
    pthread_cond_timedwait(&host->news, &host->mutex, &until);
}

/* All ranks have joined: opens a generation and has the state sent. Under the mutex. */
static status open_generation(struct host *host, const struct exchange_start *start,
                              struct err *err)
{
    /* All memory is made before the group changes, so that a failure leaves it forming. */
    status s = make_buffers(host, state_layout(start->state)->size, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct sending *sending = sending_start(host, start);
    if (sending == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "exchange: a copy of the state");
    }
    /* The group steps from here on, and sums that arrive belong to this generation. */
    group_open(&host->group, state_step(start->state), start->next_batch);
    host->broken = false;
    sending->generation = host->group.generation;
    /* Recorded before anyone sees it, so that no later process of rank 0 uses it again. */
    host->base.counts.generation = host->group.generation;
    struct err why = {0};
    if (host->record.fd >= 0 &&
        counter_file_set(&host->record, host->group.generation, &why) != STATUS_OK) {
        log_warn("%s", why.text);
    }
    log_info("%u ranks learn together generation=%" PRIu64 " step=%" PRIu64 " batch=%" PRIu64,
             host->base.ranks, host->group.generation, state_step(start->state), start->next_batch);
    return post(sending, err);
}

/* One attempt of at most timeout_ms; the group opens in the call that finds it complete. */
static status host_form(struct exchange *exchange, struct exchange_start *start,
                        uint64_t timeout_ms, struct err *err)
{
    /* The run is known from the first call on; ranks of another one are refused then. */
    struct host *host = (struct host *)exchange;
    const uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    status s = STATUS_TIMEOUT;
    pthread_mutex_lock(&host->mutex);
    snprintf(host->run_id, sizeof host->run_id, "%s", start->run_id);
    do {
        /* Parameters that differ are final; nothing forms again after them. */
        if (host->fatal.code != STATUS_OK) {
            *err = host->fatal;
            s = err->code;
        } else if (host->group.phase == GROUP_FORMING && same_run(host) &&
                   group_complete(&host->group)) {
            s = open_generation(host, start, err);
        } else {
            if (host_to_dissolve(host)) {
                post_dissolve(host); /* the call thread's queue was full before */
            }
            wait_until(host, deadline_ns);
        }
    } while (s == STATUS_TIMEOUT && clock_now_ns() < deadline_ns);
    /* Which rank is missing, for status lines. */
    if (s == STATUS_TIMEOUT) {
        char text[GROUP_WAITS_SIZE];
        group_waits(&host->group, text);
        err_set(err, s, "%s", text[0] ? text : "for the other ranks");
    }
    pthread_mutex_unlock(&host->mutex);
    return s;
}

/* ---- The barrier ---- */

/* Why there will be no total; TIMEOUT where there may be one. Under the mutex. */
static status obstacle(struct host *host, struct err *err)
{
    /* The text of what is final says which rank differs. */
    if (host->fatal.code != STATUS_OK) {
        *err = host->fatal;
        return err->code;
    }
    if (host->broken || host->group.phase != GROUP_STEPPING) {
        return err_set(err, STATUS_GROUP_BROKEN, "the group broke up");
    }
    return STATUS_TIMEOUT;
}

/* Rank 0's own arrival, once. Under the mutex. */
static void arrive(struct host *host, const struct exchange_mark *mark)
{
    /* A call after TIMEOUT finds rank 0 there already. */
    if (host->group.members[0].arrived || host->group.phase != GROUP_STEPPING || host->broken) {
        return;
    }
    const struct group_mark own = {host->group.generation, mark->step, mark->batch, mark->digest};
    struct err err = {0};
    const status s = group_arrive(&host->group, clock_now_ns(), 0, &own, &err);
    ASSERT(s != STATUS_MISMATCH && s != STATUS_INVALID); /* the mark is rank 0's own */
    /* A rank that came earlier had other parameters. Where that breaks the group, it is refused. */
    if (s != STATUS_OK && host->group.phase == GROUP_STEPPING) {
        host->fatal = err;
    }
}

/* All sums are there: adds them and has the total sent. Under the mutex, so that the call thread
 * does not write into the buffers. */
static status add_up(struct host *host, struct update_sums sums, struct err *err)
{
    /* Memory first: a failure must not leave the barrier passed and the total unsent. */
    struct sending *sending = mem_new(sizeof *sending);
    struct exchange_buffer *total = exchange_buffer_new(host->sums_size);
    if (sending == NULL || total == NULL) {
        mem_free(sending);
        exchange_buffer_release(total);
        return err_set(err, STATUS_NO_MEMORY, "exchange: the total");
    }
    /* The barrier is passed before the total is sent: a rank's next sums may follow at once. */
    exchange_sums_add(total->bytes, sums, host->sums + 1, host->base.ranks - 1);
    group_pass(&host->group);
    host->base.counts.sent_bytes += host->sums_size * (host->base.ranks - 1);
    host->base.counts.received_bytes += host->sums_size * (host->base.ranks - 1);
    /* group_pass has counted the step, so the total carries the number of the step that it
     * completes. */
    *sending = (struct sending){.host = host,
                                .generation = host->group.generation,
                                .step = host->group.step,
                                .buffers = {total}};
    return post(sending, err);
}

static status host_sum(struct exchange *exchange, const struct exchange_mark *mark,
                       struct update_sums sums, uint64_t timeout_ms, struct err *err)
{
    struct host *host = (struct host *)exchange;
    const uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&host->mutex);
    ASSERT(exchange_sums_size(sums.n_gradients, sums.n_scalars) == host->sums_size);
    /* Rank 0's own sums are in `sums`; those of the others are awaited. */
    arrive(host, mark);
    status s = obstacle(host, err);
    while (s == STATUS_TIMEOUT) {
        if (group_full(&host->group)) {
            s = add_up(host, sums, err);
            break;
        }
        /* Which rank is late, and what it waits for. */
        if (clock_now_ns() >= deadline_ns) {
            char text[GROUP_WAITS_SIZE];
            group_waits(&host->group, text);
            err_set(err, s, "%s", text);
            break;
        }
        /* News, the deadline, or the time to look for silent ranks. */
        wait_until(host, deadline_ns);
        group_watch(&host->group, clock_now_ns());
        s = obstacle(host, err);
    }
    /* The group may have broken here, by the clock or by parameters that differ. */
    if (host_to_dissolve(host)) {
        post_dissolve(host);
    }
    pthread_mutex_unlock(&host->mutex);
    return s;
}

/* Nothing to do: the others see that the total does not come. */
static status host_waits(struct exchange *exchange, const char *what, struct err *err)
{
    (void)exchange;
    (void)what;
    (void)err;
    return STATUS_OK;
}

/* ---- The end ---- */

/* The first call decides. The ranks are told on the call thread. */
static void host_end(struct exchange *exchange, bool finished, const char *reason)
{
    struct host *host = (struct host *)exchange;
    pthread_mutex_lock(&host->mutex);
    const bool first = !host->ended;
    if (first) {
        host->ended = true;
        exchange->end_of.finished = finished;
        snprintf(exchange->end_of.reason, sizeof exchange->end_of.reason, "%s", reason);
    }
    pthread_mutex_unlock(&host->mutex);
    if (first && rpc_server_post(host->server, host_end_all, host) != STATUS_OK) {
        log_warn("the other ranks cannot be told of the end");
    }
}

/* Has every rank read the end? */
static bool host_told(struct exchange *exchange)
{
    struct host *host = (struct host *)exchange;
    bool all = true;
    pthread_mutex_lock(&host->mutex);
    for (uint32_t r = 1; r < exchange->ranks; r++) {
        all = all && host->told[r];
    }
    pthread_mutex_unlock(&host->mutex);
    return all;
}

/* ---- Opening and closing ---- */

static void host_close(struct exchange *exchange)
{
    /* After the server is closed, and with it the call thread. */
    struct host *host = (struct host *)exchange;
    for (uint32_t r = 0; r < exchange->ranks; r++) {
        ASSERT(host->calls[r] == NULL); /* the server is closed */
        mem_free(host->sums[r]);
    }
    counter_file_close(&host->record);
    pthread_cond_destroy(&host->news);
    pthread_mutex_destroy(&host->mutex);
    mem_free(host->terms);
    mem_free(host);
}

static const struct exchange_kind KIND = {.form = host_form,
                                          .sum = host_sum,
                                          .waits = host_waits,
                                          .end = host_end,
                                          .told = host_told,
                                          .close = host_close};

status exchange_open_host(struct exchange **exchange, const struct exchange_options *options,
                          struct err *err)
{
    struct host *host = mem_new(sizeof *host);
    char *terms = mem_text(options->terms);
    if (host == NULL || terms == NULL) {
        mem_free(host);
        mem_free(terms);
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    /* Everything that host_close undoes is in a state that it can undo before anything can fail. */
    host->base = (struct exchange){.kind = &KIND, .rank = 0, .ranks = options->ranks};
    host->server = options->server;
    host->terms = terms;
    host->n_scalars = options->n_scalars;
    host->record.fd = -1;
    /* The record says which generation the last process of rank 0 had reached. */
    uint64_t generation = 0;
    status s = STATUS_OK;
    if (options->record_path != NULL) {
        s = counter_file_open(&host->record, options->record_path, "generation", &generation, err);
    }
    /* Deadlines are on the monotonic clock. */
    pthread_mutex_init(&host->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&host->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    group_init(&host->group, options->ranks, generation,
               (uint64_t)(options->timeout_seconds * 1e9));
    /* The service last: from then on ranks may call. */
    if (s == STATUS_OK) {
        s = exchange_service_add(host, err);
    }
    if (s != STATUS_OK) {
        host_close(&host->base);
        return s;
    }
    *exchange = &host->base;
    return STATUS_OK;
}
