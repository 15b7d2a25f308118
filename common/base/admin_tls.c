/* libmicrohttpd asks for a certificate with each connection and passes nothing of ours; but each page
 * has a thread of its own, which therefore says whose certificate it shows.
 *
 * GnuTLS gets an imported copy for each connection and frees it (GNUTLS_CERT_RETR_DEINIT_ALL): files
 * may change while another handshake is under way. */
#define LOG_MODULE "admin"
#include "common/base/admin_tls.h"

#include <string.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/pem_files.h"

#define CHAIN_MAX 16u

struct admin_tls {
    char *cert_path, *key_path;
    struct pem_marks marks;
    struct pems pems; /* what was read last and could be used */
};

static _Thread_local struct admin_tls *shown;

/* A text as GnuTLS takes it; it does not write to it. */
static gnutls_datum_t datum_of(char *text)
{
    return (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)strlen(text)};
}

/* The certificate and those of its authorities, on GnuTLS's heap. False: it cannot be used. */
static bool import_chain(char *pem, gnutls_pcert_st **chain, unsigned *n)
{
    const gnutls_datum_t text = datum_of(pem);
    *n = CHAIN_MAX;
    *chain = gnutls_malloc(CHAIN_MAX * sizeof **chain);
    if (*chain == NULL ||
        gnutls_pcert_list_import_x509_raw(*chain, n, &text, GNUTLS_X509_FMT_PEM, 0) < 0) {
        gnutls_free(*chain);
        *chain = NULL;
        return false;
    }
    return true;
}

static void free_chain(gnutls_pcert_st *chain, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        gnutls_pcert_deinit(&chain[i]);
    }
    gnutls_free(chain);
}

struct metric *admin_tls_expiry(void)
{
    return metric_gauge("hindcast_admin_certificate_expiry_timestamp_seconds",
                        "When the page's certificate expires, seconds since 1970; 0: no TLS.",
                        NULL);
}

/* The first of a chain's certificates to expire, in seconds since 1970; -1: one cannot be read. */
static time_t earliest_end(gnutls_pcert_st *chain, unsigned n)
{
    time_t earliest = -1;
    for (unsigned i = 0; i < n; i++) {
        gnutls_x509_crt_t certificate;
        if (gnutls_pcert_export_x509(&chain[i], &certificate) < 0) {
            return -1;
        }
        const time_t end = gnutls_x509_crt_get_expiration_time(certificate);
        gnutls_x509_crt_deinit(certificate);
        earliest = i == 0 || end < earliest ? end : earliest;
    }
    return earliest;
}

/* Do certificate and key belong together, and can both be shown? *end: how long. */
static status check_pair(const struct admin_tls *tls, const struct pems *pems, time_t *end,
                         struct err *err)
{
    gnutls_certificate_credentials_t credentials;
    if (gnutls_certificate_allocate_credentials(&credentials) != GNUTLS_E_SUCCESS) {
        return err_set(err, STATUS_NO_MEMORY, "TLS: out of memory");
    }
    const gnutls_datum_t cert = datum_of(pems->cert), key = datum_of(pems->key);
    const int code =
        gnutls_certificate_set_x509_key_mem(credentials, &cert, &key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    if (code < 0) {
        return err_set(err, STATUS_INVALID, "TLS: %s and %s: %s", tls->cert_path, tls->key_path,
                       gnutls_strerror(code));
    }
    gnutls_pcert_st *chain;
    unsigned n;
    if (!import_chain(pems->cert, &chain, &n)) {
        return err_set(err, STATUS_INVALID, "TLS: %s: expected up to %u certificates",
                       tls->cert_path, CHAIN_MAX);
    }
    *end = earliest_end(chain, n);
    free_chain(chain, n);
    return *end >= 0 ? STATUS_OK
                     : err_set(err, STATUS_INVALID, "TLS: %s: when it expires cannot be read",
                               tls->cert_path);
}

static struct pem_paths paths_of(const struct admin_tls *tls)
{
    return (struct pem_paths){.cert = tls->cert_path, .key = tls->key_path};
}

/* After a failure what was read before is as it was. */
static status read_files(struct admin_tls *tls, struct err *err)
{
    const struct pem_paths paths = paths_of(tls);
    struct pems pems;
    time_t end = 0;
    status s = pems_read(&pems, &paths, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = check_pair(tls, &pems, &end, err);
    if (s != STATUS_OK) {
        pems_free(&pems);
        return s;
    }
    pems_free(&tls->pems);
    tls->pems = pems;
    metric_set(admin_tls_expiry(), (double)end);
    return STATUS_OK;
}

status admin_tls_open(struct admin_tls **out, const char *cert, const char *key, struct err *err)
{
    struct admin_tls *tls = mem_new(sizeof *tls);
    if (tls == NULL || (tls->cert_path = mem_text(cert == NULL ? "" : cert)) == NULL ||
        (tls->key_path = mem_text(key == NULL ? "" : key)) == NULL) {
        admin_tls_close(tls);
        return err_set(err, STATUS_NO_MEMORY, "TLS: out of memory");
    }
    /* Before the files are read: what changes meanwhile is noticed with the first connection. */
    const struct pem_paths paths = paths_of(tls);
    (void)pem_marks_take(&tls->marks, &paths);
    const status s = read_files(tls, err);
    if (s != STATUS_OK) {
        admin_tls_close(tls);
        return s;
    }
    *out = tls;
    return STATUS_OK;
}

void admin_tls_close(struct admin_tls *tls)
{
    if (tls != NULL) {
        pems_free(&tls->pems);
        mem_free(tls->cert_path);
        mem_free(tls->key_path);
        mem_free(tls);
    }
}

void admin_tls_enter(struct admin_tls *tls)
{
    shown = tls;
}

int admin_tls_pick(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                   gnutls_pcert_st **certs, unsigned *n_certs, gnutls_ocsp_data_st **ocsp,
                   unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags)
{
    (void)session;
    (void)info;
    struct admin_tls *tls = shown;
    struct err err;
    ASSERT(tls != NULL);
    /* They may be in the middle of being replaced: the next change is noticed again. */
    const struct pem_paths paths = paths_of(tls);
    if (pem_marks_take(&tls->marks, &paths) && read_files(tls, &err) != STATUS_OK) {
        log_warn("the files of TLS have changed and cannot be used, what was read before stays: %s",
                 err.text);
    }
    const gnutls_datum_t pem = datum_of(tls->pems.key);
    gnutls_pcert_st *chain;
    gnutls_privkey_t private = NULL;
    unsigned n;
    if (!import_chain(tls->pems.cert, &chain, &n)) {
        return -1;
    }
    if (gnutls_privkey_init(&private) < 0 ||
        gnutls_privkey_import_x509_raw(private, &pem, GNUTLS_X509_FMT_PEM, NULL, 0) < 0) {
        if (private != NULL) {
            gnutls_privkey_deinit(private);
        }
        free_chain(chain, n);
        return -1;
    }
    *certs = chain;
    *n_certs = n;
    *ocsp = NULL;
    *n_ocsp = 0;
    *key = private;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    return 0;
}
