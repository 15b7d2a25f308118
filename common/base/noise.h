/* Counter-based random numbers: pure functions of (seed, step, purpose, element), so the same
 * numbers come out for any number of threads and any split over learners. Philox 4x32-10 (Salmon,
 * Moraes, Dror, Shaw, SC 2011).
 *
 * The recipe, so that another backend can make the same numbers:
 *
 *   key     = splitmix64(splitmix64(seed) ^ (kind << 32 | purpose)), low word first
 *             kind: 1 normal, 2 below
 *   counter = (block low, block high, step low, step high)
 *
 * noise_below: element i is (w1 << 32 | w0) n >> 64 of block i, w0 .. w3 being its Philox words.
 *
 * noise_normal: element i lies in tile i / 64; with j = i % 64, its block is 16 (i / 64) + j % 16
 * and j / 16 says which of four normals of that block it is (Box and Muller 1958):
 *
 *   0: r(w0) cos a(w1)   1: r(w0) sin a(w1)   2: r(w2) cos a(w3)   3: r(w2) sin a(w3)
 *
 *   r(w) = sqrt(-2 ln u),  u = ((float)(w >> 1) + 0.5) / 2^31         so |normal| <= 6.67
 *   a(w) = (w >> 30) pi/2 + (int32)(w << 2) 2^-32 pi/2
 *
 * in float arithmetic, every operation rounded once: ln, sin and cos are the short series in
 * noise.c, no libm, no FMA. Within 1e-6 of the exact function of the same words; the same bits on
 * every machine.
 *
 * Threads: all functions are pure. */
#ifndef HINDCAST_BASE_NOISE_H
#define HINDCAST_BASE_NOISE_H

#include <stddef.h>
#include <stdint.h>

/* out(n) <- standard normals, elements first .. first + n - 1 of the sequence (seed, step,
 * purpose). Any split of a range into calls gives the same numbers. */
void noise_normal(float *out, size_t n, uint64_t seed, uint64_t step, uint32_t purpose,
                  uint64_t first);

/* Element `i` of (seed, step, purpose), uniform in 0..n-1 (multiply-shift over 64 bits); n >= 1. */
uint64_t noise_below(uint64_t n, uint64_t seed, uint64_t step, uint32_t purpose, uint64_t i);

/* One block of Philox 4x32-10: out(4) from counter(4) and key(2). The two functions above use it;
 * exported for tests. */
void noise_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* The key that noise_normal (kind 1) and noise_below (kind 2) use; for tests. */
void noise_key(uint32_t key[2], uint64_t seed, uint32_t purpose, uint32_t kind);

#endif
