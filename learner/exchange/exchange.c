/* What both kinds of exchange share: buffers that several messages hold, the bytes of sums, the
 * comparison of terms, and the functions that learners call, which pass on to the kind. See
 * exchange.h.
 *
 * Everything but the buffers runs on the training thread. A buffer may be released by any thread,
 * since gRPC drops its hold when a message has left. */
#include "learner/exchange/exchange.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "learner/exchange/exchange_kind.h"
#include "learner/exchange/group.h"

/* ---- Buffers ---- */

/* The first hold is the caller's. */
struct exchange_buffer *exchange_buffer_new(size_t size)
{
    struct exchange_buffer *buffer = mem_new(sizeof *buffer);
    if (buffer == NULL) {
        return NULL;
    }
    /* Aligned, because sums are added in place. */
    buffer->bytes = mem_aligned(size);
    if (buffer->bytes == NULL) {
        mem_free(buffer);
        return NULL;
    }
    buffer->size = size;
    atomic_init(&buffer->holders, 1);
    return buffer;
}

/* One more holder, for a message that is to be sent. */
struct exchange_buffer *exchange_buffer_hold(struct exchange_buffer *buffer)
{
    atomic_fetch_add(&buffer->holders, 1);
    return buffer;
}

void exchange_buffer_release(void *arg)
{
    /* The last holder frees it, on whatever thread that is. */
    struct exchange_buffer *buffer = arg;
    if (buffer != NULL && atomic_fetch_sub(&buffer->holders, 1) == 1) {
        mem_free(buffer->bytes);
        mem_free(buffer);
    }
}

/* A payload that holds the buffer until gRPC has sent it. */
struct rpc_payload exchange_payload(struct exchange_buffer *buffer)
{
    return (struct rpc_payload){.field = EXCHANGE_PAYLOAD,
                                .bytes = buffer->bytes,
                                .size = buffer->size,
                                .release = exchange_buffer_release,
                                .arg = exchange_buffer_hold(buffer)};
}

/* ---- Sums and states ---- */

/* Up to GROUP_RANKS_MAX numbers of this size have a finite sum. NaN compares false. */
bool exchange_floats_fit(const float *values, size_t n)
{
    /* No early end: a loop without branches is faster, and almost all sums fit. */
    bool fit = true;
    for (size_t i = 0; i < n; i++) {
        fit &= fabsf(values[i]) <= FLT_MAX / GROUP_RANKS_MAX;
    }
    return fit;
}

bool exchange_doubles_fit(const double *values, size_t n)
{
    bool fit = true;
    for (size_t i = 0; i < n; i++) {
        fit &= fabs(values[i]) <= DBL_MAX / GROUP_RANKS_MAX;
    }
    return fit;
}

status exchange_sums_check(struct update_sums sums, struct err *err)
{
    /* Gradients and losses are told apart, so that the text says where to look. */
    if (!exchange_floats_fit(sums.gradients, sums.n_gradients)) {
        return err_set(err, STATUS_CORRUPT, "the gradients of this rank's slice are not finite");
    }
    if (!exchange_doubles_fit(sums.scalars, sums.n_scalars)) {
        return err_set(err, STATUS_CORRUPT, "the losses of this rank's slice are not finite");
    }
    return STATUS_OK;
}

/* The layout in messages: all gradients, then all scalars. */
void exchange_sums_write(unsigned char *to, struct update_sums sums)
{
    memcpy(to, sums.gradients, sums.n_gradients * sizeof(float));
    memcpy(to + sums.n_gradients * sizeof(float), sums.scalars, sums.n_scalars * sizeof(double));
}

/* Needs parts that are aligned like the sums themselves. */
void exchange_sums_add(unsigned char *total, struct update_sums sums, unsigned char *const *parts,
                       size_t n_parts)
{
    /* The layout's size is a multiple of 16 floats, so the scalars that follow are aligned. */
    const size_t scalars_at = sums.n_gradients * sizeof(float);
    /* Rank by rank, for the order of additions decides the bits. */
    for (size_t p = 0; p < n_parts; p++) {
        const float *restrict part = (const float *)(const void *)parts[p];
        const double *restrict scalars = (const double *)(const void *)(parts[p] + scalars_at);
        float *restrict gradients = sums.gradients;
        for (size_t i = 0; i < sums.n_gradients; i++) {
            gradients[i] += part[i];
        }
        for (size_t i = 0; i < sums.n_scalars; i++) {
            sums.scalars[i] += scalars[i];
        }
    }
    /* A copy for the message to all ranks. */
    if (total != NULL) {
        exchange_sums_write(total, sums);
    }
}

/* ---- Terms ----
 *
 * One "name: value" line for each option that all ranks must agree on. They are compared as text,
 * so that builds with different options refuse each other by name. */

#define TERM_SIZE 1024 /* longer lines are cut in error texts */

/* The line of `text` that begins with the first `n` bytes of `name`; NULL where there is none. */
static const char *line_of(const char *text, const char *name, size_t n)
{
    /* From line to line; what is compared is the beginning of each. */
    for (const char *line = text; line != NULL && *line;) {
        if (strncmp(line, name, n) == 0) {
            return line;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return NULL;
}

/* Are all lines of `is` also in `expected`, with the same values? MISMATCH names the first that is
 * not. */
static status compare_lines(const char *is, const char *expected, struct err *err)
{
    for (const char *line = is; *line;) {
        const size_t length = strcspn(line, "\n");
        /* Find the line with the same name and compare it whole. */
        const size_t name = strcspn(line, ":\n");
        /* With its colon, so that `rank` does not find `ranks`. */
        const char *other = line_of(expected, line, name < length ? name + 1 : length);
        const size_t other_length = other != NULL ? strcspn(other, "\n") : 0;
        /* Both values go into the text, so that nobody has to look for the difference. */
        if (other == NULL || other_length != length || strncmp(other, line, length) != 0) {
            const char *there = other != NULL ? other + strspn(other, " ") : "no such option";
            const char *here = line + strspn(line, " ");
            return err_set(err, STATUS_MISMATCH, "%.*s, expected %.*s as rank 0 has it",
                           (int)(strcspn(here, "\n") % TERM_SIZE), here,
                           (int)(strcspn(there, "\n") % TERM_SIZE), there);
        }
        line += length + (line[length] == '\n');
    }
    return STATUS_OK;
}

status exchange_compare_terms(const char *mine, const char *theirs, struct err *err)
{
    const status s = compare_lines(theirs, mine, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* All lines that they have are ours; a difference can only be a line that they lack. */
    return strcmp(mine, theirs) == 0
               ? STATUS_OK
               : err_set(err, STATUS_MISMATCH, "terms without some of rank 0's options");
}

/* ---- What learners call ---- */

status exchange_open_grpc(struct exchange **exchange, const struct exchange_options *options,
                          struct err *err)
{
    /* Rank 0 serves the others; they are its clients. */
    ASSERT(options->ranks >= 2 && options->rank < options->ranks);
    return options->rank == 0 ? exchange_open_host(exchange, options, err)
                              : exchange_open_client(exchange, options, err);
}

status exchange_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                     struct err *err)
{
    return exchange->kind->form(exchange, start, timeout_ms, err);
}

status exchange_sum(struct exchange *exchange, const struct exchange_mark *mark,
                    struct update_sums sums, uint64_t timeout_ms, struct err *err)
{
    /* The time of this call is what a step costs more than alone. */
    const uint64_t begin_ns = clock_now_ns();
    const status s = exchange->kind->sum(exchange, mark, sums, timeout_ms, err);
    exchange->counts.wait_ns += clock_now_ns() - begin_ns;
    if (s == STATUS_OK) {
        exchange->counts.sums++;
    }
    return s;
}

status exchange_waits(struct exchange *exchange, const char *what, struct err *err)
{
    return exchange->kind->waits(exchange, what, err);
}

void exchange_end(struct exchange *exchange, bool finished, const char *reason)
{
    exchange->kind->end(exchange, finished, reason);
}

struct exchange_end exchange_end_of(const struct exchange *exchange)
{
    return exchange->end_of;
}

bool exchange_told(struct exchange *exchange)
{
    return exchange->kind->told(exchange);
}

struct exchange_counts exchange_counts(const struct exchange *exchange)
{
    return exchange->counts;
}

void exchange_close(struct exchange *exchange)
{
    if (exchange != NULL) {
        exchange->kind->close(exchange);
    }
}
