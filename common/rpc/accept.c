/* New calls: find the method, ask who calls (caller.h), check the limits.
 *
 * All calls come through gRPC's catch-all request, so that an unknown method is answered like any
 * other. A few accept slots are armed at all times; each takes one call and is armed again. The
 * method is found in a hash table by the path on the wire. A call that is refused becomes a struct
 * rpc_call too, because its status has to be sent. */
#define LOG_MODULE "rpc"
#include "common/rpc/serving.h"

#include <grpc/support/alloc.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/rpc/caller.h"
#include "common/rpc/protocol.h"

/* ---- The method table ---- */

/* Good enough for a few dozen names that the server itself has chosen. */
static uint64_t hash_path(const uint8_t *path, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ path[i]) * 0x100000001b3ull;
    }
    return hash ^ hash >> 32;
}

/* "/package.Service/Method" on the heap, or NULL. */
static char *method_path(const char *service, const char *method)
{
    size_t service_size = strlen(service);
    size_t method_size = strlen(method);
    char *path = mem_new(service_size + method_size + 3);
    if (path != NULL) {
        path[0] = '/';
        memcpy(path + 1, service, service_size);
        path[1 + service_size] = '/';
        memcpy(path + 2 + service_size, method, method_size);
    }
    return path;
}

status accept_add(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                  const struct rpc_method *method, void *service, struct err *err)
{
    /* A method that the .proto does not have is a mistake in the table of methods. */
    const ProtobufCMethodDescriptor *found =
        protobuf_c_service_descriptor_get_method_by_name(descriptor, method->name);
    if (found == NULL) {
        return err_set(err, STATUS_INVALID, "%s: has no method %s", descriptor->name, method->name);
    }
    ASSERT(method->message != NULL);
    /* A list for now; build_table makes a hash table of it when the server starts. */
    struct served_method *methods =
        mem_resize(server->methods, server->n_methods + 1, sizeof *server->methods);
    if (methods != NULL) {
        server->methods = methods;
    }
    char *path = method_path(descriptor->name, method->name);
    if (methods == NULL || path == NULL) {
        mem_free(path);
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", descriptor->name);
    }
    /* The same service added twice. */
    for (size_t i = 0; i < server->n_methods; i++) {
        if (strcmp(methods[i].path, path) == 0) {
            mem_free(path);
            return err_set(err, STATUS_EXISTS, "%s: %s is served already", descriptor->name,
                           method->name);
        }
    }
    methods[server->n_methods++] = (struct served_method){
        .path = path, .method = method, .descriptor = found, .service = service};
    return STATUS_OK;
}

/* Turns the list into a hash table, at most half full. */
static status build_table(struct rpc_server *server)
{
    /* A power of two: the slot is the hash without its upper bits. */
    size_t size = 16;
    while (size < 2 * server->n_methods) {
        size *= 2;
    }
    struct served_method *table = mem_array(size, sizeof *table);
    if (table == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < server->n_methods; i++) {
        const char *path = server->methods[i].path;
        size_t slot = hash_path((const uint8_t *)path, strlen(path)) & (size - 1);
        /* Linear probing. */
        while (table[slot].path != NULL) {
            slot = (slot + 1) & (size - 1);
        }
        table[slot] = server->methods[i];
    }
    /* The paths have moved with their entries; only the list goes. */
    mem_free(server->methods);
    server->methods = table;
    server->table_size = size;
    return STATUS_OK;
}

/* NULL: no such method. The table is at most half full, so a free slot ends each search. */
static const struct served_method *find_method(const struct rpc_server *server,
                                               const grpc_slice *path)
{
    const uint8_t *bytes = GRPC_SLICE_START_PTR(*path);
    size_t size = GRPC_SLICE_LENGTH(*path);
    size_t slot = hash_path(bytes, size) & (server->table_size - 1);
    for (; server->methods[slot].path != NULL; slot = (slot + 1) & (server->table_size - 1)) {
        const char *known = server->methods[slot].path;
        if (strlen(known) == size && memcmp(known, bytes, size) == 0) {
            return &server->methods[slot];
        }
    }
    return NULL;
}

/* ---- Accepting ---- */

/* Asks gRPC for the next call. The slot is ours again when its tag comes back. */
static void arm(struct accept_slot *slot)
{
    grpc_call_details_init(&slot->details);
    grpc_metadata_array_init(&slot->metadata);
    slot->call = NULL;
    op_give(&slot->op);
    /* gRPC writes call, details and metadata when the next call comes. */
    grpc_call_error error =
        grpc_server_request_call(slot->server->grpc, &slot->call, &slot->details, &slot->metadata,
                                 slot->server->cq, slot->server->cq, &slot->op);
    ASSERT(error == GRPC_CALL_OK);
    slot->armed = true;
}

/* gRPC's deadline, which may be on any of its clocks, as our monotonic nanoseconds. */
static uint64_t monotonic_ns(gpr_timespec time)
{
    if (gpr_time_cmp(time, gpr_inf_future(time.clock_type)) == 0) {
        return UINT64_MAX;
    }
    time = gpr_convert_clock_type(time, GPR_CLOCK_MONOTONIC);
    if (time.tv_sec < 0) {
        /* A deadline that has passed may lie before the zero of our clock. */
        return 0;
    }
    uint64_t seconds = (uint64_t)time.tv_sec;
    uint64_t nanoseconds = (uint64_t)time.tv_nsec;
    return seconds * NS_PER_S + nanoseconds;
}

/* Checks the limits. Refused calls and those without a token have bounds of their own: callers
 * without a token must not use up the calls of those who have one. */
static int check_limits(struct rpc_server *server, bool anonymous, const char **why)
{
    *why = "too many calls at once";
    /* Callers with a role: all calls but the two kinds that are counted apart. */
    if (!anonymous) {
        const size_t others = server->n_refused + server->n_anonymous;
        return server->n_calls - others >= server->max_calls ? GRPC_STATUS_RESOURCE_EXHAUSTED : 0;
    }
    if (server->n_anonymous >= 2 * SERVING_ANONYMOUS_MAX) { /* those that were ended are not gone */
        return GRPC_STATUS_RESOURCE_EXHAUSTED;
    }
    /* The oldest makes place for the new one. */
    if (server->n_anonymous >= SERVING_ANONYMOUS_MAX) {
        call_end_oldest_anonymous(server);
    }
    return 0;
}

/* Does the client speak a version that this server does? */
static int check_protocol(const struct rpc_server *server, const struct accept_slot *slot,
                          char *text, size_t size)
{
    const int refusal = protocol_check(&server->protocol, &slot->metadata, text, size);
    if (refusal != 0) {
        /* Both sides are told: whoever reads this log may not see the client's. */
        char *peer = grpc_call_get_peer(slot->call);
        log_warn("a call was refused peer=%s: %s", peer, text);
        gpr_free(peer);
    }
    return refusal;
}

/* One new call; or, when not `ok`, the end of this slot. */
static void on_accept(struct rpc_op *op, bool ok)
{
    struct accept_slot *slot = RPC_CONTAINER(op, struct accept_slot, op);
    struct rpc_server *server = slot->server;
    slot->armed = false;
    if (!ok) { /* the server is closing */
        grpc_call_details_destroy(&slot->details);
        grpc_metadata_array_destroy(&slot->metadata);
        return;
    }
    const struct served_method *served = find_method(server, &slot->details.method);
    /* Refused, or taken: in either case it becomes a call. */
    unsigned roles = 0;
    struct caller *caller = NULL;
    char text[PROTOCOL_TEXT_SIZE];
    const char *why = "";
    int refusal = 0;
    if (served == NULL) {
        refusal = GRPC_STATUS_UNIMPLEMENTED;
        why = "no such method here";
    } else {
        refusal = caller_enter(server, served, slot->call, &slot->metadata, &roles, &caller, &why);
    }
    if (refusal == 0) {
        refusal = check_protocol(server, slot, text, sizeof text);
        why = refusal ? text : why;
    }
    if (refusal == 0) {
        /* Limits are for calls that would be served. */
        refusal = check_limits(server, roles == 0, &why);
    }
    if (refusal == 0 && caller_has_too_many(server, caller, text, sizeof text)) {
        refusal = GRPC_STATUS_RESOURCE_EXHAUSTED;
        why = text;
        serving_count(&server->counters.client_calls_refused, 1);
    }
    if (refusal != 0) {
        caller_leave(server, caller);
        caller = NULL;
    }
    const struct call_origin origin = {caller, roles, monotonic_ns(slot->details.deadline)};
    call_begin(server, served, slot->call, &slot->metadata, &origin, refusal, why);
    grpc_call_details_destroy(&slot->details);
    grpc_metadata_array_destroy(&slot->metadata);
    /* While draining the slot stays empty: accept_idle waits for all of them. */
    if (!server->draining) {
        arm(slot);
    }
}

status accept_start(struct rpc_server *server, struct err *err)
{
    status s = build_table(server);
    if (s != STATUS_OK) {
        return err_set(err, s, "rpc server: out of memory");
    }
    /* From here on calls come. */
    grpc_server_start(server->grpc);
    for (size_t i = 0; i < SERVING_ACCEPTS; i++) {
        server->slots[i].op.complete = on_accept;
        server->slots[i].server = server;
        arm(&server->slots[i]);
    }
    return STATUS_OK;
}

bool accept_idle(const struct rpc_server *server)
{
    for (size_t i = 0; i < SERVING_ACCEPTS; i++) {
        if (server->slots[i].armed) {
            return false;
        }
    }
    return true;
}

void accept_fini(struct rpc_server *server)
{
    /* Before the start there is only the list; free slots of the table have the path NULL. */
    size_t n = server->table_size ? server->table_size : server->n_methods;
    for (size_t i = 0; i < n; i++) {
        mem_free(server->methods[i].path);
    }
    mem_free(server->methods);
}
