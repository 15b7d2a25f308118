/* A connected pair of sockets, one end of which a forked process has. The peer is a process and not
 * a thread, because client and server of the calls that are compared with it are two processes as
 * well: both sides pay for the same switches. */
#include "bench/plain_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/quantile.h"
#include "common/base/clock.h"
#include "common/base/memory.h"

/* As many round trips as bench_rpc makes calls, and of a size like that of a small call. */
#define ROUND_TRIPS 4000
#define SMALL_BYTES 100

/* Ends the program: without the limit there is nothing to compare with. */
static void die(const char *what, const char *why)
{
    fprintf(stderr, "plain_socket: %s: %s\n", what, why);
    exit(1);
}

static double seconds_since(uint64_t begin_ns)
{
    return 1e-9 * (double)(clock_now_ns() - begin_ns);
}

/* Writes or reads all bytes. False on an error and at the end of the connection. */
static bool move_all(int fd, unsigned char *bytes, size_t size, bool out)
{
    while (size > 0) {
        ssize_t n = out ? write(fd, bytes, size) : read(fd, bytes, size);
        if (n <= 0) {
            return false;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* A connected pair over loopback TCP or a unix socket. */
static void connect_pair(bool tcp, int fds[2])
{
    if (!tcp) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) {
            die("socketpair", strerror(errno));
        }
        return;
    }
    /* A listener on a free port, to which our own socket connects; it is closed once it has
     * accepted. */
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&name, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&name, &size) != 0 ||
        connect(fds[0], (struct sockaddr *)&name, size) != 0) {
        die("loopback", strerror(errno));
    }
    fds[1] = accept(listener, NULL, NULL);
    close(listener);
    /* Without Nagle's algorithm, as in gRPC: it would hold back small messages. */
    int on = 1;
    for (int i = 0; i < 2; i++) {
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
}

/* In a process of its own: echoes small messages when `echo`, else writes large ones; until the
 * peer leaves. */
static pid_t start_plain_peer(int fds[2], bool echo, size_t size)
{
    pid_t pid = fork();
    if (pid != 0) {
        close(fds[1]);
        return pid;
    }
    /* The peer must not outlive this process, however it ends. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    close(fds[0]);
    unsigned char *bytes = calloc(1, size);
    while (bytes != NULL && (!echo || move_all(fds[1], bytes, size, false)) &&
           move_all(fds[1], bytes, size, true)) {
    }
    _exit(0);
}

double plain_socket_round_trip(bool tcp)
{
    int fds[2];
    connect_pair(tcp, fds);
    /* The peer echoes what it gets; a single message is under way at any time. */
    pid_t pid = start_plain_peer(fds, true, SMALL_BYTES);
    unsigned char bytes[SMALL_BYTES] = {0};
    double *times = mem_array(ROUND_TRIPS, sizeof *times);
    for (size_t i = 0; i < ROUND_TRIPS; i++) {
        uint64_t begin = clock_now_ns();
        if (!move_all(fds[0], bytes, sizeof bytes, true) ||
            !move_all(fds[0], bytes, sizeof bytes, false)) {
            die("round trip", strerror(errno));
        }
        times[i] = 1e6 * seconds_since(begin);
    }
    double p50 = quantile(times, ROUND_TRIPS, 0.5);
    mem_free(times);
    close(fds[0]);
    waitpid(pid, NULL, 0);
    return p50;
}

double plain_socket_stream(bool tcp, size_t size, double seconds)
{
    int fds[2];
    connect_pair(tcp, fds);
    pid_t pid = start_plain_peer(fds, false, size);
    unsigned char *bytes = mem_new(size);
    uint64_t begin = clock_now_ns();
    /* Only reading is timed here; the peer writes as fast as we read. */
    double n = 0.0, elapsed;
    do {
        if (!move_all(fds[0], bytes, size, false)) {
            die("stream", strerror(errno));
        }
        n += 1.0;
        elapsed = seconds_since(begin);
    } while (elapsed < seconds);
    mem_free(bytes);
    /* Closing our end makes the peer's next write fail, which ends it. */
    close(fds[0]);
    waitpid(pid, NULL, 0);
    return n * (double)size / elapsed;
}
