/* Gathering: every snippet of episodes that span chunks, whole and with other rewards; what is
 * missing is said. */
#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "replay_server/store/gatherer.h"
#include "tests/lib/check.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

#define SNIPPETS 500u
#define N_MAX    8u
#define REWARDS  3u

static const uint32_t lengths[] = {1, 2, 7, 1488, 1489, 1490, 3000, 40};
#define EPISODES (sizeof lengths / sizeof lengths[0])

struct fixture {
    char folder[SCRATCH_SIZE];
    struct store *store;
    struct signature signature;
    uint64_t ids[EPISODES];
};

static void open_fixture(struct fixture *f)
{
    struct err err;
    bool scan;
    scratch_make(f->folder);
    trajectories_signature(&f->signature, REWARDS); /* W = 11: 1488 rows a chunk */
    assert_int_equal(store_chunk_rows(signature_width(&f->signature)), 1488);
    const struct store_settings settings = {
        .path = f->folder, .map_bytes = 64 << 20, .durability = STORE_NONE};
    assert_int_equal(store_open(&f->store, &settings, &scan, &err), STATUS_OK);
    assert_int_equal(store_begin(f->store, &err), STATUS_OK);
    uint64_t id = 1;
    for (uint32_t k = 0; k < EPISODES; k++) {
        struct episode episode;
        replay_episode(&episode, &f->signature, k, lengths[k]);
        replay_store_episode(f->store, id, &episode);
        f->ids[k] = id;
        id += store_n_chunks(episode.T + 1, episode.W);
        episode_fini(&episode);
    }
    assert_int_equal(store_commit(f->store, &err), STATUS_OK);
}

static void close_fixture(struct fixture *f)
{
    store_close(f->store);
    scratch_remove(f->folder);
}

static void random_snippets(const struct fixture *f, struct gather_snippet *snippets, uint32_t n,
                            uint32_t N, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "gather", 0);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t k = (uint32_t)rng_below(&rng, EPISODES);
        const uint32_t T = lengths[k];
        const uint32_t first = (uint32_t)rng_below(&rng, T);
        snippets[i] = (struct gather_snippet){.id = f->ids[k],
                                              .first_row = first,
                                              .n_valid = T - first < N ? T - first : N,
                                              .n_rows = T + 1,
                                              .result = STATUS_PENDING};
    }
}

/* Column c of what is sent is column map[c] of what is stored. */
static void check(const struct fixture *f, const struct gather_job *job, const uint32_t *columns)
{
    const uint32_t W_out = job->map->W_out;
    for (uint32_t i = 0; i < job->n; i++) {
        const struct gather_snippet *snippet = &job->snippets[i];
        uint32_t k = 0;
        while (f->ids[k] != snippet->id) {
            k++;
        }
        for (uint32_t r = 0; r <= job->N; r++) {
            for (uint32_t c = 0; c < W_out; c++) {
                const float value = job->rows[((size_t)i * (job->N + 1) + r) * W_out + c];
                const float expected = r <= snippet->n_valid
                                           ? replay_number(k, snippet->first_row + r, columns[c])
                                           : 0;
                if (value != expected) {
                    fail_msg("snippet %u (episode %u, row %u) row %u column %u: %g, expected %g", i,
                             k, snippet->first_row, r, c, (double)value, (double)expected);
                }
            }
        }
    }
}

static void gather_and_check(const struct fixture *f, const struct signature *want,
                             const uint32_t *columns, uint32_t N)
{
    struct err err;
    struct store_reader *reader;
    struct row_map map;
    uint32_t rewards[SIGNATURE_TASKS_MAX];
    static struct gather_snippet snippets[SNIPPETS];
    assert_int_equal(signature_match(&f->signature, want, rewards, &err), STATUS_OK);
    row_map_init(&map, &f->signature, want, rewards);
    assert_int_equal(store_reader_open(&reader, f->store, &err), STATUS_OK);
    random_snippets(f, snippets, SNIPPETS, N, N);
    const size_t n = (size_t)SNIPPETS * (N + 1) * map.W_out;
    struct gather_job job = {
        .snippets = snippets, .n = SNIPPETS, .N = N, .map = &map, .rows = mem_aligned(n * 4)};
    for (size_t i = 0; i < n; i++) {
        job.rows[i] = 1e30f; /* a buffer that was used before */
    }
    gather_run(&job, reader);
    assert_int_equal(job.n_bad, 0);
    check(f, &job, columns);
    mem_free(job.rows);
    store_reader_close(reader);
}

static void snippets_are_what_was_stored(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    static const uint32_t all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    for (uint32_t N = 1; N <= N_MAX; N++) {
        gather_and_check(&f, &f.signature, all, N);
    }
    gather_and_check(&f, &f.signature, all, 700); /* over whole chunks */
    close_fixture(&f);
}

static void rewards_are_picked_by_name(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct signature want = f.signature; /* run, walk, stand at 7, 8, 9 */
    want.K = 2;
    strcpy(want.rewards[0], "stand");
    strcpy(want.rewards[1], "run");
    gather_and_check(&f, &want, (const uint32_t[]){0, 1, 2, 3, 4, 5, 6, 9, 7, 10}, 5);
    want.K = 0;
    gather_and_check(&f, &want, (const uint32_t[]){0, 1, 2, 3, 4, 5, 6, 10}, 5);
    close_fixture(&f);
}

static void what_is_gone_is_said_and_the_rest_gathered(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct err err;
    struct store_reader *reader;
    struct row_map map;
    static const uint32_t same[] = {0, 1, 2};
    row_map_init(&map, &f.signature, &f.signature, same);
    assert_int_equal(store_reader_open(&reader, f.store, &err), STATUS_OK);
    assert_int_equal(store_begin(f.store, &err), STATUS_OK);
    assert_int_equal(store_remove_episode(f.store, f.ids[6], &err), STATUS_OK);
    assert_int_equal(store_commit(f.store, &err), STATUS_OK);
    static struct gather_snippet snippets[SNIPPETS];
    random_snippets(&f, snippets, SNIPPETS, 4, 1);
    struct gather_job job = {.snippets = snippets,
                             .n = SNIPPETS,
                             .N = 4,
                             .map = &map,
                             .rows = mem_aligned(SNIPPETS * 5 * 11 * 4)};
    gather_run(&job, reader);
    uint32_t gone = 0;
    for (uint32_t i = 0; i < SNIPPETS; i++) {
        assert_int_equal(snippets[i].result,
                         snippets[i].id == f.ids[6] ? STATUS_NOT_FOUND : STATUS_OK);
        gone += snippets[i].result != STATUS_OK;
    }
    assert_true(gone > 0);
    assert_int_equal(job.n_bad, gone);
    /* Drawn again from elsewhere, only those are gathered. */
    for (uint32_t i = 0; i < SNIPPETS; i++) {
        if (snippets[i].result != STATUS_OK) {
            snippets[i] = (struct gather_snippet){.id = f.ids[7],
                                                  .first_row = i % 40,
                                                  .n_valid = 40 - i % 40 < 4 ? 40 - i % 40 : 4,
                                                  .n_rows = 41,
                                                  .result = STATUS_PENDING};
        }
    }
    gather_run(&job, reader);
    assert_int_equal(job.n_bad, 0);
    check(&f, &job, (const uint32_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    mem_free(job.rows);
    store_reader_close(reader);
    close_fixture(&f);
}

static void note(void *arg, struct gather_job *job)
{
    assert_ptr_equal(job->home, arg);
    __atomic_store_n((int *)job->owner, 1, __ATOMIC_RELEASE);
}

static void threads_gather_all_that_is_queued(void **state)
{
    (void)state;
    enum { JOBS = 40 };
    struct fixture f;
    open_fixture(&f);
    struct gatherer *gatherer;
    struct err err;
    struct row_map map;
    static const uint32_t same[] = {0, 1, 2};
    row_map_init(&map, &f.signature, &f.signature, same);
    assert_int_equal(gatherer_open(&gatherer, f.store, 3, JOBS, note, &f, &err), STATUS_OK);
    static struct gather_job jobs[JOBS];
    static struct gather_snippet snippets[JOBS][SNIPPETS];
    static int done[JOBS];
    for (uint64_t i = 0; i < JOBS; i++) {
        random_snippets(&f, snippets[i], SNIPPETS, 4, i);
        jobs[i] = (struct gather_job){.snippets = snippets[i],
                                      .n = SNIPPETS,
                                      .N = 4,
                                      .map = &map,
                                      .rows = mem_aligned(SNIPPETS * 5 * 11 * 4),
                                      .owner = &done[i]};
        assert_int_equal(gatherer_submit(gatherer, &jobs[i]), STATUS_OK);
    }
    gatherer_close(gatherer);
    for (int i = 0; i < JOBS; i++) {
        assert_true(__atomic_load_n(&done[i], __ATOMIC_ACQUIRE));
        assert_int_equal(jobs[i].n_bad, 0);
        check(&f, &jobs[i], (const uint32_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
        mem_free(jobs[i].rows);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snippets_are_what_was_stored),
        cmocka_unit_test(rewards_are_picked_by_name),
        cmocka_unit_test(what_is_gone_is_said_and_the_rest_gathered),
        cmocka_unit_test(threads_gather_all_that_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
