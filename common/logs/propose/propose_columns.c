/* Roles come from the names (propose_names.h); then the columns of each role are added to the
 * mapping. What is left out or guessed is noted. */
#include "common/logs/propose/propose_columns.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/propose/propose.h"

#define NAMES_MAX 12 /* names that one note lists */

/* ---- roles ---- */

static uint32_t count_role(const struct proposal *p, enum propose_role role)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        n += p->roles[i] == role;
    }
    return n;
}

/* Tells which columns are observations only because nothing is known about their names. */
static void note_guesses(struct proposal *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const char *name = p->recording.columns[i].name;
        if (p->roles[i] != PROPOSE_ROLE_OBSERVATION || propose_names_observation(name)) {
            continue;
        }
        if (n == 0) {
            text_add(p->notes,
                     PROPOSE_CONFIRM "taken for observations, since their names say nothing else:");
        }
        /* Some names are enough to see what is meant; the mapping has all of them. */
        if (n < NAMES_MAX) {
            text_format(p->notes, "%s %s", n == 0 ? "" : ",", name);
        }
        n++;
    }
    if (n > 0) {
        text_add(p->notes, n > NAMES_MAX ? ", ..\n" : "\n");
    }
}

/* All observations must have the same number of rows. Shorter columns, such as a single value for
 * the whole recording, are left out. */
static void drop_other_lengths(struct proposal *p)
{
    /* The largest number of rows is taken for the length of the recording. */
    uint64_t rows = 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        if (p->roles[i] == PROPOSE_ROLE_OBSERVATION && p->recording.columns[i].rows > rows) {
            rows = p->recording.columns[i].rows;
        }
    }
    for (uint32_t i = 0; i < p->recording.n; i++) {
        if (p->roles[i] == PROPOSE_ROLE_OBSERVATION && p->recording.columns[i].rows != rows) {
            p->roles[i] = PROPOSE_ROLE_IGNORED;
            text_format(p->notes,
                        "column \"%s\" is left out: it has %" PRIu64 " rows, others have %" PRIu64
                        "\n",
                        p->recording.columns[i].name, p->recording.columns[i].rows, rows);
        }
    }
}

/* Returns whether the column belongs to a feature of a LeRobot dataset that is images or video. */
static bool is_lerobot_image(const struct proposal *p, const char *name)
{
    const struct lerobot *lerobot = logs_lerobot(p->logs);
    char feature[RECORDING_NAME_SIZE];
    snprintf(feature, sizeof feature, "%.*s", (int)strcspn(name, "/"), name);
    return lerobot != NULL && lerobot_is_image(lerobot, feature);
}

/* In LeRobot datasets the names of observations begin with "observation". What else is not known is
 * left out. */
static void narrow_lerobot(struct proposal *p)
{
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const char *name = p->recording.columns[i].name;
        if (p->roles[i] == PROPOSE_ROLE_OBSERVATION && !propose_names_observation(name)) {
            p->roles[i] = PROPOSE_ROLE_IGNORED;
            text_format(p->notes,
                        "column \"%s\" is left out: its name does not begin with observation\n",
                        name);
        }
    }
}

/* Gives each column of the first recording a role. Columns without numbers are noted, except images
 * of LeRobot, which lerobot_describe names. */
static status assign_roles(struct proposal *p)
{
    p->roles = mem_array(p->recording.n + 1, sizeof *p->roles);
    if (p->roles == NULL) {
        return err_set(p->err, STATUS_NO_MEMORY, "roles of columns");
    }
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const struct recording_column *column = &p->recording.columns[i];
        p->roles[i] = propose_names_role(column);
        if (column->kind != RECORDING_NUMBERS && !is_lerobot_image(p, column->name)) {
            text_format(p->notes, "column \"%s\" is left out: it holds %s\n", column->name,
                        column->kind == RECORDING_TEXT
                            ? "text"
                            : "images or other values that cannot be read");
        }
    }
    if (logs_lerobot(p->logs) != NULL) {
        lerobot_describe(logs_lerobot(p->logs), p->notes);
        narrow_lerobot(p);
    }
    drop_other_lengths(p);
    note_guesses(p);
    return STATUS_OK;
}

/* Sets an error that lists the columns, at most 60 of them. */
static status list_columns(const struct proposal *p, const char *missing)
{
    struct text names = {0};
    for (uint32_t i = 0; i < p->recording.n && i < 60; i++) {
        text_format(&names, "%s%s", i == 0 ? "" : ", ", p->recording.columns[i].name);
    }
    const status s = err_set(p->err, STATUS_INVALID,
                             "%s: no column looks like %s; write a mapping by hand. Columns: %s",
                             logs_path(p->logs, 0), missing, names.bytes ? names.bytes : "none");
    text_fini(&names);
    return s;
}

/* Sets an error for logs without observations that are numbers. */
static status no_observations(const struct proposal *p)
{
    const struct lerobot *lerobot = logs_lerobot(p->logs);
    struct text images = {0};
    if (lerobot != NULL) {
        lerobot_images(lerobot, &images);
    }
    if (images.size == 0) {
        text_fini(&images);
        return list_columns(p, "an observation");
    }
    const status s = err_set(p->err, STATUS_INVALID,
                             "%s: the only observations are images or video (%s), which cannot be "
                             "read: expected a feature of numbers, such as observation.state",
                             lerobot_data(lerobot), images.bytes);
    text_fini(&images);
    return s;
}

/* ---- the mapping ---- */

/* Returns the column with the next observation, such as "next_obs/x" for "obs/x" or
 * "next.observation.x" for "observation.x", or NULL. */
static const struct recording_column *successor_of(const struct proposal *p,
                                                   const struct recording_column *column)
{
    char name[RECORDING_NAME_SIZE + 8];
    snprintf(name, sizeof name, "next_%s", column->name);
    const struct recording_column *found = recording_find(&p->recording, name);
    if (found == NULL) {
        snprintf(name, sizeof name, "next.%s", column->name);
        found = recording_find(&p->recording, name);
    }
    return found != NULL && found->kind == RECORDING_NUMBERS && found->width == column->width
               ? found
               : NULL;
}

/* Adds all observations to the mapping. Neighbouring numbered columns become one slice. */
static status add_slices(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct recording_column *before = NULL;
    /* Columns of the next observation are used only if every observation has one. */
    bool all_next = count_role(p, PROPOSE_ROLE_NEXT_OBSERVATION) > 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const struct recording_column *column = &p->recording.columns[i];
        if (p->roles[i] != PROPOSE_ROLE_OBSERVATION) {
            before = NULL;
            continue;
        }

        /* Start a new slice unless the column continues the one before. */
        if (before == NULL || !propose_names_same_slice(before, column)) {
            if (m->n_slices == SIGNATURE_SLICES_MAX) {
                return err_set(p->err, STATUS_INVALID,
                               "more than %d observation columns that do not belong together: "
                               "write a mapping by hand",
                               SIGNATURE_SLICES_MAX);
            }
            /* "q_0" alone keeps its name; "q_0" and "q_1" together are "q". */
            const bool grouped = i + 1 < p->recording.n &&
                                 p->roles[i + 1] == PROPOSE_ROLE_OBSERVATION &&
                                 propose_names_same_slice(column, &p->recording.columns[i + 1]);
            propose_names_slice(column->name, grouped, m->slices[m->n_slices]);
            m->n_slices++;
        }

        /* A slice and its next observation are filled together, so that their columns
         * correspond. */
        status s = mapping_columns_add(&m->observation[m->n_slices - 1], column->name, p->err);
        const struct recording_column *next = successor_of(p, column);
        if (s == STATUS_OK && next != NULL) {
            s = mapping_columns_add(&m->next[m->n_slices - 1], next->name, p->err);
        }
        if (s != STATUS_OK) {
            return s;
        }
        all_next = all_next && next != NULL;
        before = column;
    }
    m->last = all_next ? MAPPING_LAST_NEXT : MAPPING_LAST_ROW; /* see propose_decisions.c */
    return STATUS_OK;
}

/* Adds all actions to the mapping. Their limits start empty and grow with the values. */
static status add_actions(struct proposal *p)
{
    struct mapping *m = p->mapping;
    /* The order of the columns is the order of the components. */
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const struct recording_column *column = &p->recording.columns[i];
        if (p->roles[i] != PROPOSE_ROLE_ACTION) {
            continue;
        }
        const status s = mapping_columns_add(&m->action, column->name, p->err);
        if (s != STATUS_OK) {
            return s;
        }
        if (column->width > SIGNATURE_ACTIONS_MAX - m->A) {
            return err_set(p->err, STATUS_INVALID, "%s: more than %d action values", column->name,
                           SIGNATURE_ACTIONS_MAX);
        }
        /* An empty interval: any value that is seen becomes both limits. */
        for (uint32_t j = 0; j < column->width; j++, m->A++) {
            m->action_min[m->A] = INFINITY;
            m->action_max[m->A] = -INFINITY;
        }
    }
    return m->A > 0 ? STATUS_OK : list_columns(p, "an action");
}

/* Adds all rewards to the mapping, or success as the only reward. */
static void add_rewards(struct proposal *p)
{
    struct mapping *m = p->mapping;
    /* A single reward needs no name of its own; several are told apart by those of their columns. */
    const uint32_t n = count_role(p, PROPOSE_ROLE_REWARD);
    for (uint32_t i = 0; i < p->recording.n && m->K < SIGNATURE_TASKS_MAX; i++) {
        if (p->roles[i] == PROPOSE_ROLE_REWARD && p->recording.columns[i].width == 1) {
            if (n == 1) {
                memcpy(m->rewards[m->K], "reward", sizeof "reward");
            } else {
                propose_names_slice(p->recording.columns[i].name, false, m->rewards[m->K]);
            }
            proposal_set_value(&m->reward[m->K++], &p->recording.columns[i]);
        }
    }

    /* Logs without rewards often say whether the task succeeded. */
    const struct recording_column *success = proposal_with_role(p, PROPOSE_ROLE_SUCCESS);
    if (m->K == 0 && success != NULL) {
        memcpy(m->rewards[0], "success", sizeof "success");
        proposal_set_value(&m->reward[m->K++], success);
        text_add(p->notes, "no reward is logged: success is used as the reward\n");
    } else if (m->K == 0) {
        text_add(p->notes,
                 "no reward is logged: compute one with restorer.relabel, a Lua script\n");
    }
}

/* Adds the flags that end episodes, and the column that numbers them. `done` is ambiguous and is
 * left to propose_decide. */
static void add_flags(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct recording_column *success = proposal_with_role(p, PROPOSE_ROLE_SUCCESS);
    /* Flags are taken as they are; what they mean for the episodes is decided later. */
    proposal_set_value(&m->timeout, proposal_with_role(p, PROPOSE_ROLE_TIMEOUT));
    proposal_set_value(&m->terminated, proposal_with_role(p, PROPOSE_ROLE_TERMINATED));
    if (m->terminated.column[0] == 0 && success != NULL) {
        proposal_set_value(&m->terminated, success);
        text_add(p->notes, "success ends an episode; every other end counts as a time limit\n");
    }

    /* A single value numbers the recording and does not separate episodes in it. */
    const struct recording_column *episode = proposal_with_role(p, PROPOSE_ROLE_EPISODE);
    if (episode != NULL && episode->width == 1 && episode->rows > 1) {
        m->episodes = MAPPING_BY_COLUMN;
        memcpy(m->episode_column, episode->name, sizeof m->episode_column);
    }
}

status propose_columns(struct proposal *p)
{
    struct log_file *file;
    status s = logs_file(p->logs, 0, &file, p->err);
    if (s == STATUS_OK) {
        s = log_file_describe(file, 0, &p->recording, p->err);
    }
    if (s == STATUS_OK) {
        s = assign_roles(p);
    }
    if (s == STATUS_OK && count_role(p, PROPOSE_ROLE_OBSERVATION) == 0) {
        s = no_observations(p);
    }
    if (s != STATUS_OK) {
        return s;
    }
    snprintf(p->mapping->format, sizeof p->mapping->format, "%s", logs_format(p->logs)->name);
    s = add_slices(p);
    if (s == STATUS_OK) {
        s = add_actions(p);
    }
    if (s == STATUS_OK) {
        add_rewards(p);
        add_flags(p);
    }
    return s;
}
