/* common/rpc, the number of connections, with peers that only connect. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/check.h"
#include "tests/lib/echo/echo_pair.h"
#include "tests/lib/scratch.h"

#define HERE  "127.0.0.1"
#define THERE "127.0.0.2" /* another host, for all that the server knows */

static char socket_address[128]; /* "unix:path" */

/* An echo server at any port of loopback, its address 0, and at a Unix socket. */
static void serve(struct echo_pair *pair, size_t max_connections, size_t max_host)
{
    snprintf(socket_address, sizeof socket_address, "unix:%s", scratch_at("echo.sock"));
    const char *addresses[] = {"127.0.0.1:0", socket_address};
    const struct rpc_server_options options = {.addresses = addresses,
                                               .n_addresses = 2,
                                               .max_connections = max_connections,
                                               .max_host_connections = max_host};
    echo_pair_open(pair, &options, NULL);
}

/* gRPC speaks first: a peer that reads a byte was let in, one that reads the end was not. */
static bool is_let_in(int peer)
{
    const struct timeval patience = {.tv_sec = ECHO_WAIT_MS / 1000};
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    char byte;
    const ssize_t got = recv(peer, &byte, 1, 0);
    assert_true(got >= 0 || errno == ECONNRESET);
    return got == 1;
}

/* The peer, or -1 where it was turned away. */
static int if_let_in(int peer)
{
    if (is_let_in(peer)) {
        return peer;
    }
    close(peer);
    return -1;
}

/* A peer that came from this IP address; -1: it was turned away. */
static int connect_from(struct rpc_server *server, const char *host)
{
    struct sockaddr_in own = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, host, &own.sin_addr), 1);
    assert_int_equal(inet_pton(AF_INET, HERE, &to.sin_addr), 1);
    to.sin_port = htons((uint16_t)rpc_server_port(server, 0));
    const int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(peer >= 0);
    assert_int_equal(bind(peer, (struct sockaddr *)&own, sizeof own), 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&to, sizeof to), 0);
    return if_let_in(peer);
}

/* The same through the Unix socket. */
static int connect_here(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, scratch_at("echo.sock"), strlen(scratch_at("echo.sock")));
    const int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(peer >= 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&to, sizeof to), 0);
    return if_let_in(peer);
}

static struct rpc_server_counts counts_of(struct rpc_server *server)
{
    struct rpc_server_counts counts;
    rpc_server_counts(server, &counts);
    return counts;
}

/* A peer leaves, and the server has noticed it. */
static void leave(struct rpc_server *server, int peer)
{
    const uint64_t before = counts_of(server).connections;
    close(peer);
    for (int ms = 0; counts_of(server).connections == before && ms < ECHO_WAIT_MS; ms++) {
        usleep(1000);
    }
    assert_int_equal(counts_of(server).connections, before - 1);
}

static void those_beyond_the_limit_are_turned_away(void **state)
{
    (void)state;
    struct echo_pair pair;
    serve(&pair, 3, 0);
    struct rpc_server *server = pair.server;
    const int first = connect_from(server, HERE);
    assert_true(first >= 0);
    assert_true(connect_from(server, THERE) >= 0);
    assert_true(connect_here() >= 0);
    assert_int_equal(connect_from(server, HERE), -1);
    assert_int_equal(connect_here(), -1);
    assert_int_equal(counts_of(server).connections, 3);
    assert_int_equal(counts_of(server).connections_refused, 2);

    /* One more for one that leaves, however often. */
    int last = first;
    for (int i = 0; i < 20; i++) {
        leave(server, last);
        last = i % 2 ? connect_from(server, HERE) : connect_here();
        assert_true(last >= 0);
        assert_int_equal(connect_from(server, HERE), -1);
    }
    assert_int_equal(counts_of(server).connections, 3);
    echo_pair_close(&pair);
}

static void one_host_does_not_take_the_place_of_others(void **state)
{
    (void)state;
    struct echo_pair pair;
    serve(&pair, 10, 2);
    struct rpc_server *server = pair.server;
    const int first = connect_from(server, HERE);
    assert_true(first >= 0);
    assert_true(connect_from(server, HERE) >= 0);
    assert_int_equal(connect_from(server, HERE), -1);
    assert_true(connect_from(server, THERE) >= 0);
    /* This machine's processes are of no host. */
    for (int i = 0; i < 3; i++) {
        assert_true(connect_here() >= 0);
    }
    leave(server, first);
    assert_true(connect_from(server, HERE) >= 0);
    assert_int_equal(connect_from(server, HERE), -1);
    assert_int_equal(counts_of(server).connections, 6);
    assert_int_equal(counts_of(server).connections_refused, 2);
    echo_pair_close(&pair);
}

static void two_servers_count_for_themselves(void **state)
{
    (void)state;
    struct echo_pair pair, other;
    serve(&pair, 1, 0);
    echo_pair_open(&other, NULL, NULL);
    struct rpc_server *server = pair.server;
    assert_true(connect_from(server, HERE) >= 0);
    assert_int_equal(connect_from(server, HERE), -1);
    for (int i = 0; i < 3; i++) {
        assert_true(connect_from(other.server, HERE) >= 0);
    }
    assert_int_equal(counts_of(server).connections, 1);
    assert_int_equal(counts_of(other.server).connections, 3);
    echo_pair_close(&pair);
    assert_true(connect_from(other.server, HERE) >= 0);
    echo_pair_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(those_beyond_the_limit_are_turned_away, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(one_host_does_not_take_the_place_of_others, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(two_servers_count_for_themselves, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
