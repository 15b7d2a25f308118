/* The admin page over real sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/admin.h"
#include "common/base/clock.h"
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

static status open_at(struct admin **made, const char *address, bool allow_insecure,
                      const char *port_file, struct err *err)
{
    const struct admin_settings settings = {
        .address = address, .allow_insecure = allow_insecure, .port_file = port_file};
    return admin_open(made, &settings, err);
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

static void assert_host(const char *host, const char *status_line)
{
    char request[512];
    snprintf(request, sizeof request,
             "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    char *answer = http_exchange(admin_address(admin), request);
    if (strncmp(answer, status_line, strlen(status_line)) != 0) {
        fail_msg("%s: %s", host, answer);
    }
    free(answer);
}

/* A web site may let its own name point to this machine; the page must not answer it. */
static void only_own_names_are_answered(void **state)
{
    (void)state;
    char name[300];
    assert_int_equal(gethostname(name, 200), 0);
    assert_host(name, "HTTP/1.1 200");
    strcat(name, ":9090");
    assert_host(name, "HTTP/1.1 200");
    strcpy(strrchr(name, ':'), ".evil.example");
    assert_host(name, "HTTP/1.1 403");
    static const char *const ours[] = {"localhost", "LOCALHOST:80", "127.0.0.1:9", "10.1.2.3",
                                       "[::1]:12345"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        assert_host(ours[i], "HTTP/1.1 200");
    }
    static const char *const others[] = {"evil.example",
                                         "localhost.evil.example",
                                         "localhost2",
                                         "evil.localhost.example:80",
                                         "127.0.0.1.nip.io",
                                         "xlocalhost",
                                         "[evil]"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_host(others[i], "HTTP/1.1 403");
    }
    admin_allow_host(admin, "metrics.internal");
    assert_host("metrics.internal:80", "HTTP/1.1 200");
    assert_host("metrics.internal.evil", "HTTP/1.1 403");
    assert_host("metrics.internalevil", "HTTP/1.1 403");
    char *answer = http_exchange(admin_address(admin), "GET /healthz HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(answer, " 200 OK"));
    free(answer);
}

static int connect_to_admin(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    name.sin_port = htons((uint16_t)atoi(strrchr(admin_address(admin), ':') + 1));
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

static char *large_page(void *arg)
{
    (void)arg;
    char *text = mem_array(8u << 20, 1);
    memset(text, 'x', (8u << 20) - 1);
    return text;
}

/* Clients that send or read a byte now and then fill all connections, and lose them in time. */
static void slow_clients_lose_their_connection(void **state)
{
    (void)state;
    admin_add_page(admin, "/large", "text/plain", large_page, NULL);
    admin_set_request_limit(admin, 1000);
    int fds[64];
    static const char get[] = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (int i = 0; i < 64; i++) {
        fds[i] = connect_to_admin();
        /* Half of them ask and do not read, the others do not come to the end of their request. */
        const size_t size = i % 2 == 0 ? sizeof get - 1 : 20;
        assert_int_equal(write(fds[i], get, size), size);
    }
    const uint64_t begin_ns = clock_now_ns();
    bool answered = false;
    while (!answered && clock_now_ns() - begin_ns < 10 * NS_PER_S) {
        for (int i = 0; i < 64; i++) { /* a little each time, so that none is idle */
            char byte;
            (void)!recv(fds[i], &byte, 1, MSG_DONTWAIT);
            (void)!send(fds[i], "x", (size_t)i % 2, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        char *answer = http_request(admin_address(admin), "GET", "/healthz");
        answered = answer != NULL && strstr(answer, "200 OK") != NULL;
        free(answer);
        clock_sleep_ms(50);
    }
    assert_true(answered);
    for (int i = 0; i < 64; i++) {
        close(fds[i]);
    }
    /* A request that is read takes no harm, and neither does the next one on its connection. */
    admin_set_request_limit(admin, 20000);
    assert_answer("GET", "/large", "HTTP/1.1 200", "xxxx");
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    struct admin *other = NULL;
    struct err err = {0};
    assert_int_equal(open_at(&other, "0.0.0.0:0", false, NULL, &err), STATUS_DENIED);
    assert_non_null(strstr(err.text, "needs admin_tokens_file and tls_cert"));
    assert_non_null(strstr(err.text, "allow_insecure"));
    assert_int_equal(open_at(&other, admin_address(admin), false, NULL, &err), STATUS_EXISTS);
    static const char *const bad[] = {
        "nonsense", ":1", "127.0.0.1:", "127.0.0.1:99999x", "[::1:3", "no.such.host.invalid:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(open_at(&other, bad[i], false, NULL, &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, bad[i]));
    }
    assert_null(other);
    assert_int_equal(open_at(&other, "0.0.0.0:0", true, NULL, &err), STATUS_OK);
    admin_close(other);
}

#define READER   "reader-0123456789abc"
#define OPERATOR "operator-0123456789"
#define WRITER   "writer-0123456789abc"

/* The code with which the page answers to this header. */
static int code_with(struct admin *page, const char *url, const char *header)
{
    char request[8192];
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: localhost\r\n%sConnection: close\r\n\r\n", url, header);
    char *answer = http_exchange(admin_address(page), request);
    assert_non_null(answer);
    const int code = atoi(answer + strlen("HTTP/1.1 "));
    /* Who is asked for a token is told how to show it. */
    assert_int_equal(strstr(answer, "WWW-Authenticate: Basic realm=") != NULL, code == 401);
    assert_int_equal(strstr(answer, "WWW-Authenticate: Bearer realm=") != NULL, code == 401);
    free(answer);
    return code;
}

static void tokens_say_who_may_read(void **state)
{
    (void)state;
    char tokens[2 * SCRATCH_SIZE];
    scratch_path(tokens, scratch_folder, "tokens");
    scratch_write(tokens, READER " read\n" OPERATOR " admin\n" WRITER " insert,sample\n");
    chmod(tokens, 0644);
    struct admin *page = NULL;
    struct err err = {0};
    const struct admin_settings settings = {.address = "", .tokens_file = tokens};
    assert_int_equal(admin_check(&settings, &err), STATUS_DENIED);
    assert_non_null(strstr(err.text, "chmod"));
    assert_int_equal(admin_open(&page, &settings, &err), STATUS_DENIED);
    chmod(tokens, 0600);
    assert_int_equal(admin_check(&settings, &err), STATUS_OK);
    assert_int_equal(admin_open(&page, &settings, &err), STATUS_OK);
    const struct metric *refused =
        metric_counter("hindcast_admin_refused_total", "", "reason=\"token\"");
    const double before = metric_value(refused);
    static const struct {
        const char *header;
        int code;
    } cases[] = {
        {"", 401},
        {"Authorization: Bearer " READER "\r\n", 200},
        {"Authorization: bearer " OPERATOR "\r\n", 200},
        {"Authorization: Bearer " WRITER "\r\n", 403},
        {"Authorization: Bearer " READER "x\r\n", 401},
        {"Authorization: Bearer reader-0123456789ab\r\n", 401},
        {"Authorization: Bearer \r\n", 401},
        {"Authorization: Bearer\r\n", 401},
        {"Authorization: " READER "\r\n", 401},
        {"Authorization: Negotiate " READER "\r\n", 401},
        /* ":TOKEN", "somebody:TOKEN", "TOKEN", "TOKEN:", and what is no base64. */
        {"Authorization: Basic OnJlYWRlci0wMTIzNDU2Nzg5YWJj\r\n", 200},
        {"Authorization: Basic c29tZWJvZHk6cmVhZGVyLTAxMjM0NTY3ODlhYmM=\r\n", 200},
        {"Authorization: Basic cmVhZGVyLTAxMjM0NTY3ODlhYmM=\r\n", 401},
        {"Authorization: Basic cmVhZGVyLTAxMjM0NTY3ODlhYmM6\r\n", 401},
        {"Authorization: Basic \xff\xfe%%%\r\n", 401},
        {"Authorization: Basic\r\n", 401},
    };
    int n_401 = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int code = code_with(page, "/metrics", cases[i].header);
        if (code != cases[i].code) {
            fail_msg("%s: %d, expected %d", cases[i].header, code, cases[i].code);
        }
        n_401 += code == 401;
        /* Pages that are not there are no secret's oracle; probes have no token. */
        assert_int_equal(code_with(page, "/none", cases[i].header), code == 200 ? 404 : code);
        assert_int_equal(code_with(page, "/healthz", cases[i].header), 200);
    }
    assert_int_equal(metric_value(refused) - before, 2 * n_401);
    /* The next request finds the file as it is then. */
    assert_int_equal(unlink(tokens), 0);
    assert_int_equal(code_with(page, "/metrics", cases[1].header),
                     200); /* gone: the old tokens stay */
    scratch_write(tokens, OPERATOR " read\n");
    chmod(tokens, 0600);
    assert_int_equal(code_with(page, "/metrics", cases[1].header), 401);
    assert_int_equal(code_with(page, "/metrics", cases[2].header), 200);
    admin_close(page);
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
        status s = open_at(&other, "", false, file, NULL);
        memory_fail_at(0);
        admin_close(other);
        assert_true(s == STATUS_OK || s == STATUS_NO_MEMORY);
        assert_int_equal(access(file, F_OK), -1);
        other = NULL;
        file_fail_at(nth, ENOSPC);
        s = open_at(&other, "", false, file, NULL);
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
    if (open_at(&admin, "", false, path, &err) != STATUS_OK) {
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
        cmocka_unit_test(only_own_names_are_answered),
        cmocka_unit_test(slow_clients_lose_their_connection),
        cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(tokens_say_who_may_read),
        cmocka_unit_test(opening_survives_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
