/* Reading and writing whole files while memory or disk fail at every single point: the experiment
 * file (libyaml's allocations too), policy packages (cJSON's too), signatures. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/config.h"
#include "common/base/experiment.h"
#include "common/base/memory.h"
#include "common/networks/policy.h"
#include "common/trajectory/signature.h"
#include "tests/lib/check.h"
#include "tests/lib/faults.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

static char path[2 * SCRATCH_SIZE];

/* Calls it with every point of failure, until none is left. */
static void sweep(const char *name, enum fault fault, int number, status expected,
                  status (*call)(struct err *err), void (*check)(bool passed))
{
    uint64_t nth = 1;
    for (bool failed = true; failed; nth++) {
        struct err err = {0};
        fault_arm(fault, nth, number);
        status s = call(&err);
        failed = fault_disarm();
        if (s != STATUS_OK && (!failed || s != expected || err.text[0] == '\0')) {
            fail_msg("%s %" PRIu64 ": status %d: %s", name, nth, (int)s, err.text);
        }
        if (check != NULL) {
            check(s == STATUS_OK);
        }
        s = call(&err);
        if (s != STATUS_OK) {
            fail_msg("%s, after %" PRIu64 ": status %d: %s", name, nth, (int)s, err.text);
        }
    }
    print_message("%s: %" PRIu64 " points of failure\n", name, nth - 2);
    assert_true(nth > 2);
}

/* ---- The experiment file ---- */

static status load_config(struct err *err)
{
    static struct experiment experiment;
    const struct config_section section = experiment_section(&experiment);
    char flag[3 * SCRATCH_SIZE];
    snprintf(flag, sizeof flag, "--config=%s", path);
    char *argv[] = {(char *)"test", flag, (char *)"--seed=9", NULL};
    bool done = false;
    status s = config_load(&section, 1, "test", 3, argv, &done, err);
    if (s == STATUS_OK) {
        assert_int_equal(experiment.seed, 9);
        assert_int_equal(experiment.replay.n, 2);
    }
    return s;
}

static void an_experiment_file(void **state)
{
    (void)state;
    scratch_write(scratch_path(path, scratch_folder, "experiment.yaml"),
                  "experiment:\n  name: \"x y\"  # a comment\n  replay: [\"unix:a\", 'unix:b']\n"
                  "  seed: 3\nlearner: {widths: [16, 16], steps: 10}\nevaluator:\n  threads: 1\n");
    sweep("configuration, memory", FAULT_MEMORY, 0, STATUS_NO_MEMORY, load_config, NULL);
}

/* ---- A policy package ---- */

enum { O = 4, A = 2 };

static float *params;

static status write_package(struct err *err)
{
    struct policy_info info = {.O = O,
                               .A = A,
                               .K = 1,
                               .n_widths = 2,
                               .widths = {6, 5},
                               .min_std = 0.03,
                               .init_std = 0.4,
                               .algorithm = "abm+mpo",
                               .acting = "gaussian",
                               .signature_json = "{\"x\": 1}"};
    struct safetensors_writer *writer;
    status s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return err_set(err, s, "writer");
    }
    s = policy_write(writer, &info, params, err);
    if (s == STATUS_OK) {
        s = safetensors_note(writer, "setting/gamma", "0.99", err);
    }
    if (s == STATUS_OK) {
        s = safetensors_replace(writer, path, err);
    }
    safetensors_writer_free(writer);
    return s;
}

static status read_package(struct err *err)
{
    struct policy *policy;
    status s = policy_read(&policy, path, err);
    if (s == STATUS_OK) {
        assert_int_equal(policy_info(policy)->widths[1], 5);
        assert_string_equal(policy_note(policy, "setting/gamma"), "0.99");
        policy_free(policy);
    }
    return s;
}

/* Whatever failed, a whole package stands there. */
static void check_package(bool passed)
{
    (void)passed;
    struct err err = {0};
    if (read_package(&err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static void a_policy_package(void **state)
{
    (void)state;
    struct network_shape shape;
    struct err err = {0};
    const int widths[] = {6, 5};
    assert_int_equal(network_shape_gaussian(&shape, O, widths, 2, A, &err), STATUS_OK);
    params = mem_aligned(shape.size * sizeof *params);
    assert_non_null(params);
    scratch_path(path, scratch_folder, "policy.safetensors");
    assert_int_equal(write_package(&err), STATUS_OK);
    sweep("package written, memory", FAULT_MEMORY, 0, STATUS_NO_MEMORY, write_package,
          check_package);
    sweep("package written, disk full", FAULT_WRITE, ENOSPC, STATUS_FULL, write_package,
          check_package);
    sweep("package written, disk broken", FAULT_WRITE, EIO, STATUS_IO, write_package,
          check_package);
    sweep("package read, memory", FAULT_MEMORY, 0, STATUS_NO_MEMORY, read_package, NULL);
    mem_free(params);
}

/* ---- A signature as JSON ---- */

static status signature_and_back(struct err *err)
{
    struct signature made, back;
    trajectories_signature(&made, 3);
    char *json = signature_to_json(&made);
    if (json == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "signature");
    }
    status s = signature_from_json(&back, json, err);
    mem_free(json);
    if (s == STATUS_OK) {
        assert_int_equal(signature_width(&back), signature_width(&made));
    }
    return s;
}

static void a_signature(void **state)
{
    (void)state;
    sweep("signature, memory", FAULT_MEMORY, 0, STATUS_NO_MEMORY, signature_and_back, NULL);
}

int main(void)
{
    fault_scratch();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_experiment_file),
        cmocka_unit_test(a_policy_package),
        cmocka_unit_test(a_signature),
    };
    int failed = cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
    printf("%" PRIu64 " fault points\n", fault_points());
    return failed;
}
