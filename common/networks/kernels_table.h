/* The table behind kernels.h: one per implementation. Only kernels*.c include this. */
#ifndef HINDCAST_NETWORKS_KERNELS_TABLE_H
#define HINDCAST_NETWORKS_KERNELS_TABLE_H

#include "common/networks/kernels.h"

struct kernels_table {
    const char *name;
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

#endif
