/* The PEM files of TLS: an authority, a certificate and its key. Libraries of TLS report an unusable
 * file late, if at all, so the files are read and looked at here first: is there a certificate in
 * it, who may read the key. */
#ifndef HINDCAST_BASE_PEM_FILES_H
#define HINDCAST_BASE_PEM_FILES_H

#include "common/base/file.h"

/* Where they are; NULL or empty: not given. */
struct pem_paths {
    const char *ca, *cert, *key;
};

/* Their texts; NULL where none is given. */
struct pems {
    char *ca, *cert, *key;
};

/* Of the files as they were looked at last. */
struct pem_marks {
    struct file_mark ca, cert, key;
};

bool pem_given(const char *path);

/* One file's text, mem_free; NULL where none is given. INVALID: it holds no block of the kind `holds`
 * ("CERTIFICATE"); NOT_FOUND, IO. */
status pem_read(char **pem, const char *path, const char *holds, struct err *err) MUST_CHECK;

/* All that are given; pems_free. Also INVALID: a certificate without its key, or the reverse; DENIED:
 * others may read the key. */
status pems_read(struct pems *pems, const struct pem_paths *paths, struct err *err) MUST_CHECK;
/* The key does not stay in memory. After a failed read there is nothing to free. */
void pems_free(struct pems *pems);

/* Have the files changed since the last call? */
bool pem_marks_take(struct pem_marks *marks, const struct pem_paths *paths);

#endif
