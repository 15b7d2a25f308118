/* The network between simulated processes, under the real common/rpc: what follows stands where
 * gRPC's core is in production (grpc_call_start_batch, completion queues, channels, servers; the
 * names are gRPC's own). Bytes travel as gRPC packs them, but through memory, with chance's delays;
 * windows are small so that flow control bites; a connection can be cut or held up at any moment, a
 * process vanish.
 *
 *   network_queue.c    completion queues
 *   network_channel.c  channels: connecting, backing off, noticing that a connection is gone
 *   network_server.c   servers: listening, accepting, shutting down
 *   network_call.c     calls: batches of operations, the end
 *   network_frame.c    what travels between the ends of a call
 *   network_fault.c    what goes wrong with connections
 *
 * Objects live until network_reset. */
#ifndef HINDCAST_SIM_NETWORK_H
#define HINDCAST_SIM_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

struct network_counts {
    uint64_t connections, cuts, stalls, calls, messages, broken_calls;
};

void network_reset(void); /* also at the beginning; frees everything */
/* Largest delay of one message, most bytes under way in one direction of a call. */
void network_set(uint64_t delay_ns_max, uint64_t window_bytes);

/* ---- Faults ---- */
/* Breaks one connection at random. */
void network_cut_one(void);
/* Delays one connection: nothing arrives in either direction for so long. */
void network_stall_one(uint64_t ns);
/* The process of this host is gone, as after kill -9: its connections break, nobody reaches it and
 * it reaches nobody. Fibers of it that still run send nothing. */
void network_kill_host(int host);

void network_count(struct network_counts *counts);

#endif
