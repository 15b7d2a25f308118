/* The calls of whoever operates the server: SetTable, Delete and Compact. A sealed table refuses the
 * first two, for neither its draws nor its contents change. All of this is on the call thread. */
#define LOG_MODULE "operator"
#include <inttypes.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service/store_call.h"

#define DELETE_MAX 4096u /* episodes of one call: other calls wait meanwhile */

/* A table that is served and may be changed. */
static status find_open(const struct service *service, const char *name,
                        struct served_table **table, struct err *err)
{
    struct served_table *found = service_table(service, name);
    if (found == NULL || !found->stored) {
        return err_set(err, STATUS_NOT_FOUND, "table %s: not there", name[0] ? name : "default");
    }
    if (found->sealing || table_sealed(found->table)) {
        return err_set(err, STATUS_MISMATCH,
                       "table %s is sealed: its contents and its draws do not change any more, and "
                       "no rate holds it",
                       found->record.name);
    }
    *table = found;
    return STATUS_OK;
}

/* ---- SetTable ---- */

/* All changes on a copy of the options, which becomes the table's when every one is good. */
static status set_table(struct service *service, const Hindcast__SetTableRequest *request,
                        struct served_table **out, struct err *err)
{
    struct served_table *table = NULL;
    status s = find_open(service, request->table, &table, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct table_options *changed = mem_new(sizeof *changed);
    if (changed == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    *changed = table->options;
    for (size_t i = 0; s == STATUS_OK && i < request->n_settings; i++) {
        s = options_table_change(changed, request->settings[i]->name, request->settings[i]->value,
                                 err);
    }
    if (s == STATUS_OK) {
        s = options_table_finish(changed, table->record.name, &service->options, err);
    }
    if (s == STATUS_OK) {
        table->options = *changed;
        const struct table_settings settings = options_table_settings(changed);
        const struct limiter_settings limiter = options_limiter_settings(changed);
        table_set_limits(table->table, &settings.limits);
        limiter_set(&table->limiter, &limiter);
        *out = table;
    }
    mem_free(changed);
    return s;
}

void on_set_table(struct rpc_call *call, const ProtobufCMessage *message)
{
    const Hindcast__SetTableRequest *request = (const Hindcast__SetTableRequest *)message;
    struct service *service = rpc_call_service(call);
    const uint64_t start_ns = clock_now_ns();
    struct served_table *table = NULL;
    struct err err;
    status s = set_table(service, request, &table, &err);
    if (s != STATUS_OK) {
        rpc_call_finish(call, s, err.text);
        return;
    }
    for (size_t i = 0; i < request->n_settings; i++) {
        log_info("changed table=%s %s=%s peer=%s", table->record.name, request->settings[i]->name,
                 request->settings[i]->value, rpc_call_peer(call));
    }
    struct settings_wire wire;
    settings_wire_fill(&wire, &table->options);
    Hindcast__SetTableResponse response = HINDCAST__SET_TABLE_RESPONSE__INIT;
    response.n_settings = wire.n;
    response.settings = wire.pointers;
    rpc_call_reply(call, &response.base);
    service_observe(service, CALL_SET_TABLE, start_ns);
    /* Whoever waited under the old settings may go on under the new ones. */
    service->inserts_may_go = service->samples_may_go = true;
    service_settle(service);
}

/* ---- Delete ---- */

struct delete_call {
    struct store_call base;
    struct served_table *table;
    uint32_t deleted, absent;
    bool reset;
};

static void delete_done(struct insert_job *job)
{
    struct delete_call *state = job->owner;
    Hindcast__DeleteResponse response = HINDCAST__DELETE_RESPONSE__INIT;
    response.deleted = state->deleted;
    response.absent = state->absent;
    response.episodes = table_counts(state->table->table)->episodes;
    response.reset = state->reset;
    store_call_answer(&state->base, &response.base);
    /* Where the job failed the inserter has kept the removal, and goes on trying. */
    mem_free(job->removal);
    mem_free(state);
}

/* Takes an episode out of the index, and notes it in the removal, which has room. */
static void take_out(struct delete_call *state, uint64_t id)
{
    struct insert_removal *removal = state->base.job.removal;
    if (table_remove(state->table->table, id, false)) {
        removal->ids[state->deleted++] = id;
    } else {
        state->absent++;
    }
}

/* An episode on its way to the store has been counted and may yet be taken back. */
static bool is_empty(const struct table *table)
{
    return table_counts(table)->episodes == 0 && table_counts(table)->pending_episodes == 0;
}

/* Takes the episodes out of the index and puts them into the job. */
static status delete_episodes(struct delete_call *state, const Hindcast__DeleteRequest *request,
                              struct err *err)
{
    struct insert_job *job = &state->base.job;
    status s = find_open(state->base.service, request->table, &state->table, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (request->n_episode_id > DELETE_MAX ||
        request->oldest > DELETE_MAX - request->n_episode_id) {
        return err_set(err, STATUS_INVALID, "%zu episodes and the %u oldest: expected at most %u",
                       request->n_episode_id, request->oldest, DELETE_MAX);
    }
    /* What may fail comes first: an episode that is out of the index must leave the store too. */
    static const uint64_t none[DELETE_MAX];
    const uint32_t n = (uint32_t)request->n_episode_id + request->oldest;
    job->removal = insert_removal_new(none, n);
    if (job->removal == NULL && n > 0) {
        return err_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    struct table *table = state->table->table;
    for (size_t i = 0; i < request->n_episode_id; i++) {
        take_out(state, request->episode_id[i]);
    }
    const struct table_episode *episode;
    for (uint32_t i = 0; i < request->oldest && (episode = table_newer(table, NULL)); i++) {
        take_out(state, episode->id);
    }
    if (job->removal) {
        job->removal->n = state->deleted;
    }
    state->reset = request->reset && is_empty(table);
    if (state->reset) {
        limiter_reset(&state->table->limiter);
    }
    job->has_history = true;
    served_table_history(state->table, &job->history);
    return STATUS_OK;
}

void on_delete(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct delete_call *state = store_call_new(call, CALL_DELETE, sizeof *state, delete_done);
    if (state == NULL) {
        return;
    }
    struct err err;
    struct service *service = state->base.service;
    /* Only this thread fills the queue: what has room now has room below. */
    status s = inserter_queued(service->inserter) >= INSERT_QUEUE_MAX
                   ? err_set(&err, STATUS_RETRY, "the store is writing; try again")
                   : delete_episodes(state, (const Hindcast__DeleteRequest *)message, &err);
    if (s != STATUS_OK) {
        store_call_refuse(&state->base, s, err.text);
        mem_free(state);
        return;
    }
    log_info("deleted table=%s episodes=%u%s peer=%s", state->table->record.name, state->deleted,
             state->reset ? " reset" : "", rpc_call_peer(call));
    const bool submitted = store_call_submit(&state->base);
    ASSERT(submitted);
    /* There is room in the table now. */
    service->inserts_may_go = service->samples_may_go = true;
    service_settle(service);
}

/* ---- Compact ---- */

struct compact_call {
    struct store_call base;
    uint64_t bytes_before;
};

static uint64_t file_bytes(const struct service *service)
{
    uint64_t used, file, map;
    store_sizes(service->store, &used, &file, &map);
    return file;
}

static void compact_done(struct insert_job *job)
{
    struct compact_call *state = job->owner;
    struct service *service = state->base.service;
    Hindcast__CompactResponse response = HINDCAST__COMPACT_RESPONSE__INIT;
    service->compacting = false;
    response.bytes_before = state->bytes_before;
    response.bytes_after = file_bytes(service);
    response.seconds = (double)(clock_now_ns() - state->base.start_ns) * 1e-9;
    response.pause_seconds = job->pause_s;
    service->compaction_pause_s = job->pause_s;
    /* Who asked may have left. */
    if (job->result == STATUS_OK) {
        log_info("compacted bytes=%" PRIu64 " before=%" PRIu64 " seconds=%.1f pause_seconds=%.3f",
                 response.bytes_after, response.bytes_before, response.seconds, job->pause_s);
    } else {
        log_error("the store was not compacted: %s", job->err.text);
    }
    store_call_answer(&state->base, &response.base);
    mem_free(state);
}

void on_compact(struct rpc_call *call, const ProtobufCMessage *message)
{
    (void)message;
    struct compact_call *state = store_call_new(call, CALL_COMPACT, sizeof *state, compact_done);
    if (state == NULL) {
        return;
    }
    struct service *service = state->base.service;
    if (service->dump || service->compacting) {
        store_call_refuse(&state->base, STATUS_RETRY,
                          service->dump ? "a copy of the store is being made; try again"
                                        : "the store is being compacted already");
        mem_free(state);
        return;
    }
    state->bytes_before = file_bytes(service);
    state->base.job.compact = true;
    service->compacting = true;
    if (!store_call_submit(&state->base)) {
        service->compacting = false;
        mem_free(state);
    }
}
