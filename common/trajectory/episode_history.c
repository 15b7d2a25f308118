/* A window in the layout of the stacked observation, so that a step is a shift by one block.
 *
 * Episodes and acting use the same window, so that a policy sees what it has learned from. */
#include "common/trajectory/episode_history.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

/* Appends a slice called `name`, k steps earlier. */
static status add_slice(struct signature *signature, const char *name, uint32_t size, uint32_t k,
                        struct err *err)
{
    struct signature_slice *slice = &signature->slices[signature->n_slices];
    if (signature->n_slices == SIGNATURE_SLICES_MAX) {
        return err_set(err, STATUS_INVALID, "history: more than %d slices in all",
                       SIGNATURE_SLICES_MAX);
    }
    const int length = snprintf(slice->name, sizeof slice->name, "%s/t-%u", name, k);
    if (length < 0 || (size_t)length >= sizeof slice->name) {
        return err_set(err, STATUS_INVALID, "history: the name %s is too long", name);
    }
    slice->size = size;
    signature->n_slices++;
    return STATUS_OK;
}

status episode_history_signature(const struct episode_history *history,
                                 const struct signature *signature, struct signature *stacked,
                                 struct err *err)
{
    ASSERT(history->steps >= 1 && history->steps <= EPISODE_HISTORY_MAX);
    struct signature made = *signature;
    status s = STATUS_OK;
    for (uint32_t k = 1; k < history->steps; k++) {
        for (uint32_t i = 0; i < signature->n_slices && s == STATUS_OK; i++) {
            s = add_slice(&made, signature->slices[i].name, signature->slices[i].size, k, err);
        }
    }
    for (uint32_t k = 1; history->actions && k < history->steps && s == STATUS_OK; k++) {
        s = add_slice(&made, "action", signature->A, k, err);
    }
    /* Sizes, and names that were in use before. */
    if (s == STATUS_OK) {
        s = signature_check(&made, err);
    }
    if (s == STATUS_OK) {
        *stacked = made;
    }
    return s;
}

/* Are the slices of both the same? */
static bool same_slices(const struct signature *a, const struct signature *b)
{
    bool same = a->n_slices == b->n_slices;
    for (uint32_t i = 0; same && i < a->n_slices; i++) {
        same = a->slices[i].size == b->slices[i].size &&
               strcmp(a->slices[i].name, b->slices[i].name) == 0;
    }
    return same;
}

struct episode_history episode_history_of(const struct signature *stacked,
                                          const struct signature *signature)
{
    /* Few can be meant, so all of them are tried. */
    for (uint32_t steps = 2; steps <= EPISODE_HISTORY_MAX; steps++) {
        for (int actions = 0; actions < 2; actions++) {
            const struct episode_history history = {steps, actions == 1};
            struct signature made;
            if (stacked->n_slices > signature->n_slices &&
                episode_history_signature(&history, signature, &made, NULL) == STATUS_OK &&
                same_slices(&made, stacked)) {
                return history;
            }
        }
    }
    return (struct episode_history){1, false};
}

struct episode_history episode_history_split(const struct signature *stacked,
                                             struct signature *signature)
{
    /* The step's own slices come first: those of the step before begin where a name ends in t-1. */
    *signature = *stacked;
    uint32_t n = 0;
    for (; n < stacked->n_slices; n++) {
        const char *end = strrchr(stacked->slices[n].name, '/');
        if (end != NULL && strcmp(end, "/t-1") == 0) {
            break;
        }
    }
    memset(&signature->slices[n], 0, (stacked->n_slices - n) * sizeof *signature->slices);
    signature->n_slices = n;
    const struct episode_history history = episode_history_of(stacked, signature);
    if (history.steps == 1) {
        *signature = *stacked;
    }
    return history;
}

/* ---- the window ---- */

/* Numbers in all observations, and in all actions. */
static size_t observations_of(const struct episode_window *window)
{
    return (size_t)window->O * window->history.steps;
}

static size_t actions_of(const struct episode_window *window)
{
    return window->history.actions ? (size_t)window->A * (window->history.steps - 1) : 0;
}

uint32_t episode_window_size(const struct episode_window *window)
{
    return (uint32_t)(observations_of(window) + actions_of(window));
}

status episode_window_init(struct episode_window *window, const struct episode_history *history,
                           const struct signature *signature, struct err *err)
{
    *window = (struct episode_window){
        .history = *history, .O = signature_observation(signature), .A = signature->A};
    window->values = mem_array(episode_window_size(window), sizeof *window->values);
    return window->values != NULL ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "history");
}

void episode_window_fini(struct episode_window *window)
{
    mem_free(window->values);
    *window = (struct episode_window){0};
}

void episode_window_begin(struct episode_window *window)
{
    window->begun = false;
}

void episode_window_add(struct episode_window *window, const float *observation,
                        const float *action)
{
    const size_t O = window->O;
    const size_t A = window->A;
    float *values = window->values;
    float *actions = values + observations_of(window);
    if (!window->begun) {
        for (uint32_t k = 0; k < window->history.steps; k++) {
            memcpy(values + k * O, observation, O * sizeof *values);
        }
        memset(actions, 0, actions_of(window) * sizeof *values);
        window->begun = true;
        return;
    }
    /* Everything becomes one step older; the oldest falls out. */
    memmove(values + O, values, (observations_of(window) - O) * sizeof *values);
    memcpy(values, observation, O * sizeof *values);
    if (actions_of(window) > 0) {
        memmove(actions + A, actions, (actions_of(window) - A) * sizeof *values);
        memcpy(actions, action, A * sizeof *values);
    }
}
