/* A table read from one transition to the next: see logged_data.h.
 *
 * The replay server sends transitions in order (SampleRequest.in_order), each with the row that
 * follows it, and begins again after the last one, by which its end is known. */
#include "offline_evaluator/logged_data.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/clients/replay_sampler.h"

#define BATCH_TRANSITIONS 4096u
#define BATCH_MS          60000u

/* ---- Rows ---- */

/* Room for one more row and one more transition, which is doubled when it is used up. */
static status reserve(struct logged_data *data, size_t *rows_room, size_t *episodes_room)
{
    if (data->n_rows + 2 > *rows_room) {
        const size_t room = *rows_room > 0 ? 2 * *rows_room : 2 * BATCH_TRANSITIONS;
        float *rows = mem_resize(data->rows, room, data->W * sizeof *rows);
        data->rows = rows != NULL ? rows : data->rows;
        size_t *transitions =
            rows != NULL ? mem_resize(data->transitions, room, sizeof *transitions) : NULL;
        if (transitions == NULL) {
            return STATUS_NO_MEMORY;
        }
        data->transitions = transitions;
        *rows_room = room;
    }
    if (data->n_episodes + 1 > *episodes_room) {
        const size_t room = *episodes_room > 0 ? 2 * *episodes_room : 256;
        struct logged_episode *episodes = mem_resize(data->episodes, room, sizeof *episodes);
        if (episodes == NULL) {
            return STATUS_NO_MEMORY;
        }
        data->episodes = episodes;
        *episodes_room = room;
    }
    return STATUS_OK;
}

/* Appends a transition: `pair` is its row and the one that follows. It begins an episode where
 * `first` is set. There is room. */
static void append(struct logged_data *data, const float *pair, bool first)
{
    const size_t W = data->W;
    if (first) {
        data->episodes[data->n_episodes++] = (struct logged_episode){.first = data->n_rows};
    } else {
        data->n_rows--; /* the last row of an episode that goes on is written again, whole */
    }
    struct logged_episode *episode = &data->episodes[data->n_episodes - 1];
    memcpy(data->rows + data->n_rows * W, pair, 2 * W * sizeof *pair);
    /* Of the last row the observation alone is known. */
    memset(data->rows + (data->n_rows + 1) * W + data->O, 0, (W - data->O) * sizeof *pair);
    data->transitions[data->n_transitions++] = data->n_rows;
    data->n_rows += 2;
    episode->T++;
    episode->terminated = pair[W - 1] == 0.0f;
}

static void set_sizes(struct logged_data *data, size_t O, size_t A, size_t K)
{
    data->O = O;
    data->A = A;
    data->K = K;
    data->W = O + A + K + 1;
}

status logged_data_of_rows(struct logged_data *data, size_t O, size_t A, size_t K,
                           const float *rows, const uint32_t *T, size_t n_episodes)
{
    size_t rows_room = 0, episodes_room = 0;
    *data = (struct logged_data){0};
    set_sizes(data, O, A, K);
    for (size_t e = 0; e < n_episodes; e++) {
        for (uint32_t t = 0; t < T[e]; t++) {
            if (reserve(data, &rows_room, &episodes_room) != STATUS_OK) {
                logged_data_fini(data);
                return STATUS_NO_MEMORY;
            }
            append(data, rows + (size_t)t * data->W, t == 0);
        }
        rows += ((size_t)T[e] + 1) * data->W;
    }
    data->version = 1;
    return STATUS_OK;
}

status logged_data_of_states(struct logged_data *data, const struct logged_data *from,
                             const size_t *rows, size_t n)
{
    float *pairs = mem_array(2 * n, from->W * sizeof *pairs);
    uint32_t *T = mem_array(n, sizeof *T);
    status s = pairs == NULL || T == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < n; i++) {
        memcpy(pairs + 2 * i * from->W, logged_row(from, rows[i]), 2 * from->W * sizeof *pairs);
        T[i] = 1;
    }
    s = s != STATUS_OK ? s : logged_data_of_rows(data, from->O, from->A, from->K, pairs, T, n);
    mem_free(pairs);
    mem_free(T);
    return s;
}

/* ---- From the servers ---- */

/* What is read of one server: where it began, by which its end is seen. */
struct reading {
    struct logged_data *data;
    size_t rows_room, episodes_room, max_transitions;
    uint64_t first_episode;
    bool begun, done;
};

/* Takes a batch, as far as it is new. */
static status take(struct reading *reading, const struct replay_batch *batch, const char *table,
                   struct err *err)
{
    struct logged_data *data = reading->data;
    for (uint32_t i = 0; i < batch->snippets && !reading->done; i++) {
        const bool again = reading->begun && batch->origins->first_row[i] == 0 &&
                           batch->origins->episode_id[i] == reading->first_episode;
        if (again) {
            reading->done = true;
            break;
        }
        if (!reading->begun) {
            reading->first_episode = batch->origins->episode_id[i];
            reading->begun = true;
        }
        if (data->n_transitions == reading->max_transitions) {
            return err_set(err, STATUS_TOO_LONG,
                           "table %s: more than %zu transitions: expected at most "
                           "offline_evaluator.max_transitions",
                           table, reading->max_transitions);
        }
        if (reserve(data, &reading->rows_room, &reading->episodes_room) != STATUS_OK) {
            return err_set(err, STATUS_NO_MEMORY, "table %s", table);
        }
        append(data, batch->rows + (size_t)i * 2 * data->W, batch->origins->first_row[i] == 0);
    }
    return STATUS_OK;
}

/* All of one server's table. */
static status read_server(struct reading *reading, struct replay_sampler *sampler,
                          const char *table, struct err *err)
{
    status s = STATUS_OK;
    uint64_t version = 0;
    while (s == STATUS_OK && !reading->done) {
        struct replay_batch *batch;
        s = replay_sampler_next(sampler, &batch, BATCH_MS, err);
        if (s != STATUS_OK) {
            break;
        }
        if (version != 0 && batch->table_version != version) {
            s = err_set(err, STATUS_CORRUPT, "table %s: it has changed while it was read", table);
        } else {
            s = take(reading, batch, table, err);
        }
        version = batch->table_version;
        replay_sampler_return(sampler, batch);
    }
    /* A rotation, so that the order of the servers counts. */
    reading->data->version = (reading->data->version << 1 | reading->data->version >> 63) ^ version;
    return s;
}

status logged_data_load(struct logged_data *data, const struct experiment *experiment,
                        const char *table, struct signature *signature, size_t max_transitions,
                        uint64_t timeout_ms, bool (*stopping)(void *arg), void *stopping_arg,
                        struct err *err)
{
    struct experiment *one = mem_new(sizeof *one);
    if (one == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "table %s", table);
    }
    const struct replay_sampler_options options = {.table = table,
                                                   .batch_snippets = BATCH_TRANSITIONS,
                                                   .snippet_transitions = 1,
                                                   .require_sealed = true,
                                                   .in_order = true};
    struct reading reading = {.data = data, .max_transitions = max_transitions};
    *data = (struct logged_data){0};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < experiment->replay.n; i++) {
        /* One server at a time: each has episodes of its own. */
        *one = *experiment;
        one->replay.n = 1;
        memcpy(one->replay.items[0], experiment->replay.items[i], sizeof one->replay.items[0]);
        struct replay_sampler *sampler;
        s = replay_sampler_open(&sampler, one, signature, &options, timeout_ms, stopping,
                                stopping_arg, err);
        if (s == STATUS_OK) {
            set_sizes(data, signature_observation(signature), signature->A, signature->K);
            reading.begun = reading.done = false;
            s = read_server(&reading, sampler, table, err);
            replay_sampler_close(sampler);
        }
    }
    mem_free(one);
    if (s != STATUS_OK) {
        logged_data_fini(data);
    }
    return s;
}

void logged_data_fini(struct logged_data *data)
{
    mem_free(data->rows);
    mem_free(data->episodes);
    mem_free(data->transitions);
    *data = (struct logged_data){0};
}

/* ---- What is known of it ---- */

void logged_data_returns(const struct logged_data *data, size_t k, double gamma, double *returns)
{
    /* Backwards; the row that follows a transition is the next one's, unless the episode ends. */
    double after = 0;
    for (size_t i = data->n_transitions; i-- > 0;) {
        const size_t row = data->transitions[i];
        const bool last = i + 1 == data->n_transitions || data->transitions[i + 1] != row + 1;
        after = logged_reward(data, row, k) + (last ? 0 : gamma * after);
        returns[i] = after;
    }
}

bool logged_data_is_sparse(const struct logged_data *data, size_t k)
{
    double success = 0;
    for (size_t i = 0; i < data->n_transitions; i++) {
        const size_t row = data->transitions[i];
        const double r = logged_reward(data, row, k);
        if (r == 0) {
            continue;
        }
        const bool ends = logged_discount(data, row) == 0;
        if (r < 0 || !ends || (success != 0 && r != success)) {
            return false;
        }
        success = r;
    }
    return success != 0;
}
