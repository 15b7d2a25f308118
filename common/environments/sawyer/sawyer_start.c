/* Draws start states. The order of draws is the recordings': one that is added, left out or moved
 * changes all start states. */
#include "common/environments/sawyer/sawyer_start.h"

#include <math.h>
#include <string.h>

#define APART_M        0.075   /* least distance of two blocks' centres */
#define AT_REST_M      0.0249  /* a centre's height on the floor: never an exact touch */
#define ON_TOP_M       0.0746  /* the same on another block */
#define DRAWS_MAX      100000u /* of a block's place */
#define POSE_STEPS     30      /* of Newton's method */
#define CLOSING_STEPS  14      /* control steps in which the fingers close */
#define FINGER_NUMBERS 4

/* A finger's joints at rest, open. */
static const double open_finger[FINGER_NUMBERS] = {.00052, .002015, .003551, -.007749};

/* What is drawn first, and what the guarded work needs. */
struct drawing {
    struct simulation *simulation;
    const struct sawyer_parts *parts;
    struct random_state *random;
    enum sawyer_mode mode;
    double tool[3], yaw;
    double blocks[SAWYER_BLOCKS_MAX][3]; /* x, y, yaw */
};

/* Where block i lies: drawn until it is apart from the earlier ones. */
static status draw_block(struct drawing *drawing, int i, struct err *err)
{
    double *block = drawing->blocks[i];
    for (unsigned draws = 0; draws < DRAWS_MAX; draws++) {
        block[0] = random_state_uniform(drawing->random, .52, .68);
        block[1] = random_state_uniform(drawing->random, -.08, .08);
        block[2] = random_state_uniform(drawing->random, -M_PI, M_PI);
        bool apart = true;
        for (int k = 0; k < i; k++) {
            double dx = block[0] - drawing->blocks[k][0], dy = block[1] - drawing->blocks[k][1];
            apart = apart && sqrt(dx * dx + dy * dy) >= APART_M;
        }
        if (apart) {
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_CORRUPT, "no place for block %d in %u draws", i, DRAWS_MAX);
}

/* Mode (drawn even where it is given), tool, blocks. */
static status draw(struct drawing *drawing, const struct sawyer_start *start, struct err *err)
{
    struct random_state *random = drawing->random;
    double u = random_state_uniform(random, 0.0, 1.0);
    drawing->mode = start->mode;
    if (start->mode == SAWYER_DRAWN) {
        drawing->mode = u < start->held                    ? SAWYER_HELD
                        : u < start->held + start->stacked ? SAWYER_STACKED
                                                           : SAWYER_TABLE;
    }
    drawing->tool[0] = random_state_uniform(random, .50, .70);
    drawing->tool[1] = random_state_uniform(random, -.10, .10);
    drawing->tool[2] = random_state_uniform(random, .10, .20);
    drawing->yaw = random_state_uniform(random, -M_PI / 4.0, M_PI / 4.0);
    status s = STATUS_OK;
    for (int i = 0; i < drawing->parts->n_blocks && s == STATUS_OK; i++) {
        s = draw_block(drawing, i, err);
    }
    return s;
}

/* Newton steps from the home pose until the tool is where it was drawn. */
static void pose_arm(const struct drawing *drawing)
{
    const mjModel *model = drawing->simulation->model;
    mjData *data = drawing->simulation->data;
    const double *tool = data->site_xpos + 3 * drawing->parts->tool;
    const double *rotation = data->site_xmat + 9 * drawing->parts->tool;
    const double no_pull[SAWYER_ARM_JOINTS] = {0.0};
    for (int k = 0; k < POSE_STEPS; k++) {
        mj_kinematics(model, data);
        mj_comPos(model, data);
        const double twist[6] = {drawing->tool[0] - tool[0],
                                 drawing->tool[1] - tool[1],
                                 drawing->tool[2] - tool[2],
                                 -rotation[5],
                                 rotation[2],
                                 drawing->yaw - sawyer_yaw(rotation)};
        double dq[SAWYER_ARM_JOINTS];
        sawyer_solve(dq, twist, no_pull, drawing->parts, model, data);
        for (int i = 0; i < SAWYER_ARM_JOINTS; i++) {
            data->qpos[i] += dq[i];
        }
    }
    memcpy(data->act, data->qpos, SAWYER_ARM_JOINTS * sizeof *data->act);
}

/* Green, a few millimetres off the middle, is held still in the air while the fingers close. */
static void close_on_block(const struct drawing *drawing)
{
    static const double close[SAWYER_ACTIONS] = {0.0, 0.0, 0.0, 0.0, -1.0};
    const mjModel *model = drawing->simulation->model;
    mjData *data = drawing->simulation->data;
    double dx = random_state_uniform(drawing->random, -.005, .005);
    double dz = random_state_uniform(drawing->random, -.005, .005);
    for (int k = 0; k <= CLOSING_STEPS; k++) {
        sawyer_put_block(data, drawing->parts, 0, drawing->tool[0] + dx * cos(drawing->yaw),
                         drawing->tool[1] + dx * sin(drawing->yaw), drawing->tool[2] + dz,
                         drawing->yaw);
        mj_step1(model, data);
        if (k < CLOSING_STEPS) {
            sawyer_control(close, drawing->parts, model, data);
            simulation_sub_steps(drawing->simulation, SAWYER_SUB_STEPS);
        }
    }
    data->time = 0.0;
}

/* The part that calls MuJoCo. */
static void build(void *arg)
{
    const struct drawing *drawing = arg;
    const struct sawyer_parts *parts = drawing->parts;
    const mjModel *model = drawing->simulation->model;
    mjData *data = drawing->simulation->data;
    mj_resetData(model, data);
    for (int i = 0; i < parts->n_blocks; i++) {
        const double *block = drawing->blocks[i];
        sawyer_put_block(data, parts, i, block[0], block[1], AT_REST_M, block[2]);
    }
    memcpy(data->qpos, sawyer_home, sizeof sawyer_home);
    memcpy(data->qpos + parts->finger_qpos - FINGER_NUMBERS, open_finger, sizeof open_finger);
    memcpy(data->qpos + parts->finger_qpos, open_finger, sizeof open_finger);
    pose_arm(drawing);
    if (drawing->mode == SAWYER_STACKED) {
        const double *yellow = drawing->blocks[1];
        double dx = random_state_uniform(drawing->random, -.01, .01);
        double dy = random_state_uniform(drawing->random, -.01, .01);
        sawyer_put_block(data, parts, 0, yellow[0] + dx, yellow[1] + dy, ON_TOP_M,
                         drawing->blocks[0][2]);
    }
    if (drawing->mode == SAWYER_HELD) {
        close_on_block(drawing);
    }
    mj_step1(model, data);
}

status sawyer_start(struct simulation *simulation, const struct sawyer_parts *parts,
                    const struct sawyer_start *start, struct random_state *random, struct err *err)
{
    struct drawing drawing = {.simulation = simulation, .parts = parts, .random = random};
    status s = draw(&drawing, start, err);
    return s == STATUS_OK ? simulation_run(simulation, build, &drawing, err) : s;
}
