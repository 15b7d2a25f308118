/* ONNX models of policies: a graph in which nothing is read before it is made, bytes that another
 * protobuf reader takes apart, and want of memory at every allocation. What the graphs compute is
 * held against our own acting by tests/integration/test_policy_export.py. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/onnx.pb-c.h"
#include "common/networks/onnx_model.h"
#include "common/networks/policy_onnx.h"
#include "tests/lib/check.h"
#include "tests/lib/policies.h"

#define NAMES_MAX 400

static struct signature a_signature(uint32_t K)
{
    struct signature signature = {.n_slices = 2,
                                  .slices = {{"position", 3}, {"velocity", 2}},
                                  .A = 2,
                                  .action_min = {-1, -2},
                                  .action_max = {1, 4},
                                  .K = K,
                                  .rewards = {"walk", "run"},
                                  .control_period_s = 0.02};
    return signature;
}

static struct policy *a_policy(bool argmax, uint32_t K)
{
    const struct signature signature = a_signature(K);
    struct policy *policy;
    size_t size;
    void *bytes = argmax ? policies_argmax_package(&signature, 5, &size)
                         : policies_package(&signature, 5, false, &size);
    assert_int_equal(policy_parse(&policy, bytes, size, NULL), STATUS_OK);
    mem_free(bytes);
    return policy;
}

struct names {
    const char *all[NAMES_MAX];
    size_t n;
};

static bool knows(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->all[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void learn(struct names *names, const char *name)
{
    assert_false(knows(names, name)); /* each value is made once */
    assert_true(names->n < NAMES_MAX);
    names->all[names->n++] = name;
}

/* Nodes and outputs read only what was made before them. */
static void check_order(const Onnx__GraphProto *graph)
{
    struct names names = {.n = 0};
    for (size_t i = 0; i < graph->n_input; i++) {
        learn(&names, graph->input[i]->name);
    }
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const Onnx__TensorProto *tensor = graph->initializer[i];
        size_t bytes = tensor->data_type == ONNX_F32 ? sizeof(float) : sizeof(int64_t);
        for (size_t d = 0; d < tensor->n_dims; d++) {
            bytes *= (size_t)tensor->dims[d];
        }
        assert_int_equal(tensor->raw_data.len, bytes);
        learn(&names, tensor->name);
    }
    for (size_t i = 0; i < graph->n_node; i++) {
        for (size_t k = 0; k < graph->node[i]->n_input; k++) {
            assert_true(knows(&names, graph->node[i]->input[k]));
        }
        learn(&names, graph->node[i]->output[0]);
    }
    for (size_t i = 0; i < graph->n_output; i++) {
        assert_true(knows(&names, graph->output[i]->name));
    }
}

static const char *note_of(const Onnx__ModelProto *model, const char *key)
{
    for (size_t i = 0; i < model->n_metadata_props; i++) {
        if (strcmp(model->metadata_props[i]->key, key) == 0) {
            return model->metadata_props[i]->value;
        }
    }
    return NULL;
}

static void a_graph_reads_what_is_there(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        const bool argmax = i & 1, mean = i & 2;
        const uint32_t K = i & 4 ? 2 : 1;
        struct policy *policy = a_policy(argmax, K);
        const enum policy_rule rule = mean ? POLICY_MEAN : argmax ? POLICY_ARGMAX : POLICY_SAMPLE;
        void *bytes;
        size_t size;
        for (int task = -1; task < (int)K; task++) {
            assert_int_equal(policy_onnx(policy, rule, task, &bytes, &size, NULL), STATUS_OK);
            Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, size, bytes);
            assert_non_null(model);
            check_order(model->graph);
            const int inputs = 1 + (K > 1 && task < 0) + !mean;
            assert_int_equal(model->graph->n_input, inputs);
            assert_int_equal(model->graph->n_output, 2);
            assert_int_equal(model->opset_import[0]->version, ONNX_OPSET);
            assert_string_equal(note_of(model, "acting"), policy_rule_name(rule));
            assert_string_equal(note_of(model, "observation"), "position:0:3,velocity:3:2");
            assert_string_equal(note_of(model, "action_max"), "1,4");
            assert_string_equal(note_of(model, "tasks"), K > 1 ? "walk,run" : "walk");
            if (task >= 0) {
                assert_string_equal(note_of(model, "task"), task == 0 ? "walk" : "run");
            } else {
                assert_null(note_of(model, "task"));
            }
            onnx__model_proto__free_unpacked(model, NULL);
            mem_free(bytes);
        }
        policy_free(policy);
    }
}

static void the_same_policy_gives_the_same_bytes(void **state)
{
    (void)state;
    struct policy *policy = a_policy(true, 2);
    void *bytes[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(policy_onnx(policy, POLICY_ARGMAX, -1, &bytes[i], &size[i], NULL),
                         STATUS_OK);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    mem_free(bytes[0]);
    mem_free(bytes[1]);
    policy_free(policy);
}

static void what_a_policy_has_not_is_refused(void **state)
{
    (void)state;
    struct err err;
    void *bytes = NULL;
    size_t size;
    struct policy *gaussian = a_policy(false, 2), *argmax = a_policy(true, 1);
    assert_int_equal(policy_onnx(gaussian, POLICY_ARGMAX, -1, &bytes, &size, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "\"argmax\": expected mean or sample"));
    assert_int_equal(policy_onnx(argmax, POLICY_SAMPLE, -1, &bytes, &size, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "\"sample\": expected mean or argmax"));
    assert_int_equal(policy_onnx(gaussian, POLICY_MEAN, 2, &bytes, &size, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "task 2: expected 0..1"));
    assert_null(bytes);
    policy_free(gaussian);
    policy_free(argmax);
}

/* The largest possible policy: no limit of onnx_model.c may be too small for it. */
static void the_largest_policy_fits(void **state)
{
    (void)state;
    static struct signature signature = {
        .n_slices = SIGNATURE_SLICES_MAX, .A = SIGNATURE_ACTIONS_MAX, .K = SIGNATURE_TASKS_MAX};
    char name[SIGNATURE_NAME_SIZE];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    for (int i = 0; i < SIGNATURE_SLICES_MAX; i++) {
        snprintf(name, 3, "%02d", i);
        name[2] = 'x';
        memcpy(signature.slices[i].name, name, sizeof name);
        signature.slices[i].size = SIGNATURE_OBSERVATION_MAX / SIGNATURE_SLICES_MAX;
        memcpy(signature.rewards[i % SIGNATURE_TASKS_MAX], name, sizeof name);
        signature.action_min[i] = -1.23456789e-5f;
        signature.action_max[i] = 1.23456789e5f;
    }
    char *json = signature_to_json(&signature);
    struct policy_info info = {.algorithm = "bcq",
                               .acting = POLICY_ACT_PERTURBED,
                               .candidates = 3,
                               .perturb_scale = 0.05,
                               .O = SIGNATURE_OBSERVATION_MAX,
                               .A = SIGNATURE_ACTIONS_MAX,
                               .K = SIGNATURE_TASKS_MAX,
                               .n_widths = NETWORK_LAYERS_MAX,
                               .init_std = 0.5,
                               .signature_json = json};
    for (int l = 0; l < NETWORK_LAYERS_MAX; l++) {
        info.widths[l] = 4;
    }
    struct network_shape shape;
    struct safetensors_writer *writer;
    assert_int_equal(network_shape_gaussian(&shape, policy_inputs(&info) + info.A, info.widths,
                                            info.n_widths, info.A, NULL),
                     STATUS_OK);
    float *params = mem_array(shape.size, sizeof *params); /* zeros, enough for all three */
    void *bytes, *model;
    size_t size;
    struct policy *policy;
    assert_int_equal(safetensors_writer_new(&writer), STATUS_OK);
    assert_int_equal(policy_write(writer, &info, params, NULL), STATUS_OK);
    assert_int_equal(policy_write_critic(writer, &info, params, NULL), STATUS_OK);
    assert_int_equal(policy_write_perturb(writer, &info, params, NULL), STATUS_OK);
    assert_int_equal(safetensors_note(writer, "evaluated/return_mean", "1", NULL), STATUS_OK);
    assert_int_equal(safetensors_encode(writer, &bytes, &size, NULL), STATUS_OK);
    safetensors_writer_free(writer);
    assert_int_equal(policy_parse(&policy, bytes, size, NULL), STATUS_OK);
    struct err err = {0};
    const status s = policy_onnx(policy, POLICY_ARGMAX, 31, &model, &size, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(s, STATUS_OK);
    mem_free(model);
    mem_free(bytes);
    mem_free(params);
    mem_free(json);
    policy_free(policy);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct policy *policy = a_policy(true, 2);
    struct err err;
    void *bytes;
    size_t size;
    uint64_t nth = 1;
    for (;; nth++) {
        memory_fail_at(nth);
        const status s = policy_onnx(policy, POLICY_ARGMAX, 1, &bytes, &size, &err);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
    assert_true(nth > 20); /* builder, model, notes, bytes */
    mem_free(bytes);
    policy_free(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_graph_reads_what_is_there),
        cmocka_unit_test(the_same_policy_gives_the_same_bytes),
        cmocka_unit_test(what_a_policy_has_not_is_refused),
        cmocka_unit_test(the_largest_policy_fits),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("networks_onnx", tests, NULL, NULL);
}
