/* One seed, from beginning to end. */
#ifndef HINDCAST_SIM_STORY_H
#define HINDCAST_SIM_STORY_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/network.h"

struct story {
    uint64_t steps, digest;
    uint64_t fake_ns; /* how long it took on the fake clock */
    unsigned kills;   /* of servers */
    struct network_counts network;
};

/* Runs it in the working folder, which must be empty and will be again. What is found wrong ends
 * the process (verdict.h). */
void story_run(uint64_t seed, bool print_plan, struct story *story);

#endif
