/* gRPC around robot_driver.c. Everything that touches the rules runs on the call thread; what comes
 * from the robot is copied and posted there.
 *
 * One session has the lease. Others get an answer and are closed before they become one. */
#include "common/robot/robot_service.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/roles.h"
#include "common/robot/robot_wire.h"

#define LOG_MODULE "robot_service"
#include "common/base/log.h"

#define TICK_MS           2
#define MESSAGE_BYTES_MAX (1u << 20)

struct robot_service {
    struct robot_description robot;
    struct robot_backend backend;
    struct robot_driver driver;
    struct endpoint *endpoint;
    char prompt[ROBOT_REASON_SIZE];
    struct rpc_call *session;                      /* that has the lease; NULL: none */
    uint64_t request_sent_ns, request_received_ns; /* its last message */
    struct metric *episodes, *faults[ROBOT_FAULT_ROBOT + 1];
};

/* ---- To the client ---- */

/* Sends to the session, if it is still there. A client that does not read loses its session. */
static void send(struct robot_service *service, Hindcast__RobotResponse *response)
{
    if (service->session == NULL) {
        return;
    }
    response->request_sent_ns = service->request_sent_ns;
    response->request_received_ns = service->request_received_ns;
    response->sent_ns = clock_now_ns();
    if (rpc_call_send(service->session, &response->base, NULL) == STATUS_QUEUE_FULL) {
        struct rpc_call *session = service->session;
        service->session = NULL;
        robot_driver_leave(&service->driver);
        rpc_call_abort(session, STATUS_FULL, "the client does not read");
    }
}

static void send_frame(void *arg, const struct robot_frame *frame)
{
    struct robot_service *service = arg;
    const struct signature *signature = &service->robot.environment.signature;
    Hindcast__RobotResponse response = HINDCAST__ROBOT_RESPONSE__INIT;
    Hindcast__RobotResponse__Frame message = HINDCAST__ROBOT_RESPONSE__FRAME__INIT;
    message.episode = frame->episode;
    message.step = frame->step;
    message.n_observation = signature_observation(signature);
    message.observation = (float *)frame->observation;
    message.n_rewards = frame->step > 0 ? signature->K : 0;
    message.rewards = (float *)frame->rewards;
    message.discount = frame->discount;
    message.last = frame->last;
    message.observed_ns = frame->observed_ns;
    response.frame = &message;
    send(service, &response);
}

static void send_fault(void *arg, uint64_t episode, enum robot_fault_kind kind, const char *text)
{
    struct robot_service *service = arg;
    Hindcast__RobotResponse response = HINDCAST__ROBOT_RESPONSE__INIT;
    Hindcast__RobotResponse__Fault message = HINDCAST__ROBOT_RESPONSE__FAULT__INIT;
    log_warn("the episode ends and the robot holds still kind=%s user=%s: %s",
             robot_fault_text(kind), service->driver.who, text);
    metric_add(service->faults[kind], 1);
    message.episode = episode;
    message.kind = (Hindcast__RobotResponse__Fault__Kind)kind;
    message.text = (char *)text;
    response.fault = &message;
    send(service, &response);
}

static void send_waits(void *arg, const char *text)
{
    Hindcast__RobotResponse response = HINDCAST__ROBOT_RESPONSE__INIT;
    response.waits = (char *)text;
    send(arg, &response);
}

static void close_session(void *arg, status code, const char *text)
{
    struct robot_service *service = arg;
    if (service->session != NULL) {
        log_info("the session is closed: %s", text);
        rpc_call_finish(service->session, code, text);
        service->session = NULL;
    }
}

/* ---- To the robot ---- */

static void reset_robot(void *arg, const struct robot_start *start)
{
    struct robot_service *service = arg;
    metric_add(service->episodes, 1);
    service->backend.reset(service->backend.arg, start);
}

static void act(void *arg, uint64_t episode, uint64_t step, const float *action)
{
    struct robot_service *service = arg;
    service->backend.act(service->backend.arg, episode, step, action);
}

static void hold(void *arg)
{
    struct robot_service *service = arg;
    service->backend.hold(service->backend.arg);
}

static const struct robot_driver_effects effects = {.reset = reset_robot,
                                                    .act = act,
                                                    .hold = hold,
                                                    .frame = send_frame,
                                                    .fault = send_fault,
                                                    .waits = send_waits,
                                                    .close = close_session};

/* ---- Calls: Session ---- */

/* The first message must be Open; LIMIT answers a second client. */
static void open_session(struct robot_service *service, struct rpc_call *call,
                         const Hindcast__RobotRequest *request)
{
    struct err err = {0};
    status s = request->open == NULL
                   ? err_set(&err, STATUS_INVALID, "a session begins with open")
                   : robot_driver_open(&service->driver, request->open->who, clock_now_ns(), &err);
    if (s != STATUS_OK) {
        rpc_call_finish(call, s == STATUS_LIMIT ? STATUS_FULL : s, err.text);
        return;
    }
    log_info("leased user=%s peer=%s", service->driver.who, rpc_call_peer(call));
    service->session = call;
    Hindcast__RobotResponse response = HINDCAST__ROBOT_RESPONSE__INIT;
    Hindcast__RobotResponse__Opened opened = HINDCAST__ROBOT_RESPONSE__OPENED__INIT;
    opened.lease_ms = service->robot.lease_ms;
    response.opened = &opened;
    send(service, &response);
}

/* What a message of the session asks for. */
static status serve(struct robot_service *service, const Hindcast__RobotRequest *request,
                    uint64_t now_ns, struct err *err)
{
    if (request->reset != NULL) {
        const struct robot_start start = {request->reset->episode, request->reset->seed,
                                          request->reset->task, request->reset->flags};
        return robot_driver_reset(&service->driver, &start, now_ns, err);
    }
    if (request->act != NULL) {
        return robot_driver_act(&service->driver, request->act->episode, request->act->step,
                                request->act->action, request->act->n_action, now_ns, err);
    }
    if (request->open != NULL) {
        return err_set(err, STATUS_INVALID, "open: the session is open already");
    }
    if (request->end) {
        robot_driver_end(&service->driver, now_ns);
    } else {
        robot_driver_heard(&service->driver, now_ns);
    }
    return STATUS_OK;
}

static void on_session(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct robot_service *service = rpc_call_service(call);
    const Hindcast__RobotRequest *request = (const Hindcast__RobotRequest *)message;
    const uint64_t now_ns = clock_now_ns();
    struct err err = {0};
    if (call == service->session || service->session == NULL) {
        service->request_sent_ns = request->sent_ns;
        service->request_received_ns = now_ns;
    }
    if (call != service->session) {
        open_session(service, call, request);
        return;
    }
    status s = serve(service, request, now_ns, &err);
    if (s != STATUS_OK) {
        log_warn("the session is closed user=%s: %s", service->driver.who, err.text);
        service->session = NULL;
        robot_driver_leave(&service->driver);
        rpc_call_finish(call, s, err.text);
    }
}

static void on_session_end(struct rpc_call *call)
{
    struct robot_service *service = rpc_call_service(call);
    if (call == service->session) {
        log_info("the lease is given back user=%s", service->driver.who);
        service->session = NULL;
        robot_driver_leave(&service->driver);
    }
}

/* The client says no more: the session is over. */
static void on_half_closed(struct rpc_call *call)
{
    on_session_end(call);
    rpc_call_finish(call, STATUS_OK, "");
}

/* ---- Calls: the others ---- */

static void fill_state(const struct robot_service *service, Hindcast__RobotState *state)
{
    const struct robot_driver *driver = &service->driver;
    hindcast__robot_state__init(state);
    state->user = (char *)driver->who;
    state->stopped = driver->stopped;
    state->reason = (char *)robot_driver_reason(driver);
    state->asks = robot_driver_asks(driver);
    state->moving = driver->state > ROBOT_IDLE;
}

static void reply_state(struct rpc_call *call)
{
    Hindcast__RobotState state;
    fill_state(rpc_call_service(call), &state);
    rpc_call_reply(call, &state.base);
}

static void on_describe(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct robot_service *service = rpc_call_service(call);
    struct robot_wire *wire = mem_new(sizeof *wire);
    Hindcast__RobotState state;
    (void)message;
    if (wire == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "describe: out of memory");
        return;
    }
    robot_wire_fill(wire, &service->robot);
    fill_state(service, &state);
    wire->message.state = &state;
    rpc_call_reply(call, &wire->message.base);
    mem_free(wire);
}

static void on_stop(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct robot_service *service = rpc_call_service(call);
    const Hindcast__StopRequest *request = (const Hindcast__StopRequest *)message;
    robot_driver_stop(&service->driver, request->who, request->reason, request->after_episode != 0);
    log_warn("%s", service->driver.reason);
    reply_state(call);
}

static void on_resume(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct robot_service *service = rpc_call_service(call);
    log_info("resumed by=%s", ((const Hindcast__ResumeRequest *)message)->who);
    robot_driver_resume(&service->driver);
    reply_state(call);
}

static void on_confirm(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct robot_service *service = rpc_call_service(call);
    struct err err = {0};
    status s = robot_driver_confirm(&service->driver, &err);
    if (s != STATUS_OK) {
        rpc_call_finish(call, s, err.text);
        return;
    }
    log_info("the operator confirms by=%s", ((const Hindcast__ConfirmRequest *)message)->who);
    reply_state(call);
}

/* Anybody may stop the robot; who acts with it may do so, and may confirm and resume. */
#define ACTS (ROLE_EVALUATE | ROLE_INSERT | ROLE_ADMIN)
static const struct rpc_method methods[] = {
    {.name = "Describe", .kind = RPC_UNARY, .roles = ACTS, .message = on_describe},
    {.name = "Session",
     .kind = RPC_BIDI,
     .roles = ACTS,
     .message = on_session,
     .half_closed = on_half_closed,
     .done = on_session_end},
    {.name = "Stop", .kind = RPC_UNARY, .message = on_stop},
    {.name = "Resume", .kind = RPC_UNARY, .roles = ACTS, .message = on_resume},
    {.name = "Confirm", .kind = RPC_UNARY, .roles = ACTS, .message = on_confirm},
};

/* ---- From the robot ---- */

/* What is posted to the call thread: a frame, a fault, or a change of reachability. */
struct report {
    struct robot_service *service;
    enum { REPORT_FRAME, REPORT_FAULT, REPORT_REACHABLE, REPORT_STOP } type;
    struct robot_frame frame;
    enum robot_fault_kind kind;
    bool reachable;
    char who[ROBOT_WHO_SIZE];
    char text[ROBOT_REASON_SIZE];
    float numbers[]; /* observation and rewards */
};

static void on_report(void *arg)
{
    struct report *report = arg;
    struct robot_driver *driver = &report->service->driver;
    switch (report->type) {
    case REPORT_FRAME:
        robot_driver_frame(driver, &report->frame, clock_now_ns());
        break;
    case REPORT_FAULT:
        robot_driver_robot_fault(driver, report->frame.episode, report->kind, report->text);
        break;
    case REPORT_REACHABLE:
        robot_driver_reachable(driver, report->reachable, report->text);
        break;
    case REPORT_STOP:
        robot_driver_stop(driver, report->who, report->text, false);
        break;
    }
    mem_free(report);
}

/* A report with room for `n` numbers. Without memory for it the robot's word is lost, which the
 * rules' deadlines find. */
static struct report *new_report(struct robot_service *service, size_t n, const char *text)
{
    struct report *report = mem_new(sizeof *report + n * sizeof(float));
    if (report == NULL) {
        log_error("out of memory for what the robot says");
        return NULL;
    }
    report->service = service;
    (void)snprintf(report->text, sizeof report->text, "%s", text);
    return report;
}

static void post(struct report *report)
{
    if (report != NULL && rpc_server_post(endpoint_server(report->service->endpoint), on_report,
                                          report) != STATUS_OK) {
        mem_free(report);
    }
}

void robot_service_frame(struct robot_service *service, const struct robot_frame *frame)
{
    const struct signature *signature = &service->robot.environment.signature;
    const uint32_t O = signature_observation(signature), K = signature->K;
    struct report *report = new_report(service, O + K, "");
    if (report != NULL) {
        report->type = REPORT_FRAME;
        report->frame = *frame;
        memcpy(report->numbers, frame->observation, O * sizeof(float));
        if (frame->step > 0) {
            memcpy(report->numbers + O, frame->rewards, K * sizeof(float));
        }
        report->frame.observation = report->numbers;
        report->frame.rewards = report->numbers + O;
        post(report);
    }
}

void robot_service_fault(struct robot_service *service, uint64_t episode,
                         enum robot_fault_kind kind, const char *text)
{
    struct report *report = new_report(service, 0, text);
    if (report != NULL) {
        report->type = REPORT_FAULT;
        report->frame.episode = episode;
        report->kind = kind;
        post(report);
    }
}

void robot_service_reachable(struct robot_service *service, bool reachable, const char *text)
{
    struct report *report = new_report(service, 0, text);
    if (report != NULL) {
        report->type = REPORT_REACHABLE;
        report->reachable = reachable;
        post(report);
    }
}

void robot_service_stop(struct robot_service *service, const char *who, const char *reason)
{
    struct report *report = new_report(service, 0, reason);
    if (report != NULL) {
        report->type = REPORT_STOP;
        (void)snprintf(report->who, sizeof report->who, "%s", who);
        post(report);
    }
}

/* ---- Opening and closing ---- */

static void tick(void *arg)
{
    robot_driver_tick(&((struct robot_service *)arg)->driver, clock_now_ns());
}

static void make_metrics(struct robot_service *service)
{
    service->episodes =
        metric_counter("hindcast_robot_driver_episodes_total", "Resets given to the robot.", NULL);
    for (int kind = 0; kind <= ROBOT_FAULT_ROBOT; kind++) {
        char labels[48];
        (void)snprintf(labels, sizeof labels, "kind=\"%s\"",
                       robot_fault_text((enum robot_fault_kind)kind));
        service->faults[kind] = metric_counter("hindcast_robot_driver_faults_total",
                                               "Episodes that ended before their time.", labels);
    }
}

/* Nobody may move a robot over a network without a certificate. */
static status check_address(const struct robot_service_settings *settings, struct err *err)
{
    const struct rpc_tls tls = endpoint_tls(settings->experiment);
    if (!rpc_address_is_local(settings->address) &&
        (tls.ca == NULL || tls.cert == NULL || tls.key == NULL)) {
        return err_set(err, STATUS_DENIED,
                       "%s: a robot listens beyond this machine only with mutual TLS: set "
                       "experiment.tls_ca, tls_cert and tls_key",
                       settings->address);
    }
    return robot_check(settings->robot, err);
}

status robot_service_open(struct robot_service **opened,
                          const struct robot_service_settings *settings, struct err *err)
{
    status s = check_address(settings, err);
    struct robot_service *service = s == STATUS_OK ? mem_new(sizeof *service) : NULL;
    if (service == NULL) {
        return s != STATUS_OK ? s : err_set(err, STATUS_NO_MEMORY, "robot: out of memory");
    }
    service->robot = *settings->robot;
    service->backend = settings->backend;
    (void)snprintf(service->prompt, sizeof service->prompt, "%s",
                   settings->prompt != NULL ? settings->prompt : "");
    robot_driver_init(&service->driver, &service->robot, &effects, service,
                      service->prompt[0] != '\0' ? service->prompt : NULL);
    make_metrics(service);
    const struct endpoint_settings endpoint = {.experiment = settings->experiment,
                                               .options = settings->options,
                                               .addresses = &settings->address,
                                               .n_addresses = 1,
                                               .max_message_bytes = MESSAGE_BYTES_MAX,
                                               .metrics_prefix = "hindcast_robot_driver_"};
    s = endpoint_open(&service->endpoint, &endpoint, err);
    if (s == STATUS_OK) {
        s = rpc_server_add(endpoint_server(service->endpoint), &hindcast__robot__descriptor,
                           methods, sizeof methods / sizeof methods[0], service, err);
    }
    if (s != STATUS_OK) {
        endpoint_close(service->endpoint);
        mem_free(service);
        return s;
    }
    rpc_server_every(endpoint_server(service->endpoint), TICK_MS, tick, service);
    *opened = service;
    return STATUS_OK;
}

status robot_service_start(struct robot_service *service, struct err *err)
{
    return endpoint_start(service->endpoint, err);
}

int robot_service_port(const struct robot_service *service)
{
    return rpc_server_port(endpoint_server(service->endpoint), 0);
}

void robot_service_close(struct robot_service *service)
{
    if (service != NULL) {
        endpoint_stop_serving(service->endpoint);
        endpoint_close(service->endpoint);
        mem_free(service);
    }
}
