/* The clients and the service together, over real sockets in one process: what goes in comes out,
 * servers that go away and come back, what a server refuses. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/peer.h"
#include "tests/lib/check.h"
#include "tests/lib/replay_world.h"

/* ---- In and out ---- */

static void what_goes_in_comes_out(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, 40);
    static const uint32_t sizes[] = {1, 7, 64, 600};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        uint32_t counts[64] = {0};
        struct replay_sampler *sampler = replay_world_open_sampler(
            world, (struct replay_sampler_options){.batch_snippets = sizes[k],
                                                   .snippet_transitions = 8,
                                                   .seed = k,
                                                   .first_batch = 5,
                                                   .require_sealed = true});
        uint64_t version = 0;
        for (uint64_t n = 5; n < 60; n++) {
            struct replay_batch *batch = replay_world_must_next(sampler);
            assert_int_equal(batch->number, n);
            assert_int_equal(batch->snippets, sizes[k]);
            assert_true(batch->table_version != 0 &&
                        (version == 0 || batch->table_version == version));
            version = batch->table_version;
            replay_world_check_batch(batch, 8, 10, counts);
            replay_sampler_return(sampler, batch);
        }
        replay_sampler_close(sampler);
    }
}

static void the_sampler_learns_the_signature(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, 3);
    struct signature learned = {0};
    struct replay_sampler *sampler;
    struct err err;
    const struct replay_sampler_options options = {.batch_snippets = 4, .snippet_transitions = 2};
    assert_int_equal(replay_sampler_open(&sampler, &world->experiment, &learned, &options, 10000,
                                         NULL, NULL, &err),
                     STATUS_OK);
    assert_int_equal(signature_width(&learned), 10);
    assert_string_equal(learned.rewards[1], "walk");
    replay_sampler_close(sampler);
    /* One that does not fit is told so. */
    learned.slices[0].size++;
    assert_int_equal(replay_sampler_open(&sampler, &world->experiment, &learned, &options, 10000,
                                         NULL, NULL, &err),
                     STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "position"));
}

static void slices_of_a_batch_are_its_parts(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, 20);
    const struct replay_sampler_options options = {
        .batch_snippets = 90, .snippet_transitions = 4, .seed = 3};
    struct replay_sampler *whole = replay_world_open_sampler(world, options);
    struct replay_sampler *parts[3];
    for (uint32_t rank = 0; rank < 3; rank++) {
        struct replay_sampler_options mine = options;
        mine.slice_begin = 30 * rank;
        mine.slice_count = 30;
        parts[rank] = replay_world_open_sampler(world, mine);
    }
    for (int n = 0; n < 20; n++) {
        struct replay_batch *all = replay_world_must_next(whole);
        for (uint32_t rank = 0; rank < 3; rank++) {
            struct replay_batch *part = replay_world_must_next(parts[rank]);
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
    struct replay_world *world;
    struct replay_writer *writer;
    uint32_t n;
    atomic_uint done;
};

static void *write_all(void *arg)
{
    struct writing *w = arg;
    for (uint32_t k = 0; k < w->n; k++) {
        replay_world_must_insert(w->world, w->writer, k, 1000 + k);
        replay_world_must_flush(w->writer);
        atomic_store(&w->done, k + 1);
    }
    return NULL;
}

static void nothing_is_lost_or_doubled_when_the_server_restarts(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    bool sealed;
    struct writing w = {.world = world, .n = 60};
    w.writer = replay_world_open_writer(
        world, (struct replay_writer_options){.max_in_flight_bytes = 200000}, NULL, &sealed);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_all, &w), 0);
    for (uint32_t restart = 1; restart <= 3; restart++) {
        while (atomic_load(&w.done) < 15 * restart) {
            clock_sleep_ms(1);
        }
        replay_world_stop(world, 0);
        clock_sleep_ms(50);
        replay_world_serve(world, 0, NULL);
    }
    pthread_join(thread, NULL);
    struct replay_writer_counts counts;
    replay_writer_counts(w.writer, &counts);
    assert_int_equal(counts.episodes, 60);
    assert_true(counts.reconnects >= 1);
    replay_writer_close(w.writer);
    struct rpc_message message;
    const Hindcast__TableInfo *table = replay_world_table_info(world, 0, &message);
    assert_int_equal(table->episodes, 60);
    assert_int_equal(table->episodes_inserted, 60);
    assert_int_equal(table->transitions, 60 * 1000 + 59 * 30);
    rpc_message_free(&message);
    /* Who comes back is told where it was, and what it sends again is known. */
    char cursor[64];
    struct replay_writer *again =
        replay_world_open_writer(world, (struct replay_writer_options){0}, cursor, &sealed);
    assert_string_equal(cursor, "at 59");
    replay_world_must_insert(world, again, 7, 1007);
    replay_world_must_flush(again);
    replay_writer_counts(again, &counts);
    assert_int_equal(counts.duplicates, 1);
    replay_writer_close(again);
}

static void sampling_goes_on_bit_for_bit_after_a_restart(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, 30);
    const struct replay_sampler_options options = {
        .batch_snippets = 64, .snippet_transitions = 8, .seed = 9};
    enum { BATCHES = 40 };
    const size_t bytes = 64 * 9 * 10 * sizeof(float);
    uint8_t *first = mem_new(BATCHES * bytes);
    for (int pass = 0; pass < 2; pass++) {
        struct replay_sampler *sampler = replay_world_open_sampler(world, options);
        for (uint64_t n = 0; n < BATCHES; n++) {
            if (pass == 1 && n == BATCHES / 2) {
                replay_world_stop(world, 0);
                replay_world_serve(world, 0, NULL);
            }
            struct replay_batch *batch = replay_world_must_next(sampler);
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
    struct replay_world *world = *state;
    replay_world_serve(
        world, 0,
        (const char *const[]){"--samples_per_insert=1", "--samples_per_insert_tolerance=0", NULL});
    atomic_bool stopping = false;
    bool sealed;
    pthread_t thread;
    struct err err = {0};
    struct replay_writer *writer = replay_world_open_writer(
        world,
        (struct replay_writer_options){
            .stopping = yes, .stopping_arg = &stopping, .max_in_flight_bytes = 100000},
        NULL, &sealed);
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &stopping), 0);
    uint64_t start_ns = clock_now_ns();
    status s = STATUS_OK;
    for (uint32_t k = 0; s == STATUS_OK && k < 64; k++) {
        s = replay_world_insert(world, writer, k, 1000, &err);
    }
    assert_int_equal(s, STATUS_CLOSED);
    assert_true(clock_now_ns() - start_ns < 2 * NS_PER_S);
    pthread_join(thread, NULL);
    replay_writer_close(writer);

    replay_world_stop(world, 0);
    atomic_store(&stopping, false);
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &stopping), 0);
    start_ns = clock_now_ns();
    struct replay_sampler *sampler;
    const struct replay_sampler_options options = {.batch_snippets = 4, .snippet_transitions = 2};
    assert_int_equal(replay_sampler_open(&sampler, &world->experiment, &world->signature, &options,
                                         60000, yes, &stopping, &err),
                     STATUS_CLOSED);
    assert_true(clock_now_ns() - start_ns < 2 * NS_PER_S);
    pthread_join(thread, NULL);
}

static void an_absent_server_is_named_in_time(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_stop(world, 0);
    struct replay_writer *writer;
    struct replay_sampler *sampler;
    struct err err;
    bool sealed;
    const struct replay_writer_options writing = {.writer = "w", .connect_timeout_ms = 300};
    assert_int_equal(replay_writer_open(&writer, &world->experiment, &world->signature, &writing,
                                        NULL, NULL, &sealed, &err),
                     STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.text, "a.sock"));
    const struct replay_sampler_options sampling = {.batch_snippets = 4, .snippet_transitions = 2};
    assert_int_equal(replay_sampler_open(&sampler, &world->experiment, &world->signature, &sampling,
                                         300, NULL, NULL, &err),
                     STATUS_UNAVAILABLE);
    replay_world_serve(world, 0, NULL);
    assert_int_equal(replay_sampler_open(&sampler, &world->experiment, &world->signature, &sampling,
                                         300, NULL, NULL, &err),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "no table default"));
}

static void the_sampler_says_what_it_waits_for(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, (const char *const[]){"--min_transitions=500", NULL});
    bool sealed;
    struct replay_writer *writer =
        replay_world_open_writer(world, (struct replay_writer_options){0}, NULL, &sealed);
    replay_world_must_insert(world, writer, 1, 100);
    replay_world_must_flush(writer);
    struct replay_sampler *sampler = replay_world_open_sampler(
        world, (struct replay_sampler_options){.batch_snippets = 4, .snippet_transitions = 2});
    struct replay_batch *batch;
    struct err err;
    assert_int_equal(replay_sampler_next(sampler, &batch, 3500, &err), STATUS_TIMEOUT);
    assert_non_null(strstr(err.text, "min_transitions: 100 of 500"));
    replay_world_must_insert(world, writer, 2, 400);
    batch = replay_world_must_next(sampler);
    assert_int_equal(batch->number, 0);
    replay_sampler_return(sampler, batch);
    replay_sampler_close(sampler);
    replay_writer_close(writer);
}

/* ---- What the server refuses ---- */

static void a_full_table_says_so_and_samples_on(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0,
                       (const char *const[]){"--max_transitions=100", "--remover=none", NULL});
    bool sealed;
    struct err err = {0};
    struct replay_writer *writer =
        replay_world_open_writer(world, (struct replay_writer_options){0}, NULL, &sealed);
    replay_world_must_insert(world, writer, 1, 60);
    status s = replay_world_insert(world, writer, 2, 60, &err);
    if (s == STATUS_OK) {
        s = replay_writer_flush(writer, 20000, &err);
    }
    assert_int_equal(s, STATUS_FULL);
    assert_non_null(strstr(err.text, "remover is none"));
    struct replay_sampler *sampler = replay_world_open_sampler(
        world, (struct replay_sampler_options){.batch_snippets = 40, .snippet_transitions = 4});
    struct replay_batch *batch = replay_world_must_next(sampler);
    uint32_t counts[64] = {0};
    replay_world_check_batch(batch, 4, 10, counts);
    assert_int_equal(counts[1], 40);
    replay_sampler_return(sampler, batch);
    replay_sampler_close(sampler);
    replay_writer_close(writer);
}

/* Two writers with the same episodes at once: each episode is stored once, both are told that it is
 * there. */
static void twins_are_stored_once(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    struct writing w[2];
    pthread_t threads[2];
    bool sealed;
    for (int i = 0; i < 2; i++) {
        w[i] = (struct writing){.world = world, .n = 40};
        w[i].writer = replay_world_open_writer(
            world, (struct replay_writer_options){.writer = i ? "second" : "first"}, NULL, &sealed);
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
    const Hindcast__TableInfo *table = replay_world_table_info(world, 0, &message);
    assert_int_equal(table->episodes, 40);
    assert_int_equal(table->episodes_inserted, 40);
    assert_int_equal(duplicates, 40);
    rpc_message_free(&message);
}

static void tokens_decide_who_may_what(void **state)
{
    struct replay_world *world = *state;
    char path[2 * SCRATCH_SIZE], flag[3 * SCRATCH_SIZE];
    struct err err = {0};
    bool sealed;
    scratch_write(scratch_path(path, world->folder, "tokens"),
                  "inserter-0123456789 insert\nsampler-0123456789 sample\n");
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(flag, sizeof flag, "--tokens_file=%s", path);
    replay_world_serve(world, 0, (const char *const[]){flag, NULL});
    scratch_write(scratch_path(path, world->folder, "mine"), "inserter-0123456789\n");
    strcpy(world->experiment.token_file, path);
    /* A token that everybody may read is not shown. */
    struct rpc_channel *channel;
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(
        peer_channel_open(&channel, world->experiment.replay.items[0], &world->experiment, 0, &err),
        STATUS_DENIED);
    assert_int_equal(chmod(path, 0600), 0);
    replay_world_fill(world, 0, 3);
    struct replay_sampler *sampler;
    const struct replay_sampler_options options = {.batch_snippets = 4, .snippet_transitions = 2};
    /* Info needs some token, Sample one for sampling. */
    assert_int_equal(replay_sampler_open(&sampler, &world->experiment, &world->signature, &options,
                                         5000, NULL, NULL, &err),
                     STATUS_OK);
    struct replay_batch *batch;
    assert_int_equal(replay_sampler_next(sampler, &batch, 5000, &err), STATUS_DENIED);
    replay_sampler_close(sampler);
    scratch_write(path, "sampler-0123456789\n");
    sampler = replay_world_open_sampler(world, options);
    replay_sampler_return(sampler, replay_world_must_next(sampler));
    replay_sampler_close(sampler);
    struct replay_writer *writer;
    const struct replay_writer_options writing = {.writer = "w"};
    assert_int_equal(replay_writer_open(&writer, &world->experiment, &world->signature, &writing,
                                        NULL, NULL, &sealed, &err),
                     STATUS_DENIED);
    world->experiment.token_file[0] = '\0';
    assert_int_equal(replay_sampler_open(&sampler, &world->experiment, &world->signature, &options,
                                         5000, NULL, NULL, &err),
                     STATUS_DENIED);
}

/* ---- Several servers ---- */

/* The oldest episode of server i. */
static void delete_oldest(struct replay_world *world, uint32_t i)
{
    struct rpc_message message;
    Hindcast__DeleteRequest request = HINDCAST__DELETE_REQUEST__INIT;
    request.oldest = 1;
    replay_world_call(world, i, "Delete", &request.base, &message);
    assert_int_equal(((const Hindcast__DeleteResponse *)message.body)->deleted, 1);
    rpc_message_free(&message);
}

static uint64_t episodes_at(struct replay_world *world, uint32_t i)
{
    struct rpc_message message;
    const uint64_t n = replay_world_table_info(world, i, &message)->episodes;
    rpc_message_free(&message);
    return n;
}

/* Inserts what follows the cursor "at N", up to episode n - 1; returns the first. */
static uint32_t insert_from(struct replay_world *world, struct replay_writer *writer,
                            const char *cursor, uint32_t n)
{
    uint32_t last = 0;
    const uint32_t first = sscanf(cursor, "at %u", &last) == 1 ? last + 1 : 0;
    for (uint32_t k = first; k < n; k++) {
        replay_world_must_insert(world, writer, k, 10);
    }
    replay_world_must_flush(writer);
    return first;
}

/* The server furthest behind lacks episodes that the other one has had, and that were deleted there:
 * a writer that comes back does not ask a sealed table to take them. */
static void what_was_deleted_is_not_sent_to_a_sealed_table(void **state)
{
    enum { N = 30 };
    struct replay_world *world = *state;
    const struct replay_writer_options options = {.restored = true};
    struct replay_writer_counts counts;
    struct err err = {0};
    char cursor[REPLAY_CURSOR_MAX + 1];
    bool sealed = false;
    replay_world_serve(world, 0, NULL);
    replay_world_serve(world, 1, NULL);
    struct replay_writer *writer = replay_world_open_writer(world, options, cursor, &sealed);
    insert_from(world, writer, cursor, N);
    /* Server 1 begins again without its store: the writer will have to send everything again. */
    replay_world_stop(world, 1);
    replay_world_forget(world, 1);
    delete_oldest(world, 0);
    const uint64_t left = episodes_at(world, 0);
    assert_in_range(left, 1, N - 2);
    /* Server 0 is sealed, by a writer that knows of no other. */
    world->experiment.replay.n = 1;
    struct replay_writer *alone = replay_world_open_writer(world, options, cursor, &sealed);
    assert_int_equal(replay_writer_seal(alone, 1, &sealed, &err), STATUS_OK);
    assert_true(sealed);
    replay_writer_close(alone);
    replay_writer_close(writer);
    replay_world_serve(world, 1, NULL);

    writer = replay_world_open_writer(world, options, cursor, &sealed);
    assert_false(sealed);
    assert_int_equal(insert_from(world, writer, cursor, N), 0);
    replay_writer_counts(writer, &counts);
    assert_int_equal(counts.episodes, N);
    assert_int_equal(counts.duplicates, left + 1);
    assert_int_equal(episodes_at(world, 0), left);
    assert_int_equal(episodes_at(world, 1), N - 1 - left);
    /* What it has never had is refused as before. An insert may already tell of its own refusal. */
    status s = STATUS_OK;
    for (uint32_t k = N; s == STATUS_OK && k < N + 20; k++) {
        s = replay_world_insert(world, writer, k, 10, &err);
        s = s == STATUS_OK ? replay_writer_flush(writer, 10000, &err) : s;
    }
    assert_int_equal(s, STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "sealed"));
    replay_writer_close(writer);
}

int main(void)
{
#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, replay_world_set_up, replay_world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_goes_in_comes_out),
        TEST(the_sampler_learns_the_signature),
        TEST(slices_of_a_batch_are_its_parts),
        TEST(nothing_is_lost_or_doubled_when_the_server_restarts),
        TEST(sampling_goes_on_bit_for_bit_after_a_restart),
        TEST(clients_stop_soon_when_asked),
        TEST(an_absent_server_is_named_in_time),
        TEST(the_sampler_says_what_it_waits_for),
        TEST(a_full_table_says_so_and_samples_on),
        TEST(twins_are_stored_once),
        TEST(tokens_decide_who_may_what),
        TEST(what_was_deleted_is_not_sent_to_a_sealed_table),
    };
    rpc_init();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
