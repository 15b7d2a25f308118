/* A driver in C: a motor with one joint, served as a robot at 127.0.0.1:7001 (or the address given).
 *
 * For a robot of your own replace struct motor and what touches it. The service does the rest: the
 * lease, limits, deadlines and stops of docs/robot.md. The motor's thread keeps time, and holds still
 * by itself when no command is there in time: never leave that to the service alone. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/robot/robot_service.h"
#include "common/rpc/rpc.h"

#define PERIOD_S 0.02
#define STEPS    250

struct motor {
    struct robot_service *service;
    pthread_mutex_t mutex; /* guards what follows */
    uint64_t episode, step;
    bool reset, acts, moving;
    float command; /* a torque */
    double angle, velocity;
};

/* ---- Orders of the service ---- */

static void on_reset(void *arg, const struct robot_start *start)
{
    struct motor *motor = arg;
    pthread_mutex_lock(&motor->mutex);
    motor->episode = start->episode;
    motor->reset = true;
    motor->moving = false;
    pthread_mutex_unlock(&motor->mutex);
}

static void on_act(void *arg, uint64_t episode, uint64_t step, const float *action)
{
    struct motor *motor = arg;
    pthread_mutex_lock(&motor->mutex);
    if (episode == motor->episode && step == motor->step) {
        motor->command = action[0];
        motor->acts = motor->moving = true;
    }
    pthread_mutex_unlock(&motor->mutex);
}

static void on_hold(void *arg)
{
    struct motor *motor = arg;
    pthread_mutex_lock(&motor->mutex);
    motor->moving = motor->acts = motor->reset = false;
    motor->velocity = 0.0;
    pthread_mutex_unlock(&motor->mutex);
}

/* ---- The motor ---- */

static void send_frame(struct motor *motor, uint64_t now_ns)
{
    const float observation[2] = {(float)motor->angle, (float)motor->velocity};
    const float reward = (float)(1.0 / (1.0 + motor->angle * motor->angle));
    const struct robot_frame frame = {.episode = motor->episode,
                                      .step = motor->step,
                                      .observation = observation,
                                      .rewards = &reward,
                                      .discount = 1.0f,
                                      .last = motor->step == STEPS,
                                      .observed_ns = now_ns};
    robot_service_frame(motor->service, &frame);
}

/* What is due at the end of a control period. */
static void tick(struct motor *motor)
{
    if (motor->reset) {
        motor->reset = false;
        motor->step = 0;
        motor->angle = 1.0;
        motor->velocity = 0.0;
        send_frame(motor, clock_now_ns());
    } else if (motor->moving && !motor->acts) {
        motor->moving = false; /* no command came: stand still */
        motor->velocity = 0.0;
        robot_service_fault(motor->service, motor->episode, ROBOT_FAULT_LATE, "no command in time");
    } else if (motor->moving) {
        motor->velocity += PERIOD_S * ((double)motor->command - 0.1 * motor->velocity);
        motor->angle += PERIOD_S * motor->velocity;
        motor->acts = false;
        motor->step++;
        send_frame(motor, clock_now_ns());
    }
}

static void *motor_main(void *arg)
{
    struct motor *motor = arg;
    for (;;) {
        clock_sleep_ms((unsigned)(PERIOD_S * 1e3));
        pthread_mutex_lock(&motor->mutex);
        tick(motor);
        pthread_mutex_unlock(&motor->mutex);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct robot_description robot = {
        .name = "motor", .deadline_s = 0.7 * PERIOD_S, .lease_ms = 10000, .slow_motion = 1.0};
    static struct motor motor = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    static struct experiment experiment; /* TLS files: none, so that it serves this machine alone */
    const struct endpoint_options options = {.max_calls = 64,
                                             .max_connection_bytes = 64 << 20,
                                             .idle_connection_seconds = 300,
                                             .grace_ms = 200};
    struct signature *signature = &robot.environment.signature;
    *signature = (struct signature){.n_slices = 2,
                                    .slices = {{"angle", 1}, {"velocity", 1}},
                                    .A = 1,
                                    .action_min = {-2.0f},
                                    .action_max = {2.0f},
                                    .K = 1,
                                    .rewards = {"upright"},
                                    .control_period_s = PERIOD_S};
    robot.n_joints = 1;
    robot.joints[0] = (struct robot_joint){.name = "shaft",
                                           .position = 0,
                                           .velocity = 1,
                                           .has_position = true,
                                           .position_min = -10,
                                           .position_max = 10,
                                           .velocity_max = 5};
    robot.environment.step_limit = STEPS;
    const struct robot_service_settings settings = {
        .experiment = &experiment,
        .options = &options,
        .address = argc > 1 ? argv[1] : "127.0.0.1:7001",
        .robot = &robot,
        .backend = {.reset = on_reset, .act = on_act, .hold = on_hold, .arg = &motor}};
    struct err err;
    sigset_t ends;
    int number;
    pthread_t thread;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    rpc_init();
    if (robot_service_open(&motor.service, &settings, &err) != STATUS_OK ||
        robot_service_start(motor.service, &err) != STATUS_OK) {
        fprintf(stderr, "driver: %s\n", err.text);
        return 1;
    }
    pthread_create(&thread, NULL, motor_main, &motor);
    sigwait(&ends, &number);
    /* Held by the service; the motor's thread ends with the process. */
    robot_service_close(motor.service);
    return 0;
}
