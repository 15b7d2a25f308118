/* The files are small, and read whole. */
#include "common/base/pem_files.h"

#include <string.h>

#include "common/base/memory.h"

#define PEM_MAX_BYTES (1u << 20)

bool pem_given(const char *path)
{
    return path != NULL && path[0] != '\0';
}

status pem_read(char **pem, const char *path, const char *holds, struct err *err)
{
    if (!pem_given(path)) {
        *pem = NULL;
        return STATUS_OK;
    }
    /* The limit is far above any chain of certificates; it bounds what a wrong path costs. */
    void *bytes;
    size_t size;
    status s = file_read(path, PEM_MAX_BYTES, &bytes, &size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "TLS");
    }
    /* A first look; the library of TLS parses the block itself. */
    const char *begin = strstr(bytes, "-----BEGIN ");
    if (begin == NULL || strstr(begin, holds) == NULL) {
        mem_free(bytes);
        return err_set(err, STATUS_INVALID, "TLS: %s holds no %s in PEM form", path, holds);
    }
    *pem = bytes;
    return STATUS_OK;
}

void pems_free(struct pems *pems)
{
    mem_free(pems->ca);
    mem_free(pems->cert);
    if (pems->key != NULL) {
        explicit_bzero(pems->key, strlen(pems->key));
    }
    mem_free(pems->key);
}

status pems_read(struct pems *pems, const struct pem_paths *paths, struct err *err)
{
    /* Whatever fails, pems_free finds what there is. */
    *pems = (struct pems){0};
    if (pem_given(paths->cert) != pem_given(paths->key)) {
        return err_set(err, STATUS_INVALID,
                       "TLS: certificate and key belong together: %s is missing",
                       pem_given(paths->cert) ? "the key" : "the certificate");
    }
    status s = pem_read(&pems->ca, paths->ca, "CERTIFICATE", err);
    if (s == STATUS_OK) {
        s = pem_read(&pems->cert, paths->cert, "CERTIFICATE", err);
    }
    /* Who may read the key is checked before it is read. */
    if (s == STATUS_OK && pem_given(paths->key)) {
        s = file_check_private(paths->key, err);
        s = s == STATUS_OK ? s : err_context(err, s, "TLS");
    }
    if (s == STATUS_OK) {
        s = pem_read(&pems->key, paths->key, "PRIVATE KEY", err);
    }
    /* Nothing is left of the files that were read before. */
    if (s != STATUS_OK) {
        pems_free(pems);
    }
    return s;
}

bool pem_marks_take(struct pem_marks *marks, const struct pem_paths *paths)
{
    /* All of them, so that one change is noticed once. */
    const bool ca = file_mark_take(&marks->ca, paths->ca);
    const bool cert = file_mark_take(&marks->cert, paths->cert);
    const bool key = file_mark_take(&marks->key, paths->key);
    return ca || cert || key;
}
