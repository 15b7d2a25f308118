/* The endpoint as processes use it: options, socket folders, tokens, limits, health, metrics. */
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/service/endpoint.h"
#include "tests/lib/check.h"
#include "tests/lib/echo/echo_pair.h"
#include "tests/lib/scratch.h"

struct role_options {
    int64_t other;
    struct endpoint_options endpoint;
};
#define ENDPOINT_AT(member) offsetof(struct role_options, endpoint.member)
static const struct config_option table[] = {
    {"other", CONFIG_INT, offsetof(struct role_options, other), "", "3", 0, 0, NULL, "another"},
    ENDPOINT_OPTIONS(ENDPOINT_AT, "insert, admin", "250"),
};

static struct experiment experiment;
static struct role_options options;
static struct echo echo;
static char address[2 * SCRATCH_SIZE];

/* Reads options as a process does; the flags end with NULL. */
static void load(const char *flag, const char *second)
{
    const struct config_section section = {.name = "role",
                                           .options = table,
                                           .n_options = sizeof table / sizeof table[0],
                                           .values = &options};
    char *argv[] = {(char *)"test", (char *)flag, (char *)second, NULL};
    const int argc = 1 + (flag != NULL) + (second != NULL);
    bool done;
    struct err err;
    if (config_load(&section, 1, "test", argc, argv, &done, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static status open_endpoint(struct endpoint **endpoint, const char *where, struct err *err)
{
    const struct endpoint_settings settings = {.experiment = &experiment,
                                               .options = &options.endpoint,
                                               .addresses = &where,
                                               .n_addresses = 1,
                                               .max_message_bytes = 1u << 20,
                                               .metrics_prefix = "hindcast_test_"};
    return endpoint_open(endpoint, &settings, err);
}

static struct endpoint *serve_echo(void)
{
    struct endpoint *endpoint = NULL;
    struct err err;
    if (open_endpoint(&endpoint, address, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(echo_add(&echo, endpoint_server(endpoint), &err), STATUS_OK);
    assert_int_equal(endpoint_start(endpoint, &err), STATUS_OK);
    return endpoint;
}

static void stop_echo(struct endpoint *endpoint)
{
    endpoint_close(endpoint);
    echo_fini(&echo);
}

static status say_with(const char *token)
{
    const struct rpc_channel_options shown = {.token = token};
    struct rpc_channel *channel;
    struct err err;
    int64_t answer;
    assert_int_equal(rpc_channel_open(&channel, address, &shown, &err), STATUS_OK);
    const status s = echo_say(channel, 1, NULL, &answer, &err);
    rpc_channel_close(channel);
    return s;
}

static double metric_shown(const char *name)
{
    char *page = metrics_prometheus();
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(page, line);
    double value = -1;
    assert_true(at != NULL && sscanf(at + strlen(line), "%lf", &value) == 1);
    mem_free(page);
    return value;
}

static int set_up(void **state)
{
    (void)state;
    memset(&experiment, 0, sizeof experiment);
    scratch_make(scratch_folder);
    snprintf(address, sizeof address, "unix:%s/a/b/echo.sock", scratch_folder);
    return 0;
}

static void options_are_the_roles_own(void **state)
{
    (void)state;
    load(NULL, NULL);
    assert_int_equal(options.other, 3);
    assert_string_equal(options.endpoint.tokens_file, "");
    assert_int_equal(options.endpoint.max_calls, 1024);
    assert_int_equal(options.endpoint.max_connections, 1024);
    assert_int_equal(options.endpoint.max_host_connections, 0);
    assert_int_equal(options.endpoint.max_connection_bytes, 2ll << 30);
    assert_int_equal(options.endpoint.idle_connection_seconds, 300);
    assert_int_equal(options.endpoint.grace_ms, 250);
    load("--max_calls=7", "--grace_ms=1");
    assert_int_equal(options.endpoint.max_calls, 7);
    assert_int_equal(options.endpoint.grace_ms, 1);
}

static void serves_at_a_socket_whose_folder_it_makes(void **state)
{
    (void)state;
    load(NULL, NULL);
    struct endpoint *endpoint = serve_echo();
    assert_int_equal(say_with(NULL), STATUS_OK);
    assert_int_equal(rpc_server_port(endpoint_server(endpoint), 0), 0);
    stop_echo(endpoint);
}

static void tokens_have_roles(void **state)
{
    (void)state;
    char flag[3 * SCRATCH_SIZE];
    char *tokens = scratch_at("tokens");
    snprintf(flag, sizeof flag, "--tokens_file=%s", tokens);
    load(flag, NULL);
    struct endpoint *endpoint = NULL;
    struct err err;
    assert_int_equal(open_endpoint(&endpoint, address, &err), STATUS_NOT_FOUND);
    scratch_write(tokens, "inserter-inserter insert\nadmin-admin-admin admin\n");
    chmod(tokens, 0644);
    assert_int_equal(open_endpoint(&endpoint, address, &err), STATUS_DENIED);
    chmod(tokens, 0600);
    endpoint = serve_echo();
    /* Say is for role bits 1 and 2. */
    assert_int_equal(say_with("inserter-inserter"), STATUS_OK);
    assert_int_equal(say_with("admin-admin-admin"), STATUS_DENIED);
    assert_int_equal(say_with("someone-else-entirely"), STATUS_DENIED);
    assert_int_equal(say_with(NULL), STATUS_DENIED);
    stop_echo(endpoint);
}

static void addresses_beyond_this_machine_need_tls(void **state)
{
    (void)state;
    load(NULL, NULL);
    struct endpoint *endpoint = NULL;
    struct err err;
    assert_int_equal(open_endpoint(&endpoint, "0.0.0.0:0", &err), STATUS_DENIED);
    assert_non_null(strstr(err.text, "0.0.0.0:0"));
    experiment.allow_insecure = true;
    assert_int_equal(open_endpoint(&endpoint, "0.0.0.0:0", &err), STATUS_OK);
    assert_true(rpc_server_port(endpoint_server(endpoint), 0) > 0);
    endpoint_close(endpoint);
    strcpy(experiment.tls_cert, "/no/such.pem");
    strcpy(experiment.tls_key, "/no/such.key");
    assert_int_equal(open_endpoint(&endpoint, "0.0.0.0:0", &err), STATUS_NOT_FOUND);
    endpoint_close(NULL);
}

/* A certificate of our own, valid until `left_s` from now. */
static void write_certificate(const char *cert, const char *key, long left_s)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *made = X509_new();
    assert_non_null(pair);
    assert_non_null(made);
    X509_gmtime_adj(X509_getm_notBefore(made), left_s - 86400);
    X509_gmtime_adj(X509_getm_notAfter(made), left_s);
    X509_set_pubkey(made, pair);
    assert_true(X509_sign(made, pair, EVP_sha256()) > 0);
    FILE *file = fopen(cert, "w");
    assert_int_equal(PEM_write_X509(file, made), 1);
    fclose(file);
    file = fopen(key, "w");
    fchmod(fileno(file), 0600);
    assert_int_equal(PEM_write_PrivateKey(file, pair, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(made);
    EVP_PKEY_free(pair);
}

/* An expired certificate is told in the log and in the metrics. */
static void an_expired_certificate_is_told(void **state)
{
    (void)state;
    load(NULL, NULL);
    write_certificate(scratch_at("old.pem"), scratch_at("old.key"), -3600);
    snprintf(experiment.tls_cert, sizeof experiment.tls_cert, "%s", scratch_at("old.pem"));
    snprintf(experiment.tls_key, sizeof experiment.tls_key, "%s", scratch_at("old.key"));
    char *log = scratch_at("log");
    fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    const int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    struct endpoint *endpoint = NULL;
    struct err err;
    const status s = open_endpoint(&endpoint, "127.0.0.1:0", &err);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fd);
    assert_int_equal(s, STATUS_OK);
    char *text = scratch_read(log);
    assert_non_null(strstr(text, "the certificate has expired, clients will refuse it"));
    assert_non_null(strstr(text, "old.pem"));
    free(text);
    const double expiry = metric_shown("hindcast_test_certificate_expiry_timestamp_seconds");
    assert_true(expiry > 1e9 && expiry < (double)time(NULL));
    endpoint_close(endpoint);
    memset(&experiment, 0, sizeof experiment);
    load(NULL, NULL);
    assert_int_equal(open_endpoint(&endpoint, "127.0.0.1:0", &err), STATUS_OK);
    assert_true(metric_shown("hindcast_test_certificate_expiry_timestamp_seconds") == 0);
    endpoint_close(endpoint);
}

static void metrics_count_calls_of_all_endpoints(void **state)
{
    (void)state;
    load(NULL, NULL);
    double before = -1;
    for (int round = 0; round < 2; round++) {
        struct endpoint *endpoint = serve_echo();
        if (before < 0) {
            before = metric_shown("hindcast_test_bytes_in_total");
        }
        for (int i = 0; i < 3; i++) {
            assert_int_equal(say_with(NULL), STATUS_OK);
        }
        assert_true(metric_shown("hindcast_test_call_thread_lag_seconds") >= 0);
        stop_echo(endpoint);
    }
    /* Six messages of the same few bytes; a closed endpoint's counts stay. */
    const double grown = metric_shown("hindcast_test_bytes_in_total") - before;
    assert_true(grown > 0 && (long)grown % 6 == 0);
    assert_true(metric_shown("hindcast_test_bytes_out_total") > 0);
    assert_true(metric_shown("hindcast_test_calls_active") == 0);
}

/* Without its socket file a server is reached by no new client. */
static void a_removed_socket_is_noticed(void **state)
{
    (void)state;
    load(NULL, NULL);
    struct endpoint *endpoint = serve_echo();
    struct err err = {0};
    assert_int_equal(endpoint_check_sockets(endpoint, &err), STATUS_OK);
    const char *path = address + strlen("unix:");
    char aside[3 * SCRATCH_SIZE];
    snprintf(aside, sizeof aside, "%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(endpoint_check_sockets(endpoint, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    /* Another file of that name is not it. */
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(endpoint_check_sockets(endpoint, &err), STATUS_NOT_FOUND);
    assert_int_equal(rename(aside, path), 0);
    assert_int_equal(endpoint_check_sockets(endpoint, &err), STATUS_OK);
    stop_echo(endpoint);
    /* TCP has no file. */
    assert_int_equal(open_endpoint(&endpoint, "127.0.0.1:0", &err), STATUS_OK);
    assert_int_equal(endpoint_check_sockets(endpoint, &err), STATUS_OK);
    endpoint_close(endpoint);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scratch_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_removed_socket_is_noticed),
        TEST(options_are_the_roles_own),
        TEST(serves_at_a_socket_whose_folder_it_makes),
        TEST(tokens_have_roles),
        TEST(addresses_beyond_this_machine_need_tls),
        TEST(an_expired_certificate_is_told),
        TEST(metrics_count_calls_of_all_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
