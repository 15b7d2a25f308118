/* A look at a running process: GET of one page of its admin server, found by its address file.
 *
 * Blocking, for at most `timeout_ms`: call it from a worker thread where something else must go on.
 */
#ifndef HINDCAST_LOCAL_PEEK_H
#define HINDCAST_LOCAL_PEEK_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "common/base/status.h"

/* The JSON at `page` ("/status") of the process whose address stands in `address_file`
 * ("runs/x/learner.admin"). The caller cJSON_Deletes it. UNAVAILABLE where nobody answers, INVALID
 * where it is not JSON. */
status peek_json(cJSON **json, const char *address_file, const char *page, uint64_t timeout_ms,
                 struct err *err) MUST_CHECK;

#endif
