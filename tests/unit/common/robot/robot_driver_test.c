/* The driver's rules, event by event: who has the lease, when the robot holds still, what ends an
 * episode. A thousand random stories at the end keep what must always hold. */
#include "common/robot/robot_driver.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/lib/check.h"
#include "tests/unit/common/robot/robot_samples.h"

#define MS 1000000ull

static struct robot_description robot;
static struct robot_driver driver;
static struct {
    unsigned resets, acts, holds, frames, faults, waits, closes;
    bool moves; /* the robot was told to do something, and not yet to hold */
    enum robot_fault_kind kind;
    char text[256];
} seen;

static void reset(void *arg, const struct robot_start *start)
{
    (void)arg;
    (void)start;
    seen.resets++;
    seen.moves = true;
}
static void act(void *arg, uint64_t episode, uint64_t step, const float *action)
{
    (void)arg;
    (void)episode;
    (void)step;
    assert_true(fabsf(action[0]) <= 2.0f);
    seen.acts++;
    seen.moves = true;
}
static void hold(void *arg)
{
    (void)arg;
    seen.holds++;
    seen.moves = false;
}
static void frame(void *arg, const struct robot_frame *frame)
{
    (void)arg;
    (void)frame;
    seen.frames++;
}
static void fault(void *arg, uint64_t episode, enum robot_fault_kind kind, const char *text)
{
    (void)arg;
    assert_int_equal(episode, driver.start.episode);
    assert_false(seen.moves); /* the robot first, then the message */
    seen.faults++;
    seen.kind = kind;
    (void)snprintf(seen.text, sizeof seen.text, "%s", text);
}
static void waits(void *arg, const char *text)
{
    (void)arg;
    seen.waits++;
    (void)snprintf(seen.text, sizeof seen.text, "%s", text);
}
static void close_session(void *arg, status code, const char *text)
{
    (void)arg;
    (void)code;
    (void)text;
    seen.closes++;
}

static const struct robot_driver_effects effects = {reset, act,   hold,         frame,
                                                    fault, waits, close_session};

static void begin(const char *prompt)
{
    memset(&seen, 0, sizeof seen);
    robot_sample(&robot);
    robot_driver_init(&driver, &robot, &effects, NULL, prompt);
}

static void send_reset(uint64_t episode, uint64_t now_ns)
{
    struct err err = {0};
    const struct robot_start start = {.episode = episode};
    assert_int_equal(robot_driver_reset(&driver, &start, now_ns, &err), STATUS_OK);
}

static void send_frame(uint64_t episode, uint64_t step, bool last, uint64_t now_ns)
{
    const float observation[4] = {0}, reward = 1;
    const struct robot_frame frame = {episode, step, observation, &reward, 1.0f, last, now_ns};
    robot_driver_frame(&driver, &frame, now_ns);
}

static status send_act(uint64_t episode, uint64_t step, float action, uint64_t now_ns)
{
    struct err err = {0};
    return robot_driver_act(&driver, episode, step, &action, 1, now_ns, &err);
}

/* A session whose robot is at its start state, at `now_ns`. */
static void at_start(uint64_t now_ns)
{
    struct err err = {0};
    assert_int_equal(robot_driver_open(&driver, "alice", now_ns, &err), STATUS_OK);
    send_reset(1, now_ns);
    send_frame(1, 0, false, now_ns);
    assert_int_equal(driver.state, ROBOT_ACTING);
}

static void an_episode(void **state)
{
    (void)state;
    begin(NULL);
    at_start(0);
    for (uint64_t step = 0; step < 3; step++) {
        assert_int_equal(send_act(1, step, 0.1f, step * 100 * MS + 10 * MS), STATUS_OK);
        assert_int_equal(driver.state, ROBOT_MOVING);
        send_frame(1, step + 1, step == 2, (step + 1) * 100 * MS);
    }
    assert_int_equal(driver.state, ROBOT_IDLE);
    assert_int_equal(seen.frames, 4);
    assert_int_equal(seen.acts, 3);
    assert_int_equal(seen.faults, 0);
    assert_false(seen.moves);
}

static void the_lease_is_exclusive_and_ends(void **state)
{
    (void)state;
    struct err err = {0};
    begin(NULL);
    at_start(0);
    assert_int_equal(robot_driver_open(&driver, "bob", 400 * MS, &err), STATUS_LIMIT);
    assert_string_equal(err.text,
                        "the robot is in use by alice, whose lease is good for another 0.6 s");
    robot_driver_end(&driver, 500 * MS);
    assert_false(seen.moves);
    robot_driver_tick(&driver, 1500 * MS);
    assert_int_equal(seen.closes, 0);
    robot_driver_tick(&driver, 1501 * MS);
    assert_int_equal(seen.closes, 1);
    assert_int_equal(robot_driver_open(&driver, "bob", 1502 * MS, &err), STATUS_OK);
}

static void deadlines(void **state)
{
    (void)state;
    /* The first action may take its time. */
    begin(NULL);
    at_start(0);
    robot_driver_tick(&driver, 900 * MS);
    assert_int_equal(send_act(1, 0, 0, 900 * MS), STATUS_OK);
    send_frame(1, 1, false, 1000 * MS);
    /* The next one has 50 ms. */
    robot_driver_tick(&driver, 1050 * MS);
    assert_int_equal(seen.faults, 0);
    assert_int_equal(send_act(1, 1, 0, 1051 * MS), STATUS_OK);
    assert_int_equal(seen.kind, ROBOT_FAULT_LATE);
    assert_int_equal(seen.acts, 1);
    /* What was on its way is ignored. */
    assert_int_equal(send_act(1, 1, 0, 1052 * MS), STATUS_OK);
    send_frame(1, 2, false, 1060 * MS);
    assert_int_equal(seen.faults, 1);
    assert_int_equal(seen.frames, 2);
    /* A robot that says nothing. */
    send_reset(2, 1100 * MS);
    send_frame(2, 0, false, 1100 * MS);
    assert_int_equal(send_act(2, 0, 0, 1100 * MS), STATUS_OK);
    robot_driver_tick(&driver, 1350 * MS);
    assert_int_equal(seen.faults, 1);
    robot_driver_tick(&driver, 1351 * MS);
    assert_int_equal(seen.faults, 2);
    assert_int_equal(seen.kind, ROBOT_FAULT_ROBOT);
    assert_false(seen.moves);
}

static void limits_and_sensors(void **state)
{
    (void)state;
    begin(NULL);
    at_start(0);
    assert_int_equal(send_act(1, 0, 2.5f, 10 * MS), STATUS_OK);
    assert_int_equal(seen.kind, ROBOT_FAULT_LIMITS);
    assert_int_equal(seen.acts, 0);
    const float bad[4] = {0, NAN, 0, 0}, reward = 0;
    send_reset(2, 20 * MS);
    const struct robot_frame first = {2, 0, bad, &reward, 1.0f, false, 0};
    robot_driver_frame(&driver, &first, 30 * MS);
    assert_int_equal(seen.kind, ROBOT_FAULT_SENSOR);
    assert_int_equal(seen.frames, 1);
    /* Messages that cannot be meant. */
    send_reset(3, 40 * MS);
    send_frame(3, 0, false, 40 * MS);
    assert_int_equal(send_act(3, 1, 0, 41 * MS), STATUS_INVALID);
}

static void stops(void **state)
{
    (void)state;
    begin(NULL);
    at_start(0);
    assert_int_equal(send_act(1, 0, 0, 10 * MS), STATUS_OK);
    robot_driver_stop(&driver, "ann", "smoke", false);
    assert_int_equal(seen.kind, ROBOT_FAULT_STOPPED);
    assert_string_equal(seen.text, "stopped by ann: smoke; it waits for resume");
    assert_false(seen.moves);
    send_reset(2, 600 * MS);
    assert_int_equal(seen.resets, 1);
    assert_int_equal(seen.waits, 1);
    robot_driver_resume(&driver);
    robot_driver_tick(&driver, 610 * MS);
    assert_int_equal(seen.resets, 2);
    /* After the episode. */
    send_frame(2, 0, false, 620 * MS);
    robot_driver_stop(&driver, "ann", "lunch", true);
    assert_int_equal(send_act(2, 0, 0, 630 * MS), STATUS_OK);
    send_frame(2, 1, true, 720 * MS);
    assert_true(driver.stopped);
    assert_int_equal(seen.faults, 1);
}

static void the_operator_is_asked(void **state)
{
    (void)state;
    struct err err = {0};
    begin("tidy up");
    assert_int_equal(robot_driver_confirm(&driver, &err), STATUS_MISMATCH);
    assert_int_equal(robot_driver_open(&driver, "alice", 0, &err), STATUS_OK);
    send_reset(1, 600 * MS);
    assert_int_equal(seen.resets, 0);
    assert_string_equal(seen.text, "tidy up");
    assert_int_equal(robot_driver_confirm(&driver, &err), STATUS_OK);
    robot_driver_tick(&driver, 610 * MS);
    assert_int_equal(seen.resets, 1);
    send_frame(1, 0, false, 620 * MS);
    /* An episode in the scene that was left needs no operator. */
    const struct robot_start keep = {.episode = 2, .flags = ENVIRONMENT_START_KEEP};
    assert_int_equal(robot_driver_reset(&driver, &keep, 630 * MS, &err), STATUS_OK);
    assert_int_equal(seen.resets, 2);
}

static void a_robot_that_goes_and_comes_back(void **state)
{
    (void)state;
    begin(NULL);
    at_start(0);
    robot_driver_reachable(&driver, false, "the plant is away");
    assert_int_equal(seen.kind, ROBOT_FAULT_ROBOT);
    send_reset(2, 600 * MS);
    assert_int_equal(seen.resets, 1);
    robot_driver_reachable(&driver, true, "");
    robot_driver_tick(&driver, 610 * MS);
    assert_int_equal(seen.resets, 2);
    /* A reset that is lost with the robot is given to it anew. */
    robot_driver_reachable(&driver, false, "the plant is away");
    robot_driver_reachable(&driver, true, "");
    robot_driver_tick(&driver, 620 * MS);
    assert_int_equal(seen.resets, 3);
    assert_int_equal(seen.faults, 1);
}

/* Any order of events, at random times: the robot only moves within an episode of a session, and
 * holds still after each. */
static void random_stories(void **state)
{
    (void)state;
    struct rng rng;
    struct err err;
    rng_init(&rng, 7, "stories", 0);
    for (int story = 0; story < 1000; story++) {
        begin(rng_below(&rng, 2) == 0 ? NULL : "tidy up");
        uint64_t now_ns = 0, episode = 0;
        for (int event = 0; event < 60; event++) {
            now_ns +=
                rng_below(&rng, 8) == 0 ? rng_below(&rng, 1500 * MS) : rng_below(&rng, 30 * MS);
            switch (rng_below(&rng, 12)) {
            case 0:
                (void)!robot_driver_open(&driver, "x", now_ns, &err);
                break;
            case 1: {
                const struct robot_start start = {.episode = ++episode,
                                                  .flags = (uint32_t)rng_below(&rng, 2)};
                if (robot_driver_reset(&driver, &start, now_ns, &err) != STATUS_OK) {
                    robot_driver_leave(&driver);
                }
                break;
            }
            case 2:
            case 3:
            case 4:
                if (send_act(episode, driver.step, (float)(rng_uniform(&rng) * 4.1 - 2.05),
                             now_ns) != STATUS_OK) {
                    robot_driver_leave(&driver);
                }
                break;
            case 5:
            case 6:
            case 7:
                send_frame(episode, driver.step + rng_below(&rng, 2), rng_below(&rng, 5) == 0,
                           now_ns);
                break;
            case 8:
                robot_driver_tick(&driver, now_ns);
                break;
            case 9:
                robot_driver_stop(&driver, "x", "y", rng_below(&rng, 2) == 0);
                break;
            case 10:
                robot_driver_resume(&driver);
                (void)!robot_driver_confirm(&driver, &err);
                robot_driver_reachable(&driver, rng_below(&rng, 3) > 0, "away");
                break;
            default:
                rng_below(&rng, 2) == 0 ? robot_driver_leave(&driver)
                                        : robot_driver_end(&driver, now_ns);
            }
            if (driver.state <= ROBOT_ASKING) {
                assert_false(seen.moves && driver.reachable);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_episode),
        cmocka_unit_test(the_lease_is_exclusive_and_ends),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(limits_and_sensors),
        cmocka_unit_test(stops),
        cmocka_unit_test(the_operator_is_asked),
        cmocka_unit_test(a_robot_that_goes_and_comes_back),
        cmocka_unit_test(random_stories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
