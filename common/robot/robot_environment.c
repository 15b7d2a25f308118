/* The family `robot:`. An environment keeps its channel as long as it is open, and its session as
 * long as that lives: a lease that is over, or a driver that has gone, costs the episode, and the
 * next reset opens a new session.
 *
 * A reset that takes long is continued by the next one with the same start: the robot is not sent
 * away twice. */
#include "common/robot/robot_environment.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clients/peer.h"
#include "common/environments/environment_family.h"
#include "common/robot/robot_journal.h"
#include "common/robot/robot_limits.h"
#include "common/robot/robot_session.h"

#define LOG_MODULE "robot"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define PREFIX      "robot:"
#define DESCRIBE_MS 10000 /* how long a robot may take to answer at the start */
#define RESET_MS    1500  /* a reset that takes longer returns RETRY */
#define ANSWER_MS   500   /* beyond three periods, after which a frame counts as lost */

/* What robot_environment_install was given. */
static const struct experiment *shared;
static const char *shared_role;
static bool shared_keep;

struct robot {
    struct environment environment; /* first */
    struct robot_description description;
    struct rpc_channel *channel;
    struct robot_session *session; /* NULL: none */
    struct robot_journal *journal;
    struct robot_limits limits;
    struct robot_start start; /* of the episode, or of the reset that is under way */
    bool resetting;           /* the robot was sent to `start` and has not arrived */
    uint64_t step;
    char who[128];
    char waits[256]; /* what the reset waits for */
    struct metric *failed[ROBOT_FAULT_ROBOT + 1], *waited;
};

static const char *address_of(const char *uri)
{
    return uri + strlen(PREFIX);
}

/* ---- The link ---- */

/* As the driver's own rule: nobody moves a robot over a network without a certificate. */
static status open_channel(struct rpc_channel **channel, const char *uri, struct err *err)
{
    const char *address = address_of(uri);
    status s = rpc_address_check(address, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "environment %s", uri);
    }
    if (!rpc_address_is_local(address) &&
        (shared->tls_ca[0] == '\0' || shared->tls_cert[0] == '\0' || shared->tls_key[0] == '\0')) {
        return err_set(err, STATUS_DENIED,
                       "environment %s: a robot beyond this machine needs mutual TLS: set "
                       "experiment.tls_ca, tls_cert and tls_key",
                       uri);
    }
    return peer_channel_open(channel, address, shared, 0, err);
}

static void drop_session(struct robot *robot)
{
    robot_session_close(robot->session);
    robot->session = NULL;
    robot->resetting = false;
}

/* Opens a session where there is none. LIMIT: somebody else has the lease. */
static status take_session(struct robot *robot, uint64_t timeout_ms, struct err *err)
{
    if (robot->session != NULL) {
        return STATUS_OK;
    }
    if (rpc_channel_wait(robot->channel, timeout_ms) != STATUS_OK) {
        return err_set(err, STATUS_UNAVAILABLE, "the robot's driver cannot be reached");
    }
    return robot_session_open(&robot->session, robot->channel, &robot->description, robot->who,
                              timeout_ms, err);
}

/* ---- Reset ---- */

static bool same_start(const struct robot_start *a, const struct environment_start *b)
{
    return a->seed == b->seed && a->task == b->task && a->flags == b->flags;
}

/* Sends the robot to its start, unless it is on its way there. */
static status send_reset(struct robot *robot, const struct environment_start *start)
{
    if (robot->resetting && same_start(&robot->start, start)) {
        return STATUS_OK;
    }
    robot->start =
        (struct robot_start){robot->start.episode + 1, start->seed, start->task, start->flags};
    robot->resetting = true;
    (void)snprintf(robot->waits, sizeof robot->waits, "the robot goes to its start state");
    return robot_session_reset(robot->session, &robot->start);
}

/* Counts a failed episode and gives the status that says why. */
static status fail(struct robot *robot, enum robot_fault_kind kind, const char *text,
                   struct err *err)
{
    metric_add(robot->failed[kind], 1);
    robot->resetting = false;
    status s = robot_journal_fail(robot->journal, robot_fault_text(kind), text, err);
    if (s != STATUS_OK) {
        return s;
    }
    return err_set(err, robot_fault_status(kind), "environment %s: %s: %s",
                   robot->environment.description.uri, robot_fault_text(kind), text);
}

/* The frame that an episode begins with, or RETRY. */
static status await_start(struct robot *robot, float *observation, uint64_t until_ns,
                          struct err *err)
{
    struct robot_event event;
    for (;;) {
        const uint64_t now_ns = clock_now_ns();
        const uint64_t left_ms = until_ns > now_ns ? (until_ns - now_ns) / NS_PER_MS : 0;
        status s = robot_session_next(robot->session, left_ms, &event, err);
        if (s == STATUS_TIMEOUT) {
            return err_set(err, STATUS_RETRY, "%s", robot->waits);
        }
        if (s != STATUS_OK) {
            return s;
        }
        if (event.type == ROBOT_EVENT_WAITS) {
            (void)snprintf(robot->waits, sizeof robot->waits, "%s", event.text);
        } else if (event.frame.episode != robot->start.episode) {
            continue; /* of the last episode */
        } else if (event.type == ROBOT_EVENT_FAULT) {
            return fail(robot, event.kind, event.text, err);
        } else if (event.frame.step == 0) {
            memcpy(observation, event.frame.observation,
                   robot->environment.O * sizeof *observation);
            return STATUS_OK;
        }
    }
}

/* One attempt: session, message, answer. */
static status try_reset(struct robot *robot, const struct environment_start *start,
                        float *observation, uint64_t until_ns, struct err *err)
{
    status s = take_session(robot, RESET_MS, err);
    s = s != STATUS_OK ? s : send_reset(robot, start);
    s = s != STATUS_OK ? s : await_start(robot, observation, until_ns, err);
    if (s == STATUS_CLOSED) {
        s = robot_session_why(robot->session, err);
    }
    if (s != STATUS_OK && s != STATUS_RETRY && robot->resetting) {
        drop_session(robot);
    }
    return s;
}

static status reset(struct environment *environment, const struct environment_start *start,
                    float *observation, struct err *err)
{
    struct robot *robot = (struct robot *)environment;
    struct err why = {0};
    const uint64_t until_ns = clock_now_ns() + RESET_MS * NS_PER_MS;
    const bool old_session = robot->session != NULL;
    status s = try_reset(robot, start, observation, until_ns, &why);
    /* The lease may have run out while nobody acted: a new one, at once. */
    if (s != STATUS_OK && old_session && robot->session == NULL) {
        s = try_reset(robot, start, observation, until_ns, &why);
    }
    if (s == STATUS_OK) {
        robot->resetting = false;
        robot->step = 0;
        robot_limits_begin(&robot->limits, &robot->description);
        s = robot_limits_observe(&robot->limits, observation, &why);
        s = s != STATUS_OK ? s : robot_journal_begin(robot->journal, observation, &why);
        if (s != STATUS_OK) {
            (void)!robot_session_end(robot->session);
        }
    }
    /* What may pass by itself is worth another attempt; what the robot found wrong is a failure. */
    const bool passes =
        s == STATUS_RETRY || s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT || s == STATUS_LIMIT;
    if (s != STATUS_OK) {
        metric_add(robot->waited, 1);
        return err_set(err, passes ? STATUS_RETRY : s, "environment %s: %s",
                       environment->description.uri, why.text);
    }
    return STATUS_OK;
}

/* ---- Step ---- */

/* How long to wait for a frame. */
static uint64_t answer_ms(const struct robot *robot)
{
    const uint64_t periods_ms = (uint64_t)ceil(3e3 * robot_period_s(&robot->description));
    const bool first = robot->step == 0;
    return periods_ms + ANSWER_MS + (first ? ANSWER_MS : 0);
}

/* The next frame of the episode. */
static status await_frame(struct robot *robot, struct robot_frame *frame, struct err *err)
{
    struct robot_event event;
    do {
        status s = robot_session_next(robot->session, answer_ms(robot), &event, err);
        if (s == STATUS_TIMEOUT) {
            drop_session(robot);
            return fail(robot, ROBOT_FAULT_LATE, "no observation in time", err);
        }
        if (s == STATUS_CLOSED) {
            struct err why = {0};
            (void)robot_session_why(robot->session, &why);
            drop_session(robot);
            return fail(robot, ROBOT_FAULT_ROBOT, why.text, err);
        }
        if (s != STATUS_OK) {
            drop_session(robot);
            return s;
        }
    } while (event.type == ROBOT_EVENT_WAITS || event.frame.episode != robot->start.episode);
    if (event.type == ROBOT_EVENT_FAULT) {
        return fail(robot, event.kind, event.text, err);
    }
    *frame = event.frame;
    return STATUS_OK;
}

/* Checks a frame before anything of it is used. The driver has done so; we do not rely on it. */
static status check_frame(struct robot *robot, const struct robot_frame *frame, struct err *err)
{
    const uint32_t K = robot->environment.description.signature.K;
    struct err why = {0};
    status s = frame->step == robot->step + 1
                   ? STATUS_OK
                   : err_set(&why, STATUS_CORRUPT, "frame %llu behind frame %llu",
                             (unsigned long long)frame->step, (unsigned long long)robot->step);
    s = s != STATUS_OK ? s : robot_limits_observe(&robot->limits, frame->observation, &why);
    for (uint32_t k = 0; s == STATUS_OK && k < K; k++) {
        if (!isfinite(frame->rewards[k])) {
            s = err_set(&why, STATUS_CORRUPT, "reward %u is %g", k, (double)frame->rewards[k]);
        }
    }
    if (s == STATUS_OK && !(frame->discount >= 0.0f && frame->discount <= 1.0f)) {
        s = err_set(&why, STATUS_CORRUPT, "discount %g", (double)frame->discount);
    }
    if (s == STATUS_OK) {
        return s;
    }
    (void)!robot_session_end(robot->session);
    return fail(robot, s == STATUS_LIMIT ? ROBOT_FAULT_LIMITS : ROBOT_FAULT_SENSOR, why.text, err);
}

static status step(struct environment *environment, const float *action, float *observation,
                   float *rewards, float *discount, bool *last, struct err *err)
{
    struct robot *robot = (struct robot *)environment;
    const struct signature *signature = &environment->description.signature;
    float physical[SIGNATURE_ACTIONS_MAX];
    struct robot_frame frame = {0};
    struct err why = {0};
    signature_to_physical(signature, physical, action);
    if (robot_limits_act(&robot->limits, physical, &why) != STATUS_OK) {
        (void)!robot_session_end(robot->session);
        return fail(robot, ROBOT_FAULT_LIMITS, why.text, err);
    }
    /* A session that has ended is found by await_frame, which says why. */
    (void)!robot_session_act(robot->session, robot->start.episode, robot->step, physical);
    status s = await_frame(robot, &frame, err);
    s = s != STATUS_OK ? s : check_frame(robot, &frame, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = robot_journal_step(robot->journal, action, frame.rewards, frame.discount, frame.observation,
                           err);
    s = s != STATUS_OK || !frame.last ? s : robot_journal_end(robot->journal, err);
    if (s != STATUS_OK) {
        (void)!robot_session_end(robot->session);
        return s;
    }
    robot->step = frame.step;
    memcpy(observation, frame.observation, environment->O * sizeof *observation);
    memcpy(rewards, frame.rewards, signature->K * sizeof *rewards);
    *discount = frame.discount;
    *last = frame.last;
    return STATUS_OK;
}

/* ---- Opening ---- */

static void close_robot(struct environment *environment)
{
    struct robot *robot = (struct robot *)environment;
    robot_session_close(robot->session);
    robot_journal_close(robot->journal);
    if (robot->channel != NULL) {
        rpc_channel_close(robot->channel);
    }
    rpc_fini();
    mem_free(robot);
}

static const struct environment_operations operations = {
    .reset = reset, .step = step, .close = close_robot};

static status describe(struct environment_description *description, const char *uri,
                       struct err *err)
{
    struct robot_description *robot = mem_new(sizeof *robot);
    struct rpc_channel *channel;
    if (robot == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environment %s: out of memory", uri);
    }
    /* gRPC's threads must not take the signals of a process that has not been opened yet. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rpc_init();
    status s = open_channel(&channel, uri, err);
    if (s == STATUS_OK) {
        s = robot_describe(channel, uri, DESCRIBE_MS, robot, err);
        rpc_channel_close(channel);
    }
    rpc_fini();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (s == STATUS_OK) {
        *description = robot->environment;
    }
    mem_free(robot);
    return s;
}

/* RUN_DIR/robot: one per robot and process that acts on it. */
static status open_journal(struct robot *robot, struct err *err)
{
    char folder[CONFIG_TEXT_SIZE + 64], program[64];
    (void)snprintf(folder, sizeof folder, "%s/robot-%s", shared->run_dir, shared_role);
    (void)snprintf(program, sizeof program, "hindcast-%s", shared_role);
    const struct robot_journal_settings settings = {.folder = folder,
                                                    .program = program,
                                                    .robot = robot->description.name,
                                                    .keep = shared_keep};
    return robot_journal_open(&robot->journal, &settings, &robot->environment.description.signature,
                              err);
}

static void make_metrics(struct robot *robot)
{
    for (int kind = 0; kind <= ROBOT_FAULT_ROBOT; kind++) {
        char labels[48];
        (void)snprintf(labels, sizeof labels, "kind=\"%s\"",
                       robot_fault_text((enum robot_fault_kind)kind));
        robot->failed[kind] =
            metric_counter("hindcast_robot_failed_episodes_total",
                           "Episodes that the robot ended before their time.", labels);
    }
    robot->waited = metric_counter("hindcast_robot_waits_total",
                                   "Resets that found the robot not ready.", NULL);
}

static status open_robot(struct environment **environment, const char *uri, struct err *err)
{
    struct robot *robot = mem_new(sizeof *robot);
    if (robot == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environment %s: out of memory", uri);
    }
    char host[64] = "";
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(robot->who, sizeof robot->who, "%s, host %s, pid %d", shared_role, host,
                   (int)getpid());
    robot->environment.operations = &operations;
    rpc_init();
    make_metrics(robot);
    status s = open_channel(&robot->channel, uri, err);
    s = s != STATUS_OK ? s
                       : robot_describe(robot->channel, uri, DESCRIBE_MS, &robot->description, err);
    if (s == STATUS_OK) {
        robot->environment.description = robot->description.environment;
        robot->environment.O = signature_observation(&robot->description.environment.signature);
        s = take_session(robot, DESCRIBE_MS, err);
        s = s != STATUS_OK ? s : open_journal(robot, err);
        s = s == STATUS_OK ? s : err_context(err, s, "environment %s", uri);
    }
    if (s != STATUS_OK) {
        close_robot(&robot->environment);
        return s;
    }
    log_info("robot leased uri=%s name=%s period_s=%g deadline_s=%g", uri, robot->description.name,
             robot_period_s(&robot->description), robot->description.deadline_s);
    *environment = &robot->environment;
    return STATUS_OK;
}

static const char *const names[] = {"robot:HOST:PORT", "robot:unix:PATH", NULL};

static const char *const *list_names(void)
{
    return names;
}

static const char *const prefixes[] = {PREFIX, NULL};
static const struct environment_family family = {prefixes, list_names, describe, open_robot};

void robot_environment_install(const struct experiment *experiment, const char *role, bool keep)
{
    ASSERT(shared == NULL);
    shared = experiment;
    shared_role = role;
    shared_keep = keep;
    environment_add_family(&family);
}
