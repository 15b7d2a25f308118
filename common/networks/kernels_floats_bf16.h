/* Products of bf16 where there are no instructions for them; included by kernels_vector_bf16.h.
 *
 * A bf16 is a float whose lower half is 0, and the product of two is exact in a float. So rounded
 * numbers go through the loops of float as they are, at the speed of float: packed weights are
 * floats that have been rounded, rows of bf16 become floats block by block. */

#define KERNELS_BLOCK_ROWS   ROWS
#define KERNELS_THREAD_BEGIN NULL
#define KERNELS_THREAD_END   NULL
#define CHUNK_R              128 /* rows whose gradients are rounded together */

/* ---- Packing ---- */

/* Panels of floats, in units of bf16. */
static size_t bf16_packed_size(int I, int O)
{
    return packed_size(I, O) * (sizeof(float) / sizeof(uint16_t));
}

static float *floats_of(uint16_t *packed)
{
    return (float *)(void *)packed;
}

static void round_floats(float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        v_store(x + i, v_rounded(v_load(x + i)));
    }
    const lanes rest = v_lanes((int)(n - i));
    v_store_part(rest, x + i, v_rounded(v_load_part(rest, x + i)));
}

static void bf16_pack(uint16_t *packed, const float *W, int I, int O, int first_o, int n_o)
{
    pack(floats_of(packed), W, I, O, first_o, n_o);
    /* A share begins with a panel and ends with one. */
    const size_t begin = (size_t)first_o * (size_t)I;
    const size_t end = packed_size(I, first_o + n_o);
    round_floats(floats_of(packed) + begin, end - begin);
}

/* The transpose has an input's weights together as a panel does. */
static void bf16_pack_back(uint16_t *packed, const float *W, int I, int O, int first_i, int n_i)
{
    if (I == 1) {
        memcpy(packed, W, (size_t)O * sizeof *W);
        round_floats(floats_of(packed), (size_t)O);
        return;
    }
    for (int i = first_i; i < first_i + n_i; i += PANEL) {
        float *panel = floats_of(packed) + (size_t)i * (size_t)O;
        pack_rows(panel, W + i, (size_t)I, O, I - i);
        round_floats(panel, (size_t)O * PANEL);
    }
}

/* ---- Products ---- */

/* y(R,I) <- x(R,I) as floats. */
static void expand(float *y, size_t ld_y, const uint16_t *x, size_t ld_x, int R, int I)
{
    for (int r = 0; r < R; r++) {
        const uint16_t *x_r = x + (size_t)r * ld_x;
        float *y_r = y + (size_t)r * ld_y;
        int i = 0;
        for (; i + LANES <= I; i += LANES) {
            v_store(y_r + i, v_load_bf16(x_r + i));
        }
        for (; i < I; i++) {
            const uint32_t bits = (uint32_t)x_r[i] << 16;
            memcpy(y_r + i, &bits, sizeof bits);
        }
    }
}

/* n sums of a row to y or, where it is NULL, to y_float. */
static void finish_row(uint16_t *y, float *y_float, const float *sums, int n, bool elu)
{
    for (int i = 0; i < n; i += LANES) {
        const int left = MINIMUM(LANES, n - i);
        vec v = v_load_part(v_lanes(left), sums + i);
        if (elu) {
            v = v_rough_elu(v);
        }
        if (y != NULL) {
            v_store_bf16(y + i, v, left + left % 2); /* an odd row ends with a 0 */
        } else {
            v_store_part(v_lanes(left), y_float + i, v);
        }
    }
}

static void bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                      const uint16_t *x, size_t ld_x, int R, float *scratch)
{
    struct kernels_layer plain = *layer;
    plain.packed = (const float *)(const void *)layer->packed_bf16;
    plain.activation = KERNELS_PLAIN;
    const size_t ld_in = bf16_scratch_ld(layer->I);
    const size_t ld_out = bf16_scratch_ld(layer->O);
    float *sums = scratch + ROWS * ld_in;
    for (int r = 0; r < R; r += ROWS) {
        const int rows = MINIMUM(ROWS, R - r);
        expand(scratch, ld_in, x + (size_t)r * ld_x, ld_x, rows, layer->I);
        linear_forward(sums, ld_out, &plain, scratch, ld_in, rows);
        for (int i = 0; i < rows; i++) {
            const size_t to = (size_t)(r + i) * ld_y;
            finish_row(y != NULL ? y + to : NULL, y != NULL ? NULL : y_float + to,
                       sums + (size_t)i * ld_out, layer->O, layer->activation == KERNELS_ELU);
        }
    }
}

/* y(R,n) <- x(R,n), rounded. */
static void round_rows(float *y, size_t ld_y, const float *x, size_t ld_x, int R, int n)
{
    for (int r = 0; r < R; r++) {
        memcpy(y + (size_t)r * ld_y, x + (size_t)r * ld_x, (size_t)n * sizeof *y);
        round_floats(y + (size_t)r * ld_y, (size_t)n);
    }
}

static void bf16_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                 const float *x, size_t ld_x, int R, int I, int O, float *scratch)
{
    const size_t ld_in = bf16_scratch_ld(I);
    const size_t ld_out = bf16_scratch_ld(O);
    float *dy_rounded = scratch + CHUNK_R * ld_in;
    for (int r = 0; r < R; r += CHUNK_R) {
        const int n = MINIMUM(CHUNK_R, R - r);
        round_rows(scratch, ld_in, x + (size_t)r * ld_x, ld_x, n, I);
        round_rows(dy_rounded, ld_out, dy + (size_t)r * ld_dy, ld_dy, n, O);
        multiply(dW, (size_t)I, dy_rounded, 1, ld_out, scratch, ld_in, O, I, n, true);
    }
    add_rows(db, dy, ld_dy, R, O);
}

/* Rounded rows of inputs and of outputs, or what the first layer needs. */
static size_t bf16_scratch(int I, int O)
{
    const size_t rounded = CHUNK_R * (bf16_scratch_ld(I) + bf16_scratch_ld(O));
    const size_t first = bf16_first_scratch(O);
    return rounded > first ? rounded : first;
}
