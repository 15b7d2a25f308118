/* The table behind kernels.h: one per implementation. Only kernels*.c and their tests include
 * this. */
#ifndef HINDCAST_NETWORKS_KERNELS_TABLE_H
#define HINDCAST_NETWORKS_KERNELS_TABLE_H

#include <string.h>

#include "common/networks/kernels.h"

/* x to the nearest bf16, ties to even; NaN stays NaN. */
static inline uint16_t kernels_bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x) {
        return 0x7fc0;
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

struct kernels_table {
    const char *name, *description;
    int block_rows; /* rows that are computed together */
    int panel;      /* outputs of a panel, the unit in which threads share the packing */
    void (*thread_begin)(void); /* NULL: nothing to do */
    void (*thread_end)(void);

    size_t (*packed_size)(int I, int O);
    /* Outputs first_o .. first_o + n_o - 1 of W(O,I), first_o a multiple of `panel`, into their
     * place. */
    void (*pack)(float *packed, const float *W, int I, int O, int first_o, int n_o);
    void (*linear_forward)(float *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                           size_t ld_x, int R);
    void (*linear_backward_input)(float *dx, size_t ld_dx, const float *dy, size_t ld_dy,
                                  const float *W, int R, int I, int O);
    void (*linear_backward_weight)(float *dW, float *db, const float *dy, size_t ld_dy,
                                   const float *x, size_t ld_x, int R, int I, int O);
    void (*elu_backward)(float *d, size_t ld_d, const float *h, size_t ld_h, int R, int H);
    void (*norm_tanh_backward)(float *d, size_t ld_d, float *dscale, float *doffset, const float *y,
                               size_t ld_y, const float *normal, size_t ld_normal,
                               const float *inverse_std, const float *scale, int R, int H);

    bool bf16_native;
    int bf16_parts; /* bf16 that stand for a number: 1, or 2 to keep float's accuracy */
    size_t (*bf16_packed_size)(int I, int O);
    void (*bf16_pack)(uint16_t *packed, const float *W, int I, int O, int first_o, int n_o);
    /* Inputs first_i .. first_i + n_i - 1, first_i a multiple of `panel`. */
    void (*bf16_pack_back)(uint16_t *packed, const float *W, int I, int O, int first_i, int n_i);
    void (*bf16_round)(uint16_t *y, size_t ld_y, const float *x, size_t ld_x, int R, int I);
    size_t (*bf16_scratch)(int I, int O);
    void (*bf16_first)(uint16_t *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                       size_t ld_x, int R, float *scratch);
    void (*bf16_next)(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                      const uint16_t *x, size_t ld_x, int R, float *scratch);
    void (*bf16_backward_weight)(float *dW, float *db, const float *dy, size_t ld_dy,
                                 const float *x, size_t ld_x, int R, int I, int O, float *scratch);

    void (*exp)(float *y, const float *x, size_t n);
    void (*tanh)(float *y, const float *x, size_t n);
    void (*softplus)(float *y, const float *x, size_t n);
    void (*elu)(float *y, const float *x, size_t n);
    void (*adam_step)(float *p, float *m, float *v, const float *g, size_t n,
                      const struct kernels_adam *adam);
};

extern const struct kernels_table kernels_plain;
extern const struct kernels_table kernels_avx2;
extern const struct kernels_table kernels_avx512;
extern const struct kernels_table kernels_avx512bf16;
extern const struct kernels_table kernels_amx;
extern const struct kernels_table kernels_amx_emulated;
extern const struct kernels_table kernels_amx_x2;
extern const struct kernels_table kernels_amx_x2_emulated;

/* The table to use when nobody has selected one (kernels_choice.c). The same at each call. */
const struct kernels_table *kernels_best(void);
/* From now on calls go to this table. Under the conditions of kernels_select. */
void kernels_use(const struct kernels_table *table);
/* Where they go now. */
const struct kernels_table *kernels_in_use(void);

/* Whether kernels_amx can run: the processor has tiles and Linux grants them (kernels_choice.c). */
bool kernels_have_tiles(void);

#endif
