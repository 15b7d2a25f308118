/* Philox and Box-Muller over tiles of 16 counters, as plain loops over arrays that the compiler
 * turns into vector code (this file is built with -O3 -fno-math-errno -fno-trapping-math). Every
 * operation is elementwise and correctly rounded, so the width of the vectors does not show in the
 * results. The recipe is in noise.h. */
#include "common/base/noise.h"

#include <math.h>
#include <string.h>

#include "common/base/status.h"

#define BLOCKS 16 /* Philox blocks of a tile */
#define TILE   64 /* normals of a tile: four a block */

/* Part of the key, so that normals and integers of one seed and purpose have nothing in common. */
#define KIND_NORMAL 1u
#define KIND_BELOW  2u

/* Salmon et al. 2011, table 2: multipliers, and the Weyl constants by which the key grows each
 * round. */
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u
#define ROUNDS    10

/* The mixing function of splitmix64: each bit of z has an effect on all bits of the result. */
static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void noise_key(uint32_t key[2], uint64_t seed, uint32_t purpose, uint32_t kind)
{
    /* The seed is mixed on its own first, so that it cannot cancel against purpose and kind. */
    const uint64_t mixed = mix(mix(seed) ^ ((uint64_t)kind << 32 | purpose));
    key[0] = (uint32_t)mixed;
    key[1] = (uint32_t)(mixed >> 32);
}

void noise_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    /* In local variables, which the compiler keeps in registers. */
    uint32_t c0 = counter[0];
    uint32_t c1 = counter[1];
    uint32_t c2 = counter[2];
    uint32_t c3 = counter[3];
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];
    /* Two multiplications a round; their upper halves cross over, and the key moves on. */
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        const uint64_t p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* w(4,BLOCKS) <- blocks first .. first + 15. The same rounds as noise_philox, side by side. */
static void philox_tile(uint32_t w[4][BLOCKS], uint64_t first, uint64_t step, const uint32_t key[2])
{
    /* One array for each word: the inner loop runs over blocks and becomes vector code. */
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS];
    for (uint32_t b = 0; b < BLOCKS; b++) {
        /* `first` is a multiple of 16: its low word does not overflow within a tile. */
        c0[b] = (uint32_t)first + b;
        c1[b] = (uint32_t)(first >> 32);
        c2[b] = (uint32_t)step;
        c3[b] = (uint32_t)(step >> 32);
    }
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        for (int b = 0; b < BLOCKS; b++) {
            const uint64_t p0 = (uint64_t)PHILOX_M0 * c0[b];
            const uint64_t p1 = (uint64_t)PHILOX_M1 * c2[b];
            c0[b] = (uint32_t)(p1 >> 32) ^ c1[b] ^ k0;
            c2[b] = (uint32_t)(p0 >> 32) ^ c3[b] ^ k1;
            c1[b] = (uint32_t)p1;
            c3[b] = (uint32_t)p0;
        }
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    /* Word by word, as box_muller reads them. */
    memcpy(w[0], c0, sizeof c0);
    memcpy(w[1], c1, sizeof c1);
    memcpy(w[2], c2, sizeof c2);
    memcpy(w[3], c3, sizeof c3);
}

/* Between a float and its bits, by memcpy as the rules of aliasing want. */
static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ln u for u in (0, 1]: u = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh s, s =
 * (m-1)/(m+1), |s| < 0.172. The series 2 (s + s^3/3 + .. + s^9/9) leaves less than 1e-9. */
static inline float log_unit(float u)
{
    const uint32_t bits = bits_of(u);
    const int32_t e = (int32_t)(bits - 0x3f3504f3u) >> 23; /* 0x3f3504f3 is sqrt(1/2) */
    const float m = float_of(bits - ((uint32_t)e << 23));
    const float s = (m - 1.0f) / (m + 1.0f);
    const float s2 = s * s;
    float series = 2.0f / 9.0f;
    series = series * s2 + 2.0f / 7.0f;
    series = series * s2 + 2.0f / 5.0f;
    series = series * s2 + 2.0f / 3.0f;
    /* Small terms first: e ln 2 comes last. */
    const float ln_m = s * s2 * series + 2.0f * s;
    return (float)e * 0.693147181f + ln_m;
}

/* cosine(BLOCKS), sine(BLOCKS) <- r cos a, r sin a with r from the words `wr`, a from `wa`. */
static void box_muller(float *cosine, float *sine, const uint32_t *wr, const uint32_t *wa)
{
    for (int b = 0; b < BLOCKS; b++) {
        /* The half keeps u above 0, so that the logarithm is finite. */
        const float u = ((float)(int32_t)(wr[b] >> 1) + 0.5f) * 0x1p-31f;
        const float r = sqrtf(-2.0f * log_unit(u));

        /* The top two bits are the quadrant, the rest an angle in [-pi/4, pi/4) by Taylor's series.
         */
        const float x = (float)(int32_t)(wa[b] << 2) * (1.57079633f * 0x1p-32f);
        const float x2 = x * x;
        /* sin x up to the ninth power, then cos x up to the eighth. */
        float s = 1.0f / 362880.0f;
        s = s * x2 - 1.0f / 5040.0f;
        s = s * x2 + 1.0f / 120.0f;
        s = s * x2 - 1.0f / 6.0f;
        s = s * x2 * x + x;
        float c = 1.0f / 40320.0f;
        c = c * x2 - 1.0f / 720.0f;
        c = c * x2 + 1.0f / 24.0f;
        c = c * x2 - 0.5f;
        c = c * x2 + 1.0f;

        /* Quadrants 0..3: (c, s), (-s, c), (-c, -s), (s, -c): swap in odd ones, then signs. */
        const uint32_t quadrant = wa[b] >> 30;
        const uint32_t odd = 0u - (quadrant & 1u);
        const uint32_t cb = bits_of(r * c);
        const uint32_t sb = bits_of(r * s);
        const uint32_t minus_cos = ((quadrant + 1u) & 2u) << 30;
        const uint32_t minus_sin = (quadrant & 2u) << 30;
        cosine[b] = float_of(((cb & ~odd) | (sb & odd)) ^ minus_cos);
        sine[b] = float_of(((sb & ~odd) | (cb & odd)) ^ minus_sin);
    }
}

/* out(TILE) <- tile number `tile`. */
static void normal_tile(float *restrict out, uint64_t tile, uint64_t step, const uint32_t key[2])
{
    uint32_t w[4][BLOCKS];
    philox_tile(w, tile * BLOCKS, step, key);
    /* Two words give two normals, so a block of four words gives four. */
    box_muller(out, out + BLOCKS, w[0], w[1]);
    box_muller(out + 2 * BLOCKS, out + 3 * BLOCKS, w[2], w[3]);
}

void noise_normal(float *out, size_t n, uint64_t seed, uint64_t step, uint32_t purpose,
                  uint64_t first)
{
    uint32_t key[2];
    noise_key(key, seed, purpose, KIND_NORMAL);
    /* Whole tiles directly into the output, parts of tiles through a buffer. */
    uint64_t tile = first / TILE;
    size_t skip = (size_t)(first % TILE);
    while (n > 0) {
        if (skip == 0 && n >= TILE) {
            normal_tile(out, tile, step, key);
            out += TILE;
            n -= TILE;
        } else {
            /* The range begins or ends within this tile: make it whole, keep the part. */
            float whole[TILE];
            normal_tile(whole, tile, step, key);
            const size_t part = n < TILE - skip ? n : TILE - skip;
            memcpy(out, whole + skip, part * sizeof *out);
            out += part;
            n -= part;
            skip = 0;
        }
        tile++;
    }
}

uint64_t noise_below(uint64_t n, uint64_t seed, uint64_t step, uint32_t purpose, uint64_t i)
{
    ASSERT(n >= 1);
    uint32_t key[2];
    noise_key(key, seed, purpose, KIND_BELOW);
    /* Counter: which number, then which step. */
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), (uint32_t)step,
                                 (uint32_t)(step >> 32)};
    uint32_t w[4];
    noise_philox(w, counter, key);
    /* By multiplication, and no draw is refused: number i depends on its counter alone. The
     * probabilities differ by less than 2^-64. */
    const uint64_t random = (uint64_t)w[1] << 32 | w[0];
    return (uint64_t)((unsigned __int128)random * n >> 64);
}
