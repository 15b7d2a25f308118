/* The clients and the service together, over real sockets in one process: rates that hold both
 * sides, servers that go away and come back, several servers, what a restart remembers. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/peer.h"
#include "common/clients/replay_sampler.h"
#include "common/clients/replay_writer.h"
#include "proto/replay.pb-c.h"
#include "tests/lib/check.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

#define REWARDS 2u /* W = 10 */

struct fixture {
    char folder[SCRATCH_SIZE];
    struct experiment experiment;
    struct signature signature;
    struct service *services[3];
};

static int make_fixture(void **state)
{
    struct fixture *f = mem_new(sizeof *f);
    scratch_make(f->folder);
    trajectories_signature(&f->signature, REWARDS);
    *state = f;
    return 0;
}

static int remove_fixture(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        service_close(f->services[i]);
    }
    scratch_remove(f->folder);
    mem_free(f);
    return 0;
}

static const char *const names[] = {"a", "b", "c"};

static void serve(struct fixture *f, uint32_t i, const char *const *flags)
{
    f->services[i] = replay_serve(f->folder, names[i], &f->experiment, i, flags);
}

static void stop(struct fixture *f, uint32_t i)
{
    service_close(f->services[i]);
    f->services[i] = NULL;
}

/* ---- Clients ---- */

static struct replay_writer *open_writer(struct fixture *f, struct replay_writer_options options,
                                         char *cursor, bool *sealed)
{
    struct replay_writer *writer = NULL;
    struct err err = {0};
    uint8_t bytes[REPLAY_CURSOR_MAX];
    size_t size = 0;
    options.writer = options.writer ? options.writer : "w";
    if (replay_writer_open(&writer, &f->experiment, &f->signature, &options, bytes, &size, sealed,
                           &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    if (cursor) {
        memcpy(cursor, bytes, size);
        cursor[size] = '\0';
    }
    return writer;
}

static status insert(struct fixture *f, struct replay_writer *writer, uint32_t number, uint32_t T,
                     struct err *err)
{
    struct episode episode;
    char cursor[16];
    replay_episode(&episode, &f->signature, number, T);
    const int size = snprintf(cursor, sizeof cursor, "at %u", number);
    status s = replay_writer_insert(writer, &episode, cursor, (size_t)size, err);
    episode_fini(&episode);
    return s;
}

static void must_insert(struct fixture *f, struct replay_writer *writer, uint32_t number,
                        uint32_t T)
{
    struct err err = {0};
    if (insert(f, writer, number, T, &err) != STATUS_OK) {
        fail_msg("insert %u: %s", number, err.text);
    }
}

static void must_flush(struct replay_writer *writer)
{
    struct err err = {0};
    if (replay_writer_flush(writer, 20000, &err) != STATUS_OK) {
        fail_msg("flush: %s", err.text);
    }
}

/* Episodes first .. first + n - 1, of 10 + number transitions, and sealed. */
static void fill_and_seal(struct fixture *f, uint32_t first, uint32_t n)
{
    bool sealed = false;
    struct err err;
    struct replay_writer *writer =
        open_writer(f, (struct replay_writer_options){.restored = true}, NULL, &sealed);
    for (uint32_t k = first; k < first + n; k++) {
        must_insert(f, writer, k, 10 + k);
    }
    assert_int_equal(replay_writer_seal(writer, 1, &sealed, &err), STATUS_OK);
    assert_true(sealed);
    replay_writer_close(writer);
}

static struct replay_sampler *open_sampler(struct fixture *f, struct replay_sampler_options options)
{
    struct replay_sampler *sampler = NULL;
    struct signature signature = f->signature;
    struct err err = {0};
    if (replay_sampler_open(&sampler, &f->experiment, &signature, &options, 10000, NULL, NULL,
                            &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return sampler;
}

static struct replay_batch *must_next(struct replay_sampler *sampler)
{
    struct replay_batch *batch = NULL;
    struct err err = {0};
    if (replay_sampler_next(sampler, &batch, 20000, &err) != STATUS_OK) {
        fail_msg("next: %s", err.text);
    }
    return batch;
}

/* Every number of every snippet says where it belongs; counts[episode]++. */
static void check_batch(const struct replay_batch *batch, uint32_t N, uint32_t W,
                        uint32_t counts[64])
{
    for (uint32_t i = 0; i < batch->snippets; i++) {
        const float *rows = batch->rows + (size_t)i * (N + 1) * W;
        uint32_t number, t, column;
        replay_number_read(rows[0], &number, &t, &column);
        assert_int_equal(column, 0);
        assert_in_range(batch->n_valid[i], 1, N);
        for (uint32_t r = 0; r <= N; r++) {
            for (uint32_t c = 0; c < W; c++) {
                assert_true(rows[r * W + c] ==
                            (r <= batch->n_valid[i] ? replay_number(number, t + r, c) : 0));
            }
        }
        if (counts) {
            counts[number]++;
        }
    }
}

/* The one table of server `i`. */
static Hindcast__TableInfo *info(struct fixture *f, uint32_t i, struct rpc_message *message)
{
    struct rpc_channel *channel;
    struct err err = {0};
    Hindcast__InfoRequest request = HINDCAST__INFO_REQUEST__INIT;
    const struct rpc_call_options options = {.timeout_ms = 10000, .wait_for_ready = true};
    assert_int_equal(
        peer_channel_open(&channel, f->experiment.replay.items[i], &f->experiment, 0, &err),
        STATUS_OK);
    if (rpc_unary(channel, &hindcast__replay__descriptor, "Info", &request.base, NULL, &options,
                  message, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    rpc_channel_close(channel);
    const Hindcast__InfoResponse *response = (const Hindcast__InfoResponse *)message->body;
    assert_int_equal(response->n_tables, 1);
    return response->tables[0];
}

/* Waits until somebody waits for `why`. */
static void await_waiter(struct fixture *f, const char *what, const char *why)
{
    for (int i = 0; i < 500; i++) {
        struct rpc_message message;
        const Hindcast__TableInfo *table = info(f, 0, &message);
        bool found = false;
        for (size_t k = 0; k < table->n_waiters; k++) {
            found = found || (strcmp(table->waiters[k]->what, what) == 0 &&
                              strstr(table->waiters[k]->why, why));
        }
        rpc_message_free(&message);
        if (found) {
            return;
        }
        clock_sleep_ms(20);
    }
    fail_msg("nobody waits: %s, %s", what, why);
}

/* Until server 0 holds n transitions, for at most 10 s. */
static void await_transitions(struct fixture *f, uint64_t n)
{
    uint64_t there = 0;
    for (int tries = 0; tries < 1000 && there != n; tries++) {
        struct rpc_message message;
        there = info(f, 0, &message)->transitions;
        rpc_message_free(&message);
        clock_sleep_ms(10);
    }
    assert_int_equal(there, n);
}

/* ---- In and out ---- */

static void what_goes_in_comes_out(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    fill_and_seal(f, 0, 40);
    static const uint32_t sizes[] = {1, 7, 64, 600};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        uint32_t counts[64] = {0};
        struct replay_sampler *sampler =
            open_sampler(f, (struct replay_sampler_options){.batch_snippets = sizes[k],
                                                            .snippet_transitions = 8,
                                                            .seed = k,
                                                            .first_batch = 5,
                                                            .require_sealed = true});
        uint64_t version = 0;
        for (uint64_t n = 5; n < 60; n++) {
            struct replay_batch *batch = must_next(sampler);
            assert_int_equal(batch->number, n);
            assert_int_equal(batch->snippets, sizes[k]);
            assert_true(batch->table_version != 0 &&
                        (version == 0 || batch->table_version == version));
            version = batch->table_version;
            check_batch(batch, 8, 10, counts);
            replay_sampler_return(sampler, batch);
        }
        replay_sampler_close(sampler);
    }
}

static void the_sampler_learns_the_signature(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    fill_and_seal(f, 0, 3);
    struct signature learned = {0};
    struct replay_sampler *sampler;
    struct err err;
    const struct replay_sampler_options options = {.batch_snippets = 4, .snippet_transitions = 2};
    assert_int_equal(
        replay_sampler_open(&sampler, &f->experiment, &learned, &options, 10000, NULL, NULL, &err),
        STATUS_OK);
    assert_int_equal(signature_width(&learned), 10);
    assert_string_equal(learned.rewards[1], "walk");
    replay_sampler_close(sampler);
    /* One that does not fit is told so. */
    learned.slices[0].size++;
    assert_int_equal(
        replay_sampler_open(&sampler, &f->experiment, &learned, &options, 10000, NULL, NULL, &err),
        STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "position"));
}

static void slices_of_a_batch_are_its_parts(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    fill_and_seal(f, 0, 20);
    const struct replay_sampler_options options = {
        .batch_snippets = 90, .snippet_transitions = 4, .seed = 3};
    struct replay_sampler *whole = open_sampler(f, options);
    struct replay_sampler *parts[3];
    for (uint32_t rank = 0; rank < 3; rank++) {
        struct replay_sampler_options mine = options;
        mine.slice_begin = 30 * rank;
        mine.slice_count = 30;
        parts[rank] = open_sampler(f, mine);
    }
    for (int n = 0; n < 20; n++) {
        struct replay_batch *all = must_next(whole);
        for (uint32_t rank = 0; rank < 3; rank++) {
            struct replay_batch *part = must_next(parts[rank]);
            assert_int_equal(part->snippets, 30);
            assert_memory_equal(part->rows, all->rows + (size_t)rank * 30 * 5 * 10,
                                30 * 5 * 10 * sizeof(float));
            assert_memory_equal(part->n_valid, all->n_valid + rank * 30, 30 * sizeof(uint32_t));
            replay_sampler_return(parts[rank], part);
        }
        replay_sampler_return(whole, all);
    }
    replay_sampler_close(whole);
    for (uint32_t rank = 0; rank < 3; rank++) {
        replay_sampler_close(parts[rank]);
    }
}

/* ---- Going away and coming back ---- */

struct writing {
    struct fixture *f;
    struct replay_writer *writer;
    uint32_t n;
    atomic_uint done;
};

static void *write_all(void *arg)
{
    struct writing *w = arg;
    for (uint32_t k = 0; k < w->n; k++) {
        must_insert(w->f, w->writer, k, 1000 + k);
        must_flush(w->writer);
        atomic_store(&w->done, k + 1);
    }
    return NULL;
}

static void nothing_is_lost_or_doubled_when_the_server_restarts(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    bool sealed;
    struct writing w = {.f = f, .n = 60};
    w.writer = open_writer(f, (struct replay_writer_options){.max_in_flight_bytes = 200000}, NULL,
                           &sealed);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_all, &w), 0);
    for (uint32_t restart = 1; restart <= 3; restart++) {
        while (atomic_load(&w.done) < 15 * restart) {
            clock_sleep_ms(1);
        }
        stop(f, 0);
        clock_sleep_ms(50);
        serve(f, 0, NULL);
    }
    pthread_join(thread, NULL);
    struct replay_writer_counts counts;
    replay_writer_counts(w.writer, &counts);
    assert_int_equal(counts.episodes, 60);
    assert_true(counts.reconnects >= 1);
    replay_writer_close(w.writer);
    struct rpc_message message;
    const Hindcast__TableInfo *table = info(f, 0, &message);
    assert_int_equal(table->episodes, 60);
    assert_int_equal(table->episodes_inserted, 60);
    assert_int_equal(table->transitions, 60 * 1000 + 59 * 30);
    rpc_message_free(&message);
    /* Who comes back is told where it was, and what it sends again is known. */
    char cursor[64];
    struct replay_writer *again =
        open_writer(f, (struct replay_writer_options){0}, cursor, &sealed);
    assert_string_equal(cursor, "at 59");
    must_insert(f, again, 7, 1007);
    must_flush(again);
    replay_writer_counts(again, &counts);
    assert_int_equal(counts.duplicates, 1);
    replay_writer_close(again);
}

static void sampling_goes_on_bit_for_bit_after_a_restart(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    fill_and_seal(f, 0, 30);
    const struct replay_sampler_options options = {
        .batch_snippets = 64, .snippet_transitions = 8, .seed = 9};
    enum { BATCHES = 40 };
    const size_t bytes = 64 * 9 * 10 * sizeof(float);
    uint8_t *first = mem_new(BATCHES * bytes);
    for (int pass = 0; pass < 2; pass++) {
        struct replay_sampler *sampler = open_sampler(f, options);
        for (uint64_t n = 0; n < BATCHES; n++) {
            if (pass == 1 && n == BATCHES / 2) {
                stop(f, 0);
                serve(f, 0, NULL);
            }
            struct replay_batch *batch = must_next(sampler);
            assert_int_equal(batch->number, n);
            if (pass == 0) {
                memcpy(first + n * bytes, batch->rows, bytes);
            } else {
                assert_memory_equal(first + n * bytes, batch->rows, bytes);
            }
            replay_sampler_return(sampler, batch);
        }
        replay_sampler_close(sampler);
    }
    mem_free(first);
}

static bool yes(void *arg)
{
    return atomic_load((atomic_bool *)arg);
}

static void *set_soon(void *arg)
{
    clock_sleep_ms(300);
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

/* Held up by the server, by its absence, or both: a client that is to stop stops soon. */
static void clients_stop_soon_when_asked(void **state)
{
    struct fixture *f = *state;
    serve(
        f, 0,
        (const char *const[]){"--samples_per_insert=1", "--samples_per_insert_tolerance=0", NULL});
    atomic_bool stopping = false;
    bool sealed;
    pthread_t thread;
    struct err err = {0};
    struct replay_writer *writer =
        open_writer(f,
                    (struct replay_writer_options){
                        .stopping = yes, .stopping_arg = &stopping, .max_in_flight_bytes = 100000},
                    NULL, &sealed);
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &stopping), 0);
    uint64_t start_ns = clock_now_ns();
    status s = STATUS_OK;
    for (uint32_t k = 0; s == STATUS_OK && k < 64; k++) {
        s = insert(f, writer, k, 1000, &err);
    }
    assert_int_equal(s, STATUS_CLOSED);
    assert_true(clock_now_ns() - start_ns < 2 * NS_PER_S);
    pthread_join(thread, NULL);
    replay_writer_close(writer);

    stop(f, 0);
    atomic_store(&stopping, false);
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &stopping), 0);
    start_ns = clock_now_ns();
    struct replay_sampler *sampler;
    const struct replay_sampler_options options = {.batch_snippets = 4, .snippet_transitions = 2};
    assert_int_equal(replay_sampler_open(&sampler, &f->experiment, &f->signature, &options, 60000,
                                         yes, &stopping, &err),
                     STATUS_CLOSED);
    assert_true(clock_now_ns() - start_ns < 2 * NS_PER_S);
    pthread_join(thread, NULL);
}

static void an_absent_server_is_named_in_time(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    stop(f, 0);
    struct replay_writer *writer;
    struct replay_sampler *sampler;
    struct err err;
    bool sealed;
    const struct replay_writer_options writing = {.writer = "w", .connect_timeout_ms = 300};
    assert_int_equal(replay_writer_open(&writer, &f->experiment, &f->signature, &writing, NULL,
                                        NULL, &sealed, &err),
                     STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.text, "a.sock"));
    const struct replay_sampler_options sampling = {.batch_snippets = 4, .snippet_transitions = 2};
    assert_int_equal(replay_sampler_open(&sampler, &f->experiment, &f->signature, &sampling, 300,
                                         NULL, NULL, &err),
                     STATUS_UNAVAILABLE);
    serve(f, 0, NULL);
    assert_int_equal(replay_sampler_open(&sampler, &f->experiment, &f->signature, &sampling, 300,
                                         NULL, NULL, &err),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "no table default"));
}

static void the_sampler_says_what_it_waits_for(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, (const char *const[]){"--min_transitions=500", NULL});
    bool sealed;
    struct replay_writer *writer = open_writer(f, (struct replay_writer_options){0}, NULL, &sealed);
    must_insert(f, writer, 1, 100);
    must_flush(writer);
    struct replay_sampler *sampler = open_sampler(
        f, (struct replay_sampler_options){.batch_snippets = 4, .snippet_transitions = 2});
    struct replay_batch *batch;
    struct err err;
    assert_int_equal(replay_sampler_next(sampler, &batch, 3500, &err), STATUS_TIMEOUT);
    assert_non_null(strstr(err.text, "min_transitions: 100 of 500"));
    must_insert(f, writer, 2, 400);
    batch = must_next(sampler);
    assert_int_equal(batch->number, 0);
    replay_sampler_return(sampler, batch);
    replay_sampler_close(sampler);
    replay_writer_close(writer);
}

/* ---- Rates ---- */

struct acting {
    struct fixture *f;
    atomic_bool stop;
    atomic_uint inserted; /* episodes of 50 transitions */
};

static bool acting_stops(void *arg)
{
    return atomic_load(&((struct acting *)arg)->stop);
}

static void *act(void *arg)
{
    struct acting *a = arg;
    bool sealed;
    struct err err;
    struct replay_writer *writer =
        open_writer(a->f,
                    (struct replay_writer_options){
                        .stopping = acting_stops, .stopping_arg = a, .max_in_flight_bytes = 1},
                    NULL, &sealed);
    struct episode episode;
    replay_episode(&episode, &a->f->signature, 1, 50);
    status s = STATUS_OK;
    while (s == STATUS_OK) {
        episode.identity.episode = atomic_load(&a->inserted) + 100;
        s = replay_writer_insert(writer, &episode, NULL, 0, &err);
        if (s == STATUS_OK) {
            s = replay_writer_flush(writer, 60000, &err);
        }
        atomic_fetch_add(&a->inserted, s == STATUS_OK);
    }
    assert_int_equal(s, STATUS_CLOSED);
    episode_fini(&episode);
    replay_writer_close(writer);
    return NULL;
}

/* Online: 4 transitions sampled per one inserted after the first 1000; each side waits for the
 * other, and a restart remembers. */
static void acting_and_learning_are_kept_in_ratio(void **state)
{
    struct fixture *f = *state;
    static const char *const flags[] = {"--min_transitions=1000", "--samples_per_insert=4",
                                        "--samples_per_insert_tolerance=400", NULL};
    serve(f, 0, flags);
    struct acting a = {.f = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, act, &a), 0);
    while (atomic_load(&a.inserted) == 0) { /* until the table is there */
        clock_sleep_ms(5);
    }
    /* Nobody samples: acting stops by itself at 1000 + 400 / 4 transitions, and the episode that
     * crossed. */
    await_waiter(f, "insert", "samples_per_insert");
    const unsigned alone = atomic_load(&a.inserted);
    printf("alone: %u transitions\n", alone * 50);
    assert_in_range(alone * 50, 1100, 1200);
    for (int round = 0; round < 2; round++) {
        /* 100 batches of 40 snippets of 1 transition, one at a time: 4000 sampled, 1000 inserted.
         */
        struct replay_sampler *sampler = open_sampler(
            f, (struct replay_sampler_options){
                   .batch_snippets = 40, .snippet_transitions = 1, .prefetch_batches = 1});
        for (int n = 0; n < 100; n++) {
            replay_sampler_return(sampler, must_next(sampler));
        }
        replay_sampler_close(sampler);
        await_waiter(f, "insert", "samples_per_insert");
        struct rpc_message message;
        const Hindcast__TableInfo *table = info(f, 0, &message);
        const double lead =
            4 * ((double)table->transitions_inserted - 1000) - (double)table->transitions_sampled;
        printf("inserted %d, sampled %d, lead %.0f\n", (int)table->transitions_inserted,
               (int)table->transitions_sampled, lead);
        assert_true(lead > 400 && lead <= 400 + 4 * 50);
        assert_true(table->transitions_sampled >= 4000 * (uint64_t)(round + 1));
        rpc_message_free(&message);
        if (round == 0) {
            stop(f, 0);
            serve(f, 0, flags);
        }
    }
    atomic_store(&a.stop, true);
    pthread_join(thread, NULL);
    /* And the other way: without inserts sampling ends within the tolerance and one response. */
    struct replay_sampler *sampler =
        open_sampler(f, (struct replay_sampler_options){
                            .batch_snippets = 40, .snippet_transitions = 1, .prefetch_batches = 1});
    struct replay_batch *batch;
    struct err err;
    int n = 0;
    while (replay_sampler_next(sampler, &batch, 1000, &err) == STATUS_OK) {
        replay_sampler_return(sampler, batch);
        n++;
    }
    await_waiter(f, "sample", "samples_per_insert");
    printf("without inserts: %d transitions sampled\n", n * 40);
    assert_in_range(n * 40, 400, 400 + 600 + 400 + 120);
    replay_sampler_close(sampler);
}

static void logs_wait_before_they_evict(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, (const char *const[]){"--max_transitions=1000", "--samples_per_eviction=2", NULL});
    bool sealed;
    struct replay_writer *writer = open_writer(
        f, (struct replay_writer_options){.restored = true, .max_in_flight_bytes = 1u << 20}, NULL,
        &sealed);
    for (uint32_t k = 0; k < 12; k++) {
        must_insert(f, writer, k, 100);
    }
    await_waiter(f, "insert", "samples_per_eviction: transitions sampled: 0 of 200");
    /* The eleventh episode waits already while earlier ones are still on their way to the disk. */
    await_transitions(f, 1000);
    struct rpc_message message;
    const Hindcast__TableInfo *table = info(f, 0, &message);
    assert_int_equal(table->episodes_removed, 0);
    rpc_message_free(&message);
    struct replay_sampler *sampler =
        open_sampler(f, (struct replay_sampler_options){
                            .batch_snippets = 50, .snippet_transitions = 1, .prefetch_batches = 1});
    for (int n = 0; n < 10; n++) {
        replay_sampler_return(sampler, must_next(sampler));
    }
    must_flush(writer);
    table = info(f, 0, &message);
    assert_int_equal(table->episodes_removed, 2);
    assert_int_equal(table->transitions, 1000);
    rpc_message_free(&message);
    replay_sampler_close(sampler);
    replay_writer_close(writer);
}

/* ---- Several servers ---- */

static void servers_share_by_what_they_hold(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 3; i++) {
        serve(f, i, NULL);
    }
    fill_and_seal(f, 0, 60);
    uint64_t transitions[3], sum = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct rpc_message message;
        const Hindcast__TableInfo *table = info(f, i, &message);
        assert_true(table->sealed && table->episodes > 5);
        transitions[i] = table->transitions;
        sum += table->transitions;
        rpc_message_free(&message);
    }
    assert_int_equal(sum, 60 * 10 + 59 * 30);
    enum { B = 400, BATCHES = 30 };
    const struct replay_sampler_options options = {
        .batch_snippets = B, .snippet_transitions = 3, .seed = 1, .require_sealed = true};
    uint32_t counts[64] = {0};
    struct replay_sampler *sampler = open_sampler(f, options);
    struct replay_sampler_options second_half = options;
    second_half.slice_begin = B / 2;
    second_half.slice_count = B / 2;
    struct replay_sampler *half = open_sampler(f, second_half);
    for (int n = 0; n < BATCHES; n++) {
        struct replay_batch *batch = must_next(sampler);
        check_batch(batch, 3, 10, counts);
        assert_int_not_equal(batch->table_version, 0);
        struct replay_batch *part = must_next(half);
        assert_memory_equal(part->rows, batch->rows + (size_t)(B / 2) * 4 * 10,
                            (size_t)(B / 2) * 4 * 10 * sizeof(float));
        replay_sampler_return(half, part);
        replay_sampler_return(sampler, batch);
    }
    /* Episodes are drawn in proportion to their length, wherever they are. */
    double chi2 = 0;
    for (uint32_t k = 0; k < 60; k++) {
        const double expected = (double)B * BATCHES * (10 + k) / (double)sum;
        chi2 += (counts[k] - expected) * (counts[k] - expected) / expected;
    }
    printf("servers hold %d, %d, %d; chi2 %.1f of 59\n", (int)transitions[0], (int)transitions[1],
           (int)transitions[2], chi2);
    assert_true(chi2 < 108); /* p = 1e-4 */
    replay_sampler_close(sampler);
    replay_sampler_close(half);
}

static void with_several_servers_the_one_furthest_behind_counts(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    serve(f, 1, NULL);
    bool sealed;
    char cursor[64];
    struct replay_writer *writer =
        open_writer(f, (struct replay_writer_options){0}, cursor, &sealed);
    assert_string_equal(cursor, "");
    for (uint32_t k = 0; k < 30; k++) {
        must_insert(f, writer, k, 10);
    }
    must_flush(writer);
    replay_writer_close(writer);
    uint64_t before = 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct rpc_message message;
        before += info(f, i, &message)->episodes;
        rpc_message_free(&message);
    }
    assert_int_equal(before, 30);
    writer = open_writer(f, (struct replay_writer_options){0}, cursor, &sealed);
    unsigned at;
    assert_int_equal(sscanf(cursor, "at %u", &at), 1);
    assert_in_range(at, 0, 28); /* the last of one of the two, and 29 is the other's */
    for (uint32_t k = at + 1; k < 30; k++) {
        must_insert(f, writer, k, 10);
    }
    must_flush(writer);
    struct replay_writer_counts counts;
    replay_writer_counts(writer, &counts);
    assert_int_equal(counts.duplicates, 29 - at);
    replay_writer_close(writer);
}

/* ---- What the server refuses ---- */

static void a_full_table_says_so_and_samples_on(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, (const char *const[]){"--max_transitions=100", "--remover=none", NULL});
    bool sealed;
    struct err err = {0};
    struct replay_writer *writer = open_writer(f, (struct replay_writer_options){0}, NULL, &sealed);
    must_insert(f, writer, 1, 60);
    status s = insert(f, writer, 2, 60, &err);
    if (s == STATUS_OK) {
        s = replay_writer_flush(writer, 20000, &err);
    }
    assert_int_equal(s, STATUS_FULL);
    assert_non_null(strstr(err.text, "remover is none"));
    struct replay_sampler *sampler = open_sampler(
        f, (struct replay_sampler_options){.batch_snippets = 40, .snippet_transitions = 4});
    struct replay_batch *batch = must_next(sampler);
    uint32_t counts[64] = {0};
    check_batch(batch, 4, 10, counts);
    assert_int_equal(counts[1], 40);
    replay_sampler_return(sampler, batch);
    replay_sampler_close(sampler);
    replay_writer_close(writer);
}

/* Two writers with the same episodes at once: each episode is stored once, both are told that it is
 * there. */
static void twins_are_stored_once(void **state)
{
    struct fixture *f = *state;
    serve(f, 0, NULL);
    struct writing w[2];
    pthread_t threads[2];
    bool sealed;
    for (int i = 0; i < 2; i++) {
        w[i] = (struct writing){.f = f, .n = 40};
        w[i].writer = open_writer(
            f, (struct replay_writer_options){.writer = i ? "second" : "first"}, NULL, &sealed);
        assert_int_equal(pthread_create(&threads[i], NULL, write_all, &w[i]), 0);
    }
    uint64_t duplicates = 0;
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        struct replay_writer_counts counts;
        replay_writer_counts(w[i].writer, &counts);
        assert_int_equal(counts.episodes, 40);
        duplicates += counts.duplicates;
        replay_writer_close(w[i].writer);
    }
    struct rpc_message message;
    const Hindcast__TableInfo *table = info(f, 0, &message);
    assert_int_equal(table->episodes, 40);
    assert_int_equal(table->episodes_inserted, 40);
    assert_int_equal(duplicates, 40);
    rpc_message_free(&message);
}

static void tokens_decide_who_may_what(void **state)
{
    struct fixture *f = *state;
    char path[2 * SCRATCH_SIZE], flag[3 * SCRATCH_SIZE];
    struct err err = {0};
    bool sealed;
    scratch_write(scratch_path(path, f->folder, "tokens"),
                  "inserter-0123456789 insert\nsampler-0123456789 sample\n");
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(flag, sizeof flag, "--tokens_file=%s", path);
    serve(f, 0, (const char *const[]){flag, NULL});
    scratch_write(scratch_path(path, f->folder, "mine"), "inserter-0123456789\n");
    strcpy(f->experiment.token_file, path);
    fill_and_seal(f, 0, 3);
    struct replay_sampler *sampler;
    const struct replay_sampler_options options = {.batch_snippets = 4, .snippet_transitions = 2};
    /* Info needs some token, Sample one for sampling. */
    assert_int_equal(replay_sampler_open(&sampler, &f->experiment, &f->signature, &options, 5000,
                                         NULL, NULL, &err),
                     STATUS_OK);
    struct replay_batch *batch;
    assert_int_equal(replay_sampler_next(sampler, &batch, 5000, &err), STATUS_DENIED);
    replay_sampler_close(sampler);
    scratch_write(path, "sampler-0123456789\n");
    sampler = open_sampler(f, options);
    replay_sampler_return(sampler, must_next(sampler));
    replay_sampler_close(sampler);
    struct replay_writer *writer;
    const struct replay_writer_options writing = {.writer = "w"};
    assert_int_equal(replay_writer_open(&writer, &f->experiment, &f->signature, &writing, NULL,
                                        NULL, &sealed, &err),
                     STATUS_DENIED);
    f->experiment.token_file[0] = '\0';
    assert_int_equal(replay_sampler_open(&sampler, &f->experiment, &f->signature, &options, 5000,
                                         NULL, NULL, &err),
                     STATUS_DENIED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, remove_fixture)
    const struct CMUnitTest tests[] = {
        TEST(what_goes_in_comes_out),
        TEST(the_sampler_learns_the_signature),
        TEST(slices_of_a_batch_are_its_parts),
        TEST(nothing_is_lost_or_doubled_when_the_server_restarts),
        TEST(sampling_goes_on_bit_for_bit_after_a_restart),
        TEST(clients_stop_soon_when_asked),
        TEST(an_absent_server_is_named_in_time),
        TEST(the_sampler_says_what_it_waits_for),
        TEST(acting_and_learning_are_kept_in_ratio),
        TEST(logs_wait_before_they_evict),
        TEST(servers_share_by_what_they_hold),
        TEST(with_several_servers_the_one_furthest_behind_counts),
        TEST(a_full_table_says_so_and_samples_on),
        TEST(twins_are_stored_once),
        TEST(tokens_decide_who_may_what),
    };
    rpc_init();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
