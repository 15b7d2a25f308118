/* Episodes for tests, drawn from the seeded generator. */
#include "tests/lib/trajectories.h"

#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/lib/check.h"

void trajectories_signature(struct signature *signature, uint32_t K)
{
    static const char *const rewards[] = {"run", "walk", "stand"};
    assert_in_range(K, 0, 3);
    *signature = (struct signature){
        .n_slices = 2,
        .slices = {{.name = "position", .size = 3}, {.name = "velocity", .size = 2}},
        .A = 2,
        .action_min = {-1.0f, 0.0f},
        .action_max = {1.0f, 4.0f},
        .K = K,
        .control_period_s = 0.02,
    };
    for (uint32_t k = 0; k < K; k++) {
        strcpy(signature->rewards[k], rewards[k]);
    }
}

static void fill(struct rng *rng, float *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        values[i] = (float)(2 * rng_uniform(rng) - 1);
    }
}

void trajectories_episode(struct episode *episode, const struct signature *signature, uint32_t T,
                          uint64_t seed, bool terminated)
{
    struct rng rng;
    float observation[SIGNATURE_OBSERVATION_MAX];
    float action[SIGNATURE_ACTIONS_MAX];
    float rewards[SIGNATURE_TASKS_MAX];
    rng_init(&rng, seed, "test", 0);
    episode_init(episode, signature_width(signature));
    fill(&rng, observation, signature_observation(signature));
    assert_int_equal(episode_begin(episode, signature, observation, NULL), STATUS_OK);
    for (uint32_t t = 0; t < T; t++) {
        fill(&rng, action, signature->A);
        fill(&rng, rewards, signature->K);
        fill(&rng, observation, signature_observation(signature));
        const float discount = terminated && t + 1 == T ? 0.0f : 1.0f;
        assert_int_equal(
            episode_step(episode, signature, action, rewards, discount, observation, NULL),
            STATUS_OK);
    }
    episode->identity = (struct episode_identity){.source = 77, .episode = seed};
}

double trajectories_difference(const struct episode *a, const struct episode *b)
{
    assert_int_equal(a->T, b->T);
    assert_int_equal(a->W, b->W);
    double worst = 0;
    for (size_t i = 0; i < ((size_t)a->T + 1) * a->W; i++) {
        worst = fmax(worst, fabs((double)a->rows[i] - (double)b->rows[i]));
    }
    return worst;
}
