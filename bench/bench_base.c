/* bench_base [--json]
 *
 * What the hot parts of common/base cost, as "name value unit" lines, or one JSON object:
 *
 *   noise_normal      normals a second and core, into a buffer of 1 MB
 *   queue_pass        items a second from one thread through a queue to another
 *   metric_add        updates a second of one counter by one thread
 *   metric_observe    the same of a histogram with 21 buckets
 *
 * The best of five rounds of about 0.2 s each. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "bench/version.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/noise.h"
#include "common/base/queue.h"

/* The best of several rounds, because whatever else runs on the machine only makes a round
 * slower. */
#define ROUNDS   5
#define ROUND_NS (200 * NS_PER_MS)
#define NORMALS  (256u * 1024u)
#define ITEMS    100000u
#define UPDATES  100000u

/* Does `body` over and over for a round; returns its units a second, the best of the rounds. */
static double best_rate(double (*body)(void *arg), void *arg)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t start_ns = clock_now_ns();
        double units = 0;
        /* The clock is read once per call of `body`, which therefore does work of many units. */
        uint64_t elapsed_ns;
        do {
            units += body(arg);
            elapsed_ns = clock_now_ns() - start_ns;
        } while (elapsed_ns < ROUND_NS);
        const double rate = units / (1e-9 * (double)elapsed_ns);
        best = rate > best ? rate : best;
    }
    return best;
}

/* Every call continues the stream of noise at another step, as a learner does. */
static double draw_normals(void *arg)
{
    static uint64_t step;
    noise_normal(arg, NORMALS, 1, step++, 1, 0);
    return NORMALS;
}

/* The taker's thread: it leaves when the queue is closed and empty. */
static void *take_all(void *arg)
{
    void *item = NULL;
    while (queue_pop(arg, &item, 10000) == STATUS_OK) {
    }
    return NULL;
}

/* Each call makes its own queue and thread, so that the rate includes their start, which is small
 * beside ITEMS. */
static double pass_items(void *arg)
{
    (void)arg;
    struct queue *queue = NULL;
    pthread_t taker;
    ASSERT(queue_new(&queue, 1024) == STATUS_OK);
    ASSERT(pthread_create(&taker, NULL, take_all, queue) == 0);
    /* The pushing side waits where the queue is full: the rate is that of the slower of both. */
    for (unsigned i = 0; i < ITEMS; i++) {
        ASSERT(queue_push(queue, queue, 10000) == STATUS_OK);
    }
    queue_close(queue);
    pthread_join(taker, NULL);
    queue_free(queue, NULL);
    return ITEMS;
}

/* One thread updates; contention between threads is not measured here. */
static double add(void *arg)
{
    for (unsigned i = 0; i < UPDATES; i++) {
        metric_add(arg, 1);
    }
    return UPDATES;
}

/* It is always the same value, and thus the same bucket. */
static double observe(void *arg)
{
    for (unsigned i = 0; i < UPDATES; i++) {
        metric_observe(arg, 1e-3);
    }
    return UPDATES;
}

int main(int argc, char **argv)
{
    if (bench_version(argc, argv)) {
        return 0;
    }
    const bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 1 && !json) {
        fprintf(stderr, "bench_base: %s: expected --json or nothing\n", argv[1]);
        return 2;
    }
    /* What the bodies work on: a buffer of normals, and a counter and a histogram in the registry
     * of this process. */
    size_t n = 0;
    const double *bounds = metric_latency_bounds(&n);
    float *normals = mem_aligned(NORMALS * sizeof *normals);
    ASSERT(normals != NULL);
    struct metric *counter = metric_counter("hindcast_bench_total", "Bench.", NULL);
    struct metric *histogram =
        metric_histogram("hindcast_bench_seconds", "Bench.", NULL, bounds, n);

    const struct {
        const char *name, *unit;
        double (*body)(void *arg);
        void *arg;
    } benches[] = {
        {"noise_normal", "normals/s", draw_normals, normals},
        {"queue_pass", "items/s", pass_items, NULL},
        {"metric_add", "updates/s", add, counter},
        {"metric_observe", "updates/s", observe, histogram},
    };
    /* Each line is flushed at once, so that a reader sees it before the next measurement. */
    const size_t n_benches = sizeof benches / sizeof benches[0];
    for (size_t i = 0; i < n_benches; i++) {
        const double rate = best_rate(benches[i].body, benches[i].arg);
        if (json) {
            printf("%s\"%s\": %.6g%s", i == 0 ? "{" : ", ", benches[i].name, rate,
                   i + 1 == n_benches ? "}\n" : "");
        } else {
            printf("%s %.4g %s\n", benches[i].name, rate, benches[i].unit);
        }
        fflush(stdout);
    }
    mem_free(normals);
    return 0;
}
