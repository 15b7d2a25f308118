/* The link between driver and plant: messages over a Unix socket that keeps their bounds
 * (SOCK_SEQPACKET), between two processes of the same program on one machine. Both use the same
 * clock (CLOCK_MONOTONIC).
 *
 *     driver -> plant   RESET (seed, task, flags), ACT (numbers: the action, physical), HOLD
 *     plant -> driver   FRAME (numbers: observation, rewards), HELD (kind, text) */
#ifndef HINDCAST_ROBOT_SIM_PLANT_LINK_H
#define HINDCAST_ROBOT_SIM_PLANT_LINK_H

#include "common/robot/robot.h"

#define PLANT_MAGIC       0x68637031u /* "hcp1" */
#define PLANT_NUMBERS_MAX (SIGNATURE_OBSERVATION_MAX + SIGNATURE_TASKS_MAX)

enum plant_message_type { PLANT_RESET = 1, PLANT_ACT, PLANT_HOLD, PLANT_FRAME, PLANT_HELD };

struct plant_message {
    uint32_t magic, type;
    uint64_t episode, step;
    uint64_t time_ns; /* ACT: when it arrives; FRAME: when it was observed */
    uint64_t seed;
    uint32_t task, flags;
    uint32_t kind; /* HELD: enum robot_fault_kind */
    float discount;
    uint32_t last;
    uint32_t n_numbers;
    char text[128];
    float numbers[PLANT_NUMBERS_MAX];
};

/* Listens at `path`; a socket that is left over is replaced. EXISTS: a plant listens there. */
status plant_link_listen(int *fd, const char *path, struct err *err) MUST_CHECK;
/* UNAVAILABLE: nobody listens. */
status plant_link_connect(int *fd, const char *path, struct err *err) MUST_CHECK;
/* Neither waits. CLOSED: the other side is gone, or does not read. */
status plant_link_send(int fd, struct plant_message *message) MUST_CHECK;
/* PENDING: nothing is there. CLOSED: the other side is gone, or sent what is no message. */
status plant_link_receive(int fd, struct plant_message *message) MUST_CHECK;

#endif
