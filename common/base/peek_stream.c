/* The socket does not block: every wait goes through poll() with what is left until the deadline, so
 * that a process that hangs costs its caller the timeout and not more. */
#include "common/base/peek_stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/pem_files.h"

/* ---- waiting ---- */

/* Rounded up, so that a wait does not end before the deadline. */
static int milliseconds_left(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    return now_ns >= deadline_ns ? 0 : (int)((deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

/* False on the deadline and on an error of poll(); callers treat both as no answer. */
static bool wait_for(const struct peek_stream *stream, short events)
{
    struct pollfd poll_fd = {.fd = stream->fd, .events = events};
    return poll(&poll_fd, 1, milliseconds_left(stream->deadline_ns)) == 1;
}

/* After a call of TLS that could not go on: may it be called again? */
static bool may_repeat(const struct peek_stream *stream, ssize_t code)
{
    if (code == GNUTLS_E_INTERRUPTED) {
        return true;
    }
    return code == GNUTLS_E_AGAIN &&
           wait_for(stream, gnutls_record_get_direction(stream->session) == 1 ? POLLOUT : POLLIN);
}

/* ---- connecting ---- */

/* The address is numeric, so getaddrinfo() asks no name server, which could block for longer. */
static struct addrinfo *numeric(const struct admin_address *address)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    return getaddrinfo(address->host, address->port, &hints, &found) == 0 ? found : NULL;
}

status peek_stream_open(struct peek_stream *stream, const struct admin_address *address,
                        uint64_t deadline_ns, struct err *err)
{
    *stream = (struct peek_stream){.fd = -1, .deadline_ns = deadline_ns};
    struct addrinfo *found = numeric(address);
    bool connected = false;
    if (found != NULL) {
        stream->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        /* A local connection may be there at once; any other one is waited for. */
        connected = stream->fd >= 0 && connect(stream->fd, found->ai_addr, found->ai_addrlen) == 0;
        /* One under way is complete when the socket becomes writable; SO_ERROR has its outcome. */
        if (stream->fd >= 0 && !connected && errno == EINPROGRESS && wait_for(stream, POLLOUT)) {
            int error = 0;
            socklen_t size = sizeof error;
            connected =
                getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
        }
        freeaddrinfo(found);
    }
    if (!connected) {
        peek_stream_close(stream);
        return err_set(err, STATUS_UNAVAILABLE, "%s:%s: no process listens there", address->host,
                       address->port);
    }
    return STATUS_OK;
}

void peek_stream_close(struct peek_stream *stream)
{
    if (stream->session != NULL) {
        gnutls_deinit(stream->session);
    }
    if (stream->credentials != NULL) {
        gnutls_certificate_free_credentials(stream->credentials);
    }
    if (stream->fd >= 0) {
        close(stream->fd);
    }
}

/* ---- TLS ---- */

/* Whom to believe. */
static status trust(gnutls_certificate_credentials_t credentials, const char *ca, struct err *err)
{
    char *pem = NULL;
    if (pem_read(&pem, ca, "CERTIFICATE", err) != STATUS_OK) {
        return STATUS_DENIED; /* whatever is wrong with the file: nobody is believed */
    }
    int n;
    if (pem == NULL) {
        n = gnutls_certificate_set_x509_system_trust(credentials);
    } else {
        const gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
        n = gnutls_certificate_set_x509_trust_mem(credentials, &text, GNUTLS_X509_FMT_PEM);
        mem_free(pem);
    }
    return n > 0 ? STATUS_OK
                 : err_set(err, STATUS_DENIED, "TLS: no authority in %s",
                           pem_given(ca) ? ca : "the system's files");
}

/* Is the address one of this machine itself, which no name in a certificate says? */
static bool is_here(const struct admin_address *address)
{
    struct addrinfo *found = numeric(address);
    const bool here = found != NULL && (admin_address_is_loopback(found->ai_addr) ||
                                        admin_address_is_any(found->ai_addr));
    if (found != NULL) {
        freeaddrinfo(found);
    }
    return here;
}

/* Why a handshake failed. */
static status refuse(const struct peek_stream *stream, int code, struct err *err)
{
    if (code == GNUTLS_E_AGAIN) {
        return err_set(err, STATUS_TIMEOUT, "no answer: the process is stopped, or too busy");
    }
    if (code != GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        return err_set(err, STATUS_UNAVAILABLE, "TLS: %s", gnutls_strerror(code));
    }
    gnutls_datum_t text = {NULL, 0};
    (void)gnutls_certificate_verification_status_print(
        gnutls_session_get_verify_cert_status(stream->session), GNUTLS_CRT_X509, &text, 0);
    const status s = err_set(err, STATUS_DENIED, "TLS: %s",
                             text.data != NULL ? (const char *)text.data : gnutls_strerror(code));
    gnutls_free(text.data);
    return s;
}

status peek_stream_secure(struct peek_stream *stream, const struct admin_address *address,
                          const char *ca, struct err *err)
{
    if (gnutls_certificate_allocate_credentials(&stream->credentials) < 0 ||
        gnutls_init(&stream->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0 ||
        gnutls_set_default_priority(stream->session) < 0 ||
        gnutls_credentials_set(stream->session, GNUTLS_CRD_CERTIFICATE, stream->credentials) < 0) {
        return err_set(err, STATUS_NO_MEMORY, "TLS: out of memory");
    }
    const status s = trust(stream->credentials, ca, err);
    if (s != STATUS_OK) {
        return s;
    }
    gnutls_session_set_verify_cert(stream->session, is_here(address) ? NULL : address->host, 0);
    gnutls_transport_set_int(stream->session, stream->fd);
    int code;
    do {
        code = gnutls_handshake(stream->session);
    } while (code < 0 && may_repeat(stream, code));
    return code == GNUTLS_E_SUCCESS ? STATUS_OK : refuse(stream, code, err);
}

/* ---- bytes ---- */

bool peek_stream_write(struct peek_stream *stream, const char *bytes, size_t size)
{
    /* A request fits into the socket's buffer. */
    if (stream->session == NULL) {
        return write(stream->fd, bytes, size) == (ssize_t)size;
    }
    ssize_t n;
    do {
        n = gnutls_record_send(stream->session, bytes, size);
    } while (n < 0 && may_repeat(stream, n));
    return n == (ssize_t)size;
}

/* What is there; 0 at the end, and where it does not come in time or fails. */
static size_t read_some(struct peek_stream *stream, char *bytes, size_t size)
{
    ssize_t n;
    if (stream->session == NULL) {
        n = wait_for(stream, POLLIN) ? read(stream->fd, bytes, size) : 0;
    } else {
        do {
            n = gnutls_record_recv(stream->session, bytes, size);
        } while (n < 0 && may_repeat(stream, n));
    }
    return n > 0 ? (size_t)n : 0;
}

size_t peek_stream_read(struct peek_stream *stream, char *text, size_t size)
{
    size_t used = 0, n = 1;
    /* An error ends the answer as well; what came is judged by the caller. */
    while (used + 1 < size && n > 0) {
        n = read_some(stream, text + used, size - used - 1);
        used += n;
    }
    text[used] = '\0';
    return used;
}
