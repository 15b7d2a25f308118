/* The unary calls of writers and samplers that change the store: OpenInsert, Seal,
 * UpdatePriorities. How their answers wait for the store is in store_call.h. All of this is on the
 * call thread. */
#define LOG_MODULE "writers"
#include <inttypes.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/clients/signature_wire.h"
#include "replay_server/service/store_call.h"

#define PRIORITIES_MAX 65536u

struct writer_call {
    struct store_call base;
    struct served_table *table;
    struct writer *writer;
    bool seal;                 /* this call completes the seal */
    struct store_table record; /* with `sealed` set */
    /* UpdatePriorities: how many episodes were there, and how many were not. */
    uint32_t updated, absent;
    struct insert_priority *priorities;
};

static void free_call(struct writer_call *state)
{
    mem_free(state->priorities);
    mem_free(state);
}

/* Takes `state`: it comes back through its `done`, or the call ends here. */
static void submit(struct writer_call *state)
{
    /* Where the queue is full the client may try again, and no seal is under way. */
    if (!store_call_submit(&state->base)) {
        if (state->seal) {
            state->table->sealing = false;
        }
        free_call(state);
    }
}

/* Answers, unless the call is gone. */
static void answer(struct writer_call *state, const ProtobufCMessage *response)
{
    store_call_answer(&state->base, response);
    free_call(state);
}

/* ---- OpenInsert ---- */

/* The table of that name; made, not yet stored, where there is none. */
static status find_or_make(struct service *service, const char *name,
                           const struct signature *signature, struct served_table **out,
                           struct err *err)
{
    struct served_table *table = service_table(service, name);
    /* It is there: only the signature must be the same. */
    if (table) {
        *out = table;
        return signature_same(&table->record.signature, signature, err);
    }
    if (service->n_tables == TABLES_MAX) {
        return err_set(err, STATUS_FULL, "the server has %u tables already", TABLES_MAX);
    }
    struct store_table record = {.signature = *signature};
    strcpy(record.name, name[0] ? name : "default");
    /* A number that no other table has: it becomes part of keys in the store. */
    for (const struct served_table *t = service->tables; t; t = t->next) {
        record.number = t->record.number >= record.number ? t->record.number + 1 : record.number;
    }
    status s = served_table_new(&table, &record, &service->options, err);
    if (s == STATUS_OK) {
        /* The table exists in memory alone until the job that stores it is back. */
        table->next = service->tables;
        service->tables = table;
        service->n_tables++;
        *out = table;
    }
    return s;
}

/* The writer is known on disk, and with it the table. */
static void open_insert_done(struct insert_job *job)
{
    struct writer_call *state = job->owner;
    Hindcast__OpenInsertResponse response = HINDCAST__OPEN_INSERT_RESPONSE__INIT;
    if (job->result == STATUS_OK) {
        state->table->stored = true;
        /* Where the writer was, as it is known now that everything queued before has been decided.
         */
        response.generation = job->writer.generation; /* a newer life may have opened since */
        response.last_sequence = state->writer->committed;
        response.cursor.data = state->writer->cursor;
        response.cursor.len = state->writer->cursor_size;
        response.chunk_rows = state->table->chunk_rows;
        response.sealed = table_sealed(state->table->table);
        response.episodes = table_counts(state->table->table)->episodes;
    }
    answer(state, &response.base);
}

/* Checks names and signature, and opens the writer in memory; the record follows in the job. */
static status open_insert(struct writer_call *state, const Hindcast__OpenInsertRequest *request,
                          struct err *err)
{
    struct signature signature;
    status s = writers_check_name("writer", request->writer, WRITER_NAME_SIZE - 1, err);
    if (s == STATUS_OK && request->table[0]) {
        s = writers_check_name("table", request->table, STORE_TABLE_NAME_SIZE - 1, err);
    }
    if (s == STATUS_OK) {
        s = signature_wire_read(&signature, request->signature, err);
    }
    /* Table, writer and generation, made where they are absent. */
    if (s == STATUS_OK) {
        s = find_or_make(state->base.service, request->table, &signature, &state->table, err);
    }
    if (s == STATUS_OK) {
        s = writers_add(&state->table->writers, request->writer, &state->writer, err);
    }
    if (s == STATUS_OK) {
        s = writer_open(state->writer, request->generation, err);
    }
    return s;
}

void on_open_insert(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct writer_call *state =
        store_call_new(call, CALL_OPEN_INSERT, sizeof *state, open_insert_done);
    if (state == NULL) {
        return;
    }
    /* What is wrong with the request is told at once; only what has to be stored becomes a job. */
    struct err err;
    status s = open_insert(state, (const Hindcast__OpenInsertRequest *)message, &err);
    if (s != STATUS_OK) {
        store_call_refuse(&state->base, s, err.text);
        free_call(state);
        return;
    }
    /* Whatever the writer had open before ends now: nothing of it may come in after this answer. */
    insert_streams_fence(state->base.service, state->writer, NULL);
    /* A new table is stored together with its first writer. */
    if (!state->table->stored) {
        state->base.job.table = &state->table->record;
    }
    state->base.job.has_writer = true;
    state->base.job.keep_position = true;
    served_table_writer_record(state->table, state->writer, &state->base.job.writer);
    /* submit may free the state. */
    struct service *service = state->base.service;
    submit(state);
    service_settle(service);
}

/* ---- Seal ---- */

/* The writer's record, and with state->seal the table's, is on the disk, or the job has failed. */
static void seal_done(struct insert_job *job)
{
    struct writer_call *state = job->owner;
    struct served_table *table = state->table;
    Hindcast__SealResponse response = HINDCAST__SEAL_RESPONSE__INIT;
    /* Only the call that completes the seal changes the table. */
    if (state->seal) {
        table->sealing = false;
        if (job->result == STATUS_OK) {
            /* All inserts that were queued before are through, and none was taken since. */
            job->result = table_seal(table->table);
            table->record.sealed = job->result == STATUS_OK;
            state->base.service->samples_may_go = true;
            log_info("sealed table=%s episodes=%" PRIu64 " transitions=%" PRIu64
                     " version=%016" PRIx64,
                     table->record.name, table_counts(table->table)->episodes,
                     table_counts(table->table)->transitions, table_version(table->table));
        }
    }
    response.sealed = table_sealed(table->table);
    response.n_done = (uint32_t)writers_n_done(&table->writers);
    response.version = table_version(table->table);
    answer(state, &response.base);
}

/* Notes that the writer is done. Where it was the last one, the call also seals the table
 * (state->seal). */
static status seal(struct writer_call *state, const Hindcast__SealRequest *request, struct err *err)
{
    /* The caller must be a writer of the table, in its newest generation. */
    struct served_table *table = service_table(state->base.service, request->table);
    struct writer *writer =
        table && table->stored ? writers_find(&table->writers, request->writer) : NULL;
    if (writer == NULL || writer->generation == 0) {
        return err_set(err, STATUS_NOT_FOUND,
                       "table %s, writer %s: unknown; OpenInsert comes first", request->table,
                       request->writer);
    }
    if (request->generation != writer->generation) {
        return err_set(err, STATUS_MISMATCH, "writer %s: generation %" PRIu64 ", now is %" PRIu64,
                       writer->name, request->generation, writer->generation);
    }
    if (request->n_writers < 1 || request->n_writers > WRITERS_MAX) {
        return err_set(err, STATUS_INVALID, "n_writers %u: expected 1..%u", request->n_writers,
                       WRITERS_MAX);
    }
    /* Sealed already: the call is a repetition, and is answered like the first one. */
    status s = table_sealed(table->table)
                   ? STATUS_OK
                   : writer_finish(writer, &table->writers, request->n_writers, err);
    if (s != STATUS_OK) {
        return s;
    }
    writer->done = true;
    state->table = table;
    state->writer = writer;
    /* The last of the writers completes the seal, unless another call is about to. */
    state->seal = !table_sealed(table->table) && !table->sealing &&
                  writers_n_done(&table->writers) >= request->n_writers;
    /* What is sealed must be what the store holds. What is on its way there may yet fail; what has
     * been removed and not yet deleted goes in the transaction of the seal (inserter.c). */
    if (state->seal && (table_counts(table->table)->pending_episodes > 0 ||
                        used_up_waits(state->base.service, table))) {
        return err_set(err, STATUS_RETRY, "table %s: the store is writing; try again",
                       table->record.name);
    }
    return STATUS_OK;
}

void on_seal(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct writer_call *state = store_call_new(call, CALL_SEAL, sizeof *state, seal_done);
    if (state == NULL) {
        return;
    }
    struct err err;
    status s = seal(state, (const Hindcast__SealRequest *)message, &err);
    if (s != STATUS_OK) {
        store_call_refuse(&state->base, s, err.text);
        free_call(state);
        return;
    }
    /* That the writer is done is stored; its position stays what the inserts make it. */
    state->base.job.has_writer = true;
    state->base.job.keep_position = true;
    served_table_writer_record(state->table, state->writer, &state->base.job.writer);
    /* From here on nothing new is taken, so that what the seal covers is what is in the store
     * before it. */
    if (state->seal) {
        state->table->sealing = true;
        state->record = state->table->record;
        state->record.sealed = true;
        state->base.job.table = &state->record;
    }
    submit(state);
}

/* ---- UpdatePriorities ---- */

/* They are on disk: a restart has them too. */
static void priorities_done(struct insert_job *job)
{
    struct writer_call *state = job->owner;
    Hindcast__UpdatePrioritiesResponse response = HINDCAST__UPDATE_PRIORITIES_RESPONSE__INIT;
    response.updated = state->updated;
    response.absent = state->absent;
    answer(state, &response.base);
}

/* Sets priorities in the index at once and hands them to the store. */
static status update_priorities(struct writer_call *state,
                                const Hindcast__UpdatePrioritiesRequest *request, struct err *err)
{
    struct served_table *table = service_table(state->base.service, request->table);
    if (table == NULL || !table->stored) {
        return err_set(err, STATUS_NOT_FOUND, "table %s: not there", request->table);
    }
    if (request->n_episode_id != request->n_priority || request->n_priority > PRIORITIES_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%zu episodes, %zu priorities: expected the same number, at most %u",
                       request->n_episode_id, request->n_priority, PRIORITIES_MAX);
    }
    /* All or nothing: every one is checked before the first is set. */
    for (size_t i = 0; i < request->n_priority; i++) {
        if (!table_priority_valid(request->priority[i])) {
            return err_set(err, STATUS_INVALID, "priority %zu is %g: expected %g..%g", i,
                           request->priority[i], TABLE_PRIORITY_MIN, TABLE_PRIORITY_MAX);
        }
    }
    /* Those of episodes that are there; the others are counted. */
    state->priorities = mem_array(request->n_priority + 1, sizeof *state->priorities);
    if (state->priorities == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < request->n_priority; i++) {
        const struct insert_priority p = {.id = request->episode_id[i],
                                          .priority = request->priority[i]};
        if (table_set_priority(table->table, p.id, p.priority) == STATUS_OK) {
            state->priorities[state->updated++] = p;
        } else {
            state->absent++;
        }
    }
    /* Only those that were found go to the store. */
    state->base.job.priorities = state->priorities;
    state->base.job.n_priorities = state->updated;
    return STATUS_OK;
}

void on_update_priorities(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct writer_call *state =
        store_call_new(call, CALL_UPDATE_PRIORITIES, sizeof *state, priorities_done);
    if (state == NULL) {
        return;
    }
    struct err err;
    status s = update_priorities(state, (const Hindcast__UpdatePrioritiesRequest *)message, &err);
    if (s != STATUS_OK) {
        store_call_refuse(&state->base, s, err.text);
        free_call(state);
        return;
    }
    submit(state);
}
