/* Products of bf16 by tiles; included by kernels_vector_bf16.h after kernels_tiles_pack.h.
 *
 * A block of 32 rows and 32 outputs is four tiles of sums; a step adds 32 inputs to them by two
 * tiles of rows and two of weights. Blocks go down the rows first, so that 32 outputs' weights stay
 * in the first cache.
 *
 * Forward, sums begin at the bias, which a tile loads with stride 0, and are stored to one of two
 * buffers. While the matrix unit is at the next block the vector unit applies activation and
 * rounding to the last one: between the steps of a block stand the rows of the one before.
 *
 * For the gradients by weights, sums begin at the gradients so far and go back to them.
 *
 * With two parts of each number, a = a1 + a2 and b = b1 + b2, a step adds a1 b2, a2 b1 and a1 b1, the
 * smallest first; a2 b2 is under 2^-17 of the sum. */

#define BLOCK_R 32 /* rows of a block */
#define BLOCK_O 32 /* outputs of a block */
#define CHUNK_R                                                                                    \
    128 /* rows that are padded, or whose gradients are packed, together: whole blocks */

/* Rows that go through a network together: whole blocks of tiles. The vector kernels, which make
 * the first layer, divide them as it comes. */
#define KERNELS_BLOCK_ROWS   64
#define KERNELS_THREAD_BEGIN thread_begin
#define KERNELS_THREAD_END   thread_end
_Static_assert(KERNELS_BLOCK_ROWS % BLOCK_R == 0, "whole blocks");
_Static_assert(CHUNK_R % TILE_K == 0 && CHUNK_R % BLOCK_R == 0, "whole steps and blocks");

static void thread_begin(void)
{
    tile_configure();
}

static void thread_end(void)
{
    tile_release();
}

/* ---- What becomes of a block's sums ---- */

/* A block whose sums are there and whose rows have yet to go to y or y_float, through activation
 * and rounding. */
struct tile_rest {
    const float *sums; /* (rows, BLOCK_O) */
    uint16_t *y;       /* the block's first element; NULL: y_float */
    float *y_float;
    size_t ld;
    int rows, n; /* n outputs */
    bool elu;
};

/* n outputs of a row of sums to y, whose parts are `part` elements apart, or to y_float where it is
 * NULL. */
ALWAYS void finish_row(uint16_t *y, float *y_float, size_t part, const float *sums, int n, bool elu)
{
    for (int i = 0; i < n; i += LANES) {
        vec v = v_load(sums + i);
        if (elu) {
            v = elu_for_bf16(v);
        }
        const int left = n - i < LANES ? n - i : LANES;
        if (y != NULL) {
            /* An odd row ends with a 0: its weight and bias are 0. */
            store_parts(y + i, part, v, left + left % 2);
        } else {
            v_store_part(v_lanes(left), y_float + i, v);
        }
    }
}

/* The first `rows` rows of the rest, or as many as there are, which then begins after them. to_bf16,
 * elu and n are those of the rest, and constants where speed matters. */
ALWAYS void finish_rows(const bool to_bf16, const bool elu, const int n, struct tile_rest *rest,
                        int rows)
{
    const int end = MINIMUM(rows, rest->rows);
    for (int i = 0; i < end; i++) {
        finish_row(to_bf16 ? rest->y : NULL, to_bf16 ? NULL : rest->y_float,
                   rest->ld / KERNELS_PARTS, rest->sums, n, elu);
        rest->sums += BLOCK_O;
        if (to_bf16) {
            rest->y += rest->ld;
        } else {
            rest->y_float += rest->ld;
        }
    }
    rest->rows -= end;
}

/* All rows. */
static void finish(struct tile_rest rest)
{
    finish_rows(rest.y != NULL, rest.elu, rest.n, &rest, rest.rows);
}

/* ---- A block ---- */

/* Floats of a block: sums, or what they begin with. */
struct tile_floats {
    float *at;
    size_t stride; /* bytes from row to row; 0: one row for all */
};

/* What a block does between its steps. */
enum tile_meanwhile {
    MEANWHILE_NOTHING,
    MEANWHILE_ELU_BF16,  /* a rest of 32 outputs through elu to bf16: evaluations */
    MEANWHILE_ELU_FLOAT, /* the same to float: passes that keep their activations */
    MEANWHILE_FLOAT      /* without elu: gradients on their way back */
};

/* Tiles 4 and 5 <- 16 rows of `a`, and the 16 below. */
ALWAYS void load_rows(const int more_rows, const unsigned char *x0, const unsigned char *x1,
                      size_t stride)
{
    tile_load(4, x0, stride);
    if (more_rows) {
        tile_load(5, x1, stride);
    }
}

/* Tiles 6 and 7 <- `b` of 16 outputs, and of the next 16. */
ALWAYS void load_weights(const int more_outputs, const uint16_t *w0, const uint16_t *w1)
{
    tile_load(6, w0, TILES_BYTES);
    if (more_outputs) {
        tile_load(7, w1, TILES_BYTES);
    }
}

/* Adds the products of what is loaded to tiles 0 to 3. */
ALWAYS void multiply_tiles(const int more_rows, const int more_outputs)
{
    tile_multiply(0, 4, 6);
    if (more_rows) {
        tile_multiply(2, 5, 6);
    }
    if (more_outputs) {
        tile_multiply(1, 4, 7);
    }
    if (more_rows && more_outputs) {
        tile_multiply(3, 5, 7);
    }
}

/* sums(32,32) <- start + a b, and meanwhile `rest`. more_rows: 32 rows, else 16; more_outputs: 32
 * outputs, else 16. These and `meanwhile` are constants where this is inlined. w0 and w1 are packed
 * `b` of 16 outputs each. */
ALWAYS void tile_block(const int more_rows, const int more_outputs,
                       const enum tile_meanwhile meanwhile, struct tile_floats sums,
                       struct tile_floats start, const struct tile_rows *rows, const uint16_t *w0,
                       const uint16_t *w1, int steps, struct tile_rest rest)
{
    /* In variables of its own, since every tile operation may write to memory. */
    const unsigned char *x0 = (const unsigned char *)rows->x;
    const unsigned char *x1 = x0 + rows->below;
    const size_t stride = rows->stride;
    const size_t next = rows->tile;
    const size_t part = rows->part;
    const size_t below = TILES_ROWS * start.stride / sizeof(float);
    const int share = (rest.rows + steps - 1) / steps;

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
        load_rows(more_rows, x0, x1, stride);
        if (KERNELS_PARTS == 2) {
            load_weights(more_outputs, w0 + TILE_ALL, w1 + TILE_ALL);
            multiply_tiles(more_rows, more_outputs);
            load_rows(more_rows, x0 + part, x1 + part, stride);
            load_weights(more_outputs, w0, w1);
            multiply_tiles(more_rows, more_outputs);
            load_rows(more_rows, x0, x1, stride);
        } else {
            load_weights(more_outputs, w0, w1);
        }
        multiply_tiles(more_rows, more_outputs);
        x0 += next;
        x1 += next;
        w0 += TILE_SET;
        w1 += TILE_SET;
        if (meanwhile != MEANWHILE_NOTHING) {
            finish_rows(meanwhile == MEANWHILE_ELU_BF16, meanwhile != MEANWHILE_FLOAT, BLOCK_O,
                        &rest, share);
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

/* The same for a block of `rows` rows and n outputs, with nothing meanwhile: picks the constants. */
static void tile_block_any(int rows, int n, struct tile_floats sums, struct tile_floats start,
                           const struct tile_rows *at, const uint16_t *w0, const uint16_t *w1,
                           int steps)
{
    const struct tile_rest none = {.rows = 0};
    if (rows > TILES_ROWS && n > TILE_O) {
        tile_block(1, 1, MEANWHILE_NOTHING, sums, start, at, w0, w1, steps, none);
    } else if (rows > TILES_ROWS) {
        tile_block(1, 0, MEANWHILE_NOTHING, sums, start, at, w0, w1, steps, none);
    } else if (n > TILE_O) {
        tile_block(0, 1, MEANWHILE_NOTHING, sums, start, at, w0, w1, steps, none);
    } else {
        tile_block(0, 0, MEANWHILE_NOTHING, sums, start, at, w0, w1, steps, none);
    }
}

/* A block of `rows` rows and n outputs, and `rest`: at the same time where both are whole. */
static void tile_block_and_rest(int rows, int n, struct tile_floats sums, struct tile_floats start,
                                const struct tile_rows *at, const uint16_t *w0, const uint16_t *w1,
                                int steps, struct tile_rest rest)
{
    if (rows <= TILES_ROWS || n <= TILE_O || rest.n != BLOCK_O || (rest.y != NULL && !rest.elu)) {
        finish(rest);
        tile_block_any(rows, n, sums, start, at, w0, w1, steps);
    } else if (rest.y != NULL) {
        tile_block(1, 1, MEANWHILE_ELU_BF16, sums, start, at, w0, w1, steps, rest);
    } else if (rest.elu) {
        tile_block(1, 1, MEANWHILE_ELU_FLOAT, sums, start, at, w0, w1, steps, rest);
    } else {
        tile_block(1, 1, MEANWHILE_FLOAT, sums, start, at, w0, w1, steps, rest);
    }
}

/* ---- Later layers ---- */

/* y or y_float(R,O) <- a layer of `rows`, R of them. sums: two blocks. */
static void next_chunk(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                       const struct tile_rows *rows, int R, float *sums)
{
    const int O = layer->O;
    const int steps = padded_inputs(layer->I) / TILE_K;
    struct tile_rest rest = {.rows = 0};
    int buffer = 0;
    for (int o = 0; o < O; o += BLOCK_O) {
        const int n = MINIMUM(BLOCK_O, O - o);
        const uint16_t *w = layer->packed_bf16 + bf16_packed_size(layer->I, o);
        /* The last bias may end before its tile does. */
        float bias[BLOCK_O] ALIGNED = {0};
        memcpy(bias, layer->start + o, (size_t)n * sizeof *bias);
        for (int r = 0; r < R; r += BLOCK_R) {
            struct tile_rows at = *rows;
            at.x += (size_t)(r / TILES_ROWS) * rows->below / sizeof *at.x;
            const struct tile_floats block = {sums + buffer * BLOCK_R * BLOCK_O,
                                              BLOCK_O * sizeof *sums};
            tile_block_and_rest(R - r, n, block, (struct tile_floats){bias, 0}, &at, w,
                                w + steps * TILE_SET, steps, rest);
            const size_t to = (size_t)r * ld_y + (size_t)o;
            rest = (struct tile_rest){.sums = block.at,
                                      .y = y != NULL ? y + to : NULL,
                                      .y_float = y != NULL ? NULL : y_float + to,
                                      .ld = ld_y,
                                      .rows = MINIMUM(BLOCK_R, R - r),
                                      .n = n,
                                      .elu = layer->activation == KERNELS_ELU};
            buffer = 1 - buffer; /* while this one is read */
        }
    }
    finish(rest);
}

static void bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                      const uint16_t *x, size_t ld_x, int R, float *scratch)
{
    uint16_t *copy = (uint16_t *)(void *)(scratch + 2 * BLOCK_R * BLOCK_O);
    for (int r = 0; r < R; r += CHUNK_R) {
        const int n = MINIMUM(CHUNK_R, R - r);
        const struct tile_rows rows = rows_of(x + (size_t)r * ld_x, ld_x, n, layer->I, copy);
        const size_t to = (size_t)r * ld_y;
        next_chunk(y != NULL ? y + to : NULL, y != NULL ? NULL : y_float + to, ld_y, layer, &rows,
                   n, scratch);
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
    const size_t panel = (size_t)steps * TILE_SET;
    const struct tile_floats part = {sums, BLOCK_O * sizeof *sums};
    for (int o = 0; o < O; o += BLOCK_R) {
        const int rows = MINIMUM(BLOCK_R, O - o);
        const struct tile_rows at = {.x = a + (size_t)(o / TILE_O) * panel,
                                     .stride = TILES_BYTES,
                                     .tile = TILE_SET * sizeof *a,
                                     .part = TILE_ALL * sizeof *a,
                                     .below = panel * sizeof *a};
        for (int i = 0; i < I; i += BLOCK_O) {
            const int n = MINIMUM(BLOCK_O, I - i);
            const uint16_t *w = b + (size_t)(i / TILE_O) * panel;
            float *to = dW + (size_t)o * (size_t)I + i;
            if (rows == BLOCK_R && n == BLOCK_O) {
                const struct tile_floats whole = {to, (size_t)I * sizeof *to};
                tile_block_any(rows, n, whole, whole, &at, w, w + panel, steps);
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
    uint16_t *b = a + bf16_packed_size(CHUNK_R, O);
    memset(sums, 0, BLOCK_R * BLOCK_O * sizeof *sums);
    for (int r = 0; r < R; r += CHUNK_R) {
        const int n = MINIMUM(CHUNK_R, R - r);
        pack_down(a, dy + (size_t)r * ld_dy, ld_dy, n, O, true);
        pack_down(b, x + (size_t)r * ld_x, ld_x, n, I, false);
        add_product(dW, a, b, I, O, padded_inputs(n) / TILE_K, sums);
    }
    add_rows(db, dy, ld_dy, R, O);
}

/* ---- Scratch ---- */

/* Two blocks of sums, and then what one of the functions above needs: rows with padding, or packed
 * gradients and rows. */
static size_t bf16_scratch(int I, int O)
{
    const size_t sums = 2 * BLOCK_R * BLOCK_O;
    const size_t rows = CHUNK_R * KERNELS_PARTS * (size_t)padded_inputs(I) / 2;
    const size_t packed = (bf16_packed_size(CHUNK_R, O) + bf16_packed_size(CHUNK_R, I)) / 2;
    const size_t first = bf16_first_scratch(O);
    const size_t products = sums + (rows > packed ? rows : packed);
    return products > first ? products : first;
}
