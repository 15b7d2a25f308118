/* hindcast-robot-sim: a robot to test everything with, up to the motors. Plant and driver are two
 * processes, as they would be on a robot: each can fail without the other.
 *
 * With `part: both` this process is the driver, and the plant is its child, which ends with it. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/process.h"
#include "common/rpc/rpc.h"
#include "robot_sim/driver.h"
#include "robot_sim/plant.h"

#define LOG_MODULE "main"
#include "common/base/clock.h"
#include "common/base/log.h"

#define LOOK_MS       200
#define CHILD_END_MS  5000
#define ARGUMENTS_MAX 256

struct program {
    struct experiment experiment;
    struct robot_sim_options options;
    struct robot_description robot;
    struct process *process;
    pid_t child; /* the plant; 0: none */
};

/* ---- The plant as a child ---- */

/* The same command line, with another part. The last flag wins. */
static status start_child(struct program *program, char **argv, struct err *err)
{
    char *arguments[ARGUMENTS_MAX + 3], parent[64];
    char part[] = "--part=plant", admin[] = "--experiment.admin=";
    size_t n = 0;
    for (; n < ARGUMENTS_MAX && argv[n] != NULL; n++) {
        arguments[n] = argv[n];
    }
    arguments[n++] = part;
    arguments[n++] = admin;
    arguments[n] = NULL;
    /* process_open takes it: the plant ends when its parent does, however that ends. */
    (void)snprintf(parent, sizeof parent, "%d", (int)getpid());
    (void)setenv("HINDCAST_SUPERVISED", parent, 1);
    const int number =
        posix_spawn(&program->child, "/proc/self/exe", NULL, NULL, arguments, environ);
    (void)unsetenv("HINDCAST_SUPERVISED");
    return number == 0 ? STATUS_OK : err_errno(err, number, "start the plant");
}

/* On the loop thread: a plant that has ended by itself ends the robot. */
static void look_at_child(void *arg)
{
    struct program *program = arg;
    int how;
    if (program->child > 0 && waitpid(program->child, &how, WNOHANG) == program->child) {
        log_error("the plant has ended status=%d", WIFEXITED(how) ? WEXITSTATUS(how) : -1);
        program->child = 0;
        process_stop(program->process, EXIT_FAILURE);
    }
}

static void end_child(struct program *program)
{
    for (int waited_ms = 0; program->child > 0; waited_ms += 10) {
        if (waitpid(program->child, NULL, WNOHANG) != 0) {
            program->child = 0;
        } else {
            (void)kill(program->child, waited_ms < CHILD_END_MS ? SIGTERM : SIGKILL);
            clock_sleep_ms(10);
        }
    }
}

/* ---- The parts ---- */

static status run_plant(struct program *program, struct err *err)
{
    struct plant *plant;
    status s = plant_start(&plant, program->process, &program->experiment, &program->options,
                           &program->robot, err);
    if (s == STATUS_OK) {
        process_run(program->process);
        plant_stop(plant);
    }
    return s;
}

static status run_driver(struct program *program, char **argv, struct err *err)
{
    struct driver *driver;
    rpc_init();
    status s = driver_start(&driver, program->process, &program->experiment, &program->options,
                            &program->robot, err);
    if (s == STATUS_OK) {
        if (strcmp(program->options.part, "both") == 0) {
            s = start_child(program, argv, err);
            process_every(program->process, LOOK_MS, look_at_child, program);
        }
        if (s == STATUS_OK) {
            process_run(program->process);
        }
        driver_stop(driver);
        end_child(program);
    }
    rpc_fini();
    return s;
}

/* One part as a process; the exit code. */
static int run(struct program *program, const struct config_section *sections, size_t n,
               char **argv)
{
    struct err err;
    const bool plant = strcmp(program->options.part, "plant") == 0;
    if (process_open(&program->process, plant ? "robot_plant" : "robot_driver", 0, 1,
                     &program->experiment, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-robot-sim: %s\n", err.text);
        return EXIT_FAILURE;
    }
    config_print(stderr, sections, n);
    status s = plant ? run_plant(program, &err) : run_driver(program, argv, &err);
    if (s != STATUS_OK) {
        log_error("%s", err.text);
        process_stop(program->process, status_exit_code(s));
    }
    return process_close(program->process);
}

int main(int argc, char **argv)
{
    struct program *program = mem_new(sizeof *program);
    if (program == NULL) {
        return EXIT_FAILURE;
    }
    const struct config_section sections[] = {experiment_section(&program->experiment),
                                              robot_sim_section(&program->options)};
    const size_t n = sizeof sections / sizeof sections[0];
    struct err err;
    bool done = false;
    status s = config_load(sections, n, "hindcast-robot-sim: a simulated robot in real time", argc,
                           argv, &done, &err);
    if (s == STATUS_OK && !done) {
        experiment_finish(&program->experiment);
        s = process_check(&program->experiment, &err);
        s = s == STATUS_OK ? robot_sim_options_finish(&program->options, &program->experiment,
                                                      &program->robot, &err)
                           : s;
        done = program->experiment.check;
    }
    int exit_code = EXIT_SUCCESS;
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-robot-sim: %s\n", err.text);
        exit_code = 2;
    } else if (!done) {
        exit_code = run(program, sections, n, argv);
    }
    mem_free(program);
    return exit_code;
}
