/* Counters, gauges and histograms, and how they are shown: Prometheus text and JSON.
 *
 * A metric is made once at start and updated from any thread without locks; histograms have fixed
 * buckets. Names are Prometheus names with the prefix hindcast_, units last:
 * hindcast_learner_step_seconds. */
#ifndef HINDCAST_BASE_METRICS_H
#define HINDCAST_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct metric;
enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* Registers until the process ends; the same name and labels again gives the same metric.
 * `labels` is NULL or `task="run",statistic="mean"`. Counters' names end in _total. Aborts when out
 * of memory: start-up only. */
struct metric *metric_counter(const char *name, const char *help, const char *labels);
struct metric *metric_gauge(const char *name, const char *help, const char *labels);
/* `bounds`: n ascending upper bounds, without +Inf. */
struct metric *metric_histogram(const char *name, const char *help, const char *labels,
                                const double *bounds, size_t n);

/* Bounds for latencies in seconds: 10 us .. 60 s, about 2.3 apart. Static. */
const double *metric_latency_bounds(size_t *n);

void metric_add(struct metric *metric, double amount);    /* counter, gauge */
void metric_set(struct metric *metric, double value);     /* gauge */
void metric_observe(struct metric *metric, double value); /* histogram */
double metric_value(const struct metric *metric);         /* counter, gauge; histogram: its sum */

/* Registers a function that runs before each exposition, on the thread that asks for it: for values
 * that are cheaper to read than to keep up to date. At most 16; any thread. */
typedef void metrics_hook(void *arg);
void metrics_add_hook(metrics_hook *hook, void *arg);
/* Takes it out again and returns when it is not running. False: it was not there. */
bool metrics_remove_hook(metrics_hook *hook, void *arg);

/* All metrics as Prometheus text exposition 0.0.4, in order of name, after all hooks have run;
 * mem_free() it. NULL when out of memory. */
char *metrics_prometheus(void);
/* The same as one JSON object {"name{labels}": value, ..}; a histogram is {"count", "sum",
 * "buckets": [[bound, cumulative], ..]} with null for +Inf; a value that is not finite is null. */
char *metrics_json(void);

#endif
