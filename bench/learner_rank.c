/* A rank's process. Rank 0 takes turns as the page asks for them; the others meet it at every step,
 * and sleep while it does not come: there are more ranks than cores, and a rank that polls would
 * take time from others that are measured. See learner_rank.h. */
#include "bench/learner_rank.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "learner/exchange/exchange.h"
#include "learner/step/operators.h"

/* How long one attempt to meet or form waits, and the pause between two looks at the page. */
#define WAIT_MS 20
#define LOOK_MS 2
/* Steps of a turn that count, at least. */
#define STEPS_MIN 3

struct rank {
    const struct rank_job *job;
    struct learner_steps *steps;
    struct rpc_server *server;
    struct exchange *exchange;
    struct exchange_start start;
    uint64_t begun;  /* steps */
    uint64_t met_ns; /* end of the last meeting; 0: there was a pause since */
};

/* If this is the measuring program, the kernel then ends the ranks (PR_SET_PDEATHSIG). */
_Noreturn static void stop(const char *what, const char *why)
{
    fprintf(stderr, "bench_learner --ranks: %s: %s\n", what, why);
    exit(1);
}

struct rank_page *learner_rank_page(const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    void *page = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(struct rank_page)) == 0) {
        page = mmap(NULL, sizeof(struct rank_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (page == MAP_FAILED) {
        stop(path, "cannot be shared");
    }
    close(fd);
    return page;
}

/* The n-th core that this process may use; ranks share cores where there are too few. */
static void pin(int n)
{
    /* The set of allowed cores may have gaps: count the allowed ones only. */
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 1) {
        stop("cores", "not known");
    }
    n %= CPU_COUNT(&all);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n-- == 0) {
            CPU_SET(cpu, &one);
        }
    }
    if (sched_setaffinity(0, sizeof one, &one) != 0) {
        stop("cores", "a rank cannot be pinned");
    }
}

/* ---- A step's meeting ---- */

/* When the last rank came to this step. All have come, and none can be two steps further. */
static uint64_t last_arrival(const struct rank *rank)
{
    uint64_t last_ns = 0;
    for (int r = 0; r < rank->job->ranks; r++) {
        const uint64_t ns = atomic_load(&rank->job->page->places[r].arrived_ns[rank->begun % 2]);
        last_ns = ns > last_ns ? ns : last_ns;
    }
    return last_ns;
}

/* Processor time of this process so far. */
static uint64_t cpu_ns(void)
{
    struct timespec used;
    ASSERT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

/* Adds a step's pieces to what this rank has measured. The first step of a turn holds the pause
 * before it, and does not count. */
static void count(struct rank *rank, const uint64_t ns[RANK_PIECES], uint64_t exchange_cpu_ns,
                  const struct exchange_counts *before)
{
    struct rank_place *place = &rank->job->page->places[rank->job->rank];
    if (rank->met_ns == 0 || rank->begun == atomic_load(&rank->job->page->first_step)) {
        return;
    }
    const struct exchange_counts counts = exchange_counts(rank->exchange);
    for (int i = 0; i < RANK_PIECES; i++) {
        atomic_fetch_add(&place->ns[i], ns[i]);
    }
    atomic_fetch_add(&place->sent_bytes, counts.sent_bytes - before->sent_bytes);
    atomic_fetch_add(&place->received_bytes, counts.received_bytes - before->received_bytes);
    atomic_fetch_add(&place->exchange_cpu_ns, exchange_cpu_ns);
    atomic_fetch_add(&place->steps, 1);
}

/* As learner/run/stepper.c does it: digest, sums, total. */
static status meet(void *arg, const struct state *state, struct update_sums sums, struct err *err)
{
    struct rank *rank = arg;
    struct rank_page *page = rank->job->page;
    uint64_t ns[RANK_PIECES] = {0};
    const uint64_t begin_ns = clock_now_ns();
    /* What lies between two meetings are the gradients of this step and the end of the last. */
    ns[RANK_GRADIENTS] =
        atomic_load(&page->bare) ? 0 : phases_sum(learner_steps_phases(rank->steps));
    const uint64_t between_ns = begin_ns - rank->met_ns;
    ns[RANK_APPLY] = between_ns > ns[RANK_GRADIENTS] ? between_ns - ns[RANK_GRADIENTS] : 0;
    /* The mark tells the ranks that all are at the same step with the same state. */
    const struct exchange_mark mark = {rank->begun, rank->begun, state_digest(state)};
    const uint64_t arrived_ns = clock_now_ns();
    ns[RANK_DIGEST] = arrived_ns - begin_ns;
    atomic_store(&page->places[rank->job->rank].arrived_ns[rank->begun % 2], arrived_ns);
    const struct exchange_counts before = exchange_counts(rank->exchange);
    const uint64_t begin_cpu_ns = cpu_ns();
    status s = STATUS_TIMEOUT;
    while (s == STATUS_TIMEOUT) {
        while (rank->job->rank != 0 && atomic_load(&page->paused)) {
            rank->met_ns = 0; /* rank 0 is past this step: it would count the pause */
            clock_sleep_ms(LOOK_MS);
        }
        s = exchange_sum(rank->exchange, &mark, sums, WAIT_MS, err);
    }
    if (s == STATUS_CLOSED) {
        return s; /* rank 0 has no more turns */
    }
    const uint64_t end_ns = clock_now_ns(), last_ns = last_arrival(rank);
    ns[RANK_WAIT] = last_ns - arrived_ns;
    ns[RANK_EXCHANGE] = end_ns - last_ns;
    count(rank, ns, cpu_ns() - begin_cpu_ns, &before);
    rank->met_ns = clock_now_ns();
    rank->begun++;
    return s;
}

/* ---- The group ---- */

/* The exchange calls it on a rank that is to receive the state of rank 0. */
static status make_state(void *arg, struct exchange_start *start, struct err *err)
{
    const struct rank *rank = arg;
    return state_new(&start->state, learner_steps_settings(rank->steps), err);
}

/* The signature is only compared between the ranks; its names do not matter. */
static void set_signature(struct signature *signature, const struct settings *settings)
{
    *signature = (struct signature){.n_slices = 1,
                                    .slices = {{"state", (uint32_t)settings->O}},
                                    .A = (uint32_t)settings->A,
                                    .K = (uint32_t)settings->K,
                                    .control_period_s = 0.02};
    for (uint32_t i = 0; i < signature->A; i++) {
        signature->action_min[i] = -1;
        signature->action_max[i] = 1;
    }
    for (uint32_t k = 0; k < signature->K; k++) {
        snprintf(signature->rewards[k], sizeof signature->rewards[k], "task%u", k);
    }
}

/* Over gRPC rank 0 serves; the exchange adds its calls before the server starts. */
static status open_exchange(struct rank *rank, struct err *err)
{
    static struct experiment experiment;
    const struct rank_job *job = rank->job;
    const bool serves = job->address != NULL && job->rank == 0;
    const struct rpc_server_options serving = {
        .addresses = &job->address, .n_addresses = 1, .max_message_bytes = EXCHANGE_MESSAGE_MAX};
    status s = serves ? rpc_server_open(&rank->server, &serving, err) : STATUS_OK;
    const struct exchange_options options = {.rank = (uint32_t)job->rank,
                                             .ranks = (uint32_t)job->ranks,
                                             .address = job->address,
                                             .experiment = &experiment,
                                             .timeout_seconds = 60,
                                             .terms = "bench\n",
                                             .server = rank->server,
                                             .n_scalars = SUMS_COUNT,
                                             .make = make_state,
                                             .make_arg = rank};
    if (s == STATUS_OK) {
        s = job->address != NULL ? exchange_open_grpc(&rank->exchange, &options, err)
                                 : exchange_open_mpi(&rank->exchange, &options, err);
    }
    return s == STATUS_OK && serves ? rpc_server_start(rank->server, err) : s;
}

/* Joins the group; returns once all have met. */
static void join(struct rank *rank)
{
    struct err err;
    status s = open_exchange(rank, &err);
    /* Rank 0 decides what all begin with; the others receive it. */
    if (s == STATUS_OK && rank->job->rank == 0) {
        const struct settings *settings = learner_steps_settings(rank->steps);
        set_signature(&rank->start.signature, settings);
        snprintf(rank->start.run_id, sizeof rank->start.run_id, "bench");
        s = state_new(&rank->start.state, settings, &err);
    }
    /* Forming takes until all processes are up; each wait is short. */
    while (s == STATUS_OK &&
           (s = exchange_form(rank->exchange, &rank->start, WAIT_MS, &err)) == STATUS_TIMEOUT) {
        s = STATUS_OK;
    }
    if (s != STATUS_OK) {
        stop("the group does not form", err.text);
    }
}

/* ---- Turns ---- */

/* Exchanges alone, for `seconds`. Only the size of the sums matters: they are zeros, which stay zeros
 * however often they are added. Returns at the end of the run, too. */
static status exchange_for(struct rank *rank, double seconds, struct err *err)
{
    const uint64_t begin_ns = clock_now_ns();
    const struct update_sums sums = learner_steps_sums(rank->steps);
    memset(sums.gradients, 0, sums.n_gradients * sizeof *sums.gradients);
    memset(sums.scalars, 0, sums.n_scalars * sizeof *sums.scalars);
    status s;
    do {
        s = meet(rank, learner_steps_state(rank->steps), sums, err);
    } while (s == STATUS_OK && 1e-9 * (double)(clock_now_ns() - begin_ns) < seconds);
    return s;
}

/* Steps for `seconds`. */
static void take_turn(struct rank *rank, double seconds)
{
    struct err err = {0};
    double rate;
    const status s = atomic_load(&rank->job->page->bare)
                         ? exchange_for(rank, seconds, &err)
                         : learner_steps_take(rank->steps, seconds, &rate, &err);
    if (s == STATUS_CLOSED && rank->job->rank != 0) {
        /* Rank 0 has ended the group. */
        exchange_end(rank->exchange, false, "");
        exchange_close(rank->exchange);
        if (rank->job->address == NULL) {
            exchange_mpi_finish(false);
        }
        _exit(0);
    }
    if (s != STATUS_OK) {
        stop("a rank fails", err.text);
    }
}

/* Rank 0: turns as the page asks for them, until one of 0 seconds. */
static void serve_turns(struct rank *rank)
{
    struct rank_page *page = rank->job->page;
    for (uint64_t turn = 1;; turn++) {
        while (atomic_load(&page->asked) < turn) {
            clock_sleep_ms(LOOK_MS);
        }
        const double seconds = atomic_load(&page->seconds);
        atomic_store(&page->first_step, rank->begun);
        atomic_store(&page->paused, false);
        if (!(seconds > 0)) {
            return;
        }
        /* However short the turn, every rank has a step that counts: the others are through all
         * but rank 0's last one. */
        const uint64_t enough = atomic_load(&page->places[0].steps) + STEPS_MIN;
        do {
            take_turn(rank, seconds);
        } while (atomic_load(&page->places[0].steps) < enough);
        atomic_store(&page->paused, true);
        atomic_store(&page->answered, turn);
    }
}

_Noreturn void learner_rank_run(const struct rank_job *job)
{
    pin(job->rank);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_open("bench", LOG_ERROR);
    rpc_init();
    /* The ranks share the batch: each has its part of the snippets, and the parts differ by one at
     * most. */
    struct learner_size slice = job->size;
    slice.B = (job->rank + 1) * job->size.B / job->ranks - job->rank * job->size.B / job->ranks;
    struct rank rank = {.job = job, .steps = learner_steps_new(&job->settings, &slice, 1)};
    join(&rank);
    /* All begin with the same state; whose first step was taken alone. */
    learner_steps_restart(rank.steps);
    learner_steps_meet(rank.steps, meet, &rank);
    /* The other ranks have no clock: they step along whenever rank 0 does, until it ends. */
    for (; job->rank != 0;) {
        take_turn(&rank, 1e9);
    }
    serve_turns(&rank);
    exchange_end(rank.exchange, true, "measured");
    if (rank.server != NULL) {
        rpc_server_close(rank.server, 2000);
    }
    if (job->address == NULL) {
        exchange_close(rank.exchange);
        exchange_mpi_finish(false);
    }
    _exit(0);
}
