/* common/rpc, who may do what: tokens and their roles, TLS in both directions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/lib/check.h"
#include "tests/lib/echo/certificates.h"
#include "tests/lib/echo/echo_pair.h"
#include "tests/lib/scratch.h"

/* ---- Roles ---- */

static unsigned role_of(const char *token, char name[RPC_CALLER_NAME_SIZE], void *arg)
{
    (void)name;
    assert_string_equal(arg, "roles");
    if (token == NULL) {
        return 0;
    }
    return strcmp(token, "reader") == 0   ? ECHO_ROLE_READ
           : strcmp(token, "writer") == 0 ? ECHO_ROLE_READ | ECHO_ROLE_WRITE
                                          : 0;
}

static status sum_once(struct rpc_channel *channel)
{
    struct rpc_call_options options = {.timeout_ms = ECHO_WAIT_MS};
    struct rpc_stream *stream;
    struct err err;
    assert_int_equal(
        rpc_stream_open(&stream, channel, ECHO_SERVICE, "Sum", RPC_CLIENT_STREAM, &options, &err),
        STATUS_OK);
    return rpc_stream_finish(stream, ECHO_WAIT_MS, &err);
}

static void tokens_decide(void **state)
{
    (void)state;
    static const struct {
        const char *token;
        status say, sum;
    } CASES[] = {
        {NULL, STATUS_DENIED, STATUS_DENIED},       {"", STATUS_DENIED, STATUS_DENIED},
        {"stranger", STATUS_DENIED, STATUS_DENIED}, {"reader", STATUS_OK, STATUS_DENIED},
        {"writer", STATUS_OK, STATUS_OK},
    };
    char name[] = "roles";
    struct rpc_server_options options = {.role_of = role_of, .role_arg = name};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct rpc_channel_options shown = {.token = CASES[i].token};
        struct rpc_channel *channel;
        struct err err;
        assert_int_equal(rpc_channel_open(&channel, pair.address, &shown, &err), STATUS_OK);
        int64_t answer;
        assert_int_equal(echo_say(channel, 1, NULL, &answer, &err), CASES[i].say);
        assert_int_equal(sum_once(channel), CASES[i].sum);
        rpc_channel_close(channel);
    }
    struct rpc_server_counts counts;
    rpc_server_counts(pair.server, &counts);
    assert_int_equal(counts.calls_refused, 7);
    assert_int_equal(counts.calls_started, 3);
    struct rpc_channel_options bad = {.token = "two\nlines"};
    struct rpc_channel *channel;
    struct err err;
    assert_int_equal(rpc_channel_open(&channel, pair.address, &bad, &err), STATUS_INVALID);
    echo_pair_close(&pair);
}

/* ---- Callers ---- */

static unsigned two_tokens(const char *token, char name[RPC_CALLER_NAME_SIZE], void *arg)
{
    (void)arg;
    if (token == NULL) {
        return 0;
    }
    strcpy(name, "alice"); /* whatever her token */
    return ECHO_ROLE_READ | ECHO_ROLE_WRITE;
}

static status open_sum(struct rpc_stream **stream, struct rpc_channel *channel)
{
    struct rpc_call_options options = {.timeout_ms = ECHO_WAIT_MS};
    echo_request request = ECHO_REQUEST;
    struct err err;
    status s =
        rpc_stream_open(stream, channel, ECHO_SERVICE, "Sum", RPC_CLIENT_STREAM, &options, &err);
    /* A stream begins with its first message. */
    return s == STATUS_OK ? rpc_stream_send(*stream, &request.base, NULL, ECHO_WAIT_MS) : s;
}

/* One client has so many calls at once, over all of its connections and tokens; when one ends there is
 * room for another. */
static void a_client_has_so_many_calls(void **state)
{
    (void)state;
    for (int tokens = 0; tokens < 2; tokens++) {
        struct rpc_server_options options = {.max_client_calls = 2,
                                             .role_of = tokens ? two_tokens : NULL};
        struct rpc_channel_options shown = {.token = "one"}, other = {.token = "two"};
        struct echo_pair pair;
        struct rpc_channel *channel;
        struct rpc_stream *first, *second;
        struct err err;
        int64_t answer;
        echo_pair_open(&pair, &options, &shown);
        assert_int_equal(rpc_channel_open(&channel, pair.address, &other, &err), STATUS_OK);
        assert_int_equal(open_sum(&first, pair.channel), STATUS_OK);
        assert_int_equal(open_sum(&second, channel), STATUS_OK);
        assert_int_equal(echo_await(&pair.echo.started, 2), 2);
        status s = echo_say(pair.channel, 1, NULL, &answer, &err);
        assert_int_equal(s, STATUS_FULL);
        assert_non_null(
            strstr(err.text, tokens ? "client alice has 2 calls" : "client 127.0.0.1 has"));
        assert_int_equal(echo_say(channel, 1, NULL, &answer, &err), STATUS_FULL);
        struct rpc_server_counts counts;
        rpc_server_counts(pair.server, &counts);
        assert_int_equal(counts.client_calls_refused, 2);
        assert_int_equal(counts.calls_refused, 2);
        (void)!rpc_stream_finish(first, ECHO_WAIT_MS, &err);
        for (int i = 0; i < 500 && s != STATUS_OK; i++) {
            s = echo_say(pair.channel, 1, NULL, &answer, &err);
        }
        assert_int_equal(s, STATUS_OK);
        (void)!rpc_stream_finish(second, ECHO_WAIT_MS, &err);
        rpc_channel_close(channel);
        echo_pair_close(&pair);
    }
}

/* ---- Versions ---- */

static void versions_must_have_one_in_common(void **state)
{
    (void)state;
    static const struct {
        uint32_t oldest, newest; /* of the client; 0: it says nothing */
        status say;
    } CASES[] = {{0, 0, STATUS_OK}, {1, 1, STATUS_MISMATCH}, {1, 2, STATUS_OK},
                 {2, 2, STATUS_OK}, {3, 9, STATUS_OK},       {4, 4, STATUS_MISMATCH}};
    struct rpc_server_options options = {
        .protocol = {.header = "echo-wire", .program = "echo 5.0", .oldest = 2, .newest = 3}};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct rpc_channel_options said = {
            .protocol = {.header = CASES[i].oldest ? "echo-wire" : NULL,
                         .program = "other 6.0",
                         .oldest = CASES[i].oldest,
                         .newest = CASES[i].newest}};
        struct rpc_channel *channel;
        struct err err = {0};
        int64_t answer;
        assert_int_equal(rpc_channel_open(&channel, pair.address, &said, &err), STATUS_OK);
        assert_int_equal(echo_say(channel, 1, NULL, &answer, &err), CASES[i].say);
        if (CASES[i].say != STATUS_OK) {
            assert_non_null(strstr(err.text, "the client (other 6.0) speaks version"));
            assert_non_null(strstr(err.text, "this server (echo 5.0) version 2 to 3"));
        }
        rpc_channel_close(channel);
    }
    echo_pair_close(&pair);
}

/* ---- TLS ---- */

static status say_with(const struct echo_pair *pair, const char *ca, const char *cert,
                       const char *key)
{
    struct rpc_channel_options options = {.tls = {ca, cert, key}};
    struct rpc_channel *channel;
    struct err err;
    status s = rpc_channel_open(&channel, pair->address, &options, &err);
    if (s == STATUS_OK) {
        int64_t answer;
        s = echo_say(channel, 1, NULL, &answer, &err);
        rpc_channel_close(channel);
    }
    return s;
}

static void tls_is_mutual(void **state)
{
    (void)state;
    assert_true(certificates_make(scratch_folder));
    const char *ca = scratch_at("ca.pem");
    const char *cert = scratch_at("server.pem"), *key = scratch_at("server.key");
    const char *client = scratch_at("client.pem"), *client_key = scratch_at("client.key");
    const char *stranger = scratch_at("stranger.pem"), *stranger_key = scratch_at("stranger.key");

    const char *address = "0.0.0.0:0"; /* allowed: it has TLS */
    struct rpc_server_options options = {
        .addresses = &address, .n_addresses = 1, .tls = {ca, cert, key}};
    struct rpc_channel_options shown = {.tls = {ca, client, client_key}};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, &shown);
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 11, NULL, &answer, &err), STATUS_OK);
    assert_int_equal(answer, 11);
    assert_int_equal(say_with(&pair, NULL, NULL, NULL), STATUS_UNAVAILABLE); /* no TLS */
    assert_int_equal(say_with(&pair, ca, NULL, NULL), STATUS_UNAVAILABLE);   /* no certificate */
    assert_int_equal(say_with(&pair, ca, stranger, stranger_key), STATUS_UNAVAILABLE);
    assert_int_equal(say_with(&pair, stranger, client, client_key),
                     STATUS_UNAVAILABLE); /* other CA */
    assert_int_equal(echo_say(pair.channel, 12, NULL, &answer, &err), STATUS_OK);
    echo_pair_close(&pair);
}

/* Another authority, another server certificate, in the same files of a server that runs. */
static void certificates_are_replaced_without_a_restart(void **state)
{
    (void)state;
    assert_true(certificates_make(scratch_folder));
    const char *ca = scratch_at("ca.pem");
    const char *cert = scratch_at("server.pem"), *key = scratch_at("server.key");
    const char *client = scratch_at("client.pem"), *client_key = scratch_at("client.key");
    char command[2048];
    snprintf(command, sizeof command, "cd %s && mkdir -p old && cp -p *.pem *.key old/",
             scratch_folder);
    assert_int_equal(system(command), 0);
    const char *address = "127.0.0.1:0";
    struct rpc_server_options options = {
        .addresses = &address, .n_addresses = 1, .tls = {ca, cert, key}};
    struct rpc_channel_options shown = {.tls = {ca, client, client_key}};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, &shown);
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_OK);
    assert_true(certificates_make(scratch_folder));
    assert_int_equal(say_with(&pair, ca, client, client_key), STATUS_OK);
    const char *old_ca = scratch_at("old/ca.pem");
    const char *old = scratch_at("old/client.pem"), *old_key = scratch_at("old/client.key");
    assert_int_equal(say_with(&pair, old_ca, old, old_key), STATUS_UNAVAILABLE);
    assert_int_equal(say_with(&pair, ca, old, old_key), STATUS_UNAVAILABLE);
    /* The connection that was open stays. */
    assert_int_equal(echo_say(pair.channel, 2, NULL, &answer, &err), STATUS_OK);
    /* What cannot be used is not: junk, or the key of another certificate. */
    snprintf(command, sizeof command, "cd %s && cp server.pem whole.pem && echo junk > server.pem",
             scratch_folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(say_with(&pair, ca, client, client_key), STATUS_OK);
    snprintf(command, sizeof command, "cd %s && cp old/server.pem server.pem", scratch_folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(say_with(&pair, ca, client, client_key), STATUS_OK);
    snprintf(command, sizeof command, "cd %s && cp whole.pem server.pem", scratch_folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(say_with(&pair, ca, client, client_key), STATUS_OK);
    echo_pair_close(&pair);
}

/* A key that others may read or write is refused, by servers and clients. */
static void keys_must_be_private(void **state)
{
    (void)state;
    static const mode_t BAD[] = {0604, 0620, 0602, 0666};
    char *key = scratch_at("server.key");
    struct rpc_tls tls = {.cert = scratch_at("server.pem"), .key = key};
    const char *address = "127.0.0.1:0";
    struct rpc_server_options options = {.addresses = &address, .n_addresses = 1, .tls = tls};
    struct rpc_channel_options shown = {.tls = tls};
    struct rpc_server *server;
    struct rpc_channel *channel;
    struct err err;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(chmod(key, BAD[i]), 0);
        assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_DENIED);
        assert_non_null(strstr(err.text, "server.key"));
        assert_non_null(strstr(err.text, "chmod"));
        assert_int_equal(rpc_channel_open(&channel, "localhost:1", &shown, &err), STATUS_DENIED);
    }
    assert_int_equal(chmod(key, 0640), 0);
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_OK);
    rpc_server_close(server, 0);
    assert_int_equal(chmod(key, 0600), 0);
}

static void expiry_is_read(void **state)
{
    (void)state;
    struct err err;
    int64_t expires_s = 0;
    assert_int_equal(rpc_tls_expiry(scratch_at("server.pem"), &expires_s, &err), STATUS_OK);
    assert_in_range(expires_s - time(NULL), 86400, 2 * 86400); /* made for two days */
    /* Of a chain, the one that expires first. */
    char command[4096];
    snprintf(command, sizeof command,
             "cd %s && openssl req -x509 -key ca.key -subj /CN=long -days 400 -out long.pem && "
             "cat long.pem server.pem > chain.pem",
             scratch_folder);
    assert_int_equal(system(command), 0);
    int64_t chain_s = 0;
    assert_int_equal(rpc_tls_expiry(scratch_at("chain.pem"), &chain_s, &err), STATUS_OK);
    assert_int_equal(chain_s, expires_s);
    assert_int_equal(rpc_tls_expiry(scratch_at("server.key"), &expires_s, &err), STATUS_INVALID);
    assert_int_equal(rpc_tls_expiry("/no/such.pem", &expires_s, &err), STATUS_NOT_FOUND);
    scratch_write(scratch_at("cut.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n");
    assert_int_equal(rpc_tls_expiry(scratch_at("cut.pem"), &expires_s, &err), STATUS_INVALID);
}

static void tls_files_are_checked(void **state)
{
    (void)state;
    struct err err;
    char *nowhere = scratch_at("nowhere.pem");
    struct rpc_server_options options = {.tls = {.cert = nowhere, .key = nowhere}};
    const char *address = "127.0.0.1:0";
    options.addresses = &address;
    options.n_addresses = 1;
    struct rpc_server *server;
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "nowhere.pem"));
    options.tls = (struct rpc_tls){.cert = nowhere};
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_INVALID);
    options.tls = (struct rpc_tls){.ca = scratch_at("ca.pem")};
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_INVALID);
    FILE *file = fopen(scratch_at("junk.pem"), "w");
    assert_non_null(file);
    fputs("junk\n", file);
    fclose(file);
    chmod(scratch_at("junk.pem"), 0600);
    options.tls = (struct rpc_tls){.cert = scratch_at("junk.pem"), .key = scratch_at("junk.pem")};
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "junk.pem"));
    options.tls = (struct rpc_tls){.cert = scratch_at("ca.pem"), .key = scratch_at("client.key")};
    assert_int_not_equal(rpc_server_open(&server, &options, &err),
                         STATUS_OK); /* do not belong together */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_decide),
        cmocka_unit_test(a_client_has_so_many_calls),
        cmocka_unit_test(versions_must_have_one_in_common),
        cmocka_unit_test(tls_is_mutual),
        cmocka_unit_test(certificates_are_replaced_without_a_restart),
        cmocka_unit_test(keys_must_be_private),
        cmocka_unit_test(expiry_is_read),
        cmocka_unit_test(tls_files_are_checked),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
