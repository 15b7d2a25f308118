/* Asking admin pages, with and without TLS and tokens. What a certificate must be made out for is
 * tested in tests/integration/test_admin_tokens.py. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/admin.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/peek.h"
#include "tests/lib/check.h"
#include "tests/lib/echo/certificates.h"
#include "tests/lib/scratch.h"

#define TOKEN   "reader-0123456789abc"
#define WAIT_MS 5000u

static char address_file[2 * SCRATCH_SIZE];

static const char *in_scratch(char path[2 * SCRATCH_SIZE], const char *name)
{
    scratch_path(path, scratch_folder, name);
    return path;
}

static char *page_of(void *arg)
{
    return mem_text(arg);
}

/* A page with /json and /text; its address is in address_file. */
static struct admin *serve(const struct admin_settings *settings)
{
    static char json[] = "{\"state\": \"running\"}", text[] = "running";
    struct admin_settings own = *settings;
    struct admin *admin = NULL;
    struct err err = {0};
    own.port_file = address_file;
    if (admin_open(&admin, &own, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    admin_add_page(admin, "/json", "application/json", page_of, json);
    admin_add_page(admin, "/text", "text/plain", page_of, text);
    return admin;
}

/* Asks, and checks that the text of an error has these words. */
static void assert_peek(const char *page, const struct peek_access *access, status expected,
                        const char *words)
{
    cJSON *json = NULL;
    struct err err = {0};
    const status s = peek_json(&json, address_file, page, access, WAIT_MS, &err);
    if (s != expected || strstr(err.text, words) == NULL) {
        fail_msg("%s: %s \"%s\"", page, status_text(s), err.text);
    }
    if (s == STATUS_OK) {
        const cJSON *state = cJSON_GetObjectItemCaseSensitive(json, "state");
        assert_string_equal(cJSON_GetStringValue(state), "running");
    }
    cJSON_Delete(json);
}

static void a_page_without_tokens(void **state)
{
    (void)state;
    const struct admin_settings settings = {.address = ""};
    const struct peek_access nothing = {0};
    struct admin *admin = serve(&settings);
    assert_peek("/json", &nothing, STATUS_OK, "");
    assert_peek("/text", &nothing, STATUS_INVALID, "/text: the answer is not JSON");
    assert_peek("/none", &nothing, STATUS_INVALID, "/none: the answer is not JSON");
    admin_close(admin);
    assert_peek("/json", &nothing, STATUS_NOT_FOUND, address_file);
    scratch_write(address_file, "127.0.0.1:1\n");
    assert_peek("/json", &nothing, STATUS_UNAVAILABLE, "127.0.0.1:1: no process listens there");
    scratch_write(address_file, "ftp://127.0.0.1:1\n");
    assert_peek("/json", &nothing, STATUS_UNAVAILABLE, "no process listens there");
    scratch_write(address_file, "nonsense\n");
    assert_peek("/json", &nothing, STATUS_INVALID, "expected HOST:PORT");
}

static void a_page_with_tokens_and_tls(void **state)
{
    (void)state;
    char tokens[2 * SCRATCH_SIZE], mine[2 * SCRATCH_SIZE], cert[2 * SCRATCH_SIZE],
        key[2 * SCRATCH_SIZE], ca[2 * SCRATCH_SIZE], other[2 * SCRATCH_SIZE];
    assert_true(certificates_make(scratch_folder));
    scratch_write(in_scratch(tokens, "tokens"), TOKEN " read\n");
    scratch_write(in_scratch(mine, "mine"), TOKEN "\n");
    chmod(tokens, 0600);
    chmod(mine, 0600);
    const struct admin_settings settings = {.address = "0.0.0.0:0",
                                            .tokens_file = tokens,
                                            .tls_cert = in_scratch(cert, "server.pem"),
                                            .tls_key = in_scratch(key, "server.key")};
    struct admin *admin = serve(&settings);
    assert_true(admin_has_tls(admin));
    (void)in_scratch(ca, "ca.pem");
    (void)in_scratch(other, "stranger.pem");
    const struct peek_access access = {.token_file = mine, .tls_ca = ca};
    for (int i = 0; i < 3; i++) {
        assert_peek("/json", &access, STATUS_OK, "");
    }
    assert_peek("/text", &access, STATUS_INVALID, "the answer is not JSON");
    assert_peek("/json", &(struct peek_access){.tls_ca = ca}, STATUS_DENIED, "a token is needed");
    assert_peek("/json", &(struct peek_access){.token_file = mine, .tls_ca = other}, STATUS_DENIED,
                "issuer is unknown");
    assert_peek("/json", &(struct peek_access){.token_file = mine, .tls_ca = mine}, STATUS_DENIED,
                "mine holds no CERTIFICATE");
    assert_peek("/json", &(struct peek_access){.token_file = tokens, .tls_ca = ca}, STATUS_DENIED,
                "is not visible ASCII");
    /* Without TLS the connection is closed. */
    scratch_write(address_file, admin_address(admin));
    assert_peek("/json", &access, STATUS_UNAVAILABLE, "is it https://0.0.0.0:");
    /* A certificate of another key. */
    struct admin_settings wrong = settings;
    struct admin *none = NULL;
    struct err err = {0};
    wrong.tls_key = in_scratch(other, "client.key");
    assert_int_equal(admin_open(&none, &wrong, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "client.key"));
    wrong.tls_key = NULL;
    assert_int_equal(admin_check(&wrong, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "the key is missing"));
    admin_close(admin);
}

/* A socket that is listened on, and nobody accepts: as of a process that is stopped. */
static void a_silent_process_costs_the_timeout(void **state)
{
    (void)state;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    static const char *const schemes[] = {"", "https://"};
    for (size_t i = 0; i < 2; i++) {
        char address[64];
        cJSON *json = NULL;
        struct err err = {0};
        snprintf(address, sizeof address, "%s127.0.0.1:%d", schemes[i], ntohs(name.sin_port));
        const uint64_t begin_ns = clock_now_ns();
        const struct peek_access nothing = {0};
        assert_int_equal(peek_json_at(&json, address, "/json", &nothing, 300, &err),
                         STATUS_TIMEOUT);
        const uint64_t took_ns = clock_now_ns() - begin_ns;
        assert_true(took_ns >= 300 * NS_PER_MS && took_ns < 5 * NS_PER_S);
    }
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(address_file, scratch_folder, "test.admin");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_page_without_tokens, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_page_with_tokens_and_tls, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_silent_process_costs_the_timeout, set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
