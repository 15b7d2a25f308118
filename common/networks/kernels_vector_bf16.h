/* The bf16 part of the vector kernels; included by kernels_vector.h.
 *
 * In this file: rounding, and the first layer, which is computed in float and rounded at its end,
 * since its inputs are floats. Products of bf16 are made by tiles (kernels_tiles_pack.h,
 * kernels_tiles_bf16.h), by pairs in the lanes of a register (kernels_pairs_bf16.h) or, where there
 * are no instructions for bf16, by the loops of float (kernels_floats_bf16.h).
 *
 * With KERNELS_PARTS 2 a float is the sum of two bf16, its rounding and the rounding of what that
 * leaves, to 2^-17: a row of `ld` elements has the second parts ld / 2 after the first ones. */

#ifndef KERNELS_PARTS
#define KERNELS_PARTS 1
#endif

/* Functions as exact as the numbers that they are for. */
#if KERNELS_PARTS == 1
#define elu_for_bf16(v)  v_rough_elu(v)
#define tanh_for_bf16(v) v_rough_tanh(v)
#else
#define elu_for_bf16(v)  elu_v(v)
#define tanh_for_bf16(v) tanh_v(v)
#endif

/* The first n of v, rounded, to y(n), and their other parts `part` elements further each. */
ALWAYS void store_parts(uint16_t *y, size_t part, vec v, int n)
{
    v_store_bf16(y, v, n);
    for (int p = 1; p < KERNELS_PARTS; p++) {
        v = v_sub(v, v_rounded(v)); /* what is left of it */
        y += part;
        v_store_bf16(y, v, n);
    }
}

static void bf16_round(uint16_t *y, size_t ld_y, const float *x, size_t ld_x, int R, int I)
{
    for (int r = 0; r < R; r++) {
        for (int i = 0; i < I; i += LANES) {
            const int left = MINIMUM(LANES, I - i);
            /* An odd row ends with a 0. */
            store_parts(y + (size_t)r * ld_y + i, ld_y / KERNELS_PARTS,
                        v_load_part(v_lanes(left), x + (size_t)r * ld_x + i), left + left % 2);
        }
    }
}

/* y(O) <- tanh(scale normal + offset) of x(O), rounded; other parts `part` elements further. */
static void norm_tanh_bf16(uint16_t *y, size_t part, const float *x, float mean, float inverse_std,
                           const struct kernels_layer *layer)
{
    const int O = layer->O;
    const vec m = v_set(mean);
    const vec inverse = v_set(inverse_std);
    int i = 0;
    for (; i + LANES <= O; i += LANES) {
        const vec normal = v_mul(v_sub(v_load(x + i), m), inverse);
        const vec z = v_fma(normal, v_load(layer->scale + i), v_load(layer->offset + i));
        store_parts(y + i, part, tanh_for_bf16(z), LANES);
    }
    if (i < O) {
        const lanes rest = v_lanes(O - i);
        const vec normal = v_mul(v_sub(v_load_part(rest, x + i), m), inverse);
        const vec scale = v_load_part(rest, layer->scale + i);
        const vec z = v_fma(normal, scale, v_load_part(rest, layer->offset + i));
        store_parts(y + i, part, tanh_for_bf16(z), O - i + O % 2);
    }
}

/* Leading dimension of a block's rows in scratch: whole cache lines, and one more so that rows do
 * not fall on the same cache sets. */
static size_t bf16_scratch_ld(int O)
{
    return ((size_t)O + 15) / 16 * 16 + 16;
}

/* Floats of scratch: a block before it is rounded. */
static size_t bf16_first_scratch(int O)
{
    return ROWS * bf16_scratch_ld(O);
}

/* The float kernel's product of a block into scratch, then layer norm, tanh and rounding from it.
 */
static void bf16_first(uint16_t *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                       size_t ld_x, int R, float *scratch)
{
    struct kernels_layer plain = *layer;
    plain.activation = KERNELS_PLAIN;
    const size_t ld = bf16_scratch_ld(layer->O);
    for (int r = 0; r < R; r += ROWS) {
        const int rows = MINIMUM(ROWS, R - r);
        float mean[ROWS], inverse_std[ROWS];
        plain.first_row = layer->first_row + (size_t)r;
        linear_forward(scratch, ld, &plain, x + (size_t)r * ld_x, ld_x, rows);
        /* All rows' sums, then all rows' functions: neither waits for the other. */
        for (int i = 0; i < rows; i++) {
            moments(&mean[i], &inverse_std[i], scratch + (size_t)i * ld, layer->O);
        }
        for (int i = 0; i < rows; i++) {
            norm_tanh_bf16(y + (size_t)(r + i) * ld_y, ld_y / KERNELS_PARTS,
                           scratch + (size_t)i * ld, mean[i], inverse_std[i], layer);
        }
    }
}

/* ---- Later layers ---- */

#if defined KERNELS_TILES
#include "common/networks/kernels_tiles_pack.h"

#include "common/networks/kernels_tiles_bf16.h"
#elif KERNELS_BF16_NATIVE
#include "common/networks/kernels_pairs_bf16.h"
#else
#include "common/networks/kernels_floats_bf16.h"
#endif
