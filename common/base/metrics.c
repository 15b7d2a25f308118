/* The registry of metrics: a sorted list that only grows, under a lock. The values are updated
 * without it: a counter or gauge is the bits of a double in an atomic cell, so that any thread may
 * update it at the price of one atomic operation, and a page reads a value that was true at some
 * moment. Names are registered at start; looking one up costs a walk over the list and is not for
 * inner loops. */
#include "common/base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/memory.h"
#include "common/base/text.h"

struct metric {
    /* Copies that are never freed: a metric lives as long as the process. */
    const char *name;
    const char *help;
    const char *labels; /* "" for none */
    enum metric_kind kind;
    _Atomic uint64_t value; /* bits of a double; histogram: the sum */
    size_t n_bounds;
    const double *bounds;      /* (n_bounds) */
    _Atomic uint64_t *buckets; /* (n_bounds + 1), not cumulative; the last is +Inf's */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two below */
static struct metric **metrics;                          /* in order of name, then labels */
static size_t n_metrics;

/* ---- Values ---- */

static double load(const _Atomic uint64_t *cell)
{
    /* Relaxed: a figure stands for itself, and nobody concludes from it what other memory holds. */
    const uint64_t bits = atomic_load_explicit(cell, memory_order_relaxed);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Adding to a double has no instruction: try until no other thread came between. */
static void add(_Atomic uint64_t *cell, double amount)
{
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    double value;
    do {
        memcpy(&value, &old, sizeof value);
    } while (!atomic_compare_exchange_weak_explicit(cell, &old, bits_of(value + amount),
                                                    memory_order_relaxed, memory_order_relaxed));
}

/* ---- The registry ---- */

/* The order of the list. Metrics of one name are neighbours, because a page prints their help
 * once. */
static int compare(const struct metric *metric, const char *name, const char *labels)
{
    const int by_name = strcmp(metric->name, name);
    return by_name != 0 ? by_name : strcmp(metric->labels, labels);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A new metric with copies of all texts. Start-up only, so lack of memory ends the process. */
static struct metric *make(const char *name, const char *help, const char *labels,
                           enum metric_kind kind, const double *bounds, size_t n)
{
    struct metric *made = mem_new(sizeof *made);
    ASSERT(made != NULL);
    /* Copies: the caller may have built the name in a buffer. */
    made->name = mem_text(name);
    made->help = mem_text(help);
    made->labels = mem_text(labels);
    ASSERT(made->name != NULL && made->help != NULL && made->labels != NULL);
    made->kind = kind;
    /* One bucket more than bounds: that of +Inf. */
    if (kind == METRIC_HISTOGRAM) {
        double *copy = mem_array(n, sizeof *copy);
        made->buckets = mem_array(n + 1, sizeof *made->buckets);
        ASSERT(copy != NULL && made->buckets != NULL);
        memcpy(copy, bounds, n * sizeof *copy);
        made->bounds = copy;
        made->n_bounds = n;
    }
    return made;
}

/* Finds the metric, or inserts it so that the list stays sorted. The same name and labels give the
 * same metric, whoever asks. */
static struct metric *get(const char *name, const char *help, const char *labels,
                          enum metric_kind kind, const double *bounds, size_t n)
{
    ASSERT(strncmp(name, "hindcast_", 9) == 0);
    /* Absent labels sort before all others. */
    const char *own_labels = labels == NULL ? "" : labels;
    pthread_mutex_lock(&lock);
    size_t i = 0;
    /* Its place, or the metric itself. */
    while (i < n_metrics && compare(metrics[i], name, own_labels) < 0) {
        i++;
    }
    if (i == n_metrics || compare(metrics[i], name, own_labels) != 0) {
        /* Few metrics, registered once: the list is simply shifted. */
        metrics = mem_resize(metrics, n_metrics + 1, sizeof(struct metric *));
        ASSERT(metrics != NULL);
        memmove(metrics + i + 1, metrics + i, (n_metrics - i) * sizeof(struct metric *));
        metrics[i] = make(name, help, own_labels, kind, bounds, n);
        n_metrics++;
    }
    struct metric *metric = metrics[i];
    /* One name, one kind. */
    ASSERT(metric->kind == kind);
    pthread_mutex_unlock(&lock);
    return metric;
}

struct metric *metric_counter(const char *name, const char *help, const char *labels)
{
    ASSERT(ends_with(name, "_total"));
    return get(name, help, labels, METRIC_COUNTER, NULL, 0);
}

struct metric *metric_gauge(const char *name, const char *help, const char *labels)
{
    return get(name, help, labels, METRIC_GAUGE, NULL, 0);
}

struct metric *metric_histogram(const char *name, const char *help, const char *labels,
                                const double *bounds, size_t n)
{
    /* A histogram whose bounds do not ascend would count wrongly. */
    for (size_t i = 1; i < n; i++) {
        ASSERT(bounds[i - 1] < bounds[i]);
    }
    return get(name, help, labels, METRIC_HISTOGRAM, bounds, n);
}

const double *metric_latency_bounds(size_t *n)
{
    /* From 10 us to one minute, about three bounds to a power of ten. */
    static const double bounds[] = {10e-6,  25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3,
                                    2.5e-3, 5e-3,  10e-3, 25e-3,  50e-3,  0.1,    0.25,
                                    0.5,    1,     2.5,   5,      10,     30,     60};
    *n = sizeof bounds / sizeof bounds[0];
    return bounds;
}

void metric_add(struct metric *metric, double amount)
{
    ASSERT(metric->kind != METRIC_HISTOGRAM);
    /* A counter that fell would look like a restart of the process. */
    ASSERT(metric->kind == METRIC_GAUGE || amount >= 0);
    add(&metric->value, amount);
}

void metric_set(struct metric *metric, double value)
{
    ASSERT(metric->kind == METRIC_GAUGE);
    atomic_store_explicit(&metric->value, bits_of(value), memory_order_relaxed);
}

void metric_observe(struct metric *metric, double value)
{
    ASSERT(metric->kind == METRIC_HISTOGRAM);
    size_t i = 0;
    while (i < metric->n_bounds && !(value <= metric->bounds[i])) {
        i++; /* NaN ends in +Inf's bucket */
    }
    /* Two operations: a page that is made between them has the count without the sum. */
    atomic_fetch_add_explicit(&metric->buckets[i], 1, memory_order_relaxed);
    add(&metric->value, value);
}

double metric_value(const struct metric *metric)
{
    return load(&metric->value);
}

/* ---- showing ---- */

/* As Prometheus writes numbers: +Inf, -Inf and NaN have names. */
static void print_number(struct text *out, double value)
{
    if (isnan(value)) {
        text_add(out, "NaN");
    } else if (isinf(value)) {
        text_add(out, value > 0 ? "+Inf" : "-Inf");
    } else {
        text_add_number(out, value);
    }
}

/* The two lines before the first metric of a name. */
static void print_help(struct text *out, const struct metric *metric)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    text_format(out, "# HELP %s ", metric->name);
    /* The format wants these two characters escaped, and no others. */
    for (const char *c = metric->help; *c != '\0'; c++) {
        if (*c == '\\' || *c == '\n') {
            text_add(out, *c == '\n' ? "\\n" : "\\\\");
        } else {
            text_add_bytes(out, c, 1);
        }
    }
    text_format(out, "\n# TYPE %s %s\n", metric->name, kinds[metric->kind]);
}

/* `name_suffix{labels} ` */
static void print_name(struct text *out, const struct metric *metric, const char *suffix)
{
    const bool labels = metric->labels[0] != '\0';
    text_format(out, "%s%s%s%s%s ", metric->name, suffix, labels ? "{" : "", metric->labels,
                labels ? "}" : "");
}

/* Buckets are cumulative on the page, though not in memory. */
static void print_histogram(struct text *out, const struct metric *metric)
{
    /* _count is the sum of the buckets as read here, so that it always agrees with +Inf's. */
    uint64_t total = 0;
    for (size_t i = 0; i <= metric->n_bounds; i++) {
        /* `le` is the upper bound of a bucket, which belongs to it. */
        total += atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
        text_format(out, "%s_bucket{%s%sle=\"", metric->name, metric->labels,
                    metric->labels[0] == '\0' ? "" : ",");
        print_number(out, i < metric->n_bounds ? metric->bounds[i] : (double)INFINITY);
        text_format(out, "\"} %llu\n", (unsigned long long)total);
    }
    print_name(out, metric, "_sum");
    print_number(out, load(&metric->value));
    text_add(out, "\n");
    print_name(out, metric, "_count");
    text_format(out, "%llu\n", (unsigned long long)total);
}

/* ---- hooks ---- */

#define HOOKS_MAX 16

/* Held while hooks run, so that a hook that was removed is not running any more. Hooks may register
 * metrics, which takes `lock`: this one comes first. */
static pthread_mutex_t hooks_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hook {
    metrics_hook *function;
    void *arg;
} hooks[HOOKS_MAX];
static size_t n_hooks;

void metrics_add_hook(metrics_hook *function, void *arg)
{
    pthread_mutex_lock(&hooks_lock);
    ASSERT(n_hooks < HOOKS_MAX);
    hooks[n_hooks++] = (struct hook){function, arg};
    pthread_mutex_unlock(&hooks_lock);
}

bool metrics_remove_hook(metrics_hook *function, void *arg)
{
    bool removed = false;
    pthread_mutex_lock(&hooks_lock);
    for (size_t i = 0; i < n_hooks && !removed; i++) {
        if (hooks[i].function == function && hooks[i].arg == arg) {
            /* The last one takes its place; hooks run in no certain order. */
            hooks[i] = hooks[--n_hooks];
            removed = true;
        }
    }
    pthread_mutex_unlock(&hooks_lock);
    return removed;
}

/* Before each page. Not under `lock`, which hooks take. */
static void run_hooks(void)
{
    pthread_mutex_lock(&hooks_lock);
    for (size_t i = 0; i < n_hooks; i++) {
        hooks[i].function(hooks[i].arg);
    }
    pthread_mutex_unlock(&hooks_lock);
}

/* ---- pages ---- */

char *metrics_prometheus(void)
{
    run_hooks();
    struct text page = {0}, *out = &page;
    /* The lock holds the list still, not the values, which go on changing. */
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_metrics; i++) {
        const struct metric *metric = metrics[i];
        /* Metrics of one name follow each other; their help comes once. */
        if (i == 0 || strcmp(metrics[i - 1]->name, metric->name) != 0) {
            print_help(out, metric);
        }
        if (metric->kind == METRIC_HISTOGRAM) {
            print_histogram(out, metric);
        } else {
            print_name(out, metric, "");
            print_number(out, load(&metric->value));
            text_add(out, "\n");
        }
    }
    pthread_mutex_unlock(&lock);
    return text_take(out, NULL);
}

/* {"count": 3, "sum": 0.5, "buckets": [[0.1, 1], .., [null, 3]]}; null is +Inf. */
static cJSON *histogram_json(const struct metric *metric)
{
    cJSON *object = cJSON_CreateObject();
    cJSON *buckets = cJSON_CreateArray();
    uint64_t total = 0;
    /* Cumulative, as on the Prometheus page. */
    for (size_t i = 0; i <= metric->n_bounds; i++) {
        total += atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
        /* One pair for each bucket: its upper bound, and the count up to there. */
        cJSON *pair = cJSON_CreateArray();
        cJSON_AddItemToArray(pair, i < metric->n_bounds ? cJSON_CreateNumber(metric->bounds[i])
                                                        : cJSON_CreateNull());
        cJSON_AddItemToArray(pair, cJSON_CreateNumber((double)total));
        cJSON_AddItemToArray(buckets, pair);
    }
    cJSON_AddNumberToObject(object, "count", (double)total);
    cJSON_AddNumberToObject(object, "sum", load(&metric->value));
    cJSON_AddItemToObject(object, "buckets", buckets);
    return object;
}

char *metrics_json(void)
{
    run_hooks();
    cJSON *object = cJSON_CreateObject();
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_metrics; i++) {
        const struct metric *metric = metrics[i];
        /* The key is the name with its labels, as on the Prometheus page. */
        char key[512];
        const bool labels = metric->labels[0] != '\0';
        snprintf(key, sizeof key, "%s%s%s%s", metric->name, labels ? "{" : "", metric->labels,
                 labels ? "}" : "");
        /* cJSON prints what is not finite as null. */
        cJSON_AddItemToObject(object, key,
                              metric->kind == METRIC_HISTOGRAM
                                  ? histogram_json(metric)
                                  : cJSON_CreateNumber(load(&metric->value)));
    }
    pthread_mutex_unlock(&lock);
    char *text = cJSON_Print(object);
    cJSON_Delete(object);
    return text;
}
