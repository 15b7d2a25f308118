/* An episode is put together from pieces, each of some columns and some rows; then the actions become
 * canonical. Values are read only here, column by column. */
#include "common/logs/episodes/logs_reader.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/elements.h"

/* One part of the rows of an episode and its source: rows first .. first + n of `columns` of the
 * recording become rows row .. row + n of the episode, at offset `at` in each row. */
struct piece {
    const char *key; /* of the mapping, for messages */
    const struct mapping_columns *columns;
    uint64_t first, n;
    uint64_t row;
    uint32_t at;
};

/* Sets an error that names the first of the values of a column that is not finite in the logs or as
 * a float. */
static status not_finite(const double *values, const struct piece *piece,
                         const struct recording_column *column, struct err *err)
{
    uint64_t i = 0;
    while (fabs(values[i]) <= 3e38) {
        i++;
    }
    return err_set(err, STATUS_INVALID,
                   "row %" PRIu64 " of column %s: %s, expected a finite number",
                   piece->first + i / column->width, column->name,
                   isnan(values[i]) ? "no value" : "infinite or too large for a float");
}

/* Copies rows of a column that has floats and needs no scale. Returns NOT_FOUND, and sets no error,
 * if it is not such a column or if there is a bad value to be named. */
static status copy_floats(struct logs_reader *reader, const struct piece *piece,
                          const struct recording_column *column, float *to, size_t W,
                          struct err *err)
{
    if (piece->columns->scale != 1 || piece->columns->offset != 0) {
        return STATUS_NOT_FOUND;
    }
    const status s = logs_cursor_read_floats(reader->cursor, column, piece->first, piece->n, err);
    if (s != STATUS_OK) {
        return s;
    }
    const bool good =
        elements_scatter_floats(to, W, reader->cursor->floats, piece->n, column->width);
    return good || reader->keep_bad ? STATUS_OK : STATUS_NOT_FOUND;
}

/* Copies, scales and checks rows of a column. */
static status copy_column(struct logs_reader *reader, const struct piece *piece,
                          const struct recording_column *column, float *to, size_t W,
                          struct err *err)
{
    status s = copy_floats(reader, piece, column, to, W, err);
    if (s != STATUS_NOT_FOUND) {
        return s;
    }
    s = logs_cursor_read(reader->cursor, column, piece->first, piece->n, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A network would carry NaN or infinity into all of its weights. */
    const bool good = elements_scatter(to, W, reader->cursor->values, piece->n, column->width,
                                       piece->columns->scale, piece->columns->offset);
    return good || reader->keep_bad ? STATUS_OK
                                    : not_finite(reader->cursor->values, piece, column, err);
}

/* Copies, scales and checks one part. Every value must be finite in the logs and as a float. */
static status copy_piece(struct logs_reader *reader, const struct piece *piece,
                         struct episode *episode, struct err *err)
{
    /* Columns are put side by side, each with its own width. */
    uint32_t at = piece->at;
    for (uint32_t i = 0; i < piece->columns->n; i++) {
        const struct recording_column *column =
            recording_find(&reader->cursor->recording, piece->columns->names[i]);
        float *to = &episode->rows[piece->row * episode->W + at];
        const status s = copy_column(reader, piece, column, to, episode->W, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "%s", piece->key);
        }
        at += column->width;
    }
    return STATUS_OK;
}

/* Reads the values of T transitions into cursor->values, for an episode whose rows start at `first`.
 * The single value of a column with one row describes the whole recording (success, for example),
 * so it counts for the last transition, and the others are 0. */
static status read_transitions(struct logs_cursor *cursor, const struct mapping_value *value,
                               uint64_t first, uint64_t T, const char *key, struct err *err)
{
    const struct recording_column *column = recording_find(&cursor->recording, value->column);
    /* The value is read before the buffer is enlarged and overwritten. */
    if (column->rows == 1 && T > 1) {
        status s = logs_cursor_read(cursor, column, 0, 1, err);
        const double last = s == STATUS_OK ? cursor->values[0] : 0;
        if (s == STATUS_OK) {
            s = logs_cursor_reserve(cursor, T, key, err);
        }
        if (s == STATUS_OK) {
            memset(cursor->values, 0, T * sizeof *cursor->values);
            cursor->values[T - 1] = last;
        }
        return s;
    }
    /* With `next`, the values start one row later. */
    const status s =
        logs_cursor_read(cursor, column, first + (value->row == MAPPING_ROW_NEXT), T, err);
    return s == STATUS_OK ? s : err_context(err, s, "%s", key);
}

/* Copies the rewards of all transitions. They are not scaled. */
static status copy_rewards(struct logs_reader *reader, uint64_t first, struct episode *episode,
                           struct err *err)
{
    const struct mapping *mapping = reader->index->mapping;
    /* Rewards follow the action in each row; one component for each task. */
    const uint32_t at = signature_rewards_at(&reader->index->signature);
    for (uint32_t k = 0; k < mapping->K; k++) {
        const struct mapping_value *value = &mapping->reward[k];
        const status s = read_transitions(reader->cursor, value, first, episode->T, "rewards", err);
        if (s != STATUS_OK) {
            return s;
        }
        const double *values = reader->cursor->values;
        for (uint64_t t = 0; t < episode->T; t++) {
            if (!isfinite(values[t]) && !reader->keep_bad) {
                return err_set(err, STATUS_INVALID,
                               "rewards: %s: transition %" PRIu64 " has no value in column %s",
                               mapping->rewards[k], t, value->column);
            }
            episode->rows[t * episode->W + at + k] = (float)values[t];
        }
    }
    return STATUS_OK;
}

/* Stores whether the flag is set at the last of T transitions. Returns INVALID if it is set at an
 * earlier one, since the episode would continue after its end. */
static status read_flag(struct logs_cursor *cursor, const struct mapping_value *flag,
                        uint64_t first, uint64_t T, const char *key, bool *set, struct err *err)
{
    *set = false;
    if (flag->column[0] == 0 || T == 0) {
        return STATUS_OK;
    }
    /* All values are looked at, so that the last one decides and an earlier one is an error. */
    const status s = read_transitions(cursor, flag, first, T, key, err);
    for (uint64_t t = 0; s == STATUS_OK && t < T; t++) {
        const bool here = mapping_is_set(flag, cursor->values[t]);
        if (here && t + 1 < T) {
            return err_set(err, STATUS_INVALID,
                           "%s: column %s is set at transition %" PRIu64
                           ", but the episode continues to %" PRIu64,
                           key, flag->column, t, T - 1);
        }
        *set = here;
    }
    return s;
}

/* Stores the number of transitions of an episode, and whether the last one terminates it. */
static status count_transitions(struct logs_reader *reader, const struct logs_place *place,
                                uint32_t *T, bool *terminated, struct err *err)
{
    const struct mapping *mapping = reader->index->mapping;

    /* Every row is a transition if it has its own next observation; otherwise the last row only
     * holds the observation after the last action, or lacks it. */
    const bool all = mapping->last == MAPPING_LAST_NEXT;
    uint64_t n = place->n - (all ? 0 : 1);
    *terminated = false;
    /* The limit holds before anything is read, because T must fit 32 bits. */
    if (place->n > EPISODE_TRANSITIONS_MAX) {
        return err_set(err, STATUS_INVALID, "%" PRIu64 " rows, expected at most %u", place->n,
                       EPISODE_TRANSITIONS_MAX);
    }
    status s = STATUS_OK;
    if (mapping->last == MAPPING_LAST_NONE) {
        /* The observation after the last row is unknown, so its action is dropped, unless the
         * episode terminates there and nothing after it is used. */
        s = read_flag(reader->cursor, &mapping->terminated, place->first, place->n, "terminated",
                      terminated, err);
        n += *terminated;
    } else {
        s = read_flag(reader->cursor, &mapping->terminated, place->first, n, "terminated",
                      terminated, err);
    }
    /* An episode needs an observation, an action, and what follows it. */
    if (s == STATUS_OK && n == 0) {
        s = err_set(err, STATUS_INVALID, "%" PRIu64 " row is too short for a transition", place->n);
    }
    *T = (uint32_t)n;
    return s;
}

/* Fills the rows of an episode: observations, actions and rewards. */
static status fill(struct logs_reader *reader, const struct logs_place *place,
                   struct episode *episode, struct err *err)
{
    const struct mapping *mapping = reader->index->mapping;
    const uint32_t T = episode->T;
    /* Whether the recording has a row for the observation after the last transition. */
    const bool last_row = mapping->last == MAPPING_LAST_ROW || place->n > T;

    /* `at` is the offset in a row: slices of the observation come first, then the action. */
    uint32_t at = 0;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < mapping->n_slices; i++) {
        const struct piece rows = {
            "observation", &mapping->observation[i], place->first, last_row ? T + 1ull : T, 0, at};
        s = copy_piece(reader, &rows, episode, err);
        if (s == STATUS_OK && !last_row) {
            /* The last observation is in columns of its own. Without such columns the episode has
             * terminated and the observation is not used, so the one before stands in for it. */
            const bool next = mapping->last == MAPPING_LAST_NEXT;
            const struct piece last = {next ? "next_observation" : "observation",
                                       next ? &mapping->next[i] : &mapping->observation[i],
                                       place->first + T - 1,
                                       1,
                                       T,
                                       at};
            s = copy_piece(reader, &last, episode, err);
        }
        at += reader->index->signature.slices[i].size;
    }

    /* Behind the observation comes the action, first in the units of the logs. */
    const uint64_t first = place->first + (mapping->action_row == MAPPING_ROW_NEXT);
    if (s == STATUS_OK) {
        const struct piece actions = {"action", &mapping->action, first, T, 0, at};
        s = copy_piece(reader, &actions, episode, err);
    }
    if (s == STATUS_OK) {
        reader->actions.first_row = first;
        s = episode_actions_to_canonical(&reader->actions, episode, &reader->index->signature, err);
    }
    return s == STATUS_OK ? copy_rewards(reader, place->first, episode, err) : s;
}

/* Sets the discounts: 1, and 0 at a termination, whose row has no successor in the critic's
 * targets. */
static void set_discounts(const struct signature *signature, bool terminated,
                          struct episode *episode)
{
    const uint32_t at = signature_discount_at(signature);
    for (uint32_t t = 0; t < episode->T; t++) {
        episode->rows[(size_t)t * episode->W + at] =
            t + 1 == episode->T && terminated ? 0.0f : 1.0f;
    }
}

status logs_reader_read(struct logs_reader *reader, const struct logs_place *place,
                        struct episode *episode, struct err *err)
{
    const struct signature *signature = &reader->index->signature;
    ASSERT(episode->W == signature_width(signature));

    /* Find out the length, make room for T + 1 rows, and fill them. The action, rewards and
     * discount of the last row stay 0. */
    bool terminated = false;
    uint32_t T = 0;
    episode_clear(episode);
    status s = logs_cursor_seek(reader->cursor, place->file_i, place->recording_i, err);
    if (s == STATUS_OK) {
        s = count_transitions(reader, place, &T, &terminated, err);
    }
    if (s == STATUS_OK) {
        s = episode_reserve(episode, T + 1ull, err);
    }
    if (s == STATUS_OK) {
        memset(episode->rows, 0, (T + 1ull) * episode->W * sizeof *episode->rows);
        episode->T = T;
        s = fill(reader, place, episode, err);
    }
    if (s == STATUS_OK) {
        set_discounts(signature, terminated, episode);
        s = logs_gaps_find(&reader->gaps, reader->cursor, reader->index, place, episode, err);
    }
    /* Rows that somebody cuts around are checked when they are cut. */
    if (s == STATUS_OK && !reader->keep_bad && reader->index->mapping->gaps != MAPPING_GAPS_SPLIT) {
        s = episode_check(episode, signature, err);
    }
    return s;
}
