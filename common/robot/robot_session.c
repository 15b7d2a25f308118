/* One bidi stream. Messages of the robot are taken one at a time, and the last one is kept until the
 * next, since events point into it.
 *
 * Metrics are those of the process: one robot per process is the usual case. */
#include "common/robot/robot_session.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define SEND_MS  1000
#define CLOSE_MS 1000

struct robot_session {
    const struct robot_description *robot; /* borrowed */
    struct rpc_stream *stream;
    struct rpc_message last; /* body NULL: none */
    struct robot_clock clock;
    uint64_t answered; /* sent_ns of the last request that an answer has told of */
    struct metric *delay, *offset, *answer;
};

status robot_describe(struct rpc_channel *channel, const char *uri, uint64_t timeout_ms,
                      struct robot_description *robot, struct err *err)
{
    const struct rpc_call_options options = {.timeout_ms = timeout_ms, .wait_for_ready = true};
    Hindcast__DescribeRequest request = HINDCAST__DESCRIBE_REQUEST__INIT;
    struct rpc_message response;
    status s = rpc_unary(channel, &hindcast__robot__descriptor, "Describe", &request.base, NULL,
                         &options, &response, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = robot_wire_read(robot, (const Hindcast__RobotDescription *)response.body, uri, err);
    rpc_message_free(&response);
    return s == STATUS_OK ? s : err_context(err, s, "%s", uri);
}

static void make_metrics(struct robot_session *session)
{
    size_t n;
    const double *bounds = metric_latency_bounds(&n);
    session->delay = metric_gauge("hindcast_robot_delay_seconds",
                                  "Least time that a message and its answer took, lately.", NULL);
    session->offset =
        metric_gauge("hindcast_robot_clock_offset_seconds", "The robot's clock less ours.", NULL);
    session->answer = metric_histogram("hindcast_robot_observation_age_seconds",
                                       "From an observation to its arrival here.", NULL, bounds, n);
}

/* ---- Messages ---- */

static status send(struct robot_session *session, Hindcast__RobotRequest *request)
{
    request->sent_ns = clock_now_ns();
    status s = rpc_stream_send(session->stream, &request->base, NULL, SEND_MS);
    return s == STATUS_TIMEOUT ? STATUS_CLOSED : s;
}

/* The next message, kept in `last`. Its times go into the clock. */
static status receive(struct robot_session *session, uint64_t timeout_ms)
{
    if (session->last.body != NULL) {
        rpc_message_free(&session->last);
        session->last = (struct rpc_message){0};
    }
    struct rpc_message message;
    status s = rpc_stream_recv(session->stream, &message, timeout_ms);
    if (s != STATUS_OK) {
        return s == STATUS_TIMEOUT ? s : STATUS_CLOSED;
    }
    session->last = message;
    const Hindcast__RobotResponse *response = (const Hindcast__RobotResponse *)message.body;
    /* Each request gives one sample. */
    if (response->request_sent_ns != session->answered) {
        int64_t delay_ns;
        session->answered = response->request_sent_ns;
        robot_clock_add(&session->clock, response->request_sent_ns, response->request_received_ns,
                        response->sent_ns, clock_now_ns());
        const int64_t offset_ns = robot_clock_offset_ns(&session->clock, &delay_ns);
        metric_set(session->offset, (double)offset_ns * 1e-9);
        metric_set(session->delay, (double)delay_ns * 1e-9);
    }
    return STATUS_OK;
}

status robot_session_why(struct robot_session *session, struct err *err)
{
    struct rpc_stream *stream = session->stream;
    session->stream = NULL;
    status s = stream == NULL ? STATUS_CLOSED : rpc_stream_finish(stream, CLOSE_MS, err);
    return s == STATUS_OK || s == STATUS_CLOSED
               ? err_set(err, STATUS_UNAVAILABLE, "the robot has closed the session")
               : s;
}

/* ---- Opening ---- */

/* Sends Open and waits for its answer. */
static status take_lease(struct robot_session *session, const char *who, uint64_t timeout_ms,
                         struct err *err)
{
    Hindcast__RobotRequest request = HINDCAST__ROBOT_REQUEST__INIT;
    Hindcast__RobotRequest__Open open = HINDCAST__ROBOT_REQUEST__OPEN__INIT;
    open.who = (char *)who;
    request.open = &open;
    status s = send(session, &request);
    s = s != STATUS_OK ? s : receive(session, timeout_ms);
    if (s == STATUS_CLOSED) {
        s = robot_session_why(session, err);
        if (s == STATUS_FULL) { /* how LIMIT travels */
            s = err->code = STATUS_LIMIT;
        }
        return s;
    }
    if (s != STATUS_OK) {
        return err_set(err, s, "the robot does not answer");
    }
    return ((const Hindcast__RobotResponse *)session->last.body)->opened != NULL
               ? STATUS_OK
               : err_set(err, STATUS_INVALID, "the robot does not answer open with opened");
}

status robot_session_open(struct robot_session **opened, struct rpc_channel *channel,
                          const struct robot_description *robot, const char *who,
                          uint64_t timeout_ms, struct err *err)
{
    struct err unused;
    err = err != NULL ? err : &unused;
    struct robot_session *session = mem_new(sizeof *session);
    if (session == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "robot: out of memory");
    }
    session->robot = robot;
    make_metrics(session);
    status s = rpc_stream_open(&session->stream, channel, &hindcast__robot__descriptor, "Session",
                               RPC_BIDI, NULL, err);
    s = s != STATUS_OK ? s : take_lease(session, who, timeout_ms, err);
    if (s != STATUS_OK) {
        robot_session_close(session);
        return s;
    }
    *opened = session;
    return STATUS_OK;
}

void robot_session_close(struct robot_session *session)
{
    if (session != NULL) {
        struct err unused;
        if (session->stream != NULL) {
            (void)!rpc_stream_finish(session->stream, CLOSE_MS, &unused);
        }
        if (session->last.body != NULL) {
            rpc_message_free(&session->last);
        }
        mem_free(session);
    }
}

/* ---- Episodes ---- */

status robot_session_reset(struct robot_session *session, const struct robot_start *start)
{
    Hindcast__RobotRequest request = HINDCAST__ROBOT_REQUEST__INIT;
    Hindcast__RobotRequest__Reset reset = HINDCAST__ROBOT_REQUEST__RESET__INIT;
    reset.episode = start->episode;
    reset.seed = start->seed;
    reset.task = start->task;
    reset.flags = start->flags;
    request.reset = &reset;
    return send(session, &request);
}

status robot_session_act(struct robot_session *session, uint64_t episode, uint64_t step,
                         const float *action)
{
    Hindcast__RobotRequest request = HINDCAST__ROBOT_REQUEST__INIT;
    Hindcast__RobotRequest__Act act = HINDCAST__ROBOT_REQUEST__ACT__INIT;
    act.episode = episode;
    act.step = step;
    act.n_action = session->robot->environment.signature.A;
    act.action = (float *)action;
    request.act = &act;
    return send(session, &request);
}

status robot_session_end(struct robot_session *session)
{
    Hindcast__RobotRequest request = HINDCAST__ROBOT_REQUEST__INIT;
    request.end = 1;
    return send(session, &request);
}

/* A frame's arrays must have the sizes of the signature. */
static status read_frame(struct robot_session *session,
                         const Hindcast__RobotResponse__Frame *message, struct robot_frame *frame,
                         struct err *err)
{
    const struct signature *signature = &session->robot->environment.signature;
    const uint32_t O = signature_observation(signature), K = signature->K;
    if (message->n_observation != O || message->n_rewards != (message->step > 0 ? K : 0)) {
        return err_set(err, STATUS_INVALID,
                       "frame %llu: %zu observations and %zu rewards: expected %u and %u",
                       (unsigned long long)message->step, message->n_observation,
                       message->n_rewards, O, message->step > 0 ? K : 0);
    }
    *frame = (struct robot_frame){.episode = message->episode,
                                  .step = message->step,
                                  .observation = message->observation,
                                  .rewards = message->rewards,
                                  .discount = message->discount,
                                  .last = message->last != 0,
                                  .observed_ns = message->observed_ns};
    if (message->step > 0) {
        int64_t delay_ns;
        const int64_t offset_ns = robot_clock_offset_ns(&session->clock, &delay_ns);
        metric_observe(session->answer,
                       (double)((int64_t)(clock_now_ns() - message->observed_ns) + offset_ns) *
                           1e-9);
    }
    return STATUS_OK;
}

status robot_session_next(struct robot_session *session, uint64_t timeout_ms,
                          struct robot_event *event, struct err *err)
{
    status s = receive(session, timeout_ms);
    if (s != STATUS_OK) {
        return s;
    }
    const Hindcast__RobotResponse *response = (const Hindcast__RobotResponse *)session->last.body;
    memset(event, 0, sizeof *event);
    event->text = "";
    if (response->frame != NULL) {
        event->type = ROBOT_EVENT_FRAME;
        return read_frame(session, response->frame, &event->frame, err);
    }
    if (response->fault != NULL) {
        const int kind = (int)response->fault->kind;
        event->type = ROBOT_EVENT_FAULT;
        event->frame.episode = response->fault->episode;
        event->kind = kind > 0 && kind <= ROBOT_FAULT_ROBOT ? (enum robot_fault_kind)kind
                                                            : ROBOT_FAULT_UNKNOWN;
        event->text = response->fault->text;
        return STATUS_OK;
    }
    event->type = ROBOT_EVENT_WAITS;
    event->text = response->waits;
    return STATUS_OK;
}
