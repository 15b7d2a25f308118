/* The admin page of a process: a small HTTP server (libmicrohttpd, its own thread) over loopback by
 * default.
 *
 *   GET /metrics   Prometheus text          GET /metrics.json   the same as JSON
 *   GET /healthz   200 "ok" while serving, 503 "stopping" then
 *   GET /<path>    what the process registered
 *
 * Anything else is 404, other methods than GET and HEAD are 405, and a Host header that is neither
 * a numeric address nor a name of this machine is 403. Where there is a file of tokens, all but
 * /healthz is 401 without a known token ("Authorization: Bearer TOKEN", or TOKEN as the password of
 * any user), and 403 with one that has neither the role `read` nor `admin`.
 *
 * At most 64 connections; one is closed after 10 s without a byte, or when a request with its answer
 * has taken 20 s. A handler runs on the HTTP thread and must answer from a snapshot, at once. */
#ifndef HINDCAST_BASE_ADMIN_H
#define HINDCAST_BASE_ADMIN_H

#include <stdint.h>

#include "common/base/status.h"

struct admin;

/* Returns heap text (mem_free), or NULL for 500. */
typedef char *admin_page(void *arg);

struct admin_settings {
    /* "127.0.0.1:0", "[::1]:9090", "0.0.0.0:9090"; empty: 127.0.0.1 and a free port. */
    const char *address;
    /* Bearer tokens and their roles (common/base/roles.h), read again when the file changes; NULL or
     * empty: everybody who reaches the page may read it. */
    const char *tokens_file;
    /* Beyond loopback the page is HTTPS with these; NULL or empty: HTTP. */
    const char *tls_cert;
    const char *tls_key;
    /* Beyond loopback also without tokens, or without TLS. */
    bool allow_insecure;
    const char *port_file; /* or NULL */
};

/* Listens and, where `port_file` is not NULL, writes "host:port\n" there, with "https://" before it
 * where that is so, aside and renamed, so that others find it. DENIED: an address beyond loopback
 * without tokens and TLS, or a file with secrets that others may read; INVALID, NOT_FOUND, IO name
 * the address or the file. */
status admin_open(struct admin **admin, const struct admin_settings *settings,
                  struct err *err) MUST_CHECK;
/* Would it be refused for what the settings say? The same errors; opens nothing. */
status admin_check(const struct admin_settings *settings, struct err *err) MUST_CHECK;
/* Before or after requests came; `path` and `content_type` must stay valid until admin_close. At
 * most 32 pages. */
void admin_add_page(struct admin *admin, const char *path, const char *content_type,
                    admin_page *page, void *arg);
/* The file behind what follows a prefix in a URL: writes its path and returns its content type, or NULL
 * for 404. What is not a regular file is 404, too. */
typedef const char *admin_find_file(void *arg, const char *rest, char *path, size_t size);
/* Files under a prefix ("/films/"), which must stay valid until admin_close. One such prefix. */
void admin_add_files(struct admin *admin, const char *prefix, admin_find_file *find, void *arg);
/* One more host name under which the page answers; copied. At most
 * 30. Any thread. */
void admin_allow_host(struct admin *admin, const char *host);
/* The total time of a request from now on. Any thread. */
void admin_set_request_limit(struct admin *admin, uint64_t limit_ms);
void admin_set_serving(struct admin *admin, bool serving); /* what /healthz says; any thread */
const char *admin_address(const struct admin *admin);      /* "127.0.0.1:34567" */
bool admin_has_tls(const struct admin *admin);
void admin_close(struct admin *admin); /* waits for requests under way; removes the port file */

#endif
