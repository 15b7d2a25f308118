/* The random numbers of a simulation: one splitmix64 stream per seed. */
#include "tests/sim/chance.h"

static uint64_t state;

void chance_seed(uint64_t seed)
{
    state = seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
}

static uint64_t next(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t chance_below(uint64_t n)
{
    return (uint64_t)((unsigned __int128)next() * n >> 64);
}

uint64_t chance_between(uint64_t low, uint64_t high)
{
    return low + chance_below(high - low + 1);
}

bool chance_in(uint64_t n)
{
    return chance_below(n) == 0;
}

uint64_t chance_skewed(uint64_t low, uint64_t high)
{
    uint64_t top = low;
    while (top < high && chance_in(2)) {
        top = 2 * top < high ? 2 * top : high;
    }
    return chance_between(low, top);
}

uint64_t chance_scale(uint64_t low, uint64_t high)
{
    unsigned doublings = 0;
    while (low << (doublings + 1) <= high) {
        doublings++;
    }
    const uint64_t begin = low << chance_below(doublings + 1);
    return chance_between(begin, 2 * begin < high ? 2 * begin : high);
}
