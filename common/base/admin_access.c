/* The file is looked at with each request, which costs more than the look. */
#include "common/base/admin_access.h"

#include <string.h>
#include <strings.h>

#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/roles.h"
#include "common/base/token_file.h"

#define BEARER "Bearer "

struct admin_access {
    struct token_file *tokens;                   /* NULL: everybody may read */
    struct metric *without_token, *without_role; /* requests that were refused */
    struct metric *unusable;
    uint64_t failures_shown; /* of the file, that `unusable` has */
};

static void make_metrics(struct admin_access *access)
{
    static const char name[] = "hindcast_admin_refused_total";
    static const char help[] = "Requests to this page without a known token, or without its role.";
    access->without_token = metric_counter(name, help, "reason=\"token\"");
    access->without_role = metric_counter(name, help, "reason=\"role\"");
    access->unusable = metric_counter(
        "hindcast_admin_tokens_unusable_total",
        "Changes of admin_tokens_file that could not be used: the tokens before stay.", NULL);
}

status admin_access_open(struct admin_access **out, const char *tokens_file, struct err *err)
{
    struct admin_access *access = mem_new(sizeof *access);
    if (access == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "admin page: out of memory");
    }
    if (tokens_file != NULL && tokens_file[0] != '\0') {
        const status s = token_file_open(&access->tokens, tokens_file, err);
        if (s != STATUS_OK) {
            mem_free(access);
            return err_context(err, s, "admin page");
        }
    }
    make_metrics(access);
    *out = access;
    return STATUS_OK;
}

void admin_access_close(struct admin_access *access)
{
    if (access != NULL) {
        token_file_close(access->tokens);
        mem_free(access);
    }
}

/* The roles of whoever sent the request. *shown: it shows something, if not a token that is known. */
static unsigned roles_of(struct admin_access *access, struct MHD_Connection *connection,
                         bool *shown)
{
    char client[TOKENS_CLIENT_SIZE];
    const char *header =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    *shown = header != NULL;
    if (header == NULL) {
        return 0;
    }
    if (strncasecmp(header, BEARER, strlen(BEARER)) == 0) {
        return token_file_role_of(header + strlen(BEARER), client, access->tokens);
    }
    /* Any user name: the token says whose it is. */
    char *password = NULL;
    char *user = MHD_basic_auth_get_username_password(connection, &password);
    const unsigned roles = token_file_role_of(password, client, access->tokens);
    MHD_free(user);
    MHD_free(password);
    return roles;
}

unsigned admin_access_check(struct admin_access *access, struct MHD_Connection *connection,
                            const char **why)
{
    if (access->tokens == NULL) {
        return 0;
    }
    token_file_look(access->tokens);
    const uint64_t failures = token_file_failures(access->tokens);
    metric_add(access->unusable, (double)(failures - access->failures_shown));
    access->failures_shown = failures;
    bool shown;
    const unsigned roles = roles_of(access, connection, &shown);
    if ((roles & ROLES_OF_PAGES) != 0) {
        return 0;
    }
    /* As for calls: whoever has another role learns that the token was known. */
    if (roles != 0) {
        metric_add(access->without_role, 1);
        *why = "this token's role may not read pages: expected read or admin\n";
        return MHD_HTTP_FORBIDDEN;
    }
    metric_add(access->without_token, 1);
    *why = shown ? "this token is not known here\n"
                 : "a token is needed, as bearer token or as the password of any user\n";
    return MHD_HTTP_UNAUTHORIZED;
}
