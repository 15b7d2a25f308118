/* hindcast-evaluator as a process, a real Parameters service in this one: it follows a run, ends
 * one, survives kill -9, and reports. argv[1]: the program. */
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/environments/environment.h"
#include "common/rpc/server.h"
#include "evaluator/policy_file.h"
#include "learner/run/publisher.h"
#include "tests/lib/check.h"
#include "tests/lib/http.h"
#include "tests/lib/policies.h"
#include "tests/lib/scratch.h"

#define WAIT_MS 100000

extern char **environ;

static const char *program;
static struct signature signature;

struct world {
    char folder[SCRATCH_SIZE];
    char address[2 * SCRATCH_SIZE];
    struct rpc_server *server;
    struct publisher *publisher;
    pid_t pid; /* the evaluator; 0: none */
};

/* ---- The learner's side ---- */

static void open_server(struct world *world, const char *run_id)
{
    struct err err = {0};
    const char *address = world->address;
    const struct rpc_server_options options = {.addresses = &address, .n_addresses = 1};
    assert_int_equal(rpc_server_open(&world->server, &options, &err), STATUS_OK);
    assert_int_equal(publisher_new(&world->publisher, world->server, &err), STATUS_OK);
    assert_int_equal(rpc_server_start(world->server, &err), STATUS_OK);
    publisher_set_run(world->publisher, run_id);
}

static void close_server(struct world *world)
{
    if (world->server != NULL) {
        rpc_server_close(world->server, 100);
        publisher_free(world->publisher);
        world->server = NULL;
    }
}

/* Publishes the test policy of `seed` as `version`. */
static void publish_step(struct world *world, uint64_t version, uint64_t step, uint64_t seed,
                         bool finished)
{
    struct err err = {0};
    size_t size;
    void *package = policies_package(&signature, seed, true, &size);
    assert_int_equal(
        publisher_publish(world->publisher, package, size, version, step, finished, &err),
        STATUS_OK);
}

static void publish(struct world *world, uint64_t version, uint64_t seed, bool finished)
{
    publish_step(world, version, version * 10, seed, finished);
}

/* ---- The evaluator's side ---- */

static void start(struct world *world, const char *extra)
{
    char run_dir[2 * SCRATCH_SIZE + 16];
    snprintf(run_dir, sizeof run_dir, "--run_dir=%s", world->folder);
    char *argv[] = {(char *)program,          run_dir,        "--environment=cheetah-run",
                    "--window_episodes=2",    "--episodes=3", "--min_interval_s=0",
                    "--improvement=any_task", (char *)extra,  NULL};
    assert_int_equal(posix_spawn(&world->pid, program, NULL, NULL, argv, environ), 0);
}

/* Waits for the evaluator's end; its exit status, or 128 + the signal. */
static int finish(struct world *world)
{
    uint64_t until_ns = clock_now_ns() + WAIT_MS * NS_PER_MS;
    int result;
    while (waitpid(world->pid, &result, WNOHANG) == 0) {
        if (clock_now_ns() > until_ns) {
            kill(world->pid, SIGKILL);
            waitpid(world->pid, &result, 0);
            world->pid = 0;
            fail_msg("the evaluator did not end");
        }
        clock_sleep_ms(20);
    }
    world->pid = 0;
    return WIFEXITED(result) ? WEXITSTATUS(result) : 128 + WTERMSIG(result);
}

/* The n lines of evaluator.jsonl, waited for, as an array; cJSON_Delete it. */
static cJSON *wait_lines(struct world *world, int n)
{
    char path[2 * SCRATCH_SIZE];
    scratch_path(path, world->folder, "evaluator.jsonl");
    uint64_t until_ns = clock_now_ns() + WAIT_MS * NS_PER_MS;
    for (;;) {
        cJSON *lines = cJSON_CreateArray();
        char *text = scratch_read(path), *place = NULL;
        for (char *line = text == NULL ? NULL : strtok_r(text, "\n", &place); line != NULL;
             line = strtok_r(NULL, "\n", &place)) {
            cJSON *record = cJSON_Parse(line);
            if (record != NULL) {
                cJSON_AddItemToArray(lines, record);
            }
        }
        free(text);
        if (cJSON_GetArraySize(lines) >= n) {
            assert_int_equal(cJSON_GetArraySize(lines), n);
            return lines;
        }
        cJSON_Delete(lines);
        if (clock_now_ns() > until_ns) {
            fail_msg("evaluator.jsonl has not %d lines in time", n);
        }
        clock_sleep_ms(20);
    }
}

static double number_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) {
        fail_msg("%s: not there", key);
    }
    return item->valuedouble;
}

static cJSON *read_report(struct world *world)
{
    char path[2 * SCRATCH_SIZE];
    struct err err = {0};
    cJSON *report;
    if (json_read(scratch_path(path, world->folder, "evaluation.json"), 1 << 20, &report, &err) !=
        STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return report;
}

/* ---- Setting up ---- */

static int set_up(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    scratch_make(world.folder);
    snprintf(world.address, sizeof world.address, "unix:%s/parameters.sock", world.folder);
    open_server(&world, "run-a");
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    if (world->pid > 0) {
        kill(world->pid, SIGKILL);
        waitpid(world->pid, NULL, 0);
    }
    close_server(world);
    scratch_remove(world->folder);
    return 0;
}

/* ---- Tests ---- */

/* Versions come, one after kill -9; at the end the best and the last are reported. */
static void follows_a_run_over_a_crash_and_reports(void **state)
{
    struct world *world = *state;
    char path[2 * SCRATCH_SIZE];
    struct err err = {0};
    struct policy_notes notes;
    start(world, "--threads=1");
    publish(world, 1, 21, false);
    cJSON_Delete(wait_lines(world, 1));
    kill(world->pid, SIGKILL);
    assert_int_equal(finish(world), 128 + SIGKILL);
    start(world, "--threads=2");
    publish(world, 2, 22, false);
    cJSON_Delete(wait_lines(world, 2));
    publish(world, 3, 23, false);
    cJSON_Delete(wait_lines(world, 3));
    publish(world, 4, 21, true); /* the first again: so its window must say the same */
    assert_int_equal(finish(world), 0);

    cJSON *lines = wait_lines(world, 4);
    double best = -INFINITY, version = 0;
    for (int i = 0; i < 4; i++) {
        const cJSON *line = cJSON_GetArrayItem(lines, i);
        double mean = number_of(line, "return_mean");
        assert_int_equal(number_of(line, "version"), i + 1);
        assert_int_equal(number_of(line, "learner_step"), 10 * (i + 1));
        assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItem(line, "best")), mean > best);
        if (mean > best) {
            best = mean;
            version = i + 1;
        }
    }
    assert_true(number_of(cJSON_GetArrayItem(lines, 0), "return_mean") ==
                number_of(cJSON_GetArrayItem(lines, 3), "return_mean"));
    cJSON_Delete(lines);

    scratch_path(path, world->folder, "policy.safetensors");
    assert_int_equal(policy_file_load(path, NULL, &notes, &err), STATUS_OK);
    assert_true(notes.return_mean == best && notes.version == (uint64_t)version);
    cJSON *report = read_report(world);
    assert_true(number_of(report, "version") == version);
    assert_true(number_of(report, "window_return_mean") == best);
    assert_true(number_of(report, "return_mean") != best); /* measured afresh */
    assert_true(isfinite(number_of(report, "prior_return_mean")));
    const cJSON *task = cJSON_GetArrayItem(cJSON_GetObjectItem(report, "tasks"), 0);
    assert_true(number_of(task, "n") == 3);
    assert_true(number_of(cJSON_GetObjectItem(report, "last"), "version") == 4);
    cJSON_Delete(report);
}

/* A run often ends with the step of its last periodic version: one policy, measured once. */
static void the_last_step_is_measured_once(void **state)
{
    struct world *world = *state;
    start(world, "--threads=1");
    publish_step(world, 1, 10, 21, false);
    cJSON_Delete(wait_lines(world, 1));
    publish_step(world, 2, 10, 21, true);
    assert_int_equal(finish(world), 0);
    cJSON *lines = wait_lines(world, 1);
    assert_int_equal(cJSON_GetArraySize(lines), 1);
    const double mean = number_of(cJSON_GetArrayItem(lines, 0), "return_mean");
    cJSON_Delete(lines);
    char path[2 * SCRATCH_SIZE];
    struct policy_notes notes;
    scratch_path(path, world->folder, "policy_last.safetensors");
    assert_int_equal(policy_file_load(path, NULL, &notes, NULL), STATUS_OK);
    assert_true(notes.version == 2 && notes.return_mean == mean);
    cJSON *report = read_report(world);
    assert_true(number_of(cJSON_GetObjectItem(report, "last"), "version") == 2);
    cJSON_Delete(report);
}

/* The learner is gone, the run had ended: a restart reports the same again. */
static void a_restart_after_the_end_needs_no_learner(void **state)
{
    struct world *world = *state;
    start(world, "--threads=1");
    publish(world, 1, 21, true);
    assert_int_equal(finish(world), 0);
    cJSON *first = read_report(world);
    close_server(world);
    start(world, "--threads=2");
    assert_int_equal(finish(world), 0);
    cJSON *again = read_report(world);
    assert_true(number_of(first, "return_mean") == number_of(again, "return_mean"));
    assert_true(number_of(again, "time") > number_of(first, "time"));
    cJSON_Delete(first);
    cJSON_Delete(again);
}

/* Two evaluations without improvement: the run is ended, with reason and name. */
static void the_stop_rule_ends_the_run(void **state)
{
    struct world *world = *state;
    struct publisher_end end;
    start(world, "--patience=2");
    for (uint64_t version = 1; version <= 3; version++) {
        assert_false(publisher_ending(world->publisher, NULL));
        publish(world, version, 21, false);
        cJSON_Delete(wait_lines(world, (int)version));
    }
    uint64_t until_ns = clock_now_ns() + WAIT_MS * NS_PER_MS;
    while (!publisher_ending(world->publisher, &end)) {
        assert_true(clock_now_ns() < until_ns);
        clock_sleep_ms(20);
    }
    assert_string_equal(end.who, "evaluator-0");
    assert_non_null(strstr(end.reason, "no improvement in 2 evaluations"));
    assert_int_equal(end.version, 3);
    publish(world, 4, 21, true);
    assert_int_equal(finish(world), 0);
}

/* Until the page holds `text`: it comes after the line on disk. */
static void wait_page(const char *address, const char *page, const char *text)
{
    uint64_t until_ns = clock_now_ns() + WAIT_MS * NS_PER_MS;
    for (;;) {
        char *answer = http_request(address, "GET", page);
        assert_non_null(answer);
        bool there = strstr(answer, text) != NULL;
        free(answer);
        if (there) {
            return;
        }
        assert_true(clock_now_ns() < until_ns);
        clock_sleep_ms(20);
    }
}

/* What cannot be parsed is passed over; the admin page shows what was measured. */
static void a_bad_package_is_passed_over(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    char path[2 * SCRATCH_SIZE];
    start(world, "--threads=1");
    void *junk = mem_new(1000);
    assert_int_equal(publisher_publish(world->publisher, junk, 1000, 1, 10, false, &err),
                     STATUS_OK);
    clock_sleep_ms(500);
    publish(world, 2, 21, false);
    cJSON *lines = wait_lines(world, 1);
    assert_true(number_of(cJSON_GetArrayItem(lines, 0), "version") == 2);
    cJSON_Delete(lines);

    char *address = scratch_read(scratch_path(path, world->folder, "evaluator.admin"));
    assert_non_null(address);
    address[strcspn(address, "\n")] = '\0';
    wait_page(address, "/evaluations.json", "\"version\":2");
    wait_page(address, "/metrics", "hindcast_evaluator_return{task=\"run\",statistic=\"median\"}");
    free(address);
    kill(world->pid, SIGTERM);
    assert_int_equal(finish(world), 0);
}

/* Told to leave in the middle of a long evaluation, it leaves at once, and with 0. */
static void sigterm_ends_it_soon(void **state)
{
    struct world *world = *state;
    char path[2 * SCRATCH_SIZE];
    start(world, "--window_episodes=100000");
    publish(world, 1, 21, false);
    scratch_path(path, world->folder, "evaluator.admin");
    const uint64_t until_ns = clock_now_ns() + WAIT_MS * NS_PER_MS;
    while (access(path, F_OK) != 0) { /* before, nobody there would take the signal */
        assert_true(clock_now_ns() < until_ns);
        clock_sleep_ms(20);
    }
    clock_sleep_ms(1500);
    kill(world->pid, SIGTERM);
    assert_int_equal(finish(world), 0); /* all of its episodes would take hours */
    char *text = scratch_read(scratch_path(path, world->folder, "evaluator.jsonl"));
    assert_string_equal(text, "");
    free(text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(follows_a_run_over_a_crash_and_reports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_step_is_measured_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restart_after_the_end_needs_no_learner, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_stop_rule_ends_the_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_package_is_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sigterm_ends_it_soon, set_up, tear_down),
    };
    static struct environment_description description;
    if (argc != 2 || environment_describe(&description, "cheetah-run", NULL) != STATUS_OK) {
        fprintf(stderr, "usage: %s hindcast-evaluator\n", argv[0]);
        return 2;
    }
    program = argv[1];
    signature = description.signature;
    rpc_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
