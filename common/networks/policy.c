/* The policy package: parse with checks, act, write.
 *
 * A policy is immutable after parsing: its weights are copied, checked and packed once. Acting
 * uses the caller's scratch only, which scratch_places() divides. The metadata is in
 * policy_info.c, the file format in safetensors.c.
 *
 * A package is not trusted: load() checks the metadata and every tensor before anyone can use the
 * policy, so that acting has nothing left to check. */
#include "common/networks/policy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/networks/gaussian.h"
#include "common/networks/kernels.h"
#include "common/networks/policy_info.h"

#define FLOATS_PER_LINE 16

/* One network of the package; a shape of size 0 where it has none. */
struct part {
    /* The sizes and places of the tensors, from the metadata. */
    struct network_shape shape;
    /* (shape.size), cache-line aligned; NULL where the package has no such network. */
    float *params;
    struct network_packed packed;
};

struct policy {
    struct policy_info info;
    struct safetensors *file; /* keeps the metadata */
    void *bytes;              /* what `file` was parsed from */
    struct gaussian_head head;
    struct part actor, critic, perturb;
    float *normalizer; /* (2,O): mean, scale; NULL: observations are taken as they are */
    float *ranges;     /* (2,O): min, max; NULL: not known */
    bool has_offline_value;
    double offline_value[3]; /* the value, the ends of its interval */
};

/* Points into the policy and is valid for as long as that. */
static struct network network_of(const struct part *part)
{
    return (struct network){&part->shape, part->params, &part->packed};
}

/* ---- Shapes ---- */

static status actor_shape(struct network_shape *shape, const struct policy_info *info,
                          struct err *err)
{
    return network_shape_gaussian(shape, policy_inputs(info), info->widths, info->n_widths, info->A,
                                  err);
}

/* The shape of a network that evaluates actions, over [inputs | action], with Q outputs. */
static status evaluator_shape(struct network_shape *shape, const struct policy_info *info, int Q,
                              struct err *err)
{
    return network_shape_out(shape, policy_inputs(info) + info->A, info->widths, info->n_widths, Q,
                             err);
}

/* ---- Parsing ---- */

/* Reads the tensors PREFIX/.. for a part whose shape is set, checks every weight, and packs them.
 */
static status read_part(struct part *part, const struct safetensors *file, const char *prefix,
                        struct err *err)
{
    /* What is made stays in the part also on failure, where policy_free finds it. */
    part->params = mem_aligned(part->shape.size * sizeof(float));
    if (part->params == NULL ||
        network_packed_init(&part->packed, &part->shape, NETWORK_BF16_NONE) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "policy");
    }
    /* Every tensor must exist with exactly its shape, and be finite: one NaN would make every
     * action NaN. */
    for (int i = 0; i < part->shape.n_tensors; i++) {
        const struct network_tensor *tensor = &part->shape.tensors[i];
        char name[NETWORK_NAME_SIZE + 8];
        snprintf(name, sizeof name, "%s/%s", prefix, tensor->name);
        const size_t shape[2] = {(size_t)tensor->shape[0], (size_t)tensor->shape[1]};
        float *to = part->params + tensor->at;
        status s = safetensors_copy(file, name, SAFETENSORS_F32, tensor->n_dims, shape, to, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "policy");
        }
        /* Weights come from training that may have gone wrong, not only from broken files. */
        for (size_t j = 0; j < tensor->size; j++) {
            if (!isfinite(to[j])) {
                return err_set(err, STATUS_CORRUPT, "policy: tensor %s: element %zu is not finite",
                               name, j);
            }
        }
    }
    /* Products read the packed copy; biases and norms are read from `params`, as are exports. */
    network_pack(&part->packed, &part->shape, part->params, 0, 1);
    return STATUS_OK;
}

/* *pair(2,O) <- two vectors over the observation, where the package has them; else NULL stays. */
static status read_pair(const struct policy *policy, const char *const names[2], float **pair,
                        struct err *err)
{
    /* Both or neither: where only one is there, the copy below does not find the other. */
    if (safetensors_find(policy->file, names[0]) == NULL &&
        safetensors_find(policy->file, names[1]) == NULL) {
        return STATUS_OK;
    }
    const size_t O = (size_t)policy->info.O;
    *pair = mem_array(2 * O, sizeof **pair);
    if (*pair == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "policy");
    }
    /* One, and behind it the other; both as finite as weights must be. */
    for (size_t i = 0; i < 2; i++) {
        float *to = *pair + i * O;
        const status s = safetensors_copy(policy->file, names[i], SAFETENSORS_F32, 1, &O, to, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "policy");
        }
        /* A NaN here would reach every layer. */
        for (size_t j = 0; j < O; j++) {
            if (!isfinite(to[j])) {
                return err_set(err, STATUS_CORRUPT, "policy: tensor %s: element %zu is not finite",
                               names[i], j);
            }
        }
    }
    return STATUS_OK;
}

/* Mean and scale, where the package has them. */
static status read_normalizer(struct policy *policy, struct err *err)
{
    static const char *const names[] = {"normalizer/mean", "normalizer/scale"};
    return read_pair(policy, names, &policy->normalizer, err);
}

/* The ranges of observations. Packages of earlier releases have none. */
static status read_ranges(struct policy *policy, struct err *err)
{
    static const char *const names[] = {"observed/min", "observed/max"};
    const status s = read_pair(policy, names, &policy->ranges, err);
    const size_t O = (size_t)policy->info.O;
    for (size_t i = 0; s == STATUS_OK && policy->ranges != NULL && i < O; i++) {
        if (policy->ranges[i] > policy->ranges[O + i]) {
            return err_set(err, STATUS_CORRUPT,
                           "policy: tensor %s: element %zu is %g, expected at most that of %s, %g",
                           names[0], i, (double)policy->ranges[i], names[1],
                           (double)policy->ranges[O + i]);
        }
    }
    return s;
}

/* The value of an offline evaluation and its interval: three finite numbers, or none. */
static status read_offline_value(struct policy *policy, struct err *err)
{
    static const char *const keys[] = {"offline_value", "offline_value_low", "offline_value_high"};
    double *values = policy->offline_value;
    if (safetensors_metadata(policy->file, keys[0]) == NULL) {
        return STATUS_OK;
    }
    for (size_t i = 0; i < 3; i++) {
        const char *text = safetensors_metadata(policy->file, keys[i]);
        char *end = NULL;
        if (text != NULL) {
            values[i] = strtod(text, &end);
        }
        if (text == NULL || end == text || *end != '\0' || !isfinite(values[i])) {
            return err_set(err, STATUS_CORRUPT, "policy: metadata %s: '%.32s', expected a number",
                           keys[i], text != NULL ? text : "(absent)");
        }
    }
    /* The interval of a bootstrap need not contain the value. */
    if (values[1] > values[2]) {
        return err_set(err, STATUS_CORRUPT, "policy: metadata %s: %g, expected at most %s, %g",
                       keys[1], values[1], keys[2], values[2]);
    }
    policy->has_offline_value = true;
    return STATUS_OK;
}

/* Fills a policy whose `bytes` are set: metadata, then each network that its acting rule needs.
 * What was made is left for policy_free. */
static status load(struct policy *policy, size_t size, struct err *err)
{
    status s = safetensors_parse(&policy->file, policy->bytes, size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "policy");
    }
    /* The metadata gives the shapes, and the shapes say which tensors must be there. */
    struct policy_info *info = &policy->info;
    s = policy_info_read(policy->file, info, err);
    s = s != STATUS_OK ? s : actor_shape(&policy->actor.shape, info, err);
    s = s != STATUS_OK ? s : read_part(&policy->actor, policy->file, "policy", err);
    /* What only some acting rules have: Q1, and the perturbation network. */
    if (s == STATUS_OK && policy_info_has_critic(info)) {
        s = evaluator_shape(&policy->critic.shape, info, 1, err);
        s = s != STATUS_OK ? s : read_part(&policy->critic, policy->file, "critic", err);
    }
    if (s == STATUS_OK && policy_info_has_perturb(info)) {
        s = evaluator_shape(&policy->perturb.shape, info, info->A, err);
        s = s != STATUS_OK ? s : read_part(&policy->perturb, policy->file, "perturb", err);
    }
    /* After a failure these may be zero, but then the caller frees the policy. */
    policy->head = (struct gaussian_head){info->A, (float)info->min_std, (float)info->init_std};
    s = s != STATUS_OK ? s : read_normalizer(policy, err);
    s = s != STATUS_OK ? s : read_ranges(policy, err);
    return s != STATUS_OK ? s : read_offline_value(policy, err);
}

status policy_parse(struct policy **out, const void *bytes, size_t size, struct err *err)
{
    /* Before anything is copied: sizes in the file are not trusted. */
    if (size > POLICY_BYTES_MAX) {
        return err_set(err, STATUS_CORRUPT, "policy: %zu bytes: expected at most %u", size,
                       POLICY_BYTES_MAX);
    }
    struct policy *policy = mem_new(sizeof *policy);
    if (policy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "policy");
    }
    policy->bytes = mem_new(size + 1);
    if (policy->bytes == NULL) {
        policy_free(policy);
        return err_set(err, STATUS_NO_MEMORY, "policy of %zu bytes", size);
    }
    /* Names and metadata point into the copy for as long as the policy lives. */
    memcpy(policy->bytes, bytes, size);
    const status s = load(policy, size, err);
    if (s != STATUS_OK) {
        policy_free(policy);
        return s;
    }
    *out = policy;
    return STATUS_OK;
}

status policy_read(struct policy **out, const char *path, struct err *err)
{
    void *bytes;
    size_t size;
    status s = file_read(path, POLICY_BYTES_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The policy has a copy, so that the file's bytes go in any case. */
    s = policy_parse(out, bytes, size, err);
    mem_free(bytes);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

void policy_free(struct policy *policy)
{
    if (policy == NULL) {
        return;
    }
    /* Also a policy that was only half made: absent parts are NULL. */
    safetensors_free(policy->file);
    mem_free(policy->bytes);
    mem_free(policy->normalizer);
    mem_free(policy->ranges);
    struct part *parts[] = {&policy->actor, &policy->critic, &policy->perturb};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        mem_free(parts[i]->params);
        network_packed_fini(&parts[i]->packed);
    }
    mem_free(policy);
}

const struct policy_info *policy_info(const struct policy *policy)
{
    return &policy->info;
}

bool policy_network(const struct policy *policy, const char *prefix, struct network *net)
{
    /* Any other prefix than the first two means the perturbation network. */
    const struct part *part = strcmp(prefix, "policy") == 0   ? &policy->actor
                              : strcmp(prefix, "critic") == 0 ? &policy->critic
                                                              : &policy->perturb;
    *net = network_of(part);
    return part->params != NULL;
}

struct normalizer policy_normalizer(const struct policy *policy)
{
    const size_t O = policy->normalizer != NULL ? (size_t)policy->info.O : 0;
    return (struct normalizer){.mean = policy->normalizer,
                               .scale = policy->normalizer == NULL ? NULL : policy->normalizer + O,
                               .O = O};
}

struct policy_ranges policy_ranges(const struct policy *policy)
{
    const size_t O = policy->ranges != NULL ? (size_t)policy->info.O : 0;
    return (struct policy_ranges){
        .min = policy->ranges, .max = policy->ranges == NULL ? NULL : policy->ranges + O, .O = O};
}

bool policy_offline_value(const struct policy *policy, double *value, double *low, double *high)
{
    if (policy->has_offline_value) {
        *value = policy->offline_value[0];
        *low = policy->offline_value[1];
        *high = policy->offline_value[2];
    }
    return policy->has_offline_value;
}

const char *policy_note(const struct policy *policy, const char *key)
{
    return safetensors_metadata(policy->file, key);
}

/* ---- Acting ---- */

int policy_candidates(const struct policy *policy)
{
    return policy->info.candidates;
}

void policy_limit_candidates(struct policy *policy, int most)
{
    ASSERT(most >= 1);
    if (policy->info.candidates > most) {
        policy->info.candidates = most;
    }
}

/* To whole cache lines. */
static size_t round_up(size_t n)
{
    return (n + FLOATS_PER_LINE - 1) / FLOATS_PER_LINE * FLOATS_PER_LINE;
}

/* How scratch is shared out; pieces begin at cache lines. */
struct scratch_places {
    size_t raw;              /* (P,2A); the networks' own scratch lies before it */
    size_t inputs;           /* (P,I) normalized */
    size_t mean, std;        /* (P,A) */
    size_t part;             /* (H0) of one state: its share of a first layer */
    size_t actions, outputs; /* (candidates,A) of one state, and a network's outputs at them */
    size_t end;
};

/* The pieces for P states. Those of an argmax are for one state: it goes through states one by
 * one. */
static struct scratch_places scratch_places(const struct policy *policy, int P)
{
    const size_t n = (size_t)P * (size_t)policy->info.A;
    const size_t one_state = (size_t)policy->info.candidates * (size_t)policy->info.A;
    /* A row of pieces, each after the one before. */
    struct scratch_places at;
    /* All networks have the same hidden layers, the actor the most outputs. */
    at.raw = round_up(network_scratch(&policy->actor.shape));
    at.inputs = at.raw + 2 * n;
    at.mean =
        at.inputs + (policy->normalizer != NULL ? (size_t)P * (size_t)policy->actor.shape.I : 0);
    at.std = at.mean + n;
    /* What follows is for one state: a part of a first layer, its candidates, and what a network
     * says about them, which is A numbers a candidate at most. */
    at.part = round_up(at.std + n);
    at.end = at.part;
    if (policy_info_has_critic(&policy->info)) {
        at.actions = at.part + round_up((size_t)policy->actor.shape.widths[0]) + FLOATS_PER_LINE;
        at.outputs = at.actions + round_up(one_state);
        at.end = at.outputs + round_up(one_state);
    }
    return at;
}

size_t policy_scratch(const struct policy *policy, int P)
{
    return scratch_places(policy, P).end;
}

/* What the networks get: `inputs` themselves, or a copy in `scratch` with the observations
 * normalized. */
static const float *prepare(const struct policy *policy, const float *inputs, int P, float *scratch)
{
    if (policy->normalizer == NULL) {
        return inputs;
    }
    /* The one-hot task behind an observation is copied as it is. */
    const struct normalizer normalizer = policy_normalizer(policy);
    const size_t I = (size_t)policy->actor.shape.I;
    float *to = scratch + scratch_places(policy, P).inputs;
    for (size_t p = 0; p < (size_t)P; p++) {
        normalizer_apply(&normalizer, to + p * I, inputs + p * I);
        memcpy(to + p * I + normalizer.O, inputs + p * I + normalizer.O,
               (I - normalizer.O) * sizeof *to);
    }
    return to;
}

/* Of the network, at prepared inputs. */
static void distribution(const struct policy *policy, float *mean, float *std, const float *inputs,
                         int P, float *scratch)
{
    const size_t A = (size_t)policy->info.A;
    const size_t I = (size_t)policy->actor.shape.I;
    const struct network net = network_of(&policy->actor);
    /* The network uses the first part of the scratch, the raw outputs follow it. */
    float *raw = scratch + scratch_places(policy, P).raw;
    network_infer(raw, 2 * A, &net, inputs, I, P, scratch);
    gaussian_forward(mean, std, &policy->head, raw, 2 * A, P);
}

void policy_distribution(const struct policy *policy, float *mean, float *std, const float *inputs,
                         int P, float *scratch)
{
    distribution(policy, mean, std, prepare(policy, inputs, P, scratch), P, scratch);
}

/* out(n,Q) <- the network `part` at one state and n actions(n,A). */
static void evaluate(const struct policy *policy, const struct part *part, float *out,
                     const float *input, const float *actions, int n, float *state_part,
                     float *scratch)
{
    /* The state's share of the first layer is computed once for all its actions. */
    const int A = policy->info.A;
    const struct network net = network_of(part);
    const int I = part->shape.I - A;
    network_state_part(state_part, (size_t)part->shape.widths[0], &net, input, (size_t)I, 1, I);
    network_infer_actions(out, &net, state_part, 0, actions, (size_t)A, 0, n, n, A, scratch);
}

/* action(A) <- of n clipped actions(n,A) at one state the one with the largest Q1, the first of
 * equals. Where there is a perturbation network it moves them first. */
static void choose(const struct policy *policy, float *action, const float *input, float *actions,
                   int n, const struct scratch_places *at, float *scratch)
{
    const size_t A = (size_t)policy->info.A;
    float *outputs = scratch + at->outputs;
    /* Candidates move by scale tanh(network), and are clipped again. */
    if (policy_info_has_perturb(&policy->info)) {
        const float scale = (float)policy->info.perturb_scale;
        evaluate(policy, &policy->perturb, outputs, input, actions, n, scratch + at->part, scratch);
        kernels_tanh(outputs, outputs, (size_t)n * A);
        for (size_t i = 0; i < (size_t)n * A; i++) {
            actions[i] += scale * outputs[i];
        }
        gaussian_clip(actions, actions, (size_t)n * A);
    }
    /* Q1 at the candidates, moved or not. */
    evaluate(policy, &policy->critic, outputs, input, actions, n, scratch + at->part, scratch);
    /* A NaN is never larger: the first candidate wins then. */
    size_t best = 0;
    for (size_t j = 1; j < (size_t)n; j++) {
        best = outputs[j] > outputs[best] ? j : best;
    }
    memcpy(action, actions + best * A, A * sizeof *action);
}

void policy_act(const struct policy *policy, float *actions, const float *inputs, const float *z,
                int P, float *scratch)
{
    const size_t A = (size_t)policy->info.A;
    const size_t I = (size_t)policy->actor.shape.I;
    const size_t C = (size_t)policy->info.candidates;
    const struct scratch_places at = scratch_places(policy, P);
    const float *mean = scratch + at.mean;
    const float *std = scratch + at.std;
    /* The distribution at all states, in one pass. */
    inputs = prepare(policy, inputs, P, scratch);
    distribution(policy, scratch + at.mean, scratch + at.std, inputs, P, scratch);
    /* Without a critic there is one candidate: the sample, or the mean. */
    if (!policy_info_has_critic(&policy->info)) {
        for (size_t i = 0; i < (size_t)P * A; i++) {
            actions[i] = z != NULL ? mean[i] + std[i] * z[i] : mean[i];
        }
        gaussian_clip(actions, actions, (size_t)P * A);
        return;
    }
    /* An argmax, state by state. */
    for (size_t p = 0; p < (size_t)P; p++) {
        /* The candidates: C samples, or the mean alone. The mean goes through choose() as well,
         * which perturbs it. */
        const int n = z != NULL ? (int)C : 1;
        float *candidates = scratch + at.actions;
        if (z != NULL) {
            gaussian_sample(candidates, mean + p * A, std + p * A, z + p * C * A, n, (int)A);
        } else {
            memcpy(candidates, mean + p * A, A * sizeof *candidates);
        }
        gaussian_clip(candidates, candidates, (size_t)n * A);
        choose(policy, actions + p * A, inputs + p * I, candidates, n, &at, scratch);
    }
}

/* ---- Writing ---- */

/* The tensors of a network of this shape, as PREFIX/layers/0/weight and so on. */
static status add_network(struct safetensors_writer *writer, const char *prefix,
                          const struct network_shape *shape, const float *params, struct err *err)
{
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < shape->n_tensors; i++) {
        const struct network_tensor *tensor = &shape->tensors[i];
        char name[NETWORK_NAME_SIZE + 8];
        snprintf(name, sizeof name, "%s/%s", prefix, tensor->name);
        /* Names and shapes as they are read back. */
        const size_t dims[2] = {(size_t)tensor->shape[0], (size_t)tensor->shape[1]};
        s = safetensors_add(writer, name, SAFETENSORS_F32, tensor->n_dims, dims,
                            params + tensor->at, err);
    }
    return s;
}

status policy_write(struct safetensors_writer *writer, const struct policy_info *info,
                    const float *params, struct err *err)
{
    /* The metadata, then the network that acts. */
    struct network_shape shape;
    status s = policy_info_write(writer, info, err);
    s = s != STATUS_OK ? s : actor_shape(&shape, info, err);
    return s != STATUS_OK ? s : add_network(writer, "policy", &shape, params, err);
}

status policy_write_normalizer(struct safetensors_writer *writer,
                               const struct normalizer *normalizer, struct err *err)
{
    const status s = safetensors_add(writer, "normalizer/mean", SAFETENSORS_F32, 1, &normalizer->O,
                                     normalizer->mean, err);
    return s != STATUS_OK ? s
                          : safetensors_add(writer, "normalizer/scale", SAFETENSORS_F32, 1,
                                            &normalizer->O, normalizer->scale, err);
}

status policy_write_ranges(struct safetensors_writer *writer, const struct policy_ranges *ranges,
                           struct err *err)
{
    const status s =
        safetensors_add(writer, "observed/min", SAFETENSORS_F32, 1, &ranges->O, ranges->min, err);
    return s != STATUS_OK ? s
                          : safetensors_add(writer, "observed/max", SAFETENSORS_F32, 1, &ranges->O,
                                            ranges->max, err);
}

status policy_write_critic(struct safetensors_writer *writer, const struct policy_info *info,
                           const float *params, struct err *err)
{
    /* One output: Q1 of an action. */
    struct network_shape shape;
    const status s = evaluator_shape(&shape, info, 1, err);
    return s != STATUS_OK ? s : add_network(writer, "critic", &shape, params, err);
}

status policy_write_perturb(struct safetensors_writer *writer, const struct policy_info *info,
                            const float *params, struct err *err)
{
    /* One output for each dimension of the action. */
    struct network_shape shape;
    const status s = evaluator_shape(&shape, info, info->A, err);
    return s != STATUS_OK ? s : add_network(writer, "perturb", &shape, params, err);
}

status policy_write_prior(struct safetensors_writer *writer, const struct policy_info *info,
                          const float *params, struct err *err)
{
    /* The prior has the shape of the policy. */
    struct network_shape shape;
    const status s = actor_shape(&shape, info, err);
    return s != STATUS_OK ? s : add_network(writer, "prior", &shape, params, err);
}
