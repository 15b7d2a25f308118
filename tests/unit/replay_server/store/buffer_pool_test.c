/* The buffer pool: bounds, reuse, and word when there is room again. */
#include "replay_server/store/buffer_pool.h"
#include "tests/lib/check.h"

static void count(void *arg)
{
    ++*(int *)arg;
}

static void buffers_are_bounded_and_used_again(void **state)
{
    (void)state;
    struct buffer_pool *pool;
    int freed = 0;
    assert_int_equal(buffer_pool_new(&pool, 4 * 65536, count, &freed), STATUS_OK);
    struct buffer *a = buffer_pool_take(pool, 65536);
    struct buffer *b = buffer_pool_take(pool, 1);
    struct buffer *c = buffer_pool_take(pool, 2 * 65536);
    assert_true(a && b && c);
    assert_int_equal((uintptr_t)a->bytes % 64, 0);
    assert_int_equal(buffer_pool_taken_bytes(pool), 4 * 65536);
    assert_null(buffer_pool_take(pool, 1));
    assert_int_equal(freed, 0);
    buffer_give_back(a);
    assert_int_equal(freed, 1); /* somebody had asked in vain */
    buffer_give_back(b);
    assert_int_equal(freed, 1);
    assert_ptr_equal(buffer_pool_take(pool, 5), b); /* last in, first out */
    assert_ptr_equal(buffer_pool_take(pool, 65536), a);
    buffer_give_back(a);
    buffer_give_back(b);
    buffer_give_back(c);
    /* One of another size finds room where only small ones are free; and one larger than all is
     * granted alone. */
    struct buffer *d = buffer_pool_take(pool, 3 * 65536);
    assert_non_null(d);
    assert_null(buffer_pool_take(pool, 2 * 65536));
    buffer_give_back(d);
    struct buffer *huge = buffer_pool_take(pool, 40 * 65536);
    assert_non_null(huge);
    assert_null(buffer_pool_take(pool, 1));
    buffer_give_back(huge);
    assert_int_equal(buffer_pool_taken_bytes(pool), 0);
    buffer_pool_free(pool);
    buffer_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(buffers_are_bounded_and_used_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
