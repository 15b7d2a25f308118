/* Callers are few, those with calls at a time fewer still: a list is searched by name. */
#include "common/rpc/caller.h"

#include <grpc/support/alloc.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

#define BEARER    "Bearer "
#define NAME_SIZE RPC_CALLER_NAME_SIZE

/* ---- Token and roles ---- */

/* The bearer token as text on the heap; *token NULL when none was shown. */
static status bearer_token(const grpc_metadata_array *metadata, char **token)
{
    *token = NULL;
    /* The first authorization header of this kind counts. */
    for (size_t i = 0; i < metadata->count; i++) {
        const grpc_metadata *entry = &metadata->metadata[i];
        size_t size = GRPC_SLICE_LENGTH(entry->value);
        if (grpc_slice_str_cmp(entry->key, "authorization") != 0 || size < strlen(BEARER) ||
            memcmp(GRPC_SLICE_START_PTR(entry->value), BEARER, strlen(BEARER)) != 0) {
            continue;
        }
        /* As text: metadata is not terminated. */
        *token = mem_new(size - strlen(BEARER) + 1);
        if (*token == NULL) {
            return STATUS_NO_MEMORY;
        }
        memcpy(*token, GRPC_SLICE_START_PTR(entry->value) + strlen(BEARER), size - strlen(BEARER));
        return STATUS_OK;
    }
    return STATUS_OK;
}

/* Roles and name of whoever shows this token. Returns 0, or the gRPC code to refuse with, and then
 * *why. */
static int check_role(const struct rpc_server *server, const struct served_method *served,
                      const grpc_metadata_array *metadata, unsigned *roles, char name[NAME_SIZE],
                      const char **why)
{
    char *token;
    if (bearer_token(metadata, &token) != STATUS_OK) {
        *why = "out of memory";
        return GRPC_STATUS_RESOURCE_EXHAUSTED;
    }
    /* The service says which roles a token stands for; none, where it is unknown or missing. */
    *roles = server->role_of(token, name, server->role_arg);
    /* Only whether it was there is needed below. */
    bool shown = token != NULL;
    mem_free(token);
    /* A method that names no roles is open to all. */
    if (served->method->roles == 0 || (*roles & served->method->roles) != 0) {
        return 0;
    }
    /* A caller without any role is told to show another token; one whose role is not enough learns
     * that the token was known. */
    if (*roles == 0) {
        *why = shown ? "this token is not known here" : "a bearer token is needed";
        return GRPC_STATUS_UNAUTHENTICATED;
    }
    *why = "this token's role may not call this method";
    return GRPC_STATUS_PERMISSION_DENIED;
}

/* ---- Names ---- */

/* The host of "ipv4:127.0.0.1:40000" and "ipv6:%5B::1%5D:40000"; "unix" of "unix:..". */
static void peer_host(grpc_call *call, char name[NAME_SIZE])
{
    char *peer = grpc_call_get_peer(call);
    const char *host = strncmp(peer, "ipv", 3) == 0 && peer[3] != '\0' ? peer + 5 : "unix";
    /* An address of IPv6 stands in brackets, which gRPC may write as %5B and %5D. */
    const bool escaped = strncmp(host, "%5B", 3) == 0;
    host += escaped ? 3 : host[0] == '[' ? 1 : 0;
    const char *end = escaped ? strstr(host, "%5D") : strchr(host, ']');
    end = end == NULL ? strrchr(host, ':') : end; /* the port */
    const size_t size = end != NULL ? (size_t)(end - host) : strlen(host);
    snprintf(name, NAME_SIZE, "%.*s", (int)(size < NAME_SIZE ? size : NAME_SIZE - 1), host);
    gpr_free(peer);
}

/* ---- Callers ---- */

/* The caller of this name with one call more. NULL: out of memory. */
static struct caller *count_call(struct rpc_server *server, const char *name)
{
    struct caller *caller = server->callers;
    while (caller != NULL && strcmp(caller->name, name) != 0) {
        caller = caller->next;
    }
    if (caller == NULL) {
        const size_t size = strlen(name) + 1;
        caller = mem_new(sizeof *caller + size);
        if (caller == NULL) {
            return NULL;
        }
        memcpy(caller->name, name, size);
        caller->next = server->callers;
        server->callers = caller;
    }
    caller->n_calls++;
    return caller;
}

int caller_enter(struct rpc_server *server, const struct served_method *served, grpc_call *call,
                 const grpc_metadata_array *metadata, unsigned *roles, struct caller **caller,
                 const char **why)
{
    char name[NAME_SIZE] = "";
    *caller = NULL;
    /* Without tokens everybody may do everything. */
    *roles = ~0u;
    if (server->role_of != NULL) {
        const int refusal = check_role(server, served, metadata, roles, name, why);
        if (refusal != 0 || *roles == 0) {
            return refusal;
        }
    } else {
        peer_host(call, name);
    }
    *caller = count_call(server, name);
    *why = "out of memory";
    return *caller != NULL ? 0 : GRPC_STATUS_RESOURCE_EXHAUSTED;
}

void caller_leave(struct rpc_server *server, struct caller *caller)
{
    if (caller == NULL || --caller->n_calls > 0) {
        return;
    }
    struct caller **at = &server->callers;
    while (*at != caller) {
        at = &(*at)->next;
    }
    *at = caller->next;
    mem_free(caller);
}

bool caller_has_too_many(const struct rpc_server *server, const struct caller *caller, char *text,
                         size_t size)
{
    if (caller == NULL || server->max_client_calls == 0 ||
        caller->n_calls <= server->max_client_calls) {
        return false;
    }
    snprintf(text, size, "client %s has %zu calls at once already: max_client_calls", caller->name,
             caller->n_calls - 1);
    return true;
}
