/* xoshiro256** (Blackman and Vigna 2018), seeded through splitmix64. The counter-based generator is
 * in noise.c.
 *
 * The same seed gives the same bits on every machine: the logarithm and the cosine are written out
 * here, since those of a C library differ from version to version. A generator belongs to one
 * thread at a time. */
#include "common/base/rng.h"

#include <math.h>

#include "common/base/status.h"

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* Spreads a seed over all bits, so that seeds 1 and 2 give unrelated streams. */
static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed, const char *role, uint64_t index)
{
    /* FNV-1a of the role, then one splitmix step between the parts, so that no two add up to the
     * same. */
    uint64_t mix = 0xcbf29ce484222325ull;
    for (const char *c = role; *c != '\0'; c++) {
        mix = (mix ^ (unsigned char)*c) * 0x100000001b3ull;
    }
    mix = splitmix(&mix) ^ seed;
    mix = splitmix(&mix) ^ index;
    for (int i = 0; i < 4; i++) {
        rng->state[i] = splitmix(&mix);
    }
}

uint64_t rng_u64(struct rng *rng)
{
    /* The algorithm as published: a result from s[1], then the next state. */
    uint64_t *s = rng->state;
    const uint64_t result = rotate(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double rng_uniform(struct rng *rng)
{
    /* The upper 53 bits, as many as a double holds: a multiple of 2^-53 in [0, 1). */
    return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    ASSERT(n >= 1);
    /* Lemire's multiply-shift; draws that would favour small results are thrown away. */
    unsigned __int128 product = (unsigned __int128)rng_u64(rng) * n;
    if ((uint64_t)product < n) {
        /* The limit is 2^64 mod n, which costs a division: only where the draw could be below
         * it. */
        const uint64_t threshold = (0 - n) % n;
        while ((uint64_t)product < threshold) {
            product = (unsigned __int128)rng_u64(rng) * n;
        }
    }
    return (uint64_t)(product >> 64);
}

/* ln(x) for x in (0, 1], by 2 atanh((m-1)/(m+1)) with m in [sqrt(1/2), sqrt(2)): about 1e-16, and,
 * unlike libm's, the same bits everywhere. */
static double own_log(double x)
{
    /* x = m 2^exponent, with m moved into [sqrt(1/2), sqrt(2)). */
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2.0;
        exponent--;
    }
    const double s = (m - 1.0) / (m + 1.0);
    const double s2 = s * s;
    /* The odd powers of s from the last term on, in nested form. */
    double sum = 0.0;
    for (int k = 23; k >= 1; k -= 2) {
        sum = sum * s2 + 1.0 / k;
    }
    return exponent * 0.69314718055994531 + 2.0 * s * sum;
}

/* cos(2 pi u) for u in [0, 1), by Taylor's series after folding onto [-1/8, 1/8] turns. */
static double own_cos_turns(double u)
{
    /* The nearest quarter turn, and the angle from there, in radians. */
    const double quarters = u * 4.0;
    const int quadrant = (int)(quarters + 0.5);
    const double x = (quarters - quadrant) * 1.57079632679489662;
    const double x2 = x * x;
    /* The series of cos and sin from their last terms on, in nested form. */
    double even = 0.0;
    double odd = 0.0;
    for (int k = 18; k >= 2; k -= 2) {
        even = (1.0 - even) * x2 / (k * (k - 1));
        odd = (1.0 - odd) * x2 / (k * (k + 1));
    }
    const double c = 1.0 - even;
    const double s = x * (1.0 - odd);
    /* Each quarter turn exchanges the two and changes a sign. */
    const double values[4] = {c, -s, -c, s};
    return values[quadrant % 4];
}

double rng_normal(struct rng *rng)
{
    /* 1 - u is in (0, 1]: the logarithm is finite. */
    const double radius = sqrt(-2.0 * own_log(1.0 - rng_uniform(rng)));
    return radius * own_cos_turns(rng_uniform(rng));
}

void rng_shuffle(struct rng *rng, uint32_t *items, size_t n)
{
    /* From the end: each item is swapped with one of those before it, or itself. */
    for (size_t i = n; i > 1; i--) {
        const size_t j = (size_t)rng_below(rng, i);
        const uint32_t swap = items[i - 1];
        items[i - 1] = items[j];
        items[j] = swap;
    }
}
