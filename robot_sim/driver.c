/* Two threads: the service's own sends to the plant, the link's thread receives from it and
 * connects again when the plant has gone. The mutex guards the socket, which both use. */
#include "robot_sim/driver.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "driver"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/robot/robot_service.h"
#include "robot_sim/plant_link.h"

#define POLL_MS      100 /* how often the link's thread looks whether to end */
#define CONNECT_MS   100 /* between attempts to reach the plant */
#define LATE_PERIODS 10  /* of the fault `late` */

struct driver {
    struct process *process;
    const struct robot_sim_options *options;
    const struct robot_description *robot;
    struct robot_service *service;
    pthread_t thread;
    atomic_bool ending;

    pthread_mutex_t mutex;
    int plant; /* socket; -1: none. Guarded by mutex */

    /* The service's thread only. */
    struct rng rng;
    uint64_t n_episodes;
    struct plant_message out;
    /* The link's thread only. */
    struct plant_message in;
    uint64_t frame_episode, frame_step; /* the last that came */
};

/* ---- To the plant: on the service's thread ---- */

static void send_out(struct driver *driver)
{
    pthread_mutex_lock(&driver->mutex);
    /* A failure is noticed by the link's thread, which closes the socket. */
    if (driver->plant >= 0) {
        (void)!plant_link_send(driver->plant, &driver->out);
    }
    pthread_mutex_unlock(&driver->mutex);
}

static void reset(void *arg, const struct robot_start *start)
{
    struct driver *driver = arg;
    driver->n_episodes++;
    driver->out = (struct plant_message){.type = PLANT_RESET,
                                         .episode = start->episode,
                                         .seed = start->seed,
                                         .task = start->task,
                                         .flags = start->flags};
    send_out(driver);
}

static void hold(void *arg)
{
    struct driver *driver = arg;
    driver->out = (struct plant_message){.type = PLANT_HOLD};
    send_out(driver);
}

/* How long this action takes to the plant. */
static uint64_t latency_ns(struct driver *driver, uint64_t step)
{
    const struct robot_sim_options *options = driver->options;
    double ms = options->latency_ms + options->jitter_ms * (2.0 * rng_uniform(&driver->rng) - 1.0);
    if (faults_due(&options->injected, FAULT_LATE, driver->n_episodes, step)) {
        ms += LATE_PERIODS * 1e3 * robot_period_s(driver->robot);
    }
    return (uint64_t)(ms * 1e6);
}

static void act(void *arg, uint64_t episode, uint64_t step, const float *action)
{
    struct driver *driver = arg;
    driver->out.type = PLANT_ACT;
    driver->out.episode = episode;
    driver->out.step = step;
    driver->out.time_ns = clock_now_ns() + latency_ns(driver, step);
    driver->out.n_numbers = driver->robot->environment.signature.A;
    memcpy(driver->out.numbers, action, driver->out.n_numbers * sizeof *action);
    send_out(driver);
    if (faults_due(&driver->options->injected, FAULT_STOP, driver->n_episodes, step)) {
        robot_service_stop(driver->service, "robot_sim.faults", "injected");
    }
}

/* ---- From the plant: on the link's thread ---- */

static void take_message(struct driver *driver)
{
    const struct plant_message *in = &driver->in;
    const struct signature *signature = &driver->robot->environment.signature;
    const uint32_t O = signature_observation(signature);
    if (in->type == PLANT_FRAME && in->n_numbers == O + signature->K) {
        const struct robot_frame frame = {.episode = in->episode,
                                          .step = in->step,
                                          .observation = in->numbers,
                                          .rewards = in->numbers + O,
                                          .discount = in->discount,
                                          .last = in->last != 0,
                                          .observed_ns = in->time_ns};
        driver->frame_episode = in->episode;
        driver->frame_step = in->step;
        robot_service_frame(driver->service, &frame);
    } else if (in->type == PLANT_HELD) {
        /* Held for want of an action that nobody could give. */
        const bool lost = in->episode != driver->frame_episode || in->step > driver->frame_step;
        robot_service_fault(driver->service, in->episode,
                            lost ? ROBOT_FAULT_SENSOR : (enum robot_fault_kind)in->kind,
                            lost ? "an observation was lost" : in->text);
    }
}

/* Connects to the plant; false: not there. */
static bool connect_plant(struct driver *driver)
{
    int fd;
    if (plant_link_connect(&fd, driver->options->plant, NULL) != STATUS_OK) {
        clock_sleep_ms(CONNECT_MS);
        return false;
    }
    pthread_mutex_lock(&driver->mutex);
    driver->plant = fd;
    pthread_mutex_unlock(&driver->mutex);
    log_info("connected to the plant path=%s", driver->options->plant);
    robot_service_reachable(driver->service, true, "");
    return true;
}

static void drop_plant(struct driver *driver)
{
    pthread_mutex_lock(&driver->mutex);
    (void)close(driver->plant);
    driver->plant = -1;
    pthread_mutex_unlock(&driver->mutex);
    robot_service_reachable(driver->service, false, "the plant is away");
}

static void *link_main(void *arg)
{
    struct driver *driver = arg;
    while (!atomic_load(&driver->ending)) {
        /* Only this thread changes the socket, so it may look at it without the lock. */
        if (driver->plant < 0 && !connect_plant(driver)) {
            continue;
        }
        struct pollfd fd = {.fd = driver->plant, .events = POLLIN};
        (void)poll(&fd, 1, POLL_MS);
        status s = STATUS_OK;
        while (s == STATUS_OK) {
            s = plant_link_receive(driver->plant, &driver->in);
            if (s == STATUS_OK) {
                take_message(driver);
            }
        }
        if (s == STATUS_CLOSED) {
            log_warn("the plant is away");
            drop_plant(driver);
        }
    }
    return NULL;
}

/* ---- Start and end ---- */

static void free_driver(struct driver *driver)
{
    robot_service_close(driver->service);
    if (driver->plant >= 0) {
        (void)close(driver->plant);
    }
    pthread_mutex_destroy(&driver->mutex);
    mem_free(driver);
}

status driver_start(struct driver **started, struct process *process,
                    const struct experiment *experiment, const struct robot_sim_options *options,
                    const struct robot_description *robot, struct err *err)
{
    struct driver *driver = mem_new(sizeof *driver);
    if (driver == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "driver: out of memory");
    }
    driver->process = process;
    driver->options = options;
    driver->robot = robot;
    driver->plant = -1;
    pthread_mutex_init(&driver->mutex, NULL);
    rng_init(&driver->rng, (uint64_t)experiment->seed, "driver", 0);
    const struct robot_service_settings settings = {
        .experiment = experiment,
        .options = &options->endpoint,
        .address = options->listen,
        .robot = robot,
        .prompt = options->prompt,
        .backend = {.reset = reset, .act = act, .hold = hold, .arg = driver}};
    status s = robot_service_open(&driver->service, &settings, err);
    s = s != STATUS_OK ? s : robot_service_start(driver->service, err);
    if (s == STATUS_OK) {
        robot_service_reachable(driver->service, false, "the plant is away");
        const int number = pthread_create(&driver->thread, NULL, link_main, driver);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the link's thread");
    }
    if (s != STATUS_OK) {
        free_driver(driver);
        return s;
    }
    *started = driver;
    return STATUS_OK;
}

void driver_stop(struct driver *driver)
{
    if (driver != NULL) {
        atomic_store(&driver->ending, true);
        (void)pthread_join(driver->thread, NULL);
        free_driver(driver);
    }
}
