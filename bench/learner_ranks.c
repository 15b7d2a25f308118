/* Ranks as processes. Rank 0 of each group takes requests by a pipe: step for so many seconds, say
 * how it went; the others just meet it at every step, and sleep while it does not come. */
#include "bench/learner_ranks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/quantile.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "learner/exchange/exchange.h"
#include "learner/step/operators.h"

/* The limits of the arrays below, and how long one attempt to meet or form waits. */
#define ROUNDS_MAX 101
#define WAIT_MS    1000
#define RANKS_MAX  16

/* How a turn went. */
struct turn {
    double steps_per_s, exchange_ms, bytes_per_step;
};

/* The ranks of one benchmark, and how they exchange. */
struct bench_group {
    const char *transport;
    bool bare; /* exchange only, without learning */
    char address[128];
    int request, answer; /* pipes to and from rank 0 */
    pid_t pids[RANKS_MAX];
    struct turn turns[ROUNDS_MAX];
};

/* A rank's process. */
struct rank {
    struct exchange *exchange;
    struct exchange_start start;
    const struct settings *settings;
    bool bare;
    uint64_t begun; /* steps */
    uint64_t exchange_ns;
};

/* Ends this process. If it is the parent, the kernel then kills the ranks (PR_SET_PDEATHSIG). */
static void stop(const char *what, const char *why)
{
    fprintf(stderr, "bench_learner --ranks: %s: %s\n", what, why);
    exit(1);
}

/* The n-th core that this process may use. */
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

/* ---- A rank's process ---- */

/* As learner/run/stepper.c does it: digest, sums, total. */
static status meet(void *arg, const struct state *state, struct update_sums sums, struct err *err)
{
    struct rank *rank = arg;
    const uint64_t begin_ns = clock_now_ns();
    /* The mark tells the ranks that all are at the same step with the same state. */
    const struct exchange_mark mark = {rank->begun, rank->begun, state_digest(state)};
    status s;
    /* A rank waits as long as it takes: rank 0 may be between two turns. */
    do {
        s = exchange_sum(rank->exchange, &mark, sums, WAIT_MS, err);
    } while (s == STATUS_TIMEOUT);
    rank->exchange_ns += clock_now_ns() - begin_ns;
    rank->begun++;
    if (s == STATUS_CLOSED) {
        _exit(0); /* rank 0 has no more requests */
    }
    return s;
}

/* The exchange calls it on a rank that is to receive the state of rank 0. */
static status make_state(void *arg, struct exchange_start *start, struct err *err)
{
    const struct rank *rank = arg;
    return state_new(&start->state, rank->settings, err);
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

/* Joins the group, as number `number` of `ranks`; returns once all have met. Only rank 0 serves. */
static void open_exchange(struct rank *rank, const char *address, int number, int ranks,
                          struct rpc_server **server)
{
    static struct experiment experiment;
    const struct rpc_server_options serving = {
        .addresses = &address, .n_addresses = 1, .max_message_bytes = EXCHANGE_MESSAGE_MAX};
    struct err err;
    /* The exchange adds its calls to the server, which starts after that. */
    status s = number == 0 ? rpc_server_open(server, &serving, &err) : STATUS_OK;
    const struct exchange_options options = {.rank = (uint32_t)number,
                                             .ranks = (uint32_t)ranks,
                                             .address = address,
                                             .experiment = &experiment,
                                             .timeout_seconds = 60,
                                             .terms = "bench\n",
                                             .server = *server,
                                             .n_scalars = SUMS_COUNT,
                                             .make = make_state,
                                             .make_arg = rank};
    s = s != STATUS_OK ? s : exchange_open_grpc(&rank->exchange, &options, &err);
    s = s != STATUS_OK || number != 0 ? s : rpc_server_start(*server, &err);
    /* Rank 0 decides what all begin with; the others receive it. */
    if (s == STATUS_OK && number == 0) {
        set_signature(&rank->start.signature, rank->settings);
        snprintf(rank->start.run_id, sizeof rank->start.run_id, "bench");
        s = state_new(&rank->start.state, rank->settings, &err);
    }
    /* Forming takes until all processes are up; each wait is short. */
    while (s == STATUS_OK &&
           (s = exchange_form(rank->exchange, &rank->start, WAIT_MS, &err)) == STATUS_TIMEOUT) {
        s = STATUS_OK;
    }
    if (s != STATUS_OK) {
        stop(address, err.text);
    }
}

/* Exchanges alone, with gradients of the right size. */
static void exchange_for(struct rank *rank, struct learner_steps *steps, double seconds, double *n)
{
    const uint64_t begin_ns = clock_now_ns();
    struct err err;
    *n = 0;
    /* The sums of an earlier step are exchanged over and over: only their size matters. */
    do {
        if (meet(rank, learner_steps_state(steps), learner_steps_sums(steps), &err) != STATUS_OK) {
            stop("exchange", err.text);
        }
        *n += 1;
    } while (1e-9 * (double)(clock_now_ns() - begin_ns) < seconds);
}

/* Steps, or bare exchanges, for `seconds`, and what they cost. Counts are differences, since those
 * of the exchange run on. */
static struct turn take_turn(struct rank *rank, struct learner_steps *steps, double seconds)
{
    const uint64_t begun = rank->begun, begin_ns = clock_now_ns();
    rank->exchange_ns = 0;
    const uint64_t bytes = exchange_counts(rank->exchange).sent_bytes;
    double n = 0;
    if (rank->bare) {
        exchange_for(rank, steps, seconds, &n);
    } else {
        (void)learner_steps_measure(steps, seconds);
    }
    n = (double)(rank->begun - begun);
    return (struct turn){.steps_per_s = n / (1e-9 * (double)(clock_now_ns() - begin_ns)),
                         .exchange_ms = 1e-6 * (double)rank->exchange_ns / n,
                         .bytes_per_step =
                             (double)(exchange_counts(rank->exchange).sent_bytes - bytes) / n};
}

/* The process of one rank. Never returns. */
static void run_rank(const struct bench_group *group, const struct settings *settings,
                     const struct learner_size *size, int number, int ranks, int order, int answer)
{
    pin(number);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_open("bench", LOG_ERROR);
    rpc_init();
    /* The ranks share the batch: each has its part of the snippets, and the parts differ by one at
     * most. */
    struct learner_size slice = *size;
    slice.B = (number + 1) * size->B / ranks - number * size->B / ranks;
    struct learner_steps *steps = learner_steps_new(settings, &slice, 1);
    struct rank rank = {.settings = learner_steps_settings(steps), .bare = group->bare};
    struct rpc_server *server = NULL;
    open_exchange(&rank, group->address, number, ranks, &server);
    /* All begin with the same state; whose first step was taken alone. */
    learner_steps_restart(steps);
    learner_steps_meet(steps, meet, &rank);
    /* The other ranks have no clock: they step along whenever rank 0 does. */
    double seconds;
    if (number != 0) {
        for (;;) { /* until rank 0 leaves, which ends the process */
            (void)take_turn(&rank, steps, 1e9);
        }
    }
    /* Rank 0 serves requests until it gets one of 0 seconds or the pipe closes. */
    while (read(order, &seconds, sizeof seconds) == sizeof seconds && seconds > 0) {
        const struct turn turn = take_turn(&rank, steps, seconds);
        if (write(answer, &turn, sizeof turn) != sizeof turn) {
            break;
        }
    }
    /* The others learn of the end from the exchange, in meet(). */
    exchange_end(rank.exchange, true, "measured");
    rpc_server_close(server, 2000);
    _exit(0);
}

/* ---- Crews ---- */

/* Starts the processes of one group. They have the pipes' other ends. */
static void start_group(struct bench_group *group, const struct settings *settings,
                        const struct learner_size *size, int ranks)
{
    int requests[2], answers[2];
    if (pipe(requests) != 0 || pipe(answers) != 0) {
        stop(group->transport, "no pipe");
    }
    /* What is buffered would be printed by each child again. */
    fflush(NULL);
    for (int number = 0; number < ranks; number++) {
        group->pids[number] = fork();
        if (group->pids[number] == 0) {
            /* With its copy of the writing end a child would never see the pipe close. */
            close(requests[1]);
            run_rank(group, settings, size, number, ranks, requests[0], answers[1]);
        }
        if (group->pids[number] < 0) {
            stop(group->transport, "no process");
        }
    }
    close(requests[0]);
    close(answers[1]);
    group->request = requests[1];
    group->answer = answers[0];
}

/* Lets a group step for `seconds` and returns how it went. Other groups sleep meanwhile. */
static struct turn request_turn(const struct bench_group *group, double seconds)
{
    struct turn turn = {0};
    if (write(group->request, &seconds, sizeof seconds) != sizeof seconds ||
        read(group->answer, &turn, sizeof turn) != sizeof turn) {
        stop(group->transport, "rank 0 does not answer");
    }
    return turn;
}

/* Ends the group: rank 0 by a request, the others by rank 0. */
static void end_group(const struct bench_group *group, int ranks)
{
    const double no_more = 0;
    if (write(group->request, &no_more, sizeof no_more) != sizeof no_more) {
        stop(group->transport, "rank 0 is gone");
    }
    close(group->request);
    close(group->answer);
    for (int number = 0; number < ranks; number++) {
        (void)waitpid(group->pids[number], NULL, 0);
    }
}

/* ---- The comparison ---- */

/* A port that was free a moment ago, or a socket file of its own. */
static void set_address(struct bench_group *group, const char *folder, size_t number)
{
    if (strcmp(group->transport, "unix") == 0) {
        snprintf(group->address, sizeof group->address, "unix:%s/%zu", folder, number);
        return;
    }
    /* The port is not reserved; another program could take it until rank 0 binds it. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        stop(group->transport, "no port");
    }
    close(fd);
    snprintf(group->address, sizeof group->address, "127.0.0.1:%d", ntohs(address.sin_port));
}

/* Removes the socket files, which servers may have left. */
static void remove_sockets(const char *folder, size_t n)
{
    char path[128];
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%zu", folder, i);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

/* Sorts `values`. */
static double median(double *values, int n)
{
    return quantile(values, (size_t)n, 0.5);
}

/* The same, and the values stay in their order. */
static double median_of(const double *values, int n)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    return median(sorted, n);
}

/* Prints the line of one transport: its group that learns beside its group that only exchanges. */
static void print(const struct learner_size *size, int ranks, const struct bench_group *group,
                  const struct bench_group *bare, const double *one, const double *many, int rounds)
{
    double rate[ROUNDS_MAX], ms[ROUNDS_MAX], bare_ms[ROUNDS_MAX];
    double over_one[ROUNDS_MAX], over_many[ROUNDS_MAX];
    /* Ratios are made within a round, and then their median is taken. */
    for (int i = 0; i < rounds; i++) {
        rate[i] = group->turns[i].steps_per_s;
        ms[i] = group->turns[i].exchange_ms;
        bare_ms[i] = bare->turns[i].exchange_ms;
        over_one[i] = rate[i] / one[i];
        over_many[i] = rate[i] / many[i];
    }
    printf("bench_learner size=%s ranks=%d transport=%s steps_per_s=%.2f exchange_ms=%.2f "
           "bare_exchange_ms=%.2f bytes_per_step=%.0f over_one_thread=%.3f over_threads=%.3f\n",
           size->name, ranks, group->transport, median(rate, rounds), median(ms, rounds),
           median(bare_ms, rounds), group->turns[0].bytes_per_step, median(over_one, rounds),
           median(over_many, rounds));
    fflush(stdout);
}

void learner_ranks_run(const struct settings *settings, const struct learner_size *size, int ranks,
                       int rounds, double seconds)
{
    if (ranks < 2 || ranks > RANKS_MAX || ranks > size->B || rounds > ROUNDS_MAX) {
        stop("ranks", "expected 2..16, a snippet for each at least, and up to 101 rounds");
    }
    /* Each transport has two groups: one that learns, one that only exchanges. */
    struct bench_group groups[] = {{.transport = "tcp"},
                                   {.transport = "tcp", .bare = true},
                                   {.transport = "unix"},
                                   {.transport = "unix", .bare = true}};
    const size_t n_crews = sizeof groups / sizeof groups[0];
    char folder[] = "/tmp/hindcast-bench-XXXXXX";
    if (mkdtemp(folder) == NULL) {
        stop(folder, "cannot be made");
    }
    /* The ranks are forked before this process makes learners, whose threads a fork would not
     * copy. */
    for (size_t c = 0; c < n_crews; c++) {
        set_address(&groups[c], folder, c);
        start_group(&groups[c], settings, size, ranks);
    }
    /* The comparison: the same learner in one process, with 1 thread and with as many as there are
     * ranks. */
    struct learner_steps *one_thread = learner_steps_new(settings, size, 1);
    struct learner_steps *threads = learner_steps_new(settings, size, ranks);
    double one[ROUNDS_MAX], many[ROUNDS_MAX];
    for (size_t c = 0; c < n_crews; c++) {
        (void)request_turn(&groups[c], 0.2); /* connected, warm */
    }
    /* In each round every candidate has a turn of the same length. */
    for (int i = 0; i < rounds; i++) {
        one[i] = learner_steps_measure(one_thread, seconds);
        many[i] = learner_steps_measure(threads, seconds);
        for (size_t c = 0; c < n_crews; c++) {
            groups[c].turns[i] = request_turn(&groups[c], seconds);
        }
    }
    printf("bench_learner size=%s one_thread_steps_per_s=%.2f threads_%d_steps_per_s=%.2f\n",
           size->name, median_of(one, rounds), ranks, median_of(many, rounds));
    /* Groups that belong together are neighbours. */
    for (size_t c = 0; c < n_crews; c += 2) {
        print(size, ranks, &groups[c], &groups[c + 1], one, many, rounds);
    }
    for (size_t c = 0; c < n_crews; c++) {
        end_group(&groups[c], ranks);
    }
    learner_steps_free(one_thread);
    learner_steps_free(threads);
    remove_sockets(folder, n_crews);
}
