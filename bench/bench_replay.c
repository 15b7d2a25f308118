/* bench_replay [--json] [--rounds=R] [--seconds=S] [--folder=F] [--batch=B] [--only=insert|sample|limits]
 *              [--durability=each|interval|none]
 *
 * The real server binary in a process of its own, over gRPC on loopback TCP, against what this
 * machine could do in the same minute. Rows of 24 + 6 + 1 + 1 floats, episodes of 1000 transitions,
 * snippets of 10 transitions (11 rows, 1408 bytes). "name value unit" lines, or one JSON object:
 *
 *   insert_steps_fresh   transitions inserted a second into a new store, one writer
 *   insert_steps         the same into a full table, where every insert evicts the oldest
 *   sample_snippets      snippets a second out of 1,000,000 transitions, one sampler
 *   .._cpu               processor time of server and client together
 *   sample_one_p50/p99   a batch of one snippet on an open stream: asked for, received
 *   limit_rpc_upload     our gRPC binding, a client stream of 256 KiB messages
 *   limit_rpc_stream     the same from the server
 *   limit_disk_sync      bytes a second written and synced, 16 MiB at a time
 *   limit_store_write    transitions a second of such episodes put into LMDB, no server, no sync
 *   limit_tcp            raw loopback TCP, 256 KiB writes, one connection
 *   limit_tcp_round_trip 100 bytes there and back, median
 *   limit_memcpy         copying memory, one thread
 *   ratio_..             ours over the limit, both as bytes
 *   ratio_insert_to_aim  inserts over the lesser of 0.9 of the disk and 0.5 of the upload
 *
 * Inserts, uploads and syncs take turns, as do samples and streams: R rounds (3) of S seconds (2).
 * Shown are the medians. The store lies in a folder of its own under --folder (default $TMPDIR or
 * /tmp), which is removed.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/plain_socket.h"
#include "bench/quantile.h"
#include "bench/replay_limits.h"
#include "bench/rpc_streams.h"
#include "bench/version.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/peer.h"
#include "common/clients/replay_sampler.h"
#include "common/clients/replay_writer.h"
#include "common/clients/signature_wire.h"

/* The shape of the data; the head of this file explains it. */
#define EPISODE_T        1000u
#define ROW_W            32u
#define SNIPPET_N        10u
#define TABLE_EPISODES   1000u
#define STEP_BYTES       (ROW_W * 4.0)
#define SNIPPET_BYTES    ((SNIPPET_N + 1) * ROW_W * 4.0)
#define MESSAGE_BYTES    (256u << 10) /* of streams that are limits */
#define LATENCY_SAMPLES  2000u
#define WARM_UP_SNIPPETS 200000u
#define ROUNDS_MAX       99

/* All state of the program; there is one, which at_exit_bench points to. */
struct bench {
    bool json;
    double seconds;
    int rounds;
    const char *durability;
    uint32_t batch;
    const char *only;
    char folder[512];
    char binary[1024];
    pid_t server;
    struct experiment experiment;
    struct signature signature;
    struct episode episode;
    double insert_steps, sample_one_us; /* what came out; 0: not measured */
    unsigned n_shown;
};

/* ---- Showing ---- */

/* Prints one figure as soon as it is known. In JSON the first one opens the object. */
static void show(struct bench *bench, const char *name, double value, const char *unit)
{
    if (bench->json) {
        printf("%s\"%s\": {\"value\": %.6g, \"unit\": \"%s\"}", bench->n_shown ? ",\n " : "{", name,
               value, unit);
    } else {
        printf("%s %.6g %s\n", name, value, unit);
    }
    bench->n_shown++;
    fflush(stdout);
}

/* Ends the program where a step has failed: a benchmark has nothing to fall back to. clean_up()
 * still runs. */
static void need(status s, const struct err *err, const char *what)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "bench_replay: %s: %s: %s\n", what, status_text(s), err->text);
        exit(EXIT_FAILURE);
    }
}

static double since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) * 1e-9;
}

/* Processor time of this process and of the server so far, in seconds. */
static double cpu_seconds(const struct bench *bench)
{
    struct timespec client, server;
    clockid_t clock;
    ASSERT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &client) == 0);
    ASSERT(clock_getcpuclockid(bench->server, &clock) == 0 && clock_gettime(clock, &server) == 0);
    return (double)(client.tv_sec + server.tv_sec) +
           1e-9 * (double)(client.tv_nsec + server.tv_nsec);
}

/* What one kind of work and its limits reach, round by round. */
struct rounds {
    int n;
    double rate[ROUNDS_MAX], cpu_ns[ROUNDS_MAX]; /* ours: items a second, time of one item */
    double stream[ROUNDS_MAX], disk[ROUNDS_MAX]; /* limits: bytes a second */
};

static double median(const double *values, int n)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    return quantile(sorted, (size_t)n, 0.5);
}

/* ---- The server ---- */

/* A port that was free a moment ago: the server binds it by its number. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT(bind(fd, (struct sockaddr *)&address, size) == 0);
    ASSERT(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* A server with a store of its own: an empty folder is a fresh store. */
static void start_server(struct bench *bench, const char *name, unsigned max_episodes)
{
    char run_dir[800], path[900], listen[64], durability[64], limit[64], log[900];
    const int port = free_port();
    /* Each server has a folder, a port and a log file of its own. */
    snprintf(run_dir, sizeof run_dir, "--run_dir=%s/%s", bench->folder, name);
    snprintf(path, sizeof path, "--path=%s/%s/store", bench->folder, name);
    snprintf(log, sizeof log, "%s/%s.log", bench->folder, name);
    snprintf(listen, sizeof listen, "--listen=127.0.0.1:%d", port);
    snprintf(durability, sizeof durability, "--durability=%s", bench->durability);
    snprintf(limit, sizeof limit, "--max_episodes=%u", max_episodes);
    /* Scrubbing is off: it would read the disk while we measure. */
    char *argv[] = {
        bench->binary, run_dir, path, listen, durability, limit, (char *)"--scrub_bytes_per_s=0",
        NULL};
    /* The log goes to a file, which is removed with the folder. */
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log, O_CREAT | O_WRONLY | O_TRUNC,
                                     0600);
    int rc = posix_spawn(&bench->server, bench->binary, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        fprintf(stderr, "bench_replay: %s: %s\n", bench->binary, strerror(rc));
        exit(EXIT_FAILURE);
    }
    /* Clients find the server where a run has its replay server. */
    bench->experiment.replay.n = 1;
    snprintf(bench->experiment.replay.items[0], CONFIG_TEXT_SIZE, "127.0.0.1:%d", port);
}

/* Waits for the end, so that the next server has the machine alone. */
static void stop_server(struct bench *bench)
{
    if (bench->server > 0) {
        kill(bench->server, SIGTERM);
        waitpid(bench->server, NULL, 0);
        bench->server = 0;
    }
}

/* However this program ends, but for SIGKILL. */
static struct bench *at_exit_bench;

/* The callback of nftw(), which goes through folders after their contents. */
static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void clean_up(void)
{
    stop_server(at_exit_bench);
    nftw(at_exit_bench->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_signal(int number)
{
    (void)number;
    /* Not async-signal-safe, and worth it: a benchmark must not leave a server behind. */
    exit(EXIT_FAILURE); /* NOLINT(bugprone-signal-handler) */
}

/* ---- Inserting ---- */

/* A writer with enough in flight to keep the server busy. */
static struct replay_writer *open_writer(struct bench *bench)
{
    struct err err;
    bool sealed;
    struct replay_writer *writer = NULL;
    const struct replay_writer_options options = {
        .writer = "bench", .restored = true, .max_in_flight_bytes = 64u << 20};
    need(replay_writer_open(&writer, &bench->experiment, &bench->signature, &options, NULL, NULL,
                            &sealed, &err),
         &err, "open writer");
    return writer;
}

/* Inserts the same rows n times; another identity makes each one a new episode. */
static void insert(struct bench *bench, struct replay_writer *writer, unsigned n)
{
    struct err err;
    for (unsigned i = 0; i < n; i++) {
        bench->episode.identity.episode++;
        need(replay_writer_insert(writer, &bench->episode, NULL, 0, &err), &err, "insert");
    }
}

/* Waits until the server has acknowledged all that was inserted. */
static void flush(struct replay_writer *writer)
{
    struct err err;
    need(replay_writer_flush(writer, 60000, &err), &err, "flush");
}

/* Transitions a second, acknowledged. */
static double insert_rate(struct bench *bench, struct replay_writer *writer)
{
    const uint64_t start_ns = clock_now_ns();
    double steps = 0;
    /* 50 episodes between readings of the clock; the flush counts, as its episodes do. */
    while (since(start_ns) < bench->seconds) {
        insert(bench, writer, 50);
        steps += 50.0 * EPISODE_T;
    }
    flush(writer);
    return steps / since(start_ns);
}

/* Measures inserts into an empty store, which only grows, and into a full table, which has to
 * remove an episode for each new one. The full table takes turns with its limits. */
static void bench_insert(struct bench *bench, const char *echo)
{
    static struct rounds rounds;
    start_server(bench, "insert", 4 * TABLE_EPISODES);
    struct replay_writer *writer = open_writer(bench);
    show(bench, "insert_steps_fresh", insert_rate(bench, writer), "steps/s");
    /* Until the table has been full for a while. */
    insert(bench, writer, 6 * TABLE_EPISODES);
    flush(writer);
    for (int r = 0; r < bench->rounds; r++) {
        const double cpu = cpu_seconds(bench);
        const uint64_t n = bench->episode.identity.episode;
        rounds.rate[r] = insert_rate(bench, writer);
        const double steps = (double)(bench->episode.identity.episode - n) * EPISODE_T;
        rounds.cpu_ns[r] = 1e9 * (cpu_seconds(bench) - cpu) / steps;
        rounds.stream[r] = rpc_streams_upload(echo, MESSAGE_BYTES, bench->seconds);
        rounds.disk[r] = replay_limits_disk_sync(bench->folder, bench->seconds);
    }
    replay_writer_close(writer);
    stop_server(bench);
    /* Both as bytes of rows. */
    const double rate = median(rounds.rate, bench->rounds);
    const double stream = median(rounds.stream, bench->rounds);
    const double disk = median(rounds.disk, bench->rounds);
    show(bench, "insert_steps", rate, "steps/s");
    show(bench, "insert_cpu", median(rounds.cpu_ns, bench->rounds), "ns/step");
    show(bench, "limit_rpc_upload", stream * 1e-6, "MB/s");
    show(bench, "limit_disk_sync", disk * 1e-6, "MB/s");
    show(bench, "ratio_insert_to_rpc_upload", rate * STEP_BYTES / stream, "ratio");
    show(bench, "ratio_insert_to_disk_sync", rate * STEP_BYTES / disk, "ratio");
    const double aim = 0.9 * disk < 0.5 * stream ? 0.9 * disk : 0.5 * stream;
    show(bench, "ratio_insert_to_aim", rate * STEP_BYTES / aim, "ratio");
    bench->insert_steps = rate;
}

/* ---- Sampling ---- */

/* Fills the table and seals it, so that draws are reproducible and nothing is written any more. */
static void fill_table(struct bench *bench)
{
    struct err err;
    bool sealed;
    struct replay_writer *writer = open_writer(bench);
    insert(bench, writer, TABLE_EPISODES);
    need(replay_writer_seal(writer, 1, &sealed, &err), &err, "seal");
    replay_writer_close(writer);
}

/* Takes batches and returns them for `seconds`, and at least `least` of them; the number of
 * snippets. */
static double sample(struct bench *bench, struct replay_sampler *sampler, uint64_t *next,
                     double seconds, uint64_t least)
{
    struct err err;
    double snippets = 0;
    const uint64_t start_ns = clock_now_ns();
    for (uint64_t i = 0; i < least || since(start_ns) < seconds; i++) {
        struct replay_batch *batch;
        /* Batches must come in order: with a gap the count of snippets would be wrong. */
        need(replay_sampler_next(sampler, &batch, 10000, &err), &err, "sample");
        if (batch->number != *next) {
            fprintf(stderr, "bench_replay: batch %" PRIu64 " came as number %" PRIu64 "\n", *next,
                    batch->number);
            exit(EXIT_FAILURE);
        }
        (*next)++;
        replay_sampler_return(sampler, batch);
        snippets += bench->batch;
    }
    return snippets;
}

/* Snippets a second over one stream, with batches requested ahead, in turns with a plain stream. */
static void bench_sample(struct bench *bench, const char *echo)
{
    struct err err;
    static struct rounds rounds;
    struct replay_sampler *sampler = NULL;
    const struct replay_sampler_options options = {.batch_snippets = bench->batch,
                                                   .snippet_transitions = SNIPPET_N,
                                                   .seed = 1,
                                                   .require_sealed = true,
                                                   .prefetch_batches = 6};
    need(replay_sampler_open(&sampler, &bench->experiment, &bench->signature, &options, 10000, NULL,
                             NULL, &err),
         &err, "open sampler");
    /* The first batches read the store into memory and check it: a hundred snippets a chunk. */
    uint64_t next = 0;
    (void)sample(bench, sampler, &next, 0, WARM_UP_SNIPPETS / bench->batch);
    for (int r = 0; r < bench->rounds; r++) {
        const double cpu = cpu_seconds(bench);
        const uint64_t start_ns = clock_now_ns();
        const double snippets = sample(bench, sampler, &next, bench->seconds, 1);
        rounds.rate[r] = snippets / since(start_ns);
        rounds.cpu_ns[r] = 1e9 * (cpu_seconds(bench) - cpu) / snippets;
        rounds.stream[r] = rpc_streams_download(echo, MESSAGE_BYTES, bench->seconds);
    }
    replay_sampler_close(sampler);
    const double rate = median(rounds.rate, bench->rounds);
    const double stream = median(rounds.stream, bench->rounds);
    show(bench, "sample_snippets", rate, "snippets/s");
    show(bench, "sample_cpu", median(rounds.cpu_ns, bench->rounds), "ns/snippet");
    show(bench, "limit_rpc_stream", stream * 1e-6, "MB/s");
    show(bench, "ratio_sample_to_rpc_stream", rate * SNIPPET_BYTES / stream, "ratio");
}

/* The time from a request for one snippet to its answer. It uses a stream directly: the sampler
 * would request ahead, and hide just this time. */
static void bench_latency(struct bench *bench)
{
    struct err err;
    struct rpc_channel *channel = NULL;
    struct rpc_stream *stream = NULL;
    const struct rpc_call_options options = {.payload_field = 15};
    struct signature_wire wire;
    static double us[LATENCY_SAMPLES];
    /* The stream is opened once; only its first request carries the signature. */
    signature_wire_fill(&wire, &bench->signature);
    need(
        peer_channel_open(&channel, bench->experiment.replay.items[0], &bench->experiment, 0, &err),
        &err, "channel");
    need(rpc_stream_open(&stream, channel, &hindcast__replay__descriptor, "Sample", RPC_BIDI,
                         &options, &err),
         &err, "stream");
    for (unsigned i = 0; i < LATENCY_SAMPLES; i++) {
        Hindcast__SampleRequest request = HINDCAST__SAMPLE_REQUEST__INIT;
        request.credit = 1;
        request.signature = i == 0 ? &wire.message : NULL;
        request.batch_snippets = 1;
        request.snippet_transitions = SNIPPET_N;
        /* A credit of 1 asks for exactly one batch. */
        struct rpc_message message;
        const uint64_t start_ns = clock_now_ns();
        need(rpc_stream_send(stream, &request.base, NULL, 5000), &err, "ask");
        need(rpc_stream_recv(stream, &message, 5000), &err, "receive");
        us[i] = since(start_ns) * 1e6;
        rpc_message_free(&message);
    }
    /* The stream has no end of its own, so that it is cancelled, and must not end as if it were
     * complete. */
    rpc_stream_cancel(stream);
    if (rpc_stream_finish(stream, 1000, &err) == STATUS_OK) {
        fprintf(stderr, "bench_replay: a cancelled stream ended OK\n");
    }
    rpc_channel_close(channel);
    bench->sample_one_us = quantile(us, LATENCY_SAMPLES, 0.5);
    show(bench, "sample_one_p50", bench->sample_one_us, "us");
    show(bench, "sample_one_p99", quantile(us, LATENCY_SAMPLES, 0.99), "us");
}

/* ---- Main ---- */

/* Makes the signature and the one episode that is inserted over and over. */
static void make_data(struct bench *bench)
{
    struct err err;
    struct signature *s = &bench->signature;
    *s = (struct signature){.n_slices = 1, .A = 6, .K = 1, .control_period_s = 0.02};
    s->slices[0] = (struct signature_slice){.name = "state", .size = 24};
    strcpy(s->rewards[0], "run");
    for (int i = 0; i < 6; i++) {
        s->action_min[i] = -1;
        s->action_max[i] = 1;
    }
    /* The width that the head of this file promises. */
    ASSERT(signature_width(s) == ROW_W);
    episode_init(&bench->episode, ROW_W);
    need(episode_reserve(&bench->episode, EPISODE_T + 1, &err), &err, "episode");
    bench->episode.T = EPISODE_T;
    bench->episode.identity = (struct episode_identity){.source = 4711};
    /* Values that differ, in a period that does not fit the rows: nothing repeats from row to
     * row. */
    for (size_t i = 0; i < (EPISODE_T + 1) * (size_t)ROW_W; i++) {
        bench->episode.rows[i] = (float)(i % 997) * 1e-3f;
    }
}

/* Reads the command line, makes the folder and finds the server's binary. Ends the program with 2
 * where it cannot. */
static void parse(struct bench *bench, int argc, char **argv)
{
    const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    bench->seconds = 2;
    bench->rounds = 3;
    bench->durability = "each";
    bench->batch = 512;
    bench->only = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            bench->json = true;
        } else if (strncmp(argv[i], "--seconds=", 10) == 0) {
            bench->seconds = atof(argv[i] + 10);
        } else if (strncmp(argv[i], "--rounds=", 9) == 0) {
            bench->rounds = atoi(argv[i] + 9);
        } else if (strncmp(argv[i], "--folder=", 9) == 0) {
            base = argv[i] + 9;
        } else if (strncmp(argv[i], "--durability=", 13) == 0) {
            bench->durability = argv[i] + 13;
        } else if (strncmp(argv[i], "--only=", 7) == 0) {
            bench->only = argv[i] + 7;
        } else if (strncmp(argv[i], "--batch=", 8) == 0) {
            bench->batch = (uint32_t)atoi(argv[i] + 8);
        } else {
            fprintf(stderr,
                    "bench_replay: unknown argument \"%s\"; see the head of bench_replay.c\n",
                    argv[i]);
            exit(2);
        }
    }
    /* A folder of our own, since clean_up() removes it with all its contents. */
    snprintf(bench->folder, sizeof bench->folder, "%s/bench_replay_XXXXXX", base);
    if (mkdtemp(bench->folder) == NULL || bench->batch < 1 || !(bench->seconds > 0) ||
        bench->rounds < 1 || bench->rounds > ROUNDS_MAX) {
        fprintf(stderr, "bench_replay: folder, batch, rounds or seconds make no sense\n");
        exit(2);
    }
    /* The server stands in the build tree, beside the folder of benchmarks. */
    char self[900];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    ASSERT(length > 0);
    self[length] = '\0';
    snprintf(bench->binary, sizeof bench->binary, "%s/../replay_server/hindcast-replay-server",
             dirname(self));
}

/* With --only, one part alone. */
static bool wanted(const struct bench *bench, const char *part)
{
    return bench->only[0] == '\0' || strcmp(bench->only, part) == 0;
}

/* What the machine can do without any of our calls. */
static void show_limits(struct bench *bench)
{
    const double store =
        replay_limits_store_write(bench->folder, bench->seconds, &bench->episode, TABLE_EPISODES);
    show(bench, "limit_store_write", store, "steps/s");
    if (bench->insert_steps > 0) {
        show(bench, "ratio_insert_to_store_write", bench->insert_steps / store, "ratio");
    }
    const double round_trip = plain_socket_round_trip(true);
    show(bench, "limit_tcp_round_trip", round_trip, "us");
    if (bench->sample_one_us > 0) {
        show(bench, "ratio_sample_one_to_tcp_round_trip", bench->sample_one_us / round_trip,
             "ratio");
    }
    show(bench, "limit_tcp", 1e-6 * plain_socket_stream(true, MESSAGE_BYTES, bench->seconds),
         "MB/s");
    show(bench, "limit_memcpy", replay_limits_memcpy() * 1e-6, "MB/s");
}

int main(int argc, char **argv)
{
    if (bench_version(argc, argv)) {
        return 0;
    }
    /* The process that streams are measured with is this program, too. */
    if (argc == 3 && strcmp(argv[1], ECHO_PROCESS_ARGUMENT) == 0) {
        return echo_process_serve(argv[2]);
    }
    static struct bench bench;
    parse(&bench, argc, argv);
    /* From here on, every end of the program but SIGKILL cleans up. */
    at_exit_bench = &bench;
    atexit(clean_up);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    make_data(&bench);
    rpc_init();
    struct echo_process echo;
    echo_process_start(&echo, "127.0.0.1:0");
    if (wanted(&bench, "insert")) {
        bench_insert(&bench, echo.address);
    }
    /* The sampling server has no limit of episodes. */
    if (wanted(&bench, "sample")) {
        start_server(&bench, "sample", 0);
        fill_table(&bench);
        bench_sample(&bench, echo.address);
        bench_latency(&bench);
        stop_server(&bench);
    }
    echo_process_stop(&echo);
    /* These are measured without the threads of gRPC. */
    rpc_fini();
    if (wanted(&bench, "limits")) {
        show_limits(&bench);
    }
    if (bench.json) {
        printf("}\n");
    }
    episode_fini(&bench.episode);
    return EXIT_SUCCESS;
}
