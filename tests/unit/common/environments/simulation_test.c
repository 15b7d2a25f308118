/* What a simulation leaves out of a step changes nothing: models that have each of the things which
 * others lack arrive where mj_step does, to the last bit. */
#include "common/environments/simulation.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#define STEPS     200
#define SUB_STEPS 3
#define STATE_MAX 32 /* nq + nv */

/* Attributes of the slide, the tendon and the hinge, and sensors; %s in that order. */
static const char model_text[] =
    "<mujoco><option timestep='0.01' %s/><worldbody><body name='cart'>"
    "<joint name='slide' type='slide' axis='1 0 0' damping='1' %s/><geom size='.1'/>"
    "<body name='pole' pos='0 0 .1'><joint name='hinge' type='hinge' axis='0 1 0'/>"
    "<geom type='capsule' fromto='0 0 0 0 0 .5' size='.05'/></body></body></worldbody>"
    "<tendon><fixed name='t' %s><joint joint='slide' coef='1'/><joint joint='hinge' "
    "coef='.3'/></fixed>"
    "</tendon>"
    "<actuator><motor joint='slide' gear='3'/><motor tendon='t'/></actuator>%s</mujoco>";

#define ALL (mjDSBL_FRICTIONLOSS | mjDSBL_SPRING | mjDSBL_SENSOR | mjDSBL_ISLAND)

/* The cart stands on it; a ball falls on the cart. */
#define FLOOR "<worldbody><geom type='plane' size='2 2 .1' pos='0 0 -.099'/></worldbody>"
#define BALL                                                                                       \
    "<worldbody><body pos='.02 0 .3'><freejoint/><geom size='.1'/></body></worldbody>"             \
    "<contact><exclude body1='pole' body2='cart'/></contact>"

struct variant {
    const char *option, *joint, *tendon, *rest;
    int lacks; /* of ALL */
};
static const struct variant variants[] = {
    {"", "", "", "", ALL},
    {"", "frictionloss='.5'", "", "", ALL & ~mjDSBL_FRICTIONLOSS},
    {"", "", "frictionloss='.5'", "", ALL & ~mjDSBL_FRICTIONLOSS},
    {"", "stiffness='4' springref='.3'", "", "", ALL & ~mjDSBL_SPRING},
    {"", "stiffness='0 20'", "", "", ALL & ~mjDSBL_SPRING},
    {"", "", "stiffness='4' springlength='.2'", "", ALL & ~mjDSBL_SPRING},
    {"", "", "", "<sensor><jointpos joint='hinge'/><jointvel joint='slide'/></sensor>",
     ALL & ~mjDSBL_SENSOR},
    {"", "", "", FLOOR, ALL},
    {"", "", "", BALL, ALL & ~mjDSBL_ISLAND},
    {"", "", "", FLOOR BALL, ALL & ~mjDSBL_ISLAND},
    {"integrator='RK4'", "", "", "", ALL},
    {"integrator='RK4'", "", "", FLOOR, ALL},
    {"integrator='RK4'", "frictionloss='.5'", "stiffness='4'", "", mjDSBL_SENSOR | mjDSBL_ISLAND},
};
enum { N_VARIANTS = sizeof variants / sizeof variants[0] };

/* The variant's model, compiled. */
static const struct shared_model *take(const struct variant *variant, int i)
{
    char text[2048], name[32];
    struct err err = {0};
    const struct shared_model *shared = NULL;
    snprintf(text, sizeof text, model_text, variant->option, variant->joint, variant->tendon,
             variant->rest);
    snprintf(name, sizeof name, "%d.xml", i);
    scratch_write(scratch_at(name), text);
    if (shared_model_take(&shared, scratch_at(name), "model", NULL, NULL, &err) != STATUS_OK) {
        fail_msg("variant %d: %s", i, err.text);
    }
    return shared;
}

/* Steps both ways under the same controls. `end`: the state at the end, (nq + nv). */
static void walk(const struct shared_model *shared, mjtNum *end)
{
    const mjModel *model = shared->model;
    struct simulation simulation = {0};
    struct err err = {0};
    assert_int_equal(simulation_init(&simulation, shared, 0, &err), STATUS_OK);
    assert_int_equal(simulation_reset(&simulation, &err), STATUS_OK);
    mjData *bare = mj_makeData(model);
    assert_non_null(bare);
    assert_true(model->nq + model->nv <= STATE_MAX);
    for (int step = 0; step < STEPS; step++) {
        for (int u = 0; u < model->nu; u++) {
            bare->ctrl[u] = simulation.data->ctrl[u] = (step * 7 + u * 3) % 11 / 5.0 - 1;
        }
        assert_int_equal(simulation_step(&simulation, SUB_STEPS, &err), STATUS_OK);
        for (int i = 0; i < SUB_STEPS; i++) {
            mj_step(model, bare);
        }
        assert_memory_equal(simulation.data->qpos, bare->qpos, (size_t)model->nq * sizeof(mjtNum));
        assert_memory_equal(simulation.data->qvel, bare->qvel, (size_t)model->nv * sizeof(mjtNum));
    }
    /* Sensors of positions are those of the new state, which mj_step leaves to the next step. */
    mj_step1(model, bare);
    assert_memory_equal(simulation.data->sensordata, bare->sensordata,
                        (size_t)model->nsensordata * sizeof(mjtNum));
    memcpy(end, bare->qpos, (size_t)model->nq * sizeof(mjtNum));
    memcpy(end + model->nq, bare->qvel, (size_t)model->nv * sizeof(mjtNum));
    mj_deleteData(bare);
    simulation_fini(&simulation);
}

static void nothing_that_a_model_has_is_left_out(void **state)
{
    (void)state;
    mjtNum ends[N_VARIANTS][STATE_MAX] = {0};
    for (int i = 0; i < N_VARIANTS; i++) {
        const struct shared_model *shared = take(&variants[i], i);
        walk(shared, ends[i]);
        shared_model_drop(shared);
    }
    /* Each of them was felt, but for sensors. */
    for (int i = 1; i < N_VARIANTS; i++) {
        const bool same = memcmp(ends[i], ends[0], sizeof ends[0]) == 0;
        assert_int_equal(same, strstr(variants[i].rest, "sensor") != NULL);
    }
}

/* The figures of docs/performance.md rest on it. */
static void what_a_model_lacks_is_disabled(void **state)
{
    (void)state;
    for (int i = 0; i < N_VARIANTS; i++) {
        const struct shared_model *shared = take(&variants[i], i);
        struct simulation simulation = {0};
        struct err err = {0};
        assert_int_equal(simulation_init(&simulation, shared, 0, &err), STATUS_OK);
        assert_int_equal(simulation.stepped.opt.disableflags & ALL, variants[i].lacks);
        simulation_fini(&simulation);
        shared_model_drop(shared);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_that_a_model_has_is_left_out, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(what_a_model_lacks_is_disabled, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
