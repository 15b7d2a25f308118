/* The life of a process, in a child: address file, status page, timers, SIGTERM, exit codes. */
#include <cjson/cJSON.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/process.h"
#include "tests/lib/check.h"
#include "tests/lib/http.h"
#include "tests/lib/scratch.h"

static struct experiment experiment;

struct part {
    struct process *process;
    int ticks;
    int stop_after; /* ticks; 0: never */
    int exit_code;
};

static void on_tick(void *arg)
{
    struct part *part = arg;
    part->ticks++;
    process_report(part->process, 0.25, "step %d/%d", part->ticks, 100);
    if (part->ticks == part->stop_after) {
        process_stop(part->process, part->exit_code);
        process_stop(part->process, 9); /* the first code stays */
    }
}

/* A worker that SIGTERM must not hit: it would be ended by the default action. */
static void *work(void *arg)
{
    struct part *part = arg;
    while (!process_stopping(part->process)) {
        clock_sleep_ms(1);
    }
    return NULL;
}

static int live(int index, int count, int stop_after, int exit_code)
{
    struct part part = {.stop_after = stop_after, .exit_code = exit_code};
    struct err err = {0};
    if (process_open(&part.process, "learner", index, count, &experiment, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 99;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, &part) != 0) {
        return 98;
    }
    process_every(part.process, 5, on_tick, &part);
    process_run(part.process);
    pthread_join(thread, NULL);
    return process_close(part.process);
}

static pid_t start(int index, int count, int stop_after, int exit_code)
{
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        exit(live(index, count, stop_after, exit_code)); /* exit: the leak checker runs */
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int ended = 0;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended));
    return WEXITSTATUS(ended);
}

/* Waits for the address file and returns its first line; free it. */
static char *address_in(const char *name)
{
    char path[2 * SCRATCH_SIZE];
    scratch_path(path, experiment.run_dir, name);
    for (int i = 0; i < 1000; i++) {
        char *text = scratch_read(path);
        if (text != NULL) {
            text[strcspn(text, "\n")] = '\0';
            return text;
        }
        clock_sleep_ms(10);
    }
    fail_msg("%s did not come", path);
    return NULL;
}

/* The status page once the text is a report, or NULL. */
static cJSON *status_of(const char *address)
{
    for (int i = 0; i < 500; i++) {
        char *answer = http_request(address, "GET", "/status");
        char *body = answer == NULL ? NULL : strstr(answer, "\r\n\r\n");
        cJSON *json = body == NULL ? NULL : cJSON_Parse(body + 4);
        free(answer);
        const cJSON *text = cJSON_GetObjectItem(json, "text");
        if (cJSON_IsString(text) && strncmp(text->valuestring, "step ", 5) == 0) {
            return json;
        }
        cJSON_Delete(json);
        clock_sleep_ms(10);
    }
    return NULL;
}

static void serves_status_and_ends_on(int number)
{
    const pid_t pid = start(2, 4, 0, 0);
    char *address = address_in("learner-2.admin");
    cJSON *json = status_of(address);
    assert_non_null(json);
    assert_string_equal(cJSON_GetObjectItem(json, "role")->valuestring, "learner");
    assert_true(cJSON_GetObjectItem(json, "index")->valuedouble == 2);
    assert_true(cJSON_GetObjectItem(json, "count")->valuedouble == 4);
    assert_true(cJSON_GetObjectItem(json, "pid")->valuedouble == pid);
    assert_true(cJSON_GetObjectItem(json, "fraction")->valuedouble == 0.25);
    assert_string_equal(cJSON_GetObjectItem(json, "state")->valuestring, "running");
    assert_string_equal(cJSON_GetObjectItem(json, "version")->valuestring, HINDCAST_VERSION);
    cJSON_Delete(json);
    char *answer = http_request(address, "GET", "/metrics");
    assert_non_null(strstr(answer, "hindcast_process_loop_lag_seconds "));
    free(answer);

    kill(pid, number);
    assert_int_equal(end_of(pid), 0);
    assert_null(http_request(address, "GET", "/status"));
    free(address);
    char path[2 * SCRATCH_SIZE];
    assert_int_equal(access(scratch_path(path, experiment.run_dir, "learner-2.admin"), F_OK), -1);
}

static void ends_on_sigterm(void **state)
{
    (void)state;
    serves_status_and_ends_on(SIGTERM);
}

static void ends_on_sigint(void **state)
{
    (void)state;
    serves_status_and_ends_on(SIGINT);
}

static void stop_gives_the_first_exit_code(void **state)
{
    (void)state;
    assert_int_equal(end_of(start(0, 1, 3, 7)), 7);
    assert_int_equal(end_of(start(0, 1, 1, 0)), 9);
}

/* SIGTERM while parts are still being made is not lost: the run ends at once. */
static void early_signal_waits_for_the_loop(void **state)
{
    (void)state;
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct process *process = NULL;
        struct err err = {0};
        if (process_open(&process, "early", 0, 1, &experiment, &err) != STATUS_OK) {
            _exit(99);
        }
        kill(getpid(), SIGTERM);
        process_run(process);
        exit(process_close(process));
    }
    assert_int_equal(end_of(pid), 0);
}

static void stop_before_run(void **state)
{
    (void)state;
    struct process *process = NULL;
    struct err err = {0};
    assert_int_equal(process_open(&process, "learner", 0, 1, &experiment, &err), STATUS_OK);
    assert_false(process_stopping(process));
    process_stop(process, 3);
    process_stop(process, 4);
    assert_true(process_stopping(process));
    process_run(process);
    assert_int_equal(process_close(process), 3);
}

/* A part that hangs at the end cannot hold the process. */
static void the_end_is_bounded(void **state)
{
    (void)state;
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct process *process = NULL;
        struct err err = {0};
        if (process_open(&process, "stuck", 0, 1, &experiment, &err) != STATUS_OK) {
            _exit(99);
        }
        process_set_end_limit(process, 1);
        process_stop(process, 0);
        process_run(process);
        for (int i = 0; i < 20000; i++) {
            clock_sleep_ms(1); /* short: TSan delivers signals between calls */
        }
        _exit(98);
    }
    const uint64_t start_ns = clock_now_ns();
    assert_int_equal(end_of(pid), 1);
    assert_true(clock_now_ns() - start_ns < 10 * NS_PER_S);
}

static void tell(int fd, int code)
{
    const unsigned char byte = (unsigned char)code;
    if (write(fd, &byte, 1) != 1) {
        _exit(1);
    }
}

static int told(int fd)
{
    unsigned char byte = 0;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    assert_int_equal(read(fd, &byte, 1), 1);
    return byte;
}

/* A parent that starts a supervised process and is killed: the exit code of that process. */
static int code_after_its_parent(bool before_open)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    const pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        char pid[24];
        const pid_t here = getpid();
        snprintf(pid, sizeof pid, "%ld", (long)here);
        setenv("HINDCAST_SUPERVISED", pid, 1);
        if (fork() != 0) {
            tell(ends[1], 0); /* it is there */
            pause();
        }
        /* A parent that has threads (the sanitizer's) dies thread by thread, with a signal each:
         * the second one is not to come when the process has closed. */
        sigset_t mask;
        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &mask, NULL);
        while (before_open && getppid() == here) {
            clock_sleep_ms(1);
        }
        tell(ends[1], live(0, 1, 0, 0));
        exit(0);
    }
    close(ends[1]);
    assert_int_equal(told(ends[0]), 0);
    if (!before_open) {
        free(address_in("learner.admin"));
    }
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    const int code = told(ends[0]);
    close(ends[0]);
    return code;
}

static void ends_with_its_supervisor(void **state)
{
    (void)state;
    assert_int_equal(code_after_its_parent(false), 0); /* SIGTERM */
    assert_int_equal(code_after_its_parent(true), 99); /* not opened */
}

static void bad_settings_leave_nothing(void **state)
{
    (void)state;
    struct process *process = NULL;
    struct err err = {0};
    struct experiment bad = experiment;
    snprintf(bad.admin, sizeof bad.admin, "0.0.0.0:0");
    assert_int_equal(process_open(&process, "learner", 0, 1, &bad, &err), STATUS_DENIED);
    bad = experiment;
    snprintf(bad.log_level, sizeof bad.log_level, "loud");
    assert_int_equal(process_open(&process, "learner", 0, 1, &bad, &err), STATUS_INVALID);
    bad = experiment;
    snprintf(bad.run_dir, sizeof bad.run_dir, "/proc/none");
    assert_int_not_equal(process_open(&process, "learner", 0, 1, &bad, &err), STATUS_OK);
    assert_int_equal(strncmp(err.text, "run_dir: ", 9), 0);
    assert_null(process);
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    snprintf(experiment.run_dir, sizeof experiment.run_dir, "%.255s/runs/x", scratch_folder);
    snprintf(experiment.log_level, sizeof experiment.log_level, "warn");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_on_sigterm),
        cmocka_unit_test(ends_on_sigint),
        cmocka_unit_test(stop_gives_the_first_exit_code),
        cmocka_unit_test(early_signal_waits_for_the_loop),
        cmocka_unit_test(stop_before_run),
        cmocka_unit_test(the_end_is_bounded),
        cmocka_unit_test(ends_with_its_supervisor),
        cmocka_unit_test(bad_settings_leave_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_tear_down);
}
