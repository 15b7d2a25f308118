/* The ranks of a group are processes (learner_rank.c): forked here, or started by mpirun. This
 * program asks a group for turns by the page that it shares with it, and makes figures of what the
 * ranks have written there. */
#include "bench/learner_ranks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/learner_rank.h"
#include "bench/quantile.h"
#include "common/base/clock.h"
#include "learner/exchange/exchange.h"

#define ROUNDS_MAX 101
#define LOOK_MS    2
#define ARGS_MAX   64

/* How the ranks of a group reach each other. */
enum transport { OVER_TCP, OVER_UNIX, OVER_MPI, OVER_MPI_TCP };

static const struct {
    const char *name;
    bool mpi;
} transports[] = {
    [OVER_TCP] = {"grpc-tcp", false},
    [OVER_UNIX] = {"grpc-unix", false},
#ifdef BENCH_MPI
    [OVER_MPI] = {"mpi", true},         /* as it chooses itself: shared memory */
    [OVER_MPI_TCP] = {"mpi-tcp", true}, /* over loopback */
#endif
};
#define N_TRANSPORTS (sizeof transports / sizeof transports[0])

/* What a turn has given: means over its steps. Pieces are means over ranks as well. */
struct turn {
    double steps_per_s, ms[RANK_PIECES];
    double exchange_cpu_ms;
    double rank_0_bytes, other_bytes; /* sent and received; the busiest of the others */
};

struct bench_group {
    enum transport transport;
    int ranks;
    bool bare;
    char page_path[64], address[128];
    struct rank_page *page;
    pid_t pids[GROUP_RANKS_MAX]; /* of each rank; over MPI [0] is mpirun */
    int n_pids;
    struct turn turns[ROUNDS_MAX];
};

/* Ends this program; the kernel then ends the ranks (PR_SET_PDEATHSIG). */
_Noreturn static void stop(const char *what, const char *why)
{
    fprintf(stderr, "bench_learner --ranks: %s: %s\n", what, why);
    exit(1);
}

/* ---- A group's life ---- */

/* A port that was free a moment ago, or a socket file beside the page. */
static void set_address(struct bench_group *group)
{
    if (group->transport == OVER_UNIX) {
        snprintf(group->address, sizeof group->address, "unix:%s.sock", group->page_path);
        return;
    }
    /* The port is not reserved; another program could take it until rank 0 binds it. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        stop("loopback", "no port");
    }
    close(fd);
    snprintf(group->address, sizeof group->address, "127.0.0.1:%d", ntohs(address.sin_port));
}

/* Becomes mpirun, which starts this program again as the ranks of the group. */
_Noreturn static void become_mpirun(const struct bench_group *group,
                                    const struct learner_size *size, char **argv)
{
    char ranks[16], page[96], name[32], self[4096];
    snprintf(ranks, sizeof ranks, "%d", group->ranks);
    snprintf(page, sizeof page, "--rank_page=%s", group->page_path);
    snprintf(name, sizeof name, "--size=%s", size->name);
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    const char *args[ARGS_MAX] = {"mpirun",          "-n",        ranks, "--allow-run-as-root",
                                  "--oversubscribe", "--bind-to", "none"};
    int k = 7;
    if (group->transport == OVER_MPI_TCP) {
        args[k++] = "--mca";
        args[k++] = "btl";
        args[k++] = "self,tcp";
    }
    args[k++] = self;
    for (int i = 1; argv[i] != NULL && k < ARGS_MAX - 3; i++) {
        args[k++] = argv[i];
    }
    args[k++] = name; /* later options count more than earlier ones */
    args[k++] = page;
    /* mpirun ends its processes when it is asked to end. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execvp(args[0], (char **)(uintptr_t)args);
    stop("mpirun", "cannot be started");
}

/* Starts the processes of one group. */
static void start_group(struct bench_group *group, const struct settings *settings,
                        const struct learner_size *size, char **argv)
{
    snprintf(group->page_path, sizeof group->page_path, "/tmp/hindcast-bench-XXXXXX");
    const int fd = mkstemp(group->page_path);
    if (fd < 0) {
        stop(group->page_path, "cannot be made");
    }
    close(fd);
    group->page = learner_rank_page(group->page_path);
    atomic_store(&group->page->paused, true);
    atomic_store(&group->page->bare, group->bare);
    const bool mpi = transports[group->transport].mpi;
    if (!mpi) {
        set_address(group);
    }
    group->n_pids = mpi ? 1 : group->ranks;
    /* What is buffered would be printed by each child again. */
    fflush(NULL);
    for (int i = 0; i < group->n_pids; i++) {
        group->pids[i] = fork();
        if (group->pids[i] < 0) {
            stop("fork", "no process");
        }
        if (group->pids[i] == 0 && mpi) {
            become_mpirun(group, size, argv);
        }
        if (group->pids[i] == 0) {
            const struct rank_job job = {.settings = *settings,
                                         .size = *size,
                                         .rank = i,
                                         .ranks = group->ranks,
                                         .address = group->address,
                                         .page = group->page};
            learner_rank_run(&job);
        }
    }
}

_Noreturn void learner_ranks_serve(const struct settings *settings, const struct learner_size *size,
                                   const char *page)
{
    uint32_t rank, ranks;
    if (!exchange_mpi_started(&rank, &ranks)) {
        stop(page, "to be started by mpirun");
    }
    const struct rank_job job = {.settings = *settings,
                                 .size = *size,
                                 .rank = (int)rank,
                                 .ranks = (int)ranks,
                                 .page = learner_rank_page(page)};
    learner_rank_run(&job);
}

/* Asks for a turn, the last one of which is of 0 seconds. */
static uint64_t ask(const struct bench_group *group, double seconds)
{
    atomic_store(&group->page->seconds, seconds);
    return atomic_fetch_add(&group->page->asked, 1) + 1;
}

static void end_group(struct bench_group *group)
{
    (void)ask(group, 0);
    for (int i = 0; i < group->n_pids; i++) {
        (void)waitpid(group->pids[i], NULL, 0);
    }
    char path[80];
    snprintf(path, sizeof path, "%s.sock", group->page_path);
    (void)unlink(path);
    (void)unlink(group->page_path);
    munmap(group->page, sizeof *group->page);
}

/* ---- Turns ---- */

/* Lets a group step for `seconds` and returns how it went. Other groups sleep meanwhile. */
static struct turn take_turn(const struct bench_group *group, double seconds)
{
    struct rank_page *page = group->page;
    uint64_t steps[GROUP_RANKS_MAX], ns[GROUP_RANKS_MAX][RANK_PIECES], bytes[GROUP_RANKS_MAX];
    uint64_t cpu_ns[GROUP_RANKS_MAX];
    for (int r = 0; r < group->ranks; r++) {
        steps[r] = atomic_load(&page->places[r].steps);
        bytes[r] =
            atomic_load(&page->places[r].sent_bytes) + atomic_load(&page->places[r].received_bytes);
        cpu_ns[r] = atomic_load(&page->places[r].exchange_cpu_ns);
        for (int i = 0; i < RANK_PIECES; i++) {
            ns[r][i] = atomic_load(&page->places[r].ns[i]);
        }
    }
    const uint64_t turn_number = ask(group, seconds);
    while (atomic_load(&page->answered) < turn_number) {
        int ended;
        if (waitpid(group->pids[0], &ended, WNOHANG) != 0) {
            stop(transports[group->transport].name, "a rank has ended");
        }
        clock_sleep_ms(LOOK_MS);
    }
    /* The pieces of rank 0's steps are all of its time. */
    struct turn turn = {0};
    double rank_0_ms = 0;
    for (int r = 0; r < group->ranks; r++) {
        const double n = (double)(atomic_load(&page->places[r].steps) - steps[r]);
        const double moved = (double)(atomic_load(&page->places[r].sent_bytes) +
                                      atomic_load(&page->places[r].received_bytes) - bytes[r]);
        for (int i = 0; i < RANK_PIECES && n > 0; i++) {
            const double ms = 1e-6 * (double)(atomic_load(&page->places[r].ns[i]) - ns[r][i]) / n;
            turn.ms[i] += ms / group->ranks;
            rank_0_ms += r == 0 ? ms : 0;
        }
        const double cpu = (double)(atomic_load(&page->places[r].exchange_cpu_ns) - cpu_ns[r]);
        turn.exchange_cpu_ms += n > 0 ? 1e-6 * cpu / n / group->ranks : 0;
        if (r == 0 && n > 0) {
            turn.rank_0_bytes = moved / n;
        } else if (n > 0 && moved / n > turn.other_bytes) {
            turn.other_bytes = moved / n;
        }
    }
    turn.steps_per_s = rank_0_ms > 0 ? 1e3 / rank_0_ms : 0;
    return turn;
}

/* ---- The comparison ---- */

/* The median; the values stay in their order. */
static double median_of(const double *values, int n)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    return quantile(sorted, (size_t)n, 0.5);
}

/* The median over the turns of the figure that lies `at` bytes into a turn. */
static double median_turn(const struct bench_group *group, int rounds, size_t at)
{
    double values[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        memcpy(&values[i], (const char *)&group->turns[i] + at, sizeof values[i]);
    }
    return quantile(values, (size_t)rounds, 0.5);
}

/* Prints the line of one transport: its group that learns beside its group that only exchanges. */
static void print(const struct learner_size *size, const struct bench_group *group,
                  const struct bench_group *bare, const double *one, const double *many, int rounds)
{
    static const char *const pieces[] = {
#define RANK_PIECE_TEXT(name, text) text,
        RANK_PIECES_MAP(RANK_PIECE_TEXT)
#undef RANK_PIECE_TEXT
    };
    double over_one[ROUNDS_MAX], over_many[ROUNDS_MAX];
    /* Ratios are made within a round, and then their median is taken. */
    for (int i = 0; i < rounds; i++) {
        over_one[i] = group->turns[i].steps_per_s / one[i];
        over_many[i] = group->turns[i].steps_per_s / many[i];
    }
    printf("bench_learner size=%s ranks=%d transport=%s steps_per_s=%.2f", size->name, group->ranks,
           transports[group->transport].name,
           median_turn(group, rounds, offsetof(struct turn, steps_per_s)));
    for (size_t i = 0; i < RANK_PIECES; i++) {
        printf(" %s_ms=%.2f", pieces[i],
               median_turn(group, rounds, offsetof(struct turn, ms) + i * sizeof(double)));
    }
    printf(" bare_exchange_ms=%.2f bare_exchange_cpu_ms=%.2f rank_0_bytes=%.0f other_bytes=%.0f "
           "over_one_thread=%.3f "
           "over_threads=%.3f\n",
           median_turn(bare, rounds, offsetof(struct turn, ms) + RANK_EXCHANGE * sizeof(double)),
           median_turn(bare, rounds, offsetof(struct turn, exchange_cpu_ms)),
           median_turn(group, rounds, offsetof(struct turn, rank_0_bytes)),
           median_turn(group, rounds, offsetof(struct turn, other_bytes)),
           median_of(over_one, rounds), median_of(over_many, rounds));
    fflush(stdout);
}

/* A process of its own that steps alone, so that this one has no threads when it forks. It is a
 * group of one: forked, asked for turns, ended. */
struct alone {
    int request, answer;
    pid_t pid;
};

static struct alone start_alone(const struct settings *settings, const struct learner_size *size,
                                int B, int threads)
{
    int requests[2], answers[2];
    if (pipe(requests) != 0 || pipe(answers) != 0) {
        stop("pipe", "none");
    }
    fflush(NULL);
    struct alone alone = {requests[1], answers[0], fork()};
    if (alone.pid < 0) {
        stop("fork", "no process");
    }
    if (alone.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct learner_size part = *size;
        part.B = B;
        struct learner_steps *steps = learner_steps_new(settings, &part, threads);
        double seconds;
        while (read(requests[0], &seconds, sizeof seconds) == sizeof seconds && seconds > 0) {
            const double rate = learner_steps_measure(steps, seconds);
            if (write(answers[1], &rate, sizeof rate) != sizeof rate) {
                break;
            }
        }
        _exit(0);
    }
    close(requests[0]);
    close(answers[1]);
    return alone;
}

static double measure_alone(const struct alone *alone, double seconds)
{
    double rate = 0;
    if (write(alone->request, &seconds, sizeof seconds) != sizeof seconds ||
        read(alone->answer, &rate, sizeof rate) != sizeof rate) {
        stop("one process", "does not answer");
    }
    return rate;
}

static void end_alone(const struct alone *alone)
{
    const double no_more = 0;
    if (write(alone->request, &no_more, sizeof no_more) != sizeof no_more) {
        stop("one process", "is gone");
    }
    close(alone->request);
    (void)waitpid(alone->pid, NULL, 0);
    close(alone->answer);
}

/* One transport: a group that learns and one that only exchanges, in turns with one process. */
static void compare(const struct settings *settings, const struct learner_size *size, int ranks,
                    int rounds, double seconds, enum transport transport,
                    const struct alone alone[3], char **argv)
{
    static struct bench_group groups[2];
    static double rates[3][ROUNDS_MAX];
    memset(groups, 0, sizeof groups);
    for (int g = 0; g < 2; g++) {
        groups[g].transport = transport;
        groups[g].ranks = ranks;
        groups[g].bare = g == 1;
        start_group(&groups[g], settings, size, argv);
        (void)take_turn(&groups[g], 0.2); /* connected, warm */
    }
    for (int i = 0; i < rounds; i++) {
        for (int a = 0; a < 3; a++) {
            rates[a][i] = measure_alone(&alone[a], seconds);
        }
        for (int g = 0; g < 2; g++) {
            groups[g].turns[i] = take_turn(&groups[g], seconds);
        }
    }
    print(size, &groups[0], &groups[1], rates[0], rates[1], rounds);
    printf("bench_learner size=%s ranks=%d one_thread_ms=%.2f threads_ms=%.2f part_ms=%.2f\n",
           size->name, ranks, 1e3 / median_of(rates[0], rounds), 1e3 / median_of(rates[1], rounds),
           1e3 / median_of(rates[2], rounds));
    fflush(stdout);
    end_group(&groups[0]);
    end_group(&groups[1]);
}

void learner_ranks_run(const struct settings *settings, const struct learner_size *size, int ranks,
                       int rounds, double seconds, char **argv)
{
    if (ranks < 2 || ranks > GROUP_RANKS_MAX || ranks > size->B || rounds > ROUNDS_MAX) {
        stop("ranks", "expected 2..64, a snippet for each at least, and up to 101 rounds");
    }
    cpu_set_t cores;
    const int n_cores = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    /* One process with the whole batch, and with a rank's part of it. */
    const struct alone alone[3] = {
        start_alone(settings, size, size->B, 1),
        start_alone(settings, size, size->B, ranks < n_cores ? ranks : n_cores),
        start_alone(settings, size, (size->B + ranks - 1) / ranks, 1)};
    for (size_t t = 0; t < N_TRANSPORTS; t++) {
        compare(settings, size, ranks, rounds, seconds, (enum transport)t, alone, argv);
    }
    for (int a = 0; a < 3; a++) {
        end_alone(&alone[a]);
    }
}
