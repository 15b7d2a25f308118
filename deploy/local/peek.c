#include "deploy/local/peek.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"

#define ANSWER_MAX_BYTES (1u << 20)

/* Reads "host:port\n" or "[v6]:port\n"; the host comes without brackets. */
static status read_address(const char *address_file, char *host, size_t host_size, char *port,
                           size_t port_size, struct err *err)
{
    void *bytes;
    size_t size;
    status s = file_read(address_file, 1024, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *text = bytes;
    text[strcspn(text, "\r\n")] = 0;
    char *colon = strrchr(text, ':');
    s = STATUS_INVALID;
    if (colon && (size_t)(colon - text) < host_size && strlen(colon + 1) < port_size && colon[1]) {
        const bool brackets = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
        const char *begin = brackets ? text + 1 : text;
        const size_t length = (size_t)(colon - begin) - (brackets ? 1 : 0);
        memcpy(host, begin, length);
        host[length] = 0;
        strcpy(port, colon + 1);
        s = STATUS_OK;
    } else {
        s = err_set(err, STATUS_INVALID, "%s: \"%.40s\": expected host:port", address_file, text);
    }
    mem_free(bytes);
    return s;
}

static int milliseconds_left(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    return now_ns >= deadline_ns ? 0 : (int)((deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, milliseconds_left(deadline_ns)) == 1;
}

/* Connects without blocking beyond the deadline; -1 where nobody listens. */
static int connect_to(const char *host, const char *port, uint64_t deadline_ns)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool connected = false;
    if (fd >= 0) {
        connected = connect(fd, found->ai_addr, found->ai_addrlen) == 0;
        if (!connected && errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline_ns)) {
            int error = 0;
            socklen_t size = sizeof error;
            connected = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
        }
    }
    freeaddrinfo(found);
    if (fd >= 0 && !connected) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Reads to the end of the connection; the text is terminated. */
static size_t read_all(int fd, char *text, size_t size, uint64_t deadline_ns)
{
    size_t used = 0;
    while (used + 1 < size && wait_for(fd, POLLIN, deadline_ns)) {
        ssize_t n = read(fd, text + used, size - used - 1);
        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    text[used] = 0;
    return used;
}

status peek_json(cJSON **json, const char *address_file, const char *page, uint64_t timeout_ms,
                 struct err *err)
{
    char host[256];
    char port[16];
    status s = read_address(address_file, host, sizeof host, port, sizeof port, err);
    if (s != STATUS_OK) {
        return s;
    }
    uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    int fd = connect_to(host, port, deadline_ns);
    if (fd < 0) {
        return err_set(err, STATUS_UNAVAILABLE, "%s:%s: nobody answers", host, port);
    }

    char request[512];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: %s%s%s\r\n\r\n", page,
                     strchr(host, ':') ? "[" : "", host, strchr(host, ':') ? "]" : "");
    char *answer = mem_new(ANSWER_MAX_BYTES);
    cJSON *parsed = NULL;
    size_t answered = 0;
    if (answer && write(fd, request, (size_t)n) == n) {
        answered = read_all(fd, answer, ANSWER_MAX_BYTES, deadline_ns);
    }
    if (answered > 0) {
        const char *body = strstr(answer, "\r\n\r\n");
        parsed = body ? cJSON_Parse(body + 4) : NULL;
    }
    close(fd);
    mem_free(answer);
    if (!parsed && answered == 0) {
        return err_set(err, STATUS_TIMEOUT,
                       "%s:%s: no answer: the process is stopped or overloaded", host, port);
    }
    if (!parsed) {
        return err_set(err, STATUS_INVALID, "%s:%s%s: the answer is not JSON", host, port, page);
    }
    *json = parsed;
    return STATUS_OK;
}
