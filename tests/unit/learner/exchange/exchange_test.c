/* Several learners over sockets, each a thread here with the real step: what they learn is what one
 * learns; a rank that leaves, is silent, differs or sends numbers that are not finite stops them as
 * it should. */
#include "tests/lib/check.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/rpc/server.h"
#include "learner/exchange/exchange.h"
#include "learner/step/algorithm.h"
#include "learner/step/operators.h"
#include "tests/lib/learning.h"
#include "tests/lib/scratch.h"

enum { B = 30, N = 7, STEPS = 6, RANKS_MAX = 3, FIRST_BATCH = 40, FIRST_STEP = 1 };

#define SLICE_MS  100
#define PATIENT_S 30.0 /* a loaded machine may stop a thread for a second */
#define TIMEOUT_S 0.5  /* where a rank is silent on purpose */
#define TERMS     "seed: 11\nbatch_snippets: 30\nwidths: [16, 12]\n"

/* The run that all ranks of a test share. */
static struct {
    char folder[SCRATCH_SIZE];
    char address[SCRATCH_SIZE + 32];
    char record[2 * SCRATCH_SIZE];
    struct experiment experiment;
    struct settings settings;
    double timeout_s; /* how long a rank may be silent */
    uint32_t ranks;
    int cuts[RANKS_MAX + 1]; /* rank r has snippets cuts[r] .. cuts[r + 1] - 1 */
} world;

/* One learner, and what befalls it. */
struct player {
    pthread_t thread;
    uint32_t rank;
    const char *terms;
    uint64_t leaves_at;  /* before this step, once: gone, and back as another process; 0: never */
    uint64_t differs_at; /* before this step a parameter is changed; 0: never */
    uint64_t silent_at;  /* before this step nothing is heard of it until `awake`; 0: never */
    uint64_t spoils_at;  /* one of its sums for this step is `spoilt`, once; 0: never */
    double spoilt;
    bool spoils_scalar;                          /* a scalar, not a gradient */
    char refusal[sizeof((struct err *)0)->text]; /* what it is told then */
    uint64_t stops_at; /* rank 0: ends here, the run goes on; 0: at STEPS, for good */
    atomic_bool awake, formed;
    struct exchange *exchange;
    struct rpc_server *server; /* rank 0 */
    struct exchange_start start;
    struct update *update;
    unsigned broken; /* how often sum said GROUP_BROKEN */
    status result;
    struct err err;
};

static status make_state(void *arg, struct exchange_start *start, struct err *err)
{
    (void)arg;
    if (start->signature.A != 2) {
        return err_set(err, STATUS_MISMATCH, "signature");
    }
    return start->state != NULL ? STATUS_OK : state_new(&start->state, &world.settings, err);
}

static void open_exchange(struct player *player)
{
    const char *address = world.address;
    struct err err = {0};
    if (player->rank == 0) {
        const struct rpc_server_options server = {
            .addresses = &address, .n_addresses = 1, .max_message_bytes = EXCHANGE_MESSAGE_MAX};
        ASSERT(rpc_server_open(&player->server, &server, &err) == STATUS_OK);
    }
    const struct exchange_options options = {.rank = player->rank,
                                             .ranks = world.ranks,
                                             .address = address,
                                             .experiment = &world.experiment,
                                             .timeout_seconds = world.timeout_s,
                                             .terms = player->terms,
                                             .server = player->server,
                                             .record_path = world.record,
                                             .n_scalars = SUMS_COUNT,
                                             .make = make_state};
    ASSERT(exchange_open_grpc(&player->exchange, &options, &err) == STATUS_OK);
    if (player->rank == 0) {
        ASSERT(rpc_server_start(player->server, &err) == STATUS_OK);
    }
}

static void close_exchange(struct player *player)
{
    if (player->server != NULL) {
        rpc_server_close(player->server, 500);
        player->server = NULL;
    }
    exchange_close(player->exchange);
    player->exchange = NULL;
}

static status form(struct player *player)
{
    status s;
    do {
        s = exchange_form(player->exchange, &player->start, SLICE_MS, &player->err);
    } while (s == STATUS_TIMEOUT);
    if (s == STATUS_OK) {
        atomic_store(&player->formed, true);
    }
    return s;
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

static status step(struct player *player)
{
    struct state *state = player->start.state;
    const uint64_t number = player->start.next_batch;
    struct batch whole = learning_batch(&world.settings, B, N, number);
    const struct batch batch = slice_of(&whole, player->rank);
    status s = update_gradients(player->update, state, &batch, NULL, &player->err);
    const struct exchange_mark mark = {state_step(state), number, state_digest(state)};
    if (player->spoils_at == state_step(state) + 1) {
        const struct update_sums sums = update_sums(player->update);
        if (player->spoils_scalar) {
            sums.scalars[sums.n_scalars - 1] = player->spoilt;
        } else {
            sums.gradients[sums.n_gradients / 2] = (float)player->spoilt;
        }
        assert_int_equal(exchange_sums_check(sums, NULL), STATUS_CORRUPT);
    }
    while (s == STATUS_OK) {
        s = exchange_sum(player->exchange, &mark, update_sums(player->update), SLICE_MS,
                         &player->err);
        if (s == STATUS_OK) {
            s = update_apply(player->update, state, NULL, &player->err);
            player->start.next_batch++;
            break;
        }
        s = s == STATUS_TIMEOUT ? STATUS_OK : s;
    }
    learning_free(&whole);
    return s;
}

static void suffer(struct player *player)
{
    const uint64_t next = state_step(player->start.state) + 1;
    if (player->leaves_at == next) {
        player->leaves_at = 0;
        close_exchange(player);
        open_exchange(player);
    }
    if (player->differs_at == next) {
        state_write(player->start.state, STATE_PARAMS)[3] += 1e-3f;
    }
    while (player->silent_at == next && !atomic_load(&player->awake)) {
        clock_sleep_ms(5);
    }
}

/* All of a learner's life; ends as its group does. */
static void *play(void *arg)
{
    struct player *player = arg;
    ASSERT(update_new(&player->update, &world.settings, B, N, 1 + (int)player->rank,
                      &player->err) == STATUS_OK);
    status s = form(player);
    while (s == STATUS_OK) {
        const uint64_t done = state_step(player->start.state);
        if (player->rank == 0 &&
            (done == STEPS || (player->stops_at && done == player->stops_at))) {
            exchange_end(player->exchange, done == STEPS, "all steps done");
            break;
        }
        suffer(player);
        s = player->exchange != NULL ? step(player) : STATUS_GROUP_BROKEN;
        if ((s == STATUS_INVALID && player->spoils_at != 0) ||
            (s == STATUS_CORRUPT && player->differs_at == FIRST_STEP)) {
            /* Refused for good. Another process comes as this rank, and sends what it should. */
            player->spoils_at = player->differs_at = 0;
            snprintf(player->refusal, sizeof player->refusal, "%s", player->err.text);
            close_exchange(player);
            open_exchange(player);
            s = STATUS_GROUP_BROKEN;
        }
        if (s == STATUS_GROUP_BROKEN) {
            player->broken++;
            s = form(player);
        }
    }
    player->result = s;
    return NULL;
}

/* ---- Worlds ---- */

static void make_world(const char *algorithm, uint32_t ranks, const int *cuts)
{
    scratch_make(world.folder);
    snprintf(world.address, sizeof world.address, "unix:%s/exchange.sock", world.folder);
    scratch_path(world.record, world.folder, "generation");
    world.settings = learning_settings(algorithm, 3, 2);
    world.settings.adam_eps = 1e-4; /* or the sign of a gradient of 1e-9 would count for a rate */
    world.timeout_s = PATIENT_S;
    world.ranks = ranks;
    memcpy(world.cuts, cuts, (ranks + 1) * sizeof *cuts);
}

static void prepare(struct player *player, uint32_t rank)
{
    memset(player, 0, sizeof *player);
    player->rank = rank;
    player->terms = TERMS;
    open_exchange(player);
    if (rank != 0) {
        return;
    }
    struct exchange_start *start = &player->start;
    *start = (struct exchange_start){.run_id = "run-a", .next_batch = FIRST_BATCH};
    start->signature = (struct signature){
        .n_slices = 1, .slices = {{"position", 5}}, .A = 2, .K = 3, .control_period_s = 0.02};
    for (int i = 0; i < 2; i++) {
        start->signature.action_min[i] = -1;
        start->signature.action_max[i] = 1;
    }
    for (int k = 0; k < 3; k++) {
        snprintf(start->signature.rewards[k], sizeof start->signature.rewards[k], "task%d", k);
    }
    struct err err;
    ASSERT(state_new(&start->state, &world.settings, &err) == STATUS_OK);
}

static void begin(struct player *player)
{
    ASSERT(pthread_create(&player->thread, NULL, play, player) == 0);
}

static void finish(struct player *player)
{
    pthread_join(player->thread, NULL);
}

/* `state` stays with the caller where it is not NULL. */
static void end_player(struct player *player, struct state **state)
{
    close_exchange(player);
    update_free(player->update);
    if (state != NULL) {
        *state = player->start.state;
    } else {
        state_free(player->start.state);
    }
}

/* All play to the end; returns rank 0's state, the bits of which all have. */
static struct state *play_all(struct player players[RANKS_MAX])
{
    for (uint32_t r = 0; r < world.ranks; r++) {
        begin(&players[r]);
    }
    for (uint32_t r = world.ranks; r-- > 0;) {
        finish(&players[r]);
        if (players[r].result != (r == 0 ? STATUS_OK : STATUS_CLOSED)) {
            fail_msg("rank %u: %s", r, players[r].err.text);
        }
    }
    const struct state *first = players[0].start.state;
    for (uint32_t r = 1; r < world.ranks; r++) {
        const struct state *other = players[r].start.state;
        assert_int_equal(state_step(other), STEPS);
        assert_true(state_digest(other) == state_digest(first));
        assert_memory_equal(state_read(other, STATE_V), state_read(first, STATE_V),
                            state_layout(first)->size * sizeof(float));
        const struct exchange_end end = exchange_end_of(players[r].exchange);
        assert_true(end.finished);
        assert_string_equal(end.reason, "all steps done");
    }
    while (!exchange_told(players[0].exchange)) {
        clock_sleep_ms(1);
    }
    struct state *state = NULL;
    for (uint32_t r = 0; r < world.ranks; r++) {
        end_player(&players[r], r == 0 ? &state : NULL);
    }
    return state;
}

static struct player players[RANKS_MAX];

static void prepare_all(void)
{
    for (uint32_t r = 0; r < world.ranks; r++) {
        prepare(&players[r], r);
    }
}

static struct state *undisturbed(void)
{
    prepare_all();
    return play_all(players);
}

static struct state *one_learner(void)
{
    struct state *state;
    struct update *update;
    struct err err;
    assert_int_equal(state_new(&state, &world.settings, &err), STATUS_OK);
    assert_int_equal(update_new(&update, &world.settings, B, N, 2, &err), STATUS_OK);
    for (uint64_t i = 0; i < STEPS; i++) {
        struct batch batch = learning_batch(&world.settings, B, N, FIRST_BATCH + i);
        assert_int_equal(update_step(update, state, &batch, NULL, NULL, &err), STATUS_OK);
        learning_free(&batch);
    }
    update_free(update);
    return state;
}

static const int HALVES[] = {0, 15, 30}, THIRDS[] = {0, 4, 21, 30};

/* ---- Tests ---- */

static void compare_with_one(const char *algorithm, uint32_t ranks, const int *cuts)
{
    make_world(algorithm, ranks, cuts);
    struct state *one = one_learner(), *many = undisturbed();
    double worst = 0;
    for (size_t i = 0; i < state_layout(one)->size; i++) {
        worst = fmax(worst, fabs((double)state_read(one, STATE_PARAMS)[i] -
                                 (double)state_read(many, STATE_PARAMS)[i]));
    }
    print_message("%s: %u ranks differ from one by %.1e of a learning rate\n", algorithm, ranks,
                  worst / 1e-2);
    assert_true(worst < 2e-3 * 1e-2);
    assert_true(state_step(one) == state_step(many));
    state_free(one);
    state_free(many);
    scratch_remove(world.folder);
}

static void ranks_learn_what_one_learns(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        compare_with_one(settings_algorithm_name((enum settings_algorithm)i), 2, HALVES);
        compare_with_one(settings_algorithm_name((enum settings_algorithm)i), 3, THIRDS);
    }
}

/* Whatever happens to a rank, the bits are those of a group that nothing happened to. */
static void a_rank_that_comes_again_changes_nothing(void **state)
{
    (void)state;
    make_world("abm+mpo", 3, THIRDS);
    struct state *whole = undisturbed();
    for (uint32_t rank = 1; rank < 3; rank++) {
        prepare_all();
        players[rank].leaves_at = 3;
        struct state *again = play_all(players);
        assert_true(players[0].broken > 0);
        assert_true(state_digest(again) == state_digest(whole));
        assert_memory_equal(state_read(again, STATE_M), state_read(whole, STATE_M),
                            state_layout(whole)->size * sizeof(float));
        state_free(again);
    }
    state_free(whole);
    scratch_remove(world.folder);
}

static void a_silent_rank_is_left_behind_until_it_wakes(void **state)
{
    (void)state;
    make_world("mpo", 3, THIRDS);
    struct state *whole = undisturbed();
    world.timeout_s = TIMEOUT_S;
    prepare_all();
    players[2].silent_at = 4;
    begin(&players[0]);
    begin(&players[1]);
    begin(&players[2]);
    /* The others are waiting for it to join again. */
    while (!atomic_load(&players[1].formed)) {
        clock_sleep_ms(1);
    }
    clock_sleep_ms((unsigned)(2500 * TIMEOUT_S));
    atomic_store(&players[2].awake, true);
    for (uint32_t r = 0; r < 3; r++) {
        finish(&players[r]);
    }
    assert_true(players[0].broken >= 1 && players[1].broken >= 1 && players[2].broken >= 1);
    assert_true(state_digest(players[0].start.state) == state_digest(whole));
    assert_true(state_digest(players[2].start.state) == state_digest(whole));
    for (uint32_t r = 0; r < 3; r++) {
        end_player(&players[r], NULL);
    }
    state_free(whole);
    scratch_remove(world.folder);
}

/* Rank 0 ends in the middle and comes again with its state: generations rise, the bits are the
 * same.
 */
static void rank_0_comes_again(void **state)
{
    (void)state;
    make_world("svg", 2, HALVES);
    struct state *whole = undisturbed();
    prepare_all();
    players[0].stops_at = 3;
    begin(&players[0]);
    begin(&players[1]);
    finish(&players[0]);
    assert_int_equal(players[0].result, STATUS_OK);
    const struct exchange_start kept = players[0].start;
    const uint64_t generation = exchange_counts(players[0].exchange).generation;
    assert_int_equal(state_step(kept.state), 3);
    struct state *state3 = NULL;
    end_player(&players[0], &state3);

    prepare(&players[0], 0);
    state_free(players[0].start.state);
    players[0].start = kept;
    begin(&players[0]);
    finish(&players[0]);
    finish(&players[1]);
    assert_int_equal(players[0].result, STATUS_OK);
    assert_int_equal(players[1].result, STATUS_CLOSED);
    assert_true(exchange_counts(players[0].exchange).generation > generation);
    assert_true(state_digest(players[1].start.state) == state_digest(whole));
    end_player(&players[0], NULL);
    end_player(&players[1], NULL);
    state_free(whole);
    scratch_remove(world.folder);
}

static void differing_parameters_stop_all(void **state)
{
    (void)state;
    make_world("bcq", 3, THIRDS);
    prepare_all();
    players[2].differs_at = 3;
    for (uint32_t r = 0; r < 3; r++) {
        begin(&players[r]);
    }
    for (uint32_t r = 0; r < 3; r++) {
        finish(&players[r]);
        assert_int_equal(players[r].result, STATUS_CORRUPT);
        assert_non_null(strstr(players[r].err.text, "rank 2 of 3"));
        assert_non_null(strstr(players[r].err.text, "differs from rank 0 before step 3"));
    }
    for (uint32_t r = 0; r < 3; r++) {
        end_player(&players[r], NULL);
    }
    scratch_remove(world.folder);
}

/* A rank that does not have the state that it was sent is refused by name; the group goes on with
 * another process in its place, and learns what it would have learned. */
static void a_rank_that_joins_with_another_state_is_refused(void **state)
{
    (void)state;
    make_world("abm+mpo", 3, THIRDS);
    struct state *whole = undisturbed();
    for (uint32_t rank = 1; rank < 3; rank++) {
        prepare_all();
        players[rank].differs_at = FIRST_STEP;
        struct state *again = play_all(players);
        char who[32];
        snprintf(who, sizeof who, "rank %u of 3 (", rank);
        assert_non_null(strstr(players[rank].refusal, who));
        assert_non_null(strstr(players[rank].refusal,
                               "differs from rank 0 before step 1: the state it was sent has"));
        assert_true(players[0].broken == 1);
        assert_true(state_digest(again) == state_digest(whole));
        state_free(again);
    }
    state_free(whole);
    scratch_remove(world.folder);
}

/* Sums that would make the total useless are refused, whoever sends them; the group goes on with
 * those of an honest rank, and learns what it would have learned. */
static void sums_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    static const struct {
        double value;
        bool scalar;
    } cases[] = {{NAN, false}, {INFINITY, false}, {-3e38, false}, {NAN, true}, {-INFINITY, true}};
    make_world("abm+mpo", 3, THIRDS);
    struct state *whole = undisturbed();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prepare_all();
        players[1].spoils_at = 3;
        players[1].spoilt = cases[i].value;
        players[1].spoils_scalar = cases[i].scalar;
        struct state *again = play_all(players);
        assert_non_null(
            strstr(players[1].refusal, ") for step 3 are not finite, or too large to be added"));
        assert_non_null(strstr(players[1].refusal, "the sums of rank 1 of 3 ("));
        assert_true(state_digest(again) == state_digest(whole));
        state_free(again);
    }
    state_free(whole);
    scratch_remove(world.folder);
}

/* It is told which option it is, and leaves; the others wait for the right one. */
static void other_terms_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *terms, *text;
    } cases[] = {
        {"seed: 11\nbatch_snippets: 32\nwidths: [16, 12]\n",
         "rank 1: batch_snippets: 32, expected batch_snippets: 30 as rank 0 has it"},
        {"seed: 11\nbatch_snippets: 30\n", "rank 1: terms without some of rank 0's options"},
        {TERMS "more: 1\n", "rank 1: more: 1, expected no such option as rank 0 has it"},
        {"", "rank 1: terms without some of rank 0's options"},
    };
    make_world("abm", 2, HALVES);
    struct state *whole = undisturbed();
    prepare(&players[0], 0);
    begin(&players[0]);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prepare(&players[1], 1);
        close_exchange(&players[1]);
        players[1].terms = cases[i].terms;
        open_exchange(&players[1]);
        begin(&players[1]);
        finish(&players[1]);
        assert_int_equal(players[1].result, STATUS_MISMATCH);
        if (strstr(players[1].err.text, cases[i].text) == NULL) {
            fail_msg("%s\nexpected %s", players[1].err.text, cases[i].text);
        }
        end_player(&players[1], NULL);
    }
    prepare(&players[1], 1);
    begin(&players[1]);
    finish(&players[0]);
    finish(&players[1]);
    assert_int_equal(players[1].result, STATUS_CLOSED);
    assert_true(state_digest(players[1].start.state) == state_digest(whole));
    end_player(&players[0], NULL);
    end_player(&players[1], NULL);
    state_free(whole);
    scratch_remove(world.folder);
}

int main(void)
{
    rpc_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_learn_what_one_learns),
        cmocka_unit_test(a_rank_that_comes_again_changes_nothing),
        cmocka_unit_test(a_silent_rank_is_left_behind_until_it_wakes),
        cmocka_unit_test(rank_0_comes_again),
        cmocka_unit_test(differing_parameters_stop_all),
        cmocka_unit_test(a_rank_that_joins_with_another_state_is_refused),
        cmocka_unit_test(sums_that_are_not_finite_are_refused),
        cmocka_unit_test(other_terms_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
