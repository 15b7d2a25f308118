/* TLS for the admin page: the certificate that libmicrohttpd shows, read again when its files change.
 *
 * The page asks clients for no certificate: browsers and Prometheus have tokens. */
#ifndef HINDCAST_BASE_ADMIN_TLS_H
#define HINDCAST_BASE_ADMIN_TLS_H

#include <gnutls/abstract.h>

#include "common/base/metrics.h"

/* For MHD_OPTION_HTTPS_PRIORITIES. */
#define ADMIN_TLS_VERSIONS "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct admin_tls;

/* When the certificate of this process's page expires: hindcast_admin_certificate_expiry_timestamp_seconds,
 * 0 as long as it has none. Kept up to date. */
struct metric *admin_tls_expiry(void);

/* Reads the files. INVALID: they are no pair of certificate and key, in PEM form; DENIED: others may
 * read the key; NOT_FOUND, IO. Errors name the file. */
status admin_tls_open(struct admin_tls **tls, const char *cert, const char *key,
                      struct err *err) MUST_CHECK;
void admin_tls_close(
    struct admin_tls *tls); /* NULL is fine; the thread of admin_tls_enter has ended */

/* From now on admin_tls_pick shows these files on this thread. */
void admin_tls_enter(struct admin_tls *tls);

/* For MHD_OPTION_HTTPS_CERT_CALLBACK2: what to show to a new connection. Looks whether the files have
 * changed: what cannot be used is logged, and what was read before stays. */
int admin_tls_pick(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                   gnutls_pcert_st **certs, unsigned *n_certs, gnutls_ocsp_data_st **ocsp,
                   unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags);

#endif
