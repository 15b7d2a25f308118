/* HTTP over a plain socket without a client library, so that a test sees every byte of the answer.
 * Running out of memory aborts the test. */
#include "tests/lib/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connects to "127.0.0.1:port" with a receive timeout of 5 s. Returns -1 on failure. */
static int connect_to(const char *address)
{
    char host[64] = "";
    unsigned port = 0;
    if (sscanf(address, "%63[^:]:%u", host, &port) != 2) {
        return -1;
    }
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &target.sin_addr) != 1) {
        return -1;
    }
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&target, sizeof target) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

char *http_exchange(const char *address, const char *request)
{
    const int fd = connect_to(address);
    if (fd < 0) {
        return NULL;
    }
    const size_t size = strlen(request);
    if (send(fd, request, size, MSG_NOSIGNAL) != (ssize_t)size) {
        close(fd);
        return NULL;
    }
    char *answer = calloc(1, 1);
    size_t used = 0;
    char part[4096];
    ssize_t n;
    while ((n = recv(fd, part, sizeof part, 0)) > 0) {
        char *larger = realloc(answer, used + (size_t)n + 1);
        if (larger == NULL) {
            abort();
        }
        answer = larger;
        memcpy(answer + used, part, (size_t)n);
        used += (size_t)n;
        answer[used] = '\0';
    }
    close(fd);
    return answer;
}

char *http_request(const char *address, const char *method, const char *path)
{
    char request[512];
    snprintf(request, sizeof request,
             "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method, path);
    return http_exchange(address, request);
}
