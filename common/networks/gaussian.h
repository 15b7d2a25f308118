/* The diagonal Gaussian over actions that policy and prior share.
 *
 *     mean = tanh(raw mean);   std = min_std + softplus(raw std) * init_std / softplus(0)
 *
 * Actions are not squashed: environment and critic see clip(a, -1, 1). Sizes: R rows, A actions, M
 * samples. */
#ifndef HINDCAST_NETWORKS_GAUSSIAN_H
#define HINDCAST_NETWORKS_GAUSSIAN_H

#include <stddef.h>

struct gaussian_head {
    int A;
    float min_std, init_std;
};

/* mean(R,A), std(R,A) from a network's output raw(R, 2A), rows ld_raw apart. */
void gaussian_forward(float *mean, float *std, const struct gaussian_head *head, const float *raw,
                      size_t ld_raw, int R);
/* draw(R, 2A) <- gradient by raw, from the gradients by mean and std; may not overlap raw. */
void gaussian_backward(float *draw, size_t ld_draw, const struct gaussian_head *head,
                       const float *dmean, const float *dstd, const float *mean, const float *raw,
                       size_t ld_raw, int R);

/* a(M,A) <- mean + std z, z(M,A), of one state; not clipped. */
void gaussian_sample(float *a, const float *mean, const float *std, const float *z, int M, int A);
/* y(n) <- clip(x, -1, 1); may be the same array. NaN stays NaN. */
void gaussian_clip(float *y, const float *x, size_t n);

/* Log density of one dimension, all constants included. */
double gaussian_log_density(double a, double mean, double std);
/* KL( N(m, s) || N(m, t) ) of one dimension, precise also where s is near t:
 *
 *     (u - log1p(u)) / 2,   u = (s - t) (s + t) / t^2 */
double gaussian_kl_std(double s, double t);
/* log Phi(u) and, to *hazard, its derivative phi(u)/Phi(u); accurate far out in the tail. */
double gaussian_log_tail(double u, double *hazard);

#endif
