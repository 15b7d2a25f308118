/* One HTTP request over a plain socket, bounded by one deadline for all of it. The address comes
 * from a file that the asked process wrote; the answer is checked for being JSON, no more. The
 * socket does not block: every wait goes through poll() with what is left until the deadline, so
 * that a process that hangs costs its caller the timeout and not more. */
#include "common/base/peek.h"

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
#define ADDRESS_SIZE     300

/* Splits "HOST:PORT" or "[IPV6]:PORT" at its last colon; the host is without brackets. */
static bool split_address(char *text, char **host, char **port)
{
    char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || colon[1] == '\0') {
        return false;
    }
    /* Both parts are cut in place; `text` owns them. */
    *colon = '\0';
    *port = colon + 1;
    *host = text;
    /* An IPv6 host has colons of its own, and therefore brackets. */
    if (text[0] == '[') {
        if (colon[-1] != ']') {
            return false;
        }
        colon[-1] = '\0';
        *host = text + 1;
    }
    return (*host)[0] != '\0';
}

status peek_address(char *address, size_t size, const char *address_file, struct err *err)
{
    void *bytes;
    size_t n;
    status s = file_read(address_file, size - 1, &bytes, &n, err);
    if (s == STATUS_OK) {
        memcpy(address, bytes, n + 1);
        /* A newline at the end is not part of the address. */
        address[strcspn(address, "\r\n")] = '\0';
        mem_free(bytes);
    }
    return s;
}

/* Rounded up, so that a wait does not end before the deadline. */
static int milliseconds_left(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    return now_ns >= deadline_ns ? 0 : (int)((deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

/* False on the deadline and on an error of poll(); callers treat both as no answer. */
static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, milliseconds_left(deadline_ns)) == 1;
}

/* Connects without blocking beyond the deadline; -1 where no process listens. */
static int connect_to(const char *host, const char *port, uint64_t deadline_ns)
{
    /* The address is numeric, so getaddrinfo() asks no name server, which could block for
     * longer. */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool connected = false;
    /* A connection under way is complete when the socket becomes writable; SO_ERROR has its
     * outcome. */
    if (fd >= 0) {
        /* A local connection may be there at once; any other one is waited for. */
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
        /* 0 is the end of the answer; an error ends it as well, and what came is judged by the
         * caller. */
        ssize_t n = read(fd, text + used, size - used - 1);
        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    text[used] = 0;
    return used;
}

/* Sends the request and reads the whole answer; TIMEOUT where nothing comes: a process that is
 * stopped still has a kernel that accepts connections for it. */
static status ask(int fd, const char *host, const char *page, char *answer, size_t size,
                  uint64_t deadline_ns, struct err *err)
{
    /* HTTP/1.0, so that the server closes the connection at the end of its answer. An IPv6 host
     * stands in brackets. */
    char request[512];
    const bool ipv6 = strchr(host, ':') != NULL;
    const int n =
        snprintf(request, sizeof request, "GET %.200s HTTP/1.0\r\nHost: %s%.200s%s\r\n\r\n", page,
                 ipv6 ? "[" : "", host, ipv6 ? "]" : "");
    if (write(fd, request, (size_t)n) != n || read_all(fd, answer, size, deadline_ns) == 0) {
        return err_set(err, STATUS_TIMEOUT, "no answer: the process is stopped, or too busy");
    }
    return STATUS_OK;
}

status peek_json_at(cJSON **json, const char *address, const char *page, uint64_t timeout_ms,
                    struct err *err)
{
    char text[ADDRESS_SIZE];
    char *host, *port;
    if ((size_t)snprintf(text, sizeof text, "%s", address) >= sizeof text ||
        !split_address(text, &host, &port)) {
        return err_set(err, STATUS_INVALID, "\"%.40s\": expected HOST:PORT", address);
    }
    /* One deadline for connecting, sending and reading together. */
    const uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    const int fd = connect_to(host, port, deadline_ns);
    if (fd < 0) {
        return err_set(err, STATUS_UNAVAILABLE, "%s: no process listens there", address);
    }
    char *answer = mem_new(ANSWER_MAX_BYTES);
    status s = answer == NULL ? err_set(err, STATUS_NO_MEMORY, "answer")
                              : ask(fd, host, page, answer, ANSWER_MAX_BYTES, deadline_ns, err);
    close(fd);
    /* Everything behind the headers must be one JSON value; the status line is not looked at. */
    if (s == STATUS_OK) {
        const char *body = strstr(answer, "\r\n\r\n");
        *json = body ? cJSON_Parse(body + 4) : NULL;
        s = *json != NULL
                ? STATUS_OK
                : err_set(err, STATUS_INVALID, "%s%s: the answer is not JSON", address, page);
    }
    mem_free(answer);
    return s;
}

status peek_json(cJSON **json, const char *address_file, const char *page, uint64_t timeout_ms,
                 struct err *err)
{
    /* The address file is the only thing that is known of the process. */
    char address[ADDRESS_SIZE];
    const status s = peek_address(address, sizeof address, address_file, err);
    if (s != STATUS_OK) {
        return s;
    }
    const status asked = peek_json_at(json, address, page, timeout_ms, err);
    return asked == STATUS_INVALID ? err_context(err, asked, "%s", address_file) : asked;
}
