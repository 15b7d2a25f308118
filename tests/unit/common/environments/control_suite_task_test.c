/* A domain of one's own on the suite's machinery: all types of joint drawn as dm_control draws them,
 * several rewards a step, a termination, and the same start after any history.
 *
 * The expected joint positions were computed by dm_control 1.0.50:
 * randomizers.randomize_limited_and_rotational_joints(physics, RandomState(seed)) on MODEL. */
#include "common/environments/control_suite_task.h"

#include <math.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#define NQ 19

static const char model_text[] =
    "<mujoco><option timestep='0.01' gravity='0 0 -1'/><worldbody>"
    "<body name='free' pos='1 2 3'><freejoint name='f'/><geom size='.1'/></body>"
    "<body name='hinged' pos='0 5 3'><joint name='h' type='hinge' axis='0 1 0'/><geom size='.1'/>"
    "<body name='slid' pos='0 1 0'><joint name='s' type='slide' axis='1 0 0' range='-1 2' "
    "limited='true'/><joint name='u' type='slide' axis='0 1 0'/><geom size='.1'/></body></body>"
    "<body name='balled' pos='0 9 3'><joint name='b' type='ball'/><geom pos='.3 0 0' "
    "size='.1'/></body>"
    "<body name='limited' pos='0 12 3'><joint name='l' type='ball' range='0 40' "
    "limited='true'/><geom pos='.3 0 0' size='.1'/></body>"
    "<body name='bounded' pos='0 15 3'><joint name='hb' type='hinge' range='-30 60' "
    "limited='true'/><geom pos='.3 0 0' size='.1'/></body>"
    "</worldbody><actuator><motor name='m' joint='h' ctrlrange='-2 2' "
    "ctrllimited='true'/></actuator><sensor><framepos name='where' objtype='body' "
    "objname='free'/></sensor></mujoco>";

enum { FREE, WHERE };
static const struct control_suite_part parts[] = {
    [FREE] = {mjOBJ_BODY, "free"},
    [WHERE] = {mjOBJ_SENSOR, "where"},
    {0, NULL},
};

static const struct signature_slice slices[] = {{"position", NQ}, {"", 0}};

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    (void)at;
    (void)control_suite_put(observation, simulation->data->qpos, NQ);
}

/* Height and its opposite, one from the body, one from the sensor. */
static void evaluate(const struct simulation *simulation, const int *at, double speed,
                     double *rewards)
{
    rewards[0] = speed * simulation->data->xpos[3 * at[FREE] + 2];
    rewards[1] = -simulation->data->sensordata[at[WHERE] + 2];
}

static bool fallen(const struct simulation *simulation, const int *at)
{
    return simulation->data->xpos[3 * at[FREE] + 2] < 2.9;
}

static const struct control_suite_task tasks[] = {
    {.name = "joints-fall",
     .rewards = {"height", "depth"},
     .goal = 2.0,
     .evaluate = evaluate,
     .terminated = fallen},
    {0},
};

static char path[2 * SCRATCH_SIZE];
static struct control_suite_domain domain = {
    .file = path,
    .time_limit_s = 10.0,
    .n_sub_steps = 2,
    .nq = NQ,
    .nv = 16,
    .nu = 1,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = control_suite_randomize_joints,
    .observe = observe,
};

static struct control_suite *open_or_fail(void)
{
    struct err err = {0};
    struct control_suite *suite = NULL;
    if (control_suite_open_task(&suite, &domain, &tasks[0], &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return suite;
}

static void joints_are_drawn_as_dm_control_draws_them(void **state)
{
    (void)state;
    static const double expected[][NQ] = {
        {
            0x1.0000000000000p+0,  0x1.0000000000000p+1,
            0x1.8000000000000p+1,  0x1.e239ff986c651p-2,
            0x1.a079f1b0f42efp-1,  0x1.0edd615fcc139p-13,
            0x1.5d9ac495f5d44p-2,  -0x1.1c1884541ae06p+1,
            -0x1.722afcb3db43ap-1, 0x0.0p+0,
            -0x1.8b9b4c95452e6p-3, -0x1.91d534e2a7dc6p-2,
            0x1.44199e1652028p-2,  -0x1.aef83b18a7aadp-1,
            0x1.fffa02a86e114p-1,  0x1.1b2cea76cccf2p-7,
            -0x1.ee2995857b844p-9, 0x1.9e3ab9b4b2f60p-10,
            0x1.0f23af3fa74c5p-1,
        },
        {
            0x1.0000000000000p+0,  0x1.0000000000000p+1,
            0x1.8000000000000p+1,  0x1.0e3ab40d89111p-1,
            0x1.011add7039ed0p-5,  0x1.54ae2ddaa1d03p-1,
            0x1.0dcfff4760fc9p-1,  -0x1.002d11e3b5bacp-1,
            -0x1.26c4089667b80p-7, 0x0.0p+0,
            0x1.09f2b40a7d27fp-2,  -0x1.4948ca762d7b3p-1,
            -0x1.17bf89dcaea7ap-1, -0x1.e0ba2e73641c7p-2,
            0x1.fef0727dcd8d5p-1,  0x1.ed0a41f402e0ap-7,
            0x1.002cd3e515a2dp-4,  0x1.291d2ae2225efp-10,
            0x1.6b857c5556091p-1,
        },
        {
            0x1.0000000000000p+0,  0x1.0000000000000p+1,
            0x1.8000000000000p+1,  0x1.06ed125411405p-1,
            0x1.5209ae03391dep-1,  0x1.15bac63d036c5p-2,
            0x1.e7b12cc9b525dp-2,  0x1.3c06d546e3d6ep+1,
            0x1.b05a6441ccc04p+0,  0x0.0p+0,
            -0x1.6ddb3bbf646d1p-2, -0x1.d3e73a1e68ad5p-2,
            -0x1.b48594452690fp-4, -0x1.9d7c613a2c7a7p-1,
            0x1.f1cd0dfe37090p-1,  -0x1.e037ae704eabcp-8,
            -0x1.46dfca909bfc4p-4, -0x1.c1f88e0d8829ep-3,
            0x1.9e3c28fd843a8p-2,
        },
    };
    struct control_suite *suite = open_or_fail();
    double observation[NQ], worst = 0.0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        control_suite_seed(suite, seed);
        assert_int_equal(control_suite_reset(suite, observation, NULL), STATUS_OK);
        for (int i = 0; i < NQ; i++) {
            worst = fmax(worst, fabs(observation[i] - expected[seed - 1][i]));
        }
    }
    print_message("worst error %.2g\n", worst);
    /* numpy's norm may round otherwise where its BLAS fuses multiply and add. */
    assert_true(worst < 1e-15);
    control_suite_close(suite);
}

static void all_rewards_come_and_a_fall_terminates(void **state)
{
    (void)state;
    struct err err = {0};
    struct control_suite *suite = open_or_fail();
    struct environment *environment = control_suite_environment(suite);
    const struct signature *signature = environment_signature(environment);
    assert_int_equal(signature_check(signature, &err), STATUS_OK);
    assert_int_equal(signature->K, 2);
    assert_string_equal(signature->rewards[1], "depth");
    assert_int_equal(environment_description(environment)->step_limit, 500);

    const struct environment_start start = {.seed = 3, .task = 1};
    float observation[NQ], action[1] = {0.5f}, rewards[2], discount;
    bool last = false;
    assert_int_equal(environment_reset(environment, &start, observation, &err), STATUS_OK);
    int steps = 0;
    while (!last) {
        assert_int_equal(
            environment_step(environment, action, observation, rewards, &discount, &last, &err),
            STATUS_OK);
        steps++;
        assert_true(fabsf(rewards[0] + 2.0f * rewards[1]) < 1e-6f);
        assert_true(last == (observation[2] < 2.9f));
        assert_true(discount == (last ? 0.0f : 1.0f));
    }
    /* 0.1 m of fall at 1 m/s^2 take sqrt(0.2) s. */
    assert_in_range(steps, 20, 24);
    assert_int_equal(
        environment_step(environment, action, observation, rewards, &discount, &last, &err),
        STATUS_CLOSED);
    control_suite_close(suite);
}

/* Free and ball joints, too, forget what came before a reset. */
static void a_reset_forgets_every_type_of_joint(void **state)
{
    (void)state;
    struct control_suite *used = open_or_fail();
    double observation[NQ], expected[NQ], rewards[2], discount, action[1] = {2.0};
    bool last;
    for (int history = 0; history < 4; history++) {
        control_suite_seed(used, 40 + (uint64_t)history);
        assert_int_equal(control_suite_reset(used, observation, NULL), STATUS_OK);
        for (int k = 0; k < 7; k++) {
            assert_int_equal(
                control_suite_step(used, action, observation, rewards, &discount, &last, NULL),
                STATUS_OK);
        }
        if (history % 2 == 1) { /* a ball joint whose quaternion is no number */
            control_suite_simulation(used)->data->qpos[10] = (double)NAN;
            assert_int_equal(
                control_suite_step(used, action, observation, rewards, &discount, &last, NULL),
                STATUS_CORRUPT);
        }
        struct control_suite *fresh = open_or_fail();
        control_suite_seed(used, 7);
        control_suite_seed(fresh, 7);
        assert_int_equal(control_suite_reset(used, observation, NULL), STATUS_OK);
        assert_int_equal(control_suite_reset(fresh, expected, NULL), STATUS_OK);
        for (int k = 0; k < 20; k++) {
            assert_memory_equal(observation, expected, sizeof expected);
            assert_int_equal(
                control_suite_step(used, action, observation, rewards, &discount, &last, NULL),
                STATUS_OK);
            assert_int_equal(
                control_suite_step(fresh, action, expected, rewards, &discount, &last, NULL),
                STATUS_OK);
        }
        control_suite_close(fresh);
    }
    control_suite_close(used);
}

static void a_model_that_does_not_fit_the_domain_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct control_suite *suite = NULL;
    struct control_suite_domain other = domain;
    other.nq = 18;
    assert_int_equal(control_suite_open_task(&suite, &other, &tasks[0], &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "nq 19"));
    static const struct control_suite_part absent[] = {{mjOBJ_BODY, "tail"}, {0, NULL}};
    other = domain;
    other.parts = absent;
    assert_int_equal(control_suite_open_task(&suite, &other, &tasks[0], &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "tail"));
    assert_null(suite);
}

/* The free body within the hinged one, whatever is drawn. */
static status draw_overlap(struct simulation *simulation, const int *at,
                           struct random_state *random, struct err *err)
{
    static const double hinged[3] = {0.0, 5.0, 3.0};
    memcpy(simulation->data->qpos, hinged, sizeof hinged);
    return control_suite_randomize_joints(simulation, at, random, err);
}

static status start_apart(struct simulation *simulation, const int *at, struct random_state *random,
                          struct err *err)
{
    return control_suite_draw_apart(simulation, at, random, draw_overlap, err);
}

/* A search for a start state ends, and a task's own start is the one that is called. */
static void a_start_that_cannot_be_found_is_an_error(void **state)
{
    (void)state;
    struct err err = {0};
    double observation[NQ];
    struct control_suite *suite = NULL;
    struct control_suite_task task = tasks[0];
    task.start = start_apart;
    assert_int_equal(control_suite_open_task(&suite, &domain, &task, &err), STATUS_OK);
    assert_int_equal(control_suite_reset(suite, observation, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "joints-fall: reset: no start state without contacts"));
    control_suite_close(suite);
}

static status edit_absent(mjSpec *spec, const void *arg, struct err *err)
{
    (void)arg;
    return control_suite_remove(spec, mjOBJ_BODY, "tail", err);
}

static status edit_present(mjSpec *spec, const void *arg, struct err *err)
{
    (void)arg;
    return control_suite_remove(spec, mjOBJ_BODY, "bounded", err);
}

static void edits_name_what_is_absent(void **state)
{
    (void)state;
    struct err err = {0};
    struct control_suite *suite = NULL;
    struct control_suite_domain edited = domain;
    edited.edit = edit_absent;
    assert_int_equal(control_suite_open_task(&suite, &edited, &tasks[0], &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "no body named tail"));
    edited.edit = edit_present;
    edited.nq = NQ - 1;
    edited.nv = 15;
    assert_int_equal(control_suite_open_task(&suite, &edited, &tasks[0], &err), STATUS_OK);
    control_suite_close(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joints_are_drawn_as_dm_control_draws_them),
        cmocka_unit_test(all_rewards_come_and_a_fall_terminates),
        cmocka_unit_test(a_reset_forgets_every_type_of_joint),
        cmocka_unit_test(a_model_that_does_not_fit_the_domain_is_refused),
        cmocka_unit_test(a_start_that_cannot_be_found_is_an_error),
        cmocka_unit_test(edits_name_what_is_absent),
    };
    char folder[SCRATCH_SIZE];
    scratch_make(folder);
    scratch_path(path, folder, "joints.xml");
    scratch_write(path, model_text);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(folder);
    return failed;
}
