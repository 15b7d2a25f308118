/* safetensors files and policy packages: what evaluators and collectors receive and load. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/policy.h"
#include "deploy/policy/hindcast_policy.h"
#include "tests/fuzz/fuzz.h"

enum { O = 3, A = 2 };

static struct fuzz_input a_package(int K, const char *signature_json)
{
    struct policy_info info = {.O = O,
                               .A = A,
                               .K = K,
                               .n_widths = 2,
                               .widths = {5, 4},
                               .min_std = 0.03,
                               .init_std = 0.4,
                               .learner_step = 12,
                               .algorithm = "abm+mpo",
                               .acting = "gaussian",
                               .signature_json = signature_json};
    struct network_shape shape;
    struct safetensors_writer *writer;
    struct fuzz_input input;
    struct err err = {0};
    fuzz_must(network_shape_gaussian(&shape, policy_inputs(&info), info.widths, 2, A, &err),
              "shape");
    float *params = mem_aligned(shape.size * sizeof *params);
    noise_normal(params, shape.size, 2, 0, 0, 0);
    fuzz_must(safetensors_writer_new(&writer), "writer");
    fuzz_must(policy_write(writer, &info, params, &err), "policy");
    fuzz_must(safetensors_note(writer, "setting/gamma", "0.99", &err), "note");
    if (signature_json != NULL) {
        static const float min[O] = {-1, 0, -2}, max[O] = {1, 0, 3};
        const struct policy_ranges ranges = {min, max, O};
        fuzz_must(policy_write_ranges(writer, &ranges, &err), "ranges");
        fuzz_must(safetensors_note(writer, "offline_value", "2.5", &err), "note");
        fuzz_must(safetensors_note(writer, "offline_value_low", "1", &err), "note");
        fuzz_must(safetensors_note(writer, "offline_value_high", "3e0", &err), "note");
    }
    fuzz_must(safetensors_encode(writer, &input.bytes, &input.size, &err), "encode");
    safetensors_writer_free(writer);
    mem_free(params);
    return input;
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    (void)scratch;
    seeds[0] = a_package(1, NULL);
    seeds[1] = a_package(3, NULL);
    seeds[2] = a_package(1, "{\"observation\": [{\"name\": \"x\", \"size\": 3}], \"action\": "
                            "{\"min\": [-1, 0], \"max\": [1, 2]}, \"rewards\": [\"run\"], "
                            "\"control_period_s\": 0.02}");
    return 3;
}

/* Reads every byte that the tables point to. */
static void touch_all(const struct safetensors *file)
{
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        volatile unsigned sum = 0;
        const unsigned char *data = tensor->data;
        for (size_t at = 0; at < tensor->count * safetensors_type_size(tensor->type); at++) {
            sum += data[at];
        }
        (void)sum;
        fuzz_must(safetensors_find(file, tensor->name) != tensor, "find");
    }
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) {
        const char *key, *text;
        safetensors_metadata_at(file, i, &key, &text);
        fuzz_must(strlen(key) + strlen(text) > SAFETENSORS_HEADER_MAX, "metadata");
    }
}

/* A policy that was accepted acts. */
static void act(const struct policy *policy)
{
    const struct policy_info *info = policy_info(policy);
    const size_t I = (size_t)policy_inputs(info);
    if (I > 4096 || info->A > 4096) {
        return;
    }
    float *inputs = mem_array(I, sizeof *inputs);
    float *actions = mem_array((size_t)info->A, sizeof *actions);
    float *scratch = mem_aligned(policy_scratch(policy, 1) * sizeof *scratch);
    policy_act(policy, actions, inputs, NULL, 1, scratch);
    for (int a = 0; a < info->A; a++) {
        fuzz_must(!(fabsf(actions[a]) <= 1) && !isnan(actions[a]), "an action out of range");
    }
    mem_free(inputs);
    mem_free(actions);
    mem_free(scratch);
}

/* What the policy library says of the same bytes: it accepts what the evaluator would act with, and
 * its actions are within the limits, or refused. */
static void act_by_library(const void *bytes, size_t size, const struct policy *policy)
{
    static const float values[] = {0.0f, 1.0f, -3e38f};
    struct err err = {0};
    struct signature signature;
    hindcast_policy *loaded;
    hindcast_actor *actor;
    const struct policy_info *info = policy_info(policy);
    const bool sound =
        info->signature_json == NULL || policy_info_signature(&signature, info, &err) == STATUS_OK;
    const int code = hindcast_policy_parse(&loaded, bytes, size, NULL);
    fuzz_must((code == HINDCAST_POLICY_OK) != sound, "the library disagrees");
    if (code != HINDCAST_POLICY_OK) {
        return;
    }
    const uint32_t n = hindcast_policy_observation_size(loaded);
    const uint32_t n_actions = hindcast_policy_action_size(loaded);
    float *observation = mem_array(n, sizeof *observation);
    float *action = mem_array(n_actions, sizeof *action);
    fuzz_must(hindcast_actor_new(&actor, loaded, NULL, NULL) != HINDCAST_POLICY_OK, "actor");
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        for (uint32_t i = 0; i < n; i++) {
            observation[i] = i % 2 == 0 ? values[v] : -values[v];
        }
        /* A file without ranges refuses the rule. */
        const bool holds =
            hindcast_actor_hold(actor, HINDCAST_HOLD_STOP, 0.5f, NULL) == HINDCAST_POLICY_OK;
        float min, max;
        fuzz_must(holds != (hindcast_policy_observed(loaded, 0, &min, &max) == HINDCAST_POLICY_OK),
                  "ranges");
        hindcast_outside outside = {0};
        if (hindcast_policy_check(loaded, observation, 0.5f, &outside) == HINDCAST_POLICY_OUTSIDE) {
            fuzz_must(outside.count < 1 || outside.dimension >= n || !(outside.excess > 0) ||
                          !(outside.min <= outside.max) || strlen(outside.slice) < 1,
                      "outside");
        }
        if (hindcast_actor_act(actor, observation, action) == HINDCAST_POLICY_OK) {
            for (uint32_t i = 0; i < n_actions; i++) {
                fuzz_must(!(action[i] >= hindcast_policy_action_min(loaded, i) &&
                            action[i] <= hindcast_policy_action_max(loaded, i)),
                          "an action out of limits");
            }
        }
    }
    mem_free(observation);
    mem_free(action);
    hindcast_actor_free(actor);
    hindcast_policy_free(loaded);
}

static bool run(const void *bytes, size_t size)
{
    struct safetensors *file;
    struct policy *policy;
    struct err err = {0};
    if (safetensors_parse(&file, bytes, size, &err) == STATUS_OK) {
        touch_all(file);
        safetensors_free(file);
    }
    if (policy_parse(&policy, bytes, size, &err) != STATUS_OK) {
        return false;
    }
    act(policy);
    act_by_library(bytes, size, policy);
    policy_free(policy);
    return true;
}

static const char *const words[] = {"\"F32\"",
                                    "\"F64\"",
                                    "\"U8\"",
                                    "\"shape\":[",
                                    "\"data_offsets\":[0,",
                                    "\"__metadata__\":{",
                                    "}",
                                    "]",
                                    ",",
                                    "18446744073709551615",
                                    "-1",
                                    "1e300",
                                    "\"policy/mean/weight\":",
                                    "\"widths\":\"1,2,3\"",
                                    "\\u0000",
                                    "\"dtype\":",
                                    "\"observed/min\":",
                                    "\"observed/max\":",
                                    "\"offline_value_low\":\"1\"",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"policy", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
