/* Who may read admin pages: whoever shows a token of the role `read` or `admin`.
 *
 * A request shows one as bearer token, or as the password of HTTP's basic authentication: browsers
 * ask for that by themselves, and send it again with everything that the page fetches. */
#ifndef HINDCAST_BASE_ADMIN_ACCESS_H
#define HINDCAST_BASE_ADMIN_ACCESS_H

#include <microhttpd.h>

#include "common/base/status.h"

struct admin_access;

/* Reads the file, and again when it has changed; NULL or empty: everybody may read. Errors are those
 * of roles_read. */
status admin_access_open(struct admin_access **access, const char *tokens_file,
                         struct err *err) MUST_CHECK;
void admin_access_close(struct admin_access *access); /* NULL is fine */

/* May the request be answered? 0, or the code to refuse it with, and then *why, a line. Counted. HTTP
 * thread. */
unsigned admin_access_check(struct admin_access *access, struct MHD_Connection *connection,
                            const char **why);

#endif
