/* The diagonal Gaussian head, its gradients, and densities.
 *
 * Rows of floats go through the elementwise kernels. Densities and divergences are in double, in
 * forms that do not cancel: a float would lose a KL of 1e-5, which is what the trust region is set
 * to. */
#include "common/networks/gaussian.h"

#include <math.h>

#include "common/base/status.h"

#include "common/networks/kernels.h"

#define LN_2        0.69314718055994530942
#define HALF_LN_2PI 0.91893853320467274178

/* What softplus is multiplied by. softplus(0) = ln 2, so that a raw std of 0 gives
 * min_std + init_std. */
static float std_factor(const struct gaussian_head *head)
{
    return (float)((double)head->init_std / LN_2);
}

void gaussian_forward(float *mean, float *std, const struct gaussian_head *head, const float *raw,
                      size_t ld_raw, int R)
{
    ASSERT(head->A >= 1 && ld_raw >= 2 * (size_t)head->A);
    const size_t A = (size_t)head->A;
    const float factor = std_factor(head);
    for (int r = 0; r < R; r++) {
        const float *raw_r = raw + (size_t)r * ld_raw;
        kernels_tanh(mean + (size_t)r * A, raw_r, A);
        kernels_softplus(std + (size_t)r * A, raw_r + A, A);
    }
    /* Both halves of a row are functions of the network's output; the scaling is one pass over
     * all. */
    for (size_t i = 0; i < (size_t)R * A; i++) {
        std[i] = head->min_std + std[i] * factor;
    }
}

void gaussian_backward(float *draw, size_t ld_draw, const struct gaussian_head *head,
                       const float *dmean, const float *dstd, const float *mean, const float *raw,
                       size_t ld_raw, int R)
{
    const size_t A = (size_t)head->A;
    const float factor = std_factor(head);
    for (int r = 0; r < R; r++) {
        float *draw_r = draw + (size_t)r * ld_draw;
        const float *raw_std = raw + (size_t)r * ld_raw + A;
        for (size_t i = 0; i < A; i++) {
            const size_t at = (size_t)r * A + i;
            /* The derivative of softplus is the logistic function; that of tanh is 1 - tanh^2. */
            const float logistic = 1.0f / (1.0f + expf(-raw_std[i]));
            draw_r[i] = dmean[at] * (1.0f - mean[at]) * (1.0f + mean[at]);
            draw_r[A + i] = dstd[at] * factor * logistic;
        }
    }
}

void gaussian_sample(float *a, const float *mean, const float *std, const float *z, int M, int A)
{
    /* All M samples are of the same mean(A) and std(A). */
    for (int j = 0; j < M; j++) {
        for (int i = 0; i < A; i++) {
            a[j * A + i] = mean[i] + std[i] * z[j * A + i];
        }
    }
}

void gaussian_clip(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        /* Comparisons with NaN are false: it is returned as it is. */
        const float low = x[i] < -1.0f ? -1.0f : x[i];
        y[i] = low > 1.0f ? 1.0f : low;
    }
}

double gaussian_log_density(double a, double mean, double std)
{
    const double u = (a - mean) / std;
    return -0.5 * u * u - log(std) - HALF_LN_2PI;
}

double gaussian_kl_std(double s, double t)
{
    /* s^2 / t^2 - 1 without the cancellation; the KL is (u - log(1 + u)) / 2. */
    const double u = (s - t) * (s + t) / (t * t);
    return 0.5 * (u - log1p(u));
}

/* Below -30, where erfc underflows, the tail's asymptotic series; its sixth term is under 1e-13
 * there. Above, erfc. */
double gaussian_log_tail(double u, double *hazard)
{
    const double log_density = -0.5 * u * u - HALF_LN_2PI;
    if (u < -30.0) {
        const double w = 1.0 / (u * u);
        const double series = 1.0 - w * (1.0 - w * (3.0 - w * (15.0 - w * (105.0 - w * 945.0))));
        *hazard = -u / series;
        return log_density + log(series / -u);
    }
    /* Phi(u) by erfc, which keeps its relative precision in the tail. */
    const double mass = 0.5 * erfc(-u * M_SQRT1_2);
    *hazard = exp(log_density) / mass;
    return log(mass);
}
