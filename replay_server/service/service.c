/* Life of the replay server as a whole: what the store holds becomes tables, threads start, calls
 * are served, everything ends in order.
 *
 * The call thread owns all tables. Other threads (inserter, gatherers, scrubber, pools) hand it
 * what they have by posting a function; `post_lock` and `posting` make sure that nothing is posted
 * to a call thread that has ended. What comes back after that is settled at close.
 *
 * After every event on the call thread service_settle lets those go on who wait for something that
 * the event may have changed: inserts wait for samples, memory and the store, samples wait for
 * inserts and memory. Each of the two may free the other, so they take turns until neither moves.
 */
#define LOG_MODULE "replay"
#include "replay_server/service/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/roles.h"
#include "replay_server/service/service_private.h"

/* How many bytes of rows the inserter writes in one transaction, about. */
#define GROUP_BYTES       (32u << 20)
#define INSERT_POOL_SLACK (64ull << 20) /* first chunks of episodes that wait for their memory */
#define SETTLE_ROUNDS     1000u

/* The calls of the Replay service: which roles may make them, and which functions of the other
 * files serve them. Field 15 of Insert holds the rows, which come as a payload beside the
 * message. */
static const struct rpc_method methods[] = {
    {.name = "Info",
     .kind = RPC_UNARY,
     .roles = ROLE_INSERT | ROLE_SAMPLE | ROLE_LEARN | ROLE_EVALUATE | ROLE_ADMIN,
     .message = on_info},
    {.name = "OpenInsert",
     .kind = RPC_UNARY,
     .roles = ROLE_INSERT | ROLE_ADMIN,
     .message = on_open_insert,
     .done = on_store_call_done},
    {.name = "Insert",
     .kind = RPC_BIDI,
     .payload_field = 15,
     .roles = ROLE_INSERT | ROLE_ADMIN,
     .start = on_insert_start,
     .message = on_insert_message,
     .half_closed = on_insert_half_closed,
     .sent = on_insert_sent,
     .done = on_insert_done},
    {.name = "Seal",
     .kind = RPC_UNARY,
     .roles = ROLE_INSERT | ROLE_ADMIN,
     .message = on_seal,
     .done = on_store_call_done},
    {.name = "Sample",
     .kind = RPC_BIDI,
     .roles = ROLE_SAMPLE | ROLE_ADMIN,
     .start = on_sample_start,
     .message = on_sample_message,
     .half_closed = on_sample_half_closed,
     .sent = on_sample_sent,
     .done = on_sample_done},
    {.name = "UpdatePriorities",
     .kind = RPC_UNARY,
     .roles = ROLE_SAMPLE | ROLE_ADMIN,
     .message = on_update_priorities,
     .done = on_store_call_done},
    {.name = "SetTable", .kind = RPC_UNARY, .roles = ROLE_ADMIN, .message = on_set_table},
    {.name = "Delete",
     .kind = RPC_UNARY,
     .roles = ROLE_ADMIN,
     .message = on_delete,
     .done = on_store_call_done},
    {.name = "Dump",
     .kind = RPC_UNARY,
     .roles = ROLE_ADMIN,
     .message = on_dump,
     .done = on_dump_done},
    {.name = "Compact",
     .kind = RPC_UNARY,
     .roles = ROLE_ADMIN,
     .message = on_compact,
     .done = on_store_call_done},
};

/* ---- Tables ---- */

/* Tables are few: they are searched by name once a stream. */
struct served_table *service_table(const struct service *service, const char *name)
{
    const char *wanted = name[0] ? name : "default";
    struct served_table *table = service->tables;
    while (table && strcmp(table->record.name, wanted) != 0) {
        table = table->next;
    }
    return table;
}

struct served_table *service_table_of_number(const struct service *service, uint32_t number)
{
    struct served_table *table = service->tables;
    while (table && table->record.number != number) {
        table = table->next;
    }
    return table;
}

/* ---- Posting to the call thread ---- */

/* A group of jobs is committed, or has failed: index, writers and acknowledgements follow. */
static void jobs_back(void *arg)
{
    struct insert_job *job = arg;
    struct service *service = job->home;
    /* `done` frees a job, so its link is read first. */
    while (job) {
        struct insert_job *next = job->next;
        job->done(job);
        job = next;
    }
    /* One acknowledgement for all jobs of a stream in this group. */
    insert_streams_acknowledge(service);
    service_settle(service);
}

/* Called by the inserter's thread. A full queue of posts is waited for: a job must come back. */
static void post_jobs(void *arg, struct insert_job *first)
{
    struct service *service = arg;
    for (;;) {
        pthread_mutex_lock(&service->post_lock);
        /* Under the lock: the call thread cannot end between the question and the post. */
        status s =
            service->posting ? rpc_server_post(service->server, jobs_back, first) : STATUS_CLOSED;
        if (s == STATUS_CLOSED) {
            /* They go to the end: orphans stay in the order of submission. */
            struct insert_job **end = &service->insert_orphans;
            while (*end) {
                end = &(*end)->next;
            }
            *end = first;
        }
        pthread_mutex_unlock(&service->post_lock);
        if (s != STATUS_QUEUE_FULL) {
            return;
        }
        clock_sleep_ms(1);
    }
}

/* A gather thread has finished a job: its response goes out, or parts of it are drawn again. */
static void gather_back(void *arg)
{
    struct gather_job *job = arg;
    struct service *service = job->home;
    job->done(job);
    service_settle(service);
}

/* Called by the gather threads; waits as post_jobs does. */
static void post_gathered(void *arg, struct gather_job *job)
{
    struct service *service = arg;
    for (;;) {
        pthread_mutex_lock(&service->post_lock);
        status s =
            service->posting ? rpc_server_post(service->server, gather_back, job) : STATUS_CLOSED;
        if (s == STATUS_CLOSED) {
            job->next = service->gather_orphans;
            service->gather_orphans = job;
        }
        pthread_mutex_unlock(&service->post_lock);
        if (s != STATUS_QUEUE_FULL) {
            return;
        }
        clock_sleep_ms(1);
    }
}

/* Buffers of the sample pool came back while somebody waited for one. */
static void room_again(void *arg)
{
    struct service *service = arg;
    service->samples_may_go = true;
    service_settle(service);
}

/* Called by the sample pool, on the thread that gave a buffer back and within the pool's lock: it
 * may do no more than post. */
static void post_room(void *arg)
{
    struct service *service = arg;
    pthread_mutex_lock(&service->post_lock);
    if (service->posting) {
        /* Where this fails the next tick does it. */
        (void)!rpc_server_post(service->server, room_again, service);
    }
    pthread_mutex_unlock(&service->post_lock);
}

/* ---- What the scrubber finds ---- */

/* A corrupt episode on its way from the scrubber's thread to the call thread. */
struct scrubbed {
    struct service *service;
    uint32_t table;
    uint64_t id;
};

/* On the call thread: the episode leaves index and store. */
static void drop_scrubbed(void *arg)
{
    struct scrubbed *found = arg;
    struct served_table *table = service_table_of_number(found->service, found->table);
    if (table) {
        service_drop_corrupt(found->service, table, found->id);
    }
    service_settle(found->service);
    mem_free(found);
}

/* Called by the scrubber's thread. Where the finding gets lost here, a sampler that reads the
 * episode finds it again. */
static void post_scrubbed(void *arg, uint32_t table, uint64_t id)
{
    struct service *service = arg;
    struct scrubbed *found = mem_new(sizeof *found);
    if (found == NULL) {
        return;
    }
    *found = (struct scrubbed){service, table, id};
    pthread_mutex_lock(&service->post_lock);
    if (!service->posting || rpc_server_post(service->server, drop_scrubbed, found) != STATUS_OK) {
        mem_free(found);
    }
    pthread_mutex_unlock(&service->post_lock);
}

/* ---- Settling ---- */

/* SETTLE_ROUNDS only bounds a mistake: each round needs an insert or a batch that went on. */
void service_settle(struct service *service)
{
    if (service->settling) {
        return; /* the round under way goes on */
    }
    service->settling = true;
    /* Inserts, then samples; what one of them makes possible for the other is done in the next half
     * of the round or in the next round. */
    for (unsigned round = 0;
         round < SETTLE_ROUNDS && (service->inserts_may_go || service->samples_may_go); round++) {
        if (service->inserts_may_go) {
            service->inserts_may_go = false;
            service->samples_may_go = insert_streams_advance(service) || service->samples_may_go;
        }
        if (service->samples_may_go) {
            service->samples_may_go = false;
            service->inserts_may_go = sample_streams_advance(service) || service->inserts_may_go;
        }
    }
    service->settling = false;
}

/* The job is its own owner. */
static void save_done(struct insert_job *job)
{
    mem_free(job->owner);
}

/* Writes the counters of tables where they have changed: sampling alone commits nothing, and
 * neither does an insert that failed. */
static void save_histories(struct service *service)
{
    for (struct served_table *table = service->tables; table; table = table->next) {
        struct store_history history;
        served_table_history(table, &history);
        /* The counts alone: the struct has padding, which holds anything. */
        if (!table->stored ||
            memcmp(history.counts, table->saved.counts, sizeof history.counts) == 0) {
            continue;
        }
        /* A job with nothing but the counters. */
        struct insert_job *job = mem_new(sizeof *job);
        if (job == NULL) {
            return;
        }
        job->has_history = true;
        job->history = history;
        job->done = save_done;
        job->owner = job;
        if (inserter_submit(service->inserter, job) != STATUS_OK) {
            mem_free(job);
            return;
        }
        /* Noted as saved once it is handed over: should the write fail, the next change of a
         * counter brings all of them. */
        table->saved = history;
    }
}

/* Five times a second: what is idle, slow or gone is noticed, and nobody waits longer than that for
 * an event that was missed. */
static void on_tick(void *arg)
{
    struct service *service = arg;
    const uint64_t now_ns = clock_now_ns();
    store_reader_rest(service->reader);
    insert_streams_check_idle(service, now_ns);
    sample_streams_check_idle(service, now_ns);
    service_metrics_update(service);
    used_up_delete(service);
    used_up_save_times(service);
    clients_trim(&service->clients, (double)service->options.max_client_bytes_per_s, now_ns);
    (void)!store_check_present(service->store, NULL);         /* what it finds is in store_broken */
    service->inserts_may_go = service->samples_may_go = true; /* whatever was missed */
    service_settle(service);
}

/* Runs every ten seconds. */
static void on_slow_tick(void *arg)
{
    save_histories(arg);
    service_probe_residence(arg);
}

/* ---- Life ---- */

/* Everything that the endpoint needs: addresses, methods, limits, timers. */
static status open_server(struct service *service, struct err *err)
{
    const char *addresses[CONFIG_LIST_MAX];
    const struct options *options = &service->options;
    /* The endpoint takes pointers; the options hold the texts. */
    for (size_t i = 0; i < options->listen.n; i++) {
        addresses[i] = options->listen.items[i];
    }
    const struct endpoint_settings settings = {
        .experiment = &service->experiment,
        .options = &options->endpoint,
        .addresses = addresses,
        .n_addresses = options->listen.n,
        .max_message_bytes = (size_t)options->max_message_bytes,
        .metrics_prefix = "hindcast_replay_",
    };
    status s = endpoint_open(&service->endpoint, &settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    service->server = endpoint_server(service->endpoint);
    /* The calls are added before the server starts, so that the first client finds all of them. */
    s = rpc_server_add(service->server, &hindcast__replay__descriptor, methods,
                       sizeof methods / sizeof methods[0], service, err);
    if (s != STATUS_OK) {
        endpoint_close(service->endpoint);
        service->endpoint = NULL;
        service->server = NULL;
        return s;
    }
    /* Both timers run on the call thread. */
    rpc_server_every(service->server, TICK_MS, on_tick, service);
    rpc_server_every(service->server, 10000, on_slow_tick, service);
    return STATUS_OK;
}

/* The inserter syncs by itself with durability `interval` only: `each` syncs in every commit. */
static status open_threads(struct service *service, struct err *err)
{
    const struct options *options = &service->options;
    const struct inserter_settings settings = {
        .queue_max = INSERT_QUEUE_MAX,
        .group_bytes = GROUP_BYTES,
        .sync_ms = options_durability(options) == STORE_INTERVAL ? (uint64_t)options->sync_ms : 0,
        .post = post_jobs,
        .arg = service,
    };
    status s = inserter_open(&service->inserter, service->store, &settings, err);
    if (s == STATUS_OK) {
        s = gatherer_open(&service->gatherer, service->store, (uint32_t)options->gather_threads,
                          GATHER_QUEUE_MAX, post_gathered, service, err);
    }
    return s;
}

/* The store is opened and loaded before the server binds its addresses: a damaged store is told
 * before anybody connects. */
static status open_store(struct service *service, struct err *err)
{
    const struct options *options = &service->options;
    const struct store_settings settings = {.path = options->path,
                                            .map_bytes = (uint64_t)options->map_bytes,
                                            .durability = options_durability(options)};
    bool scan = false;
    const uint64_t start_ns = clock_now_ns();
    status s = store_open(&service->store, &settings, &scan, err);
    if (s == STATUS_OK) {
        s = service_load(service, scan, err);
    }
    if (s == STATUS_OK) {
        log_info("the store is open path=%s seconds=%.3f", options->path,
                 (double)(clock_now_ns() - start_ns) * 1e-9);
    }
    /* The call thread's own reader, for batches that are too small for a gather thread. */
    if (s == STATUS_OK) {
        s = store_reader_open(&service->reader, service->store, err);
    }
    return s;
}

status service_open(struct service **out, const struct options *options,
                    const struct experiment *experiment, uint64_t config_digest, struct err *err)
{
    struct service *service = mem_new(sizeof *service);
    if (service == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "service");
    }
    service->options = *options;
    service->experiment = *experiment;
    service->config_digest = config_digest;
    service->start_ns = clock_now_ns();
    /* Locks first: service_close destroys them, whatever else exists. */
    pthread_mutex_init(&service->post_lock, NULL);
    pthread_mutex_init(&service->text_lock, NULL);
    status s = STATUS_OK;
    /* One pool is for rows on their way in, the other for batches on their way out. Nobody waits
     * for a buffer of the first: inserts reserve their memory before they take it. */
    if (buffer_pool_new(&service->insert_pool,
                        (size_t)options->insert_buffer_bytes + INSERT_POOL_SLACK, NULL,
                        NULL) != STATUS_OK ||
        buffer_pool_new(&service->sample_pool, (size_t)options->sample_buffer_bytes, post_room,
                        service) != STATUS_OK) {
        s = err_set(err, STATUS_NO_MEMORY, "service");
    }
    /* Each of these uses what was made before it. */
    if (s == STATUS_OK) {
        s = service_metrics_new(service, err);
    }
    if (s == STATUS_OK) {
        s = open_store(service, err);
    }
    if (s == STATUS_OK) {
        s = open_server(service, err);
    }
    if (s == STATUS_OK) {
        s = open_threads(service, err);
    }
    if (s != STATUS_OK) {
        /* It takes apart whatever has been made. */
        service_close(service);
        return s;
    }
    *out = service;
    return STATUS_OK;
}

status service_start(struct service *service, struct err *err)
{
    service->posting = true; /* nobody posts yet: the scrubber starts last, others wait for calls */
    /* Clients are served from here on; the scrubber comes last, because it only needs spare
     * time. */
    status s = endpoint_start(service->endpoint, err);
    if (s == STATUS_OK && service->options.scrub_bytes_per_s > 0) {
        s = scrubber_open(&service->scrubber, service->store,
                          (uint64_t)service->options.scrub_bytes_per_s, post_scrubbed, service,
                          err);
    }
    return s;
}

status service_check_sockets(const struct service *service, struct err *err)
{
    return endpoint_check_sockets(service->endpoint, err);
}

bool service_broken(const struct service *service)
{
    return store_broken(service->store);
}

int service_port(const struct service *service, size_t address_i)
{
    return rpc_server_port(service->server, address_i);
}

/* Jobs of threads that finished after the call thread had ended. Only this thread is left; their
 * `done` frees what they hold. */
static void settle_orphans(struct service *service)
{
    while (service->gather_orphans) {
        struct gather_job *job = service->gather_orphans;
        service->gather_orphans = job->next;
        job->done(job);
    }
    while (service->insert_orphans) {
        struct insert_job *job = service->insert_orphans;
        service->insert_orphans = job->next;
        job->done(job);
    }
}

void service_close(struct service *service)
{
    if (service == NULL) {
        return;
    }
    /* Health says NOT_SERVING first, so that clients look elsewhere. What is queued is then written
     * and acknowledged while there is still somebody to tell. */
    if (service->posting) {
        endpoint_stop_serving(service->endpoint);
        const uint64_t until_ns =
            clock_now_ns() + (uint64_t)service->options.endpoint.grace_ms * NS_PER_MS;
        while (inserter_queued(service->inserter) > 0 && clock_now_ns() < until_ns) {
            clock_sleep_ms(2);
        }
    }
    /* From here on what comes back becomes an orphan. */
    pthread_mutex_lock(&service->post_lock);
    service->posting = false;
    pthread_mutex_unlock(&service->post_lock);
    /* The call thread ends first, then the threads that used to post to it. The inserter is the
     * last of them, since the final counters go through it. */
    endpoint_close(service->endpoint);
    /* Its reader is nobody's now, and a compaction that is about to end would wait for it for ever. */
    if (service->reader) {
        store_reader_rest(service->reader);
    }
    dump_close(service);
    scrubber_close(service->scrubber);
    gatherer_close(service->gatherer);
    if (service->inserter) {
        used_up_delete_all(service);
        used_up_save_times_all(service);
        save_histories(service);
    }
    inserter_close(service->inserter);
    settle_orphans(service);
    /* No thread reads or writes the store any more. */
    store_reader_close(service->reader);
    store_close(service->store);
    while (service->tables) {
        struct served_table *table = service->tables;
        service->tables = table->next;
        served_table_free(table);
    }
    clients_free(service->clients);
    /* All buffers are back, those of orphans too: the pools assert it. */
    buffer_pool_free(service->insert_pool);
    buffer_pool_free(service->sample_pool);
    service_metrics_free(service);
    pthread_mutex_destroy(&service->post_lock);
    pthread_mutex_destroy(&service->text_lock);
    mem_free(service);
}
