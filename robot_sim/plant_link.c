/* Thin layer over the socket calls. A message is as long as its numbers. */
#include "robot_sim/plant_link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_TYPE (SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)

static void address_of(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    (void)snprintf(address->sun_path, sizeof address->sun_path, "%s", path);
}

status plant_link_connect(int *fd, const char *path, struct err *err)
{
    struct sockaddr_un address;
    address_of(&address, path);
    const int made = socket(AF_UNIX, SOCKET_TYPE, 0);
    if (made < 0) {
        return err_errno(err, errno, "socket");
    }
    if (connect(made, (const struct sockaddr *)&address, sizeof address) != 0) {
        const int number = errno;
        (void)close(made);
        return err_set(err, STATUS_UNAVAILABLE, "%s: %s", path, strerror(number));
    }
    *fd = made;
    return STATUS_OK;
}

status plant_link_listen(int *fd, const char *path, struct err *err)
{
    struct sockaddr_un address;
    address_of(&address, path);
    int other;
    if (plant_link_connect(&other, path, NULL) == STATUS_OK) {
        (void)close(other);
        return err_set(err, STATUS_EXISTS, "%s: another plant listens there", path);
    }
    (void)unlink(path);
    const int made = socket(AF_UNIX, SOCKET_TYPE, 0);
    if (made < 0 || bind(made, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(made, 4) != 0) {
        const int number = errno;
        if (made >= 0) {
            (void)close(made);
        }
        return err_errno(err, number, "listen at %s", path);
    }
    *fd = made;
    return STATUS_OK;
}

static size_t size_of(const struct plant_message *message)
{
    return offsetof(struct plant_message, numbers) + message->n_numbers * sizeof(float);
}

status plant_link_send(int fd, struct plant_message *message)
{
    ASSERT(message->n_numbers <= PLANT_NUMBERS_MAX);
    message->magic = PLANT_MAGIC;
    const ssize_t n = send(fd, message, size_of(message), MSG_NOSIGNAL | MSG_DONTWAIT);
    return n == (ssize_t)size_of(message) ? STATUS_OK : STATUS_CLOSED;
}

status plant_link_receive(int fd, struct plant_message *message)
{
    ssize_t n;
    do {
        n = recv(fd, message, sizeof *message, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return STATUS_PENDING;
    }
    const bool whole = n >= (ssize_t)offsetof(struct plant_message, numbers) &&
                       message->magic == PLANT_MAGIC && message->n_numbers <= PLANT_NUMBERS_MAX &&
                       (size_t)n == size_of(message) &&
                       memchr(message->text, '\0', sizeof message->text) != NULL;
    return whole ? STATUS_OK : STATUS_CLOSED;
}
