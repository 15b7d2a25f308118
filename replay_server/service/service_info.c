/* What the server tells about itself: the call Info, its metrics, the status line of hindcast up.
 *
 * Info is answered on the call thread from the tables as they are. Metrics are sums over all
 * tables, brought up to date with every tick; metrics.h serves them from another thread. The status
 * line is made on the call thread too, as a text that any thread may copy under `text_lock`.
 *
 * Nothing here changes a table. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/clients/signature_wire.h"
#include "replay_server/service/service_private.h"

#define WAITERS_SHOWN 64u /* of a table */
#define WRITERS_SHOWN 256u
#define HOLDERS_SHOWN 64u

/* ---- Info ---- */

/* One table's part of the answer with everything it points to. Large: on the heap. */
struct table_answer {
    Hindcast__TableInfo info;
    struct signature_wire signature;
    size_t n_waiters;
    Hindcast__Waiter waiters[WAITERS_SHOWN];
    Hindcast__Waiter *waiter_pointers[WAITERS_SHOWN];
    size_t n_holders;
    Hindcast__Holder holders[HOLDERS_SHOWN];
    Hindcast__Holder *holder_pointers[HOLDERS_SHOWN];
    Hindcast__WriterInfo writers[WRITERS_SHOWN];
    Hindcast__WriterInfo *writer_pointers[WRITERS_SHOWN];
};

/* Contents, counters and settings. */
static void fill_counts(Hindcast__TableInfo *info, const struct served_table *table)
{
    const struct table_counts *c = table_counts(table->table);
    /* Texts are borrowed, here and below: the answer is packed before they can change. */
    info->name = (char *)table->record.name;
    info->episodes = c->episodes;
    info->transitions = c->transitions;
    info->bytes = c->bytes;
    info->sealed = table_sealed(table->table);
    info->sealed_version = table_version(table->table);
    info->episodes_inserted = c->episodes_inserted;
    info->transitions_inserted = c->transitions_inserted;
    info->episodes_removed = c->episodes_removed;
    info->transitions_removed = c->transitions_removed;
    info->snippets_sampled = c->snippets_sampled;
    info->episodes_duplicate = c->episodes_duplicate;
    info->episodes_corrupt = c->episodes_corrupt;
    info->transitions_limit = table_settings(table->table)->limits.max_transitions;
    info->bytes_limit = table_settings(table->table)->limits.max_bytes;
    info->min_transitions = table->limiter.settings.min_transitions;
    info->samples_per_eviction = table->limiter.settings.samples_per_eviction;
    info->samples_per_insert = table->limiter.settings.samples_per_insert;
    info->transitions_sampled = table->limiter.sampled;
}

/* Each of these lists has an end: an answer stays small whoever connects. */
static void add_waiter(struct table_answer *answer, const char *who, const char *what,
                       const char *why, uint64_t since_ns)
{
    if (answer->n_waiters < WAITERS_SHOWN) {
        Hindcast__Waiter *waiter = &answer->waiters[answer->n_waiters];
        hindcast__waiter__init(waiter);
        waiter->who = (char *)who;
        waiter->what = (char *)what;
        waiter->why = (char *)why;
        waiter->seconds = (double)(clock_now_ns() - since_ns) * 1e-9;
        answer->waiter_pointers[answer->n_waiters++] = waiter;
    }
}

/* Who waits at this table, for what, and since when. */
static void fill_waiters(struct table_answer *answer, const struct service *service,
                         const struct served_table *table)
{
    const struct served_table *of;
    const char *who, *why;
    uint64_t since_ns;
    /* Streams of both kinds, of this table alone. */
    for (struct insert_stream *s = service->insert_streams; s; s = insert_stream_next(s)) {
        if (insert_stream_waits(s, &of, &who, &why, &since_ns) && of == table) {
            add_waiter(answer, who, "insert", why, since_ns);
        }
    }
    for (const struct sample_stream *s = service->sample_streams; s; s = sample_stream_next(s)) {
        if (sample_stream_waits(s, &of, &who, &why, &since_ns) && of == table) {
            add_waiter(answer, who, "sample", why, since_ns);
        }
    }
    answer->info.n_waiters = answer->n_waiters;
    answer->info.waiters = answer->waiter_pointers;
}

/* Beyond HOLDERS_SHOWN nothing is added. */
static void add_holder(struct table_answer *answer, const char *who, const char *what, size_t bytes,
                       uint64_t since_ns)
{
    if (answer->n_holders < HOLDERS_SHOWN) {
        Hindcast__Holder *holder = &answer->holders[answer->n_holders];
        hindcast__holder__init(holder);
        holder->who = (char *)who;
        holder->what = (char *)what;
        holder->bytes = bytes;
        holder->seconds = (double)(clock_now_ns() - since_ns) * 1e-9;
        answer->holder_pointers[answer->n_holders++] = holder;
    }
}

/* Who holds memory of the pools on behalf of this table, how much, and since when. */
static void fill_holders(struct table_answer *answer, const struct service *service,
                         const struct served_table *table)
{
    const struct served_table *of;
    const char *who;
    size_t bytes;
    uint64_t since_ns;
    for (const struct insert_stream *s = service->insert_streams; s; s = insert_stream_next(s)) {
        if (insert_stream_holds(s, &of, &who, &bytes, &since_ns) && of == table) {
            add_holder(answer, who, "insert", bytes, since_ns);
        }
    }
    for (const struct sample_stream *s = service->sample_streams; s; s = sample_stream_next(s)) {
        if (sample_stream_holds(s, &of, &who, &bytes, &since_ns) && of == table) {
            add_holder(answer, who, "sample", bytes, since_ns);
        }
    }
    answer->info.n_holders = answer->n_holders;
    answer->info.holders = answer->holder_pointers;
}

/* The writers, in the order in which they came. */
static void fill_writers(struct table_answer *answer, const struct served_table *table)
{
    /* The first ones, should there be more than an answer shows. */
    size_t n = table->writers.n < WRITERS_SHOWN ? table->writers.n : WRITERS_SHOWN;
    for (size_t i = 0; i < n; i++) {
        const struct writer *writer = table->writers.items[i];
        Hindcast__WriterInfo *info = &answer->writers[i];
        hindcast__writer_info__init(info);
        info->writer = (char *)writer->name;
        info->generation = writer->generation;
        info->last_sequence = writer->committed;
        info->done = writer->done;
        answer->writer_pointers[i] = info;
    }
    answer->info.n_writers = n;
    answer->info.writers = answer->writer_pointers;
}

/* All about one table. The message points into `answer`, which must stay where it is. */
static void fill_table(struct table_answer *answer, const struct service *service,
                       const struct served_table *table)
{
    hindcast__table_info__init(&answer->info);
    fill_counts(&answer->info, table);
    signature_wire_fill(&answer->signature, &table->record.signature);
    answer->info.signature = &answer->signature.message;
    fill_waiters(answer, service, table);
    fill_holders(answer, service, table);
    fill_writers(answer, table);
}

/* What belongs to no table. */
static void fill_server(Hindcast__InfoResponse *response, const struct service *service)
{
    uint64_t used, file;
    store_sizes(service->store, &used, &file, &response->map_bytes);
    struct rpc_server_counts counts;
    rpc_server_counts(service->server, &counts);
    response->version = (char *)HINDCAST_VERSION;
    response->config_digest = service->config_digest;
    response->uptime_s = (double)(clock_now_ns() - service->start_ns) * 1e-9;
    response->store_bytes = file;
    response->lag_ns = counts.lag_ns;
    response->insert_queue = (uint32_t)inserter_queued(service->inserter);
    response->sample_queue = (uint32_t)sample_streams_gathering(service);
}

void on_info(struct rpc_call *call, const ProtobufCMessage *message)
{
    const Hindcast__InfoRequest *request = (const Hindcast__InfoRequest *)message;
    const struct service *service = rpc_call_service(call);
    /* One element more, since there may be no table yet. */
    struct table_answer *answers = mem_array(service->n_tables + 1, sizeof *answers);
    Hindcast__TableInfo **pointers =
        mem_array(service->n_tables + 1, sizeof(Hindcast__TableInfo *));
    if (answers == NULL || pointers == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "out of memory");
    } else {
        /* The answers are filled one after the other, and the message points to them. */
        Hindcast__InfoResponse response = HINDCAST__INFO_RESPONSE__INIT;
        fill_server(&response, service);
        response.tables = pointers;
        /* A table that is not stored may yet fail to be made: it is not shown. */
        for (const struct served_table *table = service->tables; table; table = table->next) {
            if (table->stored &&
                (request->table[0] == '\0' || strcmp(request->table, table->record.name) == 0)) {
                fill_table(&answers[response.n_tables], service, table);
                pointers[response.n_tables] = &answers[response.n_tables].info;
                response.n_tables++;
            }
        }
        rpc_call_reply(call, &response.base);
    }
    mem_free(answers);
    mem_free(pointers);
}

/* ---- Metrics ---- */

/* Sums over all tables: the kind, the name's end, the help, and where it comes from. */
#define TABLE_METRICS(X)                                                                           \
    X(gauge, episodes, "episodes", "Episodes held.", c->episodes)                                  \
    X(gauge, transitions, "transitions", "Transitions held.", c->transitions)                      \
    X(gauge, bytes, "table_bytes", "Bytes of the episodes held, on disk.", c->bytes)               \
    X(gauge, sealed, "sealed_tables", "Tables that are sealed.", table_sealed(t->table))           \
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
    X(counter, sampled_t, "transitions_sampled_total", "Transitions sampled.", t->limiter.sampled)

/* Of the server as a whole; those of its calls are the endpoint's. */
#define SERVER_METRICS(X)                                                                          \
    X(gauge, waiting_inserts, "waiting_inserts", "Insert streams that are made to wait.",          \
      n_inserts)                                                                                   \
    X(gauge, waiting_samples, "waiting_samples", "Sample streams that are made to wait.",          \
      n_samples)                                                                                   \
    X(gauge, insert_queue, "insert_queue", "Jobs waiting for the store.", queued)                  \
    X(gauge, store_bytes, "store_file_bytes", "Size of the store's file.", file)                   \
    X(gauge, store_used, "store_used_bytes", "Of these, in use.", used)                            \
    X(gauge, buffers, "sample_buffer_bytes", "Batches on their way out.", out)

/* Each metric and the value that it was given last, from which counters find out what is new. */
struct service_metrics {
#define FIELD(kind, field, name, help, value)                                                      \
    struct metric *field;                                                                          \
    double shown_##field;
    TABLE_METRICS(FIELD)
    SERVER_METRICS(FIELD)
#undef FIELD
};

status service_metrics_new(struct service *service, struct err *err)
{
    struct service_metrics *m = mem_new(sizeof *m);
    if (m == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "metrics");
    }
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

/* The metric is the process's and grows by what ours has grown. */
static void show_counter(struct metric *metric, double value, double *shown)
{
    if (value > *shown) {
        metric_add(metric, value - *shown);
        *shown = value;
    }
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
