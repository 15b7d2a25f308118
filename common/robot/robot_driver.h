/* The driver's rules: who may move the robot, when it must hold still, what ends an episode. A pure
 * core: events come in with their time, effects go out through a table; no clock, no socket.
 *
 *     FREE ---open---> IDLE ---reset---> ASKING ---confirm---> RESETTING ---frame 0---> ACTING
 *                       ^                                                   (act) |   ^
 *                       |                                                         v   | (frame)
 *                       '------------- last frame, fault, end ----------------- MOVING
 *
 * ASKING is left out where the operator is not asked. A session that leaves, whatever its state,
 * makes the robot hold still and ends in FREE. One thread. */
#ifndef HINDCAST_ROBOT_ROBOT_DRIVER_H
#define HINDCAST_ROBOT_ROBOT_DRIVER_H

#include "common/robot/robot_limits.h"

#define ROBOT_WHO_SIZE    128
#define ROBOT_REASON_SIZE 256
/* The robot stands still until the first action, which may therefore take this long. */
#define ROBOT_FIRST_ACT_NS 10000000000ull

enum robot_driver_state {
    ROBOT_FREE,      /* nobody has the lease */
    ROBOT_IDLE,      /* leased; the robot holds still */
    ROBOT_ASKING,    /* a reset waits for the operator, or for the end of a stop */
    ROBOT_RESETTING, /* the robot was told to go to a start state */
    ROBOT_ACTING,    /* the client has a frame, and owes an action */
    ROBOT_MOVING,    /* the robot has an action, and owes a frame */
    ROBOT_STATES,
};

/* What the rules want done. `arg` is that of robot_driver_init. */
struct robot_driver_effects {
    /* To the robot. `hold`: stand still now; also where it does already. */
    void (*reset)(void *arg, const struct robot_start *start);
    void (*act)(void *arg, uint64_t episode, uint64_t step, const float *action);
    void (*hold)(void *arg);
    /* To the client that has the lease. */
    void (*frame)(void *arg, const struct robot_frame *frame);
    void (*fault)(void *arg, uint64_t episode, enum robot_fault_kind kind, const char *text);
    void (*waits)(void *arg, const char *text);
    void (*close)(void *arg, status code, const char *text); /* its session is over */
};

struct robot_driver {
    const struct robot_description *robot; /* borrowed */
    const struct robot_driver_effects *effects;
    void *arg;
    const char *prompt; /* asked at each reset without KEEP; NULL: nobody is asked */
    enum robot_driver_state state;
    char who[ROBOT_WHO_SIZE];
    uint64_t heard_ns; /* when the session last said something */
    uint64_t due_ns;   /* ACTING: of the action; MOVING: of the frame */
    uint64_t told_ns;  /* when `waits` was last sent */
    struct robot_start start;
    uint64_t step; /* of the last frame */
    struct robot_limits limits;
    bool confirmed;
    bool reachable; /* the robot answers its driver */
    bool stopped, stop_after;
    char reason[ROBOT_REASON_SIZE]; /* why it is stopped, or not reachable */
};

void robot_driver_init(struct robot_driver *driver, const struct robot_description *robot,
                       const struct robot_driver_effects *effects, void *arg, const char *prompt);

/* ---- From the session ---- */

/* LIMIT: somebody else has the lease; the text says who, and for how long it is still good. */
status robot_driver_open(struct robot_driver *driver, const char *who, uint64_t now_ns,
                         struct err *err) MUST_CHECK;
/* INVALID: not now, or numbers out of range. The session must be closed then (robot_driver_leave). */
status robot_driver_reset(struct robot_driver *driver, const struct robot_start *start,
                          uint64_t now_ns, struct err *err) MUST_CHECK;
/* An action for another episode, or for one that is over, is ignored. */
status robot_driver_act(struct robot_driver *driver, uint64_t episode, uint64_t step,
                        const float *action, size_t n, uint64_t now_ns, struct err *err) MUST_CHECK;
void robot_driver_end(struct robot_driver *driver, uint64_t now_ns);   /* gives up the episode */
void robot_driver_heard(struct robot_driver *driver, uint64_t now_ns); /* renews the lease */
void robot_driver_leave(struct robot_driver *driver);                  /* the stream has ended */

/* ---- From the robot ---- */

/* Frames of another episode, or that nobody waits for, are ignored. */
void robot_driver_frame(struct robot_driver *driver, const struct robot_frame *frame,
                        uint64_t now_ns);
/* It has stopped by itself, or cannot go on. */
void robot_driver_robot_fault(struct robot_driver *driver, uint64_t episode,
                              enum robot_fault_kind kind, const char *text);
/* The robot can be reached, or no longer can. A reset under way is given to it anew. */
void robot_driver_reachable(struct robot_driver *driver, bool reachable, const char *text);

/* ---- From operators ---- */

void robot_driver_stop(struct robot_driver *driver, const char *who, const char *reason,
                       bool after_episode);
void robot_driver_resume(struct robot_driver *driver);
/* MISMATCH: nothing is asked. */
status robot_driver_confirm(struct robot_driver *driver, struct err *err) MUST_CHECK;

/* Looks at all deadlines; every few milliseconds. */
void robot_driver_tick(struct robot_driver *driver, uint64_t now_ns);

/* Why nothing moves: the reason of a stop, the prompt, or "". Valid until the next event. */
const char *robot_driver_reason(const struct robot_driver *driver);
/* Is the operator asked for something? */
bool robot_driver_asks(const struct robot_driver *driver);

#endif
