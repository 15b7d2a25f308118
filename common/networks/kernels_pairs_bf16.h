/* Later layers of bf16 by pairs in the lanes of a register; included by kernels_vector_bf16.h.
 *
 * Packed W(O,I): as in float, but two inputs lie next to each other for each of the PANEL outputs,
 * so that a lane of a register holds a pair and one instruction adds both products. An odd I gets a
 * weight of 0. */

#define KERNELS_BLOCK_ROWS   ROWS
#define KERNELS_THREAD_BEGIN NULL
#define KERNELS_THREAD_END   NULL

static size_t bf16_packed_size(int I, int O)
{
    const size_t panels = ((size_t)O + PANEL - 1) / PANEL;
    return panels * PANEL * (size_t)(I + I % 2);
}

/* Rounds while packing: pair i / 2 of a panel holds inputs i and i + 1 of each output. */
static void bf16_pack(uint16_t *packed, const float *W, int I, int O, int first_o, int n_o)
{
    /* The last share fills its panel up with zeros. */
    const int end = first_o + n_o < O ? first_o + n_o : (O + PANEL - 1) / PANEL * PANEL;
    const int even = I + I % 2;
    for (int o = first_o; o < end; o += PANEL) {
        uint16_t *panel = packed + (size_t)o * (size_t)even;
        for (int j = 0; j < PANEL; j++) {
            const float *w = W + (size_t)(o + j) * (size_t)I;
            for (int i = 0; i < even; i++) {
                panel[(i / 2 * PANEL + j) * 2 + i % 2] =
                    o + j < O && i < I ? kernels_bf16_of(w[i]) : 0;
            }
        }
    }
}

static size_t bf16_scratch(int I, int O)
{
    (void)I;
    return bf16_first_scratch(O);
}

/* Where a block's results go, and what becomes of them on the way. */
struct bf16_to {
    uint16_t *y;
    float *y_float;
    size_t ld;
    bool elu;
};

/* to(rows, columns) <- bias + sum over `pairs` of x(row, pair) panel(pair, column). rows and
 * `whole` (two full vectors) are constants where this is inlined. */
ALWAYS void bf16_block(const int rows, const int whole, const struct bf16_to *to, int r, int o,
                       const float *bias, const uint16_t *x, size_t ld_x, const uint16_t *panel,
                       int pairs, int columns)
{
    vec sum[ROWS][2];
    const vec bias0 = whole ? v_load(bias) : v_load_part(v_lanes(columns), bias);
    const vec bias1 = whole             ? v_load(bias + LANES)
                      : columns > LANES ? v_load_part(v_lanes(columns - LANES), bias + LANES)
                                        : v_set(0.0f);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        sum[i][0] = bias0;
        sum[i][1] = bias1;
    }
    for (int k = 0; k < pairs; k++) {
        const ivec b0 = v_pairs_load(panel);
        const ivec b1 = v_pairs_load(panel + 2 * LANES);
        panel += 2 * PANEL;
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, x + (size_t)i * ld_x, sizeof pair);
            const ivec a = v_pairs_set(pair);
            sum[i][0] = v_pairs_fma(a, b0, sum[i][0]);
            sum[i][1] = v_pairs_fma(a, b1, sum[i][1]);
        }
        x += 2;
    }
    /* Activation and rounding while the sums are in registers. */
    if (to->elu) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            sum[i][0] = v_rough_elu(sum[i][0]);
            sum[i][1] = v_rough_elu(sum[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const size_t at = (size_t)(r + i) * to->ld + (size_t)o;
        if (to->y != NULL) {
            const int n = columns + columns % 2;
            v_store_bf16(to->y + at, sum[i][0], whole ? LANES : n);
            if (whole || n > LANES) {
                v_store_bf16(to->y + at + LANES, sum[i][1], whole ? LANES : n - LANES);
            }
        } else {
            v_store_part(v_lanes(whole ? LANES : columns), to->y_float + at, sum[i][0]);
            v_store_part(v_lanes(whole ? LANES : columns - LANES), to->y_float + at + LANES,
                         sum[i][1]);
        }
    }
}

typedef void bf16_function(const struct bf16_to *to, int r, int o, const float *bias,
                           const uint16_t *x, size_t ld_x, const uint16_t *panel, int pairs,
                           int columns);

#define BLOCK(rows)                                                                                \
    static void bf16_block_##rows(const struct bf16_to *to, int r, int o, const float *bias,       \
                                  const uint16_t *x, size_t ld_x, const uint16_t *panel,           \
                                  int pairs, int columns)                                          \
    {                                                                                              \
        if (columns >= PANEL) {                                                                    \
            bf16_block(rows, 1, to, r, o, bias, x, ld_x, panel, pairs, columns);                   \
        } else {                                                                                   \
            bf16_block(rows, 0, to, r, o, bias, x, ld_x, panel, pairs, columns);                   \
        }                                                                                          \
    }
BLOCK(1)
BLOCK(4)
BLOCK(ROWS)
#undef BLOCK

/* Blocks of rows over all panels; sums stay in registers from the bias to the rounding. */
static void bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                      const uint16_t *x, size_t ld_x, int R, float *scratch)
{
    (void)scratch;
    const struct bf16_to to = {y, y_float, ld_y, layer->activation == KERNELS_ELU};
    const int pairs = (layer->I + 1) / 2;
    int rows;
    for (int r = 0; r < R; r += rows) {
        const int left = R - r;
        /* Full blocks, then blocks of 4, then single rows. */
        bf16_function *function;
        if (left >= ROWS) {
            function = bf16_block_ROWS;
            rows = ROWS;
        } else {
            function = left >= 4 ? bf16_block_4 : bf16_block_1;
            rows = left >= 4 ? 4 : 1;
        }
        const uint16_t *panel = layer->packed_bf16;
        for (int o = 0; o < layer->O; o += PANEL) {
            function(&to, r, o, layer->start + o, x + (size_t)r * ld_x, ld_x, panel, pairs,
                     layer->O - o);
            panel += 2 * PANEL * pairs;
        }
    }
}
