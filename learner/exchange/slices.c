/* Where a slice lies in the sums, and what is done with it. See slices.h.
 *
 * A slice is a range of lines of the whole. The part of it that lies among the gradients and the
 * part that lies among the scalars are found by intersection, so that no slice is a special case,
 * however the sizes divide. */
#include "learner/exchange/slices.h"

#include <string.h>

#include "common/base/status.h"

#define LINE 64

/* A run of elements of one kind that a slice holds. */
struct span {
    size_t first, n; /* elements of the sums */
    size_t at;       /* byte of the slice where the first one lies */
};

/* The elements that slice `rank` holds of a kind that lies at bytes begin .. begin + n * each of
 * the whole. */
static struct span span_of(const struct slices *slices, uint32_t rank, size_t begin, size_t n,
                           size_t each)
{
    ASSERT(rank < slices->ranks);
    const size_t slice_begin = rank * slices->size, slice_end = slice_begin + slices->size;
    const size_t end = begin + n * each;
    const size_t from = begin > slice_begin ? begin : slice_begin;
    const size_t until = end < slice_end ? end : slice_end;
    if (from >= until) {
        return (struct span){0};
    }
    return (struct span){(from - begin) / each, (until - from) / each, from - slice_begin};
}

static struct span gradients_of(const struct slices *slices, uint32_t rank)
{
    return span_of(slices, rank, 0, slices->n_gradients, sizeof(float));
}

/* They begin at a line of their own. */
static struct span scalars_of(const struct slices *slices, uint32_t rank)
{
    const size_t begin = (slices->n_gradients * sizeof(float) + LINE - 1) / LINE * LINE;
    return span_of(slices, rank, begin, slices->n_scalars, sizeof(double));
}

void slices_init(struct slices *slices, size_t n_gradients, size_t n_scalars, uint32_t ranks)
{
    ASSERT(ranks >= 1 && n_gradients + n_scalars >= 1);
    const size_t lines = (n_gradients * sizeof(float) + LINE - 1) / LINE +
                         (n_scalars * sizeof(double) + LINE - 1) / LINE;
    *slices = (struct slices){.ranks = ranks,
                              .n_gradients = n_gradients,
                              .n_scalars = n_scalars,
                              .size = (lines + ranks - 1) / ranks * LINE};
    ASSERT(slices->size * ranks >= lines * LINE);
}

void slices_write(const struct slices *slices, uint32_t rank, struct update_sums sums,
                  unsigned char *to)
{
    ASSERT(sums.n_gradients == slices->n_gradients && sums.n_scalars == slices->n_scalars);
    const struct span gradients = gradients_of(slices, rank), scalars = scalars_of(slices, rank);
    /* Zeros where the slice holds nothing: every byte that is sent has a value. */
    if (gradients.n * sizeof(float) + scalars.n * sizeof(double) < slices->size) {
        memset(to, 0, slices->size);
    }
    if (gradients.n > 0) {
        memcpy(to + gradients.at, sums.gradients + gradients.first, gradients.n * sizeof(float));
    }
    if (scalars.n > 0) {
        memcpy(to + scalars.at, sums.scalars + scalars.first, scalars.n * sizeof(double));
    }
}

void slices_add(const struct slices *slices, uint32_t rank, unsigned char *total,
                const unsigned char *part)
{
    const struct span gradients = gradients_of(slices, rank), scalars = scalars_of(slices, rank);
    float *restrict to = (float *)(void *)(total + gradients.at);
    const float *restrict from = (const float *)(const void *)(part + gradients.at);
    for (size_t i = 0; i < gradients.n; i++) {
        to[i] += from[i];
    }
    double *restrict scalars_to = (double *)(void *)(total + scalars.at);
    const double *restrict scalars_from = (const double *)(const void *)(part + scalars.at);
    for (size_t i = 0; i < scalars.n; i++) {
        scalars_to[i] += scalars_from[i];
    }
}

void slices_read(const struct slices *slices, uint32_t rank, const unsigned char *from,
                 struct update_sums sums)
{
    ASSERT(sums.n_gradients == slices->n_gradients && sums.n_scalars == slices->n_scalars);
    const struct span gradients = gradients_of(slices, rank), scalars = scalars_of(slices, rank);
    if (gradients.n > 0) {
        memcpy(sums.gradients + gradients.first, from + gradients.at, gradients.n * sizeof(float));
    }
    if (scalars.n > 0) {
        memcpy(sums.scalars + scalars.first, from + scalars.at, scalars.n * sizeof(double));
    }
}
