/* The behaviours as rules: the first condition that holds decides what is done in this step. All
 * heights and distances are in m. */
#include "common/environments/sawyer/sawyer_script.h"

#include <math.h>
#include <string.h>

#include "common/environments/sawyer/sawyer_plant.h"

#define EDGE         SAWYER_EDGE_M
#define APPROACH_1_S 5.0  /* speed towards a place, per distance */
#define TURN_1_S     4.0  /* rate of turning, per angle */
#define HOVER        .075 /* of the tool above green, before it goes down */
#define CLEARANCE    .12  /* blocks further away than this are not in the fingers' way */
#define OPEN         1.0
#define CLOSE        -1.0

/* The observation, and what follows from it. */
struct view {
    enum sawyer_task task;
    const double *tool, *green, *yellow;
    const double *observation;
    int n_blocks;
    double yaw;        /* of the tool */
    double x, y, z;    /* of green from its place on yellow */
    double aside;      /* of green from yellow's vertical */
    double tool_aside; /* of the tool from green's vertical */
    bool holding;      /* green is in the hand */
};

static double clip(double x)
{
    return fmin(1.0, fmax(-1.0, x));
}

/* Moves the tool towards x y z, turns it by `turn`, and opens or closes the fingers. */
static void go(double *action, const struct view *view, double x, double y, double z, double turn,
               double finger)
{
    action[0] = clip((x - view->tool[0]) * APPROACH_1_S / SAWYER_LINEAR_M_S);
    action[1] = clip((y - view->tool[1]) * APPROACH_1_S / SAWYER_LINEAR_M_S);
    action[2] = clip((z - view->tool[2]) * APPROACH_1_S / SAWYER_LINEAR_M_S);
    action[3] = clip(TURN_1_S * turn / SAWYER_ANGULAR_RAD_S);
    action[4] = clip(finger);
}

/* Moves green, which is in the hand, towards x y z. */
static void carry(double *action, const struct view *view, double x, double y, double z,
                  double finger)
{
    go(action, view, x + (view->tool[0] - view->green[0]), y + (view->tool[1] - view->green[1]),
       z + (view->tool[2] - view->green[2]), 0.0, finger);
}

/* Yaw of a block's faces from its quaternion, in [-pi/4, pi/4]: that of the more level of two of its
 * axes. */
static double face_yaw(const double *quat)
{
    const double w = quat[0], x = quat[1], y = quat[2], z = quat[3];
    const double axes[2][3] = {
        {1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)},
        {2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)},
    };
    const double *axis = fabs(axes[1][2]) < fabs(axes[0][2]) ? axes[1] : axes[0];
    return remainder(atan2(axis[1], axis[0]), M_PI / 2.0);
}

/* How much the fingers would be in the way of other blocks at this angle. */
static double cost_of(const struct view *view, double yaw)
{
    double cost = .1 * fabs(yaw);
    for (int i = 1; i < view->n_blocks; i++) {
        const double *other = view->observation + SAWYER_BLOCK(i);
        double dx = other[0] - view->green[0], dy = other[1] - view->green[1];
        double distance = sqrt(dx * dx + dy * dy) + 1e-9;
        if (distance < CLEARANCE) {
            cost += fabs(dx * sin(yaw) - dy * cos(yaw)) / distance * (CLEARANCE - distance) / .05;
        }
    }
    return cost;
}

/* The one of green's two face directions whose fingers keep clear of the other blocks. */
static double open_yaw(const struct view *view)
{
    double first = face_yaw(view->green + 3), second = first - copysign(M_PI / 2.0, first);
    return cost_of(view, second) < cost_of(view, first) - 1e-6 ? second : first;
}

/* Without green in the hand: above it, then around it, then closing, unless it is only reached for. */
static void approach(double *action, const struct view *view)
{
    const double *green = view->green, *tool = view->tool;
    const double turn = open_yaw(view) - view->yaw;
    const bool low = tool[2] - green[2] < .05;
    const bool off = view->tool_aside > (low ? .015 : .006) || fabs(turn) > (low ? .25 : .08);
    if (off && !view->holding) {
        /* Up first, where the fingers are beside the block. */
        if (low) {
            go(action, view, tool[0], tool[1], green[2] + HOVER, 0.0, OPEN);
        } else {
            go(action, view, green[0], green[1], green[2] + HOVER, turn, OPEN);
        }
        return;
    }
    const bool close = view->task != SAWYER_reach && fabs(tool[2] - green[2]) < .006;
    go(action, view, green[0], green[1], green[2], close ? 0.0 : turn, close ? CLOSE : OPEN);
}

/* With green in the hand: to a place on the floor's level, at carrying height. */
static void bring(double *action, const struct view *view, const double *target)
{
    const bool high = view->green[2] > .06;
    carry(action, view, high ? target[0] : view->green[0], high ? target[1] : view->green[1], .09,
          CLOSE);
}

/* With green in the hand: onto yellow. */
static void place(double *action, const struct view *view)
{
    const double *green = view->green, *yellow = view->yellow;
    const double top = yellow[2] + EDGE;
    if (view->z < .008 && view->aside > .012) {
        /* Too low to pass over yellow. */
        carry(action, view, green[0], green[1], top + .03, CLOSE);
    } else if (view->aside > .004 && view->z > .006) {
        carry(action, view, yellow[0], yellow[1], top + (view->aside < .03 ? .015 : .03), CLOSE);
    } else if (view->task == SAWYER_place_wide || view->task == SAWYER_place_narrow) {
        carry(action, view, yellow[0], yellow[1], top + .0005, CLOSE);
    } else {
        carry(action, view, yellow[0], yellow[1], top - .003, view->z < .0015 ? OPEN : CLOSE);
    }
}

static struct view look(enum sawyer_task task, const double *observation, int n_blocks)
{
    struct view view = {.task = task,
                        .tool = observation + SAWYER_TOOL,
                        .green = observation + SAWYER_BLOCK(0),
                        .yellow = observation + SAWYER_BLOCK(1),
                        .observation = observation,
                        .n_blocks = n_blocks,
                        .yaw =
                            atan2(observation[SAWYER_TOOL_YAW], observation[SAWYER_TOOL_YAW + 1])};
    view.x = view.green[0] - view.yellow[0];
    view.y = view.green[1] - view.yellow[1];
    view.z = view.green[2] - view.yellow[2] - EDGE;
    view.aside = hypot(view.x, view.y);
    view.tool_aside = hypot(view.tool[0] - view.green[0], view.tool[1] - view.green[1]);
    const double apart = hypot(view.tool_aside, view.tool[2] - view.green[2]);
    view.holding = observation[SAWYER_GRASP] > 0.0 && apart < .035;
    return view;
}

void sawyer_script(double *action, enum sawyer_task task, const double *observation, int n_blocks)
{
    const struct view view = look(task, observation, n_blocks);
    const bool on_top = view.aside <= .03 && fabs(view.z) <= .01;
    if ((task == SAWYER_stack || task == SAWYER_stack_leave) && on_top && !view.holding) {
        /* It lies: let go, and leave once the fingers are open. */
        double up = view.green[2] + (task == SAWYER_stack_leave ? .10 : .012);
        go(action, &view, view.tool[0], view.tool[1],
           observation[SAWYER_OPENING] > .55 ? up : view.tool[2], 0.0, OPEN);
    } else if (!view.holding || task == SAWYER_reach || task == SAWYER_grasp) {
        approach(action, &view);
    } else if (task == SAWYER_lift) {
        carry(action, &view, view.green[0], view.green[1], .10, CLOSE);
    } else if (task == SAWYER_bring_to_center || task == SAWYER_bring_to_corner) {
        bring(action, &view, sawyer_targets[task - SAWYER_bring_to_center]);
    } else {
        place(action, &view);
    }
}
