/* What the two kinds of exchange (gRPC, MPI) have in common. Internal to exchange*.c. */
#ifndef HINDCAST_LEARNER_EXCHANGE_EXCHANGE_KIND_H
#define HINDCAST_LEARNER_EXCHANGE_EXCHANGE_KIND_H

#include <stdatomic.h>

#include "learner/exchange/exchange.h"

/* Those before STATE_AVERAGE, in their order: only rank 0 publishes, and averages. */
#define EXCHANGE_BLOCKS  STATE_AVERAGE
#define EXCHANGE_PAYLOAD 15 /* the field of both messages */

struct exchange_kind {
    status (*form)(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                   struct err *err);
    status (*sum)(struct exchange *exchange, const struct exchange_mark *mark,
                  struct update_sums sums, uint64_t timeout_ms, struct err *err);
    status (*waits)(struct exchange *exchange, const char *what, struct err *err);
    void (*end)(struct exchange *exchange, bool finished, const char *reason);
    bool (*told)(struct exchange *exchange);
    void (*close)(struct exchange *exchange);
};

/* First member of each kind. */
struct exchange {
    const struct exchange_kind *kind;
    uint32_t rank, ranks;
    struct exchange_end end_of;
    struct exchange_counts counts;
};

/* Bytes that a message carries. They live until the last holder releases them; 64-byte aligned.
 * NULL: out of memory. */
struct exchange_buffer {
    atomic_uint holders;
    size_t size;
    unsigned char *bytes;
};
struct exchange_buffer *exchange_buffer_new(size_t size);
struct exchange_buffer *exchange_buffer_hold(struct exchange_buffer *buffer);
void exchange_buffer_release(void *buffer); /* NULL is fine */
/* The buffer as payload of a message, which holds it once more. */
struct rpc_payload exchange_payload(struct exchange_buffer *buffer);

/* Bytes of gradients and scalars, one after the other. */
static inline size_t exchange_sums_size(size_t n_gradients, size_t n_scalars)
{
    return n_gradients * sizeof(float) + n_scalars * sizeof(double);
}
/* Is each value finite, and small enough for the sum over all ranks to be finite? */
bool exchange_floats_fit(const float *values, size_t n);
bool exchange_doubles_fit(const double *values, size_t n);
void exchange_sums_write(unsigned char *to, struct update_sums sums);
/* total(sums) <- own + part[0] + part[1] + .., in this order; also into `sums`. `total` may be
 * NULL. */
void exchange_sums_add(unsigned char *total, struct update_sums sums, unsigned char *const *parts,
                       size_t n_parts);

/* MISMATCH naming the first line that differs. */
status exchange_compare_terms(const char *mine, const char *theirs, struct err *err) MUST_CHECK;

status exchange_open_host(struct exchange **exchange, const struct exchange_options *options,
                          struct err *err) MUST_CHECK;
status exchange_open_client(struct exchange **exchange, const struct exchange_options *options,
                            struct err *err) MUST_CHECK;

#endif
