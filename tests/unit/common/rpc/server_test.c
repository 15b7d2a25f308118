/* common/rpc, the server's life: addresses, health, limits, posts, timers, restart, close. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "common/rpc/health.pb-c.h"
#include "tests/lib/check.h"
#include "tests/lib/echo/echo_pair.h"
#include "tests/lib/scratch.h"

static uint64_t ms_since(uint64_t begin_ns)
{
    return (clock_now_ns() - begin_ns) / NS_PER_MS;
}

static status try_open(const char *address, struct rpc_server_options options, struct err *err)
{
    options.addresses = &address;
    options.n_addresses = 1;
    struct rpc_server *server;
    status s = rpc_server_open(&server, &options, err);
    if (s == STATUS_OK) {
        rpc_server_close(server, 0);
    } else {
        assert_non_null(strstr(err->text, address)); /* errors name it */
    }
    return s;
}

/* ---- Addresses ---- */

static void a_taken_port_is_an_error(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", rpc_server_port(pair.server, 0));
    struct err err;
    assert_int_equal(try_open(address, (struct rpc_server_options){0}, &err), STATUS_EXISTS);
    echo_pair_close(&pair);
    assert_int_equal(try_open(address, (struct rpc_server_options){0}, &err), STATUS_OK);
}

static void bad_addresses_are_errors(void **state)
{
    (void)state;
    struct err err;
    struct rpc_server_options options = {.allow_insecure = true};
    assert_int_equal(try_open("nonsense", options, &err), STATUS_INVALID);
    assert_int_equal(try_open("127.0.0.1:", options, &err), STATUS_INVALID);
    assert_int_equal(try_open("127.0.0.1:99999", options, &err), STATUS_INVALID);
    assert_int_not_equal(try_open("192.0.2.1:5", options, &err),
                         STATUS_OK); /* not of this machine */
    assert_int_not_equal(try_open("unix:/nonexistent/folder/x.sock", options, &err), STATUS_OK);
    char path[200];
    memset(path, 'x', sizeof path);
    memcpy(path, "unix:", 5);
    path[sizeof path - 1] = '\0';
    assert_int_equal(try_open(path, options, &err), STATUS_INVALID);
}

static void open_addresses_need_tls_or_a_word(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(try_open("0.0.0.0:0", (struct rpc_server_options){0}, &err), STATUS_DENIED);
    assert_int_equal(
        try_open("0.0.0.0:0", (struct rpc_server_options){.allow_insecure = true}, &err),
        STATUS_OK);
}

static void unix_sockets_serve_and_leave_nothing(void **state)
{
    (void)state;
    char address[160];
    snprintf(address, sizeof address, "unix:%s", scratch_at("serve.sock"));
    const char *addresses[] = {address, "127.0.0.1:0"};
    struct rpc_server_options options = {.addresses = addresses, .n_addresses = 2};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, NULL);
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 9, NULL, &answer, &err), STATUS_OK);
    assert_int_equal(answer, 9);
    assert_true(rpc_server_port(pair.server, 1) > 0);

    /* A second server may not push the first one aside. */
    assert_int_equal(try_open(address, (struct rpc_server_options){0}, &err), STATUS_EXISTS);
    assert_int_equal(echo_say(pair.channel, 10, NULL, &answer, &err), STATUS_OK);
    echo_pair_close(&pair);
    struct stat info;
    assert_int_not_equal(stat(address + 5, &info), 0);
}

/* gRPC reads addresses as URIs; whatever a folder is called, both sides must mean the same file. */
static void any_folder_name_will_do(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"lr=0.1,seed=2", "a%41b",    "take#2",   "why?",
                                        "two words",     "100%",     "%zz",      "a:b@c",
                                        "[x]",           "\xc3\xa9", "\xff\xfe", "a\\b\"c&d+e;f"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char folder[120], address[160];
        snprintf(folder, sizeof folder, "%s", scratch_at(NAMES[i]));
        assert_int_equal(mkdir(folder, 0700), 0);
        snprintf(address, sizeof address, "unix:%s/s", folder);
        const char *addresses[] = {address};
        struct rpc_server_options options = {.addresses = addresses, .n_addresses = 1};
        struct echo_pair pair;
        echo_pair_open(&pair, &options, NULL);
        struct err err;
        int64_t answer;
        if (echo_say(pair.channel, 5, NULL, &answer, &err) != STATUS_OK) {
            fail_msg("%s: %s", NAMES[i], err.text);
        }
        assert_int_equal(access(address + 5, F_OK), 0);
        /* Nobody takes it for free while it is in use. */
        if (utf8_is_text(address)) { /* an error shows other bytes as '?' */
            assert_int_equal(try_open(address, (struct rpc_server_options){0}, &err),
                             STATUS_EXISTS);
        }
        echo_pair_close(&pair);
    }
    /* Longer than a socket's path may be. */
    char deep[300] = "";
    size_t used = (size_t)snprintf(deep, sizeof deep, "%s/", scratch_at("deep"));
    memset(deep + used, 'd', 150);
    deep[used + 150] = '\0';
    mkdir(scratch_at("deep"), 0700);
    assert_int_equal(mkdir(deep, 0700), 0);
    char long_address[400];
    snprintf(long_address, sizeof long_address, "unix:%s/s", deep);
    const char *addresses[] = {long_address};
    struct rpc_server_options options = {.addresses = addresses, .n_addresses = 1};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, NULL);
    int64_t answer;
    struct err err;
    assert_int_equal(echo_say(pair.channel, 5, NULL, &answer, &err), STATUS_OK);
    assert_int_equal(access(long_address + 5, F_OK), 0);
    echo_pair_close(&pair);
    assert_int_equal(access(long_address + 5, F_OK), -1);
    /* What cannot be an address is told when the channel is opened, not when it never connects. */
    static const char *const BAD[] = {"unix:", "nonsense", "127.0.0.1:99999", "host:port"};
    struct rpc_channel *channel;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(rpc_channel_open(&channel, BAD[i], NULL, &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, BAD[i]));
    }
}

static void stale_sockets_are_replaced_other_files_are_not(void **state)
{
    (void)state;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", scratch_at("stale.sock"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    close(fd); /* as after kill -9 */
    char address[160];
    struct err err;
    snprintf(address, sizeof address, "unix:%s", name.sun_path);
    assert_int_equal(try_open(address, (struct rpc_server_options){0}, &err), STATUS_OK);

    FILE *file = fopen(scratch_at("precious"), "w");
    assert_non_null(file);
    fclose(file);
    snprintf(address, sizeof address, "unix:%s", scratch_at("precious"));
    assert_int_equal(try_open(address, (struct rpc_server_options){0}, &err), STATUS_INVALID);
    assert_int_equal(access(address + 5, F_OK), 0);
}

/* ---- Health ---- */

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
#define HEALTH_SERVICE (&grpc__health__v1__health__descriptor)
#define HEALTH(name)   GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

static status check(struct rpc_channel *channel, const char *service, int *health)
{
    health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = echo_text(service);
    struct rpc_message response;
    struct err err;
    status s =
        rpc_unary(channel, HEALTH_SERVICE, "Check", &request.base, NULL, NULL, &response, &err);
    if (s == STATUS_OK) {
        *health = (int)((health_response *)response.body)->status;
        rpc_message_free(&response);
    }
    return s;
}

static struct rpc_stream *watch(struct rpc_channel *channel, const char *service)
{
    health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = echo_text(service);
    struct rpc_stream *stream;
    struct err err;
    assert_int_equal(
        rpc_stream_open(&stream, channel, HEALTH_SERVICE, "Watch", RPC_SERVER_STREAM, NULL, &err),
        STATUS_OK);
    assert_int_equal(rpc_stream_send(stream, &request.base, NULL, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(rpc_stream_half_close(stream), STATUS_OK);
    return stream;
}

static int next_health(struct rpc_stream *stream)
{
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
    int health = (int)((health_response *)response.body)->status;
    rpc_message_free(&response);
    return health;
}

static unsigned nothing_allowed(const char *token, char name[RPC_CALLER_NAME_SIZE], void *arg)
{
    (void)name;
    (void)token;
    (void)arg;
    return 0;
}

static void health_is_told_and_watched(void **state)
{
    (void)state;
    struct rpc_server_options options = {.role_of = nothing_allowed}; /* needs no token */
    struct echo_pair pair;
    echo_pair_open(&pair, &options, NULL);
    int health = -1;
    assert_int_equal(check(pair.channel, "", &health), STATUS_OK);
    assert_int_equal(health, HEALTH(SERVING));
    assert_int_equal(check(pair.channel, "hindcast.test.Echo", &health), STATUS_OK);
    assert_int_equal(check(pair.channel, "hindcast.test.Other", &health), STATUS_NOT_FOUND);

    struct rpc_stream *all = watch(pair.channel, "");
    struct rpc_stream *other = watch(pair.channel, "hindcast.test.Other");
    assert_int_equal(next_health(all), HEALTH(SERVING));
    assert_int_equal(next_health(other), HEALTH(SERVICE_UNKNOWN));
    rpc_server_set_serving(pair.server, false);
    assert_int_equal(next_health(all), HEALTH(NOT_SERVING));
    assert_int_equal(check(pair.channel, "", &health), STATUS_OK);
    assert_int_equal(health, HEALTH(NOT_SERVING));
    rpc_server_set_serving(pair.server, true);
    assert_int_equal(next_health(all), HEALTH(SERVING));

    /* Watchers do not hold up the end, and are told. */
    uint64_t begin = clock_now_ns();
    echo_pair_stop(&pair, 10000);
    assert_in_range(ms_since(begin), 0, 3000);
    struct err err;
    assert_int_equal(next_health(all), HEALTH(NOT_SERVING));
    assert_int_equal(rpc_stream_finish(all, ECHO_WAIT_MS, &err), STATUS_UNAVAILABLE);
    assert_int_equal(rpc_stream_finish(other, ECHO_WAIT_MS, &err), STATUS_UNAVAILABLE);
    rpc_channel_close(pair.channel);
}

/* ---- Limits ---- */

static void lack_of_memory_fails_one_call(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    unsigned good = 0, failed = 0;
    for (uint64_t nth = 1; nth <= 40; nth++) {
        int health;
        memory_fail_at(nth);
        status s = check(pair.channel, "", &health); /* client and server allocate in turn */
        memory_fail_at(0);
        good += s == STATUS_OK;
        failed += s != STATUS_OK;
        assert_int_equal(check(pair.channel, "", &health), STATUS_OK);
    }
    printf("%u calls failed, %u did not notice\n", failed, good);
    assert_true(failed >= 2);
    assert_true(good >= 2);
    echo_pair_close(&pair);
}

static void calls_above_the_limit_are_refused(void **state)
{
    (void)state;
    struct rpc_server_options options = {.max_calls = 4};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, NULL);
    struct rpc_stream *streams[4];
    struct err err;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            rpc_stream_open(&streams[i], pair.channel, ECHO_SERVICE, "Chat", RPC_BIDI, NULL, &err),
            STATUS_OK);
    }
    assert_int_equal(echo_await(&pair.echo.started, 4), 4);
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_FULL);
    assert_int_equal(rpc_stream_finish(streams[0], ECHO_WAIT_MS, &err), STATUS_OK);
    assert_int_equal(echo_await(&pair.echo.done, 1), 1);
    assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_OK);
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(rpc_stream_finish(streams[i], ECHO_WAIT_MS, &err), STATUS_OK);
    }
    struct rpc_server_counts counts;
    rpc_server_counts(pair.server, &counts);
    assert_int_equal(counts.calls_refused, 1);
    echo_pair_close(&pair);
}

static unsigned reader_alone(const char *token, char name[RPC_CALLER_NAME_SIZE], void *arg)
{
    (void)name;
    (void)arg;
    return token != NULL && strcmp(token, "reader") == 0 ? ECHO_ROLE_READ : 0;
}

/* Neither calls that need no token nor refused ones may take the place of those with a token; a
 * health check always gets through. */
static void callers_without_a_token_cannot_use_up_the_calls(void **state)
{
    (void)state;
    struct rpc_server_options options = {.max_calls = 4, .role_of = reader_alone};
    struct rpc_channel_options shown = {.token = "reader"};
    struct echo_pair pair;
    echo_pair_open(&pair, &options, &shown);
    struct rpc_channel *channels[40]; /* few streams on each: gRPC limits those of a connection */
    struct rpc_stream *watches[80], *refused[80];
    struct err err;
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(rpc_channel_open(&channels[i], pair.address, NULL, &err), STATUS_OK);
    }
    for (size_t i = 0; i < 80; i++) {
        watches[i] = watch(channels[i / 2], "");
        assert_int_equal(next_health(watches[i]), HEALTH(SERVING));
        int64_t answer;
        assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_OK);
        assert_int_equal(rpc_stream_open(&refused[i], channels[i / 2], ECHO_SERVICE, "Chat",
                                         RPC_BIDI, NULL, &err),
                         STATUS_OK);
        int health = -1;
        assert_int_equal(check(channels[39 - i / 2], "", &health), STATUS_OK);
        assert_int_equal(health, HEALTH(SERVING));
    }
    /* The newest 32 are still told, or 31 where a check took a place last; older ones were ended. */
    rpc_server_set_serving(pair.server, false);
    unsigned told = 0, ended = 0;
    for (size_t i = 0; i < 80; i++) {
        struct rpc_message response;
        const status s = rpc_stream_recv(watches[i], &response, ECHO_WAIT_MS);
        if (s == STATUS_OK) {
            told++;
            assert_true(i >= 48);
            rpc_message_free(&response);
            rpc_stream_cancel(watches[i]);
            (void)!rpc_stream_finish(watches[i], ECHO_WAIT_MS, &err);
        } else {
            ended++;
            assert_int_equal(rpc_stream_finish(watches[i], ECHO_WAIT_MS, &err), STATUS_FULL);
            assert_non_null(strstr(err.text, "without a token"));
        }
        assert_int_equal(rpc_stream_finish(refused[i], ECHO_WAIT_MS, &err), STATUS_DENIED);
    }
    assert_in_range(told, 31, 32);
    assert_int_equal(told + ended, 80);
    for (size_t i = 0; i < 40; i++) {
        rpc_channel_close(channels[i]);
    }
    echo_pair_close(&pair);
}

static void lag_is_seen(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 1, "sleep", &answer, &err), STATUS_OK);
    assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_OK);
    struct rpc_server_counts counts;
    rpc_server_counts(pair.server, &counts);
    assert_in_range(counts.lag_ns, 20 * NS_PER_MS, 2000 * NS_PER_MS);
    echo_pair_close(&pair);
}

/* ---- Posts and timers ---- */

#define POST_THREADS 4
#define POSTS        5000

struct poster {
    struct rpc_server *server;
    uint64_t next;   /* call thread: the number that must come next */
    bool disordered; /* call thread */
    _Atomic uint64_t ran;
};

struct posted {
    struct poster *poster;
    uint64_t number;
};

static void on_posted(void *arg)
{
    struct posted *posted = arg;
    struct poster *poster = posted->poster;
    if (posted->number != poster->next++) {
        poster->disordered = true;
    }
    mem_free(posted);
    atomic_fetch_add(&poster->ran, 1);
}

static void *post_many(void *arg)
{
    struct poster *poster = arg;
    for (uint64_t i = 0; i < POSTS; i++) {
        struct posted *posted = mem_new(sizeof *posted);
        *posted = (struct posted){poster, i};
        if (rpc_server_post(poster->server, on_posted, posted) != STATUS_OK) {
            mem_free(posted);
            return NULL;
        }
    }
    return NULL;
}

static void posts_run_in_order_from_any_thread(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct poster posters[POST_THREADS];
    pthread_t threads[POST_THREADS];
    for (size_t i = 0; i < POST_THREADS; i++) {
        posters[i] = (struct poster){.server = pair.server};
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    for (size_t i = 0; i < POST_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    echo_pair_close(&pair); /* what was taken has run when it returns */
    for (size_t i = 0; i < POST_THREADS; i++) {
        assert_int_equal(posters[i].ran, POSTS);
        assert_false(posters[i].disordered);
    }
}

/* One that was not woken would look by itself only now and then, and the test run into its limit.
 */
static void a_post_wakes_an_idle_server(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct poster poster = {.server = pair.server};
    for (uint64_t i = 0; i < 100; i++) {
        struct posted *posted = mem_new(sizeof *posted);
        *posted = (struct posted){&poster, i};
        assert_int_equal(rpc_server_post(pair.server, on_posted, posted), STATUS_OK);
        while (poster.ran <= i) {
            sched_yield();
        }
    }
    echo_pair_close(&pair);
}

static void on_tick(void *arg)
{
    atomic_fetch_add((_Atomic uint64_t *)arg, 1);
}

static void timers_tick_idle_and_busy(void **state)
{
    (void)state;
    const char *address = "127.0.0.1:0";
    struct rpc_server_options options = {.addresses = &address, .n_addresses = 1};
    struct rpc_server *server;
    struct echo echo = {0};
    struct err err;
    _Atomic uint64_t fast = 0, slow = 0;
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_OK);
    assert_int_equal(echo_add(&echo, server, &err), STATUS_OK);
    rpc_server_every(server, 10, on_tick, &fast);
    rpc_server_every(server, 100, on_tick, &slow);
    uint64_t begin = clock_now_ns();
    assert_int_equal(rpc_server_start(server, &err), STATUS_OK);
    while (slow < 3 && ms_since(begin) < 10000) {
        clock_sleep_ms(5);
    }
    /* Never more often than asked for; seldomer on a busy machine. The counts are read first. */
    uint64_t n_slow = slow, n_fast = fast;
    assert_in_range(n_slow, 3, ms_since(begin) / 100 + 1);
    assert_in_range(n_fast, 4, ms_since(begin) / 10 + 1);
    char target[64];
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(server, 0));
    struct rpc_channel *channel;
    assert_int_equal(rpc_channel_open(&channel, target, NULL, &err), STATUS_OK);
    uint64_t before = fast;
    begin = clock_now_ns();
    while (fast - before < 8 && ms_since(begin) < 10000) {
        int64_t answer;
        assert_int_equal(echo_say(channel, 1, NULL, &answer, &err), STATUS_OK);
    }
    n_fast = fast - before;
    assert_in_range(n_fast, 8, ms_since(begin) / 10 + 2);
    rpc_channel_close(channel);
    rpc_server_close(server, 1000);
    echo_fini(&echo);
}

/* How many nanoseconds of processor time this process has used. */
static uint64_t cpu_ns(void)
{
    struct timespec used;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

/* arg: the server. */
static void on_poll_asked(void *arg)
{
    rpc_server_poll_for(arg, NS_PER_S / 4);
}

/* While the call thread polls it serves as ever; when the time is over it sleeps again. */
static void polling_serves_and_ends(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_OK);
    uint64_t before = cpu_ns();
    assert_int_equal(rpc_server_post(pair.server, on_poll_asked, pair.server), STATUS_OK);
    assert_int_equal(echo_say(pair.channel, 2, NULL, &answer, &err), STATUS_OK);
    struct poster poster = {.server = pair.server};
    struct posted *posted = mem_new(sizeof *posted);
    *posted = (struct posted){&poster, 0};
    assert_int_equal(rpc_server_post(pair.server, on_posted, posted), STATUS_OK);
    const uint64_t begin = clock_now_ns();
    while (poster.ran == 0 && ms_since(begin) < 10000) {
        clock_sleep_ms(1);
    }
    assert_int_equal(poster.ran, 1);
    /* It has polled: this thread alone would need next to nothing. */
    while (cpu_ns() - before < NS_PER_S / 20 && ms_since(begin) < 10000) {
        clock_sleep_ms(1);
    }
    assert_true(cpu_ns() - before >= NS_PER_S / 20);
    clock_sleep_ms(300);
    before = cpu_ns();
    clock_sleep_ms(500);
    assert_in_range(cpu_ns() - before, 0, NS_PER_S / 10);
    echo_pair_close(&pair);
}

/* ---- Restart and close ---- */

static void channels_come_back_within_a_second_and_a_half(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_OK);
    echo_pair_stop(&pair, 100);
    assert_int_equal(echo_say(pair.channel, 2, NULL, &answer, &err), STATUS_UNAVAILABLE);
    assert_int_equal(rpc_channel_wait(pair.channel, 2500),
                     STATUS_TIMEOUT); /* long enough to back off */

    echo_pair_serve(&pair, NULL);
    uint64_t begin = clock_now_ns();
    echo_request request = ECHO_REQUEST;
    struct rpc_call_options options = {.timeout_ms = 10000, .wait_for_ready = true};
    struct rpc_message response;
    assert_int_equal(rpc_unary(pair.channel, ECHO_SERVICE, "Say", &request.base, NULL, &options,
                               &response, &err),
                     STATUS_OK);
    rpc_message_free(&response);
    printf("back after %llu ms\n", (unsigned long long)ms_since(begin));
    assert_in_range(ms_since(begin), 0, 1500);
    assert_int_equal(rpc_channel_wait(pair.channel, 100), STATUS_OK);
    echo_pair_close(&pair);
}

static void close_is_bounded_with_open_streams(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct rpc_stream *streams[3];
    struct err err;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(rpc_stream_open(&streams[i], pair.channel, ECHO_SERVICE,
                                         i ? "Chat" : "Sum", i ? RPC_BIDI : RPC_CLIENT_STREAM, NULL,
                                         &err),
                         STATUS_OK);
        echo_request request = ECHO_REQUEST;
        request.text = echo_text(i ? "hello" : "hold");
        assert_int_equal(rpc_stream_send(streams[i], &request.base, NULL, ECHO_WAIT_MS), STATUS_OK);
    }
    assert_int_equal(echo_await(&pair.echo.started, 3), 3);
    uint64_t begin = clock_now_ns();
    echo_pair_stop(&pair, 300);
    assert_in_range(ms_since(begin), 290, 2000);
    for (size_t i = 0; i < 3; i++) {
        assert_int_not_equal(rpc_stream_finish(streams[i], ECHO_WAIT_MS, &err), STATUS_OK);
    }
    rpc_channel_close(pair.channel);
}

static void *stop_it(void *arg)
{
    echo_pair_stop(arg, 5000);
    return NULL;
}

static void close_lets_calls_end(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct rpc_stream *stream;
    struct err err;
    assert_int_equal(
        rpc_stream_open(&stream, pair.channel, ECHO_SERVICE, "Sum", RPC_CLIENT_STREAM, NULL, &err),
        STATUS_OK);
    echo_request request = ECHO_REQUEST;
    request.number = 20;
    assert_int_equal(rpc_stream_send(stream, &request.base, NULL, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(echo_await(&pair.echo.handled, 1), 1);
    uint64_t begin = clock_now_ns();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_it, &pair), 0);
    clock_sleep_ms(100);
    assert_int_equal(rpc_stream_send(stream, &request.base, NULL, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(rpc_stream_half_close(stream), STATUS_OK);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(((echo_response *)response.body)->number, 40);
    rpc_message_free(&response);
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
    pthread_join(thread, NULL);
    assert_in_range(ms_since(begin), 100, 2000); /* well within the grace */
    rpc_channel_close(pair.channel);
}

/* A peer that opened a connection and never speaks. */
static void close_is_bounded_with_a_silent_peer(void **state)
{
    (void)state;
    struct echo_pair pair;
    echo_pair_open(&pair, NULL, NULL);
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)rpc_server_port(pair.server, 0)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair.channel, 1, NULL, &answer, &err), STATUS_OK);
    uint64_t begin = clock_now_ns();
    echo_pair_close(&pair);
    assert_in_range(ms_since(begin), 0, 2000);
    close(fd);
}

static void open_and_close_without_start(void **state)
{
    (void)state;
    const char *address = "127.0.0.1:0";
    struct rpc_server_options options = {.addresses = &address, .n_addresses = 1};
    struct rpc_server *server;
    struct err err;
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_OK);
    struct poster poster = {.server = server};
    struct posted *posted = mem_new(sizeof *posted);
    *posted = (struct posted){&poster, 0};
    assert_int_equal(rpc_server_post(server, on_posted, posted), STATUS_OK);
    rpc_server_close(server, 0);
    assert_int_equal(poster.ran, 1);
    rpc_server_close(NULL, 0);
}

static void wrong_methods_are_refused(void **state)
{
    (void)state;
    const char *address = "127.0.0.1:0";
    struct rpc_server_options options = {.addresses = &address, .n_addresses = 1};
    struct rpc_server *server;
    struct echo echo = {0}, twice = {0};
    struct err err;
    assert_int_equal(rpc_server_open(&server, &options, &err), STATUS_OK);
    assert_int_equal(echo_add(&echo, server, &err), STATUS_OK);
    assert_int_equal(echo_add(&twice, server, &err), STATUS_EXISTS);
    struct rpc_method none = {.name = "None", .message = NULL};
    assert_int_equal(rpc_server_add(server, ECHO_SERVICE, &none, 1, NULL, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "None"));
    rpc_server_close(server, 0);
    echo_fini(&echo);
    echo_fini(&twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_taken_port_is_an_error),
        cmocka_unit_test(bad_addresses_are_errors),
        cmocka_unit_test(open_addresses_need_tls_or_a_word),
        cmocka_unit_test(unix_sockets_serve_and_leave_nothing),
        cmocka_unit_test(stale_sockets_are_replaced_other_files_are_not),
        cmocka_unit_test(any_folder_name_will_do),
        cmocka_unit_test(health_is_told_and_watched),
        cmocka_unit_test(lack_of_memory_fails_one_call),
        cmocka_unit_test(calls_above_the_limit_are_refused),
        cmocka_unit_test(callers_without_a_token_cannot_use_up_the_calls),
        cmocka_unit_test(lag_is_seen),
        cmocka_unit_test(posts_run_in_order_from_any_thread),
        cmocka_unit_test(a_post_wakes_an_idle_server),
        cmocka_unit_test(timers_tick_idle_and_busy),
        cmocka_unit_test(polling_serves_and_ends),
        cmocka_unit_test(channels_come_back_within_a_second_and_a_half),
        cmocka_unit_test(close_is_bounded_with_open_streams),
        cmocka_unit_test(close_lets_calls_end),
        cmocka_unit_test(close_is_bounded_with_a_silent_peer),
        cmocka_unit_test(open_and_close_without_start),
        cmocka_unit_test(wrong_methods_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
