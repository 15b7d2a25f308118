/* bench_environment [--tasks=a,b] [--seconds=2] [--threads=1] [--json]
 *
 * How fast the tasks of the control suite and of the Sawyer domain step, as "name value unit" lines:
 *
 *   <task>_control_steps  environment_step() calls a second, all threads together, without resets
 *   <task>_episode_steps  the same over whole episodes, with their resets
 *   <task>_bare_ratio     speed of environment_step() relative to a bare loop over mj_step on the
 *                         same model, from the same state, with the same actions: what
 *                         observation, reward and checks leave of it
 *   <task>_episode_ratio  the same over whole episodes, with the time of resets on our side. Some start
 *                         states take physics steps of their own, as in dm_control (cheetah: 200):
 *                         the bare side is given the time that it takes for as many
 *   <task>_open           what opening the environment takes, once in a process
 *   <task>_policy_steps   control steps a second with a policy's inference (three hidden layers of 256
 *                         units) and resets, in one environment for each thread
 *   <task>_policy_steps_8 the same in 8 environments for each thread, whose policy is evaluated in one
 *                         batch: what an evaluator or collector does
 *
 * Both sides walk through each episode side by side, in turns of 50 steps and in changing order,
 * so that changes of the machine's speed affect both; the ratio is the median over turns. After
 * each turn both must have arrived at the same state, bit for bit, or the program fails. A turn in
 * which the task terminates is not counted.
 *
 * sawyer-stack moves at random above the blocks; sawyer-stack:held starts with a block in the hand
 * and keeps it. Their bare loop also takes its commands from the control law, outside the measured
 * time. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/policy_steps.h"
#include "bench/version.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/environments/control_suite.h"
#include "common/environments/sawyer.h"

/* A turn is short, so that both sides see the same speed of the machine, and long beside reading
 * the clock. */
#define STEPS       1000 /* of an episode, at most */
#define TURN        50
#define TURNS_MAX   1000000
#define THREADS_MAX 256

struct options {
    const char *tasks; /* comma-separated; NULL: all */
    double seconds;    /* per task */
    int threads;
    bool json;
};

/* One thread's environment, and what it measured. */
struct worker {
    const char *task;
    uint64_t seed;
    double seconds;
    /* One of the two; what follows from it. */
    struct control_suite *suite;
    struct sawyer *sawyer;
    struct environment *environment;
    struct simulation *simulation;
    int n_sub_steps;
    bool held; /* a block is in the hand */
    struct sawyer_parts parts;
    mjData *bare;
    mjtNum *start;  /* integration state at the episode's start */
    float *actions; /* (STEPS, A) canonical */
    double *ctrl;   /* (STEPS, A) the same, physical */
    double *ratios; /* (n_turns) bare time / our time */
    size_t n_turns;
    size_t n_steps; /* of an episode: whole turns within the task's limit */
    bool ended;     /* with the last turn */
    uint64_t n_episodes;
    uint64_t ours_ns, reset_ns, open_ns;
    uint64_t n_reset_steps;     /* physics steps of start states */
    struct policy_steps acting; /* without `held` */
    status outcome;
    struct err err;
};

/* ---- one episode, both ways ---- */

/* Draws the actions of a whole episode before it begins, so that the timed loops draw none. Both
 * forms are kept: canonical for our side, physical for MuJoCo's. */
static void draw_actions(struct worker *worker, struct rng *rng)
{
    const struct signature *signature = environment_signature(worker->environment);
    float physical[SIGNATURE_ACTIONS_MAX];
    for (size_t k = 0; k < STEPS; k++) {
        float *action = worker->actions + k * signature->A;
        for (uint32_t a = 0; a < signature->A; a++) {
            /* Uniform in -1..1, which keeps the bodies moving. */
            action[a] = (float)(2.0 * rng_uniform(rng) - 1.0);
        }
        if (worker->held) {
            action[SAWYER_ACTIONS - 1] = -1.0f; /* the fingers stay closed */
        }
        signature_to_physical(signature, physical, action);
        for (uint32_t a = 0; a < signature->A; a++) {
            worker->ctrl[k * signature->A + a] = (double)physical[a];
        }
    }
}

/* Steps first .. first + TURN - 1 of the episode, or up to its last: then it has `ended`. */
static status run_ours(struct worker *worker, size_t first, size_t *n, uint64_t *elapsed_ns)
{
    struct environment *environment = worker->environment;
    uint32_t A = environment_signature(environment)->A;
    float observation[SIGNATURE_OBSERVATION_MAX], rewards[SIGNATURE_TASKS_MAX], discount;
    bool last = false;
    uint64_t before_ns = clock_now_ns();
    /* Everything between the two readings of the clock is what a user of the interface pays for. */
    size_t k = first;
    for (; k < first + TURN && !last; k++) {
        status s = environment_step(environment, worker->actions + k * A, observation, rewards,
                                    &discount, &last, &worker->err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    *elapsed_ns = clock_now_ns() - before_ns;
    worker->ended = last;
    *n = k - first;
    return STATUS_OK;
}

/* The same steps of the Sawyer domain: the physics is timed, the control law is not. */
static void run_bare_sawyer(struct worker *worker, size_t first, uint64_t *elapsed_ns)
{
    struct simulation bare = *worker->simulation;
    bare.data = worker->bare;
    for (size_t k = first; k < first + TURN; k++) {
        sawyer_control(worker->ctrl + k * SAWYER_ACTIONS, &worker->parts, bare.model, bare.data);
        uint64_t before_ns = clock_now_ns();
        simulation_sub_steps(&bare, worker->n_sub_steps);
        *elapsed_ns += clock_now_ns() - before_ns;
    }
}

/* The same steps with nothing but MuJoCo: controls are copied and mj_step is called. */
static void run_bare(struct worker *worker, size_t first, uint64_t *elapsed_ns)
{
    if (worker->sawyer != NULL) {
        run_bare_sawyer(worker, first, elapsed_ns);
        return;
    }
    const mjModel *model = worker->simulation->model;
    size_t nu = (size_t)model->nu;
    int n_sub = worker->n_sub_steps;
    uint64_t before_ns = clock_now_ns();
    for (size_t k = first; k < first + TURN; k++) {
        memcpy(worker->bare->ctrl, worker->ctrl + k * nu, nu * sizeof(double));
        for (int i = 0; i < n_sub; i++) {
            mj_step(model, worker->bare);
        }
    }
    *elapsed_ns = clock_now_ns() - before_ns;
}

/* One turn of both sides, and the check that they agree. MISMATCH where they do not: then the
 * comparison would be of different work. */
static status run_turn(struct worker *worker, size_t first)
{
    uint64_t ours_ns = 0, bare_ns = 0;
    /* Who is second finds warm caches; the sides take turns at it. */
    bool bare_first = worker->n_turns % 2 == 1;
    if (bare_first) {
        run_bare(worker, first, &bare_ns);
    }
    size_t n = 0;
    status s = run_ours(worker, first, &n, &ours_ns);
    if (s != STATUS_OK || n < TURN) {
        return s;
    }
    if (!bare_first) {
        run_bare(worker, first, &bare_ns);
    }
    /* Equal positions to the last bit show that both took the same steps. */
    const struct simulation *simulation = worker->simulation;
    size_t qpos_bytes = (size_t)simulation->model->nq * sizeof(double);
    if (memcmp(worker->bare->qpos, simulation->data->qpos, qpos_bytes) != 0) {
        return err_set(&worker->err, STATUS_MISMATCH, "the bare loop arrived at another state");
    }
    worker->ours_ns += ours_ns;
    worker->ratios[worker->n_turns++] = (double)bare_ns / (double)ours_ns;
    return STATUS_OK;
}

/* Resets, timed; again where a block is to be held and the start has none in the hand. */
static status start_episode(struct worker *worker)
{
    float observation[SIGNATURE_OBSERVATION_MAX];
    status s;
    uint64_t elapsed_ns, n_before;
    do {
        /* Each episode has another seed, and each worker seeds of its own. */
        const struct environment_start start = {.seed = worker->seed + worker->n_episodes++,
                                                .flags =
                                                    worker->held ? ENVIRONMENT_START_ADVANCED : 0};
        n_before = worker->simulation->n_steps;
        uint64_t before_ns = clock_now_ns();
        s = environment_reset(worker->environment, &start, observation, &worker->err);
        elapsed_ns = clock_now_ns() - before_ns;
    } while (s == STATUS_OK && worker->held && observation[SAWYER_GRASP] == 0.0f);
    worker->reset_ns += elapsed_ns;
    worker->n_reset_steps += worker->simulation->n_steps - n_before;
    return s;
}

/* One whole episode: a timed reset, then turns side by side. The bare side starts from the state
 * that the reset has left. */
static status run_episode(struct worker *worker, struct rng *rng)
{
    const struct simulation *simulation = worker->simulation;
    draw_actions(worker, rng);
    status s = start_episode(worker);
    if (s != STATUS_OK) {
        return s;
    }
    /* The state that MuJoCo needs to integrate, warm start included: less would let the sides drift
     * apart. */
    mj_getState(simulation->model, simulation->data, worker->start, mjSTATE_INTEGRATION);
    mj_setState(simulation->model, worker->bare, worker->start, mjSTATE_INTEGRATION);
    if (worker->sawyer != NULL) {
        mj_step1(simulation->model, worker->bare); /* its control law reads what derives from it */
    }
    worker->ended = false;
    for (size_t first = 0; first < worker->n_steps && s == STATUS_OK && !worker->ended;
         first += TURN) {
        s = run_turn(worker, first);
    }
    return s;
}

/* ---- workers ---- */

static bool is_sawyer(const char *task)
{
    return strncmp(task, "sawyer-", strlen("sawyer-")) == 0;
}

/* Opens the task: of the Sawyer domain, perhaps followed by ":held", or of the control suite. */
static status open_task(struct worker *worker)
{
    char name[ENVIRONMENT_URI_SIZE];
    if (!is_sawyer(worker->task)) {
        status s = control_suite_open(&worker->suite, worker->task, &worker->err);
        if (s == STATUS_OK) {
            worker->environment = control_suite_environment(worker->suite);
            worker->simulation = control_suite_simulation(worker->suite);
            worker->n_sub_steps = control_suite_sub_steps(worker->suite);
        }
        return s;
    }
    (void)snprintf(name, sizeof name, "%s", worker->task);
    char *colon = strchr(name, ':');
    worker->held = colon != NULL && strcmp(colon, ":held") == 0;
    if (worker->held) {
        *colon = '\0';
    }
    status s = sawyer_open(&worker->sawyer, name, &worker->err);
    if (s != STATUS_OK) {
        return s;
    }
    worker->environment = sawyer_environment(worker->sawyer);
    worker->simulation = sawyer_simulation(worker->sawyer);
    worker->n_sub_steps = SAWYER_SUB_STEPS;
    int n_blocks = ((int)worker->simulation->model->nq - 15) / 7;
    return sawyer_parts_find(&worker->parts, worker->simulation->model, n_blocks, &worker->err);
}

/* Allocates what a worker needs. On an error close_worker() frees what is there. */
static status open_worker(struct worker *worker)
{
    status s = open_task(worker);
    if (s != STATUS_OK) {
        return s;
    }
    const mjModel *model = worker->simulation->model;
    size_t A = environment_signature(worker->environment)->A;
    /* Our side steps the simulation of the suite; the bare loop has data of its own on the same
     * model. */
    worker->bare = mj_makeData(model);
    uint32_t limit = environment_description(worker->environment)->step_limit;
    worker->n_steps = (limit < STEPS ? limit : STEPS) / TURN * TURN;
    worker->start = mem_array((size_t)mj_stateSize(model, mjSTATE_INTEGRATION), sizeof(mjtNum));
    worker->actions = mem_array(STEPS * A, sizeof *worker->actions);
    worker->ctrl = mem_array(STEPS * A, sizeof *worker->ctrl);
    worker->ratios = mem_array(TURNS_MAX, sizeof *worker->ratios);
    bool complete = worker->bare != NULL && worker->start != NULL && worker->actions != NULL &&
                    worker->ctrl != NULL && worker->ratios != NULL;
    return complete ? STATUS_OK : err_set(&worker->err, STATUS_NO_MEMORY, "out of memory");
}

/* Also frees a worker that open_worker() has left half-way. */
static void close_worker(struct worker *worker)
{
    if (worker->bare != NULL) {
        mj_deleteData(worker->bare);
    }
    mem_free(worker->start);
    mem_free(worker->actions);
    mem_free(worker->ctrl);
    mem_free(worker->ratios);
    control_suite_close(worker->suite);
    sawyer_close(worker->sawyer);
}

/* A worker's thread: episodes until its time is over, but one at least. The result is in
 * `outcome`. */
static void *work(void *arg)
{
    struct worker *worker = arg;
    struct rng rng;
    rng_init(&rng, worker->seed, "bench_environment", 0);
    const uint64_t started_ns = clock_now_ns();
    worker->outcome = open_worker(worker);
    worker->open_ns = clock_now_ns() - started_ns;
    /* An episode is never cut: there must be room for all of its turns. */
    uint64_t end_ns = clock_now_ns() + (uint64_t)(worker->seconds * (double)NS_PER_S);
    while (worker->outcome == STATUS_OK && worker->n_turns <= TURNS_MAX - STEPS / TURN &&
           (worker->n_turns == 0 || clock_now_ns() < end_ns)) {
        worker->outcome = run_episode(worker, &rng);
    }
    if (worker->outcome == STATUS_OK && !worker->held) {
        worker->outcome = policy_steps_measure(&worker->acting, worker->task, worker->seconds,
                                               worker->seed, &worker->err);
    }
    return NULL;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- output ---- */

/* Prints one figure; in JSON a comma goes before each object but the first. */
static void print_value(const struct options *options, const char *task, const char *quantity,
                        double value, const char *unit)
{
    static bool first = true;
    if (options->json) {
        printf("%s\n  {\"name\": \"%s_%s\", \"value\": %.6g, \"unit\": \"%s\"}", first ? "" : ",",
               task, quantity, value, unit);
    } else {
        printf("%s_%s %.6g %s\n", task, quantity, value, unit);
    }
    first = false;
    (void)fflush(stdout);
}

/* Rates add up over threads; the ratio is the mean of the threads' medians. */
static bool report(const struct options *options, const char *task, struct worker *workers)
{
    double control = 0.0, episode = 0.0, ratio = 0.0, episode_ratio = 0.0, open_ms = 0.0;
    double alone = 0.0, batched = 0.0;
    for (int i = 0; i < options->threads; i++) {
        struct worker *worker = &workers[i];
        if (worker->outcome != STATUS_OK) {
            (void)fprintf(stderr, "bench_environment: %s: %s\n", task, worker->err.text);
            return false;
        }
        /* Every worker has its own time, so that each one's rate is right on its own. */
        double steps = (double)worker->n_turns * TURN;
        control += steps / ((double)worker->ours_ns / (double)NS_PER_S);
        episode += steps / ((double)(worker->ours_ns + worker->reset_ns) / (double)NS_PER_S);
        if (!worker->held) {
            const struct policy_steps *acting = &worker->acting;
            alone += (double)acting->alone * (double)NS_PER_S / (double)acting->alone_ns;
            batched += (double)acting->batched * (double)NS_PER_S / (double)acting->batched_ns;
        }
        qsort(worker->ratios, worker->n_turns, sizeof(double), compare_doubles);
        const double median = worker->ratios[worker->n_turns / 2];
        ratio += median / options->threads;
        /* Of the bare side: what it takes for the steps after the start, and for those of the start. */
        const double bare_ns =
            median * (double)worker->ours_ns *
            (1.0 + (double)worker->n_reset_steps / (steps * worker->n_sub_steps));
        episode_ratio += bare_ns / (double)(worker->ours_ns + worker->reset_ns) / options->threads;
        open_ms += (double)worker->open_ns / (double)NS_PER_MS / options->threads;
    }
    print_value(options, task, "control_steps", control, "steps/s");
    print_value(options, task, "episode_steps", episode, "steps/s");
    print_value(options, task, "bare_ratio", ratio, "ratio");
    print_value(options, task, "episode_ratio", episode_ratio, "ratio");
    print_value(options, task, "open", open_ms, "ms");
    if (alone > 0.0) {
        print_value(options, task, "policy_steps", alone, "steps/s");
        print_value(options, task, "policy_steps_8", batched, "steps/s");
    }
    return true;
}

/* Measures one task on all threads. False where a thread or the comparison fails. */
static bool measure(const struct options *options, const char *task)
{
    static struct worker workers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    memset(workers, 0, sizeof workers);
    int started = 0;
    for (int i = 0; i < options->threads; i++) {
        workers[i].task = task;
        /* Seeds are far apart, so that no two workers ever play the same episode. */
        workers[i].seed = (uint64_t)i << 32;
        workers[i].seconds = options->seconds;
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            (void)fprintf(stderr, "bench_environment: cannot start thread %d\n", i);
            break;
        }
        started++;
    }
    /* All threads that were started are waited for, whatever happened to others. */
    for (int i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    bool good = started == options->threads && report(options, task, workers);
    for (int i = 0; i < started; i++) {
        close_worker(&workers[i]);
    }
    return good;
}

/* ---- options ---- */

static int usage(void)
{
    (void)fprintf(stderr, "usage: bench_environment [--tasks=a,b] [--seconds=2] [--threads=1] "
                          "[--json]\n");
    return 2;
}

/* False where a flag is unknown or a number is out of its range. */
static bool parse_options(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"tasks", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 'n'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.seconds = 2.0, .threads = 1};
    int flag;
    while ((flag = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (flag == 't') {
            options->tasks = optarg;
        } else if (flag == 's') {
            options->seconds = strtod(optarg, NULL);
        } else if (flag == 'n') {
            options->threads = (int)strtol(optarg, NULL, 10);
        } else if (flag == 'j') {
            options->json = true;
        } else {
            return false;
        }
    }
    /* strtod() and strtol() give 0 for text, which is out of range. */
    return optind == argc && options->seconds > 0.0 && options->threads >= 1 &&
           options->threads <= THREADS_MAX;
}

/* Measures the tasks of --tasks. One that fails does not keep the others from being measured. */
static bool measure_listed(const struct options *options)
{
    char list[4096];
    char *rest = NULL;
    bool good = true;
    /* strtok_r() writes into what it splits. */
    (void)snprintf(list, sizeof list, "%s", options->tasks);
    for (char *task = strtok_r(list, ",", &rest); task != NULL; task = strtok_r(NULL, ",", &rest)) {
        good = measure(options, task) && good;
    }
    return good;
}

int main(int argc, char **argv)
{
    if (bench_version(argc, argv)) {
        return 0;
    }
    struct options options;
    if (!parse_options(&options, argc, argv)) {
        return usage();
    }
    /* JSON is one array over all tasks. */
    if (options.json) {
        printf("[");
    }
    bool good = true;
    if (options.tasks != NULL) {
        good = measure_listed(&options);
    } else {
        for (const char *const *task = control_suite_names(); *task != NULL; task++) {
            good = measure(&options, *task) && good;
        }
        good = measure(&options, "sawyer-stack") && good;
        good = measure(&options, "sawyer-stack:held") && good;
    }
    if (options.json) {
        printf("\n]\n");
    }
    return good ? 0 : 1;
}
