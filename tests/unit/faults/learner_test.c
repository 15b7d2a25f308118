/* The learner's files while memory or disk fail at every single point: a checkpoint is whole or the
 * older one is used, a report's or version's file goes on; all again passes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/config.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "learner/run/checkpoint.h"
#include "tests/lib/check.h"
#include "tests/lib/faults.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

static char root[SCRATCH_SIZE], folder[2 * SCRATCH_SIZE];
static struct learner_options options;
static struct settings settings;
static struct state *learned;
static struct checkpoint about;

static void must(status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fail_msg("status %d: %s", (int)s, err->text);
    }
}

static int set_up(void **state)
{
    (void)state;
    struct config_section section = learner_options_section(&options);
    char *argv[] = {(char *)"test", (char *)"--widths=16,8", (char *)"--algorithm=abm+mpo", NULL};
    struct err err = {0};
    bool done = false;
    must(config_load(&section, 1, "test", 3, argv, &done, &err), &err);
    trajectories_signature(&about.signature, 2);
    must(learner_options_settings(&options, &about.signature, 7, &settings, &err), &err);
    must(state_new(&learned, &settings, &err), &err);
    snprintf(about.run_id, sizeof about.run_id, "20260131T120000-00c0ffee");
    snprintf(about.config, sizeof about.config, "learner:\n  gamma: 0.99\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    state_free(learned);
    return 0;
}

/* Every number of the state tells the step. */
static status write_step(uint64_t step, struct err *err)
{
    state_set_step(learned, step);
    for (size_t i = 0; i < state_layout(learned)->size; i++) {
        for (int block = 0; block < STATE_BLOCKS; block++) {
            state_write(learned, (enum state_block)block)[i] = (float)step;
        }
    }
    return checkpoint_write(folder, 2, learned, &settings, &about, err);
}

static status resume(uint64_t *step, struct err *err)
{
    struct state *state;
    struct settings read_settings;
    static struct checkpoint read_about;
    status s = checkpoint_resume(folder, &options, 7, &state, &read_settings, &read_about, err);
    if (s != STATUS_OK) {
        return s;
    }
    *step = state_step(state);
    for (int g = 0; g < state_layout(state)->n_groups; g++) {
        const struct parameters_group *group = &state_layout(state)->groups[g];
        for (int t = 0; t < group->n_tensors; t++) {
            const size_t at = group->at + group->tensors[t].at;
            for (size_t i = at; i < at + group->tensors[t].size; i++) {
                assert_true(state_read(state, STATE_PARAMS)[i] == (float)*step &&
                            state_read(state, STATE_V)[i] == (float)*step);
            }
        }
    }
    assert_string_equal(read_about.config, about.config);
    state_free(state);
    return STATUS_OK;
}

static void fresh(void)
{
    struct err err = {0};
    scratch_make(root);
    scratch_path(folder, root, "checkpoints");
    must(write_step(100, &err), &err);
}

static void writing_leaves_the_older_one_or_the_new_one(void **state)
{
    (void)state;
    const struct {
        const char *name;
        enum fault fault;
        int number;
        status expected;
    } kinds[] = {{"memory", FAULT_MEMORY, 0, STATUS_NO_MEMORY},
                 {"disk full", FAULT_WRITE, ENOSPC, STATUS_FULL},
                 {"disk broken", FAULT_WRITE, EIO, STATUS_IO}};
    for (size_t k = 0; k < 3; k++) {
        uint64_t nth = 1, step = 0;
        for (bool failed = true; failed; nth++) {
            struct err err = {0};
            fresh();
            fault_arm(kinds[k].fault, nth, kinds[k].number);
            status s = write_step(200, &err);
            failed = fault_disarm();
            if (s != STATUS_OK && (!failed || s != kinds[k].expected)) {
                fail_msg("%s %" PRIu64 ": status %d: %s", kinds[k].name, nth, (int)s, err.text);
            }
            must(resume(&step, &err), &err);
            assert_int_equal(step, s == STATUS_OK ? 200 : 100);
            must(write_step(300, &err), &err);
            must(resume(&step, &err), &err);
            assert_int_equal(step, 300);
            scratch_remove(root);
        }
        print_message("writing, %s: %" PRIu64 " points of failure\n", kinds[k].name, nth - 2);
    }
}

/* Too little memory is no reason to set a sound checkpoint aside. */
static void resuming_without_memory_takes_nothing_away(void **state)
{
    (void)state;
    uint64_t nth = 1, step = 0;
    struct err err = {0};
    fresh();
    must(write_step(200, &err), &err);
    for (bool failed = true; failed; nth++) {
        fault_arm(FAULT_MEMORY, nth, 0);
        status s = resume(&step, &err);
        failed = fault_disarm();
        if (s != STATUS_OK && (!failed || s != STATUS_NO_MEMORY)) {
            fail_msg("memory %" PRIu64 ": status %d: %s", nth, (int)s, err.text);
        }
        assert_true(s != STATUS_OK || step == 200);
        if (nth % 32 == 0 || !failed) { /* thousands of points; it takes long to find nothing */
            must(resume(&step, &err), &err);
            assert_int_equal(step, 200);
        }
    }
    scratch_remove(root);
    print_message("resuming, memory: %" PRIu64 " points of failure\n", nth - 2);
}

int main(void)
{
    fault_scratch();
    log_open("test", LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_leaves_the_older_one_or_the_new_one),
        cmocka_unit_test(resuming_without_memory_takes_nothing_away),
    };
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%" PRIu64 " fault points\n", fault_points());
    return failed;
}
