/* bench_rpc [--size=262144] [--seconds=1] [--rounds=3] [--threads=4] [--json]
 *
 * How fast calls and streams are, beside what plain sockets do in the same run, as "name value
 * unit" lines or one JSON object. Server and client are two processes; each figure is the best of
 * its rounds.
 *
 *   rpc_unary_p50, _p99     one small call after another
 *   rpc_unary_calls         small calls a second, from --threads threads with a channel each
 *   rpc_stream, rpc_upload  server and client stream of messages with --size bytes of payload
 *   rpc_unix_..             the same over a unix socket
 *   tcp_..., unix_...       the limits: a plain socket's round trip of 100 bytes, and its stream of
 * messages
 *   .._ratio                ours / the limit: streams towards 1 from below, round trips from above
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/plain_socket.h"
#include "bench/quantile.h"
#include "bench/rpc_streams.h"
#include "bench/version.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "tests/lib/echo/echo_pair.h"

/* Quantiles need a few thousand values. */
#define ROUND_TRIPS 4000
#define THREADS_MAX 64

struct options {
    size_t size;
    double seconds;
    int rounds, threads;
    bool json;
};

/* Ends the program: a figure with failed calls in it would mean nothing. */
static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_rpc: %s: %s\n", what, why);
    exit(1);
}

static double seconds_since(uint64_t begin_ns)
{
    return 1e-9 * (double)(clock_now_ns() - begin_ns);
}

/* ---- Calls ---- */

/* One small call. Its answer must be there, its value does not matter. */
static void call_once(struct rpc_channel *channel)
{
    int64_t answer;
    struct err err;
    if (echo_say(channel, 1, NULL, &answer, &err) != STATUS_OK) {
        die("call", err.text);
    }
}

/* Times of calls, one at a time over one channel. */
static void unary_times(const char *address, double *p50, double *p99)
{
    struct rpc_channel *channel = rpc_streams_connect(address);
    double *times = mem_array(ROUND_TRIPS, sizeof *times);
    for (size_t i = 0; i < ROUND_TRIPS; i++) {
        uint64_t begin = clock_now_ns();
        call_once(channel);
        times[i] = 1e6 * seconds_since(begin);
    }
    *p50 = quantile(times, ROUND_TRIPS, 0.5);
    *p99 = quantile(times, ROUND_TRIPS, 0.99);
    mem_free(times);
    rpc_channel_close(channel);
}

/* One thread that calls, and how many calls it made. */
struct caller {
    const char *address;
    double seconds, calls;
};

/* The channel connects before the time begins, so that slow threads start late and do not lose
 * time. */
static void *call_on(void *arg)
{
    struct caller *caller = arg;
    struct rpc_channel *channel = rpc_streams_connect(caller->address);
    uint64_t begin = clock_now_ns();
    while (seconds_since(begin) < caller->seconds) {
        call_once(channel);
        caller->calls += 1.0;
    }
    rpc_channel_close(channel);
    return NULL;
}

/* Calls a second of all threads together, each with a channel of its own. */
static double unary_rate(const char *address, const struct options *options)
{
    pthread_t threads[THREADS_MAX];
    struct caller callers[THREADS_MAX];
    double calls = 0.0;
    for (int i = 0; i < options->threads; i++) {
        callers[i] = (struct caller){address, options->seconds, 0.0};
        pthread_create(&threads[i], NULL, call_on, &callers[i]);
    }
    for (int i = 0; i < options->threads; i++) {
        pthread_join(threads[i], NULL);
        calls += callers[i].calls;
    }
    return calls / options->seconds;
}

/* ---- Rounds and report ---- */

/* The best of all rounds, of one kind of socket. */
struct figures {
    double round_trip, stream; /* of a plain socket */
    double p50, p99, calls, download, upload;
};

/* The smaller one, where 0 stands for no value yet. */
static double least(double a, double b)
{
    return a == 0.0 || b < a ? b : a;
}

static double most(double a, double b)
{
    return b > a ? b : a;
}

/* One round of everything: the limits, then a server and all figures of it. */
static void measure_round(struct figures *best, bool tcp, const struct options *options)
{
    best->round_trip = least(best->round_trip, plain_socket_round_trip(tcp));
    best->stream =
        most(best->stream, 1e-6 * plain_socket_stream(tcp, options->size, options->seconds));
    /* The path has our process number: two benchmarks may run at once. */
    char path[64];
    snprintf(path, sizeof path, "unix:/tmp/bench_rpc.%d.sock", (int)getpid());
    struct echo_process server;
    echo_process_start(&server, tcp ? "127.0.0.1:0" : path);
    double p50, p99;
    unary_times(server.address, &p50, &p99);
    best->p50 = least(best->p50, p50);
    best->p99 = least(best->p99, p99);
    best->calls = most(best->calls, unary_rate(server.address, options));
    best->download = most(best->download, 1e-6 * rpc_streams_download(server.address, options->size,
                                                                      options->seconds));
    best->upload = most(best->upload,
                        1e-6 * rpc_streams_upload(server.address, options->size, options->seconds));
    echo_process_stop(&server);
}

static void print_one(const struct options *options, bool *first, const char *name, double value,
                      const char *unit)
{
    if (options->json) {
        printf("%s\"%s\": %.6g", *first ? "{" : ", ", name, value);
    } else {
        printf("%-24s %12.2f %s\n", name, value, unit);
    }
    *first = false;
}

/* Prints the figures of one kind of socket beside its limits. */
static void print_figures(const struct figures *f, bool tcp, const struct options *options,
                          bool *first)
{
    const char *ours = tcp ? "rpc" : "rpc_unix";
    const char *theirs = tcp ? "tcp" : "unix";
    /* In the order of the head of this file. */
    const struct {
        const char *of, *name, *unit;
        double value;
    } LINES[] = {
        {ours, "unary_p50", "us", f->p50},
        {ours, "unary_p99", "us", f->p99},
        {theirs, "round_trip_p50", "us", f->round_trip},
        {ours, "unary_ratio", "ratio", f->p50 / f->round_trip},
        {ours, "unary_calls", "calls/s", f->calls},
        {ours, "stream", "MB/s", f->download},
        {ours, "upload", "MB/s", f->upload},
        {theirs, "stream", "MB/s", f->stream},
        {ours, "stream_ratio", "ratio", f->download / f->stream},
        {ours, "upload_ratio", "ratio", f->upload / f->stream},
    };
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", LINES[i].of, LINES[i].name);
        print_one(options, first, name, LINES[i].value, LINES[i].unit);
    }
}

/* Reads the command line. Ends the program where it makes no sense. */
static struct options parse(int argc, char **argv)
{
    struct options options = {.size = 256u << 10, .seconds = 1.0, .rounds = 3, .threads = 4};
    for (int i = 1; i < argc; i++) {
        if (sscanf(argv[i], "--size=%zu", &options.size) == 1 ||
            sscanf(argv[i], "--seconds=%lf", &options.seconds) == 1 ||
            sscanf(argv[i], "--rounds=%d", &options.rounds) == 1 ||
            sscanf(argv[i], "--threads=%d", &options.threads) == 1) {
            continue;
        }
        if (strcmp(argv[i], "--json") != 0) {
            die(argv[i], "unknown; see the head of bench_rpc.c");
        }
        options.json = true;
    }
    if (options.size == 0 || options.size > ECHO_PAYLOAD_MAX - 1024 || options.threads < 1 ||
        options.threads > THREADS_MAX || options.rounds < 1 || !(options.seconds > 0.0)) {
        die("options", "out of range");
    }
    return options;
}

int main(int argc, char **argv)
{
    if (bench_version(argc, argv)) {
        return 0;
    }
    /* The server's process is this program, too. */
    if (argc == 3 && strcmp(argv[1], ECHO_PROCESS_ARGUMENT) == 0) {
        return echo_process_serve(argv[2]);
    }
    struct options options = parse(argc, argv);
    struct figures tcp = {0}, local = {0};
    /* TCP and unix sockets take turns, as the speed of the machine may change. */
    for (int i = 0; i < options.rounds; i++) {
        measure_round(&tcp, true, &options);
        measure_round(&local, false, &options);
    }
    bool first = true;
    print_figures(&tcp, true, &options, &first);
    print_figures(&local, false, &options, &first);
    if (options.json) {
        printf("}\n");
    }
    return 0;
}
