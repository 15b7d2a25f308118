/* MT19937 and the distributions on it, in the order of operations of numpy's legacy RandomState.
 *
 * The names init_genrand and init_by_array are those of Matsumoto and Nishimura's code. Every
 * constant and every order of evaluation matters: the tests compare with numbers of numpy. The
 * state is the caller's, so threads need nothing but a state of their own. */
#include "common/environments/random_state.h"

#include <math.h>

/* The constants of MT19937, by the names that the paper's recurrence gives them: its degree n =
 * 624, its middle word m = 397, the matrix a, and the bit that separates upper from lower parts. */
#define WORDS     RANDOM_STATE_WORDS
#define SHIFT     397u
#define MATRIX    0x9908b0dfu
#define UPPER_BIT 0x80000000u

/* init_genrand: one word from one seed. */
static void seed_with_number(struct random_state *random, uint32_t seed)
{
    uint32_t *mt = random->words;
    mt[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++) {
        mt[i] = 1812433253u * (mt[i - 1] ^ (mt[i - 1] >> 30)) + i;
    }
}

/* init_by_array: mixes a key of n words, n <= 624, into the state. */
static void seed_with_key(struct random_state *random, const uint32_t *key, uint32_t n)
{
    uint32_t *mt = random->words;
    /* The state that init_by_array begins with, whatever the key. */
    seed_with_number(random, 19650218u);
    uint32_t i = 1;
    /* First pass: every word gets its part of the key. */
    for (uint32_t k = 0; k < WORDS; k++) {
        uint32_t key_i = k % n;
        mt[i] = (mt[i] ^ ((mt[i - 1] ^ (mt[i - 1] >> 30)) * 1664525u)) + key[key_i] + key_i;
        if (++i == WORDS) {
            mt[0] = mt[WORDS - 1];
            i = 1;
        }
    }
    /* Second pass: every word depends on all of them. */
    for (uint32_t k = 0; k < WORDS - 1; k++) {
        mt[i] = (mt[i] ^ ((mt[i - 1] ^ (mt[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == WORDS) {
            mt[0] = mt[WORDS - 1];
            i = 1;
        }
    }
    /* Never all zero: the recurrence would stay there. */
    mt[0] = UPPER_BIT;
}

void random_state_init(struct random_state *random, uint64_t seed)
{
    /* numpy takes a small seed as one number and a larger one as a list of two words. */
    if (seed <= UINT32_MAX) {
        seed_with_number(random, (uint32_t)seed);
    } else {
        const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
        seed_with_key(random, key, 2);
    }
    /* The first call makes new words; no normal is kept. */
    random->next = WORDS;
    random->has_normal = false;
    random->normal = 0.0;
}

/* Applies the recurrence to all 624 words. */
static void make_words(struct random_state *random)
{
    uint32_t *mt = random->words;
    /* In place: a word that was replaced already is used where the index wraps around, as it should
     * be. */
    for (uint32_t i = 0; i < WORDS; i++) {
        uint32_t y = (mt[i] & UPPER_BIT) | (mt[(i + 1) % WORDS] & ~UPPER_BIT);
        mt[i] = mt[(i + SHIFT) % WORDS] ^ (y >> 1) ^ ((y & 1u) ? MATRIX : 0u);
    }
    random->next = 0;
}

uint32_t random_state_u32(struct random_state *random)
{
    if (random->next == WORDS) {
        make_words(random);
    }
    uint32_t y = random->words[random->next++];
    /* Tempering. */
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

double random_state_double(struct random_state *random)
{
    /* 53 bits, the precision of a double: 27 from one word and 26 from the next. */
    uint32_t high = random_state_u32(random) >> 5;
    uint32_t low = random_state_u32(random) >> 6;
    return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

/* numpy's order of operations: low + (high - low) * u. */
double random_state_uniform(struct random_state *random, double low, double high)
{
    return low + (high - low) * random_state_double(random);
}

double random_state_normal(struct random_state *random)
{
    if (random->has_normal) {
        random->has_normal = false;
        return random->normal;
    }
    /* The polar method: a point in the unit disc gives two normals; the second is kept. */
    double x1, x2, r2;
    do {
        x1 = 2.0 * random_state_double(random) - 1.0;
        x2 = 2.0 * random_state_double(random) - 1.0;
        r2 = x1 * x1 + x2 * x2;
    } while (r2 >= 1.0 || r2 == 0.0);
    double f = sqrt(-2.0 * log(r2) / r2);
    random->normal = f * x1;
    random->has_normal = true;
    return f * x2;
}
