/* protobuf-c services over gRPC core, in plain C: what server and client share.
 *
 * protobuf-c generates messages and service descriptors but knows neither streams nor a transport;
 * gRPC core has both and knows no messages. This library binds them, and nothing else: it knows no
 * Hindcast type but `status`.
 *
 * Payloads. A message with one large `bytes` field need not be copied into and out of protobuf-c:
 * the sender packs the small fields and appends the payload from its own buffer; the receiver gets
 * the small fields unpacked and the payload as pieces of gRPC's memory. On the wire it is an
 * ordinary protobuf message, so any other client can speak it. */
#ifndef HINDCAST_RPC_RPC_H
#define HINDCAST_RPC_RPC_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

/* What a peer may send ahead on one stream before it is read; a server has many streams. */
#define RPC_CLIENT_WINDOW_BYTES (4u << 20)
#define RPC_SERVER_WINDOW_BYTES (1u << 20)
#define RPC_MESSAGE_MAX_BYTES   (16u << 20) /* default of the largest message, both ways */

enum rpc_kind { RPC_UNARY, RPC_CLIENT_STREAM, RPC_SERVER_STREAM, RPC_BIDI };

/* PEM files; all NULL or empty: no TLS. With `ca` and a server's cert and key clients must show a
 * certificate (mutual). Never used on unix sockets: the file system protects those. */
struct rpc_tls {
    const char *ca;
    const char *cert;
    const char *key;
};

/* When the certificates in this PEM file expire, the first of them, in seconds since 1970.
 * NOT_FOUND, IO, INVALID: not a certificate. */
status rpc_tls_expiry(const char *cert, int64_t *expires_s, struct err *err) MUST_CHECK;

/* Which versions of its services a program speaks: a client says so in a header of each call, and a
 * server refuses one with which it has no version in common. */
struct rpc_protocol {
    const char *header;      /* its name; NULL: nothing is said, and nothing refused */
    const char *program;     /* visible ASCII, for the texts of refusals: "hindcast 0.1.0" */
    uint32_t oldest, newest; /* 1 <= oldest <= newest */
};

/* A bytes field to send without copying; it must not be set in the message itself. `release(arg)`
 * is called once, on any thread, when gRPC is done with it (also after errors). Without `release`
 * the bytes are copied. */
struct rpc_payload {
    uint32_t field; /* number of the bytes field in the message */
    const void *bytes;
    size_t size;
    void (*release)(void *arg);
    void *arg;
};

/* A received payload: pieces of gRPC's own memory, valid as long as the call of the handler, or
 * until the message is freed. */
struct rpc_pieces {
    size_t n;
    size_t size; /* of all pieces together */
    const struct rpc_piece {
        const uint8_t *bytes;
        size_t size;
    } * pieces;
};
/* Copies `size` bytes from byte `offset` of the payload; false when it is shorter. */
bool rpc_pieces_copy(const struct rpc_pieces *pieces, void *to, size_t offset, size_t size);

/* gRPC's numeric code for a status and back (table in rpc.c; MISMATCH <-> FAILED_PRECONDITION,
 * FULL <-> RESOURCE_EXHAUSTED, RETRY <-> ABORTED, CORRUPT <-> DATA_LOSS, ..). */
int rpc_code(status code);
status rpc_status(int grpc_code);

/* Is this address ("unix:path", "127.0.0.1:50051", "[::1]:0", "localhost:1") reachable from this
 * machine alone? */
bool rpc_address_is_local(const char *address);

/* Can this be the address of a peer? "unix:PATH", or HOST:PORT with
 * PORT in 1..65535, an IPv6 host in brackets. INVALID says what is wrong; the host is not looked up
 * and need not be there. */
status rpc_address_check(const char *address, struct err *err) MUST_CHECK;

/* Sets `err` to "ADDRESS: not reachable", with the reason where a host name cannot be resolved,
 * which is looked up now and may take seconds. Returns UNAVAILABLE. */
status rpc_address_unreachable(const char *address, struct err *err);

/* Start and end of gRPC, counted. Call rpc_init before the first thread that uses rpc, with signals
 * blocked. */
void rpc_init(void);
void rpc_fini(void);

#endif
