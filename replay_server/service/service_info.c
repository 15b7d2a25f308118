/* The call Info: what the server holds, its settings, who waits for what, who holds memory. Answered
 * on the call thread from the tables as they are. Nothing here changes a table. */
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/signature_wire.h"
#include "common/service/wire_version.h"
#include "replay_server/service/service_private.h"
#include "replay_server/store/store_record.h"

#define WAITERS_SHOWN 64u /* of a table */
#define WRITERS_SHOWN 256u
#define HOLDERS_SHOWN 64u
#define CLIENTS_SHOWN 256u

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
    Hindcast__ClientInfo clients[CLIENTS_SHOWN];
    Hindcast__ClientInfo *client_pointers[CLIENTS_SHOWN];
    struct settings_wire settings;
};

void settings_wire_fill(struct settings_wire *wire, const struct table_options *options)
{
    const char *name;
    wire->n = 0;
    while (options_table_text(options, wire->n, &name, wire->values[wire->n])) {
        Hindcast__Setting *setting = &wire->items[wire->n];
        hindcast__setting__init(setting);
        setting->name = (char *)name;
        setting->value = wire->values[wire->n];
        wire->pointers[wire->n++] = setting;
        ASSERT(wire->n < SETTINGS_MAX);
    }
}

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
    info->transitions_sampled = table->limiter.counts.sampled;
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

/* What it holds of whom. */
static void fill_clients(struct table_answer *answer, const struct service *service,
                         const struct served_table *table)
{
    uint32_t n = 0, number;
    uint64_t episodes, bytes;
    while (n < CLIENTS_SHOWN && table_client(table->table, n, &number, &episodes, &bytes)) {
        Hindcast__ClientInfo *info = &answer->clients[n];
        const char *name = client_name(service->clients, number);
        hindcast__client_info__init(info);
        if (name != NULL) {
            info->client = (char *)name;
        }
        info->number = number;
        info->episodes = episodes;
        info->bytes = bytes;
        answer->client_pointers[n++] = info;
    }
    answer->info.n_clients = n;
    answer->info.clients = answer->client_pointers;
}

/* All about one table. The message points into `answer`, which must stay where it is. */
static void fill_table(struct table_answer *answer, const struct service *service,
                       const struct served_table *table)
{
    hindcast__table_info__init(&answer->info);
    fill_counts(&answer->info, table);
    signature_wire_fill(&answer->signature, &table->record.signature);
    answer->info.signature = &answer->signature.message;
    settings_wire_fill(&answer->settings, &table->options);
    answer->info.n_settings = answer->settings.n;
    answer->info.settings = answer->settings.pointers;
    fill_waiters(answer, service, table);
    fill_holders(answer, service, table);
    fill_writers(answer, table);
    fill_clients(answer, service, table);
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
    response->wire_version = WIRE_VERSION;
    response->wire_version_oldest = WIRE_VERSION_OLDEST;
    response->store_format = STORE_FORMAT;
}

void on_info(struct rpc_call *call, const ProtobufCMessage *message)
{
    const Hindcast__InfoRequest *request = (const Hindcast__InfoRequest *)message;
    const struct service *service = rpc_call_service(call);
    const uint64_t start_ns = clock_now_ns();
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
        service_observe(service, CALL_INFO, start_ns);
    }
    mem_free(answers);
    mem_free(pointers);
}
