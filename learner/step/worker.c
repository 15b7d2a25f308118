/* A worker's memory, the loading of its group of states, and the order of the operators.
 *
 * All buffers come from one arena, by one list that both counts and takes them, so that a size is
 * stated once.
 *
 * Everything here is one thread's own. What workers share, struct step and the batch, does not
 * change while they run. Gradients and sums accumulate over the groups of a step, and whoever runs
 * the workers sets them to 0 before. */
#include "learner/step/worker.h"

#include <string.h>

#include "learner/step/actions.h"
#include "learner/step/critic_evaluation.h"
#include "learner/step/packing.h"

/* ---- Memory ---- */

/* Whether the algorithm draws noise of this kind in a step. */
static bool draws(const struct step *step, enum noise_kind kind)
{
    return (step->algorithm->draws >> kind & 1u) != 0;
}

/* Actions per row that the samples must have space for. */
static int samples_max(const struct step *step)
{
    int most = 1;
    for (int kind = NOISE_VALUE; kind <= NOISE_BACKUP; kind++) {
        const int n = actions_per_row(step, (enum noise_kind)kind);
        most = draws(step, (enum noise_kind)kind) && n > most ? n : most;
    }
    return most;
}

/* The shape that a tape must hold: all networks have the same widths, the Gaussian ones the most
 * outputs. */
static const struct network_shape *tape_shape(const struct step *step)
{
    return step->prior.now.shape != NULL ? step->prior.now.shape : step->policy.now.shape;
}

/* All networks run in the same scratch, one after another. */
static size_t scratch_floats(const struct step *step)
{
    const size_t actor = network_scratch(tape_shape(step));
    const size_t critic = network_scratch(step->critic.now.shape);
    return actor > critic ? actor : critic;
}

/* A buffer to take: where its address goes, and its size. */
struct piece {
    void **to;
    size_t count, size_bytes;
};
#define PIECES_MAX 48

/* Everything that a worker keeps besides its tape, as one list: for counting and for taking. */
static int pieces(struct piece list[PIECES_MAX], struct worker *worker, const struct step *step,
                  int R_max)
{
    struct workspace *work = &worker->work;
    struct states *states = &worker->states;
    struct value *value = &worker->value;
    /* Sizes that the pieces below are made of: rows, inputs, actions; M samples at most of one row,
     * J of an improvement. */
    const size_t R = (size_t)R_max;
    const size_t I = (size_t)step->I;
    const size_t A = (size_t)step->settings->A;
    const size_t M = (size_t)samples_max(step);
    const size_t J = (size_t)actions_per_row(step, NOISE_IMPROVE);
    const size_t ready = (size_t)critic_evaluation_rows();
    const size_t ld_out = 2 * A + 32; /* at least the tape's */
    int n = 0;
#define PIECE(field, count_)                                                                       \
    do {                                                                                           \
        ASSERT(n < PIECES_MAX);                                                                    \
        list[n++] = (struct piece){(void **)&(field), (count_), sizeof *(field)};                  \
    } while (0)
    /* The group; a row has a state at most. */
    PIECE(states->snippets, R);
    PIECE(states->snippet_of, R);
    PIECE(states->t_of, R);
    PIECE(states->task, R);
    PIECE(states->next, R);
    PIECE(states->x, R * I);
    PIECE(states->xa, R * (I + A));
    PIECE(states->a, R * A);
    PIECE(states->r, R);
    PIECE(states->d, R);
    PIECE(states->weight, R);

    /* What operators pass on. */
    PIECE(value->v, R);
    PIECE(value->actor.mean, R * A);
    PIECE(value->actor.std, R * A);
    PIECE(value->part, R * work->ld_part);
    PIECE(value->samples, R * M * A);
    PIECE(value->q, R * M);
    PIECE(worker->prior.mean, R * A);
    PIECE(worker->prior.std, R * A);

    /* The workspace of every algorithm .. */
    PIECE(work->scratch, scratch_floats(step));
    PIECE(work->raw, R * 2 * A);
    PIECE(work->dout, R * ld_out);
    PIECE(work->gradient.mean, R * A);
    PIECE(work->gradient.std, R * A);
    PIECE(work->policy.mean, R * A);
    PIECE(work->policy.std, R * A);
    PIECE(work->clipped, (M > ready ? M : ready) * A);
    PIECE(work->weights, M);
    PIECE(work->advantage, R);
    PIECE(work->q_logged, R);
    PIECE(work->td_error, R);
    /* .. and what only some of them use: candidates at the states that follow, and what the second
     * critic says about them. */
    if (draws(step, NOISE_BACKUP)) {
        PIECE(work->next_x, R * I);
        PIECE(work->q2, R * M);
    }
    /* Samples along whose action gradients the policy moves: noise, gradients, the critic's
     * inputs. */
    if (step->algorithm->n_action_gradients > 0) {
        PIECE(work->z, R * J * A);
        PIECE(work->action_gradients, R * J * A);
        PIECE(work->xs, R * (I + A));
        PIECE(work->dxs, R * (I + A));
    }
    if (step->algorithm->n_action_gradients > 1) {
        PIECE(work->action_gradients2, R * J * A);
    }
    /* What the perturbation network reads and says. */
    if (step->perturb.now.shape != NULL) {
        PIECE(work->moves, R * M * A);
        PIECE(work->xp, R * (I + A));
    }
#undef PIECE
    return n;
}

status worker_init(struct worker *worker, const struct step *step, size_t n_gradients, int R_max)
{
    memset(worker, 0, sizeof *worker);
    struct workspace *work = &worker->work;
    /* The state's part of a first layer is as wide as that layer. */
    const size_t H = (size_t)step->critic.now.shape->widths[0];
    work->step = step;
    work->R_max = R_max;
    /* Whole cache lines, and one more so that rows do not fall on the same cache sets. */
    work->ld_part = (H + 15) / 16 * 16 + 16;

    /* Count, allocate, then hand out in the same order. Each piece may be rounded up to a line. */
    struct piece list[PIECES_MAX];
    const int n = pieces(list, worker, step, R_max);
    const bool bf16 = packing_all_bf16(step->settings);
    size_t bytes = network_tape_bytes(tape_shape(step), R_max, bf16);
    for (int i = 0; i < n; i++) {
        bytes += list[i].count * list[i].size_bytes + CACHE_LINE;
    }
    /* Gradients have the size of all parameters and outlive the step: they are not in the arena.
     * After a failure worker_fini frees what is there. */
    work->gradients = mem_aligned(n_gradients * sizeof *work->gradients);
    if (work->gradients == NULL || arena_init(&worker->arena, bytes) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    for (int i = 0; i < n; i++) {
        *list[i].to = arena_take(&worker->arena, list[i].count, list[i].size_bytes);
    }
    network_tape_init(&work->tape, tape_shape(step), R_max, bf16, &worker->arena);
    return STATUS_OK;
}

void worker_fini(struct worker *worker)
{
    mem_free(worker->work.gradients);
    arena_fini(&worker->arena);
}

/* ---- The group ---- */

/* Row t of snippet b: observation, action, rewards, discount. */
static const float *batch_row(const struct step *step, int b, int t)
{
    const size_t W = (size_t)settings_row_width(step->settings);
    return step->batch->rows + ((size_t)b * (size_t)(step->batch->N + 1) + (size_t)t) * W;
}

/* Without tasks in the batch all are trained, in order. */
static int task_of(const struct step *step, const struct task_snippet *snippet)
{
    const int32_t *tasks = step->batch->tasks;
    return tasks == NULL ? snippet->tau : tasks[snippet->b * step->settings->T + snippet->tau];
}

/* Row `row` of the group is row t of task snippet u: its observation, and the one-hot task. */
static void load_row(struct states *states, const struct step *step, int row, int u, int t)
{
    const struct settings *settings = step->settings;
    const size_t O = (size_t)settings->O;
    const struct task_snippet *snippet = &states->snippets[u];
    const int task = task_of(step, snippet);
    float *x = states->x + (size_t)row * (size_t)step->I;
    /* The observation, as the networks get it. */
    if (step->normalizer.O > 0) {
        normalizer_apply(&step->normalizer, x, batch_row(step, snippet->b, t));
    } else {
        memcpy(x, batch_row(step, snippet->b, t), O * sizeof *x);
    }
    /* The one-hot task; with a single task there is none. */
    if (settings->K > 1) {
        memset(x + O, 0, (size_t)settings->K * sizeof *x);
        x[O + (size_t)task] = 1.0f;
    }
    /* Where the row came from. */
    states->snippet_of[row] = u;
    states->t_of[row] = t;
    states->task[row] = task;
}

/* What only a state has: action, reward of its task, discount, the critic's input, the row that
 * follows. */
static void load_state(struct states *states, const struct step *step, int s)
{
    const struct settings *settings = step->settings;
    const size_t O = (size_t)settings->O;
    const size_t A = (size_t)settings->A;
    const size_t I = (size_t)step->I;
    const int u = states->snippet_of[s];
    const struct task_snippet *snippet = &states->snippets[u];
    /* The action as it was logged: the prior's likelihood needs it unclipped. */
    const float *row = batch_row(step, snippet->b, states->t_of[s]);
    memcpy(states->a + (size_t)s * A, row + O, A * sizeof *row);
    /* Of the rewards only that of the row's task; one discount for all. */
    states->r[s] = (float)(settings->reward_scale * (double)row[O + A + (size_t)states->task[s]]);
    states->d[s] = row[O + A + (size_t)settings->K];
    states->weight[s] = step->batch->weights != NULL ? step->batch->weights[snippet->b] : 1.0;
    /* The critic sees it clipped, beside the network inputs. */
    float *xa = states->xa + (size_t)s * (I + A);
    memcpy(xa, states->x + (size_t)s * I, I * sizeof *xa);
    gaussian_clip(xa + I, row + O, A);
    /* Within a snippet the next state follows at once; after its last one comes its bootstrap
     * row. */
    states->next[s] = states->t_of[s] + 1 < snippet->n ? s + 1 : states->S + u;
}

void worker_load(struct worker *worker, const struct task_snippet *snippets, int n)
{
    struct states *states = &worker->states;
    const struct step *step = worker->work.step;
    ASSERT(n >= 1);

    /* States first, then the bootstrap rows. */
    states->n = n;
    states->S = 0;
    for (int u = 0; u < n; u++) {
        states->snippets[u] = snippets[u];
        states->snippets[u].first = states->S;
        states->S += snippets[u].n;
    }
    states->R = states->S + n;
    /* A group is made to fit: task_snippets_group. */
    ASSERT(states->R <= worker->work.R_max);
    /* Network inputs of all rows, a snippet's states and then its bootstrap row. */
    for (int u = 0; u < n; u++) {
        for (int t = 0; t < snippets[u].n; t++) {
            load_row(states, step, states->snippets[u].first + t, u, t);
        }
        load_row(states, step, states->S + u, u, snippets[u].n);
    }
    /* Then what only states have, some of it made of the rows just loaded. */
    for (int s = 0; s < states->S; s++) {
        load_state(states, step, s);
    }
    worker->work.sums.states += states->S;
}

/* ---- One step of one group: docs/maths.md, section 3 ---- */

void worker_run(struct worker *worker)
{
    struct workspace *work = &worker->work;
    const struct algorithm *algorithm = work->step->algorithm;
    const struct states *states = &worker->states;
    struct value *value = &worker->value;

    /* 1. V(s), from the target critic. */
    algorithm->value_estimate(work, states, value);
    phases_lap(&worker->phases, PHASE_VALUE);

    /* 2. The critic moves towards r + gamma d V(s'). */
    algorithm->evaluation(work, states, value);
    phases_lap(&worker->phases, PHASE_EVALUATE);

    /* 3. The prior moves towards what was logged, where that was good. */
    if (algorithm->prior_fit != NULL) {
        algorithm->prior_fit(work, states, value, &worker->prior);
        phases_lap(&worker->phases, PHASE_PRIOR);
    }

    /* 4. The policy moves towards the better of the samples. (5. is in update_apply: duals are
     * few.) */
    if (algorithm->improvement != NULL) {
        algorithm->improvement(work, states, value, &worker->prior);
        phases_lap(&worker->phases, PHASE_IMPROVE);
    }
}
