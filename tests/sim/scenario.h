/* The simulation of one seed. */
#ifndef HINDCAST_SIM_SCENARIO_H
#define HINDCAST_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/network.h"

struct scenario {
    uint64_t steps, digest;
    uint64_t fake_ns;     /* how long it took on the fake clock */
    unsigned kills;       /* of servers */
    uint32_t operated[4]; /* as operator_close counts */
    struct network_counts network;
};

/* Runs it in the working folder, which must be empty and will be again. A violation ends the
 * process (verdict.h). */
void scenario_run(uint64_t seed, bool print_plan, struct scenario *scenario);

#endif
