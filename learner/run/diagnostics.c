/* Quantities that people read and no loss needs. See diagnostics.h.
 *
 * Each network is run forward once more on one row of each snippet, with its own packed copy of the
 * weights: the step's packed weights are from before the update. That costs about one row in N + 1
 * of a step, and only in steps with a report. All memory is made at the start.
 *
 * One object serves one training thread. `inputs` is filled once per report and read by every
 * network; `raw`, `mean` and `std` hold what the network that ran last gave. */
#include "learner/run/diagnostics.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/gaussian.h"

/* The networks that are looked at. */
static const char *const networks[] = {"policy", "prior", "critic"};
#define N_NETWORKS (sizeof networks / sizeof networks[0])

struct diagnostics {
    struct settings settings;
    /* The most snippets that a batch may have. */
    int B;
    /* Of the snippets' first rows; filled by fill_inputs. */
    float *inputs;     /* (B, I) */
    float *judged;     /* (B, I+A) the critic's inputs */
    float *q;          /* (B) */
    float *raw;        /* (B, 2A) */
    float *mean, *std; /* (B, A) */
    struct network_packed packed[N_NETWORKS];
    float *scratch;
};

/* Packed copies of the networks that this algorithm has, and scratch memory for the largest. */
static status make_networks(struct diagnostics *diagnostics, const struct state *state)
{
    /* At least one float, so that a null pointer always means that memory is missing. */
    size_t scratch = 1;
    status s = STATUS_OK;
    for (size_t i = 0; i < N_NETWORKS && s == STATUS_OK; i++) {
        const struct parameters_group *group = parameters_group(state_layout(state), networks[i]);
        /* Networks run one after the other, so the largest scratch memory serves all. */
        if (group != NULL) {
            const size_t more = network_scratch(&group->shape);
            scratch = more > scratch ? more : scratch;
            s = network_packed_init(&diagnostics->packed[i], &group->shape, NETWORK_BF16_NONE);
        }
    }
    diagnostics->scratch = mem_aligned(scratch * sizeof(float));
    return diagnostics->scratch != NULL ? s : STATUS_NO_MEMORY;
}

status diagnostics_new(struct diagnostics **diagnostics, const struct settings *settings,
                       const struct state *state, int B, struct err *err)
{
    struct diagnostics *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "diagnostics");
    }
    /* Room for one row of each snippet, for every intermediate result. */
    size_t rows = (size_t)B, A = (size_t)settings->A;
    made->settings = *settings;
    made->B = B;
    made->inputs = mem_aligned(rows * (size_t)settings_inputs(settings) * sizeof(float));
    made->judged = mem_aligned(rows * ((size_t)settings_inputs(settings) + A) * sizeof(float));
    made->q = mem_aligned(rows * sizeof(float));
    made->raw = mem_aligned(rows * 2 * A * sizeof(float));
    made->mean = mem_aligned(rows * A * sizeof(float));
    made->std = mem_aligned(rows * A * sizeof(float));
    /* One check for all: diagnostics_free takes an object that is made only in part. */
    if (make_networks(made, state) != STATUS_OK || !made->inputs || !made->judged || !made->q ||
        !made->raw || !made->mean || !made->std) {
        diagnostics_free(made);
        return err_set(err, STATUS_NO_MEMORY, "diagnostics of %d states", B);
    }
    *diagnostics = made;
    return STATUS_OK;
}

void diagnostics_free(struct diagnostics *diagnostics)
{
    if (diagnostics == NULL) {
        return;
    }
    mem_free(diagnostics->inputs);
    mem_free(diagnostics->judged);
    mem_free(diagnostics->q);
    mem_free(diagnostics->raw);
    mem_free(diagnostics->mean);
    mem_free(diagnostics->std);
    for (size_t i = 0; i < N_NETWORKS; i++) {
        network_packed_fini(&diagnostics->packed[i]);
    }
    mem_free(diagnostics->scratch);
    mem_free(diagnostics);
}

/* The first row of snippet b. A snippet has N + 1 rows, the last for the bootstrap. */
static const float *row_of(const struct diagnostics *diagnostics, const struct batch *batch, int b)
{
    size_t width = (size_t)settings_row_width(&diagnostics->settings);
    return batch->rows + (size_t)b * (size_t)(batch->N + 1) * width;
}

/* inputs(B,I) <- [observation | one-hot task] of each snippet's first row. */
static void fill_inputs(struct diagnostics *diagnostics, const struct batch *batch)
{
    const struct settings *settings = &diagnostics->settings;
    size_t I = (size_t)settings_inputs(settings), O = (size_t)settings->O;
    for (int b = 0; b < batch->B; b++) {
        float *input = diagnostics->inputs + (size_t)b * I;
        memcpy(input, row_of(diagnostics, batch, b), O * sizeof(float));
        /* With several tasks the network also reads which one it acts for. */
        if (settings->K > 1) {
            memset(input + O, 0, (I - O) * sizeof(float));
            input[O + (size_t)(b % settings->K)] = 1.0f;
        }
    }
}

/* A network of the state, with its weights packed; false when this algorithm has none. */
static bool open_network(struct diagnostics *diagnostics, const struct state *state,
                         const char *name, struct network *network)
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
    /* Weights are packed anew on each call, since every step changes them. */
    const float *params = state_read(state, STATE_PARAMS) + group->at;
    struct network_packed *packed = &diagnostics->packed[i];
    network_pack(packed, &group->shape, params, 0, 1);
    *network = (struct network){.shape = &group->shape, .params = params, .packed = packed};
    return true;
}

/* std(B,A) of a network; false when this algorithm has none. */
static bool distribution(struct diagnostics *diagnostics, const struct state *state,
                         const char *name, double min_std, int B)
{
    const struct settings *settings = &diagnostics->settings;
    struct network network;
    if (!open_network(diagnostics, state, name, &network)) {
        return false;
    }
    /* The network gives 2A raw numbers per state; the head turns them into means and stds. */
    const struct gaussian_head head = {
        .A = settings->A, .min_std = (float)min_std, .init_std = (float)settings->init_std};
    size_t I = (size_t)settings_inputs(settings), ld_raw = 2 * (size_t)settings->A;
    network_infer(diagnostics->raw, ld_raw, &network, diagnostics->inputs, I, B,
                  diagnostics->scratch);
    gaussian_forward(diagnostics->mean, diagnostics->std, &head, diagnostics->raw, ld_raw, B);
    return true;
}

/* Mean over states per dimension; returns the share of stds within 1% of the floor. */
static double mean_std(const struct diagnostics *diagnostics, double min_std, int B, double *mean)
{
    int A = diagnostics->settings.A;
    /* A dimension at a time; those at the floor are counted over all of them. */
    int at_floor = 0;
    for (int i = 0; i < A; i++) {
        double sum = 0;
        for (int b = 0; b < B; b++) {
            double std = (double)diagnostics->std[b * A + i];
            sum += std;
            at_floor += std <= 1.01 * min_std;
        }
        mean[i] = sum / B;
    }
    return (double)at_floor / (A * B);
}

/* q(B) <- the critic at the logged actions; the least and the largest of them. */
static void judge_logged(struct diagnostics *diagnostics, const struct state *state,
                         const struct batch *batch, double *least, double *most)
{
    const struct settings *settings = &diagnostics->settings;
    const size_t I = (size_t)settings_inputs(settings), A = (size_t)settings->A;
    struct network critic;
    const bool found = open_network(diagnostics, state, "critic", &critic);
    ASSERT(found); /* every algorithm has one */
    /* The critic reads the inputs followed by the action, which is clipped as in the step. */
    for (int b = 0; b < batch->B; b++) {
        float *row = diagnostics->judged + (size_t)b * (I + A);
        memcpy(row, diagnostics->inputs + (size_t)b * I, I * sizeof(float));
        gaussian_clip(row + I, row_of(diagnostics, batch, b) + settings->O, A);
    }
    /* One value for each snippet. */
    network_infer(diagnostics->q, 1, &critic, diagnostics->judged, I + A, batch->B,
                  diagnostics->scratch);
    *least = *most = (double)diagnostics->q[0];
    for (int b = 1; b < batch->B; b++) {
        *least = fmin(*least, (double)diagnostics->q[b]);
        *most = fmax(*most, (double)diagnostics->q[b]);
    }
}

/* The share of logged action dimensions that are at an end of their range, -1 or 1. */
static double actions_at_end(const struct diagnostics *diagnostics, const struct batch *batch)
{
    const struct settings *settings = &diagnostics->settings;
    int at_end = 0;
    for (int b = 0; b < batch->B; b++) {
        const float *action = row_of(diagnostics, batch, b) + settings->O;
        for (int i = 0; i < settings->A; i++) {
            at_end += fabsf(action[i]) >= 1.0f;
        }
    }
    return (double)at_end / (settings->A * batch->B);
}

/* Keeps a value that the step itself has reported under this name. */
static void add_new(struct report *report, const char *name, const double *values, int size)
{
    if (report_find(report, name) == NULL) {
        report_add(report, name, values, size);
    }
}

void diagnostics_add(struct diagnostics *diagnostics, const struct state *state,
                     const struct batch *batch, struct report *report)
{
    const struct settings *settings = &diagnostics->settings;
    double std[REPORT_ACTIONS_MAX];
    ASSERT(batch->B <= diagnostics->B);
    /* The inputs of this batch, which all networks below read. */
    fill_inputs(diagnostics, batch);
    /* The policy's stds, and those of the prior where the algorithm has one. */
    if (distribution(diagnostics, state, "policy", settings->policy_min_std, batch->B)) {
        (void)mean_std(diagnostics, settings->policy_min_std, batch->B, std);
        add_new(report, "policy_std", std, settings->A);
    }
    if (distribution(diagnostics, state, "prior", settings->prior_min_std, batch->B)) {
        double floor_share = mean_std(diagnostics, settings->prior_min_std, batch->B, std);
        add_new(report, "prior_std", std, settings->A);
        add_new(report, "prior_floor", &floor_share, 1);
    }
    /* The range of the critic and the share of actions at the ends of their range. */
    double q_min, q_max;
    judge_logged(diagnostics, state, batch, &q_min, &q_max);
    add_new(report, "q_min", &q_min, 1);
    add_new(report, "q_max", &q_max, 1);
    double end_share = actions_at_end(diagnostics, batch);
    add_new(report, "actions_at_end", &end_share, 1);
}
