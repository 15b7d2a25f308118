/* Columns from JSON lines: names, a file that grows, one that is made anew, and the bound on memory. */
#include "common/dashboard/series.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static struct series *of_file(const char *text)
{
    scratch_write(scratch_at("lines.jsonl"), text);
    struct series *series = series_new(scratch_at("lines.jsonl"));
    assert_non_null(series);
    series_update(series);
    return series;
}

static void append(const char *text)
{
    FILE *file = fopen(scratch_at("lines.jsonl"), "a");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The JSON of a series, with its raw text parsed. */
static cJSON *printed(const struct series *series)
{
    cJSON *raw = series_to_json(series);
    char *text = cJSON_PrintUnformatted(raw);
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    free(text);
    cJSON_Delete(raw);
    return json;
}

static void names_say_where_a_number_was(void **state)
{
    (void)state;
    struct series *series = of_file(
        "{\"step\":1,\"best\":true,\"std\":[1,2,6],\"phase\":{\"wait\":0.25},\"text\":\"x\","
        "\"tasks\":[{\"task\":\"run\",\"mean\":7,\"returns\":[1,2]}]}\n");
    assert_int_equal(series_rows(series), 1);
    assert_true(series_last(series, "step") == 1 && series_last(series, "best") == 1);
    assert_true(series_last(series, "std") == 3);
    assert_true(series_last(series, "phase/wait") == 0.25);
    assert_true(series_last(series, "tasks/run/mean") == 7);
    cJSON *json = printed(series);
    assert_int_equal(cJSON_GetArraySize(json), 5);
    assert_null(cJSON_GetObjectItem(json, "tasks/run/returns"));
    cJSON_Delete(json);
    series_free(series);
}

static void a_file_that_is_not_there_yet_comes_later(void **state)
{
    (void)state;
    unlink(scratch_at("lines.jsonl"));
    struct series *series = series_new(scratch_at("lines.jsonl"));
    series_update(series);
    assert_int_equal(series_rows(series), 0);
    assert_true(isnan(series_last(series, "step")));
    append("{\"step\":1}\n{\"step\":2,\"late\":5}\n{\"st");
    series_update(series);
    assert_int_equal(series_lines(series), 2);
    /* The rest of a line that was being written, and one that is no JSON. */
    append("ep\":3}\nnothing\n{\"step\":1e400}\n");
    series_update(series);
    assert_int_equal(series_lines(series), 4);
    cJSON *json = printed(series);
    const cJSON *late = cJSON_GetObjectItem(json, "late");
    assert_int_equal(cJSON_GetArraySize(late), 4);
    assert_true(cJSON_IsNull(cJSON_GetArrayItem(late, 0)));
    assert_true(cJSON_GetArrayItem(late, 1)->valuedouble == 5);
    assert_true(cJSON_IsNull(cJSON_GetArrayItem(late, 3)));
    cJSON_Delete(json);
    series_free(series);
}

static void another_file_under_the_name_begins_anew(void **state)
{
    (void)state;
    struct series *series = of_file("{\"step\":1}\n{\"step\":2}\n");
    scratch_write(scratch_at("new.jsonl"), "{\"step\":9}\n");
    assert_int_equal(rename(scratch_at("new.jsonl"), scratch_at("lines.jsonl")), 0);
    series_update(series);
    assert_int_equal(series_rows(series), 1);
    assert_true(series_last(series, "step") == 9);
    series_free(series);
}

/* Ten thousand points: few rows are kept, evenly, and the newest is always there. */
static void many_lines_are_thinned(void **state)
{
    (void)state;
    struct series *series = of_file("");
    for (int i = 0; i < 10000; i++) {
        char line[80];
        snprintf(line, sizeof line, "{\"step\":%d,\"return_mean\":%d}\n", i,
                 i == 4096 ? 50 : i % 7);
        append(line);
        if (i % 1000 == 999) {
            series_update(series);
            assert_true(series_last(series, "step") == i);
        }
    }
    assert_int_equal(series_lines(series), 10000);
    assert_true(series_rows(series) > SERIES_ROWS_MAX / 2 &&
                series_rows(series) <= SERIES_ROWS_MAX);
    cJSON *json = printed(series);
    const cJSON *step;
    double before = -1, widest = 0;
    cJSON_ArrayForEach(step, cJSON_GetObjectItem(json, "step"))
    {
        assert_true(step->valuedouble > before);
        widest = fmax(widest, step->valuedouble - before);
        before = step->valuedouble;
    }
    assert_true(widest <= 32);
    assert_true(fabs(series_since_best(series, "return_mean") - (9999 - 4096)) <= 32);
    assert_true(isnan(series_since_best(series, "absent")));
    cJSON_Delete(json);
    series_free(series);
}

/* More names than there is room for, and one that is too long. */
static void columns_are_bounded(void **state)
{
    (void)state;
    char *line = malloc(100000);
    size_t n = (size_t)sprintf(line, "{\"first\":1,\"");
    memset(line + n, 'x', 300);
    n += 300;
    n += (size_t)sprintf(line + n, "\":2");
    for (int i = 0; i < 2000; i++) {
        n += (size_t)sprintf(line + n, ",\"c%d\":%d", i, i);
    }
    sprintf(line + n, "}\n");
    struct series *series = of_file(line);
    cJSON *json = printed(series);
    assert_int_equal(cJSON_GetArraySize(json), SERIES_COLUMNS_MAX);
    assert_true(series_last(series, "first") == 1);
    cJSON_Delete(json);
    series_free(series);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_where_a_number_was),
        cmocka_unit_test(a_file_that_is_not_there_yet_comes_later),
        cmocka_unit_test(another_file_under_the_name_begins_anew),
        cmocka_unit_test(many_lines_are_thinned),
        cmocka_unit_test(columns_are_bounded),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
