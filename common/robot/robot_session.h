/* A client's session with a robot: the lease, and one exchange after another, each with a deadline.
 * It measures the robot's clock and latency as it goes. One thread; every call is bounded. */
#ifndef HINDCAST_ROBOT_ROBOT_SESSION_H
#define HINDCAST_ROBOT_ROBOT_SESSION_H

#include "common/robot/robot_clock.h"
#include "common/robot/robot_wire.h"
#include "common/rpc/client.h"

struct robot_session;

/* Asks the driver what the robot is; `uri` is for the description. Waits up to `timeout_ms` for it.
 * UNAVAILABLE, TIMEOUT, INVALID: an unsound description. */
status robot_describe(struct rpc_channel *channel, const char *uri, uint64_t timeout_ms,
                      struct robot_description *robot, struct err *err) MUST_CHECK;

/* Takes the lease. LIMIT: somebody has it, the text says who; UNAVAILABLE, TIMEOUT. */
status robot_session_open(struct robot_session **session, struct rpc_channel *channel,
                          const struct robot_description *robot, const char *who,
                          uint64_t timeout_ms, struct err *err) MUST_CHECK;
/* Gives the lease back: the robot holds still. NULL is fine. */
void robot_session_close(struct robot_session *session);

/* Each hands one message over. CLOSED: the session is over (robot_session_why). */
status robot_session_reset(struct robot_session *session,
                           const struct robot_start *start) MUST_CHECK;
status robot_session_act(struct robot_session *session, uint64_t episode, uint64_t step,
                         const float *action) MUST_CHECK;
status robot_session_end(struct robot_session *session) MUST_CHECK;

/* What came: a frame, a fault, or what a reset waits for. Its texts and arrays are good until the
 * next call. */
struct robot_event {
    enum { ROBOT_EVENT_FRAME, ROBOT_EVENT_FAULT, ROBOT_EVENT_WAITS } type;
    struct robot_frame frame;   /* its sizes are those of the signature */
    enum robot_fault_kind kind; /* of a fault */
    const char *text;           /* of a fault, or of what is waited for */
};
/* TIMEOUT: nothing came; CLOSED; INVALID: a frame of the wrong size. */
status robot_session_next(struct robot_session *session, uint64_t timeout_ms,
                          struct robot_event *event, struct err *err) MUST_CHECK;
/* After CLOSED: why. Never OK. */
status robot_session_why(struct robot_session *session, struct err *err);

#endif
