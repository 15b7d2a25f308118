/* The nine rewards of the Sawyer stacking domain, each in [0, 1]: functions of the observation after
 * the step and of nothing else, so that rewards of logs can be computed anew.
 *
 *     near(d, tol, margin) = 1 if |d| <= tol, else 1 - tanh(atanh(sqrt(0.95)) |d| / margin)^2
 *     ramp(v, low, high)   = (v - low) / (high - low), clipped to [0, 1]
 *
 * With G and Y the centres of green and yellow, T the tool, e = 0.05 m the edge, above = G - Y - (0,
 * 0, e):
 *
 *     reach            near(T - G, 0.02, 0.15)
 *     grasp            1 if both pads touch a block
 *     lift             ramp(G_z - e/2, 0.005, 0.05)
 *     place_wide       near(above, 0.01, 0.20)
 *     place_narrow     near(above, 0, 0.01)
 *     stack            1 if |above_xy| <= 0.03, |above_z| <= 0.01 and nothing is grasped
 *     stack_leave      stack * near(T_z - G_z - 0.10, 0.03, 0.10)
 *     bring_to_center  near(G_xy - (0.60, 0), 0.02, 0.20)
 *     bring_to_corner  near(G_xy - (0.52, -0.08), 0.02, 0.20)
 *
 * The first seven are the tasks of Siegel et al. 2020, the last two those that the paper learns from
 * the logs of the others. Their names are the paper's; the functions are in the form of DeepMind's
 * rgb_stacking, with our numbers. experiments/sawyer/rewards.lua holds the same functions. */
#ifndef HINDCAST_ENVIRONMENTS_SAWYER_REWARDS_H
#define HINDCAST_ENVIRONMENTS_SAWYER_REWARDS_H

/* X(name, success): an episode succeeds in the task where the mean of its last SAWYER_SUCCESS_STEPS
 * rewards is at least `success`. */
#define SAWYER_TASKS(X)                                                                            \
    X(reach, 0.9)                                                                                  \
    X(grasp, 0.9)                                                                                  \
    X(lift, 0.9)                                                                                   \
    X(place_wide, 0.9)                                                                             \
    X(place_narrow, 0.4)                                                                           \
    X(stack, 0.9)                                                                                  \
    X(stack_leave, 0.8)                                                                            \
    X(bring_to_center, 0.9)                                                                        \
    X(bring_to_corner, 0.9)

#define SAWYER_SUCCESS_STEPS 20

enum sawyer_task {
#define TASK(name, success) SAWYER_##name,
    SAWYER_TASKS(TASK)
#undef TASK
        SAWYER_N_TASKS
};

/* Where green is brought to, for the last two tasks: x, y. */
extern const double sawyer_targets[2][2];

/* rewards(9) from observation(26 + 16 blocks). */
void sawyer_rewards(double *rewards, const double *observation);

#endif
