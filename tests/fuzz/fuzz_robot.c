/* What both sides of the Robot service read off the wire. The first byte chooses:
 *
 *     even   a RobotDescription, as a client gets it; one that is accepted is used
 *     odd    RobotRequests, as a driver gets them in a session: each has a byte of time that has passed
 *            (and whether the robot answers), a byte of length, and the message
 *
 * Whatever comes, no action beyond the limits reaches the robot, and it holds still when no episode is
 * under way. */
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/robot/robot_driver.h"
#include "common/robot/robot_wire.h"
#include "common/rpc/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/common/robot/robot_samples.h"

#define MAX_BYTES (1u << 20)
#define MS        1000000ull

static struct robot_description sample;

/* ---- Seeds ---- */

static struct fuzz_input describe(void)
{
    struct robot_wire *wire = malloc(sizeof *wire);
    fuzz_must(wire == NULL, "memory");
    robot_wire_fill(wire, &sample);
    const size_t size = protobuf_c_message_get_packed_size(&wire->message.base);
    uint8_t *bytes = malloc(size + 1);
    fuzz_must(bytes == NULL, "memory");
    bytes[0] = 0;
    protobuf_c_message_pack(&wire->message.base, bytes + 1);
    free(wire);
    return (struct fuzz_input){bytes, size + 1};
}

/* Open, reset, and two actions, the second of which is too large. */
static struct fuzz_input talk(void)
{
    static uint8_t bytes[512];
    size_t size = 1;
    Hindcast__RobotRequest requests[4];
    Hindcast__RobotRequest__Open open = HINDCAST__ROBOT_REQUEST__OPEN__INIT;
    Hindcast__RobotRequest__Reset reset = HINDCAST__ROBOT_REQUEST__RESET__INIT;
    Hindcast__RobotRequest__Act acts[2] = {HINDCAST__ROBOT_REQUEST__ACT__INIT,
                                           HINDCAST__ROBOT_REQUEST__ACT__INIT};
    float small = 0.5f, large = 5.0f;
    for (int i = 0; i < 4; i++) {
        hindcast__robot_request__init(&requests[i]);
    }
    requests[0].open = &open;
    requests[1].reset = &reset;
    reset.episode = acts[0].episode = acts[1].episode = 1;
    acts[0].n_action = acts[1].n_action = 1;
    acts[0].action = &small;
    acts[1].action = &large;
    acts[1].step = 1;
    requests[2].act = &acts[0];
    requests[3].act = &acts[1];
    bytes[0] = 1;
    for (int i = 0; i < 4; i++) {
        bytes[size++] = 1;
        const size_t length = protobuf_c_message_get_packed_size(&requests[i].base);
        bytes[size++] = (uint8_t)length;
        size += protobuf_c_message_pack(&requests[i].base, bytes + size);
    }
    uint8_t *copy = malloc(size);
    fuzz_must(copy == NULL, "memory");
    memcpy(copy, bytes, size);
    return (struct fuzz_input){copy, size};
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    (void)scratch;
    robot_sample(&sample);
    seeds[0] = describe();
    seeds[1] = talk();
    return 2;
}

/* ---- A client ---- */

static status parse(struct message *message, const ProtobufCMessageDescriptor *descriptor,
                    const uint8_t *bytes, size_t size)
{
    const struct message_type type = {descriptor, 0, MAX_BYTES};
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    struct err err;
    grpc_slice_unref(slice);
    return message_read(message, buffer, &type, &err);
}

static bool read_description(const uint8_t *bytes, size_t size)
{
    static struct message message;
    static struct robot_description robot;
    static struct robot_limits limits;
    static float numbers[SIGNATURE_OBSERVATION_MAX];
    struct err err = {0};
    status s = parse(&message, &hindcast__robot_description__descriptor, bytes, size);
    if (s == STATUS_OK) {
        s = robot_wire_read(&robot, (const Hindcast__RobotDescription *)message.body, "robot:x",
                            &err);
    }
    message_clear(&message);
    if (s == STATUS_OK) {
        fuzz_must(robot_check(&robot, &err), "robot_wire_read");
        robot_limits_begin(&limits, &robot);
        (void)!robot_limits_observe(&limits, numbers, &err);
        (void)!robot_limits_act(&limits, numbers, &err);
    }
    return s == STATUS_OK;
}

/* ---- A driver ---- */

static struct robot_driver driver;
static bool moves;

static void on_reset(void *arg, const struct robot_start *start)
{
    (void)arg;
    (void)start;
    moves = true;
}
static void on_act(void *arg, uint64_t episode, uint64_t step, const float *action)
{
    (void)arg;
    (void)episode;
    (void)step;
    fuzz_must(!(fabsf(action[0]) <= 2.001f), "an action beyond the limits");
    moves = true;
}
static void on_hold(void *arg)
{
    (void)arg;
    moves = false;
}
static void on_frame(void *arg, const struct robot_frame *frame)
{
    (void)arg;
    (void)frame;
}
static void on_fault(void *arg, uint64_t episode, enum robot_fault_kind kind, const char *text)
{
    (void)arg;
    (void)episode;
    (void)kind;
    fuzz_must(moves || text[0] == '\0', "a fault while the robot moves");
}
static void on_waits(void *arg, const char *text)
{
    (void)arg;
    fuzz_must(text[0] == '\0', "nothing is waited for");
}
static void on_close(void *arg, status code, const char *text)
{
    (void)arg;
    (void)code;
    (void)text;
}

static const struct robot_driver_effects effects = {on_reset, on_act,   on_hold, on_frame,
                                                    on_fault, on_waits, on_close};

/* As robot_service.c does with a message. */
static status serve(const Hindcast__RobotRequest *request, uint64_t now_ns)
{
    struct err err = {0};
    if (request->open != NULL) {
        return robot_driver_open(&driver, request->open->who, now_ns, &err);
    }
    if (request->reset != NULL) {
        const struct robot_start start = {request->reset->episode, request->reset->seed,
                                          request->reset->task, request->reset->flags};
        return robot_driver_reset(&driver, &start, now_ns, &err);
    }
    if (request->act != NULL) {
        return robot_driver_act(&driver, request->act->episode, request->act->step,
                                request->act->action, request->act->n_action, now_ns, &err);
    }
    robot_driver_end(&driver, now_ns);
    return STATUS_OK;
}

static void answer(uint64_t now_ns)
{
    const float observation[4] = {0}, reward = 0;
    const struct robot_frame frame = {driver.start.episode,
                                      driver.state == ROBOT_RESETTING ? 0 : driver.step + 1,
                                      observation,
                                      &reward,
                                      1.0f,
                                      false,
                                      now_ns};
    robot_driver_frame(&driver, &frame, now_ns);
}

static bool drive(const uint8_t *bytes, size_t size)
{
    static struct message message;
    uint64_t now_ns = 0;
    bool good = true;
    moves = false;
    robot_driver_init(&driver, &sample, &effects, NULL, NULL);
    for (size_t at = 0; good && at + 2 <= size && at + 2 + bytes[at + 1] <= size;
         at += 2 + (size_t)bytes[at + 1]) {
        now_ns += bytes[at] * MS;
        good = parse(&message, &hindcast__robot_request__descriptor, bytes + at + 2,
                     bytes[at + 1]) == STATUS_OK;
        good = good && serve((const Hindcast__RobotRequest *)message.body, now_ns) == STATUS_OK;
        message_clear(&message);
        if (bytes[at] % 2 == 1) {
            answer(now_ns);
        }
        robot_driver_tick(&driver, now_ns);
        fuzz_must(moves && driver.state <= ROBOT_IDLE, "moves without an episode");
    }
    robot_driver_leave(&driver);
    fuzz_must(moves, "moves without a session");
    return good;
}

static bool run(const void *input, size_t size)
{
    static bool ready;
    const uint8_t *bytes = input;
    if (!ready) { /* here, in the child: gRPC has threads, which do not survive a fork */
        rpc_init();
        ready = true;
    }
    if (size == 0) {
        return false;
    }
    return bytes[0] % 2 == 0 ? read_description(bytes + 1, size - 1) : drive(bytes + 1, size - 1);
}

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"robot", make_seeds, run, NULL};
    return fuzz_main(&target, argc, argv);
}
