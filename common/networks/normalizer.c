/* Normalization of observations. The formula is in normalizer.h; everything is plain loops, since O
 * is small beside the first layer's O x H.
 *
 * Measuring sums in double, row by row; applying is in float, with two numbers a dimension that
 * every program reads from the same place. No function here shares anything between threads. */
#include "common/networks/normalizer.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"

#define CONSTANT_SHARE 1e-6 /* of a dimension's size: 16 units in the last place of a float */

void normalizer_apply(const struct normalizer *normalizer, float *y, const float *x)
{
    for (size_t i = 0; i < normalizer->O; i++) {
        /* NaN fails both comparisons and passes through. */
        const float z = (x[i] - normalizer->mean[i]) * normalizer->scale[i];
        const float low = z < -NORMALIZER_LIMIT ? -NORMALIZER_LIMIT : z;
        y[i] = low > NORMALIZER_LIMIT ? NORMALIZER_LIMIT : low;
    }
}

status normalizer_sums_init(struct normalizer_sums *sums, size_t O)
{
    *sums = (struct normalizer_sums){.O = O};
    sums->mean = mem_array(O, sizeof *sums->mean);
    sums->m2 = mem_array(O, sizeof *sums->m2);
    if (sums->mean == NULL || sums->m2 == NULL) {
        normalizer_sums_fini(sums);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

void normalizer_sums_fini(struct normalizer_sums *sums)
{
    mem_free(sums->mean);
    mem_free(sums->m2);
    *sums = (struct normalizer_sums){0};
}

void normalizer_sums_add(struct normalizer_sums *sums, const float *x)
{
    sums->n++;
    for (size_t i = 0; i < sums->O; i++) {
        /* The mean moves first; m2 grows by the product of the distances before and after. */
        const double before = (double)x[i] - sums->mean[i];
        sums->mean[i] += before / (double)sums->n;
        sums->m2[i] += before * ((double)x[i] - sums->mean[i]);
    }
}

void normalizer_sums_finish(const struct normalizer_sums *sums, float *mean, float *scale)
{
    for (size_t i = 0; i < sums->O; i++) {
        /* Nothing was measured: 0 and 1 leave an observation as it is, within the limit. */
        if (sums->n == 0) {
            mean[i] = 0.0f;
            scale[i] = 1.0f;
            continue;
        }
        const double std = sqrt(sums->m2[i] / (double)sums->n);
        /* Rounding alone can give a constant dimension a small std, whose inverse would magnify
         * nothing but rounding. NaN counts as constant as well. */
        const bool constant = !(std > CONSTANT_SHARE * (fabs(sums->mean[i]) + std));
        /* The inverse of a subnormal std would not be finite. */
        const double inverse = constant ? 0.0 : 1.0 / std;
        mean[i] = (float)sums->mean[i];
        scale[i] = isfinite((float)inverse) ? (float)inverse : 0.0f;
    }
}
