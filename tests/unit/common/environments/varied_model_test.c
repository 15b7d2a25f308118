/* A model of one's own: what is changed is seen by MuJoCo and by nobody else. */
#include "common/environments/varied_model.h"

#include <math.h>
#include <string.h>

#include "common/environments/simulation.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static const char model_text[] =
    "<mujoco><option gravity='0 0 0'/><worldbody>"
    "<geom name='target' type='sphere' size='.1' pos='1 2 3'/>"
    "<site name='mark' pos='4 5 6'/><body name='post' pos='7 8 9'><geom size='.1'/></body>"
    "<body name='mass' pos='0 0 5'><joint name='x' type='slide' axis='1 0 0'/><geom size='.1'/>"
    "</body></worldbody>"
    "<tendon><fixed name='t'><joint joint='x' coef='1'/></fixed></tendon>"
    "<actuator><motor tendon='t' ctrlrange='-1 1' ctrllimited='true'/></actuator></mujoco>";

static char path[2 * SCRATCH_SIZE];

static const struct shared_model *take(void)
{
    struct err err = {0};
    const struct shared_model *shared = NULL;
    if (shared_model_take(&shared, path, "model", NULL, NULL, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return shared;
}

static int find(const mjModel *model, int type, const char *name)
{
    int id = mj_name2id(model, type, name);
    assert_true(id >= 0);
    return id;
}

/* Two simulations of one model; the target of one is moved. */
static void only_the_own_simulation_sees_a_change(void **state)
{
    (void)state;
    const struct shared_model *shared = take();
    struct simulation mine = {0}, other = {0};
    assert_int_equal(simulation_init(&mine, shared, VARIES(GEOM_POS), NULL), STATUS_OK);
    assert_int_equal(simulation_init(&other, shared, VARIES(GEOM_POS), NULL), STATUS_OK);
    int target = find(shared->model, mjOBJ_GEOM, "target");
    varied_model_at(mine.varied, VARIED_GEOM_POS, target)[1] = -2.0;
    for (int i = 0; i < 2; i++) { /* reset and forward, passive; then a step, active */
        assert_int_equal(simulation_reset(&mine, NULL), STATUS_OK);
        assert_int_equal(simulation_reset(&other, NULL), STATUS_OK);
        assert_true(mine.data->geom_xpos[3 * target + 1] == -2.0);
        assert_true(other.data->geom_xpos[3 * target + 1] == 2.0);
        assert_int_equal(simulation_step(&mine, 2, NULL), STATUS_OK);
        assert_true(mine.data->geom_xpos[3 * target + 1] == -2.0);
    }
    assert_true(shared->model->geom_pos[3 * target + 1] == 2.0);
    simulation_restore_model(&mine);
    assert_int_equal(simulation_forward(&mine, NULL), STATUS_OK);
    assert_true(mine.data->geom_xpos[3 * target + 1] == 2.0);
    simulation_fini(&mine);
    simulation_fini(&other);
    shared_model_drop(shared);
}

/* Each array of the table is the one that MuJoCo reads. */
static void every_array_reaches_mujoco(void **state)
{
    (void)state;
    const struct shared_model *shared = take();
    struct simulation simulation = {0};
    assert_int_equal(simulation_init(&simulation, shared, (1u << VARIED_ARRAYS_END) - 1, NULL),
                     STATUS_OK);
    const mjModel *model = simulation.model;
    int post = find(model, mjOBJ_BODY, "post"), target = find(model, mjOBJ_GEOM, "target");
    int mark = find(model, mjOBJ_SITE, "mark");
    static const double quarter[4] = {M_SQRT1_2, 0.0, M_SQRT1_2, 0.0};
    memcpy(varied_model_at(simulation.varied, VARIED_BODY_QUAT, post), quarter, sizeof quarter);
    varied_model_at(simulation.varied, VARIED_BODY_POS, post)[0] = 70.0;
    varied_model_at(simulation.varied, VARIED_GEOM_POS, target)[0] = 10.0;
    varied_model_at(simulation.varied, VARIED_SITE_POS, mark)[0] = 40.0;
    *varied_model_at(simulation.varied, VARIED_WRAP_PARAMETER, 0) = -3.0;
    assert_int_equal(simulation_reset(&simulation, NULL), STATUS_OK);
    simulation.data->ctrl[0] = 1.0;
    assert_int_equal(simulation_step(&simulation, 1, NULL), STATUS_OK);
    const mjData *data = simulation.data;
    assert_true(data->xpos[3 * post] == 70.0);
    assert_true(fabs(data->xquat[4 * post + 2] - M_SQRT1_2) < 1e-12);
    assert_true(data->geom_xpos[3 * target] == 10.0);
    assert_true(data->site_xpos[3 * mark] == 40.0);
    assert_true(data->qvel[0] < 0.0); /* the motor pulls the other way */
    simulation_fini(&simulation);
    shared_model_drop(shared);
}

/* Without variation a simulation is on the shared model itself. */
static void nothing_is_copied_where_nothing_varies(void **state)
{
    (void)state;
    const struct shared_model *shared = take();
    struct simulation simulation = {0};
    assert_int_equal(simulation_init(&simulation, shared, 0, NULL), STATUS_OK);
    assert_ptr_equal(simulation.model, shared->model);
    assert_null(simulation.varied);
    simulation_restore_model(&simulation);
    simulation_fini(&simulation);
    struct varied_model *varied = NULL;
    assert_int_equal(varied_model_new(&varied, shared, VARIES(SITE_POS), NULL), STATUS_OK);
    const mjModel *model = varied_model_model(varied);
    assert_ptr_equal(model->geom_pos, shared->model->geom_pos);
    assert_ptr_not_equal(model->site_pos, shared->model->site_pos);
    assert_ptr_equal(model->site_pos, varied_model_passive(varied)->site_pos);
    assert_int_not_equal(model->opt.disableflags, varied_model_passive(varied)->opt.disableflags);
    varied_model_free(varied);
    varied_model_free(NULL);
    shared_model_drop(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_own_simulation_sees_a_change),
        cmocka_unit_test(every_array_reaches_mujoco),
        cmocka_unit_test(nothing_is_copied_where_nothing_varies),
    };
    char folder[SCRATCH_SIZE];
    scratch_make(folder);
    scratch_path(path, folder, "model.xml");
    scratch_write(path, model_text);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(folder);
    return failed;
}
