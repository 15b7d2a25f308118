/* Later layers of bf16 by tiles; included by kernels_vector_bf16.h.
 *
 * A block of 32 rows and 32 outputs is four tiles of sums; a step adds 32 inputs to them by two
 * tiles of rows and two of weights. Sums begin at the bias, which a tile loads with stride 0. They
 * are then stored, 4 KB that stay in the first cache, and the vector unit applies activation and
 * rounding.
 *
 * Packed W(O,I): for every 16 outputs, for every 32 inputs, a tile as the unit wants it: row k has
 * the weights of inputs 2k and 2k + 1 for each output next to each other. Weights beyond O and I
 * are 0. Rows and inputs that fill no tile are copied to scratch first and padded with 0: memory
 * beyond a row may hold anything, and 0 times NaN is NaN. */

#define TILE_K   32            /* inputs of a step */
#define TILE_O   16            /* outputs of a tile */
#define BLOCK_R  32            /* rows of a block */
#define BLOCK_O  32            /* outputs of a block */
#define TILE_ALL (16 * TILE_K) /* weights of a tile */

/* Whole blocks of the vector kernels, which make the first layer, and whole tiles. */
#define KERNELS_BLOCK_ROWS   48
#define KERNELS_THREAD_BEGIN thread_begin
#define KERNELS_THREAD_END   thread_end
_Static_assert(KERNELS_BLOCK_ROWS % ROWS == 0 && KERNELS_BLOCK_ROWS % TILES_ROWS == 0, "both");

static void thread_begin(void)
{
    tile_configure();
}

static void thread_end(void)
{
    tile_release();
}

/* Inputs with their padding. */
static int padded_inputs(int I)
{
    return (I + TILE_K - 1) / TILE_K * TILE_K;
}

static size_t bf16_packed_size(int I, int O)
{
    const size_t tiles_of_outputs = ((size_t)O + TILE_O - 1) / TILE_O;
    return tiles_of_outputs * TILE_O * (size_t)padded_inputs(I);
}

/* Fills whole tiles; the last one of a share has zeros beyond O. */
static void bf16_pack(uint16_t *packed, const float *W, int I, int O, int first_o, int n_o)
{
    const int padded = padded_inputs(I);
    for (int o = first_o; o < first_o + n_o; o += TILE_O) {
        uint16_t *tile = packed + (size_t)o * (size_t)padded;
        /* A place in a tile: row i % 32 / 2, then the pair of output j. */
        for (int i = 0; i < padded; i++) {
            uint16_t *pairs = tile + i / TILE_K * TILE_ALL + i % TILE_K / 2 * TILE_K + i % 2;
            for (int j = 0; j < TILE_O; j++) {
                const bool inside = o + j < O && i < I;
                pairs[2 * j] =
                    inside ? kernels_bf16_of(W[(size_t)(o + j) * (size_t)I + (size_t)i]) : 0;
            }
        }
    }
}

/* Scratch of this file: the sums of a block, then a block of rows with padding. */
static size_t bf16_scratch(int I, int O)
{
    const size_t sums = BLOCK_R * BLOCK_O;
    const size_t rows = BLOCK_R * (size_t)padded_inputs(I) / 2;
    const size_t first = bf16_first_scratch(O);
    return sums + rows > first ? sums + rows : first;
}

/* The rows of a block as tiles read them: where they are, or a padded copy. */
struct tile_rows {
    const uint16_t *x;
    size_t stride; /* bytes */
};

static struct tile_rows rows_of(const uint16_t *x, size_t ld_x, int I, int rows, uint16_t *copy)
{
    if (I % TILE_K == 0 && rows % TILES_ROWS == 0) {
        return (struct tile_rows){x, ld_x * sizeof *x};
    }
    /* Zeros after the inputs of each row, and whole rows of zeros after the last. */
    const size_t padded = (size_t)padded_inputs(I);
    const int whole = (rows + TILES_ROWS - 1) / TILES_ROWS * TILES_ROWS;
    for (int r = 0; r < whole; r++) {
        uint16_t *to = copy + (size_t)r * padded;
        const size_t n = r < rows ? (size_t)I : 0;
        memcpy(to, x + (size_t)r * (n > 0 ? ld_x : 0), n * sizeof *to);
        memset(to + n, 0, (padded - n) * sizeof *to);
    }
    return (struct tile_rows){copy, padded * sizeof *copy};
}

/* sums(32,32) <- bias + x W^T. more_rows: 32 rows, else 16; more_outputs: 32 outputs, else 16.
 * Both are constants where this is inlined. bias1 belongs to the second 16 outputs. */
ALWAYS void tile_block(const int more_rows, const int more_outputs, float *sums,
                       const struct tile_rows *rows, const uint16_t *w0, const uint16_t *w1,
                       const float *bias0, const float *bias1, int steps)
{
    const size_t stride = BLOCK_O * sizeof *sums;
    const unsigned char *x0 = (const unsigned char *)rows->x;
    const unsigned char *x1 = x0 + TILES_ROWS * rows->stride;

    /* Tiles 0 to 3 are the sums, 4 and 5 rows, 6 and 7 weights. */
    tile_load(0, bias0, 0);
    if (more_outputs) {
        tile_load(1, bias1, 0);
    }
    if (more_rows) {
        tile_load(2, bias0, 0);
    }
    if (more_rows && more_outputs) {
        tile_load(3, bias1, 0);
    }
    for (int step = 0; step < steps; step++) {
        tile_load(4, x0 + step * TILES_BYTES, rows->stride);
        tile_load(6, w0 + step * TILE_ALL, TILES_BYTES);
        tile_multiply(0, 4, 6);
        if (more_rows) {
            tile_load(5, x1 + step * TILES_BYTES, rows->stride);
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
    tile_store(0, sums, stride);
    if (more_outputs) {
        tile_store(1, sums + TILE_O, stride);
    }
    if (more_rows) {
        tile_store(2, sums + TILES_ROWS * BLOCK_O, stride);
    }
    if (more_rows && more_outputs) {
        tile_store(3, sums + TILES_ROWS * BLOCK_O + TILE_O, stride);
    }
}

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
    float *sums = scratch;
    uint16_t *copy = (uint16_t *)(void *)(scratch + BLOCK_R * BLOCK_O);
    for (int r = 0; r < R; r += BLOCK_R) {
        const int rows = MINIMUM(BLOCK_R, R - r);
        const struct tile_rows at = rows_of(x + (size_t)r * ld_x, ld_x, I, rows, copy);
        for (int o = 0; o < O; o += BLOCK_O) {
            const int n = MINIMUM(BLOCK_O, O - o);
            const uint16_t *w0 = layer->packed_bf16 + (size_t)o * (size_t)(steps * TILE_K);
            const uint16_t *w1 = w0 + steps * TILE_ALL;

            /* The last bias may end before its tile does. */
            float padded[BLOCK_O] ALIGNED = {0};
            const float *bias = layer->start + o;
            if (n < BLOCK_O) {
                memcpy(padded, bias, (size_t)n * sizeof *padded);
                bias = padded;
            }
            if (rows > TILES_ROWS && n > TILE_O) {
                tile_block(1, 1, sums, &at, w0, w1, bias, bias + TILE_O, steps);
            } else if (rows > TILES_ROWS) {
                tile_block(1, 0, sums, &at, w0, w1, bias, bias + TILE_O, steps);
            } else if (n > TILE_O) {
                tile_block(0, 1, sums, &at, w0, w1, bias, bias + TILE_O, steps);
            } else {
                tile_block(0, 0, sums, &at, w0, w1, bias, bias + TILE_O, steps);
            }

            /* The block is still in the first cache. */
            for (int i = 0; i < rows; i++) {
                const size_t to = (size_t)(r + i) * ld_y + (size_t)o;
                finish_row(y != NULL ? y + to : NULL, y != NULL ? NULL : y_float + to,
                           sums + i * BLOCK_O, n, elu);
            }
        }
    }
}
