/* Products of bf16 by tiles; included by kernels_vector_bf16.h after kernels_tiles_pack.h.
 *
 * A block of 32 rows and 32 outputs is four tiles of sums; a step adds 32 inputs to them by two
 * tiles of rows and two of weights. Forward, sums begin at the bias, which a tile loads with stride
 * 0. They are then stored, 4 KB that stay in the first cache, and the vector unit applies activation
 * and rounding. For the gradients by weights, sums begin at the gradients so far and go back to
 * them. */

#define BLOCK_R 32  /* rows of a block */
#define BLOCK_O 32  /* outputs of a block */
#define DEPTH_R 128 /* rows whose gradients are packed together: whole steps */

/* Whole blocks of the vector kernels, which make the first layer, and whole tiles. */
#define KERNELS_BLOCK_ROWS   48
#define KERNELS_THREAD_BEGIN thread_begin
#define KERNELS_THREAD_END   thread_end
_Static_assert(KERNELS_BLOCK_ROWS % ROWS == 0 && KERNELS_BLOCK_ROWS % TILES_ROWS == 0, "both");
_Static_assert(DEPTH_R % TILE_K == 0, "whole steps");

static void thread_begin(void)
{
    tile_configure();
}

static void thread_end(void)
{
    tile_release();
}

/* ---- A block ---- */

/* Floats of a block: sums, or what they begin with. */
struct tile_floats {
    float *at;
    size_t stride; /* bytes from row to row; 0: one row for all */
};

/* sums(32,32) <- start + a b. more_rows: 32 rows, else 16; more_outputs: 32 outputs, else 16. Both
 * are constants where this is inlined. w0 and w1 are packed `b` of 16 outputs each. */
ALWAYS void tile_block(const int more_rows, const int more_outputs, struct tile_floats sums,
                       struct tile_floats start, const struct tile_rows *rows, const uint16_t *w0,
                       const uint16_t *w1, int steps)
{
    const unsigned char *x0 = (const unsigned char *)rows->x;
    const unsigned char *x1 = x0 + rows->below;
    const size_t below = TILES_ROWS * start.stride / sizeof(float);

    /* Tiles 0 to 3 are the sums, 4 and 5 rows, 6 and 7 weights. */
    tile_load(0, start.at, start.stride);
    if (more_outputs) {
        tile_load(1, start.at + TILE_O, start.stride);
    }
    if (more_rows) {
        tile_load(2, start.at + below, start.stride);
    }
    if (more_rows && more_outputs) {
        tile_load(3, start.at + below + TILE_O, start.stride);
    }
    for (int step = 0; step < steps; step++) {
        const size_t x_at = (size_t)step * rows->tile;
        tile_load(4, x0 + x_at, rows->stride);
        tile_load(6, w0 + step * TILE_ALL, TILES_BYTES);
        tile_multiply(0, 4, 6);
        if (more_rows) {
            tile_load(5, x1 + x_at, rows->stride);
            tile_multiply(2, 5, 6);
        }
        if (more_outputs) {
            tile_load(7, w1 + step * TILE_ALL, TILES_BYTES);
            tile_multiply(1, 4, 7);
        }
        if (more_rows && more_outputs) {
            tile_multiply(3, 5, 7);
        }
    }
    const size_t below_sums = TILES_ROWS * sums.stride / sizeof(float);
    tile_store(0, sums.at, sums.stride);
    if (more_outputs) {
        tile_store(1, sums.at + TILE_O, sums.stride);
    }
    if (more_rows) {
        tile_store(2, sums.at + below_sums, sums.stride);
    }
    if (more_rows && more_outputs) {
        tile_store(3, sums.at + below_sums + TILE_O, sums.stride);
    }
}

/* The same for a block of `rows` rows and n outputs: picks the constants. */
static void tile_block_any(int rows, int n, struct tile_floats sums, struct tile_floats start,
                           const struct tile_rows *at, const uint16_t *w0, const uint16_t *w1,
                           int steps)
{
    if (rows > TILES_ROWS && n > TILE_O) {
        tile_block(1, 1, sums, start, at, w0, w1, steps);
    } else if (rows > TILES_ROWS) {
        tile_block(1, 0, sums, start, at, w0, w1, steps);
    } else if (n > TILE_O) {
        tile_block(0, 1, sums, start, at, w0, w1, steps);
    } else {
        tile_block(0, 0, sums, start, at, w0, w1, steps);
    }
}

/* ---- Later layers ---- */

/* Row `sums` of a block, of n outputs, to its place in y or y_float: activation and rounding. */
static void finish_row(uint16_t *y, float *y_float, const float *sums, int n, bool elu)
{
    for (int i = 0; i < n; i += LANES) {
        vec v = v_load(sums + i);
        if (elu) {
            v = v_rough_elu(v);
        }
        const int left = n - i < LANES ? n - i : LANES;
        if (y != NULL) {
            /* An odd row ends with a 0: its weight and bias are 0. */
            v_store_bf16(y + i, v, left + left % 2);
        } else {
            v_store_part(v_lanes(left), y_float + i, v);
        }
    }
}

static void bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                      const uint16_t *x, size_t ld_x, int R, float *scratch)
{
    const int I = layer->I;
    const int O = layer->O;
    const int steps = padded_inputs(I) / TILE_K;
    const bool elu = layer->activation == KERNELS_ELU;
    const struct tile_floats sums = {scratch, BLOCK_O * sizeof *scratch};
    uint16_t *copy = (uint16_t *)(void *)(scratch + BLOCK_R * BLOCK_O);
    for (int r = 0; r < R; r += BLOCK_R) {
        const int rows = MINIMUM(BLOCK_R, R - r);
        const struct tile_rows at = rows_of(x + (size_t)r * ld_x, ld_x, I, rows, copy);
        for (int o = 0; o < O; o += BLOCK_O) {
            const int n = MINIMUM(BLOCK_O, O - o);
            const uint16_t *w = layer->packed_bf16 + (size_t)o * (size_t)(steps * TILE_K);

            /* The last bias may end before its tile does. */
            float bias[BLOCK_O] ALIGNED = {0};
            memcpy(bias, layer->start + o, (size_t)n * sizeof *bias);
            tile_block_any(rows, n, sums, (struct tile_floats){bias, 0}, &at, w,
                           w + steps * TILE_ALL, steps);

            /* The block is still in the first cache. */
            for (int i = 0; i < rows; i++) {
                const size_t to = (size_t)(r + i) * ld_y + (size_t)o;
                finish_row(y != NULL ? y + to : NULL, y != NULL ? NULL : y_float + to,
                           sums.at + i * BLOCK_O, n, elu);
            }
        }
    }
}

/* ---- Gradients by weights ---- */

/* Copies rows(rows,n) of floats. */
static void copy_block(float *to, size_t ld_to, const float *from, size_t ld_from, int rows, int n)
{
    for (int i = 0; i < rows; i++) {
        memcpy(to + (size_t)i * ld_to, from + (size_t)i * ld_from, (size_t)n * sizeof *to);
    }
}

/* dW(O,I) += a b for packed dy and x of `steps` steps of rows. sums: a block of scratch. */
static void add_product(float *dW, const uint16_t *a, const uint16_t *b, int I, int O, int steps,
                        float *sums)
{
    const size_t panel = (size_t)steps * TILE_ALL;
    const struct tile_floats part = {sums, BLOCK_O * sizeof *sums};
    for (int o = 0; o < O; o += BLOCK_R) {
        const int rows = MINIMUM(BLOCK_R, O - o);
        const struct tile_rows at = {a + (size_t)(o / TILE_O) * panel, TILES_BYTES,
                                     TILE_ALL * sizeof *a, panel * sizeof *a};
        for (int i = 0; i < I; i += BLOCK_O) {
            const int n = MINIMUM(BLOCK_O, I - i);
            const uint16_t *w = b + (size_t)(i / TILE_O) * panel;
            float *to = dW + (size_t)o * (size_t)I + i;
            if (rows == BLOCK_R && n == BLOCK_O) {
                const struct tile_floats whole = {to, (size_t)I * sizeof *to};
                tile_block(1, 1, whole, whole, &at, w, w + panel, steps);
            } else {
                /* Tiles are always whole: what is beyond dW stays in scratch. */
                copy_block(sums, BLOCK_O, to, (size_t)I, rows, n);
                tile_block_any(rows, n, part, part, &at, w, w + panel, steps);
                copy_block(to, (size_t)I, sums, BLOCK_O, rows, n);
            }
        }
    }
}

static void bf16_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                 const float *x, size_t ld_x, int R, int I, int O, float *scratch)
{
    float *sums = scratch;
    uint16_t *a = (uint16_t *)(void *)(scratch + BLOCK_R * BLOCK_O);
    uint16_t *b = a + bf16_packed_size(DEPTH_R, O);
    memset(sums, 0, BLOCK_R * BLOCK_O * sizeof *sums);
    for (int r = 0; r < R; r += DEPTH_R) {
        const int depth = MINIMUM(DEPTH_R, R - r);
        pack_down(a, dy + (size_t)r * ld_dy, ld_dy, depth, O, true);
        pack_down(b, x + (size_t)r * ld_x, ld_x, depth, I, false);
        add_product(dW, a, b, I, O, padded_inputs(depth) / TILE_K, sums);
    }
    add_rows(db, dy, ld_dy, R, O);
}

/* ---- Scratch ---- */

/* A block's sums, and then what one of the functions above needs: a block of rows with padding, or
 * packed gradients and rows. */
static size_t bf16_scratch(int I, int O)
{
    const size_t sums = BLOCK_R * BLOCK_O;
    const size_t rows = BLOCK_R * (size_t)padded_inputs(I) / 2;
    const size_t packed = (bf16_packed_size(DEPTH_R, O) + bf16_packed_size(DEPTH_R, I)) / 2;
    const size_t first = bf16_first_scratch(O);
    const size_t products = sums + (rows > packed ? rows : packed);
    return products > first ? products : first;
}
