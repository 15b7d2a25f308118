/* Making a served table, and its records in the store.
 *
 * A served table is a pure table with the limits, selectors and rates that its name selects in the
 * configuration, and what the store must remember of it: counters (history) and writers. Their
 * layout on disk is the store's (store_record.h); what each number means is decided here. */
#include "replay_server/service/served_table.h"

#include <string.h>

#include "common/base/memory.h"

/* Places of the counters in store_history.counts: part of the format on disk. */
enum history_place {
    EPISODES_INSERTED,
    TRANSITIONS_INSERTED,
    EPISODES_REMOVED,
    TRANSITIONS_REMOVED,
    EPISODES_DUPLICATE,
    EPISODES_CORRUPT,
    SNIPPETS_SAMPLED,
    TRANSITIONS_SAMPLED,
    FRESH_INSERTED,
    EVICTED,
    ORIGIN_SAMPLED, /* of the rates, in the same counters */
    ORIGIN_FRESH_INSERTED,
    ORIGIN_EVICTED,
    SAMPLES_PER_INSERT, /* the bits of the rates that hold from there; 0: not known */
    SAMPLES_PER_EVICTION,
    HISTORY_PLACES
};
_Static_assert(HISTORY_PLACES <= STORE_HISTORY, "the record has room for all counters");

status served_table_new(struct served_table **out, const struct store_table *record,
                        const struct options *options, struct err *err)
{
    /* An entry of `tables` with this name, or the options of the section. */
    const struct table_options *own = options_of_table(options, record->name);
    const struct table_settings settings = options_table_settings(own);
    const struct limiter_settings limiter = options_limiter_settings(own);
    struct served_table *table = mem_new(sizeof *table);
    if (table == NULL || table_new(&table->table, &settings) != STATUS_OK) {
        mem_free(table);
        return err_set(err, STATUS_NO_MEMORY, "table %s", record->name);
    }
    /* Everything else follows from signature and options. */
    table->record = *record;
    table->options = *own;
    table->W = signature_width(&record->signature);
    table->chunk_rows = store_chunk_rows(table->W);
    limiter_init(&table->limiter, &limiter);
    *out = table;
    return STATUS_OK;
}

void served_table_free(struct served_table *table)
{
    if (table) {
        writers_fini(&table->writers);
        table_free(table->table);
        mem_free(table);
    }
}

static uint64_t bits_of(double rate)
{
    uint64_t bits;
    memcpy(&bits, &rate, sizeof bits);
    return bits;
}

/* 0 stays what it is: stores of earlier versions do not say. */
static void adopt_rate(double *rate, uint64_t bits)
{
    if (bits != 0) {
        memcpy(rate, &bits, sizeof bits);
    }
}

void served_table_history(const struct served_table *table, struct store_history *history)
{
    const struct table_counts *c = table_counts(table->table);
    *history = (struct store_history){.table = table->record.number};
    /* Pending episodes count as inserted here, because this record is written together with
     * theirs. */
    history->counts[EPISODES_INSERTED] = c->episodes_inserted + c->pending_episodes;
    history->counts[TRANSITIONS_INSERTED] = c->transitions_inserted + c->pending_transitions;
    history->counts[EPISODES_REMOVED] = c->episodes_removed;
    history->counts[TRANSITIONS_REMOVED] = c->transitions_removed;
    history->counts[EPISODES_DUPLICATE] = c->episodes_duplicate;
    history->counts[EPISODES_CORRUPT] = c->episodes_corrupt;
    history->counts[SNIPPETS_SAMPLED] = c->snippets_sampled;
    history->counts[TRANSITIONS_SAMPLED] = table->limiter.counts.sampled;
    history->counts[FRESH_INSERTED] = table->limiter.counts.fresh_inserted;
    history->counts[EVICTED] = table->limiter.counts.evicted;
    history->counts[ORIGIN_SAMPLED] = table->limiter.origin.sampled;
    history->counts[ORIGIN_FRESH_INSERTED] = table->limiter.origin.fresh_inserted;
    history->counts[ORIGIN_EVICTED] = table->limiter.origin.evicted;
    history->counts[SAMPLES_PER_INSERT] = bits_of(table->limiter.settings.samples_per_insert);
    history->counts[SAMPLES_PER_EVICTION] = bits_of(table->limiter.settings.samples_per_eviction);
}

/* The inverse of served_table_history, at open. */
void served_table_set_history(struct served_table *table, const struct store_history *history)
{
    const struct table_counts counts = {
        .episodes_inserted = history->counts[EPISODES_INSERTED],
        .transitions_inserted = history->counts[TRANSITIONS_INSERTED],
        .episodes_removed = history->counts[EPISODES_REMOVED],
        .transitions_removed = history->counts[TRANSITIONS_REMOVED],
        .episodes_duplicate = history->counts[EPISODES_DUPLICATE],
        .episodes_corrupt = history->counts[EPISODES_CORRUPT],
        .snippets_sampled = history->counts[SNIPPETS_SAMPLED],
    };
    /* The counters of the index, then those of the limiter. */
    table_set_history(table->table, &counts);
    table->limiter.counts.sampled = history->counts[TRANSITIONS_SAMPLED];
    table->limiter.counts.fresh_inserted = history->counts[FRESH_INSERTED];
    table->limiter.counts.evicted = history->counts[EVICTED];
    table->limiter.origin = (struct limiter_counts){
        .sampled = history->counts[ORIGIN_SAMPLED],
        .fresh_inserted = history->counts[ORIGIN_FRESH_INSERTED],
        .evicted = history->counts[ORIGIN_EVICTED],
    };
    /* Under another rate than it was left with, a table goes on as if the rate had just changed. */
    const struct limiter_settings now = table->limiter.settings;
    struct limiter_settings *then = &table->limiter.settings;
    adopt_rate(&then->samples_per_insert, history->counts[SAMPLES_PER_INSERT]);
    adopt_rate(&then->samples_per_eviction, history->counts[SAMPLES_PER_EVICTION]);
    limiter_set(&table->limiter, &now);
    /* What the store has already need not be written again. */
    table->saved = *history;
}

void served_table_writer_record(const struct served_table *table, const struct writer *writer,
                                struct store_writer *record)
{
    record->table = table->record.number;
    strcpy(record->name, writer->name);
    record->done = writer->done;
    record->generation = writer->generation;
    /* Not `queued`: what is on its way may still fail. */
    record->last_sequence = writer->committed;
    record->cursor_size = writer->cursor_size;
    memcpy(record->cursor, writer->cursor, writer->cursor_size);
}
