/* The thread pool: every thread works in every round, and the caller waits for all. */
#include <stdatomic.h>

#include "common/base/memory.h"
#include "common/base/thread_pool.h"
#include "tests/lib/check.h"

enum { N_MAX = 9 };

struct rounds {
    atomic_int done;
    int n;
    int calls[N_MAX];
};

static void work(void *arg, int i)
{
    struct rounds *rounds = arg;
    rounds->calls[i]++; /* one thread each: no race */
    atomic_fetch_add(&rounds->done, 1);
}

static void all_work_and_are_waited_for(void **state)
{
    (void)state;
    for (int n = 1; n <= N_MAX; n += 2) {
        struct thread_pool *pool;
        struct rounds rounds = {.n = n};
        assert_int_equal(thread_pool_new(&pool, n, NULL), STATUS_OK);
        assert_int_equal(thread_pool_size(pool), n);
        for (int round = 1; round <= 500; round++) {
            thread_pool_run(pool, work, &rounds);
            assert_int_equal(atomic_load(&rounds.done), n * round);
        }
        for (int i = 0; i < n; i++) {
            assert_int_equal(rounds.calls[i], 500);
        }
        thread_pool_free(pool);
    }
    thread_pool_free(NULL);
}

static void no_memory_is_reported(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct thread_pool *pool;
        struct err err;
        memory_fail_at(nth);
        assert_int_equal(thread_pool_new(&pool, 3, &err), STATUS_NO_MEMORY);
        memory_fail_at(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_work_and_are_waited_for),
        cmocka_unit_test(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
