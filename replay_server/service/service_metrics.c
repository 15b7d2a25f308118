/* What the server reports about itself: metrics, and the status line of hindcast up.
 *
 * Metrics are sums over all tables, brought up to date with every tick; metrics.h serves them from
 * another thread. The status line is made on the call thread too, as a text that any thread may copy
 * under `text_lock`. How long calls take is observed where they are answered. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "replay_server/service/service_private.h"

#define PROBES        64u         /* snippets that are looked at */
#define PROBE_PURPOSE 0x70726f62u /* of their random numbers: "prob" */

/* Sums over all tables: the kind, the name's end, the help, and where it comes from. */
#define TABLE_METRICS(X)                                                                           \
    X(gauge, episodes, "episodes", "Episodes held.", c->episodes)                                  \
    X(gauge, transitions, "transitions", "Transitions held.", c->transitions)                      \
    X(gauge, bytes, "table_bytes", "Bytes of the episodes held, on disk.", c->bytes)               \
    X(gauge, sealed, "sealed_tables", "Tables that are sealed.", table_sealed(t->table))           \
    X(gauge, unsaved, "times_unsaved",                                                             \
      "Episodes of which the store does not know yet how often they were sampled.",                \
      table_noted_times(t->table) + t->saving_times)                                               \
    X(counter, inserted, "episodes_inserted_total", "Episodes inserted.", c->episodes_inserted)    \
    X(counter, inserted_t, "transitions_inserted_total", "Transitions inserted.",                  \
      c->transitions_inserted)                                                                     \
    X(counter, removed, "episodes_removed_total", "Episodes removed to make room.",                \
      c->episodes_removed)                                                                         \
    X(counter, duplicate, "episodes_duplicate_total", "Inserts of resident identities.",           \
      c->episodes_duplicate)                                                                       \
    X(counter, corrupt, "episodes_corrupt_total", "Episodes that failed their check.",             \
      c->episodes_corrupt)                                                                         \
    X(counter, sampled, "snippets_sampled_total", "Snippets sampled.", c->snippets_sampled)        \
    X(counter, sampled_t, "transitions_sampled_total", "Transitions sampled.",                     \
      t->limiter.counts.sampled)

/* Of the server as a whole; those of its calls are the endpoint's. */
#define SERVER_METRICS(X)                                                                          \
    X(gauge, waiting_inserts, "waiting_inserts", "Insert streams that are made to wait.",          \
      n_inserts)                                                                                   \
    X(gauge, waiting_samples, "waiting_samples", "Sample streams that are made to wait.",          \
      n_samples)                                                                                   \
    X(gauge, insert_queue, "insert_queue", "Jobs waiting for the store.", queued)                  \
    X(gauge, store_bytes, "store_file_bytes", "Size of the store's file.", file)                   \
    X(gauge, store_used, "store_used_bytes", "Of these, in use.", used)                            \
    X(gauge, buffers, "sample_buffer_bytes", "Batches on their way out.", out)                     \
    X(gauge, compaction_pause, "compaction_pause_seconds",                                         \
      "How long the last compaction kept inserts waiting.", service->compaction_pause_s)           \
    X(counter, over_quota, "inserts_over_quota_total",                                             \
      "Inserts refused by max_client_bytes or max_client_episodes.", service->n_over_quota)        \
    X(counter, slowed, "inserts_slowed_total",                                                     \
      "Episodes that have waited for max_client_bytes_per_s.", service->n_slowed)

/* Each metric and the value that it was given last, from which counters find out what is new. */
struct service_metrics {
    struct metric *call_seconds[N_CALLS];
    struct metric *resident_ratio;
    uint64_t n_probed;
#define FIELD(kind, field, name, help, value)                                                      \
    struct metric *field;                                                                          \
    double shown_##field;
    TABLE_METRICS(FIELD)
    SERVER_METRICS(FIELD)
#undef FIELD
};

static const char *const call_names[N_CALLS] = {
    [CALL_INFO] = "Info",          [CALL_OPEN_INSERT] = "OpenInsert",
    [CALL_INSERT] = "Insert",      [CALL_SEAL] = "Seal",
    [CALL_SAMPLE] = "Sample",      [CALL_UPDATE_PRIORITIES] = "UpdatePriorities",
    [CALL_SET_TABLE] = "SetTable", [CALL_DELETE] = "Delete",
    [CALL_DUMP] = "Dump",          [CALL_COMPACT] = "Compact",
};

void service_observe(const struct service *service, enum service_call call, uint64_t start_ns)
{
    metric_observe(service->metrics->call_seconds[call],
                   (double)(clock_now_ns() - start_ns) * 1e-9);
}

status service_metrics_new(struct service *service, struct err *err)
{
    struct service_metrics *m = mem_new(sizeof *m);
    if (m == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "metrics");
    }
    size_t n_bounds;
    const double *bounds = metric_latency_bounds(&n_bounds);
    for (size_t i = 0; i < N_CALLS; i++) {
        char label[64];
        snprintf(label, sizeof label, "call=\"%s\"", call_names[i]);
        m->call_seconds[i] =
            metric_histogram("hindcast_replay_call_seconds", "Time in which calls were answered.",
                             label, bounds, n_bounds);
    }
    m->resident_ratio =
        metric_gauge("hindcast_replay_resident_ratio",
                     "Share of what samplers would draw now that is in memory.", NULL);
    metric_set(m->resident_ratio, 1);
/* The metrics themselves belong to metrics.h; only pointers to them are kept. */
#define REGISTER(kind, field, name, help, value)                                                   \
    m->field = metric_##kind("hindcast_replay_" name, help, NULL);
    TABLE_METRICS(REGISTER)
    SERVER_METRICS(REGISTER)
#undef REGISTER
    service->metrics = m;
    return STATUS_OK;
}

void service_metrics_free(struct service *service)
{
    mem_free(service->metrics);
    service->metrics = NULL;
}

/* A gauge shows the value that it is given. */
static void show_gauge(struct metric *metric, double value, double *shown)
{
    metric_set(metric, value);
    *shown = value;
}

/* The metric is the process's and grows by what ours has grown. A reset begins from nothing. */
static void show_counter(struct metric *metric, double value, double *shown)
{
    if (value > *shown) {
        metric_add(metric, value - *shown);
    }
    *shown = value;
}

/* Adds up all tables and shows the sums. */
static void update_tables(const struct service *service)
{
    struct service_metrics *m = service->metrics;
    /* One sum for each row of TABLE_METRICS. */
    struct sums {
#define FIELD(kind, field, name, help, value) double field;
        TABLE_METRICS(FIELD)
#undef FIELD
    } sums = {0};
    for (const struct served_table *t = service->tables; t; t = t->next) {
        const struct table_counts *c = table_counts(t->table);
#define ADD(kind, field, name, help, value) sums.field += (double)(value);
        TABLE_METRICS(ADD)
#undef ADD
    }
#define SHOW(kind, field, name, help, value) show_##kind(m->field, sums.field, &m->shown_##field);
    TABLE_METRICS(SHOW)
#undef SHOW
}

/* How many streams wait, over all tables. */
static void count_waiters(const struct service *service, uint32_t *n_inserts, uint32_t *n_samples)
{
    const struct served_table *table;
    const char *who, *why;
    uint64_t since_ns;
    /* Every stream is asked, whichever table it is of. */
    *n_inserts = *n_samples = 0;
    for (struct insert_stream *s = service->insert_streams; s; s = insert_stream_next(s)) {
        *n_inserts += insert_stream_waits(s, &table, &who, &why, &since_ns);
    }
    for (const struct sample_stream *s = service->sample_streams; s; s = sample_stream_next(s)) {
        *n_samples += sample_stream_waits(s, &table, &who, &why, &since_ns);
    }
}

/* Draws as a sampler would, and looks whether the rows are in memory: the kernel knows, and nothing is
 * read. */
void service_probe_residence(struct service *service)
{
    struct service_metrics *m = service->metrics;
    struct err err;
    uint32_t n = 0, resident = 0;
    if (store_reader_refresh(service->reader, &err) != STATUS_OK) {
        return;
    }
    m->n_probed++;
    for (const struct served_table *t = service->tables; t; t = t->next) {
        const bool empty = table_counts(t->table)->transitions == 0;
        for (uint32_t i = 0; !empty && i < PROBES / service->n_tables + 1; i++) {
            struct table_draw draw;
            table_draw(t->table, PROBE_PURPOSE, m->n_probed, i, 0, 1, &draw);
            const uint32_t at = draw.first_row % t->chunk_rows;
            resident += store_reader_resident(
                service->reader, draw.id + draw.first_row / t->chunk_rows, at, 1, t->W);
            n++;
        }
    }
    store_reader_rest(service->reader);
    metric_set(m->resident_ratio, n == 0 ? 1 : (double)resident / n);
}

/* 1234 -> "1,234"; 31200 per second -> "31.2k". */
static void with_commas(char text[32], uint64_t n)
{
    /* Groups of three digits, from the right. */
    char digits[24];
    const size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n);
    size_t k = 0;
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            text[k++] = ',';
        }
        text[k++] = digits[i];
    }
    text[k] = '\0';
}

/* 1234567 -> "1.23M". */
static void with_unit(char text[32], double n)
{
    if (n >= 1e6) {
        snprintf(text, 32, "%.2fM", n * 1e-6);
    } else if (n >= 1e4) {
        snprintf(text, 32, "%.1fk", n * 1e-3);
    } else {
        snprintf(text, 32, "%.0f", n);
    }
}

/* The status line, about once a second. */
static void describe(struct service *service, uint32_t n_waiting)
{
    /* Rates over the time since the last line; the first line has none. */
    const uint64_t now_ns = clock_now_ns();
    const double elapsed_s = (double)(now_ns - service->reported_ns) * 1e-9;
    if (elapsed_s < 1) {
        return;
    }
    /* Sums over all tables. */
    uint64_t episodes = 0, transitions = 0, sampled = 0, inserted = 0, n_sealed = 0;
    for (const struct served_table *table = service->tables; table; table = table->next) {
        const struct table_counts *c = table_counts(table->table);
        episodes += c->episodes;
        transitions += c->transitions;
        sampled += c->snippets_sampled;
        inserted += c->transitions_inserted;
        n_sealed += table_sealed(table->table);
    }
    char e[32], t[32], s[32], i[32];
    with_commas(e, episodes);
    with_commas(t, transitions);
    /* Without a line before, there is no time over which to take a rate. */
    const bool first = service->reported_ns == 0;
    with_unit(s, first ? 0 : (double)(sampled - service->reported_sampled) / elapsed_s);
    with_unit(i, first ? 0 : (double)(inserted - service->reported_inserted) / elapsed_s);
    /* The text is made under the lock, which is all that the reading thread waits for. */
    pthread_mutex_lock(&service->text_lock);
    snprintf(service->text, sizeof service->text,
             "%s episodes  %s transitions%s  in %s steps/s  out %s snippets/s  %u waiting", e, t,
             n_sealed > 0 && n_sealed == service->n_tables ? " sealed" : "", i, s, n_waiting);
    pthread_mutex_unlock(&service->text_lock);
    /* The next rates are taken from here. */
    service->reported_ns = now_ns;
    service->reported_sampled = sampled;
    service->reported_inserted = inserted;
}

/* Once a tick, on the call thread: everything that the metrics are made of is the call thread's. */
void service_metrics_update(struct service *service)
{
    struct service_metrics *m = service->metrics;
    uint32_t n_inserts, n_samples;
    uint64_t used, file, map;
    update_tables(service);
    count_waiters(service, &n_inserts, &n_samples);
    store_sizes(service->store, &used, &file, &map);
    /* These names are those that SERVER_METRICS uses for its values. */
    const size_t queued = inserter_queued(service->inserter);
    const size_t out = buffer_pool_taken_bytes(service->sample_pool);
#define SHOW(kind, field, name, help, value)                                                       \
    show_##kind(m->field, (double)(value), &m->shown_##field);
    SERVER_METRICS(SHOW)
#undef SHOW
    describe(service, n_inserts + n_samples);
}

/* A copy of the line that describe has made last; it may be a second old. */
void service_describe(struct service *service, char *text, size_t size)
{
    pthread_mutex_lock(&service->text_lock);
    snprintf(text, size, "%s", service->text);
    pthread_mutex_unlock(&service->text_lock);
}
