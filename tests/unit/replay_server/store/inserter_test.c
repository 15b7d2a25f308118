/* The inserter: order, writer queues that fail, bad rows, a full map, all that was queued written
 * at the end. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "replay_server/store/inserter.h"
#include "tests/lib/check.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

#define WIDTH    10u
#define JOBS_MAX 2000u

struct fixture {
    char folder[SCRATCH_SIZE];
    struct store *store;
    struct inserter *inserter;
    struct buffer_pool *pool;
    uint64_t next_id;
    struct insert_job *jobs[JOBS_MAX];
    unsigned n_jobs;
    pthread_mutex_t lock; /* guards what came back */
    struct insert_job *back[JOBS_MAX];
    unsigned n_back;
};

static void take_back(void *arg, struct insert_job *first)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    for (struct insert_job *job = first; job; job = job->next) {
        f->back[f->n_back++] = job;
    }
    pthread_mutex_unlock(&f->lock);
}

static void open_fixture_as(struct fixture *f, uint64_t map_bytes, enum store_durability durability)
{
    *f = (struct fixture){.next_id = 1};
    scratch_make(f->folder);
    pthread_mutex_init(&f->lock, NULL);
    struct err err;
    bool scan;
    const struct store_settings settings = {
        .path = f->folder, .map_bytes = map_bytes, .durability = durability};
    assert_int_equal(store_open(&f->store, &settings, &scan, &err), STATUS_OK);
    const struct inserter_settings inserter = {
        .queue_max = 64, .group_bytes = 1 << 20, .post = take_back, .arg = f};
    assert_int_equal(inserter_open(&f->inserter, f->store, &inserter, &err), STATUS_OK);
    assert_int_equal(buffer_pool_new(&f->pool, 1u << 30, NULL, NULL), STATUS_OK);
}

static void open_fixture(struct fixture *f, uint64_t map_bytes)
{
    open_fixture_as(f, map_bytes, STORE_NONE);
}

/* An episode of n rows as a job, all numbers 1. */
static struct insert_job *new_job(struct fixture *f, uint32_t n_rows, struct writer *queue)
{
    struct insert_job *job = mem_new(sizeof *job);
    const uint32_t chunk_rows = store_chunk_rows(WIDTH);
    struct buffer **end = &job->chunks;
    for (uint32_t begin = 0; begin < n_rows; begin += chunk_rows) {
        *end = buffer_pool_take(f->pool, 65536);
        float *rows = (float *)(void *)((*end)->bytes + STORE_CHUNK_HEADER);
        for (uint32_t i = 0; i < chunk_rows * WIDTH; i++) {
            rows[i] = 1;
        }
        end = &(*end)->next;
    }
    job->has_episode = true;
    job->episode = (struct store_episode){.id = f->next_id,
                                          .n_rows = n_rows,
                                          .W = WIDTH,
                                          .priority = 1,
                                          .identity = {.episode = f->next_id}};
    job->writer_queue = queue;
    job->epoch = queue ? queue->epoch : 0;
    f->next_id += store_n_chunks(n_rows, WIDTH);
    f->jobs[f->n_jobs++] = job;
    return job;
}

static void submit(struct fixture *f, struct insert_job *job)
{
    while (inserter_submit(f->inserter, job) != STATUS_OK) {
        clock_sleep_ms(1);
    }
}

/* Waits until all of them have come back. */
static void await_all(struct fixture *f)
{
    for (unsigned back = 0; back < f->n_jobs; clock_sleep_ms(1)) {
        pthread_mutex_lock(&f->lock);
        back = f->n_back;
        pthread_mutex_unlock(&f->lock);
    }
}

/* Ends the inserter: everything has come back, in order of submission. */
static void finish(struct fixture *f)
{
    inserter_close(f->inserter);
    f->inserter = NULL;
    assert_int_equal(f->n_back, f->n_jobs);
    for (unsigned i = 0; i < f->n_jobs; i++) {
        assert_ptr_equal(f->back[i], f->jobs[i]);
        assert_ptr_equal(f->back[i]->home, f);
    }
}

static void close_fixture(struct fixture *f)
{
    for (unsigned i = 0; i < f->n_jobs; i++) {
        while (f->jobs[i]->chunks) {
            struct buffer *chunk = f->jobs[i]->chunks;
            f->jobs[i]->chunks = chunk->next;
            buffer_give_back(chunk);
        }
        mem_free(f->jobs[i]->removal);
        mem_free(f->jobs[i]);
    }
    buffer_pool_free(f->pool);
    store_close(f->store);
    scratch_remove(f->folder);
}

static status count_one(void *arg, const struct store_episode *episode, struct err *err)
{
    (void)episode;
    (void)err;
    ++*(unsigned *)arg;
    return STATUS_OK;
}

static unsigned stored(struct fixture *f)
{
    unsigned n = 0;
    struct err err;
    assert_int_equal(store_each_episode(f->store, count_one, &n, &err), STATUS_OK);
    return n;
}

static void jobs_come_back_in_order_and_are_stored(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 256 << 20);
    for (unsigned i = 0; i < 300; i++) {
        submit(&f, new_job(&f, 2 + i * 13 % 4000, NULL));
    }
    finish(&f);
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(f.back[i]->result, STATUS_OK);
    }
    assert_int_equal(stored(&f), 300);
    close_fixture(&f);
}

static void a_writer_queue_that_failed_stores_no_more(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 256 << 20);
    struct writer a = {.name = "a", .epoch = 1};
    struct writer b = {.name = "b", .epoch = 1};
    for (unsigned i = 0; i < 40; i++) {
        struct insert_job *job = new_job(&f, 50, i % 2 ? &b : &a);
        if (i == 16) { /* a's ninth */
            float *rows = (float *)(void *)(job->chunks->bytes + STORE_CHUNK_HEADER);
            rows[7 * WIDTH + 3] = NAN;
        }
        submit(&f, job);
    }
    a.epoch = 2; /* the owner has seen the failure and begins anew */
    submit(&f, new_job(&f, 50, &a));
    finish(&f);
    for (unsigned i = 0; i < 40; i++) {
        const status expected = i % 2 == 1 || i < 16 ? STATUS_OK
                                : i == 16            ? STATUS_INVALID
                                                     : STATUS_RETRY;
        assert_int_equal(f.back[i]->result, expected);
    }
    assert_string_equal(f.back[16]->err.text, "row 7, column 3 is not finite");
    assert_int_equal(f.back[40]->result, STATUS_OK);
    assert_int_equal(stored(&f), 29);
    close_fixture(&f);
}

static void an_infinity_in_a_later_chunk_is_found(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 64 << 20);
    struct insert_job *job = new_job(&f, 2000, NULL);
    const uint32_t chunk_rows = store_chunk_rows(WIDTH);
    float *rows = (float *)(void *)(job->chunks->next->bytes + STORE_CHUNK_HEADER);
    rows[(1999 - chunk_rows) * WIDTH + 9] = -INFINITY;
    submit(&f, job);
    finish(&f);
    assert_int_equal(job->result, STATUS_INVALID);
    assert_string_equal(job->err.text, "row 1999, column 9 is not finite");
    assert_int_equal(stored(&f), 0);
    close_fixture(&f);
}

/* A submitter may prepare its jobs: what comes of them is the same. */
static void jobs_are_prepared_by_their_submitter_too(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 64 << 20);
    struct writer queue = {.name = "a", .epoch = 1};
    for (unsigned i = 0; i < 6; i++) {
        struct insert_job *job = new_job(&f, 2000, &queue);
        if (i == 3) {
            ((float *)(void *)(job->chunks->bytes + STORE_CHUNK_HEADER))[12] = NAN;
        }
        if (i % 2 == 1) {
            insert_job_prepare(job);
            assert_int_equal(job->refused, i == 3 ? STATUS_INVALID : STATUS_OK);
        }
        submit(&f, job);
    }
    finish(&f);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(f.back[i]->result, i < 3    ? STATUS_OK
                                            : i == 3 ? STATUS_INVALID
                                                     : STATUS_RETRY);
    }
    assert_string_equal(f.back[3]->err.text, "row 1, column 2 is not finite");
    assert_int_equal(stored(&f), 3);
    /* Rows and checksums are as they should be, whoever made them. */
    struct store_reader *reader;
    struct err err;
    const uint8_t *rows;
    assert_int_equal(store_reader_open(&reader, f.store, &err), STATUS_OK);
    assert_int_equal(store_reader_refresh(reader, &err), STATUS_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(store_reader_chunk(reader, f.back[i]->episode.id, store_chunk_rows(WIDTH),
                                            WIDTH, &rows),
                         STATUS_OK);
    }
    store_reader_close(reader);
    close_fixture(&f);
}

/* The episode is out of the index already, and nothing that is removed later may be deleted from
 * the store before it. */
static void what_a_failed_job_removes_goes_with_the_next(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 64 << 20);
    struct writer one = {.epoch = 1}, two = {.epoch = 1};
    struct insert_job *first = new_job(&f, 10, &one);
    submit(&f, first);
    await_all(&f);
    uint64_t gone = first->episode.id;
    struct insert_job *bad = new_job(&f, 10, &one);
    ((float *)(void *)(bad->chunks->bytes + STORE_CHUNK_HEADER))[3] = NAN;
    bad->removal = insert_removal_new(&gone, 1);
    submit(&f, bad);
    submit(&f, new_job(&f, 10, &two));
    finish(&f);
    assert_int_equal(bad->result, STATUS_INVALID);
    assert_int_equal(stored(&f), 1); /* the last one */
    close_fixture(&f);
}

/* And by itself where nothing else is written. */
static void what_a_failed_job_removes_goes_without_a_next(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 64 << 20);
    struct writer one = {.epoch = 1};
    struct insert_job *first = new_job(&f, 10, &one);
    submit(&f, first);
    await_all(&f);
    uint64_t gone = first->episode.id;
    struct insert_job *bad = new_job(&f, 10, &one);
    ((float *)(void *)(bad->chunks->bytes + STORE_CHUNK_HEADER))[3] = NAN;
    bad->removal = insert_removal_new(&gone, 1);
    submit(&f, bad);
    await_all(&f);
    assert_null(bad->removal); /* the inserter's now */
    for (int i = 0; i < 500 && stored(&f) > 0; i++) {
        clock_sleep_ms(10);
    }
    assert_int_equal(stored(&f), 0);
    finish(&f);
    close_fixture(&f);
}

/* One job too large for the map spoils neither those before nor those after it in its group. */
static void a_full_map_fails_one_job_alone(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 16 << 20);
    for (unsigned i = 0; i < 5; i++) {
        submit(&f, new_job(&f, 1000, NULL));
    }
    submit(&f, new_job(&f, 600000, NULL)); /* 24 MB */
    for (unsigned i = 0; i < 5; i++) {
        submit(&f, new_job(&f, 1000, NULL));
    }
    finish(&f);
    for (unsigned i = 0; i < 11; i++) {
        assert_int_equal(f.back[i]->result, i == 5 ? STATUS_FULL : STATUS_OK);
    }
    assert_int_equal(stored(&f), 10);
    close_fixture(&f);
}

/* In a full map an insert that removes what makes its room gets in, though freed pages are not free
 * at once. */
static void removals_make_room(enum store_durability durability)
{
    struct fixture f;
    open_fixture_as(&f, 16 << 20, durability);
    uint64_t ids[400];
    unsigned n = 0;
    status s = STATUS_OK;
    while (s == STATUS_OK && n < 400) { /* fill it, one at a time */
        struct insert_job *job = new_job(&f, 1600, NULL);
        ids[n] = job->episode.id;
        submit(&f, job);
        await_all(&f);
        s = job->result;
        n += s == STATUS_OK;
    }
    assert_int_equal(s, STATUS_FULL);
    printf("%u episodes of 64 KB fill 16 MB\n", n);
    const unsigned before = f.n_jobs;
    for (unsigned i = 0; i < 60; i++) {
        struct insert_job *job = new_job(&f, 1600, NULL);
        job->removal = insert_removal_new(&ids[2 * i], 2);
        submit(&f, job);
    }
    finish(&f);
    for (unsigned i = before; i < f.n_jobs; i++) {
        if (f.back[i]->result != STATUS_OK) {
            fail_msg("job %u: %s", i - before, f.back[i]->err.text);
        }
    }
    assert_int_equal(stored(&f), n - 60);
    close_fixture(&f);
}

static void removals_make_room_in_a_full_map(void **state)
{
    (void)state;
    removals_make_room(STORE_NONE);
}

/* Where freed pages wait for the next sync, and nothing else syncs. */
static void removals_make_room_though_nothing_is_synced(void **state)
{
    (void)state;
    removals_make_room(STORE_INTERVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_come_back_in_order_and_are_stored),
        cmocka_unit_test(a_writer_queue_that_failed_stores_no_more),
        cmocka_unit_test(an_infinity_in_a_later_chunk_is_found),
        cmocka_unit_test(jobs_are_prepared_by_their_submitter_too),
        cmocka_unit_test(what_a_failed_job_removes_goes_with_the_next),
        cmocka_unit_test(what_a_failed_job_removes_goes_without_a_next),
        cmocka_unit_test(a_full_map_fails_one_job_alone),
        cmocka_unit_test(removals_make_room_in_a_full_map),
        cmocka_unit_test(removals_make_room_though_nothing_is_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
