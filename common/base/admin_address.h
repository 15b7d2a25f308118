/* Where an admin page is: "127.0.0.1:9100", "[::1]:9100", "learner.lab:9100". */
#ifndef HINDCAST_BASE_ADMIN_ADDRESS_H
#define HINDCAST_BASE_ADMIN_ADDRESS_H

#include <netdb.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/base/status.h"

struct admin_address {
    char host[128]; /* without brackets */
    char port[8];
};

/* INVALID unless host and port are there, the host fits, and the port is one to five digits. Names
 * are not resolved. */
status admin_address_parse(struct admin_address *address, const char *text,
                           struct err *err) MUST_CHECK;

/* 127.0.0.0/8 or ::1. */
bool admin_address_is_loopback(const struct sockaddr *address);
/* 0.0.0.0 or ::, which whoever listens there means as all addresses of this machine. */
bool admin_address_is_any(const struct sockaddr *address);

/* For listening: a name is looked up. freeaddrinfo(*found). INVALID. */
status admin_address_resolve(struct addrinfo **found, const char *text, struct err *err) MUST_CHECK;

/* Makes a listening, non-blocking socket on the first of `found`; the caller closes *fd. `text` is for
 * errors. After a failure none is left open. */
status admin_address_listen(int *fd, const struct addrinfo *found, const char *text, int backlog,
                            struct err *err) MUST_CHECK;

/* What the socket is really bound to, in digits. */
void admin_address_of(int fd, char *text, size_t size);

#endif
