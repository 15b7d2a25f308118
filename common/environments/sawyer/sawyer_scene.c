/* Builds the scene with MuJoCo's mjSpec: two parsed models are changed and attached, then contact
 * geometry, basket and blocks are added.
 *
 * The order of the additions is the order of geoms, joints and bodies in the model, on which the
 * observation's layout and the recorded trajectories depend. */
#include "common/environments/sawyer/sawyer_scene.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMESTEP_S  0.005
#define TILT_RAD    0.44506 /* of the basket's walls */
#define FOLDER_SIZE 1024    /* of the models' folder, with the terminating 0 */

/* Which bits collide with which: the basket meets blocks and hand, blocks meet everything, the
 * hand meets basket and blocks, the arm nothing. */
struct collides {
    int type, affinity;
};
static const struct collides basket_collides = {1, 6};
static const struct collides block_collides = {2, 7};
static const struct collides hand_collides = {4, 3};

static const double sliding_friction[3] = {0.3, 0.005, 0.0001}; /* of basket and blocks */
static const double tip_friction[3] = {0.5, 0.1, 0.01};
static const mjtNum tip_solref[2] = {0.01, 1.0};
static const mjtNum tip_solimp[3] = {0.95, 0.99, 0.001};

const char *const sawyer_block_names[SAWYER_BLOCKS_MAX] = {"green", "yellow", "blue"};

/* ---- Parsed models ---- */

/* The folder's name goes into a piece of XML. */
static status check_folder(const char *folder, struct err *err)
{
    if (access(folder, R_OK) != 0) {
        return err_set(err, STATUS_NOT_FOUND, "folder %.300s: not there, or not readable", folder);
    }
    if (strlen(folder) >= FOLDER_SIZE || strpbrk(folder, "\"&<") != NULL) {
        return err_set(err, STATUS_INVALID,
                       "folder %.300s: expected less than %d bytes, none of them \" & <", folder,
                       FOLDER_SIZE);
    }
    return STATUS_OK;
}

/* The arm with its velocity actuators. sawyer.xml alone does not parse, since its classes are in the
 * actuators' file; the compiler element comes last, or meshes are looked for beside the include. */
static status parse_arm(mjSpec **arm, const char *folder, struct err *err)
{
    char text[4 * FOLDER_SIZE], reason[512] = "";
    (void)snprintf(text, sizeof text,
                   "<mujoco model=\"sawyer\">"
                   "<include file=\"%s/rethink/sawyer_description/mjcf/"
                   "sawyer_velocity_actuators.xml\"/>"
                   "<include file=\"%s/rethink/sawyer_description/mjcf/sawyer.xml\"/>"
                   "<compiler meshdir=\"%s/rethink/sawyer_description/meshes/sawyer_pv/\"/>"
                   "</mujoco>",
                   folder, folder, folder);
    *arm = mj_parseXMLString(text, NULL, reason, sizeof reason);
    return *arm != NULL ? STATUS_OK : err_set(err, STATUS_INVALID, "arm: %s", reason);
}

static status parse_gripper(mjSpec **gripper, const char *folder, struct err *err)
{
    char path[FOLDER_SIZE + 80], reason[512] = "";
    (void)snprintf(path, sizeof path, "%s/robotiq_beta_robots/mujoco/robotiq_2f85_v2.xml", folder);
    *gripper = mj_parseXML(path, NULL, reason, sizeof reason);
    return *gripper != NULL ? STATUS_OK : err_set(err, STATUS_INVALID, "gripper: %s", reason);
}

/* What every model of the package has; a file that lacks it is another version. */
static status find(mjsElement **element, mjSpec *spec, mjtObj type, const char *name,
                   struct err *err)
{
    *element = mjs_findElement(spec, type, name);
    return *element != NULL
               ? STATUS_OK
               : err_set(err, STATUS_INVALID, "no %s named %s", mju_type2Str((int)type), name);
}

/* ---- Servos ---- */

/* Integrated velocity servos: the reference that a velocity moves is a position, so that the arm
 * holds still under load. The flange is where the gripper is attached. */
static status change_arm(mjSpec *arm, struct err *err)
{
    for (mjsElement *next = mjs_firstElement(arm, mjOBJ_ACTUATOR); next != NULL;
         next = mjs_nextElement(arm, next)) {
        mjsActuator *servo = mjs_asActuator(next);
        mjsElement *joint;
        status s = find(&joint, arm, mjOBJ_JOINT, mjs_getString(servo->target), err);
        if (s != STATUS_OK) {
            return s;
        }
        servo->dyntype = mjDYN_INTEGRATOR;
        servo->biastype = mjBIAS_AFFINE;
        servo->gainprm[0] = 500.0;
        servo->biasprm[0] = 0.0;
        servo->biasprm[1] = -500.0;
        servo->biasprm[2] = -50.0;
        servo->actlimited = mjLIMITED_TRUE;
        memcpy(servo->actrange, mjs_asJoint(joint)->range, sizeof servo->actrange);
    }
    mjsElement *hand;
    status s = find(&hand, arm, mjOBJ_BODY, "hand", err);
    if (s == STATUS_OK) {
        mjsSite *flange = mjs_addSite(mjs_asBody(hand), NULL);
        (void)mjs_setName(flange->element, "flange");
        const double quat[4] = {sqrt(0.5), 0.0, 0.0, sqrt(0.5)};
        memcpy(flange->quat, quat, sizeof quat);
    }
    return s;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* DeepMind's figures but for the force: 23 N at the pads, as 55 N strain the linkage. */
static status change_gripper(mjSpec *gripper, struct err *err)
{
    for (mjsElement *next = mjs_firstElement(gripper, mjOBJ_JOINT); next != NULL;
         next = mjs_nextElement(gripper, next)) {
        const char *name = mjs_getString(mjs_getName(next));
        mjsJoint *joint = mjs_asJoint(next);
        if (ends_with(name, "driver_joint")) {
            joint->armature = 0.1;
            joint->damping[0] = 1.0;
        }
        if (ends_with(name, "spring_link_joint")) {
            joint->stiffness[0] = 0.01;
        }
    }
    mjsElement *element = mjs_firstElement(gripper, mjOBJ_ACTUATOR);
    if (element == NULL) {
        return err_set(err, STATUS_INVALID, "the gripper has no actuator");
    }
    mjsActuator *servo = mjs_asActuator(element);
    servo->dyntype = mjDYN_INTEGRATOR;
    servo->ctrlrange[0] = -255.0;
    servo->ctrlrange[1] = 255.0;
    servo->actlimited = mjLIMITED_TRUE;
    servo->actrange[0] = 0.0;
    servo->actrange[1] = 255.0;
    servo->gainprm[0] = 80.0 / 255.0;
    servo->biasprm[0] = 0.0;
    servo->biasprm[1] = -100.0;
    servo->biasprm[2] = 0.0;
    servo->forcerange[0] = -2.5;
    servo->forcerange[1] = 2.5;
    return STATUS_OK;
}

/* ---- Robot ---- */

/* Attaches the body `name` of `child` at `place`. */
static status attach(mjSpec *scene, mjsElement *place, mjSpec *child, const char *name,
                     const char *prefix, struct err *err)
{
    mjsElement *body;
    status s = find(&body, child, mjOBJ_BODY, name, err);
    if (s == STATUS_OK && mjs_attach(place, body, prefix, "") == NULL) {
        s = err_set(err, STATUS_INVALID, "attach %s: %s", name, mjs_getError(scene));
    }
    return s;
}

/* Robot bodies bear their own weight, and their meshes are only drawn. */
static void make_light_and_drawn(mjSpec *scene)
{
    for (mjsElement *next = mjs_firstElement(scene, mjOBJ_BODY); next != NULL;
         next = mjs_nextElement(scene, next)) {
        if (next != mjs_findBody(scene, "world")->element) {
            mjs_asBody(next)->gravcomp = 1.0;
        }
    }
    for (mjsElement *next = mjs_firstElement(scene, mjOBJ_GEOM); next != NULL;
         next = mjs_nextElement(scene, next)) {
        mjsGeom *geom = mjs_asGeom(next);
        geom->contype = geom->conaffinity = 0;
        if (strstr(mjs_getString(mjs_getName(next)), "fingertip") != NULL) {
            memcpy(geom->solref, tip_solref, sizeof tip_solref);
            memcpy(geom->solimp, tip_solimp, sizeof tip_solimp);
            memcpy(geom->friction, tip_friction, sizeof tip_friction);
            geom->priority = 1;
        }
    }
}

static mjsGeom *add_geom(mjsBody *body, const char *name, mjtGeom type,
                         const struct collides *collides)
{
    mjsGeom *geom = mjs_addGeom(body, NULL);
    (void)mjs_setName(geom->element, name);
    geom->type = type;
    geom->contype = collides->type;
    geom->conaffinity = collides->affinity;
    return geom;
}

/* A geom of the gripper that collides instead of a mesh: not drawn, without mass. */
static status add_hand_geom(mjsGeom **geom, mjSpec *scene, const char *body, const char *name,
                            mjtGeom type, struct err *err)
{
    mjsElement *element;
    status s = find(&element, scene, mjOBJ_BODY, body, err);
    if (s == STATUS_OK) {
        *geom = add_geom(mjs_asBody(element), name, type, &hand_collides);
        (*geom)->mass = 0.0;
        (*geom)->group = 3;
    }
    return s;
}

/* The pads, with the bounds of the fingertips' meshes. */
static status add_tip(mjSpec *scene, const char *body, const char *name, struct err *err)
{
    mjsGeom *tip;
    status s = add_hand_geom(&tip, scene, body, name, mjGEOM_BOX, err);
    if (s != STATUS_OK) {
        return s;
    }
    const double pos[3] = {0.0, 0.0043, 0.015}, size[3] = {0.011, 0.0096, 0.023};
    memcpy(tip->pos, pos, sizeof pos);
    memcpy(tip->size, size, sizeof size);
    tip->condim = 4;
    tip->priority = 1;
    memcpy(tip->solref, tip_solref, sizeof tip_solref);
    memcpy(tip->solimp, tip_solimp, sizeof tip_solimp);
    memcpy(tip->friction, tip_friction, sizeof tip_friction);
    return STATUS_OK;
}

/* Palm, knuckles and links as capsules. */
static status add_capsules(mjSpec *scene, struct err *err)
{
    static const struct {
        const char *name, *body;
        double ends[6], radius;
    } capsules[] = {
        {"palm", "gripper/base", {0, 0, .02, 0, 0, .05}, .04},
        {"right_knuckle", "gripper/right_coupler", {0, 0, 0, 0, .005, .045}, .0135},
        {"right_link", "gripper/right_spring_link", {0, 0, 0, 0, .031, .036}, .0135},
        {"left_knuckle", "gripper/left_coupler", {0, 0, 0, 0, .005, .045}, .0135},
        {"left_link", "gripper/left_spring_link", {0, 0, 0, 0, .031, .036}, .0135},
    };
    status s = STATUS_OK;
    for (size_t i = 0; i < sizeof capsules / sizeof capsules[0] && s == STATUS_OK; i++) {
        mjsGeom *capsule;
        s = add_hand_geom(&capsule, scene, capsules[i].body, capsules[i].name, mjGEOM_CAPSULE, err);
        if (s == STATUS_OK) {
            memcpy(capsule->fromto, capsules[i].ends, sizeof capsule->fromto);
            capsule->size[0] = capsules[i].radius;
        }
    }
    return s;
}

/* ---- Basket and blocks ---- */

static void add_basket_geom(mjsBody *world, const char *name, const double *pos, const double *quat,
                            const double *size)
{
    const float grey[4] = {0.6f, 0.6f, 0.6f, 1.0f};
    mjsGeom *geom = add_geom(world, name, mjGEOM_BOX, &basket_collides);
    memcpy(geom->pos, pos, sizeof geom->pos);
    memcpy(geom->quat, quat, sizeof geom->quat);
    memcpy(geom->size, size, sizeof geom->size);
    memcpy(geom->friction, sliding_friction, sizeof sliding_friction);
    memcpy(geom->rgba, grey, sizeof grey);
}

/* A flat floor of +-12 cm about (0.6, 0) between four walls, from which blocks slide back. */
static void add_basket(mjsBody *world)
{
    static const struct {
        const char *name;
        double pos[3];
        int axis; /* 1: about x, 2: about y */
        double angle, size[3];
    } walls[] = {
        {"near", {.32, 0, .07}, 2, TILT_RAD, {.2, .4, .005}},
        {"far", {.88, 0, .07}, 2, -TILT_RAD, {.2, .4, .005}},
        {"right", {.6, -.28, .07}, 1, -TILT_RAD, {.4, .2, .005}},
        {"left", {.6, .28, .07}, 1, TILT_RAD, {.4, .2, .005}},
    };
    const double pos[3] = {.6, 0, -.02}, level[4] = {1, 0, 0, 0}, size[3] = {.25, .25, .02};
    add_basket_geom(world, "floor", pos, level, size);
    for (size_t i = 0; i < sizeof walls / sizeof walls[0]; i++) {
        double quat[4] = {cos(walls[i].angle / 2.0)};
        quat[walls[i].axis] = sin(walls[i].angle / 2.0);
        add_basket_geom(world, walls[i].name, walls[i].pos, quat, walls[i].size);
    }
}

static void add_light_and_camera(mjsBody *world)
{
    const double light_pos[3] = {1, 0, 1.5}, light_dir[3] = {-.4, 0, -1};
    mjsLight *light = mjs_addLight(world, NULL);
    memcpy(light->pos, light_pos, sizeof light_pos);
    memcpy(light->dir, light_dir, sizeof light_dir);
    light->type = mjLIGHT_DIRECTIONAL;
    light->diffuse[0] = light->diffuse[1] = light->diffuse[2] = 0.8f;
    const double pos[3] = {1.4, 0, .4002}, quat[4] = {.541, .455, .456, .541};
    mjsCamera *camera = mjs_addCamera(world, NULL);
    (void)mjs_setName(camera->element, "main");
    memcpy(camera->pos, pos, sizeof pos);
    memcpy(camera->quat, quat, sizeof quat);
    camera->fovy = 45.0;
}

static void add_block(mjsBody *world, int i)
{
    static const float colours[SAWYER_BLOCKS_MAX][4] = {
        {.1f, .7f, .1f, 1}, {.9f, .8f, .1f, 1}, {.1f, .2f, .9f, 1}};
    mjsBody *block = mjs_addBody(world, NULL);
    (void)mjs_setName(block->element, sawyer_block_names[i]);
    block->pos[0] = .54 + .06 * i;
    block->pos[1] = -.06 + .06 * i;
    block->pos[2] = SAWYER_EDGE_M / 2;
    (void)mjs_setName(mjs_addFreeJoint(block)->element, sawyer_block_names[i]);
    mjsGeom *geom = add_geom(block, sawyer_block_names[i], mjGEOM_BOX, &block_collides);
    geom->size[0] = geom->size[1] = geom->size[2] = SAWYER_EDGE_M / 2;
    geom->mass = .05;
    geom->condim = 4;
    memcpy(geom->friction, sliding_friction, sizeof sliding_friction);
    memcpy(geom->rgba, colours[i], sizeof geom->rgba);
}

/* ---- The whole ---- */

static void set_options(mjSpec *scene)
{
    scene->option.timestep = TIMESTEP_S;
    scene->option.impratio = 10.0;
    scene->option.cone = mjCONE_ELLIPTIC;
    scene->option.integrator = mjINT_IMPLICITFAST;
    scene->option.disableflags |= mjDSBL_SENSOR | mjDSBL_AUTORESET;
}

/* Parses a model, changes it and attaches it. The scene keeps what is attached; a reference of our own
 * to the child is dropped in any case. */
static status add_arm(mjSpec *scene, const char *folder, struct err *err)
{
    mjSpec *arm;
    status s = parse_arm(&arm, folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = change_arm(arm, err);
    if (s == STATUS_OK) {
        mjsFrame *frame = mjs_addFrame(mjs_findBody(scene, "world"), NULL);
        frame->pos[2] = -.0498;
        s = attach(scene, frame->element, arm, "arm_base_link", "arm/", err);
    }
    mj_deleteSpec(arm);
    return s;
}

static status add_gripper(mjSpec *scene, const char *folder, struct err *err)
{
    mjSpec *gripper;
    mjsElement *flange;
    status s = parse_gripper(&gripper, folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = change_gripper(gripper, err);
    s = s != STATUS_OK ? s : find(&flange, scene, mjOBJ_SITE, "arm/flange", err);
    s = s != STATUS_OK ? s : attach(scene, flange, gripper, "base_mount", "gripper/", err);
    mj_deleteSpec(gripper);
    return s;
}

static status add_parts(mjSpec *scene, const char *folder, int n_blocks, struct err *err)
{
    set_options(scene);
    status s = add_arm(scene, folder, err);
    s = s != STATUS_OK ? s : add_gripper(scene, folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    make_light_and_drawn(scene);
    s = add_tip(scene, "gripper/right_pad", "right_tip", err);
    s = s != STATUS_OK ? s : add_tip(scene, "gripper/left_pad", "left_tip", err);
    s = s != STATUS_OK ? s : add_capsules(scene, err);
    if (s != STATUS_OK) {
        return s;
    }
    mjsBody *world = mjs_findBody(scene, "world");
    add_basket(world);
    add_light_and_camera(world);
    for (int i = 0; i < n_blocks; i++) {
        add_block(world, i);
    }
    return STATUS_OK;
}

status sawyer_scene_assemble(mjSpec **scene, const char *folder, const void *arg, struct err *err)
{
    const int n_blocks = *(const int *)arg;
    ASSERT(n_blocks >= 2 && n_blocks <= SAWYER_BLOCKS_MAX);
    status s = check_folder(folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    mjSpec *made = mj_makeSpec();
    mjs_setString(made->modelname, "sawyer_stack");
    s = add_parts(made, folder, n_blocks, err);
    if (s != STATUS_OK) {
        mj_deleteSpec(made);
        return s;
    }
    *scene = made;
    return STATUS_OK;
}
