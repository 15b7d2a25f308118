/* HTTP through libmicrohttpd with its own polling thread: GET and HEAD of a table of pages, nothing
 * else. */
#include "common/base/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define PAGES_MAX       32
#define CONNECTIONS_MAX 64
#define IDLE_S          10

struct page {
    const char *path;
    const char *content_type;
    admin_page *make;
    void *arg;
};

struct admin {
    struct MHD_Daemon *daemon;
    atomic_bool serving;
    pthread_mutex_t lock; /* guards pages, n_pages */
    struct page pages[PAGES_MAX];
    size_t n_pages;
    char address[128];
    char *port_file; /* or NULL */
};

/* ---- addresses ---- */

/* "host:port" or "[v6]:port" -> host, port. */
static status split_address(const char *address, char host[128], char port[16], struct err *err)
{
    const char *colon = strrchr(address, ':');
    const bool brackets = address[0] == '[' && colon != NULL && colon > address && colon[-1] == ']';
    const char *start = brackets ? address + 1 : address;
    const size_t length = colon == NULL ? 0 : (size_t)(colon - start) - (brackets ? 1 : 0);
    if (colon == NULL || length == 0 || length >= 128 || strlen(colon + 1) == 0 ||
        strlen(colon + 1) >= 6 || strspn(colon + 1, "0123456789") != strlen(colon + 1)) {
        return err_set(err, STATUS_INVALID, "admin address \"%.64s\": expected HOST:PORT", address);
    }
    memcpy(host, start, length);
    host[length] = '\0';
    snprintf(port, 16, "%s", colon + 1);
    return STATUS_OK;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* A listening socket on `address`. */
static status listen_on(const char *address, bool allow_remote, int *fd, struct err *err)
{
    char host[128];
    char port[16];
    status s = split_address(address, host, port, err);
    if (s != STATUS_OK) {
        return s;
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const int gai = getaddrinfo(host, port, &hints, &found);
    if (gai != 0) {
        return err_set(err, STATUS_INVALID, "admin address \"%.64s\": %s", address,
                       gai_strerror(gai));
    }
    int made = -1;
    if (!allow_remote && !is_loopback(found->ai_addr)) {
        s = err_set(
            err, STATUS_DENIED,
            "admin address %s: is not loopback; set allow_insecure to show it to the network",
            address);
        goto free_found;
    }
    const int on = 1;
    made = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0 || setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(made, found->ai_addr, found->ai_addrlen) != 0 || listen(made, CONNECTIONS_MAX) != 0) {
        s = err_errno(err, errno, "listen on admin address %s", address);
        if (made >= 0) {
            close(made);
        }
        goto free_found;
    }
    *fd = made;
free_found:
    freeaddrinfo(found);
    return s;
}

/* What the socket is really bound to, as host:port. */
static void name_socket(int fd, char *out, size_t size)
{
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof bound;
    char host[64] = "";
    char port[16] = "";
    ASSERT(getsockname(fd, (struct sockaddr *)&bound, &length) == 0);
    (void)getnameinfo((struct sockaddr *)&bound, length, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, bound.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- requests ---- */

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned code,
                             const char *content_type, struct MHD_Response *response)
{
    if (response == NULL) {
        return MHD_NO; /* closes the connection */
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    const enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result reply_text(struct MHD_Connection *connection, unsigned code,
                                  const char *text)
{
    /* The text is static; the library takes it as not const, and does not write to it. */
    union {
        const char *in;
        char *out;
    } untouched = {.in = text};
    return reply(
        connection, code, "text/plain; charset=utf-8",
        MHD_create_response_from_buffer(strlen(text), untouched.out, MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    (void)version;
    (void)upload;
    (void)upload_size;
    (void)state;
    struct admin *admin = arg;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        return reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    if (strcmp(url, "/healthz") == 0) {
        const bool serving = atomic_load(&admin->serving);
        return reply_text(connection, serving ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                          serving ? "ok\n" : "stopping\n");
    }
    struct page page = {0};
    pthread_mutex_lock(&admin->lock);
    for (size_t i = 0; i < admin->n_pages && page.make == NULL; i++) {
        if (strcmp(admin->pages[i].path, url) == 0) {
            page = admin->pages[i];
        }
    }
    pthread_mutex_unlock(&admin->lock);
    if (page.make == NULL) {
        return reply_text(connection, MHD_HTTP_NOT_FOUND, "no such page\n");
    }
    char *text = page.make(page.arg);
    if (text == NULL) {
        return reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "could not make this page\n");
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(strlen(text), text, mem_free);
    if (response == NULL) {
        mem_free(text);
    }
    return reply(connection, MHD_HTTP_OK, page.content_type, response);
}

static char *prometheus_page(void *arg)
{
    (void)arg;
    return metrics_prometheus();
}

static char *json_page(void *arg)
{
    (void)arg;
    return metrics_json();
}

/* ---- life ---- */

static status write_port_file(struct admin *admin, const char *port_file, struct err *err)
{
    char *copy = mem_text(port_file);
    if (copy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", port_file);
    }
    const struct file_part parts[] = {{admin->address, strlen(admin->address)}, {"\n", 1}};
    const status s = file_replace(port_file, parts, 2, err);
    if (s != STATUS_OK) {
        mem_free(copy);
        return s;
    }
    admin->port_file = copy;
    return STATUS_OK;
}

status admin_open(struct admin **admin, const char *address, bool allow_remote,
                  const char *port_file, struct err *err)
{
    struct admin *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "admin page: out of memory");
    }
    ASSERT(pthread_mutex_init(&made->lock, NULL) == 0);
    atomic_store(&made->serving, true);
    admin_add_page(made, "/metrics", "text/plain; version=0.0.4; charset=utf-8", prometheus_page,
                   NULL);
    admin_add_page(made, "/metrics.json", "application/json", json_page, NULL);

    int fd = -1;
    status s = listen_on(address[0] == '\0' ? "127.0.0.1:0" : address, allow_remote, &fd, err);
    if (s != STATUS_OK) {
        goto free_made;
    }
    name_socket(fd, made->address, sizeof made->address);
    made->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_USE_ITC, 0, NULL, NULL, on_request,
        made, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)32768, MHD_OPTION_END);
    if (made->daemon == NULL) {
        s = err_set(err, STATUS_IO, "admin page on %s: HTTP server did not start", made->address);
        close(fd);
        goto free_made;
    }
    s = port_file == NULL ? STATUS_OK : write_port_file(made, port_file, err);
    if (s != STATUS_OK) {
        MHD_stop_daemon(made->daemon);
        goto free_made;
    }
    *admin = made;
    return STATUS_OK;
free_made:
    pthread_mutex_destroy(&made->lock);
    mem_free(made);
    return s;
}

void admin_add_page(struct admin *admin, const char *path, const char *content_type,
                    admin_page *page, void *arg)
{
    pthread_mutex_lock(&admin->lock);
    ASSERT(admin->n_pages < PAGES_MAX);
    admin->pages[admin->n_pages++] = (struct page){path, content_type, page, arg};
    pthread_mutex_unlock(&admin->lock);
}

void admin_set_serving(struct admin *admin, bool serving)
{
    atomic_store(&admin->serving, serving);
}

const char *admin_address(const struct admin *admin)
{
    return admin->address;
}

void admin_close(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    if (admin->port_file != NULL) {
        unlink(admin->port_file);
    }
    MHD_stop_daemon(admin->daemon);
    pthread_mutex_destroy(&admin->lock);
    mem_free(admin->port_file);
    mem_free(admin);
}
