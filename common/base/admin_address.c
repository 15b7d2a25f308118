/* The text is split at its last colon: an IPv6 host has others, in brackets. */
#include "common/base/admin_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

status admin_address_parse(struct admin_address *address, const char *text, struct err *err)
{
    const char *colon = strrchr(text, ':');
    const bool brackets = text[0] == '[' && colon != NULL && colon > text && colon[-1] == ']';
    const char *start = brackets ? text + 1 : text;
    const size_t length = colon == NULL ? 0 : (size_t)(colon - start) - (brackets ? 1 : 0);
    /* Lengths bound the copies below. */
    if (colon == NULL || length == 0 || length >= sizeof address->host || strlen(colon + 1) == 0 ||
        strlen(colon + 1) >= 6 || strspn(colon + 1, "0123456789") != strlen(colon + 1)) {
        return err_set(err, STATUS_INVALID, "admin address \"%.64s\": expected HOST:PORT", text);
    }
    memcpy(address->host, start, length);
    address->host[length] = '\0';
    snprintf(address->port, sizeof address->port, "%s", colon + 1);
    return STATUS_OK;
}

/* The 32 bits of an IPv4 address; the caller knows that it is one. */
static uint32_t bits_of(const struct sockaddr *address)
{
    return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr);
}

static const struct in6_addr *ipv6_of(const struct sockaddr *address)
{
    return &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
}

bool admin_address_is_loopback(const struct sockaddr *address)
{
    return address->sa_family == AF_INET    ? bits_of(address) >> 24 == 127
           : address->sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(ipv6_of(address))
                                            : false;
}

bool admin_address_is_any(const struct sockaddr *address)
{
    return address->sa_family == AF_INET    ? bits_of(address) == INADDR_ANY
           : address->sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(ipv6_of(address))
                                            : false;
}

status admin_address_resolve(struct addrinfo **found, const char *text, struct err *err)
{
    struct admin_address address;
    const status s = admin_address_parse(&address, text, err);
    if (s != STATUS_OK) {
        return s;
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const int gai = getaddrinfo(address.host, address.port, &hints, found);
    return gai == 0 ? STATUS_OK
                    : err_set(err, STATUS_INVALID, "admin address \"%.64s\": %s", text,
                              gai_strerror(gai));
}

status admin_address_listen(int *fd, const struct addrinfo *found, const char *text, int backlog,
                            struct err *err)
{
    /* A restart must not wait for connections of the process before it. */
    const int on = 1;
    const int made = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0 || setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(made, found->ai_addr, found->ai_addrlen) != 0 || listen(made, backlog) != 0) {
        const status s = err_errno(err, errno, "listen on admin address %s", text);
        if (made >= 0) {
            close(made);
        }
        return s;
    }
    *fd = made;
    return STATUS_OK;
}

void admin_address_of(int fd, char *text, size_t size)
{
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof bound;
    char host[64] = "";
    char port[16] = "";
    ASSERT(getsockname(fd, (struct sockaddr *)&bound, &length) == 0);
    (void)getnameinfo((struct sockaddr *)&bound, length, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, size, bound.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
