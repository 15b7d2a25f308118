/* The rewards. The order of floating-point operations is the recordings' and that of
 * experiments/sawyer/rewards.lua: relabelled logs then hold the same bits. */
#include "common/environments/sawyer/sawyer_rewards.h"

#include <math.h>

#include "common/environments/sawyer/sawyer_plant.h"

/* atanh(sqrt(0.95)): near() is 0.05 at its margin. A literal, since a compiler and a C library may
 * differ in the last bit. */
#define NEAR_SCALE 2.178272210300875

const double sawyer_targets[2][2] = {{.60, .00}, {.52, -.08}};

static double near_to(const double *d, int n, double tolerance, double margin)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum += d[i] * d[i];
    }
    double distance = sqrt(sum);
    if (distance <= tolerance) {
        return 1.0;
    }
    double t = tanh(NEAR_SCALE * distance / margin);
    return 1.0 - t * t;
}

static double ramp(double v, double low, double high)
{
    return fmin(1.0, fmax(0.0, (v - low) / (high - low)));
}

void sawyer_rewards(double *rewards, const double *observation)
{
    const double *tool = observation + SAWYER_TOOL;
    const double *green = observation + SAWYER_BLOCK(0), *yellow = observation + SAWYER_BLOCK(1);
    const double grasp = observation[SAWYER_GRASP];
    const double to_green[3] = {tool[0] - green[0], tool[1] - green[1], tool[2] - green[2]};
    const double above[3] = {green[0] - yellow[0], green[1] - yellow[1],
                             green[2] - (yellow[2] + SAWYER_EDGE_M)};
    const double height = tool[2] - green[2] - .10;
    const double aside = sqrt(above[0] * above[0] + above[1] * above[1]);
    const double stack = aside <= .03 && fabs(above[2]) <= .01 && grasp == 0.0 ? 1.0 : 0.0;
    rewards[SAWYER_reach] = near_to(to_green, 3, .02, .15);
    rewards[SAWYER_grasp] = grasp;
    rewards[SAWYER_lift] = ramp(green[2] - SAWYER_EDGE_M / 2.0, .005, .05);
    rewards[SAWYER_place_wide] = near_to(above, 3, .01, .20);
    rewards[SAWYER_place_narrow] = near_to(above, 3, 0.0, .01);
    rewards[SAWYER_stack] = stack;
    rewards[SAWYER_stack_leave] = stack * near_to(&height, 1, .03, .10);
    for (int i = 0; i < 2; i++) {
        const double aim[2] = {green[0] - sawyer_targets[i][0], green[1] - sawyer_targets[i][1]};
        rewards[SAWYER_bring_to_center + i] = near_to(aim, 2, .02, .20);
    }
}
