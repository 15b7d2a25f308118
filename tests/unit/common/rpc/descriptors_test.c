/* Connections while this process has no file descriptor left. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/rpc/descriptors.h"
#include "tests/lib/check.h"

#define N_PEERS 3
#define LIMIT   64 /* descriptors of this process, for the test */

static int listener;
static int peers[N_PEERS]; /* connected, not yet accepted */
static struct rlimit before;

/* A listening socket with a name of the kernel's choice, and peers that wait at it. */
static int set_up(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address.sun_family;
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, N_PEERS), 0);
    size = sizeof address;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    for (int i = 0; i < N_PEERS; i++) {
        peers[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(peers[i] >= 0);
        assert_int_equal(connect(peers[i], (struct sockaddr *)&address, size), 0);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return setrlimit(RLIMIT_NOFILE, &before);
}

/* Takes all descriptors that are left; the last one. */
static int take_all(void)
{
    int last = -1, fd;
    while ((fd = fcntl(listener, F_DUPFD_CLOEXEC, 0)) >= 0) {
        last = fd;
    }
    assert_int_equal(errno, EMFILE);
    return last;
}

/* What a peer sees: 0 its connection has ended, EAGAIN it has not. */
static int seen_by(int peer)
{
    char byte;
    return recv(peer, &byte, 1, 0) == 0 ? 0 : errno;
}

static void test_the_kept_one_is_kept_again_after_it_was_lost(void **state)
{
    (void)state;
    const int last = take_all();
    descriptors_init(); /* as after another thread was faster: there is none to be kept */
    assert_int_equal(accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1);
    assert_int_equal(errno, EAGAIN); /* and not EMFILE, which would end gRPC's listening */
    assert_int_equal(seen_by(peers[0]), EAGAIN);

    close(last);
    close(last - 1);
    assert_true(accept4(listener, NULL, NULL, SOCK_CLOEXEC) >= 0);
    (void)take_all();
    assert_int_equal(accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(seen_by(peers[0]), EAGAIN);
    assert_int_equal(seen_by(peers[1]), 0);
    assert_int_equal(seen_by(peers[2]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_kept_one_is_kept_again_after_it_was_lost, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
