/* Sums cut into slices, one for each rank: rank r receives slice r of all ranks' sums, adds them in
 * the order of ranks, and sends the total of its slice to all. Each rank then sends and receives
 * 2 (R-1)/R times the bytes of the sums, whatever R is; and each element is added in the same order
 * as if one rank had added all of them, so the bits are the same.
 *
 *     | gradients                 | scalars  | zeros |       in whole cache lines of 64 bytes
 *     | slice 0 | slice 1 | ..             | slice R-1 |     all of the same size
 *
 * A line holds either gradients or scalars. The last slices may hold fewer of them than the others,
 * or none. Pure: nothing is sent from here. */
#ifndef HINDCAST_LEARNER_EXCHANGE_SLICES_H
#define HINDCAST_LEARNER_EXCHANGE_SLICES_H

#include <stdint.h>

#include "learner/step/update.h"

struct slices {
    uint32_t ranks;
    size_t n_gradients, n_scalars;
    size_t size; /* bytes of each slice, a multiple of 64 */
};

/* Needs 1 rank or more, and sums that are not empty. */
void slices_init(struct slices *slices, size_t n_gradients, size_t n_scalars, uint32_t ranks);

/* to(size) <- slice `rank` of `sums`. `to` is 8-byte aligned, here and below. */
void slices_write(const struct slices *slices, uint32_t rank, struct update_sums sums,
                  unsigned char *to);
/* total(size) <- total + part, slice `rank` of the sums both. */
void slices_add(const struct slices *slices, uint32_t rank, unsigned char *total,
                const unsigned char *part);
/* Slice `rank` of `sums` <- from(size). */
void slices_read(const struct slices *slices, uint32_t rank, const unsigned char *from,
                 struct update_sums sums);

#endif
