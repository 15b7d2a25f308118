/* The parts of a channel that its files share. Internal to common/rpc. */
#ifndef HINDCAST_RPC_CHANNEL_H
#define HINDCAST_RPC_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/rpc/address.h"
#include "common/rpc/client.h"
#include "common/rpc/message.h"
#include "common/rpc/operation.h"

#define CHANNEL_SPARE_QUEUES 8

struct rpc_channel {
    char *address;
    struct address_target target;
    grpc_channel *grpc;
    size_t max_message_bytes;
    size_t n_headers;
    grpc_metadata headers[2]; /* of every call: "authorization: Bearer ..", the protocol's */

    pthread_mutex_t lock;
    grpc_completion_queue *spare[CHANNEL_SPARE_QUEUES]; /* lock; empty, for the next call */
    size_t n_spare;                                     /* lock */
    atomic_size_t n_streams;
};

/* A completion queue for one call; channel_return_queue only when nothing is under way in it. */
grpc_completion_queue *channel_take_queue(struct rpc_channel *channel);
void channel_return_queue(struct rpc_channel *channel, grpc_completion_queue *queue);

/* The method's descriptor, and a gRPC call for it on `queue`. */
status channel_call(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
                    const char *method, uint64_t timeout_ms, grpc_completion_queue *queue,
                    grpc_call **call, const ProtobufCMethodDescriptor **descriptor,
                    struct err *err) MUST_CHECK;

/* The operation that opens a call on the wire. */
grpc_op channel_initial_op(struct rpc_channel *channel, bool wait_for_ready);

/* The end of a call as a status, with the server's text behind address and method. */
status channel_result(const struct rpc_channel *channel, const char *method, grpc_status_code code,
                      grpc_slice details, struct err *err);

/* Unpacks a response; takes `buffer`. */
status channel_read(const struct rpc_channel *channel, const ProtobufCMethodDescriptor *descriptor,
                    uint32_t payload_field, grpc_byte_buffer *buffer, struct rpc_message *message,
                    struct err *err) MUST_CHECK;

/* Waits for `tag`; false when the deadline passed first. */
bool channel_pluck(grpc_completion_queue *queue, void *tag, uint64_t deadline_ns, bool *ok);

#endif
