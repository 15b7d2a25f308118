/* The calling side: blocking calls and streams with deadlines, for threads that have nothing else
 * to do.
 *
 * A channel may be shared by any number of threads. A stream may be sent to by one thread and
 * received from by another; rpc_stream_cancel may come from any. Channels reconnect by themselves,
 * within a second of the server's return. */
#ifndef HINDCAST_RPC_CLIENT_H
#define HINDCAST_RPC_CLIENT_H

#include "common/rpc/rpc.h"

struct rpc_channel;
struct rpc_stream;

struct rpc_channel_options {
    struct rpc_tls tls;
    struct rpc_protocol protocol; /* said with every call. Copied. */
    const char *token;            /* bearer token shown with every call; NULL: none. Copied. */
    size_t max_message_bytes;     /* 0: RPC_MESSAGE_MAX_BYTES */
};

/* Connects lazily: it is no error if the server does not run yet. `options` may be NULL. */
status rpc_channel_open(struct rpc_channel **channel, const char *address,
                        const struct rpc_channel_options *options, struct err *err) MUST_CHECK;
void rpc_channel_close(struct rpc_channel *channel); /* after its streams */
const char *rpc_channel_address(const struct rpc_channel *channel);

/* Waits until the channel is connected: OK, TIMEOUT. */
status rpc_channel_wait(struct rpc_channel *channel, uint64_t timeout_ms) MUST_CHECK;

/* A received message: unpacked, with its payload. Free with rpc_message_free. */
struct rpc_message {
    ProtobufCMessage *body; /* of the type asked for */
    struct rpc_pieces payload;
    void *memory; /* ours */
};
void rpc_message_free(struct rpc_message *message);

struct rpc_call_options {
    uint64_t timeout_ms;    /* of the whole call; 0: none for streams, 10 s for rpc_unary */
    bool wait_for_ready;    /* wait for the server until the deadline; else UNAVAILABLE at once */
    uint32_t payload_field; /* responses carry this bytes field as a payload; 0: none */
};

/* One unary call. `service` and `method` name it ("&grpc__health__v1__health__descriptor",
 * "Check"); `payload` may be NULL and is taken; so may `options`. On OK *response is the caller's.
 * Otherwise the server's status with its text, or TIMEOUT, UNAVAILABLE. */
status rpc_unary(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
                 const char *method, const ProtobufCMessage *request,
                 const struct rpc_payload *payload, const struct rpc_call_options *options,
                 struct rpc_message *response, struct err *err) MUST_CHECK;

/* Opens a client, server or bidi stream. `kind` as in the .proto. */
status rpc_stream_open(struct rpc_stream **stream, struct rpc_channel *channel,
                       const ProtobufCServiceDescriptor *service, const char *method,
                       enum rpc_kind kind, const struct rpc_call_options *options,
                       struct err *err) MUST_CHECK;
/* Sends one message; returns when gRPC has taken it (its flow control is the back-pressure).
 * TIMEOUT leaves the stream cancelled; CLOSED: the stream has ended, rpc_stream_finish says why. */
status rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *request,
                       const struct rpc_payload *payload, uint64_t timeout_ms) MUST_CHECK;
/* The same in two steps, for callers that have other work while the peer delays them: start hands
 * the message over, wait returns whether gRPC has taken it: OK, CLOSED, or TIMEOUT, after which the
 * send continues and wait may be called again. One message at a time, by the sending thread. */
status rpc_stream_send_start(struct rpc_stream *stream, const ProtobufCMessage *request,
                             const struct rpc_payload *payload) MUST_CHECK;
status rpc_stream_send_wait(struct rpc_stream *stream, uint64_t timeout_ms) MUST_CHECK;
/* No more will be sent. Waits as rpc_stream_send does, 10 s at most. */
status rpc_stream_half_close(struct rpc_stream *stream) MUST_CHECK;
/* The next message. TIMEOUT: none yet; the stream stays open and the next recv continues to wait;
 * CLOSED: the stream has ended. */
status rpc_stream_recv(struct rpc_stream *stream, struct rpc_message *message,
                       uint64_t timeout_ms) MUST_CHECK;
void rpc_stream_cancel(struct rpc_stream *stream); /* any thread; recv and send return CLOSED */
/* Half-closes, reads and drops what still comes, waits for the end (after `timeout_ms` it cancels),
 * returns the server's status with its text, and frees the stream. */
status rpc_stream_finish(struct rpc_stream *stream, uint64_t timeout_ms,
                         struct err *err) MUST_CHECK;

#endif
