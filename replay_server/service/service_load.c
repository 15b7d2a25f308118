/* At open: what the store holds becomes tables.
 *
 * The store hands out its records in key order, tables first, so that everything else finds its
 * table. Episodes are loaded by their records alone; their chunks are checked when they are first
 * read, by the scrubber, or all at once where a power cut may have damaged any of them (`scan`). A
 * record that does not fit is logged and left out: one bad record must not cost the others. */
#define LOG_MODULE "replay"
#include <inttypes.h>
#include <string.h>

#include "common/base/log.h"
#include "replay_server/service/service_private.h"

/* Tables come first: everything else refers to one by its number. */
static status load_table(void *arg, const struct store_table *record, struct err *err)
{
    /* Its settings are those of today's configuration, not those with which it was made. */
    struct service *service = arg;
    struct served_table *table;
    status s = served_table_new(&table, record, &service->options, err);
    if (s == STATUS_OK) {
        table->stored = true;
        table->next = service->tables;
        service->tables = table;
        service->n_tables++;
    }
    return s;
}

/* Counters whose table is not there are left out. */
static status load_history(void *arg, const struct store_history *history, struct err *err)
{
    (void)err;
    struct served_table *table = service_table_of_number(arg, history->table);
    if (table) {
        served_table_set_history(table, history);
    }
    return STATUS_OK;
}

/* A writer continues after the last sequence that was committed. */
static status load_writer(void *arg, const struct store_writer *record, struct err *err)
{
    struct served_table *table = service_table_of_number(arg, record->table);
    /* A writer of a table that is not there. */
    if (table == NULL) {
        return STATUS_OK;
    }
    struct writer *writer;
    status s = writers_add(&table->writers, record->name, &writer, err);
    if (s == STATUS_OK) {
        writer->done = record->done;
        writer->generation = record->generation;
        writer->committed = writer->queued = record->last_sequence;
        writer->cursor_size = record->cursor_size;
        memcpy(writer->cursor, record->cursor, record->cursor_size);
    }
    return s;
}

/* An episode goes into its table's index. */
static status load_episode(void *arg, const struct store_episode *record, struct err *err)
{
    struct served_table *table = service_table_of_number(arg, record->table);
    /* W says how rows are laid out: with another one they could not be read. */
    if (table == NULL || record->W != table->W) {
        log_error("an episode belongs to no table and is left out id=%" PRIu64 " table=%u",
                  record->id, record->table);
        return STATUS_OK;
    }
    /* An earlier version took any finite number. */
    double priority = record->priority;
    if (!table_priority_valid(priority)) {
        priority = priority < TABLE_PRIORITY_MIN ? TABLE_PRIORITY_MIN : TABLE_PRIORITY_MAX;
        log_warn("a stored priority is out of range and is taken as the nearest that is in it "
                 "id=%" PRIu64 " priority=%g",
                 record->id, record->priority);
    }
    const struct table_episode episode = {
        .identity = record->identity,
        .id = record->id,
        .bytes = store_episode_bytes(record->n_rows, record->W),
        .priority = priority,
        .n_rows = record->n_rows,
        .client = record->client,
    };
    status s = table_load(table->table, &episode);
    if (s == STATUS_EXISTS) {
        log_error("an identity is there twice, the later one is left out id=%" PRIu64, record->id);
        return STATUS_OK;
    }
    if (s != STATUS_OK) {
        return err_set(err, s, "episode %" PRIu64, record->id);
    }
    table_set_times_sampled(table->table, record->id, record->times_sampled);
    return STATUS_OK;
}

/* A scan found the episode damaged. Nothing is served yet, so it is deleted right here. */
static void drop_while_loading(void *arg, uint32_t number, uint64_t id)
{
    struct service *service = arg;
    struct served_table *table = service_table_of_number(service, number);
    struct err err;
    /* It leaves the index, so that it is never served, and then the store. */
    if (table) {
        (void)table_remove(table->table, id, true);
    }
    /* A transaction of its own: there are few such episodes. */
    status s = store_begin(service->store, &err);
    if (s == STATUS_OK) {
        s = store_remove_episode(service->store, id, &err);
        if (s == STATUS_OK) {
            s = store_commit(service->store, &err);
        } else {
            store_abort(service->store);
        }
    }
    if (s != STATUS_OK) {
        log_error("a corrupt episode could not be removed: %s", err.text);
    }
}

status service_load(struct service *service, bool scan, struct err *err)
{
    /* Tables, and then what refers to them. */
    status s = store_each_table(service->store, load_table, service, err);
    if (s == STATUS_OK) {
        s = store_each_history(service->store, load_history, service, err);
    }
    if (s == STATUS_OK) {
        s = store_each_writer(service->store, load_writer, service, err);
    }
    if (s == STATUS_OK) {
        s = store_each_episode(service->store, load_episode, service, err);
    }
    for (struct served_table *table = service->tables; s == STATUS_OK && table;
         table = table->next) {
        table_settle_history(table->table);
    }
    /* After a power cut anything may be damaged: everything is read before anything is served. */
    if (s == STATUS_OK && scan) {
        uint64_t n_corrupt = 0;
        log_warn("the machine stopped while the store was not synced: checking all of it");
        s = scrub_all(service->store, drop_while_loading, service, &n_corrupt, err);
        if (s == STATUS_OK) {
            s = store_mark(service->store, err);
        }
    }
    /* Sealed tables are sealed again: they get the order and the version that they had. */
    for (struct served_table *table = service->tables; s == STATUS_OK && table;
         table = table->next) {
        if (table->record.sealed) {
            s = table_seal(table->table);
        }
        const struct table_counts *c = table_counts(table->table);
        log_info("table=%s episodes=%" PRIu64 " transitions=%" PRIu64 " writers=%zu%s",
                 table->record.name, c->episodes, c->transitions, table->writers.n,
                 table->record.sealed ? " sealed" : "");
    }
    /* From here on the service numbers chunks itself, ahead of the store. */
    service->next_chunk = store_next_chunk(service->store);
    return s;
}
