/* What plain sockets can do between two processes of this machine: the limit that calls and streams
 * are held against. Ends the program when a socket cannot be had. */
#ifndef HINDCAST_BENCH_PLAIN_SOCKET_H
#define HINDCAST_BENCH_PLAIN_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

/* Median time of 100 bytes there and back, in us; over loopback TCP, else a unix socket. */
double plain_socket_round_trip(bool tcp);

/* Bytes a second of whole messages of `size` bytes. */
double plain_socket_stream(bool tcp, size_t size, double seconds);

#endif
