/* A connection to one server, and single calls over it.
 *
 * Blocking calls use gRPC's plucking queues: one queue for each call under way, where the thread
 * waits for its own tags. A few empty queues are kept, since making one costs more than a small
 * call. */
#include "common/rpc/channel.h"

#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "common/rpc/address.h"
#include "common/rpc/protocol.h"
#include "common/rpc/tls.h"

#define UNARY_TIMEOUT_MS 10000

/* Attempts to connect come after 100 ms, then ever later up to half a second (gRPC adds up to a
 * fifth), so that a server is found within a second of its return. */
#define RECONNECT_FIRST_MS 100
#define RECONNECT_LAST_MS  500
#define RESOLVE_MIN_MS     1000
/* What one attempt may take, TLS included: gRPC calls it the least backoff. Short, and a loaded
 * machine never connects. */
#define CONNECT_TIMEOUT_MS 3000

/* While calls are open, a connection that is silent for the first time is probed, and given up when
 * no answer comes within the second. */
#define KEEPALIVE_TIME_MS    10000
#define KEEPALIVE_TIMEOUT_MS 10000

/* ---- Opening and closing ---- */

/* gRPC's numbers are int: a larger value counts as the largest. */
static grpc_arg int_arg(char *key, size_t value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER,
                      .key = key,
                      .value.integer = value > INT_MAX ? INT_MAX : (int)value};
}

/* Connects when the first call needs it, and again by itself after that. */
static grpc_channel *connect_lazily(const char *address, grpc_channel_credentials *credentials,
                                    size_t max_message_bytes)
{
    grpc_arg args[] = {
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, max_message_bytes),
        int_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, max_message_bytes),
        /* All three, else a server that comes back is found only after up to 10 s. */
        int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_FIRST_MS),
        int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_LAST_MS),
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_TIMEOUT_MS),
        int_arg(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, RESOLVE_MIN_MS),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
        /* Any number of pings: on a quiet stream there is nothing else to send. */
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        /* Probing for the window costs a stream a quarter of its rate on a fast link. */
        int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        int_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, RPC_CLIENT_WINDOW_BYTES),
        int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0), /* decompress.c does it */
        int_arg(GRPC_ARG_ENABLE_RETRIES, 0), /* callers know what may be retried; gRPC would copy */
        /* No proxy and no settings out of DNS: the connection goes where the address says. */
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        int_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1), /* a connection for each channel */
    };
    grpc_channel_args all = {.num_args = sizeof args / sizeof args[0], .args = args};
    return grpc_channel_create(address, credentials, &all);
}

/* From now on every call on this channel carries it. */
static const grpc_metadata *add_header(struct rpc_channel *channel, const char *name,
                                       const char *value)
{
    grpc_metadata *header = &channel->headers[channel->n_headers++];
    header->key = grpc_slice_from_copied_string(name);
    header->value = grpc_slice_from_copied_string(value);
    return header;
}

static void set_protocol(struct rpc_channel *channel, const struct rpc_protocol *protocol)
{
    char value[PROTOCOL_TEXT_SIZE];
    if (protocol->header != NULL) {
        protocol_write(protocol, value, sizeof value);
        (void)add_header(channel, protocol->header, value);
    }
}

/* INVALID: characters that a header may not have. */
static status set_token(struct rpc_channel *channel, const char *token, struct err *err)
{
    if (token == NULL || token[0] == '\0') {
        return STATUS_OK;
    }
    /* The copy is wiped after gRPC has made its own. */
    size_t size = strlen("Bearer ") + strlen(token) + 1;
    char *value = mem_new(size);
    if (value == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", channel->address);
    }
    snprintf(value, size, "Bearer %s", token);
    const grpc_metadata *header = add_header(channel, "authorization", value);
    explicit_bzero(value, size);
    mem_free(value);
    /* Checked here, because no call can start with a header that is not legal. */
    return grpc_header_nonbin_value_is_legal(header->value)
               ? STATUS_OK
               : err_set(err, STATUS_INVALID,
                         "%s: the token holds characters that a header may not", channel->address);
}

status rpc_channel_open(struct rpc_channel **opened, const char *address,
                        const struct rpc_channel_options *options, struct err *err)
{
    static const struct rpc_channel_options DEFAULTS;
    options = options != NULL ? options : &DEFAULTS;
    struct rpc_channel *channel = mem_new(sizeof *channel);
    char *copy = mem_text(address);
    if (channel == NULL || copy == NULL) {
        mem_free(channel);
        mem_free(copy);
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", address);
    }
    /* From here on rpc_channel_close takes down what is there. */
    channel->address = copy;
    channel->max_message_bytes =
        options->max_message_bytes ? options->max_message_bytes : RPC_MESSAGE_MAX_BYTES;
    /* rpc_channel_close, which also cleans up after failures, ends both. */
    pthread_mutex_init(&channel->lock, NULL);
    rpc_init();
    /* What can be wrong is found now, and not when the first call does not connect. */
    grpc_channel_credentials *credentials = NULL;
    status s = address_open(&channel->target, address, err);
    if (s == STATUS_OK) {
        set_protocol(channel, &options->protocol);
        s = set_token(channel, options->token, err);
    }
    if (s == STATUS_OK) {
        s = tls_channel(&credentials, &options->tls, address, err);
    }
    if (s == STATUS_OK) {
        /* The channel keeps its own reference of the credentials. */
        channel->grpc =
            connect_lazily(channel->target.uri, credentials, channel->max_message_bytes);
        grpc_channel_credentials_release(credentials);
    }
    if (s != STATUS_OK) {
        rpc_channel_close(channel);
        return s;
    }
    *opened = channel;
    return STATUS_OK;
}

/* A queue must be drained before it is destroyed; nothing is under way in this one. */
static void destroy_queue(grpc_completion_queue *queue)
{
    grpc_completion_queue_shutdown(queue);
    grpc_event event =
        grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    /* Of an empty queue the shutdown is the only event. */
    ASSERT(event.type == GRPC_QUEUE_SHUTDOWN);
    grpc_completion_queue_destroy(queue);
}

void rpc_channel_close(struct rpc_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    /* A stream uses the channel until it is finished. */
    ASSERT(atomic_load(&channel->n_streams) == 0);
    if (channel->grpc != NULL) {
        grpc_channel_destroy(channel->grpc);
    }
    /* The spare queues are empty, so they end at once. */
    for (size_t i = 0; i < channel->n_spare; i++) {
        destroy_queue(channel->spare[i]);
    }
    for (size_t i = 0; i < channel->n_headers; i++) {
        grpc_slice_unref(channel->headers[i].key);
        grpc_slice_unref(channel->headers[i].value);
    }
    pthread_mutex_destroy(&channel->lock);
    address_close(&channel->target);
    mem_free(channel->address);
    mem_free(channel);
    rpc_fini();
}

const char *rpc_channel_address(const struct rpc_channel *channel)
{
    return channel->address;
}

/* ---- What calls share ---- */

grpc_completion_queue *channel_take_queue(struct rpc_channel *channel)
{
    grpc_completion_queue *queue = NULL;
    pthread_mutex_lock(&channel->lock);
    /* One that is kept, or a new one. */
    if (channel->n_spare > 0) {
        queue = channel->spare[--channel->n_spare];
    }
    pthread_mutex_unlock(&channel->lock);
    return queue != NULL ? queue : grpc_completion_queue_create_for_pluck(NULL);
}

void channel_return_queue(struct rpc_channel *channel, grpc_completion_queue *queue)
{
    /* A few are kept; what is too many is destroyed without the lock. */
    pthread_mutex_lock(&channel->lock);
    if (channel->n_spare < CHANNEL_SPARE_QUEUES) {
        channel->spare[channel->n_spare++] = queue;
        queue = NULL;
    }
    pthread_mutex_unlock(&channel->lock);
    if (queue != NULL) {
        destroy_queue(queue);
    }
}

bool channel_pluck(grpc_completion_queue *queue, void *tag, uint64_t deadline_ns, bool *ok)
{
    grpc_event event = grpc_completion_queue_pluck(queue, tag, op_time(deadline_ns), NULL);
    /* The deadline has passed, and the tag is still under way. */
    if (event.type != GRPC_OP_COMPLETE) {
        return false;
    }
    op_take(tag);
    *ok = event.success != 0;
    return true;
}

status rpc_channel_wait(struct rpc_channel *channel, uint64_t timeout_ms)
{
    uint64_t deadline = op_deadline_ns(timeout_ms);
    grpc_completion_queue *queue = channel_take_queue(channel);
    /* gRPC connects only for a call, or when it is asked to, as below. */
    grpc_connectivity_state state;
    /* Each change of the state ends one wait. The check asks the channel to connect. */
    while ((state = grpc_channel_check_connectivity_state(channel->grpc, 1)) !=
               GRPC_CHANNEL_READY &&
           clock_now_ns() < deadline) {
        char tag;
        bool changed;
        op_give(&tag);
        grpc_channel_watch_connectivity_state(channel->grpc, state, op_time(deadline), queue, &tag);
        (void)channel_pluck(queue, &tag, UINT64_MAX,
                            &changed); /* comes at the deadline at the latest */
    }
    channel_return_queue(channel, queue);
    return state == GRPC_CHANNEL_READY ? STATUS_OK : STATUS_TIMEOUT;
}

status channel_call(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
                    const char *method, uint64_t timeout_ms, grpc_completion_queue *queue,
                    grpc_call **call, const ProtobufCMethodDescriptor **descriptor, struct err *err)
{
    /* The .proto knows the methods: a wrong name does not get as far as the server. */
    *descriptor = protobuf_c_service_descriptor_get_method_by_name(service, method);
    if (*descriptor == NULL) {
        return err_set(err, STATUS_INVALID, "%s: has no method %s", service->name, method);
    }
    /* "/package.Service/Method", with a 0 behind it for snprintf. */
    size_t size = strlen(service->name) + strlen(method) + 2;
    grpc_slice path = grpc_slice_malloc(size + 1);
    snprintf((char *)GRPC_SLICE_START_PTR(path), size + 1, "/%s/%s", service->name, method);
    GRPC_SLICE_SET_LENGTH(path, size);
    /* No timeout: no deadline. */
    *call = grpc_channel_create_call(channel->grpc, NULL, 0, queue, path, NULL,
                                     op_time(timeout_ms ? op_deadline_ns(timeout_ms) : UINT64_MAX),
                                     NULL);
    grpc_slice_unref(path);
    return STATUS_OK;
}

grpc_op channel_initial_op(struct rpc_channel *channel, bool wait_for_ready)
{
    /* Explicit, so that gRPC's default for the method does not count. */
    grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    op.flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET;
    if (wait_for_ready) {
        op.flags |= GRPC_INITIAL_METADATA_WAIT_FOR_READY;
    }
    op.data.send_initial_metadata.count = channel->n_headers;
    op.data.send_initial_metadata.metadata = channel->headers;
    return op;
}

status channel_result(const struct rpc_channel *channel, const char *method, grpc_status_code code,
                      grpc_slice details, struct err *err)
{
    status s = rpc_status((int)code);
    if (s != STATUS_OK) {
        /* The server's text is not terminated. */
        int size = (int)(GRPC_SLICE_LENGTH(details) < 900 ? GRPC_SLICE_LENGTH(details) : 900);
        err_set(err, s, "%s: %s: %.*s", channel->address, method, size,
                size > 0 ? (const char *)GRPC_SLICE_START_PTR(details) : "");
    }
    if (s != STATUS_OK && err != NULL) {
        /* The text is the server's: it may be cut, and it may hold anything. */
        utf8_trim(err->text);
        utf8_clean(err->text);
    }
    return s;
}

status channel_read(const struct rpc_channel *channel, const ProtobufCMethodDescriptor *descriptor,
                    uint32_t payload_field, grpc_byte_buffer *buffer, struct rpc_message *message,
                    struct err *err)
{
    /* On the heap: the response outlives the call that brought it. */
    struct message *m = mem_new(sizeof *m);
    if (m == NULL) {
        grpc_byte_buffer_destroy(buffer);
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", channel->address);
    }
    /* The message keeps all its memory, which rpc_message_free gives back. */
    struct message_type type = {descriptor->output, payload_field, channel->max_message_bytes};
    status s = message_read(m, buffer, &type, err);
    if (s != STATUS_OK) {
        message_fini(m);
        mem_free(m);
        return err_context(err, s, "%s: %s", channel->address, descriptor->name);
    }
    *message = (struct rpc_message){.body = m->body, .payload = m->payload, .memory = m};
    return STATUS_OK;
}

/* Also for a message that was never filled in, which is all zeros. */
void rpc_message_free(struct rpc_message *message)
{
    if (message->memory != NULL) {
        message_fini(message->memory);
        mem_free(message->memory);
    }
    *message = (struct rpc_message){0};
}

/* ---- Unary ---- */

/* What one unary call receives. */
struct unary_result {
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *response;
    grpc_status_code code;
    grpc_slice details;
};

/* Sends the request and waits for the end: one batch, one tag. */
static void run_unary(struct rpc_channel *channel, grpc_call *call, grpc_completion_queue *queue,
                      grpc_byte_buffer *request, bool wait_for_ready, struct unary_result *result)
{
    /* The whole call in one batch: headers, request and half-close out, headers, response and
     * status in. */
    grpc_op ops[6] = {0};
    ops[0] = channel_initial_op(channel, wait_for_ready);
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &result->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &result->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &result->trailing;
    ops[5].data.recv_status_on_client.status = &result->code;
    ops[5].data.recv_status_on_client.status_details = &result->details;
    /* The result's address is the tag. */
    op_give(result);
    grpc_call_error error = grpc_call_start_batch(call, ops, 6, result, NULL);
    ASSERT(error == GRPC_CALL_OK);
    bool ok;
    (void)channel_pluck(queue, result, UINT64_MAX, &ok); /* bounded: the call has its deadline */
}

/* The status of the call and, when it is OK, its response. */
static status unary_response(struct rpc_channel *channel,
                             const ProtobufCMethodDescriptor *descriptor,
                             const struct rpc_call_options *options, struct unary_result *result,
                             struct rpc_message *response, struct err *err)
{
    status s = channel_result(channel, descriptor->name, result->code, result->details, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A server of another make may do so. */
    if (result->response == NULL) {
        return err_set(err, STATUS_INVALID, "%s: %s: ended well without a response",
                       channel->address, descriptor->name);
    }
    /* From here on the buffer is channel_read's. */
    grpc_byte_buffer *buffer = result->response;
    result->response = NULL;
    return channel_read(channel, descriptor, options->payload_field, buffer, response, err);
}

status rpc_unary(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
                 const char *method, const ProtobufCMessage *request,
                 const struct rpc_payload *payload, const struct rpc_call_options *options,
                 struct rpc_message *response, struct err *err)
{
    static const struct rpc_call_options DEFAULTS;
    options = options != NULL ? options : &DEFAULTS;
    /* 0 in the options means the default. */
    uint64_t timeout_ms = options->timeout_ms ? options->timeout_ms : UNARY_TIMEOUT_MS;
    /* gRPC takes its own reference of the request; ours is dropped at the end. */
    grpc_byte_buffer *buffer = message_write(request, payload);
    grpc_completion_queue *queue = channel_take_queue(channel);
    grpc_call *call;
    const ProtobufCMethodDescriptor *descriptor;
    status s = channel_call(channel, service, method, timeout_ms, queue, &call, &descriptor, err);
    if (s == STATUS_OK) {
        ASSERT(request->descriptor == descriptor->input);
        /* All that gRPC writes into must outlive the batch. */
        struct unary_result result = {.details = grpc_empty_slice()};
        grpc_metadata_array_init(&result.initial);
        grpc_metadata_array_init(&result.trailing);
        run_unary(channel, call, queue, buffer, options->wait_for_ready, &result);
        s = unary_response(channel, descriptor, options, &result, response, err);
        /* A response that came with an error, which nobody wants. */
        if (result.response != NULL) {
            grpc_byte_buffer_destroy(result.response);
        }
        grpc_slice_unref(result.details);
        grpc_metadata_array_destroy(&result.initial);
        grpc_metadata_array_destroy(&result.trailing);
        grpc_call_unref(call);
    }
    grpc_byte_buffer_destroy(buffer);
    /* The only tag has come back, so the queue is empty again. */
    channel_return_queue(channel, queue);
    return s;
}
