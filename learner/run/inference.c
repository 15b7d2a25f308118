/* Forward passes with weights of their own: those that a step has packed may be from before its
 * update. */
#include "learner/run/inference.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/networks/gaussian.h"

static const char *const networks[INFERENCE_NETWORKS] = {"policy", "prior", "critic"};

/* Packed copies of the networks that this algorithm has, and scratch memory for the largest. */
static status make_networks(struct inference *inference, const struct state *state)
{
    /* At least one float, so that a null pointer always means that memory is missing. */
    size_t scratch = 1;
    status s = STATUS_OK;
    for (size_t i = 0; i < INFERENCE_NETWORKS && s == STATUS_OK; i++) {
        const struct parameters_group *group = parameters_group(state_layout(state), networks[i]);
        /* Networks run one after the other, so the largest scratch memory serves all. */
        if (group != NULL) {
            const size_t more = network_scratch(&group->shape);
            scratch = more > scratch ? more : scratch;
            s = network_packed_init(&inference->packed[i], &group->shape, NETWORK_BF16_NONE);
        }
    }
    inference->scratch = mem_aligned(scratch * sizeof(float));
    return inference->scratch != NULL ? s : STATUS_NO_MEMORY;
}

status inference_init(struct inference *inference, const struct settings *settings,
                      const struct state *state, int B)
{
    const size_t rows = (size_t)B, A = (size_t)settings->A;
    const size_t I = (size_t)settings_inputs(settings);
    memset(inference, 0, sizeof *inference);
    inference->settings = *settings;
    inference->B = B;
    inference->inputs = mem_aligned(rows * I * sizeof(float));
    inference->judged = mem_aligned(rows * (I + A) * sizeof(float));
    inference->raw = mem_aligned(rows * 2 * A * sizeof(float));
    inference->mean = mem_aligned(rows * A * sizeof(float));
    inference->std = mem_aligned(rows * A * sizeof(float));
    inference->q = mem_aligned(rows * sizeof(float));
    const bool made = inference->inputs && inference->judged && inference->raw && inference->mean &&
                      inference->std && inference->q;
    return made ? make_networks(inference, state) : STATUS_NO_MEMORY;
}

void inference_fini(struct inference *inference)
{
    mem_free(inference->inputs);
    mem_free(inference->judged);
    mem_free(inference->raw);
    mem_free(inference->mean);
    mem_free(inference->std);
    mem_free(inference->q);
    for (size_t i = 0; i < INFERENCE_NETWORKS; i++) {
        network_packed_fini(&inference->packed[i]);
    }
    mem_free(inference->scratch);
}

void inference_input(struct inference *inference, const struct state *state, int b,
                     const float *observation, int task)
{
    ASSERT(b < inference->B);
    const struct settings *settings = &inference->settings;
    const struct normalizer normalizer = state_normalizer(state);
    const size_t I = (size_t)settings_inputs(settings), O = (size_t)settings->O;
    float *input = inference->inputs + (size_t)b * I;
    if (normalizer.O > 0) {
        normalizer_apply(&normalizer, input, observation);
    } else {
        memcpy(input, observation, O * sizeof *input);
    }
    /* With several tasks the network also reads which one it acts for. */
    if (settings->K > 1) {
        memset(input + O, 0, (I - O) * sizeof *input);
        input[O + (size_t)task] = 1.0f;
    }
}

/* A network of the state, with its weights packed; false when this algorithm has none. */
static bool open_network(struct inference *inference, const struct state *state, const char *name,
                         struct network *network)
{
    const struct parameters_group *group = parameters_group(state_layout(state), name);
    if (group == NULL) {
        return false;
    }
    /* The name is one of `networks`; its place there is that of its packed copy. */
    size_t i = 0;
    while (strcmp(networks[i], name) != 0) {
        i++;
    }
    const float *params = state_read(state, STATE_PARAMS) + group->at;
    struct network_packed *packed = &inference->packed[i];
    network_pack(packed, &group->shape, params, 0, 1);
    *network = (struct network){.shape = &group->shape, .params = params, .packed = packed};
    return true;
}

bool inference_gaussian(struct inference *inference, const struct state *state, const char *name,
                        int B)
{
    const struct settings *settings = &inference->settings;
    struct network network;
    if (!open_network(inference, state, name, &network)) {
        return false;
    }
    /* The network gives 2A raw numbers per state; the head turns them into means and stds. */
    const double min_std =
        strcmp(name, "prior") == 0 ? settings->prior_min_std : settings->policy_min_std;
    const struct gaussian_head head = {
        .A = settings->A, .min_std = (float)min_std, .init_std = (float)settings->init_std};
    const size_t I = (size_t)settings_inputs(settings), ld_raw = 2 * (size_t)settings->A;
    network_infer(inference->raw, ld_raw, &network, inference->inputs, I, B, inference->scratch);
    gaussian_forward(inference->mean, inference->std, &head, inference->raw, ld_raw, B);
    return true;
}

void inference_action(struct inference *inference, int b, const float *action)
{
    const size_t I = (size_t)settings_inputs(&inference->settings);
    const size_t A = (size_t)inference->settings.A;
    float *row = inference->judged + (size_t)b * (I + A);
    memcpy(row, inference->inputs + (size_t)b * I, I * sizeof *row);
    gaussian_clip(row + I, action, A);
}

void inference_critic(struct inference *inference, const struct state *state, int B)
{
    const size_t I = (size_t)settings_inputs(&inference->settings);
    const size_t A = (size_t)inference->settings.A;
    struct network critic;
    const bool found = open_network(inference, state, "critic", &critic);
    ASSERT(found); /* every algorithm has one */
    network_infer(inference->q, 1, &critic, inference->judged, I + A, B, inference->scratch);
}
