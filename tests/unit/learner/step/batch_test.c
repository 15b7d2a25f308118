/* Batches: checks, drawn tasks, the file of a failed step. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/networks/safetensors.h"
#include "learner/step/batch.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static struct settings some(int K, int T)
{
    struct settings settings = settings_default();
    settings.O = 3;
    settings.A = 2;
    settings.K = K;
    settings.T = T;
    settings.seed = 42;
    assert_int_equal(settings_check(&settings, NULL), STATUS_OK);
    return settings;
}

static void bad_batches_are_refused(void **state)
{
    (void)state;
    const struct settings settings = some(3, 2);
    const float rows[1] = {0};
    uint32_t n_valid[2] = {1, 4};
    int32_t tasks[4] = {0, 2, 1, 0};
    struct batch batch = {.rows = rows, .n_valid = n_valid, .tasks = tasks, .B = 2, .N = 4};
    struct err err;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_OK);
    n_valid[1] = 5;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    assert_string_equal(err.text, "snippet 1: 5 valid transitions, expected 1..4");
    n_valid[1] = 0;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    n_valid[1] = 4;
    tasks[2] = 3;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    assert_string_equal(err.text, "snippet 1: task 3, expected 0..2");
    tasks[2] = -1;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    tasks[2] = 0;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    assert_string_equal(err.text, "snippet 1: task 0 appears twice");
    tasks[2] = 1;
    double weights[2] = {1, 0};
    batch.weights = weights;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    assert_string_equal(err.text, "snippet 1: weight 0, expected above 0, up to 1e+06");
    weights[1] = (double)NAN;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    weights[1] = 1e6;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_OK);
    batch.tasks = NULL;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
    batch.B = 0;
    assert_int_equal(batch_check(&batch, &settings, &err), STATUS_INVALID);
}

static void drawn_tasks_are_fair_and_do_not_repeat(void **state)
{
    (void)state;
    const struct settings settings = some(5, 2);
    enum { B = 20000 };
    static int32_t tasks[2 * B], part[2 * 100];
    int counts[5] = {0};
    batch_draw_tasks(tasks, &settings, 7, 0, B);
    for (int b = 0; b < B; b++) {
        assert_true(tasks[2 * b] != tasks[2 * b + 1]);
        for (int i = 0; i < 2; i++) {
            assert_in_range(tasks[2 * b + i], 0, 4);
            counts[tasks[2 * b + i]]++;
        }
    }
    for (int k = 0; k < 5; k++) {
        /* 8000 expected, standard deviation about 69. */
        assert_in_range(counts[k], 7650, 8350);
    }
    /* A slice of the global batch is drawn alike; another step is not. */
    batch_draw_tasks(part, &settings, 7, 50, 100);
    assert_memory_equal(part, tasks + 100, sizeof part);
    batch_draw_tasks(part, &settings, 8, 50, 100);
    assert_memory_not_equal(part, tasks + 100, sizeof part);

    const struct settings every = some(3, 3);
    batch_draw_tasks(part, &every, 7, 0, 2);
    const int32_t want[] = {0, 1, 2, 0, 1, 2};
    assert_memory_equal(part, want, sizeof want);
}

static void a_saved_batch_reads_back(void **state)
{
    (void)state;
    const struct settings settings = some(1, 1);
    char folder[SCRATCH_SIZE], path[2 * SCRATCH_SIZE];
    scratch_make(folder);
    scratch_path(path, folder, "batch.safetensors");
    float rows[2 * 3 * 7];
    for (int i = 0; i < 42; i++) {
        rows[i] = (float)i;
    }
    const uint32_t n_valid[2] = {2, 1};
    const double weights[2] = {0.1, 3};
    const struct batch batch = {
        .rows = rows, .n_valid = n_valid, .B = 2, .N = 2, .weights = weights};
    struct err err;
    assert_int_equal(batch_save(&batch, &settings, 99, path, &err), STATUS_OK);
    struct safetensors *file;
    float got[42];
    assert_int_equal(safetensors_read(&file, path, 1 << 20, &err), STATUS_OK);
    assert_int_equal(
        safetensors_copy(file, "rows", SAFETENSORS_F32, 3, (const size_t[]){2, 3, 7}, got, &err),
        STATUS_OK);
    assert_memory_equal(got, rows, sizeof rows);
    assert_string_equal(safetensors_metadata(file, "step"), "99");
    assert_non_null(safetensors_find(file, "valid"));
    assert_null(safetensors_find(file, "tasks"));
    double kept[2];
    assert_int_equal(
        safetensors_copy(file, "weights", SAFETENSORS_F64, 1, (const size_t[]){2}, kept, &err),
        STATUS_OK);
    assert_memory_equal(kept, weights, sizeof weights);
    safetensors_free(file);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(drawn_tasks_are_fair_and_do_not_repeat),
        cmocka_unit_test(a_saved_batch_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
