/* Adam (Kingma and Ba 2015) over a flat block. */
#ifndef HINDCAST_NETWORKS_ADAM_H
#define HINDCAST_NETWORKS_ADAM_H

#include <stddef.h>
#include <stdint.h>

struct adam {
    double rate, beta1, beta2, eps;
};

/* One step of n parameters, numbered from 1, after g is multiplied by `scale` (1 / states,
 * clipping):
 *
 *     m = beta1 m + (1 - beta1) g
 *     v = beta2 v + (1 - beta2) g^2
 *     p -= rate (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
 *
 * Elements do not depend on each other: any split into calls gives the same bits. */
void adam_step(float *p, float *m, float *v, const float *g, size_t n, const struct adam *adam,
               uint64_t step, float scale);

#endif
