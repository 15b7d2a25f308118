/* Running out of file descriptors. gRPC 1.51 gives a listening socket up for good when accept fails
 * with EMFILE: the server goes on but cannot be reached any more. This program's accept4 stands
 * before the C library's: a connection for which there is no descriptor is taken with one that was
 * kept for it, closed at once, and gRPC is told that nobody is waiting. The peer sees a connection
 * that ends, and tries again later. The same happens to one that is beyond the limits of
 * connections.c. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_MODULE "rpc"
#include "common/base/log.h"
#include "common/rpc/connections.h"
#include "common/rpc/descriptors.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards spare */
static int spare = -1;

/* A descriptor that is good for nothing but being closed. */
static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void descriptors_init(void)
{
    pthread_mutex_lock(&lock);
    if (spare < 0) {
        spare = open_spare();
    }
    pthread_mutex_unlock(&lock);
}

/* The C library's accept4 without its name. */
static int real_accept(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    return (int)syscall(SYS_accept4, fd, address, size, flags);
}

/* Takes and closes one waiting connection. False: there is none, or not even that is possible. */
static bool turn_away(int fd)
{
    pthread_mutex_lock(&lock);
    /* Closing the spare one frees the number that the connection needs. */
    if (spare >= 0) {
        close(spare);
    }
    int peer = real_accept(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer >= 0) {
        close(peer);
    }
    /* For the next time. Another thread may take the number first; then descriptors_init tries
     * again. */
    spare = open_spare();
    pthread_mutex_unlock(&lock);
    return peer >= 0;
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict size, int flags)
{
    struct sockaddr *to = address.__sockaddr__;
    const socklen_t room = size ? *size : 0;
    for (;;) {
        int peer = real_accept(fd, to, size, flags);
        if (peer >= 0) {
            descriptors_init(); /* another thread may have been faster at the one we kept */
            if (connections_admit(fd, peer)) {
                return peer;
            }
            close(peer);
            if (size) {
                *size = room;
            }
            continue;
        }
        if (errno != EMFILE && errno != ENFILE) {
            return peer;
        }
        /* Usual limits are soft: the operator can raise them. */
        log_warn("no file descriptor for a connection: it is turned away (see ulimit -n)");
        /* Nobody is waiting any more, or even this failed: gRPC tries later. */
        if (!turn_away(fd)) {
            errno = EAGAIN;
            return -1;
        }
    }
}
