/* The admin page over real sockets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/admin.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "tests/lib/check.h"
#include "tests/lib/http.h"
#include "tests/lib/scratch.h"

static char path[2 * SCRATCH_SIZE];
static struct admin *admin;

static void assert_answer(const char *method, const char *page, const char *status_line,
                          const char *content)
{
    char *answer = http_request(admin_address(admin), method, page);
    assert_non_null(answer);
    assert_int_equal(strncmp(answer, status_line, strlen(status_line)), 0);
    assert_non_null(strstr(answer, content));
    free(answer);
}

static char *page_of(void *arg)
{
    return arg == NULL ? NULL : mem_text(arg);
}

static void built_in_pages(void **state)
{
    (void)state;
    metric_add(metric_counter("hindcast_admin_test_total", "T.", NULL), 5);
    assert_answer("GET", "/metrics", "HTTP/1.1 200", "\nhindcast_admin_test_total 5\n");
    assert_answer("GET", "/metrics", "HTTP/1.1 200", "Content-Type: text/plain; version=0.0.4");
    assert_answer("GET", "/metrics.json", "HTTP/1.1 200", "\"hindcast_admin_test_total\":\t5");
    assert_answer("GET", "/metrics?x=y", "HTTP/1.1 200", "hindcast_admin_test_total 5");
    assert_answer("GET", "/healthz", "HTTP/1.1 200", "\r\n\r\nok\n");
    admin_set_serving(admin, false);
    assert_answer("GET", "/healthz", "HTTP/1.1 503", "stopping\n");
    admin_set_serving(admin, true);
}

static void registered_pages(void **state)
{
    (void)state;
    static char body[] = "{\"a\": 1}";
    admin_add_page(admin, "/data", "application/json", page_of, body);
    admin_add_page(admin, "/broken", "text/html", page_of, NULL);
    assert_answer("GET", "/data", "HTTP/1.1 200", "\r\n\r\n{\"a\": 1}");
    assert_answer("GET", "/data", "HTTP/1.1 200", "Content-Type: application/json\r\n");
    assert_answer("GET", "/broken", "HTTP/1.1 500", "could not make");
}

static void everything_else_is_refused(void **state)
{
    (void)state;
    assert_answer("GET", "/", "HTTP/1.1 404", "no such page");
    assert_answer("GET", "/metrics/../../etc/passwd", "HTTP/1.1 404", "no such page");
    assert_answer("POST", "/metrics", "HTTP/1.1 405", "Allow: GET, HEAD");
    assert_answer("DELETE", "/metrics", "HTTP/1.1 405", "only GET and HEAD");
    char *answer = http_request(admin_address(admin), "HEAD", "/healthz");
    assert_non_null(strstr(answer, "Content-Length: 3"));
    assert_null(strstr(answer, "ok\n"));
    free(answer);
    /* Not HTTP at all: an error or a closed connection, and the server goes on. */
    free(http_exchange(admin_address(admin), "\x16\x03\x01 hello\r\n\r\n"));
    assert_answer("GET", "/healthz", "HTTP/1.1 200", "ok");
}

static void address_file_tells_where(void **state)
{
    (void)state;
    char expected[160];
    snprintf(expected, sizeof expected, "%s\n", admin_address(admin));
    char *text = scratch_read(path);
    assert_string_equal(text, expected);
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    free(text);
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    struct admin *other = NULL;
    struct err err = {0};
    assert_int_equal(admin_open(&other, "0.0.0.0:0", false, NULL, &err), STATUS_DENIED);
    assert_non_null(strstr(err.text, "allow_insecure"));
    assert_int_equal(admin_open(&other, admin_address(admin), false, NULL, &err), STATUS_EXISTS);
    static const char *const bad[] = {
        "nonsense", ":1", "127.0.0.1:", "127.0.0.1:99999x", "[::1:3", "no.such.host.invalid:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(admin_open(&other, bad[i], false, NULL, &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, bad[i]));
    }
    assert_null(other);
    assert_int_equal(admin_open(&other, "0.0.0.0:0", true, NULL, &err), STATUS_OK);
    admin_close(other);
}

/* Each allocation and file call that opening makes fails in turn: nothing is left behind. */
static void opening_survives_failures(void **state)
{
    (void)state;
    char file[2 * SCRATCH_SIZE];
    scratch_path(file, scratch_folder, "other.admin");
    for (uint64_t nth = 1; nth <= 8; nth++) {
        struct admin *other = NULL;
        memory_fail_at(nth);
        status s = admin_open(&other, "", false, file, NULL);
        memory_fail_at(0);
        admin_close(other);
        assert_true(s == STATUS_OK || s == STATUS_NO_MEMORY);
        assert_int_equal(access(file, F_OK), -1);
        other = NULL;
        file_fail_at(nth, ENOSPC);
        s = admin_open(&other, "", false, file, NULL);
        file_fail_at(0, 0);
        admin_close(other);
        assert_true(s == STATUS_OK || s == STATUS_FULL);
        assert_int_equal(access(file, F_OK), -1);
    }
    admin_close(NULL);
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "test.admin");
    struct err err = {0};
    if (admin_open(&admin, "", false, path, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    admin_close(admin);
    const bool gone = access(path, F_OK) != 0;
    scratch_remove(scratch_folder);
    return gone ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_pages),
        cmocka_unit_test(registered_pages),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(address_file_tells_where),
        cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(opening_survives_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
