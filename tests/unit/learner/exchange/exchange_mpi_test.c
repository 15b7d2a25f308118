/* Several learners over MPI, each a process that mpirun has started.
 *
 *   mpirun -n R exchange_mpi_test learn    what they learn has the bits of sums that rank 0 adds
 *                                 leave    a rank that is asked to stop ends all
 *                                 differ   other parameters than rank 0's end all
 *                                 silent   a process that is stopped by a signal ends the job
 *
 * The reference is the exchange as it was before sums were added in slices: all gradients at one
 * place, added in the order of ranks. Each rank computes it for itself. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "learner/exchange/exchange_kind.h"
#include "learner/exchange/group.h"
#include "learner/step/algorithm.h"
#include "learner/step/operators.h"
#include "tests/lib/learning.h"

enum { B = 30, N = 7, STEPS = 5, FIRST_BATCH = 40 };

#define WAIT_MS   100
#define TIMEOUT_S 2.0

/* What all ranks of a run have in common. */
static struct {
    struct settings settings;
    uint32_t rank, ranks;
    int cuts[GROUP_RANKS_MAX + 1]; /* rank r has snippets cuts[r] .. cuts[r + 1] - 1 */
} world;

#define REQUIRE(condition) require((condition), #condition, __LINE__)

static void require(bool condition, const char *text, int line)
{
    if (!condition) {
        fprintf(stderr, "exchange_mpi_test: rank %u of %u, line %d: %s\n", world.rank, world.ranks,
                line, text);
        exchange_mpi_finish(true);
        abort();
    }
}

/* This rank's slice of a batch of the run. */
static struct batch slice_of(const struct batch *whole, uint32_t rank)
{
    const size_t cut = (size_t)world.cuts[rank];
    const size_t row_floats = (size_t)settings_row_width(&world.settings) * (N + 1);
    return (struct batch){.rows = whole->rows + cut * row_floats,
                          .n_valid = whole->n_valid + cut,
                          .tasks = whole->tasks + cut * (size_t)world.settings.T,
                          .B = world.cuts[rank + 1] - (int)cut,
                          .N = N,
                          .begin = (uint64_t)cut,
                          .weights = whole->weights != NULL ? whole->weights + cut : NULL,
                          .part = (int)rank};
}

static void gradients(struct update *update, const struct state *state, uint64_t number,
                      uint32_t rank)
{
    struct err err = {0};
    struct batch whole = learning_batch(&world.settings, B, N, number);
    const struct batch batch = slice_of(&whole, rank);
    REQUIRE(update_gradients(update, state, &batch, NULL, &err) == STATUS_OK);
    learning_free(&whole);
}

static struct state *new_state(void)
{
    struct err err = {0};
    struct state *state = NULL;
    REQUIRE(state_new(&state, &world.settings, &err) == STATUS_OK);
    return state;
}

static struct update *new_update(void)
{
    struct err err = {0};
    struct update *update = NULL;
    REQUIRE(update_new(&update, &world.settings, B, N, 1, &err) == STATUS_OK);
    return update;
}

/* ---- The reference ---- */

/* The state after `steps`: the sums of all ranks, gathered and added as rank 0 does over gRPC. */
static struct state *gathered(uint64_t steps)
{
    struct err err = {0};
    struct state *state = new_state();
    struct update *update = new_update();
    const struct update_sums sums = update_sums(update);
    unsigned char *parts[GROUP_RANKS_MAX];
    for (uint32_t r = 0; r < world.ranks; r++) {
        parts[r] = mem_aligned(exchange_sums_size(sums.n_gradients, sums.n_scalars));
        REQUIRE(parts[r] != NULL);
    }
    for (uint64_t i = 0; i < steps; i++) {
        /* Rank 0 last: its sums are those of the update then. */
        for (uint32_t r = world.ranks; r-- > 0;) {
            gradients(update, state, FIRST_BATCH + i, r);
            exchange_sums_write(parts[r], update_sums(update));
        }
        exchange_sums_add(NULL, update_sums(update), parts + 1, world.ranks - 1);
        REQUIRE(update_apply(update, state, NULL, &err) == STATUS_OK);
    }
    for (uint32_t r = 0; r < world.ranks; r++) {
        mem_free(parts[r]);
    }
    update_free(update);
    return state;
}

/* ---- A group ---- */

static status make_state(void *arg, struct exchange_start *start, struct err *err)
{
    (void)arg;
    return start->state != NULL ? STATUS_OK : state_new(&start->state, &world.settings, err);
}

static struct exchange *open_group(struct exchange_start *start)
{
    struct err err = {0};
    struct exchange *exchange = NULL;
    const struct exchange_options options = {.rank = world.rank,
                                             .ranks = world.ranks,
                                             .timeout_seconds = TIMEOUT_S,
                                             .terms = "seed: 11\n",
                                             .n_scalars = SUMS_COUNT,
                                             .make = make_state};
    REQUIRE(exchange_open_mpi(&exchange, &options, &err) == STATUS_OK);
    *start = (struct exchange_start){.run_id = "run-a", .next_batch = FIRST_BATCH};
    if (world.rank == 0) {
        start->signature = (struct signature){
            .n_slices = 1, .slices = {{"position", 5}}, .A = 2, .K = 3, .control_period_s = 0.02};
        for (int i = 0; i < 2; i++) {
            start->signature.action_min[i] = -1;
            start->signature.action_max[i] = 1;
        }
        for (int k = 0; k < 3; k++) {
            snprintf(start->signature.rewards[k], sizeof start->signature.rewards[k], "task%d", k);
        }
        start->state = new_state();
    }
    status s;
    do {
        s = exchange_form(exchange, start, WAIT_MS, &err);
    } while (s == STATUS_TIMEOUT);
    REQUIRE(s == STATUS_OK);
    REQUIRE(start->next_batch == FIRST_BATCH);
    return exchange;
}

/* One step with the others. Waits as long as the exchange does. */
static status step(struct exchange *exchange, struct update *update, struct state *state,
                   struct err *err)
{
    const uint64_t number = FIRST_BATCH + state_step(state);
    const struct exchange_mark mark = {state_step(state), number, state_digest(state)};
    gradients(update, state, number, world.rank);
    status s;
    do {
        s = exchange_sum(exchange, &mark, update_sums(update), WAIT_MS, err);
    } while (s == STATUS_TIMEOUT);
    return s == STATUS_OK ? update_apply(update, state, NULL, err) : s;
}

/* ---- The cases ---- */

/* Ranks that are late say so: more than the timeout passes, and nobody gives up. */
static void linger(struct exchange *exchange)
{
    struct err err = {0};
    for (uint64_t until_ns = clock_now_ns() + (uint64_t)(1.5e9 * TIMEOUT_S);
         clock_now_ns() < until_ns;) {
        REQUIRE(exchange_waits(exchange, "for a batch", &err) == STATUS_OK);
        clock_sleep_ms(20);
    }
}

static void learn(const char *algorithm, bool late)
{
    struct err err = {0};
    world.settings = learning_settings(algorithm, 3, 2);
    struct exchange_start start;
    struct exchange *exchange = open_group(&start);
    struct update *update = new_update();
    for (uint64_t i = 0; i < STEPS; i++) {
        if (late && i == 2 && world.rank == world.ranks - 1) {
            linger(exchange);
        }
        const status s = step(exchange, update, start.state, &err);
        if (s != STATUS_OK) {
            fprintf(stderr, "%s\n", err.text);
        }
        REQUIRE(s == STATUS_OK);
    }
    /* Rank 0 ends the run; the others hear of it in their next barrier. */
    if (world.rank != 0) {
        REQUIRE(step(exchange, update, start.state, &err) == STATUS_CLOSED);
        REQUIRE(exchange_end_of(exchange).finished);
        REQUIRE(strcmp(exchange_end_of(exchange).reason, "all steps done") == 0);
    }
    exchange_end(exchange, true, "all steps done");
    struct state *reference = gathered(STEPS);
    const size_t bytes = state_layout(reference)->size * sizeof(float);
    for (int b = 0; b < STATE_BLOCKS; b++) {
        REQUIRE(memcmp(state_read(start.state, (enum state_block)b),
                       state_read(reference, (enum state_block)b), bytes) == 0);
    }
    REQUIRE(state_step(start.state) == STEPS);
    /* Twice the sums at most, and a word with each message, whatever the number of ranks. */
    const struct exchange_counts counts = exchange_counts(exchange);
    const struct update_sums sums = update_sums(update);
    const size_t limit = 2 * exchange_sums_size(sums.n_gradients, sums.n_scalars) +
                         (size_t)world.ranks * (2 * 64 + 2 * 64);
    REQUIRE(counts.sums == STEPS);
    REQUIRE(counts.sent_bytes <= STEPS * limit + 64 * 320);
    REQUIRE(late || counts.received_bytes <= STEPS * limit + (size_t)world.ranks * 320);
    exchange_close(exchange);
    update_free(update);
    state_free(start.state);
    state_free(reference);
}

/* Even shares, and one rank with almost all. */
static void learn_all(void)
{
    for (uint32_t r = 0; r <= world.ranks; r++) {
        world.cuts[r] = (int)(r * B / world.ranks);
    }
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        learn(settings_algorithm_name((enum settings_algorithm)i), false);
    }
    for (uint32_t r = 0; r < world.ranks; r++) {
        world.cuts[r] = (int)r;
    }
    world.cuts[world.ranks] = B;
    learn("abm+mpo", true);
}

/* The last rank leaves before step 3: it is asked to stop between two steps. */
static void leave(void)
{
    struct err err = {0};
    struct exchange_start start;
    struct exchange *exchange = open_group(&start);
    struct update *update = new_update();
    const bool leaves = world.rank == world.ranks - 1;
    status s = STATUS_OK;
    while (s == STATUS_OK && !(leaves && state_step(start.state) == 2)) {
        s = step(exchange, update, start.state, &err);
    }
    REQUIRE(state_step(start.state) == 2);
    REQUIRE(s == (leaves ? STATUS_OK : STATUS_CLOSED));
    char expected[64];
    snprintf(expected, sizeof expected, "rank %u leaves", world.ranks - 1);
    REQUIRE(world.rank != 0 || strcmp(err.text, expected) == 0);
    exchange_end(exchange, false, "rank 0 stops");
    REQUIRE(strcmp(exchange_end_of(exchange).reason, "rank 0 stops") == 0);
    REQUIRE(!exchange_end_of(exchange).finished);
    exchange_close(exchange);
    update_free(update);
    state_free(start.state);
}

/* Before step 3 the last rank changes a parameter, or is stopped by a signal. The text is what
 * ctest looks for; the job ends by MPI_Abort. */
static void fail(bool silent)
{
    struct err err = {0};
    struct exchange_start start;
    struct exchange *exchange = open_group(&start);
    struct update *update = new_update();
    status s = STATUS_OK;
    while (s == STATUS_OK) {
        if (world.rank == world.ranks - 1 && state_step(start.state) == 2) {
            state_write(start.state, STATE_PARAMS)[3] += silent ? 0.0f : 1e-3f;
            (void)(silent && raise(SIGSTOP));
        }
        s = step(exchange, update, start.state, &err);
    }
    REQUIRE(s == (silent ? STATUS_UNAVAILABLE : STATUS_CORRUPT));
    REQUIRE(state_step(start.state) == 2);
    fprintf(stderr, "rank %u: %s\n", world.rank, err.text);
    exchange_end(exchange, false, "failed"); /* does not wait for anyone */
    exchange_close(exchange);
}

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";
    if (!exchange_mpi_started(&world.rank, &world.ranks) || world.ranks > B) {
        fprintf(stderr, "exchange_mpi_test: to be started by mpirun, with 2 to %d ranks\n", B);
        return 1;
    }
    for (uint32_t r = 0; r <= world.ranks; r++) {
        world.cuts[r] = (int)(r * B / world.ranks);
    }
    log_open("test", LOG_ERROR);
    world.settings = learning_settings("abm", 3, 2);
    if (strcmp(what, "learn") == 0) {
        learn_all();
    } else if (strcmp(what, "leave") == 0) {
        leave();
    } else {
        fail(strcmp(what, "silent") == 0);
    }
    exchange_mpi_finish(false);
    return 0;
}
