/* What our gRPC binding carries between two processes of this machine: the echo service of the
 * tests, in a process of its own, and streams of large messages from and to it. bench_rpc reports
 * them; bench_replay holds sampling and inserting against them. Ends the program when something
 * fails: a figure with failed calls in it would mean nothing. */
#ifndef HINDCAST_BENCH_RPC_STREAMS_H
#define HINDCAST_BENCH_RPC_STREAMS_H

#include <stddef.h>
#include <sys/types.h>

#include "common/rpc/client.h"

/* The program runs itself again with this argument and an address. Its main calls
 * echo_process_serve then, and returns what that returns. */
#define ECHO_PROCESS_ARGUMENT "--serve"

struct echo_process {
    pid_t pid;
    int stop; /* closing it ends the server */
    char address[128];
};

/* What the child runs: serves until its standard input ends. */
int echo_process_serve(const char *address);

/* Starts the server in a new process and returns when it accepts calls. */
void echo_process_start(struct echo_process *server, const char *address);
void echo_process_stop(struct echo_process *server);

/* A channel that is connected, so that no figure includes the handshake. */
struct rpc_channel *rpc_streams_connect(const char *address);

/* Bytes a second of messages of `size` bytes of payload, from the server and to it. */
double rpc_streams_download(const char *address, size_t size, double seconds);
double rpc_streams_upload(const char *address, size_t size, double seconds);

#endif
