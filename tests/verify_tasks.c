/* verify_tasks [--same-machine] FOLDER [task ..]: do our tasks compute what their referee recorded?
 * verify_tasks --list prints the names of the control suite's.
 *
 * Reads every <task>_<tag>.bin of FOLDER. Those of the Sawyer domain are verify_sawyer.c's affair;
 * those of the control suite (layouts at struct recording below) dm_control has made: trajectories
 * ("DMCPAR1"), start states ("DMCSTA1") and single states ("DMCOBS1"). Prints the worst error per quantity for each file,
 * then "N passed, N failed"; exits 0 only if there were files, all passed, and every task named on
 * the command line had one. An error is |ours - recorded| / max(1, |recorded|).
 *
 * A trajectory passes where
 *   start   what reset() draws from the recorded seed agrees within START_TOLERANCE: qpos, qvel,
 *           act, observation and the solver's warm start. Seen: 0; 1e-14 where numpy's norm rounded
 *           the quadruped's quaternion the other way; 4e-12 among 1000 starts of the cheetah under
 *           another libm, whose last bits the 200 settling steps enlarge.
 *   resync  each step by itself: recorded state k - 1 is set, action k taken, and state,
 *           observation and reward must agree with record k within RESYNC_TOLERANCE. Seen: 6e-15
 *           on the machine type that made the files, 1e-11 under another libm, and 3e-7 where the
 *           contact solver started elsewhere; wrong code is off by 1e-3 and more.
 *   replay  from the seed through all actions, step types and discounts are equal everywhere, and
 *           all quantities within REPLAY_TOLERANCE for the first REPLAY_STEPS steps. Beyond, errors
 *           are printed but prove nothing: contacts are chaotic and amplify one last bit to order 1
 *           within some hundred steps. Where start and libm agree to the bit the whole replay is
 *           equal, and the output says so.
 * A file of start states passes where each of them, drawn one after the other from one seed, passes
 * as the start of a trajectory.
 * A state file passes where observation and reward of each state are within STATE_TOLERANCE (no
 * dynamics: only the contact solver's residual).
 *
 * --same-machine: the recordings were made on this machine, with numpy's own vector code for exp,
 * log1p and arctan2 turned off (its results differ from libm's in the last bit). Then start states,
 * and states throughout the replay, must be equal to the last bit, and observations and rewards
 * within SAME_TOLERANCE (numpy adds up products of matrices in another order). */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/environments/control_suite.h"
#include "tests/verify_errors.h"
#include "tests/verify_sawyer.h"

#define START_TOLERANCE  1e-9
#define RESYNC_TOLERANCE 1e-6
#define REPLAY_TOLERANCE 1e-6
#define REPLAY_STEPS     20
#define STATE_TOLERANCE  1e-6
#define SAME_TOLERANCE   1e-14
#define FILE_BYTES_MAX   ((size_t)1 << 30)
#define FILES_MAX        4096
#define HEADER_BYTES     72

enum step_type { STEP_FIRST, STEP_MID, STEP_LAST };
enum file_kind { FILE_TRAJECTORY, FILE_STARTS, FILE_STATES };

/* --same-machine; set once, before the first file. */
static bool same_machine;

/* A file in memory. Little-endian:
 *
 *     0   char[8]   "DMCPAR1\0", "DMCSTA1\0" or "DMCOBS1\0"
 *     8   char[32]  task, NUL padded
 *     40  int32[8]  seed, n, sub-steps (0 in states), nq, nv, na, nu, nobs
 *     72  trajectory: float64 qpos qvel act warmstart(nv) obs,
 *                     then n x { action obs reward discount step_type qpos qvel act }
 *         starts:     n x float64 { qpos qvel act warmstart(nv) obs }
 *         states:     n x float64 { qpos qvel act ctrl obs reward } */
struct recording {
    enum file_kind kind;
    char task[33];
    uint32_t seed;
    int n, n_sub, nq, nv, na, nu, n_obs;
    const void *bytes;
    const double *start;   /* trajectories only */
    const double *records; /* (n, width) */
    size_t width;
};

/* Where one record's parts are. */
struct record {
    const double *action, *observation, *reward, *discount, *step_type, *qpos, *qvel, *act;
};

struct errors {
    struct worst qpos, qvel, act, observation, reward;
};

static double largest(const struct errors *errors)
{
    return fmax(fmax(fmax(errors->qpos.error, errors->qvel.error),
                     fmax(errors->act.error, errors->observation.error)),
                errors->reward.error);
}

static void print_errors(const char *what, const struct errors *errors)
{
    printf("  %-7s qpos %.2g  qvel %.2g  act %.2g  obs %.2g  reward %.2g  (worst at step %d)\n",
           what, errors->qpos.error, errors->qvel.error, errors->act.error,
           errors->observation.error, errors->reward.error,
           errors->observation.error >= errors->qpos.error ? errors->observation.step
                                                           : errors->qpos.step);
}

/* ---- files ---- */

static struct record record_at(const struct recording *recording, int k)
{
    const double *at = recording->records + (size_t)k * recording->width;
    struct record record;
    record.action = at;
    record.observation = record.action + recording->nu;
    record.reward = record.observation + recording->n_obs;
    record.discount = record.reward + 1;
    record.step_type = record.discount + 1;
    record.qpos = record.step_type + 1;
    record.qvel = record.qpos + recording->nq;
    record.act = record.qvel + recording->nv;
    return record;
}

static bool sizes_are_sane(const struct recording *r)
{
    const int sizes[] = {r->nq, r->nv, r->nu, r->n_obs};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i] < 1 || sizes[i] > 4096) {
            return false;
        }
    }
    return r->na >= 0 && r->na <= 4096 && r->n >= 1;
}

static status parse(struct recording *r, size_t size, struct err *err)
{
    const char *bytes = r->bytes;
    if (size < HEADER_BYTES) {
        return err_set(err, STATUS_CORRUPT, "%zu bytes: shorter than its header", size);
    }
    if (memcmp(bytes, "DMCPAR1", 8) == 0) {
        r->kind = FILE_TRAJECTORY;
    } else if (memcmp(bytes, "DMCSTA1", 8) == 0) {
        r->kind = FILE_STARTS;
    } else if (memcmp(bytes, "DMCOBS1", 8) == 0) {
        r->kind = FILE_STATES;
    } else {
        return err_set(err, STATUS_CORRUPT, "magic: expected DMCPAR1, DMCSTA1 or DMCOBS1");
    }
    memcpy(r->task, bytes + 8, 32);
    r->task[32] = '\0';
    int32_t numbers[8];
    memcpy(numbers, bytes + 40, sizeof numbers);
    r->seed = (uint32_t)numbers[0];
    r->n = numbers[1];
    r->n_sub = numbers[2];
    r->nq = numbers[3];
    r->nv = numbers[4];
    r->na = numbers[5];
    r->nu = numbers[6];
    r->n_obs = numbers[7];
    if (!sizes_are_sane(r)) {
        return err_set(err, STATUS_CORRUPT, "header: sizes out of range");
    }
    size_t state = (size_t)(r->nq + r->nv + r->na),
           start_width = state + (size_t)(r->nv + r->n_obs);
    size_t start = r->kind == FILE_TRAJECTORY ? start_width : 0;
    r->width = r->kind == FILE_STARTS
                   ? start_width
                   : state + (size_t)(r->nu + r->n_obs) + (r->kind == FILE_TRAJECTORY ? 3 : 1);
    size_t expected = HEADER_BYTES + 8 * (start + (size_t)r->n * r->width);
    if (size != expected) {
        return err_set(err, STATUS_CORRUPT, "%zu bytes: expected %zu by its header", size,
                       expected);
    }
    r->start = (const double *)(const void *)(bytes + HEADER_BYTES);
    r->records = r->start + start;
    return STATUS_OK;
}

static status check_sizes(const struct recording *r, struct control_suite *suite, struct err *err)
{
    const mjModel *model = control_suite_simulation(suite)->model;
    const struct signature *signature = environment_signature(control_suite_environment(suite));
    const int ours[] = {(int)model->nq,
                        (int)model->nv,
                        (int)model->na,
                        (int)model->nu,
                        (int)signature_observation(signature),
                        control_suite_sub_steps(suite),
                        (int)signature->K};
    const int theirs[] = {r->nq, r->nv,    r->na,
                          r->nu, r->n_obs, r->kind == FILE_STATES ? ours[5] : r->n_sub,
                          1}; /* a recording holds one reward a step */
    static const char *const names[] = {"nq", "nv", "na", "nu", "nobs", "nsub", "rewards"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (ours[i] != theirs[i]) {
            return err_set(err, STATUS_MISMATCH, "%s: %d in the file, %d here", names[i], theirs[i],
                           ours[i]);
        }
    }
    return STATUS_OK;
}

/* ---- trajectories ---- */

static void compare_state(struct errors *errors, struct control_suite *suite,
                          const struct recording *r, const struct record *record, int step)
{
    const mjData *data = control_suite_simulation(suite)->data;
    compare(&errors->qpos, data->qpos, record->qpos, r->nq, step);
    compare(&errors->qvel, data->qvel, record->qvel, r->nv, step);
    compare(&errors->act, data->act, record->act, r->na, step);
}

/* The worst errors of some start states. */
struct start_errors {
    struct errors errors;
    struct worst warm_start;
};

/* Draws the next start state and compares it with the one at `recorded`. */
static status compare_start(struct start_errors *worst, const double *recorded,
                            const struct recording *r, struct control_suite *suite,
                            double *observation, int i, struct err *err)
{
    status s = control_suite_reset(suite, observation, err);
    if (s != STATUS_OK) {
        return s;
    }
    const struct record record = {
        .qpos = recorded, .qvel = recorded + r->nq, .act = recorded + r->nq + r->nv};
    const double *warmstart = record.act + r->na;
    compare_state(&worst->errors, suite, r, &record, i);
    compare(&worst->errors.observation, observation, warmstart + r->nv, r->n_obs, i);
    compare(&worst->warm_start, control_suite_simulation(suite)->data->qacc_warmstart, warmstart,
            r->nv, i);
    return STATUS_OK;
}

/* The largest error of what the simulation goes on from. */
static double largest_of_state(const struct errors *errors)
{
    return fmax(fmax(errors->qpos.error, errors->qvel.error), errors->act.error);
}

static bool print_start(const struct start_errors *worst)
{
    const struct errors *errors = &worst->errors;
    bool good = largest(errors) <= START_TOLERANCE && worst->warm_start.error <= START_TOLERANCE;
    if (same_machine) {
        good = largest_of_state(errors) == 0.0 && worst->warm_start.error == 0.0 &&
               errors->observation.error <= SAME_TOLERANCE;
    }
    printf("  start   qpos %.2g  qvel %.2g  act %.2g  obs %.2g  warm start %.2g  (<= %.0e)%s\n",
           errors->qpos.error, errors->qvel.error, errors->act.error, errors->observation.error,
           worst->warm_start.error, same_machine ? 0.0 : START_TOLERANCE, good ? "" : "  FAILED");
    return good;
}

static bool verify_start(const struct recording *r, struct control_suite *suite,
                         double *observation, struct err *err)
{
    struct start_errors worst = {0};
    return compare_start(&worst, r->start, r, suite, observation, 0, err) == STATUS_OK &&
           print_start(&worst);
}

/* All of a file of start states, drawn one after the other. */
static bool verify_starts(const struct recording *r, struct control_suite *suite,
                          double *observation, struct err *err)
{
    struct start_errors worst = {0};
    for (int k = 0; k < r->n; k++) {
        const double *recorded = r->records + (size_t)k * r->width;
        if (compare_start(&worst, recorded, r, suite, observation, k, err) != STATUS_OK) {
            return false;
        }
    }
    return print_start(&worst);
}

/* Follows the whole recording after verify_start. A recording longer than an episode goes on with
 * the next one: the record after a last step is that of a reset. */
static bool verify_replay(const struct recording *r, struct control_suite *suite,
                          double *observation, struct err *err)
{
    struct errors early = {0}, all = {0};
    int wrong_types = 0;
    bool ended = false;
    for (int k = 0; k < r->n; k++) {
        struct record record = record_at(r, k);
        struct errors *const targets[] = {&all, k < REPLAY_STEPS ? &early : &all};
        double reward = 0.0, discount = 1.0;
        bool first = ended;
        status s = first ? control_suite_reset(suite, observation, err)
                         : control_suite_step(suite, record.action, observation, &reward, &discount,
                                              &ended, err);
        if (s != STATUS_OK) {
            return false;
        }
        ended = ended && !first;
        enum step_type type = first ? STEP_FIRST : ended ? STEP_LAST : STEP_MID;
        wrong_types += *record.step_type != (double)type;
        wrong_types += !first && *record.discount != discount;
        for (size_t i = 0; i < 2; i++) {
            compare_state(targets[i], suite, r, &record, k);
            compare(&targets[i]->observation, observation, record.observation, r->n_obs, k);
            if (!first) {
                compare(&targets[i]->reward, &reward, record.reward, 1, k);
            }
        }
    }
    bool good = largest(&early) <= REPLAY_TOLERANCE && wrong_types == 0;
    if (same_machine) {
        good = wrong_types == 0 && largest_of_state(&all) == 0.0 && largest(&all) <= SAME_TOLERANCE;
    }
    print_errors("replay", &all);
    printf("          first %d steps %.2g (<= %.0e)  wrong step types or discounts %d%s%s\n",
           r->n < REPLAY_STEPS ? r->n : REPLAY_STEPS, largest(&early), REPLAY_TOLERANCE,
           wrong_types, largest(&all) <= 1e-12 ? "  [equal throughout]" : "",
           good ? "" : "  FAILED");
    return good;
}

/* Puts the simulation into the recorded state before step k, ready for control_suite_step. Within
 * an episode the solver's warm start stays what our own last step left: it is not recorded, and
 * that step began in the recorded state too. */
static status resync(const struct recording *r, struct control_suite *suite, int k, struct err *err)
{
    const double *start_act = r->start + r->nq + r->nv;
    if (k == 0) {
        return control_suite_place(suite, r->start, r->start + r->nq, start_act, start_act + r->na,
                                   err);
    }
    struct record before = record_at(r, k - 1);
    if (*before.step_type == (double)STEP_FIRST) {
        return control_suite_place(suite, before.qpos, before.qvel, before.act, NULL, err);
    }
    struct simulation *simulation = control_suite_simulation(suite);
    memcpy(simulation->data->qpos, before.qpos, (size_t)r->nq * sizeof(double));
    memcpy(simulation->data->qvel, before.qvel, (size_t)r->nv * sizeof(double));
    if (r->na > 0) {
        memcpy(simulation->data->act, before.act, (size_t)r->na * sizeof(double));
    }
    mj_step1(simulation->model, simulation->data);
    return STATUS_OK;
}

/* Each step by itself, from the state recorded before it. Episodes begin with a reset, for what it
 * draws into the model: where a target is, for example. */
static bool verify_resync(const struct recording *r, struct control_suite *suite,
                          double *observation, struct err *err)
{
    struct errors errors = {0};
    control_suite_seed(suite, r->seed);
    if (control_suite_reset(suite, observation, err) != STATUS_OK) {
        return false;
    }
    for (int k = 0; k < r->n; k++) {
        struct record record = record_at(r, k);
        if (*record.step_type == (double)STEP_FIRST) {
            if (control_suite_reset(suite, observation, err) != STATUS_OK) {
                return false;
            }
            continue; /* verify_replay has looked at it */
        }
        double reward, discount;
        bool last;
        if (resync(r, suite, k, err) != STATUS_OK ||
            control_suite_step(suite, record.action, observation, &reward, &discount, &last, err) !=
                STATUS_OK) {
            return false;
        }
        compare_state(&errors, suite, r, &record, k);
        compare(&errors.observation, observation, record.observation, r->n_obs, k);
        compare(&errors.reward, &reward, record.reward, 1, k);
    }
    bool good = largest(&errors) <= RESYNC_TOLERANCE;
    print_errors("resync", &errors);
    printf("          worst %.2g (<= %.0e)%s\n", largest(&errors), RESYNC_TOLERANCE,
           good ? "" : "  FAILED");
    return good;
}

/* ---- single states ---- */

static bool verify_states(const struct recording *r, struct control_suite *suite,
                          double *observation, struct err *err)
{
    struct simulation *simulation = control_suite_simulation(suite);
    struct errors errors = {0};
    /* They were recorded within the first episode of their seed: this draws its model. */
    if (control_suite_reset(suite, observation, err) != STATUS_OK) {
        return false;
    }
    for (int k = 0; k < r->n; k++) {
        const double *qpos = r->records + (size_t)k * r->width;
        const double *ctrl = qpos + r->nq + r->nv + r->na;
        const double *recorded = ctrl + r->nu;
        mjData *data = simulation->data;
        /* As recorded: default state, forward, state, forward, controls last and unseen by the
         * physics. */
        if (simulation_reset(simulation, err) != STATUS_OK) {
            return false;
        }
        memcpy(data->qpos, qpos, (size_t)r->nq * sizeof *qpos);
        memcpy(data->qvel, qpos + r->nq, (size_t)r->nv * sizeof *qpos);
        if (r->na > 0) {
            memcpy(data->act, qpos + r->nq + r->nv, (size_t)r->na * sizeof *qpos);
        }
        if (simulation_forward(simulation, err) != STATUS_OK) {
            return false;
        }
        memcpy(data->ctrl, ctrl, (size_t)r->nu * sizeof *ctrl);
        control_suite_observe(suite, observation);
        double reward;
        control_suite_rewards(suite, &reward);
        compare(&errors.observation, observation, recorded, r->n_obs, k);
        compare(&errors.reward, &reward, recorded + r->n_obs, 1, k);
    }
    bool good = largest(&errors) <= STATE_TOLERANCE;
    printf("  states  obs %.2g  reward %.2g  (<= %.0e)%s\n", errors.observation.error,
           errors.reward.error, STATE_TOLERANCE, good ? "" : "  FAILED");
    return good;
}

/* ---- the run ---- */

static bool verify_recording(const struct recording *r, struct err *err)
{
    struct control_suite *suite;
    if (control_suite_open(&suite, r->task, err) != STATUS_OK) {
        return false;
    }
    control_suite_seed(suite, r->seed);
    bool good = false;
    double *observation = NULL;
    if (check_sizes(r, suite, err) != STATUS_OK) {
        goto close_suite;
    }
    observation = mem_array((size_t)r->n_obs, sizeof *observation);
    if (observation == NULL) {
        (void)err_set(err, STATUS_NO_MEMORY, "out of memory");
        goto close_suite;
    }
    if (r->kind == FILE_STATES) {
        good = verify_states(r, suite, observation, err);
    } else if (r->kind == FILE_STARTS) {
        good = verify_starts(r, suite, observation, err);
    } else {
        good = verify_start(r, suite, observation, err);
        good = err->text[0] == '\0' && verify_replay(r, suite, observation, err) && good;
        good = err->text[0] == '\0' && verify_resync(r, suite, observation, err) && good;
    }
    mem_free(observation);
close_suite:
    control_suite_close(suite);
    return good;
}

/* "cheetah-run_a.bin" -> "cheetah-run"; false where the name has another form. */
static bool task_of(char *task, size_t size, const char *name)
{
    size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 4, ".bin") != 0) {
        return false;
    }
    const char *underscore = strrchr(name, '_');
    if (underscore == NULL || underscore == name || (size_t)(underscore - name) >= size) {
        return false;
    }
    memcpy(task, name, (size_t)(underscore - name));
    task[underscore - name] = '\0';
    return true;
}

/* A recording of the control suite. */
static bool verify_suite(void *bytes, size_t size, const char *task, struct err *err)
{
    struct recording recording = {.bytes = bytes};
    if (parse(&recording, size, err) != STATUS_OK) {
        return false;
    }
    printf("  n %d  seed %u\n", recording.n, recording.seed);
    if (strcmp(recording.task, task) != 0) {
        (void)err_set(err, STATUS_CORRUPT, "task %s in the header, %s in the name", recording.task,
                      task);
        return false;
    }
    return verify_recording(&recording, err);
}

static bool verify_file(const char *folder, const char *name, const char *task)
{
    char path[4096];
    struct err err = {0};
    void *bytes = NULL;
    size_t size;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    printf("%s\n", name);
    bool good = file_read(path, FILE_BYTES_MAX, &bytes, &size, &err) == STATUS_OK;
    if (good) {
        good = verify_sawyer_knows(bytes, size) ? verify_sawyer(bytes, size, same_machine, &err)
                                                : verify_suite(bytes, size, task, &err);
        mem_free(bytes);
    }
    if (err.text[0] != '\0') {
        printf("  error   %s\n", err.text);
    }
    printf("  %s\n", good ? "passed" : "FAILED");
    return good;
}

static int is_file_name(const struct dirent *entry)
{
    char task[64];
    return task_of(task, sizeof task, entry->d_name);
}

/* Is `task` wanted? Notes in `seen` that it had a file. No names: all are. */
static bool wanted(const char *task, char **names, int n, bool *seen)
{
    bool found = n == 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], task) == 0) {
            seen[i] = true;
            found = true;
        }
    }
    return found;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (const char *const *name = control_suite_names(); *name != NULL; name++) {
            (void)puts(*name);
        }
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "--same-machine") == 0) {
        same_machine = true;
        argc--;
        argv++;
    }
    if (argc < 2 || argc > FILES_MAX || argv[1][0] == '-') {
        (void)fprintf(stderr, "usage: verify_tasks --list | [--same-machine] FOLDER [task ..]\n");
        return 2;
    }
    int n_names = argc - 2;
    char **names = argv + 2;
    static bool seen[FILES_MAX];
    struct dirent **entries = NULL;
    int n_entries = scandir(argv[1], &entries, is_file_name, alphasort);
    if (n_entries < 0) {
        perror(argv[1]);
        return 2;
    }
    int passed = 0, failed = 0;
    for (int i = 0; i < n_entries; i++) {
        char task[64] = "";
        if (task_of(task, sizeof task, entries[i]->d_name) && wanted(task, names, n_names, seen)) {
            bool good = verify_file(argv[1], entries[i]->d_name, task);
            passed += good;
            failed += !good;
        }
        free(entries[i]);
    }
    free(entries);
    for (int i = 0; i < n_names; i++) {
        if (!seen[i]) {
            printf("%s: no file of this task in %s\n  FAILED\n", names[i], argv[1]);
            failed++;
        }
    }
    if (passed + failed == 0) {
        printf("no <task>_<tag>.bin in %s\n", argv[1]);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return passed > 0 && failed == 0 ? 0 : 1;
}
