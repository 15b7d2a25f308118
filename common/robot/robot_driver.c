/* One state machine, whose moves are listed in `legal` and asserted. Each event first asks whether
 * it is for the episode under way; what is not is ignored, because it was on its way when the
 * episode ended. */
#include "common/robot/robot_driver.h"

#include <stdio.h>
#include <string.h>

#define NS       1e9
#define TELL_NS  500000000ull /* a client that waits is told so this often */
#define SILENT_S 0.05         /* a frame may be this much later than two periods */

/* legal[from] has bit `to`. */
static const unsigned legal[ROBOT_STATES] = {
    [ROBOT_FREE] = 1u << ROBOT_IDLE,
    [ROBOT_IDLE] = 1u << ROBOT_ASKING | 1u << ROBOT_FREE,
    [ROBOT_ASKING] = 1u << ROBOT_RESETTING | 1u << ROBOT_IDLE | 1u << ROBOT_FREE,
    [ROBOT_RESETTING] =
        1u << ROBOT_ACTING | 1u << ROBOT_ASKING | 1u << ROBOT_IDLE | 1u << ROBOT_FREE,
    [ROBOT_ACTING] = 1u << ROBOT_MOVING | 1u << ROBOT_IDLE | 1u << ROBOT_FREE,
    [ROBOT_MOVING] = 1u << ROBOT_ACTING | 1u << ROBOT_IDLE | 1u << ROBOT_FREE,
};

static void move(struct robot_driver *driver, enum robot_driver_state to)
{
    ASSERT((legal[driver->state] & 1u << to) != 0);
    driver->state = to;
}

void robot_driver_init(struct robot_driver *driver, const struct robot_description *robot,
                       const struct robot_driver_effects *effects, void *arg, const char *prompt)
{
    memset(driver, 0, sizeof *driver);
    driver->robot = robot;
    driver->effects = effects;
    driver->arg = arg;
    driver->prompt = prompt;
    driver->reachable = true;
}

/* Is an episode under way, from its reset on? */
static bool in_episode(const struct robot_driver *driver)
{
    return driver->state > ROBOT_IDLE;
}

/* The episode is over: the robot holds still. A stop that waited for this takes effect. */
static void rest(struct robot_driver *driver)
{
    driver->effects->hold(driver->arg);
    move(driver, ROBOT_IDLE);
    driver->stopped = driver->stopped || driver->stop_after;
    driver->stop_after = false;
}

/* Ends the episode before its time. The robot first, then the message. */
static void fail(struct robot_driver *driver, enum robot_fault_kind kind, const char *text)
{
    rest(driver);
    driver->effects->fault(driver->arg, driver->start.episode, kind, text);
}

/* ---- Resets ---- */

const char *robot_driver_reason(const struct robot_driver *driver)
{
    if (driver->stopped || driver->stop_after || !driver->reachable) {
        return driver->reason;
    }
    return robot_driver_asks(driver) ? driver->prompt : "";
}

bool robot_driver_asks(const struct robot_driver *driver)
{
    return driver->state == ROBOT_ASKING && !driver->stopped && driver->reachable &&
           driver->prompt != NULL && !driver->confirmed;
}

/* Gives a reset to the robot, once nothing stands in its way; else tells the client what does. */
static void go_on(struct robot_driver *driver, uint64_t now_ns)
{
    if (driver->state == ROBOT_ASKING && !driver->stopped && driver->reachable &&
        !robot_driver_asks(driver)) {
        move(driver, ROBOT_RESETTING);
        driver->told_ns = now_ns;
        driver->effects->reset(driver->arg, &driver->start);
    } else if (now_ns - driver->told_ns >= TELL_NS) {
        driver->told_ns = now_ns;
        const char *reason = robot_driver_reason(driver);
        driver->effects->waits(driver->arg,
                               reason[0] != '\0' ? reason : "the robot goes to its start state");
    }
}

/* ---- The session ---- */

status robot_driver_open(struct robot_driver *driver, const char *who, uint64_t now_ns,
                         struct err *err)
{
    if (driver->state != ROBOT_FREE) {
        const double left_s =
            driver->robot->lease_ms / 1e3 - (double)(now_ns - driver->heard_ns) / NS;
        return err_set(err, STATUS_LIMIT,
                       "the robot is in use by %s, whose lease is good for another %.1f s",
                       driver->who, left_s > 0 ? left_s : 0.0);
    }
    (void)snprintf(driver->who, sizeof driver->who, "%s", who[0] != '\0' ? who : "somebody");
    driver->heard_ns = now_ns;
    move(driver, ROBOT_IDLE);
    return STATUS_OK;
}

status robot_driver_reset(struct robot_driver *driver, const struct robot_start *start,
                          uint64_t now_ns, struct err *err)
{
    const struct environment_description *environment = &driver->robot->environment;
    const uint32_t K = environment->signature.K;
    if (driver->state == ROBOT_FREE) {
        return err_set(err, STATUS_INVALID, "reset: expected open first");
    }
    if (start->task >= (K > 0 ? K : 1) || (start->flags & ~environment->start_flags) != 0) {
        return err_set(err, STATUS_INVALID, "reset: task %u of %u, flags 0x%x of 0x%x", start->task,
                       K, start->flags, environment->start_flags);
    }
    driver->heard_ns = now_ns;
    /* One that is under way is given up. */
    if (in_episode(driver)) {
        rest(driver);
    }
    driver->start = *start;
    driver->step = 0;
    driver->confirmed = (start->flags & ENVIRONMENT_START_KEEP) != 0;
    driver->told_ns = 0;
    robot_limits_begin(&driver->limits, driver->robot);
    move(driver, ROBOT_ASKING);
    go_on(driver, now_ns);
    return STATUS_OK;
}

status robot_driver_act(struct robot_driver *driver, uint64_t episode, uint64_t step,
                        const float *action, size_t n, uint64_t now_ns, struct err *err)
{
    struct err why = {0};
    driver->heard_ns = now_ns;
    if (driver->state == ROBOT_FREE || n != driver->robot->environment.signature.A) {
        return err_set(err, STATUS_INVALID, "act: %zu numbers: expected %u, after open and reset",
                       n, driver->robot->environment.signature.A);
    }
    /* On its way when the episode ended. */
    if (driver->state <= ROBOT_RESETTING || episode != driver->start.episode) {
        return STATUS_OK;
    }
    if (driver->state != ROBOT_ACTING || step != driver->step) {
        return err_set(err, STATUS_INVALID, "act: step %llu: expected one action for frame %llu",
                       (unsigned long long)step, (unsigned long long)driver->step);
    }
    if (now_ns > driver->due_ns) {
        robot_driver_tick(driver, now_ns);
    } else if (robot_limits_act(&driver->limits, action, &why) != STATUS_OK) {
        fail(driver, ROBOT_FAULT_LIMITS, why.text);
    } else {
        move(driver, ROBOT_MOVING);
        driver->due_ns = now_ns + (uint64_t)((2 * robot_period_s(driver->robot) + SILENT_S) * NS);
        driver->effects->act(driver->arg, episode, step, action);
    }
    return STATUS_OK;
}

void robot_driver_end(struct robot_driver *driver, uint64_t now_ns)
{
    driver->heard_ns = now_ns;
    if (in_episode(driver)) {
        rest(driver);
    }
}

void robot_driver_heard(struct robot_driver *driver, uint64_t now_ns)
{
    driver->heard_ns = now_ns;
}

void robot_driver_leave(struct robot_driver *driver)
{
    if (driver->state != ROBOT_FREE) {
        if (in_episode(driver)) {
            rest(driver);
        }
        move(driver, ROBOT_FREE);
        driver->who[0] = '\0';
    }
}

/* ---- The robot ---- */

void robot_driver_frame(struct robot_driver *driver, const struct robot_frame *frame,
                        uint64_t now_ns)
{
    struct err why = {0};
    const bool first = driver->state == ROBOT_RESETTING && frame->step == 0;
    const bool next = driver->state == ROBOT_MOVING && frame->step == driver->step + 1;
    if (frame->episode != driver->start.episode || !(first || next)) {
        return;
    }
    status s = robot_limits_observe(&driver->limits, frame->observation, &why);
    if (s != STATUS_OK) {
        fail(driver, s == STATUS_CORRUPT ? ROBOT_FAULT_SENSOR : ROBOT_FAULT_LIMITS, why.text);
        return;
    }
    driver->step = frame->step;
    if (frame->last) {
        rest(driver);
    } else {
        move(driver, ROBOT_ACTING);
        driver->due_ns = first ? now_ns + ROBOT_FIRST_ACT_NS
                               : frame->observed_ns + (uint64_t)(driver->robot->deadline_s * NS);
    }
    driver->effects->frame(driver->arg, frame);
}

void robot_driver_robot_fault(struct robot_driver *driver, uint64_t episode,
                              enum robot_fault_kind kind, const char *text)
{
    if (in_episode(driver) && driver->state != ROBOT_ASKING && episode == driver->start.episode) {
        fail(driver, kind, text);
    }
}

void robot_driver_reachable(struct robot_driver *driver, bool reachable, const char *text)
{
    driver->reachable = reachable;
    if (!reachable && !driver->stopped) {
        (void)snprintf(driver->reason, sizeof driver->reason, "%s", text);
    }
    if (!reachable && (driver->state == ROBOT_ACTING || driver->state == ROBOT_MOVING)) {
        fail(driver, ROBOT_FAULT_ROBOT, text);
    } else if (!reachable && driver->state == ROBOT_RESETTING) {
        /* The reset is lost with the robot: it waits for its return. */
        driver->effects->hold(driver->arg);
        move(driver, ROBOT_ASKING);
    }
}

/* ---- Operators ---- */

void robot_driver_stop(struct robot_driver *driver, const char *who, const char *reason,
                       bool after_episode)
{
    const bool waits = after_episode && in_episode(driver) && driver->state != ROBOT_ASKING;
    (void)snprintf(driver->reason, sizeof driver->reason, "%s by %s: %s; it waits for resume",
                   after_episode ? "paused" : "stopped", who[0] != '\0' ? who : "somebody",
                   reason[0] != '\0' ? reason : "no reason given");
    driver->stop_after = waits;
    driver->stopped = !waits;
    if (waits) {
        return;
    }
    /* Also where nothing moves: the robot may have its own idea of that. */
    driver->effects->hold(driver->arg);
    if (in_episode(driver) && driver->state != ROBOT_ASKING) {
        fail(driver, ROBOT_FAULT_STOPPED, driver->reason);
    }
}

void robot_driver_resume(struct robot_driver *driver)
{
    driver->stopped = false;
    driver->stop_after = false;
}

status robot_driver_confirm(struct robot_driver *driver, struct err *err)
{
    if (!robot_driver_asks(driver)) {
        return err_set(err, STATUS_MISMATCH, "nothing is asked of the operator");
    }
    driver->confirmed = true;
    return STATUS_OK;
}

void robot_driver_tick(struct robot_driver *driver, uint64_t now_ns)
{
    if (driver->state == ROBOT_ACTING && now_ns > driver->due_ns) {
        char text[96];
        (void)snprintf(text, sizeof text, "no action for frame %llu within its deadline",
                       (unsigned long long)driver->step);
        fail(driver, ROBOT_FAULT_LATE, text);
    } else if (driver->state == ROBOT_MOVING && now_ns > driver->due_ns) {
        fail(driver, ROBOT_FAULT_ROBOT, "the robot sends no observation");
    } else if (driver->state == ROBOT_ASKING || driver->state == ROBOT_RESETTING) {
        go_on(driver, now_ns);
    }
    /* A client that is told what it waits for need not say anything meanwhile, but it must be there:
     * one that has vanished ends its stream, by gRPC's keepalive at the latest. */
    const bool client_waits = driver->state == ROBOT_ASKING || driver->state == ROBOT_RESETTING;
    if (client_waits) {
        driver->heard_ns = now_ns;
    }
    if (driver->state != ROBOT_FREE &&
        now_ns - driver->heard_ns > (uint64_t)driver->robot->lease_ms * 1000000u) {
        robot_driver_leave(driver);
        driver->effects->close(driver->arg, STATUS_TIMEOUT,
                               "the lease is over: nothing came from its holder");
    }
}
