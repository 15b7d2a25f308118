/* The only source of random numbers in a simulation. Everything that may turn out one way or
 * another asks here, so that the seed alone determines the run. One seed at a time. */
#ifndef HINDCAST_SIM_CHANCE_H
#define HINDCAST_SIM_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

void chance_seed(uint64_t seed);
/* 0 .. n - 1; n >= 1. */
uint64_t chance_below(uint64_t n);
/* low .. high, both possible. */
uint64_t chance_between(uint64_t low, uint64_t high);
/* True once in n times. */
bool chance_in(uint64_t n);
/* Mostly small: `low` times a power of two, up to `high`. */
uint64_t chance_skewed(uint64_t low, uint64_t high);
/* Every order of magnitude as likely as any other: low .. high. */
uint64_t chance_scale(uint64_t low, uint64_t high);

#endif
