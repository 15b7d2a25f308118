/* Checkpoints on disk: what comes back, what is kept, what is refused; and the two small files
 * beside them. */
#include "tests/lib/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/config.h"
#include "common/base/counter_file.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "learner/run/checkpoint.h"
#include "learner/run/checkpointer.h"
#include "learner/run/reporter.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

#define PATH_SIZE (2 * SCRATCH_SIZE + 64)

struct world {
    char root[SCRATCH_SIZE];
    char folder[2 * SCRATCH_SIZE];
    struct learner_options options;
    struct settings settings;
    struct state *state;
    struct checkpoint about;
};

static void load_options(struct learner_options *options, const char *flag)
{
    struct config_section section = learner_options_section(options);
    char program[] = "test", widths[] = "--widths=16,8", more[128];
    snprintf(more, sizeof(more), "%s", flag);
    char *argv[] = {program, widths, more, NULL};
    struct err err = {0};
    bool done = false;
    status s = config_load(&section, 1, "test", 3, argv, &done, &err);
    if (s != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

/* Something other than 0 everywhere that counts. */
static void scramble(struct state *state, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "test", 0);
    for (size_t i = 0; i < state_layout(state)->size; i++) {
        state_write(state, STATE_PARAMS)[i] = (float)rng_normal(&rng);
        state_write(state, STATE_TARGETS)[i] = (float)rng_normal(&rng);
        state_write(state, STATE_M)[i] = (float)rng_normal(&rng);
        state_write(state, STATE_V)[i] = (float)rng_uniform(&rng);
    }
}

static int set_up(void **state)
{
    static struct world world;
    struct err err = {0};
    memset(&world, 0, sizeof(world));
    scratch_make(world.root);
    scratch_path(world.folder, world.root, "checkpoints");
    load_options(&world.options, "--algorithm=abm+mpo");
    trajectories_signature(&world.about.signature, 2);
    assert_int_equal(
        learner_options_settings(&world.options, &world.about.signature, 7, &world.settings, &err),
        STATUS_OK);
    assert_int_equal(state_new(&world.state, &world.settings, &err), STATUS_OK);
    snprintf(world.about.run_id, sizeof(world.about.run_id), "20260131T120000-00c0ffee");
    snprintf(world.about.config, sizeof(world.about.config), "learner:\n  gamma: 0.99\n");
    snprintf(world.about.finish_reason, sizeof(world.about.finish_reason), "he said \"stop\"");
    snprintf(world.about.finish_who, sizeof(world.about.finish_who), "evaluator-0");
    world.about.version = 12;
    world.about.next_batch = 1ull << 40;
    world.about.table_version = 0xfedcba9876543210ull;
    world.about.learning_seconds = 61.0 / 3.0;
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    state_free(world->state);
    scratch_remove(world->root);
    return 0;
}

static void write_step(struct world *world, uint64_t step)
{
    struct err err = {0};
    scramble(world->state, step);
    state_set_step(world->state, step);
    status s =
        checkpoint_write(world->folder, 3, world->state, &world->settings, &world->about, &err);
    if (s != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static char *path_of(struct world *world, uint64_t step, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/step-%08llu.safetensors", world->folder,
             (unsigned long long)step);
    return path;
}

/* Resumes, and checks that it is what write_step(step) wrote. */
static void expect_resume(struct world *world, uint64_t step)
{
    struct state *state = NULL;
    struct settings settings;
    struct checkpoint about;
    struct err err = {0};
    status s =
        checkpoint_resume(world->folder, &world->options, 7, &state, &settings, &about, &err);
    if (s != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(state_step(state), step);
    scramble(world->state, step);
    state_set_step(world->state, step);
    for (int g = 0; g < state_layout(state)->n_groups; g++) {
        const struct parameters_group *group = &state_layout(state)->groups[g];
        for (int t = 0; t < group->n_tensors; t++) {
            size_t at = group->at + group->tensors[t].at,
                   bytes = group->tensors[t].size * sizeof(float);
            assert_memory_equal(state_read(state, STATE_PARAMS) + at,
                                state_read(world->state, STATE_PARAMS) + at, bytes);
            assert_memory_equal(state_read(state, STATE_M) + at,
                                state_read(world->state, STATE_M) + at, bytes);
            assert_memory_equal(state_read(state, STATE_V) + at,
                                state_read(world->state, STATE_V) + at, bytes);
            if (group->has_target) {
                assert_memory_equal(state_read(state, STATE_TARGETS) + at,
                                    state_read(world->state, STATE_TARGETS) + at, bytes);
            }
        }
    }
    assert_string_equal(about.run_id, world->about.run_id);
    assert_string_equal(about.config, world->about.config);
    assert_string_equal(about.finish_reason, world->about.finish_reason);
    assert_string_equal(about.finish_who, "evaluator-0");
    assert_int_equal(about.version, 12);
    assert_true(about.next_batch == 1ull << 40);
    assert_true(about.table_version == 0xfedcba9876543210ull);
    assert_true(about.learning_seconds == world->about.learning_seconds);
    assert_false(about.finished);
    assert_int_equal(signature_width(&about.signature), signature_width(&world->about.signature));
    state_free(state);
}

static void all_comes_back(void **state)
{
    struct world *world = *state;
    write_step(world, 1200);
    expect_resume(world, 1200);
}

static void the_newest_are_kept(void **state)
{
    struct world *world = *state;
    const uint64_t steps[] = {0, 5, 99999999, 100000000, 700};
    char path[PATH_SIZE];
    struct err err = {0};
    for (size_t i = 0; i < 5; i++) {
        write_step(world, steps[i]);
    }
    scratch_write(scratch_path(path, world->folder, "step-00000009.safetensors.tmp"), "half");
    scratch_write(scratch_path(path, world->folder, "notes.txt"), "mine");
    uint64_t *found = NULL;
    size_t n = 0;
    assert_int_equal(checkpoint_list(world->folder, &found, &n, &err), STATUS_OK);
    assert_int_equal(n, 3);
    assert_int_equal(found[0], 100000000); /* by number, not by name */
    assert_int_equal(found[1], 99999999);
    assert_int_equal(found[2], 700);
    mem_free(found);
    assert_int_equal(access(path, F_OK), 0);
}

static void none_is_not_found(void **state)
{
    struct world *world = *state;
    struct state *made = NULL;
    struct err err = {0};
    assert_int_equal(checkpoint_resume(world->folder, &world->options, 7, &made, &world->settings,
                                       &world->about, &err),
                     STATUS_NOT_FOUND);
    assert_null(made);
}

/* Changes one byte, or cuts the file there. */
static void damage(const char *path, long at, bool cut)
{
    if (cut) {
        assert_int_equal(truncate(path, at), 0);
        return;
    }
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 0x10, file), byte ^ 0x10);
    assert_int_equal(fclose(file), 0);
}

/* Wherever the newest is damaged, the one before it is used and the newest is set aside. */
static void a_damaged_one_is_skipped(void **state)
{
    struct world *world = *state;
    char path[PATH_SIZE], aside[PATH_SIZE + 16];
    const struct {
        long at;
        bool cut;
    } damages[] = {{0, true},   {7, true},   {1000, true},  {3, false},
                   {60, false}, {-3, false}, {-4000, false}};
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        write_step(world, 100);
        write_step(world, 200);
        damage(path_of(world, 200, path), damages[i].at, damages[i].cut);
        expect_resume(world, 100);
        assert_int_not_equal(access(path, F_OK), 0);
        snprintf(aside, sizeof(aside), "%s.corrupt", path);
        assert_int_equal(access(aside, F_OK), 0);
    }
}

/* Who only looks (--profile) takes the same one, and leaves the damaged one where it is. */
static void a_look_changes_nothing(void **state)
{
    struct world *world = *state;
    struct state *made = NULL;
    struct checkpoint about;
    struct err err = {0};
    char path[PATH_SIZE];
    write_step(world, 100);
    write_step(world, 200);
    damage(path_of(world, 200, path), -3, false);
    assert_int_equal(
        checkpoint_look(world->folder, &world->options, 7, &made, &world->settings, &about, &err),
        STATUS_OK);
    assert_int_equal(state_step(made), 100);
    assert_int_equal(access(path, F_OK), 0);
    state_free(made);
}

/* With none that is sound the run must not begin anew over them: all stay where they are. */
static void only_damaged_ones_stay(void **state)
{
    struct world *world = *state;
    struct state *made = NULL;
    struct err err = {0};
    char path[PATH_SIZE];
    write_step(world, 100);
    write_step(world, 200);
    damage(path_of(world, 100, path), -3, false);
    damage(path_of(world, 200, path), 1000, true);
    assert_int_equal(checkpoint_resume(world->folder, &world->options, 7, &made, &world->settings,
                                       &world->about, &err),
                     STATUS_CORRUPT);
    assert_null(made);
    assert_non_null(strstr(err.text, "move them away to start over"));
    assert_non_null(strstr(err.text, path_of(world, 100, path)));
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(access(path_of(world, 200, path), F_OK), 0);
}

/* A changed note is a changed position: the checksum covers them. */
static void a_changed_note_is_noticed(void **state)
{
    struct world *world = *state;
    char path[PATH_SIZE];
    write_step(world, 100);
    write_step(world, 200);
    void *bytes = NULL;
    size_t size = 0;
    struct err err = {0};
    assert_int_equal(file_read(path_of(world, 200, path), 1u << 30, &bytes, &size, &err),
                     STATUS_OK);
    char *at = memmem(bytes, size, "1099511627776", 13); /* next_batch */
    assert_non_null(at);
    at[12] = '7';
    const struct file_part part = {bytes, size};
    assert_int_equal(file_replace(path, &part, 1, &err), STATUS_OK);
    mem_free(bytes);
    expect_resume(world, 100);
}

static void another_shape_is_an_error(void **state)
{
    struct world *world = *state;
    struct state *made = NULL;
    struct settings settings;
    struct checkpoint about;
    struct learner_options other;
    char path[PATH_SIZE];
    write_step(world, 100);
    const char *const flags[] = {"--algorithm=mpo", "--widths=16,16", "--widths=16"};
    for (size_t i = 0; i < 3; i++) {
        struct err err = {0};
        load_options(&other, flags[i]);
        status s = checkpoint_resume(world->folder, &other, 7, &made, &settings, &about, &err);
        if (s != STATUS_MISMATCH) {
            fail_msg("%s: status %d: %s", flags[i], s, err.text);
        }
        print_message("    %s\n", err.text);
        assert_non_null(strstr(err.text, "step-00000100.safetensors"));
    }
    assert_int_equal(access(path_of(world, 100, path), F_OK), 0);
    expect_resume(world, 100);
}

/* Every write and sync fails once, in turn: what was there stays, and the next one succeeds. */
static void a_full_disk_loses_nothing(void **state)
{
    struct world *world = *state;
    write_step(world, 100);
    int failures = 0;
    for (uint64_t nth = 1; nth < 1000; nth++) {
        struct err err = {0};
        scramble(world->state, 200);
        state_set_step(world->state, 200);
        file_fail_at(nth, ENOSPC);
        status s =
            checkpoint_write(world->folder, 3, world->state, &world->settings, &world->about, &err);
        file_fail_at(0, 0);
        if (s == STATUS_OK) {
            break;
        }
        failures++;
        assert_int_equal(s, STATUS_FULL);
    }
    assert_true(failures > 0 && failures < 999);
    expect_resume(world, 200);
}

static void the_writing_thread_writes_what_was_offered(void **state)
{
    struct world *world = *state;
    struct checkpointer *checkpointer = NULL;
    struct err err = {0};
    assert_int_equal(
        checkpointer_open(&checkpointer, world->folder, 3, world->state, &world->settings, &err),
        STATUS_OK);
    uint64_t step = 0;
    assert_false(checkpointer_step(checkpointer, &step));
    scramble(world->state, 300);
    state_set_step(world->state, 300);
    assert_true(checkpointer_offer(checkpointer, world->state, &world->about));
    scramble(world->state, 301); /* the copy is what counts */
    state_set_step(world->state, 301);
    assert_int_equal(checkpointer_wait(checkpointer, 10000, &err), STATUS_OK);
    assert_true(checkpointer_step(checkpointer, &step));
    assert_int_equal(step, 300);
    checkpointer_close(checkpointer);
    expect_resume(world, 300);
}

static void versions_outlive_the_process(void **state)
{
    struct world *world = *state;
    struct counter_file record = {.fd = -1};
    struct err err = {0};
    char path[PATH_SIZE];
    uint64_t version = 99;
    scratch_path(path, world->root, "learner.version");
    assert_int_equal(counter_file_open(&record, path, "run-a", &version, &err), STATUS_OK);
    assert_int_equal(version, 0);
    assert_int_equal(counter_file_set(&record, 1234567, &err), STATUS_OK);
    assert_int_equal(counter_file_set(&record, 8, &err), STATUS_OK);
    counter_file_close(&record);
    assert_int_equal(counter_file_open(&record, path, "run-a", &version, &err), STATUS_OK);
    assert_int_equal(version, 8);
    counter_file_close(&record);
    assert_int_equal(counter_file_open(&record, path, "run-b", &version, &err), STATUS_OK);
    assert_int_equal(version, 0);
    counter_file_close(&record);
}

/* A resumed run takes the steps after its checkpoint again: their lines go, and so does a torn one.
 */
static void report_lines_are_cut_to_the_step(void **state)
{
    struct world *world = *state;
    char path[PATH_SIZE], previous[PATH_SIZE];
    struct reporter *reporter = NULL;
    struct err err = {0};
    scratch_path(path, world->root, "learner.jsonl");
    scratch_path(previous, world->root, "learner.jsonl.previous");
    scratch_write(path, "{\"step\":100,\"x\":1}\n{\"step\":200}\n{\"step\":300}\n{\"step\":40");
    assert_int_equal(reporter_open(&reporter, world->root, 250, &err), STATUS_OK);
    static struct report report = {.step = 300};
    const double values[] = {0.5, 1.5};
    report_add(&report, "eta", values, 2);
    report_add(&report, "critic_loss", values, 1);
    reporter_line(reporter, &report, 3.5, 4);
    reporter_close(reporter);
    char *text = scratch_read(path);
    assert_non_null(text);
    assert_int_equal(strncmp(text, "{\"step\":100,\"x\":1}\n{\"step\":200}\n{\"step\":300,", 44),
                     0);
    assert_non_null(strstr(text, "\"eta\":[0.5,1.5],\"critic_loss\":0.5}\n"));
    free(text);
    assert_int_equal(reporter_open(&reporter, world->root, 0, &err), STATUS_OK);
    reporter_close(reporter);
    assert_int_equal(access(previous, F_OK), 0);
    text = scratch_read(path);
    assert_string_equal(text, "");
    free(text);
}

/* A line that a full disk tore, with the next one behind it, costs none of the others. */
static void a_torn_line_costs_no_other(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *before, *after;
    } cases[] = {
        {"{\"step\":100}\n{\"st{\"step\":200}\n{\"step\":240}\n",
         "{\"step\":100}\n{\"st{\"step\":200}\n{\"step\":240}\n"},
        {"{\"step\":100}\n{\"step\":200}\nnull\n\n{\"step\":2",
         "{\"step\":100}\n{\"step\":200}\nnull\n\n"},
        {"{\"step\":100}\n{\"st\n{\"step\":300}\nx\n{\"step\":400}\n", "{\"step\":100}\n{\"st\n"},
        {"{\"step\":300}\n{\"step\":400}\n", ""},
        {"{\"step\":1", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[PATH_SIZE];
        struct reporter *reporter = NULL;
        struct err err = {0};
        scratch_path(path, world->root, "learner.jsonl");
        scratch_write(path, cases[i].before);
        assert_int_equal(reporter_open(&reporter, world->root, 250, &err), STATUS_OK);
        reporter_close(reporter);
        char *text = scratch_read(path);
        assert_string_equal(text, cases[i].after);
        free(text);
    }
}

/* Whoever starts them may give more ranks than there are places for. */
static void too_many_ranks_are_refused(void **state)
{
    (void)state;
    struct learner_options options;
    struct err err = {0};
    load_options(&options, "--batch_snippets=256");
    options.ranks = 64;
    assert_int_equal(learner_options_check(&options, &err), STATUS_OK);
    options.ranks = 65;
    assert_int_equal(learner_options_check(&options, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "learner.ranks 65: expected at most 64"));
}

int main(void)
{
    log_open("test", LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(none_is_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_one_is_skipped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_damaged_ones_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_changed_note_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_look_changes_nothing, set_up, tear_down),
        cmocka_unit_test(too_many_ranks_are_refused),
        cmocka_unit_test_setup_teardown(a_torn_line_costs_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_shape_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_writing_thread_writes_what_was_offered, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(versions_outlive_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(report_lines_are_cut_to_the_step, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
