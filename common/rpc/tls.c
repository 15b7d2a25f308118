/* TLS credentials from PEM files.
 *
 * gRPC reports an unusable file only as a connection that never comes up, so the files are looked at
 * first (common/base/pem_files.h).
 *
 * gRPC copies the texts that it is given. Ours are freed at once, the key after it has been
 * wiped.
 *
 * A server looks with every connection whether its files have changed, so that a certificate is
 * replaced without a restart: connections that are open stay as they are. */
#define LOG_MODULE "tls"
#include "common/rpc/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/pem_files.h"
#include "common/rpc/address.h"

static struct pem_paths paths_of(const struct rpc_tls *tls)
{
    return (struct pem_paths){.ca = tls->ca, .cert = tls->cert, .key = tls->key};
}

bool tls_wanted(const struct rpc_tls *tls)
{
    return pem_given(tls->ca) || pem_given(tls->cert) || pem_given(tls->key);
}

/* The end of this certificate's validity, in seconds since 1970; 0: unreadable. */
static int64_t not_after(const X509 *certificate)
{
    struct tm utc;
    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &utc) == 1 ? (int64_t)timegm(&utc) : 0;
}

status rpc_tls_expiry(const char *cert, int64_t *expires_s, struct err *err)
{
    char *pem = NULL;
    status s = pem_read(&pem, cert, "CERTIFICATE", err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Without a file there is nothing to read, which is the error below. */
    BIO *bio = pem == NULL ? NULL : BIO_new_mem_buf(pem, (int)strlen(pem));
    int64_t earliest = INT64_MAX;
    X509 *certificate;
    /* The file may hold a chain; it is as good as the first of its certificates to expire. */
    while (bio != NULL && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        const int64_t end = not_after(certificate);
        earliest = end < earliest ? end : earliest;
        X509_free(certificate);
    }
    ERR_clear_error(); /* the end of the file is one */
    BIO_free(bio);
    mem_free(pem);
    /* A date that cannot be read is 0, and so the earliest. */
    if (earliest == INT64_MAX || earliest == 0) {
        return err_set(err, STATUS_INVALID, "TLS: %s holds no certificate that can be read", cert);
    }
    *expires_s = earliest;
    return STATUS_OK;
}

/* ---- A server's files, read again when they change ---- */

/* The files of one address. gRPC asks for them with every connection, until the last of its threads has
 * ended, and does not say when that is: so they are kept as long as the process. */
struct server_files {
    struct server_files *next;
    char *ca, *cert, *key; /* NULL: none */
    pthread_mutex_t lock;  /* guards marks: connections come on any of gRPC's threads */
    struct pem_marks marks;
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER; /* guards kept */
static struct server_files *kept;

/* Have the files changed since this was asked last? */
static bool have_changed(struct server_files *files, const struct pem_paths *paths)
{
    pthread_mutex_lock(&files->lock);
    const bool changed = pem_marks_take(&files->marks, paths);
    pthread_mutex_unlock(&files->lock);
    return changed;
}

/* With every connection. What gRPC cannot use, a certificate beside the key of another for example, it
 * logs, and keeps what it has. */
static grpc_ssl_certificate_config_reload_status fetch(void *arg,
                                                       grpc_ssl_server_certificate_config **config)
{
    struct server_files *files = arg;
    struct err err;
    struct pems pems;
    const struct pem_paths paths = {.ca = files->ca, .cert = files->cert, .key = files->key};
    if (!have_changed(files, &paths)) {
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    /* They may be in the middle of being replaced: the next change is noticed again. */
    if (pems_read(&pems, &paths, &err) != STATUS_OK) {
        log_warn("the files of TLS have changed and cannot be used, what was read before stays: %s",
                 err.text);
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    const grpc_ssl_pem_key_cert_pair pair = {.private_key = pems.key, .cert_chain = pems.cert};
    /* gRPC asserts that there is an authority. Where no client is asked for a certificate it decides
     * nothing. */
    *config =
        grpc_ssl_server_certificate_config_create(pems.ca != NULL ? pems.ca : pems.cert, &pair, 1);
    pems_free(&pems);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

/* The copy of a path; true where none is given. */
static bool copy_path(char **copy, const char *path)
{
    *copy = pem_given(path) ? mem_text(path) : NULL;
    return *copy != NULL || !pem_given(path);
}

/* NULL: out of memory; what there is of it is kept. */
static struct server_files *keep_files(const struct rpc_tls *tls)
{
    struct server_files *files = mem_new(sizeof *files);
    if (files == NULL) {
        return NULL;
    }
    pthread_mutex_init(&files->lock, NULL);
    pthread_mutex_lock(&kept_lock);
    files->next = kept;
    kept = files;
    pthread_mutex_unlock(&kept_lock);
    return copy_path(&files->ca, tls->ca) && copy_path(&files->cert, tls->cert) &&
                   copy_path(&files->key, tls->key)
               ? files
               : NULL;
}

status tls_server(grpc_server_credentials **credentials, const struct rpc_tls *tls,
                  const char *address, struct err *err)
{
    /* A Unix socket has the permissions of its file, and no bytes on a network. */
    if (!tls_wanted(tls) || address_unix_path(address) != NULL) {
        *credentials = grpc_insecure_server_credentials_create();
        return STATUS_OK;
    }
    /* Read once here, so that an unusable file is told at once. */
    const struct pem_paths paths = paths_of(tls);
    struct pems pems;
    status s = pems_read(&pems, &paths, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* With a CA alone a server has nothing to show. */
    const bool shows = pems.cert != NULL, asks = pems.ca != NULL;
    pems_free(&pems);
    if (!shows) {
        return err_set(err, STATUS_INVALID, "TLS: %s: a server needs a certificate and a key",
                       address);
    }
    struct server_files *files = keep_files(tls);
    if (files == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "TLS: out of memory");
    }
    /* Where there is a CA, clients must show a certificate of it. */
    *credentials = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            asks ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                 : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            fetch, files));
    return STATUS_OK;
}

status tls_channel(grpc_channel_credentials **credentials, const struct rpc_tls *tls,
                   const char *address, struct err *err)
{
    /* As for servers: a Unix socket needs no TLS. */
    if (!tls_wanted(tls) || address_unix_path(address) != NULL) {
        *credentials = grpc_insecure_credentials_create();
        return STATUS_OK;
    }
    /* A client may show a certificate, but needs none. */
    const struct pem_paths paths = paths_of(tls);
    struct pems pems;
    status s = pems_read(&pems, &paths, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Without a CA of ours gRPC trusts the system's. */
    grpc_ssl_pem_key_cert_pair pair = {.private_key = pems.key, .cert_chain = pems.cert};
    *credentials =
        grpc_ssl_credentials_create_ex(pems.ca, pems.cert != NULL ? &pair : NULL, NULL, NULL);
    pems_free(&pems);
    return *credentials != NULL ? STATUS_OK : err_set(err, STATUS_INVALID, "TLS: unusable files");
}
