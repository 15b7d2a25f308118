/* What the linker puts in front of three of gRPC's functions (--wrap). */
#ifndef HINDCAST_SIM_NETWORK_SLICE_H
#define HINDCAST_SIM_NETWORK_SLICE_H

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

grpc_slice __real_grpc_slice_new_with_user_data(void *bytes, size_t size,
                                                void (*release)(void *arg), void *arg);
grpc_slice __wrap_grpc_slice_new_with_user_data(void *bytes, size_t size,
                                                void (*release)(void *arg), void *arg);
void __real_grpc_slice_unref(grpc_slice slice);
void __wrap_grpc_slice_unref(grpc_slice slice);
void __real_grpc_byte_buffer_destroy(grpc_byte_buffer *buffer);
void __wrap_grpc_byte_buffer_destroy(grpc_byte_buffer *buffer);

#endif
