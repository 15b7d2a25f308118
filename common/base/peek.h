/* Asks a running process: GET of one page of its admin server, found by its address file.
 *
 * Blocks for at most `timeout_ms`: call it from a worker thread where something else must
 * continue. */
#ifndef HINDCAST_BASE_PEEK_H
#define HINDCAST_BASE_PEEK_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "common/base/experiment.h"

/* How the asker shows who it is, and whom it believes: `experiment`'s files of the same names. NULL
 * or empty: none, and the system's authorities. Both are read for each request. */
struct peek_access {
    const char *token_file;
    const char *tls_ca;
};
/* Those of an experiment, which must live as long. */
struct peek_access peek_access_of(const struct experiment *experiment);

/* The address that stands in `address_file` ("runs/x/learner.admin"): "127.0.0.1:9100",
 * "https://[::]:9100". NOT_FOUND where the process is not there. */
status peek_address(char *address, size_t size, const char *address_file,
                    struct err *err) MUST_CHECK;
/* The same without what stands before "://"; *tls: it is HTTPS. */
const char *peek_address_host(const char *address, bool *tls);

/* The JSON at `page` ("/status") of that process. The caller cJSON_Deletes it. UNAVAILABLE where no
 * process listens, TIMEOUT where one does not answer, DENIED where it asks for another token, where its
 * certificate is not to be believed, and where a file of `access` cannot be used, INVALID where the answer is not JSON. */
status peek_json(cJSON **json, const char *address_file, const char *page,
                 const struct peek_access *access, uint64_t timeout_ms, struct err *err) MUST_CHECK;
/* The same of the process at a numeric address; "https://" before it: with TLS. */
status peek_json_at(cJSON **json, const char *address, const char *page,
                    const struct peek_access *access, uint64_t timeout_ms,
                    struct err *err) MUST_CHECK;

#endif
