/* The version of what goes over the wire. It changes when a program of one version cannot work with
 * one of another: fields and calls that are only new do not change it (docs/wire.md, "Versions"). */
#ifndef HINDCAST_SERVICE_WIRE_VERSION_H
#define HINDCAST_SERVICE_WIRE_VERSION_H

#include "common/rpc/rpc.h"

#define WIRE_VERSION        1u
#define WIRE_VERSION_OLDEST 1u /* that this program still speaks */

#define WIRE_PROTOCOL                                                                              \
    ((struct rpc_protocol){.header = "hindcast-wire",                                              \
                           .program = "hindcast " HINDCAST_VERSION,                                \
                           .oldest = WIRE_VERSION_OLDEST,                                          \
                           .newest = WIRE_VERSION})

#endif
