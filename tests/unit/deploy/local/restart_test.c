/* When a process is started again: the delays, their ceiling, forgiveness, giving up. */
#include "deploy/local/restart.h"

#include "common/base/clock.h"
#include "tests/lib/check.h"

static void delays_double_up_to_ten_seconds(void **state)
{
    (void)state;
    struct restart restart;
    restart_init(&restart, 7);
    const double expected_s[] = {0.5, 1, 2, 4, 8, 10, 10};
    uint64_t now_ns = 5 * NS_PER_S;
    for (size_t i = 0; i < 7; i++) {
        restart_started(&restart, now_ns);
        now_ns += NS_PER_S;
        uint64_t at_ns = 0;
        assert_true(restart_died(&restart, now_ns, &at_ns));
        assert_int_equal(at_ns - now_ns, (uint64_t)(expected_s[i] * (double)NS_PER_S));
        now_ns = at_ns;
    }
    uint64_t at_ns;
    restart_started(&restart, now_ns);
    assert_false(restart_died(&restart, now_ns + 1, &at_ns));
}

static void a_minute_of_life_is_forgiveness(void **state)
{
    (void)state;
    struct restart restart;
    restart_init(&restart, 1);
    uint64_t now_ns = NS_PER_S;
    for (int i = 0; i < 20; i++) {
        restart_started(&restart, now_ns);
        now_ns += 60 * NS_PER_S;
        uint64_t at_ns = 0;
        assert_true(restart_died(&restart, now_ns, &at_ns));
        assert_int_equal(at_ns - now_ns, NS_PER_S / 2);
        now_ns = at_ns;
    }
    restart_started(&restart, now_ns);
    uint64_t at_ns;
    assert_false(restart_died(&restart, now_ns + 59 * NS_PER_S, &at_ns));
}

static void no_crash_allowed_means_none(void **state)
{
    (void)state;
    struct restart restart;
    restart_init(&restart, 0);
    restart_started(&restart, 1);
    uint64_t at_ns = 0;
    assert_false(restart_died(&restart, 2, &at_ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_up_to_ten_seconds),
        cmocka_unit_test(a_minute_of_life_is_forgiveness),
        cmocka_unit_test(no_crash_allowed_means_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
