/* Metrics: exact text, many threads, JSON. */
#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/process_metrics.h"
#include "tests/lib/check.h"

static void counters_and_gauges_as_text(void **state)
{
    (void)state;
    struct metric *steps =
        metric_counter("hindcast_a_steps_total", "Steps \\ done.\nReally.", NULL);
    struct metric *run = metric_gauge("hindcast_a_return", "Return.", "task=\"run\"");
    struct metric *walk = metric_gauge("hindcast_a_return", "Return.", "task=\"walk\"");
    assert_ptr_equal(run, metric_gauge("hindcast_a_return", "Return.", "task=\"run\""));
    assert_ptr_not_equal(run, walk);
    metric_add(steps, 3);
    metric_add(steps, 0.5);
    metric_set(run, 0.1);
    metric_add(run, -1);
    metric_set(walk, (double)NAN);
    assert_true(metric_value(steps) == 3.5);
    char *text = metrics_prometheus();
    assert_non_null(strstr(text, "# HELP hindcast_a_return Return.\n"
                                 "# TYPE hindcast_a_return gauge\n"
                                 "hindcast_a_return{task=\"run\"} -0.9\n"
                                 "hindcast_a_return{task=\"walk\"} NaN\n"
                                 "# HELP hindcast_a_steps_total Steps \\\\ done.\\nReally.\n"
                                 "# TYPE hindcast_a_steps_total counter\n"
                                 "hindcast_a_steps_total 3.5\n"));
    mem_free(text);
    metric_set(walk, -(double)INFINITY);
    text = metrics_prometheus();
    assert_non_null(strstr(text, "hindcast_a_return{task=\"walk\"} -Inf\n"));
    mem_free(text);
}

static void histograms_are_cumulative(void **state)
{
    (void)state;
    const double bounds[] = {0.1, 1, 10};
    struct metric *plain = metric_histogram("hindcast_b_seconds", "Time.", NULL, bounds, 3);
    struct metric *labelled =
        metric_histogram("hindcast_b_seconds", "Time.", "method=\"Sample\"", bounds, 3);
    const double values[] = {0.05, 0.1, 0.5, 5, 50, 500};
    for (size_t i = 0; i < 6; i++) {
        metric_observe(plain, values[i]);
    }
    metric_observe(labelled, 2);
    char *text = metrics_prometheus();
    assert_non_null(strstr(text, "# HELP hindcast_b_seconds Time.\n"
                                 "# TYPE hindcast_b_seconds histogram\n"
                                 "hindcast_b_seconds_bucket{le=\"0.1\"} 2\n"
                                 "hindcast_b_seconds_bucket{le=\"1\"} 3\n"
                                 "hindcast_b_seconds_bucket{le=\"10\"} 4\n"
                                 "hindcast_b_seconds_bucket{le=\"+Inf\"} 6\n"
                                 "hindcast_b_seconds_sum 555.65\n"
                                 "hindcast_b_seconds_count 6\n"
                                 "hindcast_b_seconds_bucket{method=\"Sample\",le=\"0.1\"} 0\n"
                                 "hindcast_b_seconds_bucket{method=\"Sample\",le=\"1\"} 0\n"
                                 "hindcast_b_seconds_bucket{method=\"Sample\",le=\"10\"} 1\n"
                                 "hindcast_b_seconds_bucket{method=\"Sample\",le=\"+Inf\"} 1\n"
                                 "hindcast_b_seconds_sum{method=\"Sample\"} 2\n"
                                 "hindcast_b_seconds_count{method=\"Sample\"} 1\n"));
    mem_free(text);
}

static void every_line_is_in_the_format(void **state)
{
    (void)state;
    char *text = metrics_prometheus();
    const size_t length = strlen(text);
    assert_int_equal(text[length - 1], '\n');
    char *save = NULL;
    char last_name[128] = "";
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char name[128] = "";
        char kind[16] = "";
        double value = 0;
        if (sscanf(line, "# TYPE %127s %15s", name, kind) == 2) {
            assert_true(strcmp(last_name, name) < 0); /* in order, each once */
            snprintf(last_name, sizeof last_name, "%s", name);
        } else if (line[0] != '#') {
            const char *space = strrchr(line, ' ');
            assert_non_null(space);
            assert_true(sscanf(space, " %lf", &value) == 1);
            assert_int_equal(strncmp(line, last_name, strlen(last_name)), 0);
        }
    }
    mem_free(text);
}

static void count_scrape(void *arg)
{
    (*(int *)arg)++;
    metric_set(metric_gauge("hindcast_hooked", "Set by a hook.", NULL), *(int *)arg);
}

static void hooks_run_before_each_page(void **state)
{
    (void)state;
    int scrapes = 0, others = 0;
    metrics_add_hook(count_scrape, &scrapes);
    metrics_add_hook(count_scrape, &others);
    assert_true(metrics_remove_hook(count_scrape, &others));
    assert_false(metrics_remove_hook(count_scrape, &others));
    char *text = metrics_prometheus();
    assert_non_null(strstr(text, "\nhindcast_hooked 1\n"));
    mem_free(text);
    text = metrics_json();
    cJSON *json = cJSON_Parse(text);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(json, "hindcast_hooked")) == 2);
    cJSON_Delete(json);
    mem_free(text);
    assert_true(metrics_remove_hook(count_scrape, &scrapes));
    mem_free(metrics_prometheus());
    assert_int_equal(scrapes, 2);
    assert_int_equal(others, 0);
}

static void the_process_describes_itself(void **state)
{
    (void)state;
    volatile double work = 0;
    for (int i = 0; i < 30000000; i++) {
        work = work + i;
    }
    metrics_add_hook(process_metrics_update, NULL);
    char *text = metrics_prometheus();
    assert_true(metrics_remove_hook(process_metrics_update, NULL));
    double resident = 0, files = 0, cpu = 0, start = 0;
    const char *at = strstr(text, "\nhindcast_process_resident_bytes ");
    assert_true(at != NULL && sscanf(at, " %*s %lf", &resident) == 1);
    at = strstr(text, "\nhindcast_process_open_fds ");
    assert_true(at != NULL && sscanf(at, " %*s %lf", &files) == 1);
    at = strstr(text, "\nhindcast_process_cpu_seconds_total ");
    assert_true(at != NULL && sscanf(at, " %*s %lf", &cpu) == 1);
    at = strstr(text, "\nhindcast_process_start_time_seconds ");
    assert_true(at != NULL && sscanf(at, " %*s %lf", &start) == 1);
    printf("resident %.0f files %.0f cpu %.3f start %.2f now %ld\n", resident, files, cpu, start,
           (long)time(NULL));
    assert_true(resident > 1e5 && resident < 1e11);
    assert_true(files >= 1 && files < 1000);
    assert_true(cpu > 0 && cpu < 1000);
    assert_true(fabs(start - (double)time(NULL)) < 120);
    assert_non_null(strstr(text, "hindcast_build_info{version=\"" HINDCAST_VERSION "\"} 1\n"));
    mem_free(text);
}

static void json_holds_the_same(void **state)
{
    (void)state;
    metric_set(metric_gauge("hindcast_c_value", "Value.", "task=\"run\""), 42.5);
    char *text = metrics_json();
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, "hindcast_c_value{task=\"run\"}");
    assert_true(cJSON_IsNumber(value) && value->valuedouble == 42.5);
    const cJSON *time = cJSON_GetObjectItemCaseSensitive(json, "hindcast_b_seconds");
    assert_true(cJSON_GetObjectItem(time, "count")->valuedouble == 6);
    const cJSON *last = cJSON_GetArrayItem(cJSON_GetObjectItem(time, "buckets"), 3);
    assert_true(cJSON_IsNull(cJSON_GetArrayItem(last, 0)));
    assert_true(cJSON_GetArrayItem(last, 1)->valuedouble == 6);
    cJSON_Delete(json);
    mem_free(text);
}

static void *update(void *arg)
{
    struct metric **metrics = arg;
    for (int i = 0; i < 100000; i++) {
        metric_add(metrics[0], 1);
        metric_observe(metrics[1], 0.5);
    }
    return NULL;
}

static void threads_lose_no_update(void **state)
{
    (void)state;
    const double bounds[] = {1};
    struct metric *metrics[] = {metric_counter("hindcast_d_total", "D.", NULL),
                                metric_histogram("hindcast_d_seconds", "D.", NULL, bounds, 1)};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, update, metrics), 0);
    }
    for (int i = 0; i < 20; i++) {
        mem_free(metrics_prometheus());
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(metric_value(metrics[0]) == 400000);
    assert_true(metric_value(metrics[1]) == 200000);
    char *text = metrics_prometheus();
    assert_non_null(strstr(text, "hindcast_d_seconds_bucket{le=\"1\"} 400000\n"));
    mem_free(text);
}

static void latency_bounds_ascend(void **state)
{
    (void)state;
    size_t n = 0;
    const double *bounds = metric_latency_bounds(&n);
    assert_true(n > 10);
    for (size_t i = 1; i < n; i++) {
        assert_true(bounds[i] > bounds[i - 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_as_text),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(every_line_is_in_the_format),
        cmocka_unit_test(hooks_run_before_each_page),
        cmocka_unit_test(the_process_describes_itself),
        cmocka_unit_test(json_holds_the_same),
        cmocka_unit_test(threads_lose_no_update),
        cmocka_unit_test(latency_bounds_ascend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
