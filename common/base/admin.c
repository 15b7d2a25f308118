/* HTTP through libmicrohttpd, which has one thread that polls all connections: GET and HEAD of a
 * table of pages, and nothing else.
 *
 * Three things bound what a client can do. Connections are few. A connection without a byte for
 * IDLE_S seconds is closed by the library. And a request must be complete, its answer read, within
 * a total time: the library has no such limit, so a client that reads one byte a second could keep
 * its connection for ever. A small thread of our own (watch_requests) shuts such sockets down, and
 * the library's thread then finds them closed.
 *
 * A page answers only under a name or address of this machine. Otherwise a web site could make its
 * own name point to 127.0.0.1 and read the page through the browser of somebody who works here. */
#include "common/base/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/admin_access.h"
#include "common/base/admin_address.h"
#include "common/base/admin_tls.h"
#include "common/base/clock.h"
#include "common/base/crash.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

/* PAGES_MAX and HOSTS_MAX size the tables in struct admin. CONNECTIONS_MAX bounds the sockets that
 * the library admits, so that a crowd of clients cannot use up the file descriptors of the
 * process. */
#define PAGES_MAX       32
#define CONNECTIONS_MAX 64
#define IDLE_S          10
#define REQUEST_MS      20000u /* default of the total time */
#define WATCH_PERIOD_MS 250u
#define HOSTS_MAX       32
#define HOST_SIZE       256

/* One open connection, and when its present request must be complete. */
struct connection {
    int fd; /* -1: the slot is free */
    uint64_t deadline_ns;
};

/* A registered page, as given to admin_add_page. The texts are the caller's, who keeps them until
 * admin_close. */
struct page {
    const char *path;
    const char *content_type;
    admin_page *make;
    void *arg;
};

/* As given to admin_add_files. */
struct files {
    const char *prefix; /* NULL: none */
    admin_find_file *find;
    void *arg;
};

struct admin {
    struct MHD_Daemon *daemon;
    /* What /healthz says. Set by any thread, read by the HTTP thread. */
    atomic_bool serving;
    pthread_mutex_t lock; /* guards pages, n_pages, files */
    struct page pages[PAGES_MAX];
    size_t n_pages;
    struct files files;
    /* "host:port" with the port that is really bound; constant after admin_open. */
    char address[128];
    char *port_file;                  /* or NULL */
    char hosts[HOSTS_MAX][HOST_SIZE]; /* names under which the page answers; lock */
    size_t n_hosts;                   /* lock */
    struct admin_tls *tls;            /* NULL: HTTP without TLS */
    struct admin_access *access;      /* HTTP thread */

    /* The thread that watches requests, and what it watches. */
    pthread_t watch;
    pthread_mutex_t watch_lock; /* guards what follows */
    /* Signalled with watch_ending, so that closing does not have to wait for a period. */
    pthread_cond_t watch_end;
    bool watch_ending;
    /* How long a request may take in all. */
    uint64_t request_ms;
    /* One slot for each open connection; the library keeps a pointer to it as the socket's
     * context. */
    struct connection connections[CONNECTIONS_MAX];
};

/* ---- settings ---- */

static bool given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* What the settings say, resolved and read, before anything is bound. */
struct parts {
    struct addrinfo *found; /* the first of its addresses is used */
    struct admin_access *access;
    struct admin_tls *tls;
};

static void release(struct parts *parts)
{
    if (parts->found != NULL) {
        freeaddrinfo(parts->found);
    }
    admin_access_close(parts->access);
    admin_tls_close(parts->tls);
}

/* By default only this machine can reach the page, on any free port. */
static const char *address_of(const struct admin_settings *settings)
{
    return settings->address[0] == '\0' ? "127.0.0.1:0" : settings->address;
}

/* Beyond loopback a page needs tokens, and TLS, without which tokens could be read on the way. */
static status check_exposure(const struct admin_settings *settings, struct err *err)
{
    const bool tokens = given(settings->tokens_file), tls = given(settings->tls_cert);
    if ((tokens && tls) || settings->allow_insecure) {
        return STATUS_OK;
    }
    return err_set(err, STATUS_DENIED,
                   "admin address %s: is not loopback, and needs %s%s%s (or allow_insecure, which "
                   "shows it to the network)",
                   settings->address, tokens ? "" : "admin_tokens_file",
                   !tokens && !tls ? " and " : "", tls ? "" : "tls_cert with tls_key");
}

/* On failure nothing is to be released. */
static status prepare(struct parts *parts, const struct admin_settings *settings, struct err *err)
{
    *parts = (struct parts){0};
    status s = admin_address_resolve(&parts->found, address_of(settings), err);
    if (s != STATUS_OK) {
        return s;
    }
    const bool remote = !admin_address_is_loopback(parts->found->ai_addr);
    s = remote ? check_exposure(settings, err) : STATUS_OK;
    if (s == STATUS_OK) {
        s = admin_access_open(&parts->access, settings->tokens_file, err);
    }
    /* On loopback nobody listens in. */
    if (s == STATUS_OK && remote && (given(settings->tls_cert) || given(settings->tls_key))) {
        s = admin_tls_open(&parts->tls, settings->tls_cert, settings->tls_key, err);
        s = s == STATUS_OK ? s : err_context(err, s, "admin page");
    }
    if (s != STATUS_OK) {
        release(parts);
    }
    return s;
}

status admin_check(const struct admin_settings *settings, struct err *err)
{
    struct parts parts;
    const status s = prepare(&parts, settings, err);
    if (s == STATUS_OK) {
        release(&parts);
    }
    return s;
}

/* ---- under which names ---- */

void admin_allow_host(struct admin *admin, const char *host)
{
    /* Where the table is full the name is dropped, and the page answers 403 under it. */
    pthread_mutex_lock(&admin->lock);
    if (admin->n_hosts < HOSTS_MAX && host[0] != '\0') {
        snprintf(admin->hosts[admin->n_hosts++], HOST_SIZE, "%s", host);
    }
    pthread_mutex_unlock(&admin->lock);
}

/* The names that are known from the start: this machine's, and what the address was given as. */
static void allow_own_hosts(struct admin *admin, const char *address)
{
    char name[HOST_SIZE] = "";
    struct admin_address parsed;
    /* localhost and the machine's own name; if the name cannot be had, the others still count. */
    admin_allow_host(admin, "localhost");
    if (gethostname(name, sizeof name - 1) == 0) {
        admin_allow_host(admin, name);
    }
    /* Where the address was given with a name, clients send that name. */
    if (admin_address_parse(&parsed, address, NULL) == STATUS_OK) {
        admin_allow_host(admin, parsed.host);
    }
}

/* "name:port", "1.2.3.4", "[::1]:80" -> the host without port and brackets. False: too long. */
static bool host_of(const char *header, char host[HOST_SIZE])
{
    const bool brackets = header[0] == '[';
    const char *begin = brackets ? header + 1 : header;
    const size_t size = strcspn(begin, brackets ? "]" : ":");
    if (size >= HOST_SIZE) {
        return false;
    }
    memcpy(host, begin, size);
    host[size] = '\0';
    return true;
}

/* May the page answer to this Host header? Numeric addresses always: no foreign name leads to them.
 * A name must be one of ours as a whole: "localhost.evil.example" is somebody else's. */
static bool host_is_ours(struct admin *admin, const char *header)
{
    char host[HOST_SIZE];
    /* Large enough for both families. */
    struct in6_addr binary;
    if (header == NULL) {
        return true; /* HTTP/1.0; browsers always send one */
    }
    if (!host_of(header, host)) {
        return false;
    }
    /* An address in digits, or one of the names, in any case of letters. */
    bool ours = inet_pton(AF_INET, host, &binary) == 1 || inet_pton(AF_INET6, host, &binary) == 1;
    pthread_mutex_lock(&admin->lock);
    for (size_t i = 0; i < admin->n_hosts && !ours; i++) {
        ours = strcasecmp(host, admin->hosts[i]) == 0;
    }
    pthread_mutex_unlock(&admin->lock);
    return ours;
}

/* ---- how long a request may take ---- */

/* On the library's thread, when a connection opens or closes. A request begins when its connection
 * opens, or when the one before it is complete. *slot is a pointer that the library keeps for us
 * with the connection, NULL at first. */
static void on_connection(void *arg, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode what)
{
    struct admin *admin = arg;
    pthread_mutex_lock(&admin->watch_lock);
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct connection *closed = *slot;
        if (closed != NULL) {
            closed->fd = -1; /* before the library closes it: the number may be used again */
        }
    } else {
        admin_tls_enter(admin->tls);
        /* A slot for each connection: the library admits no more than there are slots. */
        for (size_t i = 0; i < CONNECTIONS_MAX && *slot == NULL; i++) {
            if (admin->connections[i].fd < 0) {
                admin->connections[i] = (struct connection){
                    .fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)
                              ->connect_fd,
                    .deadline_ns = clock_now_ns() + admin->request_ms * NS_PER_MS};
                *slot = &admin->connections[i];
            }
        }
    }
    pthread_mutex_unlock(&admin->watch_lock);
}

/* The answer is out: the next request on this connection has its own time. */
static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)state;
    (void)why;
    struct admin *admin = arg;
    /* The slot that on_connection left with this connection. */
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *slot = info == NULL ? NULL : info->socket_context;
    pthread_mutex_lock(&admin->watch_lock);
    if (slot != NULL) {
        slot->deadline_ns = clock_now_ns() + admin->request_ms * NS_PER_MS;
    }
    pthread_mutex_unlock(&admin->watch_lock);
}

/* The thread that closes connections whose request takes too long. It holds watch_lock except while
 * it waits: on_connection needs the lock to free a slot before the library closes the socket, so
 * the number that is shut down here cannot belong to another file already. */
static void *watch_requests(void *arg)
{
    struct admin *admin = arg;
    pthread_mutex_lock(&admin->watch_lock);
    while (!admin->watch_ending) {
        const uint64_t now_ns = clock_now_ns();
        for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
            struct connection *connection = &admin->connections[i];
            /* The library's thread sees the socket end, and closes it. */
            if (connection->fd >= 0 && now_ns >= connection->deadline_ns) {
                shutdown(connection->fd, SHUT_RDWR);
            }
        }
        /* Until the next look, or until the end. */
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)(WATCH_PERIOD_MS * NS_PER_MS);
        until.tv_sec += until.tv_nsec / (long)NS_PER_S;
        until.tv_nsec %= (long)NS_PER_S;
        pthread_cond_timedwait(&admin->watch_end, &admin->watch_lock, &until);
    }
    pthread_mutex_unlock(&admin->watch_lock);
    return NULL;
}

void admin_set_request_limit(struct admin *admin, uint64_t limit_ms)
{
    pthread_mutex_lock(&admin->watch_lock);
    admin->request_ms = limit_ms;
    pthread_mutex_unlock(&admin->watch_lock);
}

/* Starts watch_requests. On failure there is no thread to end. */
static status start_watch(struct admin *admin, struct err *err)
{
    /* Signals are for other threads, as with the library's own. */
    sigset_t all, before;
    sigfillset(&all);
    crash_unblock_faults(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&admin->watch, NULL, watch_requests, admin);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return err_errno(err, error, "admin page: start a thread");
    }
    pthread_setname_np(admin->watch, "admin-watch");
    return STATUS_OK;
}

/* Ends the watch thread, which must have been started, and waits for it. */
static void end_watch(struct admin *admin)
{
    pthread_mutex_lock(&admin->watch_lock);
    admin->watch_ending = true;
    pthread_cond_signal(&admin->watch_end);
    pthread_mutex_unlock(&admin->watch_lock);
    pthread_join(admin->watch, NULL);
}

/* ---- requests ---- */

/* Sends `response`, which it takes; NULL, for lack of memory, closes the connection. */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned code,
                             const char *content_type, struct MHD_Response *response)
{
    if (response == NULL) {
        return MHD_NO; /* closes the connection */
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    /* No cache may answer in our place, and no browser may guess another type. */
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    /* Browsers ask for a password; programs see that a bearer token is as good. */
    if (code == MHD_HTTP_UNAUTHORIZED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                "Basic realm=\"hindcast\", charset=\"UTF-8\"");
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                "Bearer realm=\"hindcast\"");
    }
    /* Connections are few: whoever may not read the page keeps none. */
    if (code == MHD_HTTP_UNAUTHORIZED || code == MHD_HTTP_FORBIDDEN) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    /* The library's queue holds a reference of its own, so ours is given up in either case. */
    const enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

/* A short answer in plain text, which must be static. */
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

/* Sends a file as it is now; whatever replaces it meanwhile is another file. */
static enum MHD_Result reply_file(struct MHD_Connection *connection, const char *path,
                                  const char *content_type)
{
    struct stat about;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        if (fd >= 0) {
            close(fd);
        }
        return reply_text(connection, MHD_HTTP_NOT_FOUND, "no such file\n");
    }
    struct MHD_Response *response = MHD_create_response_from_fd64((uint64_t)about.st_size, fd);
    if (response == NULL) {
        close(fd);
    }
    return reply(connection, MHD_HTTP_OK, content_type, response);
}

/* Looks among the files that were added, for what no page is. */
static enum MHD_Result answer_with_file(struct admin *admin, struct MHD_Connection *connection,
                                        const char *url)
{
    char path[4096];
    pthread_mutex_lock(&admin->lock);
    const struct files files = admin->files;
    pthread_mutex_unlock(&admin->lock);
    const char *content_type = NULL;
    if (files.prefix != NULL && strncmp(url, files.prefix, strlen(files.prefix)) == 0) {
        content_type = files.find(files.arg, url + strlen(files.prefix), path, sizeof path);
    }
    return content_type != NULL ? reply_file(connection, path, content_type)
                                : reply_text(connection, MHD_HTTP_NOT_FOUND, "no such page\n");
}

/* One request, on the HTTP thread: who may ask, how, and for which page. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    (void)version;
    (void)upload;
    (void)upload_size;
    (void)state;
    struct admin *admin = arg;
    /* A foreign host name comes first: a web site of somebody else's must learn nothing here. */
    if (!host_is_ours(admin, MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                         MHD_HTTP_HEADER_HOST))) {
        return reply_text(connection, MHD_HTTP_FORBIDDEN,
                          "this page does not answer under that host name; see "
                          "experiment.admin_hosts\n");
    }
    /* Pages are read, and never change anything. */
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        return reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    /* For load balancers and probes, which have no token; it tells nothing else. */
    if (strcmp(url, "/healthz") == 0) {
        const bool serving = atomic_load(&admin->serving);
        return reply_text(connection, serving ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                          serving ? "ok\n" : "stopping\n");
    }
    const char *why = NULL;
    const unsigned code = admin_access_check(admin->access, connection, &why);
    if (code != 0) {
        return reply_text(connection, code, why);
    }
    /* The page is copied out, so that it is made without the lock. */
    struct page page = {0};
    pthread_mutex_lock(&admin->lock);
    for (size_t i = 0; i < admin->n_pages && page.make == NULL; i++) {
        if (strcmp(admin->pages[i].path, url) == 0) {
            page = admin->pages[i];
        }
    }
    pthread_mutex_unlock(&admin->lock);
    if (page.make == NULL) {
        return answer_with_file(admin, connection, url);
    }
    /* The page is made now, from a snapshot; the response owns its text. */
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

/* The two pages of metrics, in the form that the page table wants. */
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

/* ---- opening and closing ---- */

/* What stands before the address in the port file. */
static const char *scheme_of(const struct admin *admin)
{
    return admin->tls != NULL ? "https://" : "";
}

/* Writes the address where others look for it, and keeps the path to remove it at the end. */
static status write_port_file(struct admin *admin, const char *port_file, struct err *err)
{
    char *copy = mem_text(port_file);
    if (copy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", port_file);
    }
    const char *scheme = scheme_of(admin);
    const struct file_part parts[] = {
        {scheme, strlen(scheme)}, {admin->address, strlen(admin->address)}, {"\n", 1}};
    const status s = file_replace(port_file, parts, 3, err);
    if (s != STATUS_OK) {
        mem_free(copy);
        return s;
    }
    admin->port_file = copy;
    return STATUS_OK;
}

/* The part of opening that needs no system call which may fail. NULL: out of memory. */
static struct admin *new_admin(void)
{
    struct admin *admin = mem_new(sizeof *admin);
    if (admin == NULL) {
        return NULL;
    }
    /* The wait between two looks must not depend on the wall clock. */
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&admin->watch_end, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&admin->lock, NULL);
    pthread_mutex_init(&admin->watch_lock, NULL);
    atomic_store(&admin->serving, true);
    admin->request_ms = REQUEST_MS;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        admin->connections[i].fd = -1;
    }
    (void)admin_tls_expiry(); /* it is there without TLS, too */
    /* The pages that every process has. */
    admin_add_page(admin, "/metrics", "text/plain; version=0.0.4; charset=utf-8", prometheus_page,
                   NULL);
    admin_add_page(admin, "/metrics.json", "application/json", json_page, NULL);
    return admin;
}

/* Frees what new_admin made. The daemon and the watch thread must have ended. */
static void free_admin(struct admin *admin)
{
    pthread_cond_destroy(&admin->watch_end);
    pthread_mutex_destroy(&admin->watch_lock);
    pthread_mutex_destroy(&admin->lock);
    admin_access_close(admin->access);
    admin_tls_close(admin->tls);
    mem_free(admin->port_file);
    mem_free(admin);
}

/* Serves on the listening socket, which is the daemon's from then on. */
static status start_daemon(struct admin *admin, int fd, struct err *err)
{
    /* The limits are those at the head of this file, and 32 KiB of memory for each connection. */
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, 32768, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, admin},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, admin},
        {MHD_OPTION_END, 0, NULL}};
    /* One thread polls all connections; MHD_USE_ITC lets MHD_stop_daemon wake it. */
    const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_USE_ITC;
    admin->daemon =
        admin->tls == NULL
            ? MHD_start_daemon(flags, 0, NULL, NULL, on_request, admin, MHD_OPTION_ARRAY, options,
                               MHD_OPTION_END)
            : MHD_start_daemon(flags | MHD_USE_TLS, 0, NULL, NULL, on_request, admin,
                               MHD_OPTION_ARRAY, options, MHD_OPTION_HTTPS_CERT_CALLBACK2,
                               admin_tls_pick, MHD_OPTION_HTTPS_PRIORITIES, ADMIN_TLS_VERSIONS,
                               MHD_OPTION_END);
    return admin->daemon != NULL
               ? STATUS_OK
               : err_set(err, STATUS_IO, "admin page on %s: the HTTP server did not start",
                         admin->address);
}

status admin_open(struct admin **admin, const struct admin_settings *settings, struct err *err)
{
    struct parts parts;
    status s = prepare(&parts, settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct admin *made = new_admin();
    if (made == NULL) {
        release(&parts);
        return err_set(err, STATUS_NO_MEMORY, "admin page: out of memory");
    }
    /* An address that is taken is the most frequent failure. */
    int fd = -1;
    s = admin_address_listen(&fd, parts.found, address_of(settings), CONNECTIONS_MAX, err);
    /* What was read is the page's from here on. */
    made->access = parts.access;
    made->tls = parts.tls;
    freeaddrinfo(parts.found);
    if (s != STATUS_OK) {
        goto free_made;
    }
    /* With port 0 only the socket knows which port it is. */
    admin_address_of(fd, made->address, sizeof made->address);
    allow_own_hosts(made, address_of(settings));
    /* The watch before the daemon: there must be no connection that nobody watches. */
    s = start_watch(made, err);
    if (s != STATUS_OK) {
        goto close_fd;
    }
    s = start_daemon(made, fd, err);
    if (s != STATUS_OK) {
        goto end_watch;
    }
    fd = -1; /* the daemon closes it */
    /* Only a page that answers is announced. */
    s = settings->port_file == NULL ? STATUS_OK : write_port_file(made, settings->port_file, err);
    if (s != STATUS_OK) {
        goto stop_daemon;
    }
    *admin = made;
    return STATUS_OK;
stop_daemon:
    MHD_stop_daemon(made->daemon);
end_watch:
    end_watch(made);
close_fd:
    if (fd >= 0) {
        close(fd);
    }
free_made:
    free_admin(made);
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

void admin_add_files(struct admin *admin, const char *prefix, admin_find_file *find, void *arg)
{
    pthread_mutex_lock(&admin->lock);
    ASSERT(admin->files.prefix == NULL);
    admin->files = (struct files){prefix, find, arg};
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

bool admin_has_tls(const struct admin *admin)
{
    return admin->tls != NULL;
}

void admin_close(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    /* The file goes first, so that nobody reads an address that is about to close. */
    if (admin->port_file != NULL) {
        unlink(admin->port_file);
    }
    /* The watch ends last: a client that does not read must not delay the daemon's end. */
    MHD_stop_daemon(admin->daemon);
    end_watch(admin);
    free_admin(admin);
}
