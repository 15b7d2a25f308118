/* One thread with one wait: for the driver's next message, or for the time at which something is
 * due. Physics is computed at the end of the interval that it covers, when all that arrived in it is
 * known. */
#include "robot_sim/plant.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "plant"
#include "common/base/clock.h"
#include "common/base/line_file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/rng.h"
#include "common/environments/environment_family.h"
#include "common/environments/simulation.h"
#include "robot_sim/plant_link.h"

#define IDLE_NS       (200 * NS_PER_MS) /* longest wait: then the thread looks whether to end */
#define REALTIME_PRIO 20
#define JUMP          1e6f

enum plant_state { PLANT_HELD_STILL, PLANT_READY, PLANT_RUNNING };

struct plant {
    struct process *process;
    const struct robot_sim_options *options;
    const struct robot_description *robot;
    struct environment *environment;
    pthread_t thread;
    atomic_bool ending;
    int listening, driver; /* sockets; driver -1: none */
    struct line_file events;
    struct rng rng;
    uint64_t period_ns, deadline_ns;

    enum plant_state state;
    uint64_t episode, step; /* of the last frame */
    uint64_t n_episodes;    /* of this process */
    uint64_t n_steps;
    uint64_t observed_ns; /* t_k */
    bool acts;            /* the action for this frame is there */
    uint64_t arrived_ns;
    float action[SIGNATURE_ACTIONS_MAX]; /* canonical */
    struct plant_message in, out;        /* buffers */
    struct metric *steps_total, *held_total, *lag;
};

/* ---- What it tells ---- */

static void tell(struct plant *plant, const char *event, const char *why)
{
    char line[512];
    struct err err;
    const int n = snprintf(line, sizeof line,
                           "{\"event\": \"%s\", \"why\": \"%s\", \"at_ns\": %" PRIu64
                           ", \"episode\": %" PRIu64 ", \"step\": %" PRIu64 ", \"steps\": %" PRIu64
                           ", \"observed_ns\": %" PRIu64 ", \"period_ns\": %" PRIu64 "}",
                           event, why, clock_now_ns(), plant->episode, plant->step, plant->n_steps,
                           plant->observed_ns, plant->period_ns);
    if (line_file_append(&plant->events, line, (size_t)n, &err) != STATUS_OK) {
        log_warn("plant.jsonl: %s", err.text);
    }
    process_report(plant->process, -1, "%s%s%s  steps %" PRIu64, event, why[0] != '\0' ? ": " : "",
                   why, plant->n_steps);
}

static void drop_driver(struct plant *plant)
{
    (void)close(plant->driver);
    plant->driver = -1;
}

static void send_out(struct plant *plant)
{
    /* A driver that does not read is as good as gone: the plant does not wait for it. */
    if (plant->driver >= 0 && plant_link_send(plant->driver, &plant->out) != STATUS_OK) {
        drop_driver(plant);
    }
}

/* Stands still. First the state, then the word of it. */
static void hold(struct plant *plant, enum robot_fault_kind kind, const char *why)
{
    if (plant->state == PLANT_HELD_STILL) {
        return;
    }
    plant->state = PLANT_HELD_STILL;
    tell(plant, "held", why);
    metric_add(plant->held_total, 1);
    plant->out = (struct plant_message){
        .type = PLANT_HELD, .episode = plant->episode, .step = plant->step, .kind = (uint32_t)kind};
    (void)snprintf(plant->out.text, sizeof plant->out.text, "%s", why);
    if (kind != ROBOT_FAULT_UNKNOWN) {
        send_out(plant);
    }
}

/* Sends the frame in out.numbers, with what makes sensors and links less than perfect. */
static void send_frame(struct plant *plant, float discount, bool last)
{
    struct plant_message *out = &plant->out;
    const struct signature *signature = &plant->robot->environment.signature;
    const uint32_t O = signature_observation(signature);
    const struct faults *faults = &plant->options->injected;
    for (uint32_t i = 0; plant->options->noise > 0 && i < O; i++) {
        out->numbers[i] += (float)(plant->options->noise * rng_normal(&plant->rng));
    }
    if (faults_due(faults, FAULT_NAN, plant->n_episodes, plant->step)) {
        out->numbers[0] = NAN;
    }
    if (faults_due(faults, FAULT_JUMP, plant->n_episodes, plant->step)) {
        /* Where there are limits to be beyond. */
        out->numbers[plant->robot->n_joints > 0 ? plant->robot->joints[0].position : 0] = JUMP;
    }
    out->type = PLANT_FRAME;
    out->episode = plant->episode;
    out->step = plant->step;
    out->time_ns = plant->observed_ns;
    out->discount = discount;
    out->last = last;
    out->n_numbers = O + signature->K;
    bool lost = faults_due(faults, FAULT_DROP, plant->n_episodes, plant->step);
    lost = lost || (plant->options->drop > 0 && rng_uniform(&plant->rng) < plant->options->drop);
    if (!lost) {
        send_out(plant);
    }
}

/* ---- Episodes ---- */

static void reset(struct plant *plant, const struct plant_message *message)
{
    const struct environment_start start = {
        .seed = message->seed, .task = message->task, .flags = message->flags};
    struct err err = {0};
    hold(plant, ROBOT_FAULT_UNKNOWN, "reset");
    plant->episode = message->episode;
    plant->step = 0;
    plant->n_episodes++;
    memset(&plant->out, 0, offsetof(struct plant_message, numbers));
    status s = environment_reset(plant->environment, &start, plant->out.numbers, &err);
    plant->observed_ns = clock_now_ns();
    plant->state = PLANT_READY;
    tell(plant, "reset", "");
    if (s == STATUS_OK) {
        send_frame(plant, 1.0f, false);
    } else {
        log_warn("%s", err.text);
        hold(plant, ROBOT_FAULT_ROBOT, "the start state is unsound");
    }
}

/* The action for the last frame. Its clock is that of the driver, which adds the latency. */
static void take_action(struct plant *plant, const struct plant_message *message)
{
    const struct signature *signature = &plant->robot->environment.signature;
    char text[96];
    if (plant->state == PLANT_HELD_STILL || message->episode != plant->episode ||
        message->step != plant->step || message->n_numbers != signature->A || plant->acts) {
        return;
    }
    signature_to_canonical(signature, plant->action, message->numbers);
    if (plant->state == PLANT_READY) {
        /* The clock begins now. */
        plant->observed_ns = message->time_ns;
        plant->state = PLANT_RUNNING;
        tell(plant, "begin", "");
    }
    if (message->time_ns > plant->observed_ns + plant->deadline_ns) {
        (void)snprintf(text, sizeof text, "the action for frame %" PRIu64 " comes %.1f ms too late",
                       plant->step,
                       (double)(message->time_ns - plant->observed_ns - plant->deadline_ns) / 1e6);
        hold(plant, ROBOT_FAULT_LATE, text);
        return;
    }
    plant->acts = true;
    plant->arrived_ns = message->time_ns;
}

/* As when a simulation becomes unstable; a plant that simulates nothing of MuJoCo stays sound. */
static void burst(const struct plant *plant)
{
    const struct simulation *simulation = environment_simulation(plant->environment);
    if (simulation != NULL) {
        simulation->data->qvel[0] = (double)NAN;
    }
}

/* The step that ends now, and the frame that it leads to. */
static void advance(struct plant *plant)
{
    const struct signature *signature = &plant->robot->environment.signature;
    struct err err = {0};
    float discount;
    bool last;
    const uint64_t late_ns =
        plant->arrived_ns > plant->observed_ns ? plant->arrived_ns - plant->observed_ns : 0;
    environment_delay(plant->environment, (double)late_ns / (double)plant->period_ns);
    memset(&plant->out, 0, offsetof(struct plant_message, numbers));
    if (faults_due(&plant->options->injected, FAULT_BURST, plant->n_episodes, plant->step + 1)) {
        burst(plant);
    }
    status s = environment_step(plant->environment, plant->action, plant->out.numbers,
                                plant->out.numbers + signature_observation(signature), &discount,
                                &last, &err);
    plant->acts = false;
    plant->n_steps++;
    metric_add(plant->steps_total, 1);
    if (s != STATUS_OK) {
        log_warn("%s", err.text);
        hold(plant, ROBOT_FAULT_ROBOT, "the plant's state is unsound");
        return;
    }
    plant->step++;
    plant->observed_ns += plant->period_ns;
    last = last || plant->step == plant->robot->environment.step_limit;
    send_frame(plant, discount, last);
    if (last) {
        hold(plant, ROBOT_FAULT_UNKNOWN, "the episode is over");
    }
}

/* ---- The thread ---- */

/* When something is due, whatever comes from the driver. */
static uint64_t due_ns(const struct plant *plant)
{
    if (plant->state != PLANT_RUNNING) {
        return UINT64_MAX;
    }
    return plant->observed_ns + (plant->acts ? plant->period_ns : plant->deadline_ns);
}

/* What is due now. A plant that was itself stopped does not catch up: it holds still. */
static void look_at_clock(struct plant *plant)
{
    const uint64_t now_ns = clock_now_ns(), due = due_ns(plant);
    if (now_ns < due) {
        return;
    }
    metric_set(plant->lag, (double)(now_ns - due) * 1e-9);
    if (!plant->acts) {
        hold(plant, ROBOT_FAULT_LATE, "no action in time");
    } else if (now_ns > due + plant->period_ns) {
        hold(plant, ROBOT_FAULT_ROBOT, "the plant was stopped for longer than a period");
    } else {
        advance(plant);
    }
}

static void take_driver(struct plant *plant)
{
    const int fd = accept4(plant->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (plant->driver >= 0) {
        log_warn("a second driver is refused");
        (void)close(fd);
        return;
    }
    plant->driver = fd;
    tell(plant, "driver", "");
}

static void take_messages(struct plant *plant)
{
    status s = STATUS_OK;
    while (plant->driver >= 0 && s == STATUS_OK) {
        s = plant_link_receive(plant->driver, &plant->in);
        if (s == STATUS_CLOSED) {
            drop_driver(plant);
        } else if (s == STATUS_OK && plant->in.type == PLANT_RESET) {
            plant->acts = false;
            reset(plant, &plant->in);
        } else if (s == STATUS_OK && plant->in.type == PLANT_ACT) {
            take_action(plant, &plant->in);
        } else if (s == STATUS_OK && plant->in.type == PLANT_HOLD) {
            hold(plant, ROBOT_FAULT_UNKNOWN, "the driver says so");
        }
    }
}

/* Waits for a message, or until something is due. */
static void wait_for_it(struct plant *plant)
{
    struct pollfd fds[2] = {{.fd = plant->listening, .events = POLLIN},
                            {.fd = plant->driver, .events = POLLIN}};
    const uint64_t now_ns = clock_now_ns(), due = due_ns(plant);
    uint64_t wait_ns = due > now_ns ? due - now_ns : 0;
    wait_ns = wait_ns < IDLE_NS ? wait_ns : IDLE_NS;
    const struct timespec timeout = {(time_t)(wait_ns / NS_PER_S), (long)(wait_ns % NS_PER_S)};
    (void)ppoll(fds, plant->driver >= 0 ? 2 : 1, &timeout, NULL);
    if (fds[0].revents != 0) {
        take_driver(plant);
    }
    take_messages(plant);
    if (plant->driver < 0) {
        hold(plant, ROBOT_FAULT_UNKNOWN, "the driver is gone");
    }
}

static void *plant_main(void *arg)
{
    struct plant *plant = arg;
    const struct sched_param realtime = {.sched_priority = REALTIME_PRIO};
    if (plant->options->realtime) {
        const int number = pthread_setschedparam(pthread_self(), SCHED_FIFO, &realtime);
        log_info("real-time scheduling: %s", number == 0 ? "yes" : strerror(number));
    }
    while (!atomic_load(&plant->ending)) {
        wait_for_it(plant);
        look_at_clock(plant);
    }
    hold(plant, ROBOT_FAULT_ROBOT, "the plant ends");
    return NULL;
}

/* ---- Start and end ---- */

static void make_metrics(struct plant *plant)
{
    plant->steps_total =
        metric_counter("hindcast_robot_plant_steps_total", "Control steps of the model.", NULL);
    plant->held_total =
        metric_counter("hindcast_robot_plant_holds_total", "Times that it held still.", NULL);
    plant->lag = metric_gauge("hindcast_robot_plant_lag_seconds",
                              "How late the plant did what was due last.", NULL);
}

static void free_plant(struct plant *plant)
{
    environment_close(plant->environment);
    line_file_close(&plant->events);
    if (plant->driver >= 0) {
        (void)close(plant->driver);
    }
    if (plant->listening >= 0) {
        (void)close(plant->listening);
        (void)unlink(plant->options->plant);
    }
    mem_free(plant);
}

status plant_start(struct plant **started, struct process *process,
                   const struct experiment *experiment, const struct robot_sim_options *options,
                   const struct robot_description *robot, struct err *err)
{
    char path[CONFIG_TEXT_SIZE + 16];
    struct plant *plant = mem_new(sizeof *plant);
    if (plant == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "plant: out of memory");
    }
    plant->process = process;
    plant->options = options;
    plant->robot = robot;
    plant->listening = plant->driver = plant->events.fd = -1;
    plant->period_ns = (uint64_t)(robot_period_s(robot) * 1e9);
    plant->deadline_ns = (uint64_t)(robot->deadline_s * 1e9);
    rng_init(&plant->rng, (uint64_t)experiment->seed, "plant", 0);
    make_metrics(plant);
    (void)snprintf(path, sizeof path, "%s/plant.jsonl", experiment->run_dir);
    status s = environment_open(&plant->environment, options->model, err);
    s = s != STATUS_OK ? s : plant_link_listen(&plant->listening, options->plant, err);
    s = s != STATUS_OK ? s : line_file_open(&plant->events, path, err);
    if (s == STATUS_OK) {
        const int number = pthread_create(&plant->thread, NULL, plant_main, plant);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the plant's thread");
    }
    if (s != STATUS_OK) {
        free_plant(plant);
        return s;
    }
    *started = plant;
    return STATUS_OK;
}

void plant_stop(struct plant *plant)
{
    if (plant != NULL) {
        atomic_store(&plant->ending, true);
        (void)pthread_join(plant->thread, NULL);
        free_plant(plant);
    }
}
