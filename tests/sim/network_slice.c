/* Slices are gRPC's own, but for one thing: what is called when the last reference to a sender's
 * memory goes must not be called from within gRPC, whose state belongs to the real thread, of which
 * there is only one here. It is called right after. */
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include "tests/sim/network_private.h"
#include "tests/sim/network_slice.h"

struct memory {
    void (*release)(void *arg);
    void *arg;
    struct memory *next;
};

static struct memory *released; /* and not yet told so */

static void note(void *memory)
{
    struct memory *of = memory;
    of->next = released;
    released = of;
}

static void tell(void)
{
    while (released) {
        struct memory *memory = released;
        released = memory->next;
        memory->release(memory->arg);
    }
}

grpc_slice __wrap_grpc_slice_new_with_user_data(void *bytes, size_t size,
                                                void (*release)(void *arg), void *arg)
{
    struct memory *memory = network_memory(sizeof *memory);
    *memory = (struct memory){.release = release, .arg = arg};
    return __real_grpc_slice_new_with_user_data(bytes, size, note, memory);
}

void __wrap_grpc_slice_unref(grpc_slice slice)
{
    __real_grpc_slice_unref(slice);
    tell();
}

void __wrap_grpc_byte_buffer_destroy(grpc_byte_buffer *buffer)
{
    __real_grpc_byte_buffer_destroy(buffer);
    tell();
}
