/* The ring: batches in order whoever fills them first, a window that moves as they are given back,
 * parts, errors. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/clients/replay_ring.h"
#include "tests/lib/check.h"

static struct replay_ring *make(uint32_t depth, uint32_t n_parts, uint64_t first)
{
    struct replay_ring *ring;
    const struct replay_ring_settings settings = {.depth = depth,
                                                  .snippets = 4,
                                                  .N = 2,
                                                  .W = 3,
                                                  .n_parts = n_parts,
                                                  .first_batch = first,
                                                  .origins = n_parts == 1};
    assert_int_equal(replay_ring_new(&ring, &settings), STATUS_OK);
    return ring;
}

static void fill(struct replay_ring *ring, uint64_t number, uint32_t part, uint64_t version)
{
    struct replay_batch *batch = replay_ring_begin_part(ring, number);
    batch->rows[part] = (float)number;
    if (batch->origins) {
        batch->origins->episode_id[part] = number;
    }
    replay_ring_end_part(ring, batch, part, version);
}

static void batches_come_in_order(void **state)
{
    (void)state;
    struct replay_ring *ring = make(3, 1, 10);
    struct replay_batch *a, *b, *c, *d;
    struct err err;
    assert_int_equal(replay_ring_window_end(ring), 13);
    fill(ring, 11, 0, 5);
    assert_int_equal(replay_ring_next(ring, &a, 0, &err), STATUS_TIMEOUT);
    fill(ring, 10, 0, 5);
    assert_int_equal(replay_ring_next(ring, &a, 0, &err), STATUS_OK);
    assert_int_equal(a->number, 10);
    assert_int_equal(a->snippets, 4);
    assert_int_equal(a->table_version, 5);
    assert_int_equal(a->origins->episode_id[0], 10);
    assert_int_equal((uintptr_t)a->rows % 64, 0);
    assert_int_equal(replay_ring_next(ring, &b, 0, &err), STATUS_OK);
    assert_true(b->number == 11 && b->rows[0] == 11);
    fill(ring, 12, 0, 0);
    assert_int_equal(replay_ring_next(ring, &c, 0, &err), STATUS_OK);
    assert_true(c->table_version == 0 && c->origins->episode_id[0] == 12);
    /* All are with the caller. */
    assert_int_equal(replay_ring_next(ring, &d, 0, &err), STATUS_TIMEOUT);
    assert_non_null(strstr(err.text, "the caller holds all"));
    /* The window moves with the oldest. */
    replay_ring_return(ring, b);
    assert_int_equal(replay_ring_window_end(ring), 13);
    assert_false(replay_ring_wait_window(ring, 13, 10));
    replay_ring_return(ring, a);
    assert_int_equal(replay_ring_window_end(ring), 15);
    assert_true(replay_ring_wait_window(ring, 13, 0));
    replay_ring_return(ring, c);
    assert_int_equal(replay_ring_next_number(ring), 13);
    replay_ring_free(ring);
}

static void a_batch_is_there_when_all_its_parts_are(void **state)
{
    (void)state;
    struct replay_ring *ring = make(2, 3, 0);
    struct replay_batch *batch;
    struct err err;
    fill(ring, 0, 2, 7);
    fill(ring, 1, 2, 7);
    fill(ring, 0, 0, 7);
    assert_int_equal(replay_ring_next(ring, &batch, 0, &err), STATUS_TIMEOUT);
    fill(ring, 0, 1, 7);
    assert_int_equal(replay_ring_next(ring, &batch, 0, &err), STATUS_OK);
    const uint64_t version = batch->table_version;
    assert_int_not_equal(version, 0);
    assert_null(batch->origins);
    replay_ring_return(ring, batch);
    /* The same versions in another order of arrival are the same; one unsealed part makes it
     * unsealed. */
    fill(ring, 1, 1, 7);
    fill(ring, 1, 0, 7);
    assert_int_equal(replay_ring_next(ring, &batch, 0, &err), STATUS_OK);
    assert_int_equal(batch->table_version, version);
    replay_ring_return(ring, batch);
    fill(ring, 2, 0, 7);
    fill(ring, 2, 1, 0);
    fill(ring, 2, 2, 7);
    assert_int_equal(replay_ring_next(ring, &batch, 0, &err), STATUS_OK);
    assert_int_equal(batch->table_version, 0);
    replay_ring_return(ring, batch);
    replay_ring_free(ring);
}

static void what_is_there_comes_before_an_error(void **state)
{
    (void)state;
    struct replay_ring *ring = make(4, 1, 0);
    struct replay_batch *batch;
    struct err err, error;
    fill(ring, 0, 0, 1);
    err_set(&error, STATUS_MISMATCH, "first");
    replay_ring_fail(ring, &error);
    err_set(&error, STATUS_INVALID, "second");
    replay_ring_fail(ring, &error);
    assert_int_equal(replay_ring_next(ring, &batch, 0, &err), STATUS_OK);
    assert_int_equal(replay_ring_next(ring, &batch, 1000, &err), STATUS_MISMATCH);
    assert_string_equal(err.text, "first");
    replay_ring_free(ring);
}

struct filler {
    struct replay_ring *ring;
    uint32_t part;
    atomic_bool *stop;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct filler *filler = arg;
    uint64_t next = 0;
    while (!atomic_load(filler->stop)) {
        for (const uint64_t end = replay_ring_window_end(filler->ring); next < end; next++) {
            fill(filler->ring, next, filler->part, 3);
        }
        replay_ring_wait_window(filler->ring, next, 100);
    }
    return NULL;
}

static void threads_fill_what_one_uses(void **state)
{
    (void)state;
    struct replay_ring *ring = make(5, 3, 0);
    atomic_bool stop = false;
    struct filler fillers[3];
    for (uint32_t i = 0; i < 3; i++) {
        fillers[i] = (struct filler){.ring = ring, .part = i, .stop = &stop};
        assert_int_equal(pthread_create(&fillers[i].thread, NULL, run, &fillers[i]), 0);
    }
    struct replay_batch *held[2] = {NULL, NULL};
    for (uint64_t n = 0; n < 20000; n++) {
        struct replay_batch *batch;
        struct err err;
        assert_int_equal(replay_ring_next(ring, &batch, 10000, &err), STATUS_OK);
        assert_int_equal(batch->number, n);
        for (uint32_t part = 0; part < 3; part++) {
            assert_true(batch->rows[part] == (float)n);
        }
        if (held[n % 2]) {
            replay_ring_return(ring, held[n % 2]);
        }
        held[n % 2] = batch;
    }
    replay_ring_return(ring, held[0]);
    replay_ring_return(ring, held[1]);
    atomic_store(&stop, true);
    replay_ring_close(ring);
    for (int i = 0; i < 3; i++) {
        pthread_join(fillers[i].thread, NULL);
    }
    replay_ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_in_order),
        cmocka_unit_test(a_batch_is_there_when_all_its_parts_are),
        cmocka_unit_test(what_is_there_comes_before_an_error),
        cmocka_unit_test(threads_fill_what_one_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
