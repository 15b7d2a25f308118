/* Does the Sawyer stacking domain compute what its referee recorded?
 *
 * A trajectory passes where
 *   start   what reset() draws from the recorded seed agrees within START_TOLERANCE. Seen: 0; 5e-9
 *           where multiplications and additions are fused.
 *   resync  each step by itself, from the recorded state and warm start, agrees within the
 *           tolerances of struct errors. Seen: 0.
 *   replay  from the seed through all actions the step types are equal, and all quantities agree
 *           for the first REPLAY_STEPS steps; beyond, contacts amplify a last bit to any size.
 * A file of start states passes where each agrees within START_TOLERANCE.
 *
 * On the machine type that made the files all of it is equal to the last bit, over whole
 * trajectories, and the output says so; with same_machine anything else fails. */
#include "tests/verify_sawyer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/environments/sawyer.h"
#include "common/environments/sawyer/sawyer_rewards.h"
#include "tests/verify_errors.h"

#define START_TOLERANCE 1e-6
#define CTRL_TOLERANCE  1e-9
#define QPOS_TOLERANCE  1e-6 /* also of activations, warm starts, observations, rewards */
#define VELOCITY_TOLERANCE                                                                         \
    1e-4 /* also of accelerations, and of observations, which hold velocities */
#define REPLAY_STEPS 20
#define HEADER_BYTES 72
#define NU           (SAWYER_ARM_JOINTS + 1)
#define STEP_MID     1.0
#define STEP_LAST    2.0

/* A file. Little-endian:
 *
 *     0   char[8]   "SAWPAR1\0" (trajectory) or "SAWOBS1\0" (start states)
 *     8   char[32]  "<mode>-<kind of actions>" or "start-states", NUL padded
 *     40  int32[8]  seed, n, sub-steps, nq, nv, na, actions, nobs
 *     72  float64   trajectory: state obs rewards(9), then
 *                   n x { action obs rewards(9) discount step_type state ctrl(8) }
 *                   starts:     n x { seed mode state obs rewards(9) }
 *
 * where state is qpos qvel act qacc_warmstart. */
struct recording {
    bool trajectory;
    enum sawyer_mode mode;
    uint32_t seed;
    int n, nq, nv, na, n_obs;
    const double *values;
};

/* Where a state's parts are. */
struct state {
    const double *qpos, *qvel, *act, *warm_start;
};

struct errors {
    struct worst qpos, qvel, act, warm_start, observation, reward, ctrl;
};

/* ---- Files ---- */

bool verify_sawyer_knows(const void *bytes, size_t size)
{
    return size >= 8 && memcmp(bytes, "SAW", 3) == 0;
}

static int state_width(const struct recording *r)
{
    return r->nq + 2 * r->nv + r->na;
}

/* Doubles of a record: of one step, or of one start state. */
static int record_width(const struct recording *r)
{
    int common = state_width(r) + r->n_obs + SAWYER_N_TASKS;
    return r->trajectory ? SAWYER_ACTIONS + common + 2 + NU : common + 2;
}

static struct state state_at(const struct recording *r, const double *at)
{
    const double *qvel = at + r->nq, *act = qvel + r->nv;
    return (struct state){.qpos = at, .qvel = qvel, .act = act, .warm_start = act + r->na};
}

static status parse_mode(struct recording *r, const char *text, struct err *err)
{
    static const char *const modes[] = {"table", "held", "stacked"};
    for (int i = 0; i < 3; i++) {
        if (strncmp(text, modes[i], strlen(modes[i])) == 0) {
            r->mode = (enum sawyer_mode)i;
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_CORRUPT, "start mode %.32s: expected table-, held- or stacked-",
                   text);
}

static status parse(struct recording *r, const void *bytes, size_t size, struct err *err)
{
    const char *text = bytes;
    int32_t numbers[8];
    if (size < HEADER_BYTES) {
        return err_set(err, STATUS_CORRUPT, "%zu bytes: shorter than its header", size);
    }
    memcpy(numbers, text + 40, sizeof numbers);
    *r = (struct recording){.trajectory = memcmp(text, "SAWPAR1", 8) == 0,
                            .seed = (uint32_t)numbers[0],
                            .n = numbers[1],
                            .nq = numbers[3],
                            .nv = numbers[4],
                            .na = numbers[5],
                            .n_obs = numbers[7],
                            .values = (const double *)(const void *)(text + HEADER_BYTES)};
    if (!r->trajectory && memcmp(text, "SAWOBS1", 8) != 0) {
        return err_set(err, STATUS_CORRUPT, "magic: expected SAWPAR1 or SAWOBS1");
    }
    int n_blocks = (r->n_obs - 26) / 16;
    if (n_blocks < 2 || n_blocks > SAWYER_BLOCKS_MAX || r->n_obs != SAWYER_OBSERVATION(n_blocks) ||
        r->nq != 15 + 7 * n_blocks || r->nv != 15 + 6 * n_blocks || r->na != NU || r->n < 1 ||
        numbers[2] != SAWYER_SUB_STEPS || numbers[6] != SAWYER_ACTIONS) {
        return err_set(err, STATUS_CORRUPT, "header: not the sizes of this domain");
    }
    size_t start = r->trajectory ? (size_t)(state_width(r) + r->n_obs + SAWYER_N_TASKS) : 0;
    size_t expected = HEADER_BYTES + 8 * (start + (size_t)r->n * (size_t)record_width(r));
    if (size != expected) {
        return err_set(err, STATUS_CORRUPT, "%zu bytes: expected %zu by its header", size,
                       expected);
    }
    return r->trajectory ? parse_mode(r, text + 8, err) : STATUS_OK;
}

/* ---- Comparisons ---- */

static void compare_state(struct errors *errors, struct sawyer *sawyer, const struct recording *r,
                          const double *at, int step)
{
    const mjData *data = sawyer_simulation(sawyer)->data;
    const struct state state = state_at(r, at);
    compare(&errors->qpos, data->qpos, state.qpos, r->nq, step);
    compare(&errors->qvel, data->qvel, state.qvel, r->nv, step);
    compare(&errors->act, data->act, state.act, r->na, step);
    compare(&errors->warm_start, data->qacc_warmstart, state.warm_start, r->nv, step);
}

/* `at`: state, observation, rewards. */
static void compare_start(struct errors *errors, struct sawyer *sawyer, const struct recording *r,
                          const double *observation, const double *at, int step)
{
    double rewards[SAWYER_N_TASKS];
    const double *recorded = at + state_width(r);
    compare_state(errors, sawyer, r, at, step);
    compare(&errors->observation, observation, recorded, r->n_obs, step);
    sawyer_rewards(rewards, observation);
    compare(&errors->reward, rewards, recorded + r->n_obs, SAWYER_N_TASKS, step);
}

/* `record`: action, observation, rewards, discount, step type, state, ctrl. */
static void compare_step(struct errors *errors, struct sawyer *sawyer, const struct recording *r,
                         const double *observation, const double *rewards, const double *record,
                         int step)
{
    const double *recorded = record + SAWYER_ACTIONS;
    compare(&errors->observation, observation, recorded, r->n_obs, step);
    compare(&errors->reward, rewards, recorded + r->n_obs, SAWYER_N_TASKS, step);
    const double *state = recorded + r->n_obs + SAWYER_N_TASKS + 2;
    compare_state(errors, sawyer, r, state, step);
    compare(&errors->ctrl, sawyer_simulation(sawyer)->data->ctrl, state + state_width(r), NU, step);
}

static double largest(const struct errors *e)
{
    return fmax(fmax(fmax(e->qpos.error, e->qvel.error), fmax(e->act.error, e->warm_start.error)),
                fmax(fmax(e->observation.error, e->reward.error), e->ctrl.error));
}

static bool within(const struct errors *e)
{
    return e->ctrl.error <= CTRL_TOLERANCE && e->qpos.error <= QPOS_TOLERANCE &&
           e->act.error <= QPOS_TOLERANCE && e->reward.error <= QPOS_TOLERANCE &&
           e->qvel.error <= VELOCITY_TOLERANCE && e->observation.error <= VELOCITY_TOLERANCE;
}

static bool print(const char *what, const struct errors *e, bool good)
{
    printf("  %-7s qpos %.2g  qvel %.2g  act %.2g  warm start %.2g  obs %.2g  rewards %.2g  ctrl "
           "%.2g%s%s\n",
           what, e->qpos.error, e->qvel.error, e->act.error, e->warm_start.error,
           e->observation.error, e->reward.error, e->ctrl.error,
           largest(e) == 0.0 ? "  [equal]" : "", good ? "" : "  FAILED");
    return good;
}

/* ---- The checks ---- */

static bool check_start(const struct recording *r, struct sawyer *sawyer, bool same_machine,
                        struct err *err)
{
    double observation[SAWYER_OBSERVATION_MAX];
    struct errors errors = {0};
    const struct sawyer_start start = {.mode = r->mode};
    if (sawyer_reset(sawyer, r->seed, &start, observation, err) != STATUS_OK) {
        return false;
    }
    compare_start(&errors, sawyer, r, observation, r->values, 0);
    return print("start", &errors, largest(&errors) <= (same_machine ? 0.0 : START_TOLERANCE));
}

/* All start states of a file, each from its own seed and mode. */
static bool check_starts(const struct recording *r, struct sawyer *sawyer, bool same_machine,
                         struct err *err)
{
    double observation[SAWYER_OBSERVATION_MAX];
    struct errors errors = {0};
    for (int k = 0; k < r->n; k++) {
        const double *record = r->values + (ptrdiff_t)k * record_width(r);
        const struct sawyer_start start = {.mode = (enum sawyer_mode)(int)record[1]};
        if (sawyer_reset(sawyer, (uint64_t)record[0], &start, observation, err) != STATUS_OK) {
            return false;
        }
        compare_start(&errors, sawyer, r, observation, record + 2, k);
    }
    return print("starts", &errors, largest(&errors) <= (same_machine ? 0.0 : START_TOLERANCE));
}

/* All steps: one after the other from the start (resync false), or each from the recorded state
 * before it. */
static bool check_steps(const struct recording *r, struct sawyer *sawyer, bool resync,
                        bool same_machine, struct err *err)
{
    double observation[SAWYER_OBSERVATION_MAX], rewards[SAWYER_N_TASKS];
    struct errors early = {0}, all = {0};
    int wrong_types = 0;
    const double *before = r->values;
    const double *records = r->values + state_width(r) + r->n_obs + SAWYER_N_TASKS;
    for (int k = 0; k < r->n; k++) {
        const double *record = records + (ptrdiff_t)k * record_width(r);
        const struct state state = state_at(r, before);
        bool last;
        if ((resync && sawyer_place(sawyer, state.qpos, state.qvel, state.act, state.warm_start,
                                    err) != STATUS_OK) ||
            sawyer_step(sawyer, record, observation, rewards, &last, err) != STATUS_OK) {
            return false;
        }
        compare_step(&all, sawyer, r, observation, rewards, record, k);
        if (k < REPLAY_STEPS) {
            compare_step(&early, sawyer, r, observation, rewards, record, k);
        }
        before = record + SAWYER_ACTIONS + r->n_obs + SAWYER_N_TASKS + 2;
        /* Discount and step type, which a step by itself does not know. */
        wrong_types +=
            !resync && (before[-2] != 1.0 || before[-1] != (last ? STEP_LAST : STEP_MID));
    }
    bool good = within(resync ? &all : &early) && wrong_types == 0;
    good = good && (!same_machine || largest(&all) == 0.0);
    return print(resync ? "resync" : "replay", &all, good);
}

bool verify_sawyer(const void *bytes, size_t size, bool same_machine, struct err *err)
{
    struct recording r;
    struct sawyer *sawyer;
    if (parse(&r, bytes, size, err) != STATUS_OK) {
        return false;
    }
    const char *name = r.n_obs == SAWYER_OBSERVATION(2) ? "sawyer-stack" : "sawyer-stack_blue";
    if (sawyer_open(&sawyer, name, err) != STATUS_OK) {
        return false;
    }
    bool good;
    if (r.trajectory) {
        good = check_start(&r, sawyer, same_machine, err);
        good = err->text[0] == '\0' && check_steps(&r, sawyer, false, same_machine, err) && good;
        good = err->text[0] == '\0' && check_steps(&r, sawyer, true, same_machine, err) && good;
    } else {
        good = check_starts(&r, sawyer, same_machine, err);
    }
    sawyer_close(sawyer);
    return good && err->text[0] == '\0';
}
