/* hindcast-robot-operator: what a person at a robot does: look, stop, pause, resume, confirm. For the
 * driver of any robot; asks once, prints the answer and leaves. Exit codes: 0, 1 the robot did not
 * answer or refused, 2 bad options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clients/peer.h"
#include "common/robot/robot_wire.h"
#include "common/rpc/client.h"

#define ANSWER_MS 10000

struct operator_options {
    char robot[CONFIG_TEXT_SIZE];
    char act[CONFIG_TEXT_SIZE];
    char who[CONFIG_TEXT_SIZE];
    char reason[CONFIG_TEXT_SIZE];
};

#define FIELD(name) offsetof(struct operator_options, name)

static const struct config_option operator_options_table[] = {
    {"robot", CONFIG_TEXT, FIELD(robot), "", "", 0, 0, NULL,
     "address of its driver, HOST:PORT or unix:PATH"},
    {"do", CONFIG_CHOICE, FIELD(act), "", "status", 0, 0, "status|stop|pause|resume|confirm",
     "tell how it is; stop it now; stop it after the episode; let it go on; say that what a reset "
     "asks for is done"},
    {"who", CONFIG_TEXT, FIELD(who), "", "operator", 0, 0, NULL, "name that is shown to others"},
    {"reason", CONFIG_TEXT, FIELD(reason), "", "", 0, 0, NULL,
     "why the robot stops; those who wait for it are told"},
};

static void tell(const Hindcast__RobotState *state)
{
    printf("user     %s\n", state->user[0] != '\0' ? state->user : "nobody");
    printf("moving   %s\n", state->moving ? "yes" : "no");
    printf("stopped  %s\n", state->stopped ? "yes" : "no");
    if (state->reason[0] != '\0') {
        printf("%-8s %s\n", state->asks ? "asks" : "reason", state->reason);
    }
}

/* One call, whose answer is the robot's state or, of Describe, has it. */
static status call(struct rpc_channel *channel, const char *method, const ProtobufCMessage *request,
                   struct err *err)
{
    const struct rpc_call_options options = {.timeout_ms = ANSWER_MS};
    struct rpc_message response;
    status s = rpc_unary(channel, &hindcast__robot__descriptor, method, request, NULL, &options,
                         &response, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (strcmp(method, "Describe") == 0) {
        const Hindcast__RobotDescription *robot = (const Hindcast__RobotDescription *)response.body;
        printf("robot    %s\n", robot->name);
        if (robot->state != NULL) {
            tell(robot->state);
        }
    } else {
        tell((const Hindcast__RobotState *)response.body);
    }
    rpc_message_free(&response);
    return STATUS_OK;
}

static status operate(struct rpc_channel *channel, struct operator_options *options,
                      struct err *err)
{
    Hindcast__DescribeRequest describe = HINDCAST__DESCRIBE_REQUEST__INIT;
    Hindcast__StopRequest stop = HINDCAST__STOP_REQUEST__INIT;
    Hindcast__ResumeRequest resume = HINDCAST__RESUME_REQUEST__INIT;
    Hindcast__ConfirmRequest confirm = HINDCAST__CONFIRM_REQUEST__INIT;
    stop.who = resume.who = confirm.who = options->who;
    stop.reason = options->reason;
    stop.after_episode = strcmp(options->act, "pause") == 0;
    if (strcmp(options->act, "stop") == 0 || stop.after_episode) {
        return call(channel, "Stop", &stop.base, err);
    }
    if (strcmp(options->act, "resume") == 0) {
        return call(channel, "Resume", &resume.base, err);
    }
    if (strcmp(options->act, "confirm") == 0) {
        return call(channel, "Confirm", &confirm.base, err);
    }
    return call(channel, "Describe", &describe.base, err);
}

int main(int argc, char **argv)
{
    static struct experiment experiment;
    static struct operator_options options;
    const struct config_section sections[] = {
        experiment_section(&experiment),
        {.name = "robot_operator",
         .options = operator_options_table,
         .n_options = sizeof operator_options_table / sizeof operator_options_table[0],
         .values = &options}};
    struct rpc_channel *channel;
    struct err err;
    bool done = false;
    status s = config_load(sections, 2, "hindcast-robot-operator: looks after a robot", argc, argv,
                           &done, &err);
    s = s != STATUS_OK || done ? s : rpc_address_check(options.robot, &err);
    if (s != STATUS_OK || done) {
        if (s != STATUS_OK) {
            fprintf(stderr, "hindcast-robot-operator: %s\n", err.text);
        }
        return s == STATUS_OK ? EXIT_SUCCESS : 2;
    }
    rpc_init();
    s = peer_channel_open(&channel, options.robot, &experiment, 0, &err);
    if (s == STATUS_OK) {
        s = operate(channel, &options, &err);
        rpc_channel_close(channel);
    }
    rpc_fini();
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-robot-operator: %s\n", err.text);
    }
    return s == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
