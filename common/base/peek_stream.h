/* A connection to an admin page, with or without TLS, all of whose waits end at one deadline. */
#ifndef HINDCAST_BASE_PEEK_STREAM_H
#define HINDCAST_BASE_PEEK_STREAM_H

#include <gnutls/gnutls.h>
#include <stdint.h>

#include "common/base/admin_address.h"

struct peek_stream {
    int fd;
    uint64_t deadline_ns;
    gnutls_session_t session; /* NULL: no TLS */
    gnutls_certificate_credentials_t credentials;
};

/* Connects to a numeric address. UNAVAILABLE: nobody listens there. */
status peek_stream_open(struct peek_stream *stream, const struct admin_address *address,
                        uint64_t deadline_ns, struct err *err) MUST_CHECK;
/* Then TLS: the certificate must be of the authority in the PEM file `ca`, or the system's where it is
 * NULL or empty, and be made out for the address; but at an address of this machine itself (loopback,
 * 0.0.0.0, ::) any of that authority will do. DENIED: it is not, or
 * the file cannot be used; TIMEOUT; UNAVAILABLE: the other side speaks no TLS. */
status peek_stream_secure(struct peek_stream *stream, const struct admin_address *address,
                          const char *ca, struct err *err) MUST_CHECK;

/* False: not all could be sent in time. */
bool peek_stream_write(struct peek_stream *stream, const char *bytes, size_t size);
/* Reads to the end of the connection, or as long as there is room and time; the text is terminated.
 * Returns its length. */
size_t peek_stream_read(struct peek_stream *stream, char *text, size_t size);

void peek_stream_close(struct peek_stream *stream);

#endif
