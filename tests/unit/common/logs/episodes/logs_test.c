/* Episodes from recordings: the three places of the last observation, the three ways to tell
 * episodes apart, rows of rewards and flags, and errors. The tests write their logs as CSV. */
#include "tests/lib/check.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/logs/episodes/logs.h"
#include "tests/lib/scratch.h"

struct opened {
    struct mapping mapping;
    struct logs *logs;
    struct episode episode;
};

static void open_csv(struct opened *o, const char *csv, const char *yaml)
{
    struct err err = {0};
    scratch_write(scratch_at("log.csv"), csv);
    scratch_write(scratch_at("mapping.yaml"), yaml);
    if (mapping_read(&o->mapping, scratch_at("mapping.yaml"), &err) != STATUS_OK ||
        logs_open(&o->logs, scratch_at("log.csv"), &err) != STATUS_OK ||
        logs_map(o->logs, &o->mapping, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    episode_init(&o->episode, signature_width(logs_signature(o->logs)));
}

static void close_csv(struct opened *o)
{
    episode_fini(&o->episode);
    logs_close(o->logs);
    mapping_fini(&o->mapping);
}

/* Reads episode i and compares its rows, which are [x, u, r, discount]. */
static void check_rows(struct opened *o, uint64_t i, const float (*rows)[4], uint32_t T)
{
    struct err err = {0};
    if (logs_read(o->logs, i, &o->episode, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(o->episode.T, T);
    for (uint32_t t = 0; t <= T; t++) {
        for (uint32_t j = 0; j < 4; j++) {
            const float value = o->episode.rows[t * 4 + j];
            if (value != rows[t][j]) {
                fail_msg("episode %d, row %u, column %u: %g, expected %g", (int)i, t, j,
                         (double)value, (double)rows[t][j]);
            }
        }
    }
}

/* Reading episode i must fail with an error text that contains `part`. */
static void refused(struct opened *o, uint64_t i, const char *part)
{
    struct err err = {0};
    assert_int_equal(logs_read(o->logs, i, &o->episode, &err), STATUS_INVALID);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", err.text, part);
    }
}

#define OBSERVATION_AND_ACTION                                                                     \
    "observation: {x: x}\naction: {columns: u, min: [-2], max: [2]}\nrewards: {r: "

static void the_last_row_has_no_action(void **state)
{
    (void)state;
    struct opened o = {0};
    open_csv(&o, "x,u,r\n1,2,0\n2,-2,0\n3,,5\n",
             OBSERVATION_AND_ACTION
             "{column: r, row: next}}\nterminated: {column: r, row: next}\n");
    assert_int_equal(logs_n_episodes(o.logs), 1);
    check_rows(&o, 0, (const float[][4]){{1, 1, 0, 1}, {2, -1, 5, 0}, {3, 0, 0, 0}}, 2);
    close_csv(&o);
}

static void the_next_observation_has_its_own_columns(void **state)
{
    (void)state;
    struct opened o = {0};
    open_csv(&o, "x,u,r,n,end,late\n1,0,1,2,0,0\n2,0,2,3,1,0\n7,1,3,8,0,1\n9,2,4,10,0,0\n",
             OBSERVATION_AND_ACTION "r}\nlast_observation: next_observation\n"
                                    "next_observation: {x: n}\n"
                                    "episodes: {by: flags}\nterminated: end\ntimeout: late\n");
    assert_int_equal(logs_n_episodes(o.logs), 3);
    check_rows(&o, 0, (const float[][4]){{1, 0, 1, 1}, {2, 0, 2, 0}, {3, 0, 0, 0}}, 2);
    check_rows(&o, 1, (const float[][4]){{7, 0.5f, 3, 1}, {8, 0, 0, 0}}, 1);
    check_rows(&o, 2, (const float[][4]){{9, 1, 4, 1}, {10, 0, 0, 0}}, 1);
    char place[4096];
    logs_place(o.logs, 1, place, sizeof place);
    assert_non_null(strstr(place, "rows 2..2"));
    close_csv(&o);
}

static void without_a_last_observation_only_a_termination_keeps_the_last_action(void **state)
{
    (void)state;
    struct opened o = {0};
    open_csv(&o, "x,u,r,end,run\n1,0,1,0,4\n2,0,2,1,4\n5,0,3,0,9\n6,2,4,0,9\n",
             OBSERVATION_AND_ACTION "r}\nlast_observation: none\n"
                                    "episodes: {by: column, column: run}\nterminated: end\n");
    assert_int_equal(logs_n_episodes(o.logs), 2);
    check_rows(&o, 0, (const float[][4]){{1, 0, 1, 1}, {2, 0, 2, 0}, {2, 0, 0, 0}}, 2);
    check_rows(&o, 1, (const float[][4]){{5, 0, 3, 1}, {6, 0, 0, 0}}, 1);
    close_csv(&o);
}

static void scale_and_offset_are_applied(void **state)
{
    (void)state;
    struct opened o = {0};
    open_csv(&o, "x,u,r\n1,0,0\n2,,0\n",
             "observation: {x: {columns: x, scale: 10, offset: 3}}\n"
             "action: {columns: u, min: [-2], max: [2]}\nrewards: {r: r}\n");
    check_rows(&o, 0, (const float[][4]){{13, 0, 0, 1}, {23, 0, 0, 0}}, 1);
    close_csv(&o);
}

static void errors_name_the_place_and_what_was_expected(void **state)
{
    (void)state;
    struct opened o = {0};
    open_csv(
        &o,
        "x,u,r,run\n1,0,0,1\n,0,0,1\n1,9,0,2\n1,0,0,2\n1,,0,3\n1,0,0,3\n4,0,0,4\n1,0,,5\n1,0,0,5\n",
        OBSERVATION_AND_ACTION "r}\nepisodes: {by: column, column: run}\n");
    refused(&o, 0, "observation: row 1 of column x: no value");
    refused(&o, 1, "action: row 2, component 0: 9, expected -2..2");
    refused(&o, 2, "action: row 4 of column u: no value");
    refused(&o, 3, "1 row is too short for a transition");
    refused(&o, 4, "rewards: r: transition 0 has no value in column r");
    close_csv(&o);

    struct opened early = {0};
    open_csv(&early, "x,u,r,end\n1,0,0,1\n2,0,0,0\n3,0,0,0\n",
             OBSERVATION_AND_ACTION "r}\nterminated: end\n");
    refused(&early, 0, "column end is set at transition 0, but the episode continues to");
    close_csv(&early);
}

static void a_folder_must_have_one_format(void **state)
{
    (void)state;
    struct logs *logs = NULL;
    struct err err = {0};
    scratch_write(scratch_at("log.csv"), "x,u\n1,2\n");
    scratch_write(scratch_at("other.hdf5"), "\x89HDF\r\n\x1a\n and no more");
    assert_int_equal(logs_open(&logs, scratch_folder, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "expected files of one format"));
    assert_int_equal(logs_open(&logs, scratch_at("absent"), &err), STATUS_NOT_FOUND);
    scratch_write(scratch_at("other.hdf5"), "nothing of use");
    assert_int_equal(logs_open(&logs, scratch_at("other.hdf5"), &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "contains no logs in a supported format"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_row_has_no_action),
        cmocka_unit_test(the_next_observation_has_its_own_columns),
        cmocka_unit_test(without_a_last_observation_only_a_termination_keeps_the_last_action),
        cmocka_unit_test(scale_and_offset_are_applied),
        cmocka_unit_test(errors_name_the_place_and_what_was_expected),
        cmocka_unit_test(a_folder_must_have_one_format),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
