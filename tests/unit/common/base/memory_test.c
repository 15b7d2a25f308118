/* Allocation, its injected failures, and the arena. */
#include <string.h>

#include "common/base/memory.h"
#include "tests/lib/check.h"

static void new_memory_is_zero(void **state)
{
    (void)state;
    unsigned char *memory = mem_array(100, 7);
    for (size_t i = 0; i < 700; i++) {
        assert_int_equal(memory[i], 0);
    }
    mem_free(memory);
    for (size_t size = 0; size < 300; size += 13) {
        unsigned char *aligned = mem_aligned(size);
        assert_int_equal((uintptr_t)aligned % CACHE_LINE, 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(aligned[i], 0);
        }
        mem_free(aligned);
    }
    mem_free(NULL);
}

static void overflow_is_null(void **state)
{
    (void)state;
    volatile size_t half = SIZE_MAX / 2; /* volatile: the compiler must not see it coming */
    assert_null(mem_array(half, 3));
    assert_null(mem_aligned(SIZE_MAX - 10));
    char *text = mem_text("abc");
    assert_null(mem_resize(text, half, 3));
    assert_string_equal(text, "abc");
    text = mem_resize(text, 10, 1);
    assert_string_equal(text, "abc");
    mem_free(text);
}

static void nth_call_fails_once(void **state)
{
    (void)state;
    memory_fail_at(3);
    void *a = mem_new(1);
    void *b = mem_text("b");
    void *c = mem_aligned(1);
    void *d = mem_array(1, 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    memory_fail_at(1);
    assert_null(mem_resize(d, 2, 1));
    memory_fail_at(1);
    memory_fail_at(0);
    void *e = mem_new(1);
    assert_non_null(e);
    mem_free(a);
    mem_free(b);
    mem_free(d);
    mem_free(e);
}

static void arena_pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena arena;
    assert_int_equal(arena_init(&arena, 1024), STATUS_OK);
    for (int pass = 0; pass < 3; pass++) {
        float *a = arena_take(&arena, 3, sizeof *a);
        double *b = arena_take(&arena, 5, sizeof *b);
        char *c = arena_take(&arena, 0, 1);
        assert_int_equal((uintptr_t)a % CACHE_LINE, 0);
        assert_int_equal((char *)b - (char *)a, 64);
        assert_int_equal(c - (char *)b, 64);
        memset(a, 1, 12);
        memset(b, 2, 40);
        assert_int_equal(arena.used_bytes, 128);
        arena_reset(&arena);
    }
    void *all = arena_take(&arena, 1024, 1); /* exactly full is fine */
    assert_non_null(all);
    assert_int_equal(arena.peak_bytes, 1024);
    arena_fini(&arena);
    arena_fini(&arena);
}

static void arena_without_memory(void **state)
{
    (void)state;
    struct arena arena;
    memory_fail_at(1);
    assert_int_equal(arena_init(&arena, 64), STATUS_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_memory_is_zero),
        cmocka_unit_test(overflow_is_null),
        cmocka_unit_test(nth_call_fails_once),
        cmocka_unit_test(arena_pieces_are_aligned_and_apart),
        cmocka_unit_test(arena_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
