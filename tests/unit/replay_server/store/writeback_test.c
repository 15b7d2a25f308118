/* Writeback: the kernel is asked between begin and end, again and again, and at no other time. */
#include "replay_server/store/writeback.h"

#include <fcntl.h>
#include <stdatomic.h>

#include "common/base/clock.h"
#include "tests/lib/check.h"

#define FD         4711
#define PATIENCE_S 10

static atomic_int requests;

/* In the place of the C library's. */
int sync_file_range(int fd, __off64_t offset, __off64_t size, unsigned flags)
{
    /* All of the file, and without waiting for the disk. */
    if (fd == FD && offset == 0 && size == 0 && flags == SYNC_FILE_RANGE_WRITE) {
        atomic_fetch_add(&requests, 1);
    }
    return 0;
}

/* Waits until so many more have been made. */
static void await_requests(int n)
{
    const int before = atomic_load(&requests);
    const uint64_t start_ns = clock_now_ns();
    while (atomic_load(&requests) < before + n) {
        assert_true(clock_now_ns() - start_ns < PATIENCE_S * NS_PER_S);
        clock_sleep_ms(1);
    }
}

/* At most one, which may have been under way, is made in the next while. */
static void expect_rest(void)
{
    const int before = atomic_load(&requests);
    clock_sleep_ms(30);
    assert_in_range(atomic_load(&requests), before, before + 1);
    const int settled = atomic_load(&requests);
    clock_sleep_ms(30);
    assert_int_equal(atomic_load(&requests), settled);
}

static void the_disk_is_started_during_a_commit_only(void **state)
{
    (void)state;
    struct err err;
    struct writeback *writeback;
    assert_int_equal(writeback_open(&writeback, FD, &err), STATUS_OK);
    expect_rest();
    for (int commit = 0; commit < 3; commit++) {
        writeback_begin(writeback);
        await_requests(3);
        writeback_end(writeback);
        expect_rest();
    }
    writeback_close(writeback);
}

/* Commits that are over at once, and a close in the middle of one. */
static void short_commits_and_an_early_end(void **state)
{
    (void)state;
    struct err err;
    struct writeback *writeback;
    assert_int_equal(writeback_open(&writeback, FD, &err), STATUS_OK);
    for (int commit = 0; commit < 10000; commit++) {
        writeback_begin(writeback);
        writeback_end(writeback);
    }
    writeback_begin(writeback);
    writeback_close(writeback);
    expect_rest();
    writeback_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_disk_is_started_during_a_commit_only),
        cmocka_unit_test(short_commits_and_an_early_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
