/* One HTTP request, bounded by one deadline for all of it. The address comes from a file that the
 * asked process wrote; the answer is checked for being JSON, no more. */
#include "common/base/peek.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/peek_stream.h"
#include "common/base/tokens.h"
#include "common/base/utf8.h"

#define ANSWER_MAX_BYTES (1u << 20)
#define ADDRESS_SIZE     300
#define REQUEST_SIZE     5120 /* a token file has at most 4096 bytes */

struct peek_access peek_access_of(const struct experiment *experiment)
{
    return (struct peek_access){.token_file = experiment->token_file, .tls_ca = experiment->tls_ca};
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

const char *peek_address_host(const char *address, bool *tls)
{
    static const char with[] = "https://", without[] = "http://";
    *tls = strncmp(address, with, strlen(with)) == 0;
    return *tls                                              ? address + strlen(with)
           : strncmp(address, without, strlen(without)) == 0 ? address + strlen(without)
                                                             : address;
}

/* The request, with the token where there is one. */
static status make_request(char request[REQUEST_SIZE], const char *host, const char *page,
                           const struct peek_access *access, struct err *err)
{
    char *token = NULL;
    if (access->token_file != NULL && access->token_file[0] != '\0' &&
        token_read(&token, access->token_file, err) != STATUS_OK) {
        return STATUS_DENIED; /* whatever is wrong with the file: there is no token to show */
    }
    /* HTTP/1.0, so that the server closes the connection at the end of its answer. */
    const int n =
        snprintf(request, REQUEST_SIZE, "GET %.200s HTTP/1.0\r\nHost: %.200s\r\n%s%s%s\r\n", page,
                 host, token != NULL ? "Authorization: Bearer " : "", token != NULL ? token : "",
                 token != NULL ? "\r\n" : "");
    ASSERT(n > 0 && n < REQUEST_SIZE);
    if (token != NULL) {
        explicit_bzero(token, strlen(token));
    }
    mem_free(token);
    return STATUS_OK;
}

/* Sends the request and reads the whole answer; TIMEOUT where nothing comes in time: a process that
 * is stopped still has a kernel that accepts connections for it. */
static status exchange(char *answer, size_t size, const char *host, bool tls, const char *request,
                       const struct peek_access *access, uint64_t deadline_ns, struct err *err)
{
    struct admin_address address;
    struct peek_stream stream;
    status s = admin_address_parse(&address, host, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = peek_stream_open(&stream, &address, deadline_ns, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (tls) {
        s = peek_stream_secure(&stream, &address, access->tls_ca, err);
    }
    if (s == STATUS_OK && (!peek_stream_write(&stream, request, strlen(request)) ||
                           peek_stream_read(&stream, answer, size) == 0)) {
        /* Who speaks TLS closes the connection when it sees a request without. */
        s = clock_now_ns() >= deadline_ns
                ? err_set(err, STATUS_TIMEOUT, "no answer: the process is stopped, or too busy")
                : err_set(err, STATUS_UNAVAILABLE, "%s: no answer%s%s", host,
                          tls ? "" : "; is it https://", tls ? "" : host);
    }
    peek_stream_close(&stream);
    return s;
}

/* The JSON in the answer, or why there is none. */
static status judge(cJSON **json, char *answer, const char *host, const char *page, struct err *err)
{
    /* "HTTP/1.1 401 Unauthorized", headers, an empty line, and then what is told. */
    char *body = strstr(answer, "\r\n\r\n");
    const char *space = strchr(answer, ' ');
    const int code = space != NULL ? atoi(space + 1) : 0;
    if (body != NULL && (code == 401 || code == 403)) {
        body[4 + strcspn(body + 4, "\r\n")] = '\0';
        utf8_clean(body + 4);
        return err_set(err, STATUS_DENIED, "%s: %.160s", host, body + 4);
    }
    *json = body != NULL ? cJSON_Parse(body + 4) : NULL;
    return *json != NULL ? STATUS_OK
                         : err_set(err, STATUS_INVALID, "%s%s: the answer is not JSON", host, page);
}

status peek_json_at(cJSON **json, const char *address, const char *page,
                    const struct peek_access *access, uint64_t timeout_ms, struct err *err)
{
    /* One deadline for connecting, sending and reading together. */
    const uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    bool tls;
    const char *host = peek_address_host(address, &tls);
    char request[REQUEST_SIZE];
    status s = make_request(request, host, page, access, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *answer = mem_new(ANSWER_MAX_BYTES);
    s = answer == NULL
            ? err_set(err, STATUS_NO_MEMORY, "answer")
            : exchange(answer, ANSWER_MAX_BYTES, host, tls, request, access, deadline_ns, err);
    explicit_bzero(request, sizeof request);
    s = s == STATUS_OK ? judge(json, answer, host, page, err) : s;
    mem_free(answer);
    return s;
}

status peek_json(cJSON **json, const char *address_file, const char *page,
                 const struct peek_access *access, uint64_t timeout_ms, struct err *err)
{
    /* The address file is the only thing that is known of the process. */
    char address[ADDRESS_SIZE];
    const status s = peek_address(address, sizeof address, address_file, err);
    if (s != STATUS_OK) {
        return s;
    }
    const status asked = peek_json_at(json, address, page, access, timeout_ms, err);
    return asked == STATUS_INVALID ? err_context(err, asked, "%s", address_file) : asked;
}
