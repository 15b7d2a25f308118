/* bench_replay [--json] [--rounds=R] [--seconds=S] [--folder=F] [--batch=B] [--tls]
 *              [--only=insert|sample|prioritized|large|limits] [--durability=each|interval|none] [--shards=K]
 *              [--memory_mb=M] [--gather_threads=G]
 *
 * The real server binary in a process of its own, over gRPC on loopback TCP, against what this
 * machine could do in the same minute. Rows of 24 + 6 + 1 + 1 floats, episodes of 1000 transitions,
 * snippets of 10 transitions (11 rows, 1408 bytes). "name value unit" lines, or one JSON object:
 *
 *   insert_steps_fresh   transitions inserted a second into a new store, one writer
 *   insert_steps         the same into a full table, where every insert evicts the oldest
 *   sample_snippets      snippets a second out of 1,000,000 transitions, one sampler
 *   prioritized_snippets the same where the learner's loop is closed: probabilities come with the batches,
 *                        and priorities of all that was drawn go back
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
 * With --tls all of this under mutual TLS, but for the limits, which stay in the clear.
 *
 * With --only=large nothing of this, but a table four times the M MiB (256) of memory that a control
 * group gives its server, page cache included: inserted while it outgrows the memory, opened again,
 * sampled by G gather threads (1) once all of it has been checked:
 *
 *   large_open           seconds to open the store for each 100,000 episodes
 *   large_index          bytes of memory an episode, without the page cache
 *   limit_disk_reads     pages a second read from random places of the store's file, past the page
 *                        cache, 32 at once
 *
 * With --shards=K nothing of this, but for k = 1, 2, 4, .. K servers, server i pinned to core i of
 * those that this program may use (modulo their number), and one client that is not pinned:
 *
 *   shards_k_insert_steps, shards_k_sample_snippets      of all servers together, in batches of
 *                                                        which each server makes B snippets
 *   shards_k_.._server_cpu, shards_k_.._client_cpu       processor time of one step or snippet
 *
 * Inserts, uploads and syncs take turns, as do samples and streams: R rounds (3) of S seconds (2).
 * Shown are the medians. The store lies in a folder of its own under --folder (default $TMPDIR or
 * /tmp), which is removed.
 */
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/plain_socket.h"
#include "bench/quantile.h"
#include "bench/replay_limits.h"
#include "bench/replay_server_process.h"
#include "bench/replay_work.h"
#include "bench/rpc_streams.h"
#include "bench/version.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/peer.h"
#include "common/clients/replay_sampler.h"
#include "common/clients/replay_writer.h"
#include "common/clients/signature_wire.h"
#include "tests/lib/echo/certificates.h"

#define MESSAGE_BYTES   (256u << 10) /* of streams that are limits */
#define LATENCY_SAMPLES 2000u

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

/* A server with a store of its own: an empty folder is a fresh store. Clients find it where a run
 * has its replay server. */
static void start_server(struct bench *bench, const char *name, unsigned max_episodes)
{
    const struct replay_server_process server = {.binary = bench->binary,
                                                 .folder = bench->folder,
                                                 .name = name,
                                                 .tls = bench->tls,
                                                 .durability = bench->durability,
                                                 .max_episodes = max_episodes,
                                                 .core = -1};
    bench->experiment.replay.n = 1;
    bench->servers[0] =
        replay_server_process_start(&server, bench->experiment.replay.items[0], CONFIG_TEXT_SIZE);
}

/* Certificates for server and client. */
static void use_tls(struct bench *bench)
{
    struct experiment *experiment = &bench->experiment;
    if (!certificates_make(bench->tls)) {
        fprintf(stderr, "bench_replay: --tls: the program openssl made no certificates\n");
        exit(EXIT_FAILURE);
    }
    snprintf(experiment->tls_ca, sizeof experiment->tls_ca, "%s/ca.pem", bench->tls);
    snprintf(experiment->tls_cert, sizeof experiment->tls_cert, "%s/client.pem", bench->tls);
    snprintf(experiment->tls_key, sizeof experiment->tls_key, "%s/client.key", bench->tls);
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
    replay_work_stop_servers(at_exit_bench);
    nftw(at_exit_bench->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_signal(int number)
{
    (void)number;
    /* Not async-signal-safe, and worth it: a benchmark must not leave a server behind. */
    exit(EXIT_FAILURE); /* NOLINT(bugprone-signal-handler) */
}

/* ---- Inserting ---- */

/* Transitions a second, acknowledged. */
static double insert_rate(struct bench *bench, struct replay_writer *writer)
{
    const uint64_t start_ns = clock_now_ns();
    double steps = 0;
    /* 50 episodes between readings of the clock; the flush counts, as its episodes do. */
    while (replay_work_since(start_ns) < bench->seconds) {
        replay_work_insert(bench, writer, 50);
        steps += 50.0 * EPISODE_T;
    }
    replay_work_flush(writer);
    return steps / replay_work_since(start_ns);
}

/* Measures inserts into an empty store, which only grows, and into a full table, which has to
 * remove an episode for each new one. The full table takes turns with its limits. */
static void bench_insert(struct bench *bench, const char *echo)
{
    static struct rounds rounds;
    start_server(bench, "insert", 4 * TABLE_EPISODES);
    struct replay_writer *writer = replay_work_open_writer(bench);
    replay_work_show(bench, "insert_steps_fresh", insert_rate(bench, writer), "steps/s");
    /* Until the table has been full for a while. */
    replay_work_insert(bench, writer, 6 * TABLE_EPISODES);
    replay_work_flush(writer);
    for (int r = 0; r < bench->rounds; r++) {
        const double cpu = replay_work_cpu(bench);
        const uint64_t n = bench->episode.identity.episode;
        rounds.rate[r] = insert_rate(bench, writer);
        const double steps = (double)(bench->episode.identity.episode - n) * EPISODE_T;
        rounds.cpu_ns[r] = 1e9 * (replay_work_cpu(bench) - cpu) / steps;
        rounds.stream[r] = rpc_streams_upload(echo, MESSAGE_BYTES, bench->seconds);
        rounds.disk[r] = replay_limits_disk_sync(bench->folder, bench->seconds);
    }
    replay_writer_close(writer);
    replay_work_stop_servers(bench);
    /* Both as bytes of rows. */
    const double rate = median(rounds.rate, bench->rounds);
    const double stream = median(rounds.stream, bench->rounds);
    const double disk = median(rounds.disk, bench->rounds);
    replay_work_show(bench, "insert_steps", rate, "steps/s");
    replay_work_show(bench, "insert_cpu", median(rounds.cpu_ns, bench->rounds), "ns/step");
    replay_work_show(bench, "limit_rpc_upload", stream * 1e-6, "MB/s");
    replay_work_show(bench, "limit_disk_sync", disk * 1e-6, "MB/s");
    replay_work_show(bench, "ratio_insert_to_rpc_upload", rate * STEP_BYTES / stream, "ratio");
    replay_work_show(bench, "ratio_insert_to_disk_sync", rate * STEP_BYTES / disk, "ratio");
    const double aim = 0.9 * disk < 0.5 * stream ? 0.9 * disk : 0.5 * stream;
    replay_work_show(bench, "ratio_insert_to_aim", rate * STEP_BYTES / aim, "ratio");
    bench->insert_steps = rate;
}

/* ---- Sampling ---- */

/* Fills the table and seals it, so that draws are reproducible and nothing is written any more. */
static void fill_table(struct bench *bench)
{
    struct err err;
    bool sealed;
    struct replay_writer *writer = replay_work_open_writer(bench);
    replay_work_insert(bench, writer, TABLE_EPISODES);
    replay_work_need(replay_writer_seal(writer, 1, &sealed, &err), &err, "seal");
    replay_writer_close(writer);
}

/* Of a figure of sampling, "sample" or "prioritized". */
static void show_sampling(struct bench *bench, const char *form, const char *what, double value,
                          const char *unit)
{
    char name[64];
    snprintf(name, sizeof name, form, what);
    replay_work_show(bench, name, value, unit);
}

/* Snippets a second over one stream, with batches requested ahead, in turns with a plain stream. */
static void bench_sample(struct bench *bench, const char *echo, bool prioritized)
{
    struct err err;
    static struct rounds rounds;
    struct sampling sampling = {0};
    const struct replay_sampler_options options = {.batch_snippets = bench->batch,
                                                   .snippet_transitions = SNIPPET_N,
                                                   .seed = 1,
                                                   .require_sealed = true,
                                                   .origins = prioritized,
                                                   .prefetch_batches = 6};
    replay_work_need(replay_sampler_open(&sampling.sampler, &bench->experiment, &bench->signature,
                                         &options, 10000, NULL, NULL, &err),
                     &err, "open sampler");
    if (prioritized) {
        replay_work_need(
            replay_priorities_open(&sampling.priorities, &bench->experiment, "default", &err), &err,
            "open priorities");
    }
    /* The first batches read the store into memory and check it: a hundred snippets a chunk. */
    (void)replay_work_sample(&sampling, 0, WARM_UP_SNIPPETS / bench->batch);
    for (int r = 0; r < bench->rounds; r++) {
        const double cpu = replay_work_cpu(bench);
        const uint64_t start_ns = clock_now_ns();
        const double snippets = replay_work_sample(&sampling, bench->seconds, 1);
        rounds.rate[r] = snippets / replay_work_since(start_ns);
        rounds.cpu_ns[r] = 1e9 * (replay_work_cpu(bench) - cpu) / snippets;
        rounds.stream[r] = rpc_streams_download(echo, MESSAGE_BYTES, bench->seconds);
    }
    replay_priorities_close(sampling.priorities);
    replay_sampler_close(sampling.sampler);
    const char *what = prioritized ? "prioritized" : "sample";
    const double rate = median(rounds.rate, bench->rounds);
    const double stream = median(rounds.stream, bench->rounds);
    show_sampling(bench, "%s_snippets", what, rate, "snippets/s");
    show_sampling(bench, "%s_cpu", what, median(rounds.cpu_ns, bench->rounds), "ns/snippet");
    if (!prioritized) { /* a name is shown once */
        replay_work_show(bench, "limit_rpc_stream", stream * 1e-6, "MB/s");
    }
    show_sampling(bench, "ratio_%s_to_rpc_stream", what, rate * SNIPPET_BYTES / stream, "ratio");
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
    replay_work_need(
        peer_channel_open(&channel, bench->experiment.replay.items[0], &bench->experiment, 0, &err),
        &err, "channel");
    replay_work_need(rpc_stream_open(&stream, channel, &hindcast__replay__descriptor, "Sample",
                                     RPC_BIDI, &options, &err),
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
        replay_work_need(rpc_stream_send(stream, &request.base, NULL, 5000), &err, "ask");
        replay_work_need(rpc_stream_recv(stream, &message, 5000), &err, "receive");
        us[i] = replay_work_since(start_ns) * 1e6;
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
    replay_work_show(bench, "sample_one_p50", bench->sample_one_us, "us");
    replay_work_show(bench, "sample_one_p99", quantile(us, LATENCY_SAMPLES, 0.99), "us");
}

/* ---- Main ---- */

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
    bench->memory_mb = 256;
    bench->gather_threads = "--gather_threads=1";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            bench->json = true;
        } else if (strcmp(argv[i], "--tls") == 0) {
            bench->tls = bench->folder;
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
        } else if (strncmp(argv[i], "--memory_mb=", 12) == 0) {
            bench->memory_mb = (unsigned)atoi(argv[i] + 12);
        } else if (strncmp(argv[i], "--gather_threads=", 17) == 0) {
            bench->gather_threads = argv[i];
        } else if (strncmp(argv[i], "--shards=", 9) == 0) {
            bench->shards = atoi(argv[i] + 9);
            bench->only = "shards";
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
    if (mkdtemp(bench->folder) == NULL || bench->batch < 1 || bench->memory_mb < 1 ||
        !(bench->seconds > 0) || bench->rounds < 1 || bench->rounds > ROUNDS_MAX ||
        bench->shards < 0 || bench->shards > SHARDS_MAX) {
        fprintf(stderr, "bench_replay: folder, batch, rounds, seconds or shards make no sense\n");
        exit(2);
    }
    replay_server_process_binary(bench->binary, sizeof bench->binary);
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
    replay_work_show(bench, "limit_store_write", store, "steps/s");
    if (bench->insert_steps > 0) {
        replay_work_show(bench, "ratio_insert_to_store_write", bench->insert_steps / store,
                         "ratio");
    }
    const double round_trip = plain_socket_round_trip(true);
    replay_work_show(bench, "limit_tcp_round_trip", round_trip, "us");
    if (bench->sample_one_us > 0) {
        replay_work_show(bench, "ratio_sample_one_to_tcp_round_trip",
                         bench->sample_one_us / round_trip, "ratio");
    }
    replay_work_show(bench, "limit_tcp",
                     1e-6 * plain_socket_stream(true, MESSAGE_BYTES, bench->seconds), "MB/s");
    replay_work_show(bench, "limit_memcpy", replay_limits_memcpy() * 1e-6, "MB/s");
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
    replay_work_make_data(&bench);
    if (bench.tls) {
        use_tls(&bench);
    }
    rpc_init();
    struct echo_process echo;
    echo_process_start(&echo, "127.0.0.1:0");
    if (wanted(&bench, "insert")) {
        bench_insert(&bench, echo.address);
    }
    /* The sampling servers have no limit of episodes. */
    if (wanted(&bench, "sample")) {
        start_server(&bench, "sample", 0);
        fill_table(&bench);
        bench_sample(&bench, echo.address, false);
        bench_latency(&bench);
        replay_work_stop_servers(&bench);
    }
    if (wanted(&bench, "prioritized")) {
        start_server(&bench, "prioritized", 0);
        fill_table(&bench);
        bench_sample(&bench, echo.address, true);
        replay_work_stop_servers(&bench);
    }
    replay_shards_run(&bench);
    /* Only where it is asked for: it writes gigabytes. */
    if (strcmp(bench.only, "large") == 0) {
        replay_large_run(&bench);
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
