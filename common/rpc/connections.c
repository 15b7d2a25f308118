/* A table of sockets for each server. gRPC does not tell when it closes one, so those that are
 * closed are found when the number matters: at a limit, or when it is asked for. A descriptor's
 * number is used again, a socket's cookie never is. */
#include "common/rpc/connections.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LOG_MODULE "rpc"
#include "common/base/log.h"
#include "common/base/memory.h"

struct connection {
    int fd;
    uint64_t cookie;
    struct in6_addr host; /* IPv4 as ::ffff:a.b.c.d; all zero: a Unix socket */
};

struct connections {
    struct connections *next; /* in `all` */
    struct connections_at at;
    size_t max, max_host;
    struct connection *open; /* room for `max` */
    size_t n_open;           /* those that were closed since they were last looked at included */
    uint64_t refused;
};

/* Guards everything here: accepting is rare, and what is done under it is short. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct connections *all; /* servers that listen */

status connections_open(struct connections **opened, struct connections_at at, size_t max,
                        size_t max_host)
{
    struct connections *connections = mem_new(sizeof *connections);
    struct connection *open = mem_array(max, sizeof *open);
    if (connections == NULL || open == NULL) {
        mem_free(connections);
        mem_free(open);
        return STATUS_NO_MEMORY;
    }
    *connections = (struct connections){
        .at = at, .max = max, .max_host = max_host > 0 ? max_host : max, .open = open};
    pthread_mutex_lock(&lock);
    connections->next = all;
    all = connections;
    pthread_mutex_unlock(&lock);
    *opened = connections;
    return STATUS_OK;
}

void connections_close(struct connections *connections)
{
    if (connections == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    struct connections **link = &all;
    while (*link != connections) {
        link = &(*link)->next;
    }
    *link = connections->next;
    pthread_mutex_unlock(&lock);
    mem_free(connections->open);
    mem_free(connections);
}

/* An address of the socket calls, of any family that a server listens at. */
union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* The server that listens there; NULL: none of ours. */
static struct connections *server_at(int listening)
{
    union address address = {0};
    socklen_t size = sizeof address;
    if (getsockname(listening, &address.any, &size) != 0) {
        return NULL;
    }
    /* IPv4 and IPv6 have the port in the same place. */
    const bool local = address.any.sa_family == AF_UNIX;
    const int port = local ? 0 : ntohs(address.in.sin_port);
    for (struct connections *server = all; server; server = server->next) {
        for (size_t i = 0; i < server->at.n; i++) {
            if (local ? strncmp(server->at.targets[i].path, address.un.sun_path,
                                sizeof address.un.sun_path) == 0
                      : server->at.ports[i] == port) {
                return server;
            }
        }
    }
    return NULL;
}

/* What identifies the socket; false: it is none. */
static bool cookie_of(int fd, uint64_t *cookie)
{
    socklen_t size = sizeof *cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &size) == 0;
}

static struct in6_addr host_of(int fd)
{
    union address address = {0};
    socklen_t size = sizeof address;
    struct in6_addr host = IN6ADDR_ANY_INIT;
    if (getpeername(fd, &address.any, &size) != 0) {
        return host; /* the peer has gone already */
    }
    if (address.any.sa_family == AF_INET6) {
        host = address.in6.sin6_addr;
    } else if (address.any.sa_family == AF_INET) {
        host.s6_addr[10] = host.s6_addr[11] = 0xff;
        memcpy(&host.s6_addr[12], &address.in.sin_addr, 4);
    }
    return host;
}

/* Forgets those that are closed. */
static void forget_closed(struct connections *server)
{
    size_t n = 0;
    uint64_t cookie;
    for (size_t i = 0; i < server->n_open; i++) {
        if (cookie_of(server->open[i].fd, &cookie) && cookie == server->open[i].cookie) {
            server->open[n++] = server->open[i];
        }
    }
    server->n_open = n;
}

/* The option whose limit stands against one more connection of this host; NULL: none. */
static const char *limit_against(const struct connections *server, const struct in6_addr *host)
{
    if (server->n_open >= server->max) {
        return "max_connections";
    }
    size_t same = 0;
    const bool local = IN6_IS_ADDR_UNSPECIFIED(host);
    for (size_t i = 0; i < server->n_open && !local; i++) {
        same += IN6_ARE_ADDR_EQUAL(&server->open[i].host, host) ? 1 : 0;
    }
    return same >= server->max_host ? "max_host_connections" : NULL;
}

static const char *host_text(const struct in6_addr *host, char text[INET6_ADDRSTRLEN])
{
    if (IN6_IS_ADDR_UNSPECIFIED(host)) {
        return "unix";
    }
    if (IN6_IS_ADDR_V4MAPPED(host)) {
        return inet_ntop(AF_INET, &host->s6_addr[12], text, INET6_ADDRSTRLEN);
    }
    return inet_ntop(AF_INET6, host, text, INET6_ADDRSTRLEN);
}

/* connections_admit, under the lock. */
static bool admit(struct connections *server, int accepted)
{
    struct connection connection = {.fd = accepted, .host = host_of(accepted)};
    if (!cookie_of(accepted, &connection.cookie)) {
        return true; /* not a socket any more: gRPC will find out */
    }
    if (limit_against(server, &connection.host)) {
        forget_closed(server);
    }
    const char *limit = limit_against(server, &connection.host);
    if (limit) {
        char text[INET6_ADDRSTRLEN];
        log_warn("a connection is turned away by %s from=%s open=%zu", limit,
                 host_text(&connection.host, text), server->n_open);
        server->refused++;
        return false;
    }
    server->open[server->n_open++] = connection;
    return true;
}

bool connections_admit(int listening, int accepted)
{
    pthread_mutex_lock(&lock);
    struct connections *server = server_at(listening);
    const bool admitted = server == NULL || admit(server, accepted);
    pthread_mutex_unlock(&lock);
    return admitted;
}

void connections_count(struct connections *connections, uint64_t *open, uint64_t *refused)
{
    pthread_mutex_lock(&lock);
    forget_closed(connections);
    *open = connections->n_open;
    *refused = connections->refused;
    pthread_mutex_unlock(&lock);
}
