/* The queue: order, bounds, waiting, closing, wake-ups, many threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/queue.h"
#include "tests/lib/check.h"

static void first_in_first_out_and_bounded(void **state)
{
    (void)state;
    int items[10];
    struct queue *queue = NULL;
    assert_int_equal(queue_new(&queue, 3), STATUS_OK);
    for (int round = 0; round < 5; round++) { /* the ring wraps */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(queue_try_push(queue, &items[i]), STATUS_OK);
        }
        assert_int_equal(queue_length(queue), 3);
        assert_int_equal(queue_try_push(queue, &items[3]), STATUS_QUEUE_FULL);
        assert_ptr_equal(queue_try_pop(queue), &items[0]);
        assert_int_equal(queue_try_push(queue, &items[3]), STATUS_OK);
        for (int i = 1; i < 4; i++) {
            void *item = NULL;
            assert_int_equal(queue_pop(queue, &item, 0), STATUS_OK);
            assert_ptr_equal(item, &items[i]);
        }
        assert_null(queue_try_pop(queue));
    }
    queue_free(queue, NULL);
    queue_free(NULL, NULL);
}

static void waits_end_at_the_deadline(void **state)
{
    (void)state;
    int item = 0;
    void *out = NULL;
    struct queue *queue = NULL;
    assert_int_equal(queue_new(&queue, 1), STATUS_OK);
    uint64_t start_ns = clock_now_ns();
    assert_int_equal(queue_pop(queue, &out, 30), STATUS_TIMEOUT);
    assert_true(clock_now_ns() - start_ns >= 30 * NS_PER_MS);
    assert_null(out);
    assert_int_equal(queue_push(queue, &item, 30), STATUS_OK);
    start_ns = clock_now_ns();
    assert_int_equal(queue_push(queue, &item, 30), STATUS_TIMEOUT);
    assert_true(clock_now_ns() - start_ns >= 30 * NS_PER_MS);
    assert_int_equal(queue_length(queue), 1);
    assert_ptr_equal(queue_try_pop(queue), &item);
    queue_free(queue, NULL);
}

static void closed_gives_what_is_left(void **state)
{
    (void)state;
    int item = 0;
    void *out = NULL;
    struct queue *queue = NULL;
    assert_int_equal(queue_new(&queue, 4), STATUS_OK);
    assert_int_equal(queue_try_push(queue, &item), STATUS_OK);
    queue_close(queue);
    queue_close(queue);
    assert_int_equal(queue_try_push(queue, &item), STATUS_CLOSED);
    assert_int_equal(queue_push(queue, &item, UINT64_MAX), STATUS_CLOSED);
    assert_int_equal(queue_pop(queue, &out, UINT64_MAX), STATUS_OK);
    assert_ptr_equal(out, &item);
    assert_int_equal(queue_pop(queue, &out, UINT64_MAX), STATUS_CLOSED);
    queue_free(queue, NULL);
}

static void *pop_for_ever(void *arg)
{
    void *item = NULL;
    const status s = queue_pop(arg, &item, UINT64_MAX);
    return s == STATUS_CLOSED ? arg : NULL;
}

static void close_wakes_who_waits(void **state)
{
    (void)state;
    struct queue *queue = NULL;
    assert_int_equal(queue_new(&queue, 4), STATUS_OK);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, pop_for_ever, queue), 0);
    }
    clock_sleep_ms(20);
    queue_close(queue);
    for (int i = 0; i < 3; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, queue);
    }
    queue_free(queue, NULL);
}

static void count_wake(void *arg)
{
    ++*(int *)arg;
}

static void wakes_only_when_it_was_empty(void **state)
{
    (void)state;
    int wakes = 0;
    struct queue *queue = NULL;
    assert_int_equal(queue_new(&queue, 4), STATUS_OK);
    queue_set_wake(queue, count_wake, &wakes);
    assert_int_equal(queue_try_push(queue, &wakes), STATUS_OK);
    assert_int_equal(queue_push(queue, &wakes, 0), STATUS_OK);
    assert_int_equal(wakes, 1);
    (void)queue_try_pop(queue);
    assert_int_equal(queue_try_push(queue, &wakes), STATUS_OK);
    assert_int_equal(wakes, 1);
    (void)queue_try_pop(queue);
    (void)queue_try_pop(queue);
    assert_int_equal(queue_try_push(queue, &wakes), STATUS_OK);
    assert_int_equal(wakes, 2);
    (void)queue_try_pop(queue);
    queue_free(queue, NULL);
}

static void free_gives_back_what_is_left(void **state)
{
    (void)state;
    struct queue *queue = NULL;
    assert_int_equal(queue_new(&queue, 4), STATUS_OK);
    assert_int_equal(queue_try_push(queue, malloc(1)), STATUS_OK);
    assert_int_equal(queue_try_push(queue, malloc(1)), STATUS_OK);
    queue_free(queue, free); /* the sanitizer counts */
}

static void without_memory(void **state)
{
    (void)state;
    struct queue *queue = NULL;
    memory_fail_at(1);
    assert_int_equal(queue_new(&queue, 4), STATUS_NO_MEMORY);
    assert_null(queue);
}

/* ---- many threads: each number pushed is popped once, and each producer's numbers in order ----
 */

enum { PRODUCERS = 4, CONSUMERS = 3, EACH = 20000 };

struct crowd {
    struct queue *queue;
    _Atomic uint64_t sum;
    _Atomic uint64_t count;
    atomic_bool out_of_order;
};

struct producer {
    struct crowd *crowd;
    uint64_t id;
};

static void *produce(void *arg)
{
    const struct producer *me = arg;
    for (uint64_t i = 1; i <= EACH; i++) {
        const uint64_t number = me->id << 32 | i;
        if (queue_push(me->crowd->queue, (void *)(uintptr_t)number, 10000) != STATUS_OK) {
            return arg;
        }
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t last[PRODUCERS] = {0};
    void *item = NULL;
    while (queue_pop(crowd->queue, &item, 10000) == STATUS_OK) {
        const uint64_t number = (uint64_t)(uintptr_t)item;
        const uint64_t id = number >> 32, i = number & 0xffffffffu;
        if (i <= last[id]) {
            atomic_store(&crowd->out_of_order, true);
        }
        last[id] = i;
        atomic_fetch_add(&crowd->sum, i);
        atomic_fetch_add(&crowd->count, 1);
    }
    return NULL;
}

static void many_threads_lose_nothing(void **state)
{
    (void)state;
    struct crowd crowd = {0};
    assert_int_equal(queue_new(&crowd.queue, 16), STATUS_OK);
    pthread_t producers[PRODUCERS], consumers[CONSUMERS];
    struct producer each[PRODUCERS];
    for (uint64_t i = 0; i < PRODUCERS; i++) {
        each[i] = (struct producer){&crowd, i};
        assert_int_equal(pthread_create(&producers[i], NULL, produce, &each[i]), 0);
    }
    for (int i = 0; i < CONSUMERS; i++) {
        assert_int_equal(pthread_create(&consumers[i], NULL, consume, &crowd), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        void *failed = NULL;
        pthread_join(producers[i], &failed);
        assert_null(failed);
    }
    queue_close(crowd.queue);
    for (int i = 0; i < CONSUMERS; i++) {
        pthread_join(consumers[i], NULL);
    }
    assert_int_equal(crowd.count, PRODUCERS * EACH);
    assert_int_equal(crowd.sum, (uint64_t)PRODUCERS * EACH * (EACH + 1) / 2);
    assert_false(crowd.out_of_order);
    queue_free(crowd.queue, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out_and_bounded),
        cmocka_unit_test(waits_end_at_the_deadline),
        cmocka_unit_test(closed_gives_what_is_left),
        cmocka_unit_test(close_wakes_who_waits),
        cmocka_unit_test(wakes_only_when_it_was_empty),
        cmocka_unit_test(free_gives_back_what_is_left),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(many_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
