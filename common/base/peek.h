/* Asks a running process: GET of one page of its admin server, found by its address file.
 *
 * Blocks for at most `timeout_ms`: call it from a worker thread where something else must
 * continue. */
#ifndef HINDCAST_BASE_PEEK_H
#define HINDCAST_BASE_PEEK_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "common/base/status.h"

/* The address that stands in `address_file` ("runs/x/learner.admin"): "127.0.0.1:9100",
 * "[::1]:9100". NOT_FOUND where the process is not there. */
status peek_address(char *address, size_t size, const char *address_file,
                    struct err *err) MUST_CHECK;

/* The JSON at `page` ("/status") of that process. The caller cJSON_Deletes it. UNAVAILABLE where no
 * process listens, TIMEOUT where one does not answer, INVALID where the answer is not JSON. */
status peek_json(cJSON **json, const char *address_file, const char *page, uint64_t timeout_ms,
                 struct err *err) MUST_CHECK;
/* The same of the process at a numeric address. */
status peek_json_at(cJSON **json, const char *address, const char *page, uint64_t timeout_ms,
                    struct err *err) MUST_CHECK;

#endif
