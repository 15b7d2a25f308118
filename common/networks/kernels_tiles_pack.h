/* From floats to tiles of bf16; included by kernels_vector_bf16.h.
 *
 * A product c(M,N) += a(M,K) b(K,N) goes in steps of 32 of K. In a step a tile of `a` is 16 rows of
 * 32 of its numbers as they are, and a tile of `b` is 16 rows k, each with a pair for every of 16
 * columns: rows 2k and 2k + 1 of b next to each other. Packed, either is, for every 16 of M or N,
 * for every 32 of K, a tile of TILE_ALL numbers, or one after another those of all parts; what lies
 * beyond the matrix is 0.
 *
 * Matrices come as rows of floats. With K along their rows a tile of `a` is made by tile_of_rows;
 * with K down their columns one of `b` is made by tile_of_pairs. The transpose of a tile, pair by
 * pair, turns the one form into the other:
 *
 *     W(O,I) forward       b, K along its rows     tile_of_rows, transposed
 *     W(O,I) backward      b, K down its columns   tile_of_pairs
 *     x(R,I) in dW         b, K down its columns   tile_of_pairs
 *     dy(R,O) in dW        a, K down its columns   tile_of_pairs, transposed */

#define TILE_K   32                         /* of K in a step */
#define TILE_O   16                         /* of M or N in a tile */
#define TILE_ALL (16 * TILE_K)              /* bf16 in a tile */
#define TILE_SET (KERNELS_PARTS * TILE_ALL) /* in the tiles of all parts */

/* K with its padding. */
static int padded_inputs(int I)
{
    return (I + TILE_K - 1) / TILE_K * TILE_K;
}

/* Row m of a tile <- from(m, 0 .. 31), for from(rows,columns); a tile for each part. */
static void tile_of_rows(uint16_t *tile, const float *from, size_t ld, int rows, int columns)
{
    for (int m = 0; m < TILES_ROWS; m++) {
        for (int k = 0; k < TILE_K; k += LANES) {
            const lanes inside = v_lanes(m < rows ? columns - k : 0);
            store_parts(tile + m * TILE_K + k, TILE_ALL,
                        v_load_part(inside, from + (size_t)m * ld + k), LANES);
        }
    }
}

/* Row k of a tile <- pairs of from(2k, n) and from(2k + 1, n), n = 0 .. 15, for
 * from(rows,columns); a tile for each part. */
static void tile_of_pairs(uint16_t *tile, const float *from, size_t ld, int rows, int columns)
{
    for (int k = 0; k < TILES_ROWS; k++) {
        const float *row = from + (size_t)(2 * k) * ld;
        for (int n = 0; n < TILE_O; n += LANES) {
            vec first = v_load_part(v_lanes(2 * k < rows ? columns - n : 0), row + n);
            vec second = v_load_part(v_lanes(2 * k + 1 < rows ? columns - n : 0), row + ld + n);
            v_store_pairs(tile + k * TILE_K + 2 * n, first, second);
            for (int p = 1; p < KERNELS_PARTS; p++) {
                first = v_sub(first, v_rounded(first));
                second = v_sub(second, v_rounded(second));
                v_store_pairs(tile + p * TILE_ALL + k * TILE_K + 2 * n, first, second);
            }
        }
    }
}

/* Between the forms of `a` and of `b`, all parts. */
static void transpose_tiles(uint16_t *tile)
{
    for (int p = 0; p < KERNELS_PARTS; p++) {
        v_transpose_pairs(tile + p * TILE_ALL);
    }
}

static size_t bf16_packed_size(int I, int O)
{
    const size_t tiles_of_outputs = ((size_t)O + TILE_O - 1) / TILE_O;
    return KERNELS_PARTS * tiles_of_outputs * TILE_O * (size_t)padded_inputs(I);
}

static void bf16_pack(uint16_t *packed, const float *W, int I, int O, int first_o, int n_o)
{
    for (int o = first_o; o < first_o + n_o; o += TILE_O) {
        uint16_t *tile = packed + bf16_packed_size(I, o);
        for (int i = 0; i < I; i += TILE_K) {
            tile_of_rows(tile, W + (size_t)o * (size_t)I + i, (size_t)I, O - o, I - i);
            transpose_tiles(tile);
            tile += TILE_SET;
        }
    }
}

static void bf16_pack_back(uint16_t *packed, const float *W, int I, int O, int first_i, int n_i)
{
    for (int i = first_i; i < first_i + n_i; i += TILE_O) {
        uint16_t *tile = packed + bf16_packed_size(O, i);
        for (int o = 0; o < O; o += TILE_K) {
            tile_of_pairs(tile, W + (size_t)o * (size_t)I + i, (size_t)I, O - o, I - i);
            tile += TILE_SET;
        }
    }
}

/* All tiles of x(R,columns) with K down its columns; `transposed`: as `a`, else as `b`. */
static void pack_down(uint16_t *packed, const float *x, size_t ld_x, int R, int columns,
                      bool transposed)
{
    for (int n = 0; n < columns; n += TILE_O) {
        for (int r = 0; r < R; r += TILE_K) {
            tile_of_pairs(packed, x + (size_t)r * ld_x + n, ld_x, R - r, columns - n);
            if (transposed) {
                transpose_tiles(packed);
            }
            packed += TILE_SET;
        }
    }
}

/* Rows of `a` as tiles read them: where they are, or a padded copy. */
struct tile_rows {
    const uint16_t *x;
    size_t stride; /* bytes between rows of a tile */
    size_t tile;   /* bytes from a step's tile to the next step's */
    size_t part;   /* bytes from a tile to that of the next part */
    size_t below;  /* bytes to the 16 rows below */
};

/* For rows of ld_x elements, whose parts share them. */
static struct tile_rows rows_at(const uint16_t *x, size_t ld_x)
{
    const size_t stride = ld_x * sizeof *x;
    return (struct tile_rows){.x = x,
                              .stride = stride,
                              .tile = TILES_BYTES,
                              .part = stride / KERNELS_PARTS,
                              .below = TILES_ROWS * stride};
}

/* x(R,I) as it is, or copied and padded with 0 where it fills no whole tiles: memory beyond a row
 * may hold anything, and 0 times NaN is NaN. */
static struct tile_rows rows_of(const uint16_t *x, size_t ld_x, int R, int I, uint16_t *copy)
{
    if (I % TILE_K == 0 && R % TILES_ROWS == 0) {
        return rows_at(x, ld_x);
    }
    /* Zeros after the inputs of each row, and whole rows of zeros after the last. */
    const size_t padded = (size_t)padded_inputs(I);
    const int whole = (R + TILES_ROWS - 1) / TILES_ROWS * TILES_ROWS;
    uint16_t *to = copy;
    for (int r = 0; r < whole; r++) {
        for (size_t p = 0; p < KERNELS_PARTS; p++) {
            const size_t n = r < R ? (size_t)I : 0;
            const size_t at = r < R ? (size_t)r * ld_x + p * (ld_x / KERNELS_PARTS) : 0;
            memcpy(to, x + at, n * sizeof *to);
            memset(to + n, 0, (padded - n) * sizeof *to);
            to += padded;
        }
    }
    return rows_at(copy, KERNELS_PARTS * padded);
}
