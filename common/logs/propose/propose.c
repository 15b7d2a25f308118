/* Proposes a mapping in three steps.
 *
 * The first gives each column of the first recording a role, by its name and shape. The second
 * reads the values of all recordings and collects findings: ranges of actions, and where rewards
 * and flags are set. The third decides from the findings how episodes end, in which rows rewards
 * are, and what `done` means. Decisions that the user should check are written to the notes. */
#include "common/logs/propose/propose.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/memory.h"
#include "common/logs/propose/propose_exorl.h"
#include "common/logs/propose/propose_topics.h"

/* What a column is taken for. */
enum role {
    ROLE_OBSERVATION,
    ROLE_NEXT_OBSERVATION,
    ROLE_ACTION,
    ROLE_REWARD,
    ROLE_TERMINATED,
    ROLE_SUCCESS,
    ROLE_DONE, /* the end of an episode, for whatever reason */
    ROLE_TIMEOUT,
    ROLE_DISCOUNT,
    ROLE_EPISODE,
    ROLE_TIME,
    ROLE_IGNORED,
};

/* Roles by name. The name is the last part of the column's name, after '.' or '/', without a
 * trailing number. All other columns of numbers are observations. */
static const struct {
    const char *name;
    enum role role;
} known_names[] = {
    {"action", ROLE_ACTION},
    {"actions", ROLE_ACTION},
    {"act", ROLE_ACTION},
    {"command", ROLE_ACTION},
    {"cmd", ROLE_ACTION},
    {"control", ROLE_ACTION},
    {"ctrl", ROLE_ACTION},
    {"tau", ROLE_ACTION},
    {"u", ROLE_ACTION},
    {"setpoint", ROLE_ACTION},
    {"reward", ROLE_REWARD},
    {"rewards", ROLE_REWARD},
    {"terminated", ROLE_TERMINATED},
    {"terminations", ROLE_TERMINATED},
    {"terminal", ROLE_TERMINATED},
    {"terminals", ROLE_TERMINATED},
    {"is_terminal", ROLE_TERMINATED},
    {"success", ROLE_SUCCESS},
    {"is_success", ROLE_SUCCESS},
    {"done", ROLE_DONE},
    {"dones", ROLE_DONE},
    {"timeout", ROLE_TIMEOUT},
    {"timeouts", ROLE_TIMEOUT},
    {"truncated", ROLE_TIMEOUT},
    {"truncations", ROLE_TIMEOUT},
    {"discount", ROLE_DISCOUNT},
    {"discounts", ROLE_DISCOUNT},
    {"episode", ROLE_EPISODE},
    {"episode_index", ROLE_EPISODE},
    {"episode_id", ROLE_EPISODE},
    {"trajectory", ROLE_EPISODE},
    {"traj_id", ROLE_EPISODE},
    {"demo", ROLE_EPISODE},
    {"t", ROLE_TIME},
    {"time", ROLE_TIME},
    {"time_s", ROLE_TIME},
    {"timestamp", ROLE_TIME},
    {"timestamps", ROLE_TIME},
    {"stamp", ROLE_TIME},
    {"index", ROLE_IGNORED},
    {"frame_index", ROLE_IGNORED},
    {"step", ROLE_IGNORED},
    {"step_type", ROLE_IGNORED},
    {"task_index", ROLE_IGNORED},
};

/* Roles by prefix of the whole name. They take precedence. */
static const struct {
    const char *prefix;
    enum role role;
} known_prefixes[] = {
    {"next_obs", ROLE_NEXT_OBSERVATION},
    {"next.obs", ROLE_NEXT_OBSERVATION},
    {"action", ROLE_ACTION},
    {"infos/", ROLE_IGNORED},
    {"metadata/", ROLE_IGNORED},
};

/* What observations are called in the layouts that name them. */
static const char *const observation_names[] = {"obs", "observation", "observations", "state"};

#define NAMES_MAX 12 /* names that one note lists */

/* A proposal in the making. */
struct proposal {
    struct logs *logs;
    struct mapping *mapping;
    struct text *notes;
    struct err *err;
    struct recording recording; /* the first recording of the first file */
    enum role *roles;           /* roles of its columns */
    unsigned char *ends;        /* (n_ends) last rows of episodes, if a column numbers them */
    uint64_t n_ends;
};

/* ---- roles of columns ---- */

/* Stores the last part of a name without a trailing number: "tau" for "obs/tau_0" and "q" for
 * "q[3]". */
static void stem_of(const char *name, char stem[RECORDING_NAME_SIZE])
{
    /* The last part starts after the last separator that is not at the very end. */
    const char *last = name;
    for (const char *at = name; *at != 0; at++) {
        if ((*at == '/' || *at == '.') && at[1] != 0) {
            last = at + 1;
        }
    }

    /* Cut off the digits and what joins them to the name, unless nothing would be left. */
    snprintf(stem, RECORDING_NAME_SIZE, "%s", last);
    size_t n = strlen(stem);
    while (n > 0 && (isdigit((unsigned char)stem[n - 1]) || stem[n - 1] == ']')) {
        n--;
    }
    while (n > 0 && n < strlen(stem) && (stem[n - 1] == '_' || stem[n - 1] == '[')) {
        n--;
    }
    if (n > 0) {
        stem[n] = 0;
    }
}

/* Returns whether the name says that a column is an observation: "obs/x", "observations". */
static bool is_named_observation(const char *name)
{
    for (size_t i = 0; i < sizeof observation_names / sizeof observation_names[0]; i++) {
        const size_t n = strlen(observation_names[i]);
        if (strncasecmp(name, observation_names[i], n) == 0 && strchr("/.", name[n]) != NULL) {
            return true; /* strchr finds the 0 at the end of a name, too */
        }
    }
    return false;
}

/* Tells which columns are observations only because nothing is known about their names. */
static void note_guesses(struct proposal *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const char *name = p->recording.columns[i].name;
        if (p->roles[i] != ROLE_OBSERVATION || is_named_observation(name)) {
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

bool propose_is_certain(const struct text *notes, char *guess, size_t size)
{
    const char *line = notes->bytes;
    while (line != NULL && strncmp(line, PROPOSE_CONFIRM, strlen(PROPOSE_CONFIRM)) != 0) {
        const char *end = strchr(line, '\n');
        line = end != NULL && end[1] != '\0' ? end + 1 : NULL;
    }
    if (line != NULL) {
        line += strlen(PROPOSE_CONFIRM);
        snprintf(guess, size, "%.*s", (int)strcspn(line, "\n"), line);
    }
    return line == NULL;
}

/* Returns the role that the name of a column suggests. Case does not matter. */
static enum role role_of(const struct recording_column *column)
{
    char stem[RECORDING_NAME_SIZE];
    if (column->kind != RECORDING_NUMBERS) {
        return ROLE_IGNORED;
    }
    /* A prefix is compared with the whole name, since "next_obs/action" is no action. */
    for (size_t i = 0; i < sizeof known_prefixes / sizeof known_prefixes[0]; i++) {
        const char *prefix = known_prefixes[i].prefix;
        if (strncasecmp(column->name, prefix, strlen(prefix)) == 0) {
            return known_prefixes[i].role;
        }
    }
    /* A name that nothing is known about is an observation: it is easier to delete a line than to
     * notice that one is missing. */
    stem_of(column->name, stem);
    for (size_t i = 0; i < sizeof known_names / sizeof known_names[0]; i++) {
        if (strcasecmp(stem, known_names[i].name) == 0) {
            return known_names[i].role;
        }
    }
    return ROLE_OBSERVATION;
}

static uint32_t count_role(const struct proposal *p, enum role role)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        n += p->roles[i] == role;
    }
    return n;
}

/* Returns the first column with a role, or NULL. */
static const struct recording_column *with_role(const struct proposal *p, enum role role)
{
    for (uint32_t i = 0; i < p->recording.n; i++) {
        if (p->roles[i] == role) {
            return &p->recording.columns[i];
        }
    }
    return NULL;
}

/* All observations must have the same number of rows. Shorter columns, such as a single value for
 * the whole recording, are left out. */
static void drop_other_lengths(struct proposal *p)
{
    /* The largest number of rows is taken for the length of the recording. */
    uint64_t rows = 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        if (p->roles[i] == ROLE_OBSERVATION && p->recording.columns[i].rows > rows) {
            rows = p->recording.columns[i].rows;
        }
    }
    for (uint32_t i = 0; i < p->recording.n; i++) {
        if (p->roles[i] == ROLE_OBSERVATION && p->recording.columns[i].rows != rows) {
            p->roles[i] = ROLE_IGNORED;
            text_format(p->notes,
                        "column \"%s\" is left out: it has %" PRIu64 " rows, others have %" PRIu64
                        "\n",
                        p->recording.columns[i].name, p->recording.columns[i].rows, rows);
        }
    }
}

/* Makes the name of a slice from that of a column: "encoder" for "obs/encoder". Characters other
 * than [a-zA-Z0-9_./-] are replaced. `grouped` drops the number of the column. */
static void slice_name(const char *column, bool grouped, char name[SIGNATURE_NAME_SIZE])
{
    static const char *const prefixes[] = {"obs/", "observations/", "observation/", "observation."};
    char stem[RECORDING_NAME_SIZE];
    const char *from = column;
    /* The prefix says only that the column is an observation, which its place in the mapping says,
     * too. */
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(column, prefixes[i], strlen(prefixes[i])) == 0) {
            from = column + strlen(prefixes[i]);
        }
    }

    if (grouped) {
        stem_of(from, stem);
        from = stem;
    }
    size_t n = 0;
    for (; from[n] != 0 && n + 1 < SIGNATURE_NAME_SIZE; n++) {
        const unsigned char c = (unsigned char)from[n];
        name[n] = (char)(isalnum(c) || strchr("_./-", c) != NULL ? c : '_');
    }
    name[n] = 0;
}

/* Returns whether two columns are numbered parts of one slice, such as "q_0" and "q_1". */
static bool same_group(const struct recording_column *a, const struct recording_column *b)
{
    /* Only single values are joined: a column with several values is a slice already. */
    char stem_a[RECORDING_NAME_SIZE], stem_b[RECORDING_NAME_SIZE];
    stem_of(a->name, stem_a);
    stem_of(b->name, stem_b);
    const size_t n = strlen(a->name);
    return a->width == 1 && b->width == 1 && strcmp(stem_a, stem_b) == 0 && n > 0 &&
           (isdigit((unsigned char)a->name[n - 1]) || a->name[n - 1] == ']');
}

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
    bool all_next = count_role(p, ROLE_NEXT_OBSERVATION) > 0;
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const struct recording_column *column = &p->recording.columns[i];
        if (p->roles[i] != ROLE_OBSERVATION) {
            before = NULL;
            continue;
        }

        /* Start a new slice unless the column continues the one before. */
        if (before == NULL || !same_group(before, column)) {
            if (m->n_slices == SIGNATURE_SLICES_MAX) {
                return err_set(p->err, STATUS_INVALID,
                               "more than %d observation columns that do not belong together: "
                               "write a mapping by hand",
                               SIGNATURE_SLICES_MAX);
            }
            /* "q_0" alone keeps its name; "q_0" and "q_1" together are "q". */
            const bool grouped = i + 1 < p->recording.n && p->roles[i + 1] == ROLE_OBSERVATION &&
                                 same_group(column, &p->recording.columns[i + 1]);
            slice_name(column->name, grouped, m->slices[m->n_slices]);
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
    m->last = all_next ? MAPPING_LAST_NEXT : MAPPING_LAST_ROW; /* see decide_episodes */
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

/* Adds all actions to the mapping. Their limits start empty and grow with the values. */
static status add_actions(struct proposal *p)
{
    struct mapping *m = p->mapping;
    /* The order of the columns is the order of the components. */
    for (uint32_t i = 0; i < p->recording.n; i++) {
        const struct recording_column *column = &p->recording.columns[i];
        if (p->roles[i] != ROLE_ACTION) {
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

/* Sets the column of a reward or flag; NULL leaves it as it is, which means not logged. */
static void set_value(struct mapping_value *value, const struct recording_column *column)
{
    if (column != NULL) {
        memcpy(value->column, column->name, sizeof value->column);
    }
}

/* Adds all rewards to the mapping, or success as the only reward. */
static void add_rewards(struct proposal *p)
/* A single reward needs no name of its own; several are told apart by those of their columns. */
{
    struct mapping *m = p->mapping;
    const uint32_t n = count_role(p, ROLE_REWARD);
    for (uint32_t i = 0; i < p->recording.n && m->K < SIGNATURE_TASKS_MAX; i++) {
        if (p->roles[i] == ROLE_REWARD && p->recording.columns[i].width == 1) {
            if (n == 1) {
                memcpy(m->rewards[m->K], "reward", sizeof "reward");
            } else {
                slice_name(p->recording.columns[i].name, false, m->rewards[m->K]);
            }
            set_value(&m->reward[m->K++], &p->recording.columns[i]);
        }
    }

    /* Logs without rewards often say whether the task succeeded. */
    const struct recording_column *success = with_role(p, ROLE_SUCCESS);
    if (m->K == 0 && success != NULL) {
        memcpy(m->rewards[0], "success", sizeof "success");
        set_value(&m->reward[m->K++], success);
        text_add(p->notes, "no reward is logged: success is used as the reward\n");
    } else if (m->K == 0) {
        text_add(p->notes,
                 "no reward is logged: compute one with restorer.relabel, a Lua script\n");
    }
}

/* Adds the flags that end episodes, and the column that numbers them. `done` is ambiguous and is
 * handled by decide_done. */
static void add_flags(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct recording_column *success = with_role(p, ROLE_SUCCESS);
    /* Flags are taken as they are; what they mean for the episodes is decided later. */
    set_value(&m->timeout, with_role(p, ROLE_TIMEOUT));
    set_value(&m->terminated, with_role(p, ROLE_TERMINATED));
    if (m->terminated.column[0] == 0 && success != NULL) {
        set_value(&m->terminated, success);
        text_add(p->notes, "success ends an episode; every other end counts as a time limit\n");
    }

    /* A single value numbers the recording and does not separate episodes in it. */
    const struct recording_column *episode = with_role(p, ROLE_EPISODE);
    if (episode != NULL && episode->width == 1 && episode->rows > 1) {
        m->episodes = MAPPING_BY_COLUMN;
        memcpy(m->episode_column, episode->name, sizeof m->episode_column);
    }
}

/* ---- values ---- */

/* What is known from the values of all recordings. */
struct findings {
    uint64_t recordings;
    bool flags_inside;     /* a flag is set before the last row of some recording */
    bool shorter_actions;  /* every recording has one action fewer than observations */
    bool empty_last;       /* the action in the last row of every recording has no value */
    bool last_row_nonzero; /* the last row of some recording has a reward or flag other than 0 */
    bool last_row_valued;  /* the last row of some recording has a value for a reward or flag */
    bool sparse;           /* rewards are 0 except in the last row of a recording */
    bool all_done;         /* `done` is set in the last row of every recording */
    double period;         /* control period from the time column; NaN: unknown */
};

/* Returns the values (rows, width) of a column, to be released with mem_free, or NULL with *s and
 * the error set. */
static double *read_column(struct proposal *p, struct log_file *file, uint64_t recording_i,
                           const struct recording_column *column, status *s)
{
    /* The size is checked first: a recording may be larger than memory. */
    const uint64_t n = column->rows * column->width;
    double *values = NULL;
    if (n > LOG_FILE_BYTES_MAX / sizeof *values) {
        *s = err_set(p->err, STATUS_INVALID, "%s: too large to read", column->name);
    } else if ((values = mem_array(n > 0 ? n : 1, sizeof *values)) == NULL) {
        *s = err_set(p->err, STATUS_NO_MEMORY, "%s", column->name);
    } else {
        *s = log_file_read(file, recording_i, column, 0, column->rows, values, p->err);
    }
    if (*s != STATUS_OK) {
        mem_free(values);
        return NULL;
    }
    return values;
}

/* Finds the last rows of episodes in the recording, if a column numbers them. */
static status find_ends(struct proposal *p, struct log_file *file, uint64_t recording_i,
                        const struct recording *recording)
{
    mem_free(p->ends);
    p->ends = NULL;
    const struct recording_column *column =
        p->mapping->episodes == MAPPING_BY_COLUMN
            ? recording_find(recording, p->mapping->episode_column)
            : NULL;
    if (column == NULL || column->kind != RECORDING_NUMBERS || column->width != 1) {
        return STATUS_OK;
    }
    status s;
    double *values = read_column(p, file, recording_i, column, &s);
    if (values == NULL) {
        return s;
    }
    p->ends = mem_array(column->rows + 1, 1);
    p->n_ends = column->rows;
    if (p->ends == NULL) {
        s = err_set(p->err, STATUS_NO_MEMORY, "ends of episodes");
    }
    for (uint64_t t = 0; s == STATUS_OK && t + 1 < column->rows; t++) {
        p->ends[t] = values[t] != values[t + 1];
    }
    mem_free(values);
    return s;
}

/* Returns whether row t of n is the last of the recording, or of an episode. */
static bool is_last(const struct proposal *p, uint64_t t, uint64_t n)
{
    return t + 1 == n || (p->ends != NULL && t < p->n_ends && p->ends[t] != 0);
}

/* Widens the limits of the actions, and checks whether the last row has an action. */
static status look_at_actions(struct proposal *p, struct log_file *file, uint64_t recording_i,
                              const struct recording *recording, uint64_t rows,
                              struct findings *found)
{
    struct mapping *m = p->mapping;
    /* `at` is the component with which the column begins. */
    uint32_t at = 0;
    for (uint32_t i = 0; i < m->action.n; i++) {
        const struct recording_column *column = recording_find(recording, m->action.names[i]);
        if (column == NULL || column->kind != RECORDING_NUMBERS) {
            return err_set(p->err, STATUS_INVALID, "recording %" PRIu64 ": no column \"%s\"",
                           recording_i, m->action.names[i]);
        }
        status s;
        double *values = read_column(p, file, recording_i, column, &s);
        if (values == NULL) {
            return s;
        }

        /* A recording may have wider columns than the first; the mapping is refused later. */
        for (uint64_t t = 0; t < column->rows; t++) {
            for (uint32_t j = 0; j < column->width && at + j < m->A; j++) {
                const double value = values[t * column->width + j];
                if (isfinite(value)) {
                    m->action_min[at + j] = fmin(m->action_min[at + j], value);
                    m->action_max[at + j] = fmax(m->action_max[at + j], value);
                }
            }
        }

        /* These hold only if they hold for all columns of all recordings. */
        found->shorter_actions &= column->rows + 1 == rows;
        found->empty_last &=
            column->rows == rows && rows > 0 && isnan(values[(rows - 1) * column->width]);
        at += column->width;
        mem_free(values);
    }
    return STATUS_OK;
}

/* Finds where in the recording a reward or a flag is set. `ends`: the value marks the end of an
 * episode. */
static status look_at_value(struct proposal *p, struct log_file *file, uint64_t recording_i,
                            const struct recording *recording, const char *name, uint64_t rows,
                            bool ends, bool is_reward, struct findings *found)
{
    /* A column that is missing or of another shape says nothing; the mapping is checked later. */
    const struct recording_column *column = recording_find(recording, name);
    if (column == NULL || column->kind != RECORDING_NUMBERS || column->width != 1 ||
        column->rows == 0) {
        return STATUS_OK;
    }
    status s;
    double *values = read_column(p, file, recording_i, column, &s);
    if (values == NULL) {
        return s;
    }

    /* The last row is looked at separately, since it may lie behind the last action. It does where
     * it has no value; the row before it is then the last one of an action. */
    const double last = values[column->rows - 1];
    const uint64_t n = column->rows - (isnan(last) && column->rows > 1);
    for (uint64_t t = 0; t < n; t++) {
        const bool is_end = is_last(p, t, n);
        found->flags_inside |= !is_end && ends && values[t] > 0;
        found->sparse &= is_end || !is_reward || values[t] == 0;
    }
    if (column->rows == rows && rows > 1) {
        found->last_row_nonzero |= isfinite(last) && last != 0;
        found->last_row_valued |= isfinite(last);
    }
    mem_free(values);
    return STATUS_OK;
}

/* Finds where `done` is set. */
static status look_at_done(struct proposal *p, struct log_file *file, uint64_t recording_i,
                           const struct recording *recording, struct findings *found)
{
    /* The column is known by its role in the first recording, and looked up by name in this one. */
    const struct recording_column *first = with_role(p, ROLE_DONE);
    const struct recording_column *column =
        first == NULL ? NULL : recording_find(recording, first->name);
    if (column == NULL || column->kind != RECORDING_NUMBERS || column->rows == 0) {
        found->all_done = false;
        return STATUS_OK;
    }
    status s;
    double *values = read_column(p, file, recording_i, column, &s);
    if (values == NULL) {
        return s;
    }
    /* Set in the last row only, `done` says that a recording is an episode. */
    for (uint64_t t = 0; t < column->rows; t++) {
        const bool is_end = is_last(p, t, column->rows);
        found->all_done &= !is_end || values[t] > 0;
        found->flags_inside |= !is_end && values[t] > 0;
    }
    mem_free(values);
    return STATUS_OK;
}

/* Estimates the control period from the time column of the first recording that has one. */
static status look_at_time(struct proposal *p, struct log_file *file, uint64_t recording_i,
                           const struct recording *recording, struct findings *found)
{
    /* Later recordings are not asked once the period is known. */
    const struct recording_column *first = with_role(p, ROLE_TIME);
    const struct recording_column *column =
        first == NULL ? NULL : recording_find(recording, first->name);
    if (!isnan(found->period) || column == NULL || column->kind != RECORDING_NUMBERS ||
        column->rows < 2 || column->width != 1) {
        return STATUS_OK;
    }
    status s;
    double *values = read_column(p, file, recording_i, column, &s);
    if (values != NULL) {
        /* The mean over the recording if it is one episode, since the clock may jump between
         * episodes; otherwise the difference of the first two rows. */
        const bool rising = values[column->rows - 1] > values[0] && !found->flags_inside &&
                            p->mapping->episodes == MAPPING_BY_RECORDING;
        found->period = rising ? (values[column->rows - 1] - values[0]) / (double)(column->rows - 1)
                               : values[1] - values[0];
        mem_free(values);
    }
    return s;
}

/* Collects the findings of one recording. Columns are found by name, since recordings may order
 * them differently. */
static status look_at_recording(struct proposal *p, struct log_file *file, uint64_t recording_i,
                                struct recording *recording, struct findings *found)
{
    const struct mapping *m = p->mapping;
    /* The first observation column stands for the length of the recording. */
    status s = log_file_describe(file, recording_i, recording, p->err);
    const struct recording_column *observation =
        s == STATUS_OK ? recording_find(recording, m->observation[0].names[0]) : NULL;
    if (s == STATUS_OK && observation == NULL) {
        s = err_set(p->err, STATUS_INVALID, "recording %" PRIu64 ": no column \"%s\"", recording_i,
                    m->observation[0].names[0]);
    }

    /* Everything in the mapping so far is looked at: actions, rewards, flags, and the time. */
    const uint64_t rows = observation != NULL ? observation->rows : 0;
    if (s == STATUS_OK) {
        s = find_ends(p, file, recording_i, recording);
    }
    if (s == STATUS_OK) {
        s = look_at_actions(p, file, recording_i, recording, rows, found);
    }
    for (uint32_t k = 0; s == STATUS_OK && k < m->K; k++) {
        s = look_at_value(p, file, recording_i, recording, m->reward[k].column, rows, false, true,
                          found);
    }
    if (s == STATUS_OK) {
        s = look_at_value(p, file, recording_i, recording, m->terminated.column, rows, true, false,
                          found);
    }
    if (s == STATUS_OK) {
        s = look_at_value(p, file, recording_i, recording, m->timeout.column, rows, true, false,
                          found);
    }
    if (s == STATUS_OK) {
        s = look_at_done(p, file, recording_i, recording, found);
    }
    if (s == STATUS_OK) {
        s = look_at_time(p, file, recording_i, recording, found);
    }
    found->recordings++;
    return s;
}

/* Collects the findings of all recordings. */
static status look_at_all(struct proposal *p, struct findings *found)
{
    /* One description is used for all recordings, to save its memory. */
    struct recording recording = {0};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < logs_n_files(p->logs); i++) {
        struct log_file *file;
        s = logs_file(p->logs, i, &file, p->err);
        const uint64_t n = s == STATUS_OK ? log_file_recordings(file) : 0;
        for (uint64_t j = 0; s == STATUS_OK && j < n; j++) {
            s = look_at_recording(p, file, j, &recording, found);
            if (s != STATUS_OK) {
                (void)err_context(p->err, s, "%s", logs_path(p->logs, i));
            }
        }
    }
    recording_fini(&recording);
    return s;
}

/* ---- decisions ---- */

/* Decides how episodes are told apart and where their last observation is.
 *
 * A flag that is set before the last row means that a recording has several episodes. Logs of this
 * kind have no extra row after each episode, so only columns of the next observation can hold the
 * last observation. */
static void decide_episodes(struct proposal *p, const struct findings *found)
{
    struct mapping *m = p->mapping;
    if (m->episodes == MAPPING_BY_RECORDING && found->flags_inside) {
        m->episodes = MAPPING_BY_FLAGS;
        text_add(p->notes, "a recording has several episodes: each ends where a flag is set\n");
    }

    /* Columns of the next observation settle the question. Otherwise a recording that is one
     * episode has its last observation in a row without an action, if it has such a row. */
    if (m->last == MAPPING_LAST_NEXT) {
        return;
    }
    if (m->episodes == MAPPING_BY_RECORDING && (found->shorter_actions || found->empty_last)) {
        m->last = MAPPING_LAST_ROW;
        return;
    }
    m->last = MAPPING_LAST_NONE;
    text_add(p->notes, "the observation after the last action is not logged: that action is left "
                       "out, unless the episode terminates there\n");
}

/* Decides in which row the reward and flags of an action are.
 *
 * Some logs write what an action led to into the next row, together with the next observation:
 *
 *     x0 a0 -      instead of    x0 a0 r0
 *     x1 a1 r0                   x1 a1 r1
 *     x2 -  r1                   x2 -  -
 */
static void decide_rows(struct proposal *p, const struct findings *found)
{
    struct mapping *m = p->mapping;
    /* The last row has no action, so a reward or flag in it belongs to the action before. */
    if (m->last != MAPPING_LAST_ROW || !found->last_row_valued) {
        return;
    }
    for (uint32_t k = 0; k < m->K; k++) {
        m->reward[k].row = MAPPING_ROW_NEXT;
    }
    m->terminated.row = m->timeout.row = MAPPING_ROW_NEXT;
    text_add(p->notes, found->last_row_nonzero
                           ? "the reward and flags of an action are in the row after it\n"
                           : PROPOSE_CONFIRM
                           "the reward and flags of an action are taken from the row after it, "
                           "since the last row has them but no action\n");
}

/* Where nothing else says so, an episode terminates where its last discount is 0. */
static void decide_discount(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct recording_column *discount = with_role(p, ROLE_DISCOUNT);
    if (discount == NULL || discount->width != 1 || m->terminated.column[0] != 0) {
        return;
    }
    set_value(&m->terminated, discount);
    m->terminated.is_below = true;
    m->terminated.above = 0.5;
    text_format(p->notes, "an episode terminates where its last \"%s\" is below 0.5\n",
                discount->name);
}

/* Decides what `done` means, unless the logs have a flag for terminations.
 *
 * Taking a time limit for a termination would teach the critic that nothing follows the last state,
 * so in doubt `done` is treated as a time limit. */
static void decide_done(struct proposal *p, const struct findings *found)
{
    struct mapping *m = p->mapping;
    const struct recording_column *done = with_role(p, ROLE_DONE);
    if (done == NULL || m->terminated.column[0] != 0) {
        return;
    }

    /* `done` is a termination if some recordings end without it, or if time limits have a flag of
     * their own. */
    if (!found->all_done || m->timeout.column[0] != 0) {
        set_value(&m->terminated, done);
        return;
    }
    /* Set at the end of every recording, `done` does not tell a termination from a time limit. */
    if (found->sparse && m->K > 0) {
        /* A sparse reward marks success, which is the reason to terminate. */
        m->terminated = m->reward[0];
        text_format(p->notes,
                    "\"%s\" is set at the end of every episode, whatever its outcome: an episode "
                    "is taken to terminate where its reward is above 0\n",
                    done->name);
    } else {
        text_format(
            p->notes,
            "\"%s\" is set at the end of every episode: it counts as a time limit; if it means "
            "a termination, write terminated: %s\n",
            done->name, done->name);
    }
}

/* Says so if these are files of a dataset of ours or of Minari without their metadata, which has the
 * limits of the actions. */
static void note_lost_metadata(struct proposal *p)
{
    static const char *const names[] = {"actions", "rewards", "terminations", "truncations"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (recording_find(&p->recording, names[i]) == NULL) {
            return;
        }
    }
    text_add(p->notes, PROPOSE_CONFIRM
             "these look like files of a dataset whose metadata.json, with the limits of the "
             "actions, is missing\n");
}

/* Completes the limits of the actions, which so far are the range of the logged values. A component
 * that never changes gets an interval around its value, since the minimum must be below the
 * maximum. */
static void decide_limits(struct proposal *p)
{
    struct mapping *m = p->mapping;
    /* A component without any finite value has infinite limits, and is treated as 0. */
    for (uint32_t i = 0; i < m->A; i++) {
        if (!(m->action_min[i] < m->action_max[i])) {
            const double value = isfinite(m->action_min[i]) ? m->action_min[i] : 0;
            text_format(p->notes,
                        PROPOSE_CONFIRM "action %u never changes (%g): its limits are a guess\n", i,
                        value);
            m->action_min[i] = value - 1;
            m->action_max[i] = value + 1;
        }
    }
    text_add(p->notes,
             "action limits are the smallest and largest values in the logs: replace them by "
             "those of the actuators, if known\n");
}

/* Sets the control period, rounded to four digits, if it is plausible. */
static void decide_period(struct proposal *p, const struct findings *found)
{
    const struct lerobot *lerobot = logs_lerobot(p->logs);
    if (lerobot != NULL) {
        p->mapping->control_period_s = 1 / lerobot_fps(lerobot);
        return;
    }
    /* The mean of time stamps has more digits than anyone would write. */
    if (isfinite(found->period) && found->period > 0 && found->period < 100) {
        char rounded[32];
        snprintf(rounded, sizeof rounded, "%.4g", found->period);
        p->mapping->control_period_s = strtod(rounded, NULL);
    } else {
        text_add(p->notes, "the control period is unknown: set it, in seconds\n");
    }
}

/* Counts the gaps between the times of one recording. False: it has no such column of times. */
static status count_gaps(struct proposal *p, struct log_file *file, uint64_t recording_i,
                         struct recording *recording, const char *name, uint64_t *gaps, bool *has)
{
    const struct mapping *m = p->mapping;
    status s = log_file_describe(file, recording_i, recording, p->err);
    if (s != STATUS_OK) {
        return s;
    }
    /* One time for each row, also in later recordings, or the mapping would not fit them. */
    const struct recording_column *time = recording_find(recording, name);
    const struct recording_column *first = recording_find(recording, m->observation[0].names[0]);
    *has = time != NULL && time->kind == RECORDING_NUMBERS && time->width == 1 && first != NULL &&
           time->rows == first->rows;
    if (!*has || m->episodes != MAPPING_BY_RECORDING) {
        return STATUS_OK; /* between two episodes of a recording the clock may jump */
    }
    double *values = read_column(p, file, recording_i, time, &s);
    for (uint64_t t = 1; values != NULL && t < time->rows; t++) {
        const double seconds = values[t] - values[t - 1];
        *gaps += seconds > m->gap_periods * m->control_period_s || seconds <= 0;
    }
    mem_free(values);
    return s;
}

/* Names the column of times if the period comes from one, and warns of gaps. */
static status decide_time(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct recording_column *time = with_role(p, ROLE_TIME);
    struct recording recording = {0};
    bool has = time != NULL && m->control_period_s > 0;
    uint64_t gaps = 0;
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && has && i < logs_n_files(p->logs); i++) {
        struct log_file *file;
        s = logs_file(p->logs, i, &file, p->err);
        const uint64_t n = s == STATUS_OK ? log_file_recordings(file) : 0;
        for (uint64_t j = 0; s == STATUS_OK && has && j < n; j++) {
            s = count_gaps(p, file, j, &recording, time->name, &gaps, &has);
        }
    }
    recording_fini(&recording);
    if (s == STATUS_OK && has) {
        snprintf(m->time_column, sizeof m->time_column, "%s", time->name);
    }
    if (s == STATUS_OK && gaps > 0) {
        text_format(p->notes,
                    "time gaps: %" PRIu64
                    " intervals between rows are much longer than the control "
                    "period, or not positive; time_gaps: split cuts the episodes there\n",
                    gaps);
    }
    return s;
}

/* Decides what the layout of Minari's Arrow form says: files are episodes, with a last row that has
 * no action, and the space of the actions has their limits. */
static void decide_minari(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct signature *limits = minari_logs_limits(logs_minari(p->logs));
    m->episodes = MAPPING_BY_RECORDING;
    m->last = MAPPING_LAST_ROW;
    text_add(p->notes, "Minari's Arrow form: each file is an episode\n");
    /* Parts of a Dict may be in another order than in the metadata. */
    if (limits == NULL || m->action.n != 1 || m->A != limits->A) {
        decide_limits(p);
    } else {
        for (uint32_t i = 0; i < m->A; i++) {
            m->action_min[i] = (double)limits->action_min[i];
            m->action_max[i] = (double)limits->action_max[i];
        }
    }
    text_add(p->notes, "the control period is unknown: set it, in seconds\n");
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
        if (p->roles[i] == ROLE_OBSERVATION && !is_named_observation(name)) {
            p->roles[i] = ROLE_IGNORED;
            text_format(p->notes,
                        "column \"%s\" is left out: its name does not begin with observation\n",
                        name);
        }
    }
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

/* The three steps. On an error the caller releases the mapping, which may be filled in part. */
static status propose(struct proposal *p)
{
    /* Roles from the columns of the first recording. */
    struct log_file *file;
    status s = logs_file(p->logs, 0, &file, p->err);
    if (s == STATUS_OK) {
        s = log_file_describe(file, 0, &p->recording, p->err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    p->roles = mem_array(p->recording.n + 1, sizeof *p->roles);
    if (p->roles == NULL) {
        return err_set(p->err, STATUS_NO_MEMORY, "roles of columns");
    }
    for (uint32_t i = 0; i < p->recording.n; i++) {
        p->roles[i] = role_of(&p->recording.columns[i]);
        if (p->recording.columns[i].kind != RECORDING_NUMBERS &&
            !is_lerobot_image(p, p->recording.columns[i].name)) {
            text_format(p->notes, "column \"%s\" is left out: it holds %s\n",
                        p->recording.columns[i].name,
                        p->recording.columns[i].kind == RECORDING_TEXT
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
    if (count_role(p, ROLE_OBSERVATION) == 0) {
        return no_observations(p);
    }

    /* The mapping is built from names and shapes alone; nothing has been read so far. */
    snprintf(p->mapping->format, sizeof p->mapping->format, "%s", logs_format(p->logs)->name);
    s = add_slices(p);
    if (s == STATUS_OK) {
        s = add_actions(p);
    }
    if (s != STATUS_OK) {
        return s;
    }
    add_rewards(p);
    add_flags(p);

    /* Findings from the values of all recordings. */
    struct findings found = {.shorter_actions = true,
                             .empty_last = true,
                             .sparse = true,
                             .all_done = true,
                             .period = NAN};
    s = look_at_all(p, &found);
    if (s == STATUS_OK && logs_minari(p->logs) != NULL) {
        decide_minari(p);
        return s;
    }
    /* Later decisions use earlier ones: `done` needs the kind of episodes, rows need all flags. */
    if (s == STATUS_OK) {
        decide_episodes(p, &found);
        decide_done(p, &found);
        decide_discount(p);
        decide_rows(p, &found);
        decide_limits(p);
        note_lost_metadata(p);
        decide_period(p, &found);
        s = decide_time(p);
    }
    return s;
}

status propose_mapping(struct logs *logs, struct mapping *mapping, struct text *notes,
                       struct err *err)
{
    /* Errors are extended on the way, which needs a place even if the caller wants none. */
    struct err reason = {0};
    struct proposal p = {
        .logs = logs, .mapping = mapping, .notes = notes, .err = err != NULL ? err : &reason};
    mapping_init(mapping);
    /* Topics with clocks of their own have rules of their own. */
    const bool topics = logs_format(logs) == &log_format_mcap;
    bool exorl = false;
    status s = topics ? propose_topics(logs, mapping, notes, p.err)
                      : propose_exorl(logs, &exorl, mapping, notes, p.err);
    if (s == STATUS_OK && !topics && !exorl) {
        s = propose(&p);
    }
    if (s != STATUS_OK) {
        mapping_fini(mapping);
    }
    recording_fini(&p.recording);
    mem_free(p.roles);
    mem_free(p.ends);
    return s;
}
