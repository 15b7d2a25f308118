/* Products of bf16 by pairs in the lanes of a register; included by kernels_vector_bf16.h.
 *
 * Packed W(O,I): as in float, but two inputs lie next to each other for each of the PANEL outputs,
 * so that a lane of a register holds a pair and one instruction adds both products. An odd I gets a
 * weight of 0. */

#define KERNELS_BLOCK_ROWS   ROWS
#define KERNELS_THREAD_BEGIN NULL
#define KERNELS_THREAD_END   NULL
#define DEPTH_R              128 /* rows whose gradients are packed together; even */

/* ---- Packing ---- */

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

/* One panel of x(R,..), whose pairs lie down its columns: `columns` of them at x, an odd R filled up
 * with zeros. Returns where the next panel begins. */
static uint16_t *pack_down(uint16_t *panel, const float *x, size_t ld_x, int R, int columns)
{
    for (int r = 0; r < R; r += 2) {
        for (int v = 0; v < PANEL; v += LANES) {
            const float *first = x + (size_t)r * ld_x + v;
            const lanes second = v_lanes(r + 1 < R ? columns - v : 0);
            v_store_pairs(panel + 2 * v, v_load_part(v_lanes(columns - v), first),
                          v_load_part(second, first + ld_x));
        }
        panel += 2 * PANEL;
    }
    return panel;
}

static void bf16_pack_back(uint16_t *packed, const float *W, int I, int O, int first_i, int n_i)
{
    for (int i = first_i; i < first_i + n_i; i += PANEL) {
        pack_down(packed + (size_t)i * (size_t)(O + O % 2), W + i, (size_t)I, O, I - i);
    }
}

/* rows(O, DEPTH_R) <- the transpose of dy(R,O), rounded, an odd R filled up with zeros. */
static void pack_transposed(uint16_t *rows, const float *dy, size_t ld_dy, int R, int O)
{
    for (int r = 0; r < R; r += 2) {
        for (int o = 0; o < O; o += LANES) {
            uint16_t pairs[2 * LANES];
            const float *first = dy + (size_t)r * ld_dy + o;
            const lanes inside = v_lanes(O - o);
            v_store_pairs(pairs, v_load_part(inside, first),
                          v_load_part(r + 1 < R ? inside : v_lanes(0), first + ld_dy));
            for (int j = 0; j < LANES && o + j < O; j++) {
                memcpy(rows + (size_t)(o + j) * DEPTH_R + r, pairs + 2 * j, 2 * sizeof *pairs);
            }
        }
    }
}

/* ---- A block ---- */

/* Where a block's results go, and what becomes of them on the way. */
struct bf16_to {
    uint16_t *y;
    float *y_float;
    size_t ld;
    bool elu;
    bool add; /* to what y_float holds, in the place of a bias */
};

/* to(rows, columns) <- bias (or what is there) + sum over `pairs` of x(row, pair) panel(pair, column). rows and
 * `whole` (two full vectors) are constants where this is inlined. */
ALWAYS void bf16_block(const int rows, const int whole, const struct bf16_to *to, int r, int o,
                       const float *bias, const uint16_t *x, size_t ld_x, const uint16_t *panel,
                       int pairs, int columns)
{
    vec sum[ROWS][2];
    const lanes in0 = v_lanes(whole ? LANES : columns);
    const lanes in1 = v_lanes(whole ? LANES : columns - LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const float *start = to->add ? to->y_float + (size_t)(r + i) * to->ld + o : bias;
        sum[i][0] = v_load_part(in0, start);
        sum[i][1] = v_load_part(in1, start + LANES);
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
            v_store_part(in0, to->y_float + at, sum[i][0]);
            v_store_part(in1, to->y_float + at + LANES, sum[i][1]);
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

/* ---- Products ---- */

/* Blocks of rows over all panels; sums stay in registers from their start to the rounding. bias:
 * NULL where `to` is added to. */
static void multiply_pairs(const struct bf16_to *to, const float *bias, const uint16_t *x,
                           size_t ld_x, const uint16_t *packed, int R, int O, int pairs)
{
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
        const uint16_t *panel = packed;
        for (int o = 0; o < O; o += PANEL) {
            function(to, r, o, bias != NULL ? bias + o : NULL, x + (size_t)r * ld_x, ld_x, panel,
                     pairs, O - o);
            panel += 2 * PANEL * pairs;
        }
    }
}

static void bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                      const uint16_t *x, size_t ld_x, int R, float *scratch)
{
    (void)scratch;
    const struct bf16_to to = {
        .y = y, .y_float = y_float, .ld = ld_y, .elu = layer->activation == KERNELS_ELU};
    multiply_pairs(&to, layer->start, x, ld_x, layer->packed_bf16, R, layer->O, (layer->I + 1) / 2);
}

static void bf16_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                 const float *x, size_t ld_x, int R, int I, int O, float *scratch)
{
    uint16_t *a = (uint16_t *)(void *)scratch;
    uint16_t *b = a + (size_t)O * DEPTH_R;
    const struct bf16_to to = {.y_float = dW, .ld = (size_t)I, .add = true};
    for (int r = 0; r < R; r += DEPTH_R) {
        const int depth = MINIMUM(DEPTH_R, R - r);
        pack_transposed(a, dy + (size_t)r * ld_dy, ld_dy, depth, O);
        uint16_t *panel = b;
        for (int i = 0; i < I; i += PANEL) {
            panel = pack_down(panel, x + (size_t)r * ld_x + i, ld_x, depth, I - i);
        }
        multiply_pairs(&to, NULL, a, DEPTH_R, b, O, I, (depth + 1) / 2);
    }
    add_rows(db, dy, ld_dy, R, O);
}

/* What the first layer needs, or packed gradients and rows. */
static size_t bf16_scratch(int I, int O)
{
    const size_t panels = ((size_t)I + PANEL - 1) / PANEL;
    const size_t packed = ((size_t)O + panels * PANEL) * DEPTH_R / 2;
    const size_t first = bf16_first_scratch(O);
    return packed > first ? packed : first;
}
