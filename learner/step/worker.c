/* A worker's memory and its group of states. */
#include <string.h>

#include "learner/step/operators.h"

/* ---- Memory ---- */

/* Actions per row that `samples` must hold, and as many that its clipped part must. */
static int samples_max(const struct step *step)
{
    int most = 1;
    for (int kind = NOISE_VALUE; kind <= NOISE_BACKUP; kind++) {
        const bool drawn = (step->algorithm->draws >> kind & 1u) != 0;
        const int n = step_samples(step, (enum noise_kind)kind);
        most = drawn && n > most ? n : most;
    }
    return most;
}

/* The shape that a tape must hold: all networks have the same widths, the Gaussian ones the most
 * outputs. */
static const struct network_shape *tape_shape(const struct step *step)
{
    return step->prior.now.shape != NULL ? step->prior.now.shape : step->policy.now.shape;
}

static size_t scratch_floats(const struct step *step)
{
    const size_t actor = network_scratch(tape_shape(step));
    const size_t critic = network_scratch(step->critic.now.shape);
    return actor > critic ? actor : critic;
}

struct piece {
    void **to;
    size_t count, size_bytes;
};
#define PIECES_MAX 40

/* Everything that a worker keeps besides its tape, as one list: for counting and for taking. */
static int pieces(struct piece list[PIECES_MAX], struct worker *w, const struct step *step,
                  int R_max)
{
    const size_t R = (size_t)R_max;
    const size_t I = (size_t)step->I;
    const size_t A = (size_t)step->settings->A;
    const size_t M = (size_t)samples_max(step);
    const size_t J = (size_t)step_samples(step, NOISE_IMPROVE);
    const size_t H = (size_t)step->critic.now.shape->widths[0];
    const size_t ld_out = 2 * A + 32; /* at least the tape's */
    w->ld_part = (H + 15) / 16 * 16 + 16;
    int n = 0;
#define PIECE(field, count_)                                                                       \
    list[n++] = (struct piece){(void **)&w->field, (count_), sizeof *w->field}
    PIECE(scratch, scratch_floats(step));
    PIECE(units, R);
    PIECE(unit_of, R);
    PIECE(t_of, R);
    PIECE(next, R);
    PIECE(task, R);
    PIECE(x, R * I);
    PIECE(xa, R * (I + A));
    PIECE(a, R * A);
    PIECE(r, R);
    PIECE(d, R);
    PIECE(part, R * w->ld_part);
    PIECE(mean, R * A);
    PIECE(std, R * A);
    PIECE(prior_mean, R * A);
    PIECE(prior_std, R * A);
    PIECE(own_mean, R * A);
    PIECE(own_std, R * A);
    PIECE(dmean, R * A);
    PIECE(dstd, R * A);
    PIECE(raw, R * 2 * A);
    PIECE(samples, R * M * A);
    PIECE(clipped, (M > JUDGE_ROWS ? M : JUDGE_ROWS) * A);
    PIECE(q, R * M);
    PIECE(weights, M);
    PIECE(dout, R * ld_out);
    PIECE(v, R);
    PIECE(advantage, R);
    if ((step->algorithm->draws >> NOISE_BACKUP & 1u) != 0) {
        PIECE(next_x, R * I);
        PIECE(q2, R * M);
    }
    if (step->algorithm->n_slopes > 0) {
        PIECE(z, R * J * A);
        PIECE(slopes, R * J * A);
        PIECE(xs, R * (I + A));
        PIECE(dxs, R * (I + A));
    }
    if (step->algorithm->n_slopes > 1) {
        PIECE(slopes2, R * J * A);
    }
    if (step->perturb.now.shape != NULL) {
        PIECE(moves, R * M * A);
        PIECE(xp, R * (I + A));
    }
#undef PIECE
    ASSERT(n <= PIECES_MAX);
    return n;
}

size_t worker_bytes(const struct step *step, int R_max)
{
    struct worker none;
    struct piece list[PIECES_MAX];
    const int n = pieces(list, &none, step, R_max);
    size_t bytes = network_tape_bytes(tape_shape(step), R_max);
    for (int i = 0; i < n; i++) {
        bytes += list[i].count * list[i].size_bytes + CACHE_LINE;
    }
    return bytes;
}

void worker_init(struct worker *worker, const struct step *step, int R_max)
{
    struct piece list[PIECES_MAX];
    const int n = pieces(list, worker, step, R_max);
    worker->step = step;
    worker->R_max = R_max;
    for (int i = 0; i < n; i++) {
        *list[i].to = arena_take(&worker->arena, list[i].count, list[i].size_bytes);
    }
    network_tape_init(&worker->tape, tape_shape(step), R_max, &worker->arena);
}

/* ---- The group ---- */

static const float *batch_row(const struct step *step, int b, int t)
{
    const size_t W = (size_t)settings_row_width(step->settings);
    return step->batch->rows + ((size_t)b * (size_t)(step->batch->N + 1) + (size_t)t) * W;
}

static int unit_task(const struct step *step, const struct unit *unit)
{
    const int32_t *tasks = step->batch->tasks;
    return tasks == NULL ? unit->tau : tasks[unit->b * step->settings->T + unit->tau];
}

/* Row `row` of the group is row t of the unit: its observation, and the one-hot task. */
static void load_row(struct worker *w, int row, int u, int t)
{
    const struct settings *settings = w->step->settings;
    const size_t O = (size_t)settings->O;
    const struct unit *unit = &w->units[u];
    const int task = unit_task(w->step, unit);
    float *x = w->x + (size_t)row * (size_t)w->step->I;
    memcpy(x, batch_row(w->step, unit->b, t), O * sizeof *x);
    if (settings->K > 1) {
        memset(x + O, 0, (size_t)settings->K * sizeof *x);
        x[O + (size_t)task] = 1.0f;
    }
    w->unit_of[row] = u;
    w->t_of[row] = t;
    w->task[row] = task;
}

/* What only a state has: action, reward of its task, discount, the critic's input, the row that
 * follows. */
static void load_state(struct worker *w, int s)
{
    const struct settings *settings = w->step->settings;
    const size_t O = (size_t)settings->O;
    const size_t A = (size_t)settings->A;
    const size_t I = (size_t)w->step->I;
    const int u = w->unit_of[s];
    const struct unit *unit = &w->units[u];
    const float *row = batch_row(w->step, unit->b, w->t_of[s]);
    memcpy(w->a + (size_t)s * A, row + O, A * sizeof *row);
    w->r[s] = row[O + A + (size_t)w->task[s]];
    w->d[s] = row[O + A + (size_t)settings->K];
    float *xa = w->xa + (size_t)s * (I + A);
    memcpy(xa, w->x + (size_t)s * I, I * sizeof *xa);
    gaussian_clip(xa + I, row + O, A);
    w->next[s] = w->t_of[s] + 1 < unit->n ? s + 1 : w->S + u;
}

void worker_load(struct worker *w, const struct unit *units, int n)
{
    w->n_units = n;
    w->S = 0;
    for (int u = 0; u < n; u++) {
        w->units[u] = units[u];
        w->units[u].first = w->S;
        w->S += units[u].n;
    }
    w->R = w->S + n;
    ASSERT(w->R <= w->R_max);
    for (int u = 0; u < n; u++) {
        for (int t = 0; t < units[u].n; t++) {
            load_row(w, w->units[u].first + t, u, t);
        }
        load_row(w, w->S + u, u, units[u].n);
    }
    for (int s = 0; s < w->S; s++) {
        load_state(w, s);
    }
    w->sums.states += w->S;
}
