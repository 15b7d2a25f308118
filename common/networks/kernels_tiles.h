/* Tiles of a matrix unit (AMX): eight registers of 16 rows by 64 bytes, and the few operations that
 * the kernels use. For files that include kernels_vector.h with KERNELS_TILES.
 *
 *     tile_configure(), tile_release()   all eight tiles in full size, and back; per thread
 *     tile_load(t, p, stride)            16 rows of 64 bytes, `stride` bytes apart; 0: one row
 *                                        16 times
 *     tile_store(t, p, stride)           the same to memory
 *     tile_multiply(c, a, b)             floats c(16,16) += pairs of bf16 a(16,16) b(16,16):
 *                                        the sum over k of both products of a(m,k) and b(k,n)
 *
 * Tile numbers are constants. With __AMX_BF16__ these are instructions; without, plain C that gives
 * the same bits, so that everything built on tiles runs in the tests of any processor. */
#ifndef HINDCAST_NETWORKS_KERNELS_TILES_H
#define HINDCAST_NETWORKS_KERNELS_TILES_H

#include <stdint.h>
#include <string.h>

#include "common/base/status.h"

#define TILES_ROWS  16 /* also pairs of bf16 or floats in a row */
#define TILES_BYTES 64 /* of a row */

/* clang before 16 has the name without the underscore. */
#if defined(__AMX_BF16__) || defined(__AMXBF16__)

#include <immintrin.h>

static inline void tile_configure(void)
{
    /* The layout that LDTILECFG reads: palette 1, then bytes of a row and rows of each tile. */
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) config = {.palette = 1};
    _Static_assert(sizeof config == 64, "as the processor has it");
    for (int t = 0; t < 8; t++) {
        config.row_bytes[t] = TILES_BYTES;
        config.rows[t] = TILES_ROWS;
    }
    /* gcc 12 takes the intrinsic for a reader of the first 8 bytes alone and drops the stores to
     * the others: the barrier makes it keep them. */
    __asm__ volatile("" ::"r"(&config) : "memory");
    _tile_loadconfig(&config);
}

static inline void tile_release(void)
{
    _tile_release();
}

/* Compilers do not know that a load reads memory: the barrier keeps earlier stores before it. */
#define tile_load(t, p, stride)                                                                    \
    do {                                                                                           \
        __asm__ volatile("" ::: "memory");                                                         \
        _tile_loadd(t, p, stride);                                                                 \
    } while (0)
#define tile_store(t, p, stride)                                                                   \
    do {                                                                                           \
        _tile_stored(t, p, stride);                                                                \
        __asm__ volatile("" ::: "memory");                                                         \
    } while (0)
#define tile_multiply(c, a, b) _tile_dpbf16ps(c, a, b)

#else

#include <float.h>

/* A thread's tiles. */
static _Thread_local struct {
    bool configured;
    uint32_t rows[8][TILES_ROWS][TILES_ROWS];
} tiles;

static inline void tile_configure(void)
{
    tiles.configured = true;
    memset(tiles.rows, 0, sizeof tiles.rows);
}

static inline void tile_release(void)
{
    tiles.configured = false;
}

static inline void tile_load(int t, const void *p, size_t stride)
{
    ASSERT(tiles.configured);
    for (size_t m = 0; m < TILES_ROWS; m++) {
        memcpy(tiles.rows[t][m], (const unsigned char *)p + m * stride, TILES_BYTES);
    }
}

static inline void tile_store(int t, void *p, size_t stride)
{
    ASSERT(tiles.configured);
    for (size_t m = 0; m < TILES_ROWS; m++) {
        memcpy((unsigned char *)p + m * stride, tiles.rows[t][m], TILES_BYTES);
    }
}

/* The float with these bits; a subnormal counts as 0, as in the matrix unit. */
static inline float tile_float(uint32_t bits)
{
    float x;
    bits = (bits & 0x7f800000u) == 0 ? bits & 0x80000000u : bits;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float tile_flush(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return tile_float(bits);
}

/* In the order of Intel's manual, volume 2, TDPBF16PS. The products of first halves and those of
 * second halves are summed apart, from 0, by fused multiply-adds; both sums are added, then that to
 * c. Subnormal operands count as 0 and subnormal results become 0. */
static inline void tile_multiply(int c, int a, int b)
{
    ASSERT(tiles.configured);
    for (int m = 0; m < TILES_ROWS; m++) {
        float first[TILES_ROWS] = {0}, second[TILES_ROWS] = {0};
        for (int k = 0; k < TILES_ROWS; k++) {
            const uint32_t pair_a = tiles.rows[a][m][k];
            for (int n = 0; n < TILES_ROWS; n++) {
                const uint32_t pair_b = tiles.rows[b][k][n];
                first[n] = tile_flush(
                    __builtin_fmaf(tile_float(pair_a << 16), tile_float(pair_b << 16), first[n]));
                second[n] = tile_flush(__builtin_fmaf(tile_float(pair_a & 0xffff0000u),
                                                      tile_float(pair_b & 0xffff0000u), second[n]));
            }
        }
        for (int n = 0; n < TILES_ROWS; n++) {
            const float sum = tile_flush(first[n] + second[n]);
            const float total = tile_flush(tile_float(tiles.rows[c][m][n]) + sum);
            memcpy(&tiles.rows[c][m][n], &total, sizeof total);
        }
    }
}

#endif

#endif
