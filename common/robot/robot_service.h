/* The `Robot` service for a robot of one's own: what a driver in C links. It serves the calls of
 * proto/robot.proto by the rules of robot_driver.h, and asks the robot through three functions.
 *
 *     robot_service_open -> robot_service_start; the robot: robot_service_frame, _fault, _reachable
 *                        -> robot_service_close
 *
 * docs/robot.md, "A driver in C", has a whole one. */
#ifndef HINDCAST_ROBOT_ROBOT_SERVICE_H
#define HINDCAST_ROBOT_ROBOT_SERVICE_H

#include "common/robot/robot_driver.h"
#include "common/service/endpoint.h"

struct robot_service;

/* The robot's part. Called on the service's own thread; must not block. */
struct robot_backend {
    void (*reset)(void *arg, const struct robot_start *start); /* go to a start state; answered by
                                                                  frame 0, however long it takes */
    /* Apply action(A), physical, until the next one; answered by the next frame. */
    void (*act)(void *arg, uint64_t episode, uint64_t step, const float *action);
    void (*hold)(void *arg); /* stand still, now */
    void *arg;
};

struct robot_service_settings {
    const struct experiment *experiment;    /* TLS files; borrowed until close */
    const struct endpoint_options *options; /* tokens, limits */
    const char *address;                    /* "HOST:PORT", "unix:PATH" */
    const struct robot_description *robot;  /* copied */
    const char *prompt;                     /* asked of the operator at each reset; NULL: none */
    struct robot_backend backend;
};

/* Binds. INVALID: a description that robot_check refuses; DENIED: an address beyond this machine
 * without mutual TLS (allow_insecure does not change that). */
status robot_service_open(struct robot_service **service,
                          const struct robot_service_settings *settings,
                          struct err *err) MUST_CHECK;
status robot_service_start(struct robot_service *service, struct err *err) MUST_CHECK;
int robot_service_port(const struct robot_service *service);
/* The robot holds still, and every call has ended, when it returns. NULL is fine. */
void robot_service_close(struct robot_service *service);

/* From the robot, on any thread. The frame is copied. */
void robot_service_frame(struct robot_service *service, const struct robot_frame *frame);
void robot_service_fault(struct robot_service *service, uint64_t episode,
                         enum robot_fault_kind kind, const char *text);
void robot_service_reachable(struct robot_service *service, bool reachable, const char *text);
/* As the call Stop; any thread. */
void robot_service_stop(struct robot_service *service, const char *who, const char *reason);

#endif
