/* Signatures as messages of replay.proto, and back. */
#ifndef HINDCAST_CLIENTS_SIGNATURE_WIRE_H
#define HINDCAST_CLIENTS_SIGNATURE_WIRE_H

#include "common/trajectory/episode.h"
#include "common/trajectory/signature.h"
#include "proto/replay.pb-c.h"

/* A message whose pointers point into this struct and into the signature. About 10 KiB: keep it off
 * small stacks. */
struct signature_wire {
    Hindcast__Signature message;
    Hindcast__Signature__Slice slices[SIGNATURE_SLICES_MAX];
    Hindcast__Signature__Slice *slice_pointers[SIGNATURE_SLICES_MAX];
    char *rewards[SIGNATURE_TASKS_MAX];
};

/* `wire` borrows from `signature`, and must not be moved or copied afterwards. */
void signature_wire_fill(struct signature_wire *wire, const struct signature *signature);
/* Copies and checks what a peer sent (NULL: none). INVALID. */
status signature_wire_read(struct signature *signature, const Hindcast__Signature *message,
                           struct err *err) MUST_CHECK;

#endif
