/* Addresses of peers: which can be ones, and what is said of others. */
#include <string.h>

#include "common/rpc/rpc.h"
#include "tests/lib/check.h"

static void what_can_be_reached_passes(void **state)
{
    (void)state;
    static const char *const good[] = {
        "127.0.0.1:5000", "[::1]:5000",       "replay-host:1",      "replay.example.com:65535",
        "unix:/a/b.sock", "unix:///a/b.sock", "unix:relative.sock", "unix-abstract:name",
        "dns:host:5000",  "dns:///host:5000", "ipv4:10.0.0.1:5000", "ipv6:[::1]:5000",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct err err = {0};
        if (rpc_address_check(good[i], &err) != STATUS_OK) {
            fail_msg("%s: %s", good[i], err.text);
        }
    }
}

static void what_cannot_be_reached_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *address, *said;
    } bad[] = {
        {"", "expected HOST:PORT"},
        {"replay-host", "expected HOST:PORT"},
        {"replay-host:", "expected HOST:PORT"},
        {":5000", "expected HOST:PORT"},
        {"a b:5000", "expected HOST:PORT"},
        {"127.0.0.1:99999", "port: expected 1..65535"},
        {"127.0.0.1:0", "port: expected 1..65535"},
        {"127.0.0.1:-5", "port: expected 1..65535"},
        {"127.0.0.1:+5", "port: expected 1..65535"},
        {"127.0.0.1:5000x", "port: expected 1..65535"},
        {"127.0.0.1:99999999999999999999999", "port: expected 1..65535"},
        {"http://127.0.0.1:5000", "no scheme"},
        {"grpc://host:5000", "no scheme"},
        {"::1:5000", "in brackets"},
        {"fe80::1:5000", "in brackets"},
        {"unix:", "expected HOST:PORT"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        assert_int_equal(rpc_address_check(bad[i].address, &err), STATUS_INVALID);
        if (strstr(err.text, bad[i].said) == NULL) {
            fail_msg("%s: said \"%s\", expected \"%s\"", bad[i].address, err.text, bad[i].said);
        }
    }
}

static void a_name_that_does_not_resolve_is_told(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(rpc_address_unreachable("no-such-host.invalid:5000", &err),
                     STATUS_UNAVAILABLE);
    assert_non_null(
        strstr(err.text, "no-such-host.invalid:5000: the host name cannot be resolved"));
    assert_int_equal(rpc_address_unreachable("127.0.0.1:5000", &err), STATUS_UNAVAILABLE);
    assert_string_equal(err.text, "127.0.0.1:5000: not reachable");
    assert_int_equal(rpc_address_unreachable("unix:/a/b.sock", &err), STATUS_UNAVAILABLE);
    assert_string_equal(err.text, "unix:/a/b.sock: not reachable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_reached_passes),
        cmocka_unit_test(what_cannot_be_reached_is_refused_with_the_reason),
        cmocka_unit_test(a_name_that_does_not_resolve_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
