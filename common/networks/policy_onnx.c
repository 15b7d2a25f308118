/* The graph of a policy, in the order in which policy_act computes: state, distribution,
 * candidates, perturbation, critic, choice, physical action. What the graph computes is in
 * docs/maths.md.
 *
 * Values are named after what they are ("candidates/rows"), so that a viewer of ONNX models shows a
 * readable graph. The model borrows weights from the policy and small arrays from the builder; both
 * live until it is encoded.
 *
 * Nodes are added in an order in which every input exists already, which ONNX requires. An export
 * is made by one thread from a policy that does not change. */
#include "common/networks/policy_onnx.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/onnx_model.h"
#include "common/networks/policy_info.h"

#define LAYER_NORM_EPSILON 1e-5f
#define TEXT_SIZE          (SIGNATURE_SLICES_MAX * (SIGNATURE_NAME_SIZE + 24))

/* One export. Numbers that the model borrows live here. */
struct builder {
    const struct policy *policy;
    const struct policy_info *info;
    enum policy_rule rule;
    /* The task that is built in; below 0 the task is an input of the model. */
    int task;
    /* Freed by policy_onnx. */
    struct onnx_model *model;
    bool has_signature;
    struct signature signature;
    /* Rows of the unit matrix (K,K): the one-hot inputs of the tasks. */
    float one_hot[SIGNATURE_TASKS_MAX * SIGNATURE_TASKS_MAX];
    float middle[SIGNATURE_ACTIONS_MAX], half[SIGNATURE_ACTIONS_MAX]; /* physical */
    /* A metadata string under construction: append, note_text. */
    char text[TEXT_SIZE];
};

/* output <- op(inputs ..) */
#define NODE(builder, op, output, ...)                                                             \
    onnx_node((builder)->model, op, output,                                                        \
              (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                       \
              (const char *const[]){__VA_ARGS__})

/* name <- "prefix/rest" */
static void join(char name[ONNX_NAME_SIZE], const char *prefix, const char *rest)
{
    const int length = snprintf(name, ONNX_NAME_SIZE, "%s/%s", prefix, rest);
    ASSERT(length > 0 && length < ONNX_NAME_SIZE);
}

/* ---- Networks ---- */

/* All weights of a network but those of heads that nothing reads. */
static void add_weights(struct builder *builder, const char *prefix, const struct network *net,
                        bool with_std)
{
    for (int i = 0; i < net->shape->n_tensors; i++) {
        const struct network_tensor *tensor = &net->shape->tensors[i];
        /* The head of the std has no reader where the mean acts. */
        if (!with_std && strncmp(tensor->name, "std/", 4) == 0) {
            continue;
        }
        char name[ONNX_NAME_SIZE];
        join(name, prefix, tensor->name);
        const int64_t dims[2] = {tensor->shape[0], tensor->shape[1]};
        onnx_constant(builder->model, name, ONNX_F32, tensor->n_dims, dims,
                      net->params + tensor->at);
    }
}

/* PREFIX/PART/linear <- W input + b */
static void add_linear(struct builder *builder, const char *prefix, const char *part,
                       const char *input, char output[ONNX_NAME_SIZE])
{
    /* The weights are those that add_weights has named. */
    char base[ONNX_NAME_SIZE], weight[ONNX_NAME_SIZE], bias[ONNX_NAME_SIZE];
    join(base, prefix, part);
    join(weight, base, "weight");
    join(bias, base, "bias");
    join(output, base, "linear");
    /* Weights are stored as (outputs, inputs), hence transB. */
    NODE(builder, "Gemm", output, input, weight, bias);
    onnx_attribute_int(builder->model, "transB", 1);
}

/* The trunk at `input`; `output` names its last layer. */
static void add_trunk(struct builder *builder, const char *prefix, const struct network *net,
                      const char *input, char output[ONNX_NAME_SIZE])
{
    /* Within the loop `output` names the input of the layer at hand. */
    snprintf(output, ONNX_NAME_SIZE, "%s", input);
    for (int l = 0; l < net->shape->n_layers; l++) {
        char part[NETWORK_NAME_SIZE], linear[ONNX_NAME_SIZE];
        snprintf(part, sizeof part, "layers/%d", l);
        add_linear(builder, prefix, part, output, linear);
        join(output, prefix, part);
        /* The first layer has a layer norm and tanh, the others elu. */
        if (l > 0) {
            NODE(builder, "Elu", output, linear);
            continue;
        }
        /* LayerNormalization also applies scale and offset. */
        char normal[ONNX_NAME_SIZE], scale[ONNX_NAME_SIZE], offset[ONNX_NAME_SIZE];
        join(normal, prefix, "norm");
        join(scale, prefix, "norm/scale");
        join(offset, prefix, "norm/offset");
        NODE(builder, "LayerNormalization", normal, linear, scale, offset);
        onnx_attribute_int(builder->model, "axis", -1);
        onnx_attribute_float(builder->model, "epsilon", LAYER_NORM_EPSILON);
        NODE(builder, "Tanh", output, normal);
    }
}

/* PREFIX/out/linear <- the network PREFIX over [states | rows]; `output` receives that name. */
static void add_evaluation(struct builder *builder, const char *prefix, const char *states,
                           const char *rows, char output[ONNX_NAME_SIZE])
{
    struct network net;
    const bool there = policy_network(builder->policy, prefix, &net);
    ASSERT(there);
    char input[ONNX_NAME_SIZE], trunk[ONNX_NAME_SIZE];
    join(input, prefix, "input");
    add_weights(builder, prefix, &net, true);
    /* The network's input is a state beside an action. */
    NODE(builder, "Concat", input, states, rows);
    onnx_attribute_int(builder->model, "axis", -1);
    add_trunk(builder, prefix, &net, input, trunk);
    add_linear(builder, prefix, "out", trunk, output);
}

/* output <- clip(input, -1, 1) */
static void add_clip(struct builder *builder, const char *output, const char *input)
{
    NODE(builder, "Clip", output, input, "lowest", "highest");
}

/* ---- State and distribution ---- */

/* The observation as the networks get it: "observation", or "normalized". */
static const char *add_normalizer(struct builder *builder)
{
    struct onnx_model *model = builder->model;
    const struct normalizer normalizer = policy_normalizer(builder->policy);
    if (normalizer.O == 0) {
        return "observation";
    }
    /* The steps of normalizer_apply: subtract the mean, multiply by the scale, clip. */
    const int64_t O = builder->info->O;
    onnx_constant(model, "normalizer/mean", ONNX_F32, 1, &O, normalizer.mean);
    onnx_constant(model, "normalizer/scale", ONNX_F32, 1, &O, normalizer.scale);
    onnx_scalar(model, "normalizer/lowest", -NORMALIZER_LIMIT);
    onnx_scalar(model, "normalizer/highest", NORMALIZER_LIMIT);
    NODE(builder, "Sub", "normalizer/centered", "observation", "normalizer/mean");
    NODE(builder, "Mul", "normalizer/scaled", "normalizer/centered", "normalizer/scale");
    NODE(builder, "Clip", "normalized", "normalizer/scaled", "normalizer/lowest",
         "normalizer/highest");
    return "normalized";
}

/* "state" <- [observation | one-hot task]; with one task it is the observation. */
static const char *add_state(struct builder *builder)
{
    const int O = builder->info->O, K = builder->info->K;
    struct onnx_model *model = builder->model;
    onnx_input(model, "observation", ONNX_F32, 1, (const int64_t[]){O},
               "The observation, its slices one after another in the order of the row.");
    const char *observation = add_normalizer(builder);
    if (K == 1) {
        return observation;
    }
    /* The one-hot row of a task, by its number. */
    for (int k = 0; k < K; k++) {
        builder->one_hot[k * K + k] = 1.0f;
    }
    onnx_constant(model, "task/one_hot", ONNX_F32, 2, (const int64_t[]){K, K}, builder->one_hot);
    if (builder->task < 0) {
        onnx_input(model, "task", ONNX_I64, 0, NULL,
                   "The number of the task, as in metadata tasks, from 0.");
    } else {
        /* One number, repeated for each row of the batch. */
        onnx_integers(model, "task/chosen", 1, (const int64_t[]){builder->task});
        NODE(builder, "Shape", "task/batch", "observation");
        onnx_attribute_int(model, "start", 0);
        onnx_attribute_int(model, "end", 1);
        NODE(builder, "Expand", "task", "task/chosen", "task/batch");
    }
    /* Each row of the batch gets the one-hot row of its task behind the observation. */
    NODE(builder, "Gather", "task/row", "task/one_hot", "task");
    onnx_attribute_int(model, "axis", 0);
    NODE(builder, "Concat", "state", observation, "task/row");
    onnx_attribute_int(model, "axis", -1);
    return "state";
}

/* "mean", and "std" where it is wanted. */
static void add_distribution(struct builder *builder, const char *state, bool with_std)
{
    struct network net;
    const bool there = policy_network(builder->policy, "policy", &net);
    ASSERT(there);
    /* Both heads read the same trunk. */
    char trunk[ONNX_NAME_SIZE], raw[ONNX_NAME_SIZE];
    add_weights(builder, "policy", &net, with_std);
    add_trunk(builder, "policy", &net, state, trunk);
    add_linear(builder, "policy", "mean", trunk, raw);
    NODE(builder, "Tanh", "mean", raw);
    if (with_std) {
        /* softplus(0) = ln 2: a raw std of 0 gives min_std + init_std. */
        onnx_scalar(builder->model, "std/factor", (float)(builder->info->init_std / log(2.0)));
        onnx_scalar(builder->model, "std/least", (float)builder->info->min_std);
        add_linear(builder, "policy", "std", trunk, raw);
        NODE(builder, "Softplus", "std/softplus", raw);
        NODE(builder, "Mul", "std/scaled", "std/softplus", "std/factor");
        NODE(builder, "Add", "std", "std/scaled", "std/least");
    }
}

/* ---- Acting ---- */

/* `output` <- rows moved by the perturbation network, clipped. */
static void add_perturbation(struct builder *builder, const char *output, const char *states,
                             const char *rows)
{
    char raw[ONNX_NAME_SIZE];
    add_evaluation(builder, "perturb", states, rows, raw);
    onnx_scalar(builder->model, "perturb/scale", (float)builder->info->perturb_scale);
    NODE(builder, "Tanh", "perturb/tanh", raw);
    NODE(builder, "Mul", "perturb/move", "perturb/tanh", "perturb/scale");
    NODE(builder, "Add", "perturb/moved", rows, "perturb/move");
    add_clip(builder, output, "perturb/moved");
}

/* "action" <- the mean, perturbed where the policy does that. */
static void add_mean(struct builder *builder, const char *state)
{
    add_distribution(builder, state, false);
    if (policy_info_has_perturb(builder->info)) {
        add_clip(builder, "mean/clipped", "mean");
        add_perturbation(builder, "action", state, "mean/clipped");
    } else {
        add_clip(builder, "action", "mean");
    }
}

/* "action" <- clip(mean + std noise) */
static void add_sample(struct builder *builder, const char *state)
{
    onnx_input(builder->model, "noise", ONNX_F32, 1, (const int64_t[]){builder->info->A},
               "Standard normals: action = clip(mean + std noise).");
    add_distribution(builder, state, true);
    NODE(builder, "Mul", "sample/move", "std", "noise");
    NODE(builder, "Add", "sample", "mean", "sample/move");
    add_clip(builder, "action", "sample");
}

/* "candidates/rows" (batch C, A) and "candidates/states" (batch C, I), clipped samples beside the
 * state of each. */
static void add_candidates(struct builder *builder, const char *state)
{
    struct onnx_model *model = builder->model;
    const int64_t A = builder->info->A, C = builder->info->candidates;
    /* Mean and std have an axis of length 1 for the candidates, along which the noise is
     * broadcast. */
    onnx_input(model, "noise", ONNX_F32, 2, (const int64_t[]){C, A},
               "Standard normals, of every candidate: clip(mean + std noise).");
    add_distribution(builder, state, true);
    onnx_integers(model, "candidates/axis", 1, (const int64_t[]){1});
    NODE(builder, "Unsqueeze", "candidates/mean", "mean", "candidates/axis");
    NODE(builder, "Unsqueeze", "candidates/std", "std", "candidates/axis");
    NODE(builder, "Mul", "candidates/move", "candidates/std", "noise");
    NODE(builder, "Add", "candidates/sample", "candidates/mean", "candidates/move");
    add_clip(builder, "candidates", "candidates/sample");

    /* Networks take rows: candidates of all states in one list, each beside a copy of its state. */
    onnx_integers(model, "candidates/row_shape", 2, (const int64_t[]){-1, A});
    onnx_integers(model, "candidates/state_shape", 2,
                  (const int64_t[]){-1, policy_inputs(builder->info)});
    onnx_integers(model, "candidates/repeat", 3, (const int64_t[]){1, C, 1});
    NODE(builder, "Reshape", "candidates/rows", "candidates", "candidates/row_shape");
    NODE(builder, "Unsqueeze", "candidates/state", state, "candidates/axis");
    NODE(builder, "Expand", "candidates/repeated", "candidates/state", "candidates/repeat");
    NODE(builder, "Reshape", "candidates/states", "candidates/repeated", "candidates/state_shape");
}

/* "action" <- the candidate with the largest Q1 */
static void add_argmax(struct builder *builder, const char *state)
{
    struct onnx_model *model = builder->model;
    const int64_t A = builder->info->A, C = builder->info->candidates;
    const char *rows = "candidates/rows";
    add_candidates(builder, state);
    if (policy_info_has_perturb(builder->info)) {
        add_perturbation(builder, "perturb/rows", "candidates/states", rows);
        rows = "perturb/rows";
    }
    /* One Q1 for each row. */
    char raw[ONNX_NAME_SIZE];
    add_evaluation(builder, "critic", "candidates/states", rows, raw);

    /* The first of the largest, as in policy_act. */
    onnx_integers(model, "best/q_shape", 2, (const int64_t[]){-1, C});
    onnx_integers(model, "best/row_shape", 3, (const int64_t[]){-1, C, A});
    NODE(builder, "Reshape", "best/q", raw, "best/q_shape");
    NODE(builder, "Reshape", "best/rows", rows, "best/row_shape");
    NODE(builder, "ArgMax", "best", "best/q");
    onnx_attribute_int(model, "axis", 1);
    onnx_attribute_int(model, "keepdims", 1);
    NODE(builder, "GatherND", "action", "best/rows", "best");
    onnx_attribute_int(model, "batch_dims", 1);
}

/* "action_physical" <- the action in the units of its limits. */
static void add_physical(struct builder *builder)
{
    /* physical = middle + half action: -1 becomes the lower limit, 1 the upper. */
    const int64_t A = builder->info->A;
    for (int64_t i = 0; i < A; i++) {
        const double low = (double)builder->signature.action_min[i];
        const double high = (double)builder->signature.action_max[i];
        builder->middle[i] = (float)((low + high) / 2.0);
        builder->half[i] = (float)((high - low) / 2.0);
    }
    onnx_constant(builder->model, "physical/half", ONNX_F32, 1, &A, builder->half);
    onnx_constant(builder->model, "physical/middle", ONNX_F32, 1, &A, builder->middle);
    NODE(builder, "Mul", "physical/move", "action", "physical/half");
    NODE(builder, "Add", "action_physical", "physical/move", "physical/middle");
    onnx_output(builder->model, "action_physical", ONNX_F32, 1, &A,
                "The action in physical units, from action_min to action_max.");
}

/* All nodes, inputs and outputs. */
static void add_graph(struct builder *builder)
{
    /* The limits that every clipped action shares. */
    onnx_scalar(builder->model, "lowest", -1.0f);
    onnx_scalar(builder->model, "highest", 1.0f);
    const char *state = add_state(builder);
    /* The rule decides which networks and inputs the graph has. */
    switch (builder->rule) {
    case POLICY_MEAN:
        add_mean(builder, state);
        break;
    case POLICY_SAMPLE:
        add_sample(builder, state);
        break;
    case POLICY_ARGMAX:
        add_argmax(builder, state);
        break;
    }
    /* Whatever the rule, its last value is named "action". */
    onnx_output(builder->model, "action", ONNX_F32, 1, (const int64_t[]){builder->info->A},
                "The canonical action, in [-1, 1].");
    if (builder->has_signature) {
        add_physical(builder);
    }
}

/* ---- Metadata ---- */

/* Appends to builder->text, which has room for any signature. */
static void append(struct builder *builder, const char *format, ...) PRINTF_LIKE(2, 3);
static void append(struct builder *builder, const char *format, ...)
{
    /* Behind what is there already. */
    const size_t at = strlen(builder->text);
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(builder->text + at, sizeof builder->text - at, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0 && at + (size_t)length < sizeof builder->text);
}

/* Notes what was appended, and begins anew. */
static status note_text(struct builder *builder, const char *key)
{
    const status s = onnx_note(builder->model, key, builder->text);
    builder->text[0] = 0;
    return s;
}

/* "-1,-1,.." */
static status note_limits(struct builder *builder, const char *key, const float *limits)
{
    for (uint32_t i = 0; i < builder->signature.A; i++) {
        append(builder, "%s%.9g", i > 0 ? "," : "", (double)limits[i]);
    }
    return note_text(builder, key);
}

/* Names, limits and period from the signature. */
static status note_signature(struct builder *builder)
{
    const struct signature *signature = &builder->signature;
    /* The slices of an observation: name, begin and size of each. */
    uint32_t begin = 0;
    for (uint32_t i = 0; i < signature->n_slices; i++) {
        const struct signature_slice *slice = &signature->slices[i];
        append(builder, "%s%s:%u:%u", i > 0 ? "," : "", slice->name, begin, slice->size);
        begin += slice->size;
    }
    status s = note_text(builder, "observation");
    /* Limits and period, by which an action becomes a command. */
    s = s != STATUS_OK ? s : note_limits(builder, "action_min", signature->action_min);
    s = s != STATUS_OK ? s : note_limits(builder, "action_max", signature->action_max);
    append(builder, "%.17g", signature->control_period_s);
    s = s != STATUS_OK ? s : note_text(builder, "control_period_s");
    /* The names of the tasks in the order of their numbers, and the name of the chosen one. */
    for (uint32_t k = 0; k < signature->K; k++) {
        append(builder, "%s%s", k > 0 ? "," : "", signature->rewards[k]);
    }
    s = s != STATUS_OK ? s : note_text(builder, "tasks");
    if (s == STATUS_OK && builder->task >= 0) {
        s = onnx_note(builder->model, "task", signature->rewards[builder->task]);
    }
    return s != STATUS_OK ? s
                          : onnx_note(builder->model, "signature", builder->info->signature_json);
}

/* All metadata that the package has. */
static status add_notes(struct builder *builder)
{
    const struct policy_info *info = builder->info;
    struct onnx_model *model = builder->model;
    /* The evaluator adds its measurements to the package that it keeps. */
    const char *measured = policy_note(builder->policy, "evaluated/return_mean");
    /* What made the policy, and how it acts. */
    status s = onnx_note(model, "hindcast_version", HINDCAST_VERSION);
    s = s != STATUS_OK ? s : onnx_note(model, "algorithm", info->algorithm);
    append(builder, "%llu", (unsigned long long)info->learner_step);
    s = s != STATUS_OK ? s : note_text(builder, "learner_step");
    s = s != STATUS_OK ? s : onnx_note(model, "acting", policy_rule_name(builder->rule));
    if (s == STATUS_OK && builder->rule == POLICY_ARGMAX) {
        append(builder, "%d", info->candidates);
        s = note_text(builder, "candidates");
    }
    /* What only some packages have. */
    if (s == STATUS_OK && measured != NULL) {
        s = onnx_note(model, "evaluated_return", measured);
    }
    if (s == STATUS_OK && builder->has_signature) {
        s = note_signature(builder);
    }
    return s;
}

/* ---- Export ---- */

/* Whether the policy has the rule and the task; reads the signature. */
static status check(struct builder *builder, struct err *err)
{
    /* Finding the rule by its name refuses one that this policy does not have. */
    enum policy_rule rule;
    status s = policy_rule_find(&rule, builder->info, policy_rule_name(builder->rule), err);
    if (s != STATUS_OK) {
        return s;
    }
    if (builder->task >= builder->info->K) {
        return err_set(err, STATUS_INVALID, "task %d: expected 0..%d", builder->task,
                       builder->info->K - 1);
    }
    builder->has_signature = builder->info->signature_json != NULL;
    return builder->has_signature ? policy_info_signature(&builder->signature, builder->info, err)
                                  : STATUS_OK;
}

status policy_onnx(const struct policy *policy, enum policy_rule rule, int task, void **bytes,
                   size_t *size, struct err *err)
{
    struct builder *builder = mem_new(sizeof *builder);
    if (builder == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "ONNX model");
    }
    /* Check, build the graph, add the metadata, encode. */
    builder->policy = policy;
    builder->info = policy_info(policy);
    builder->rule = rule;
    builder->task = task;
    status s = check(builder, err);
    if (s == STATUS_OK &&
        onnx_model_new(&builder->model, "policy", "A policy learned by Hindcast.") != STATUS_OK) {
        s = err_set(err, STATUS_NO_MEMORY, "ONNX model");
    }
    /* Adding nodes cannot fail: their memory is part of the model. */
    if (s == STATUS_OK) {
        add_graph(builder);
        s = add_notes(builder);
        s = s != STATUS_OK ? err_set(err, s, "ONNX model")
                           : onnx_encode(builder->model, bytes, size, err);
    }
    /* Also after a failure; the bytes do not refer to the model. */
    onnx_model_free(builder->model);
    mem_free(builder);
    return s;
}
