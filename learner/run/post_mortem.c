/* Where a step stops being finite. See post_mortem.h.
 *
 * Nothing is bisected: everything that a step reads or makes is scanned once, in order, and the
 * first place with a broken number is remembered. The layers are run here, row by row, because the
 * step keeps no activations.
 *
 * The order is that of a step: batch, parameters, layers, losses, gradients, norms. The first
 * broken place in the table is therefore where a search for the cause begins. */
#include "learner/run/post_mortem.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/gaussian.h"
#include "common/networks/kernels.h"
#include "learner/step/report.h"
#include "learner/step/update.h"

/* What is examined, and what was found so far. */
struct search {
    const struct failed_step *step;
    FILE *out;
    char first[160]; /* the first place that is not finite; empty: none yet */
};

/* The numbers of one place. */
struct extent {
    double most;        /* largest finite magnitude */
    size_t n, n_broken; /* numbers, and those that are not finite */
    size_t broken_at;   /* the first of those */
};

/* Adds one number to a place. */
static void extend(struct extent *extent, double x)
{
    if (isfinite(x)) {
        extent->most = fmax(extent->most, fabs(x));
    } else if (extent->n_broken++ == 0) {
        extent->broken_at = extent->n;
    }
    extent->n++;
}

/* All of an array as one place. */
static struct extent extent_of(const float *x, size_t n)
{
    struct extent extent = {0};
    for (size_t i = 0; i < n; i++) {
        extend(&extent, (double)x[i]);
    }
    return extent;
}

/* Prints one line of the table and remembers the first broken place. `where` gives details. */
static void tell(struct search *search, const char *kind, const char *name,
                 const struct extent *extent, const char *where)
{
    /* Every place has its line, also the sound ones: large magnitudes often come before NaN. */
    fprintf(search->out, "%-10s  %-28s  %12.6g  %9zu of %zu\n", kind, name, extent->most,
            extent->n_broken, extent->n);
    if (extent->n_broken > 0 && search->first[0] == '\0') {
        snprintf(search->first, sizeof(search->first), "%s %s%s%s", kind, name,
                 where[0] != '\0' ? ", " : "", where);
    }
}

/* ---- Batch and state ---- */

/* Columns from .. from + count - 1 of all valid rows; `bootstrap`: also of the bootstrap row, of
 * which only the observation is read. */
static void tell_columns(struct search *search, const char *name, size_t from, size_t count,
                         bool bootstrap)
{
    const struct batch *batch = &search->step->batch;
    const size_t W = (size_t)settings_row_width(&search->step->settings);
    /* All rows of a snippet that count; `from` is the column where the quantity begins. */
    struct extent extent = {0};
    char where[64] = "";
    for (size_t b = 0; b < (size_t)batch->B; b++) {
        const size_t rows = batch->n_valid[b] + (bootstrap ? 1u : 0u);
        for (size_t t = 0; t < rows; t++) {
            const float *row = batch->rows + (b * ((size_t)batch->N + 1) + t) * W + from;
            for (size_t i = 0; i < count; i++) {
                extend(&extent, (double)row[i]);
            }
            /* The snippet and the transition where the first broken number was met. */
            if (extent.n_broken > 0 && where[0] == '\0') {
                snprintf(where, sizeof(where), "snippet %zu, transition %zu", b, t);
            }
        }
    }
    tell(search, "batch", name, &extent, where);
}

/* The columns of a row, in the order in which batches store them. */
static void tell_batch(struct search *search)
{
    const struct settings *settings = &search->step->settings;
    const size_t O = (size_t)settings->O, A = (size_t)settings->A, K = (size_t)settings->K;
    tell_columns(search, "observation", 0, O, true);
    tell_columns(search, "action", O, A, false);
    tell_columns(search, "reward", O + A, K, false);
    tell_columns(search, "discount", O + A + K, 1, false);
}

/* For parameters_visit: one tensor, and its copy in the target network where there is one. */
static void tell_parameters(void *arg, const struct parameters_group *group, const char *name,
                            const struct network_tensor *tensor)
{
    struct search *search = arg;
    const struct state *state = search->step->state;
    struct extent extent = extent_of(state_read(state, STATE_PARAMS) + tensor->at, tensor->size);
    tell(search, "parameter", name, &extent, "");
    if (group->has_target) {
        extent = extent_of(state_read(state, STATE_TARGETS) + tensor->at, tensor->size);
        tell(search, "target", name, &extent, "");
    }
}

/* ---- Layers ---- */

/* Inputs of one snippet's rows for the first of its tasks; `with_action`: followed by the clipped
 * action, as critics take them. Returns the number of rows. */
static int fill_inputs(const struct failed_step *step, int b, bool with_action, float *x)
{
    const struct settings *settings = &step->settings;
    const struct batch *batch = &step->batch;
    const size_t O = (size_t)settings->O, A = (size_t)settings->A;
    const size_t I = (size_t)settings_inputs(settings), ld = I + (with_action ? A : 0);
    /* Without drawn tasks every snippet trains all of them, and the first is task 0. */
    const size_t W = (size_t)settings_row_width(settings);
    const int rows = (int)batch->n_valid[b];
    const int task = batch->tasks != NULL ? batch->tasks[b * settings->T] : 0;
    for (int t = 0; t < rows; t++) {
        /* Observation, one-hot task, action: the order in which networks read them. */
        const float *row = batch->rows + ((size_t)b * (size_t)(batch->N + 1) + (size_t)t) * W;
        float *input = x + (size_t)t * ld;
        memcpy(input, row, O * sizeof(*x));
        for (size_t i = O; i < I; i++) {
            input[i] = (int)(i - O) == task ? 1.0f : 0.0f;
        }
        if (with_action) {
            gaussian_clip(input + I, row + O, A);
        }
    }
    return rows;
}

/* Adds a matrix whose rows are ld numbers apart, of which the first `width` count. */
static void extend_rows(struct extent *extent, const float *x, size_t ld, int rows, int width)
{
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < width; i++) {
            extend(extent, (double)x[(size_t)r * ld + (size_t)i]);
        }
    }
}

/* The activations of each layer of a network for the whole batch. */
static status tell_layers(struct search *search, const struct parameters_group *group,
                          struct err *err)
{
    const struct failed_step *step = search->step;
    const struct network_shape *shape = &group->shape;
    /* A network that reads more than observation and task is a critic. */
    const bool with_action = shape->I > settings_inputs(&step->settings);
    const int N = step->batch.N;
    struct extent layers[NETWORK_LAYERS_MAX + 1] = {0};
    struct network_tape tape;
    /* Memory for one snippet at a time. */
    struct arena arena;
    if (arena_init(&arena, network_tape_bytes(shape, N, false)) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "layers of %s", group->name);
    }
    network_tape_init(&tape, shape, N, false, &arena);
    float *x = mem_aligned((size_t)N * (size_t)shape->I * sizeof(*x));
    struct network_packed packed = {0};
    status s = x != NULL && network_packed_init(&packed, shape, NETWORK_BF16_NONE) == STATUS_OK
                   ? STATUS_OK
                   : err_set(err, STATUS_NO_MEMORY, "layers of %s", group->name);
    if (s == STATUS_OK) {
        const struct network network = {.shape = shape,
                                        .params = state_read(step->state, STATE_PARAMS) + group->at,
                                        .packed = &packed};
        /* The weights are packed once, then each snippet runs through all layers. */
        network_pack(&packed, shape, network.params, 0, 1);
        for (int b = 0; b < step->batch.B; b++) {
            const int rows = fill_inputs(step, b, with_action, x);
            network_forward(&tape, &network, x, (size_t)shape->I, rows);
            for (int l = 0; l < shape->n_layers; l++) {
                extend_rows(&layers[l], tape.h[l], tape.ld[l], rows, shape->widths[l]);
            }
            extend_rows(&layers[shape->n_layers], tape.out, tape.ld_out, rows, shape->Q);
        }
        /* One line for each layer, the output last. */
        for (int l = 0; l <= shape->n_layers; l++) {
            char name[64];
            if (l < shape->n_layers) {
                snprintf(name, sizeof(name), "%s/layers/%d", group->name, l);
            } else {
                snprintf(name, sizeof(name), "%s output", group->name);
            }
            tell(search, "layer", name, &layers[l], "");
        }
    }
    mem_free(x);
    network_packed_fini(&packed);
    arena_fini(&arena);
    return s;
}

/* ---- Losses and gradients ---- */

/* The report's losses and means, or its norms of gradients. */
static void tell_report(struct search *search, const struct report *report, bool norms)
{
    for (int i = 0; i < report->n_values; i++) {
        const struct report_value *value = &report->values[i];
        struct extent extent = {0};
        for (int j = 0; j < value->size; j++) {
            extend(&extent, value->values[j]);
        }
        /* The norms of gradients come after the gradients in the table, so they are told apart
         * here. */
        if ((strncmp(value->name, "grad_norm", 9) == 0) == norms) {
            tell(search, norms ? "norm" : "quantity", value->name, &extent, "");
        }
    }
}

/* The gradients of a network, from its output back to its first layer: the order of the backward
 * pass. */
static void tell_gradients(struct search *search, const struct parameters_group *group,
                           const float *gradients)
{
    for (int i = group->n_tensors; i-- > 0;) {
        const struct network_tensor *tensor = &group->tensors[i];
        /* Tensors of several networks have the same names, so the network goes first. */
        const struct extent extent = extent_of(gradients + group->at + tensor->at, tensor->size);
        char name[2 * NETWORK_NAME_SIZE], where[64];
        snprintf(name, sizeof(name), "%s/%s", group->name, tensor->name);
        snprintf(where, sizeof(where), "element %zu", extent.broken_at);
        tell(search, "gradient", name, &extent, where);
    }
}

/* Everything that a step leaves behind, in the order in which it was made. */
static void tell_step(struct search *search, struct update *update, const struct report *report)
{
    const struct parameters_layout *layout = state_layout(search->step->state);
    const float *gradients = update_sums(update).gradients;
    /* Losses first: their gradients come from them. */
    tell_report(search, report, false);
    for (int k = 0; k < layout->n_groups; k++) {
        if (layout->groups[k].is_network) {
            tell_gradients(search, &layout->groups[k], gradients);
        }
    }
    tell_report(search, report, true);
}

/* Takes the step. Where it is finite, the state is changed; otherwise it is what it was. */
static status take(struct search *search, bool *finite, struct err *err)
{
    const struct failed_step *step = search->step;
    /* Static because a report is large for a stack; there is one post-mortem in a process. */
    static struct report report;
    struct update *update = NULL;
    struct err why = {0};
    status s =
        update_new(&update, &step->settings, step->batch.B, step->batch.N, step->threads, err);
    s = s != STATUS_OK ? s : update_gradients(update, step->state, &step->batch, NULL, err);
    if (s == STATUS_OK) {
        /* update_apply refuses to apply gradients that are not finite, and says why. */
        *finite = update_apply(update, step->state, &report, &why) == STATUS_OK;
        tell_step(search, update, &report);
        if (!*finite) {
            fprintf(search->out, "\nfails again: %s\n", why.text);
        }
    }
    update_free(update);
    return s;
}

status post_mortem(const struct failed_step *step, FILE *out, bool *finite, struct err *err)
{
    struct search search = {.step = step, .out = out};
    const struct parameters_layout *layout = state_layout(step->state);
    status s = STATUS_OK;
    /* The heading names everything that the bits of the step depend on. */
    fprintf(out, "learner step %llu, %s, %d snippets of %d, %d threads, %s kernels\n\n",
            (unsigned long long)(state_step(step->state) + 1),
            settings_algorithm_name(step->settings.algorithm), step->batch.B, step->batch.N,
            step->threads, kernels_name());
    fprintf(out, "%-10s  %-28s  %12s  not finite\n", "what", "", "largest");
    /* What the step reads, then what the networks make of it. */
    tell_batch(&search);
    parameters_visit(layout, tell_parameters, &search);
    for (int k = 0; k < layout->n_groups && s == STATUS_OK; k++) {
        if (layout->groups[k].is_network) {
            s = tell_layers(&search, &layout->groups[k], err);
        }
    }
    /* The step itself, and the answer. */
    s = s != STATUS_OK ? s : take(&search, finite, err);
    if (s == STATUS_OK && search.first[0] != '\0') {
        fprintf(out, "first not finite: %s\n", search.first);
    } else if (s == STATUS_OK) {
        fprintf(out, "\nall of it is finite here\n");
    }
    return s;
}
