/* Proposes in three steps. The survey reads the stamps of all topics and the columns of those that
 * may be actions or events. Then each topic gets a role by the words in its name, and its fields
 * become slices and actions. Last come the clock, the control period and the episodes, which follow
 * from the stamps. */
#include "common/logs/propose/propose_topics.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/logs/columns/clock_report.h"
#include "common/logs/propose/propose.h"
#include "common/logs/propose/topic_clocks.h"
#include "common/logs/propose/topic_survey.h"

#define DENSE_SHARE 0.5 /* messages in a control step from which a topic is no event */
#define LISTED_MAX  60  /* topics that an error lists */

/* A proposal in the making. */
struct making {
    struct logs *logs;
    struct mapping *mapping;
    struct text *notes;
    struct err *err;
    struct topic_survey survey;
};

/* ---- roles ---- */

/* Leaves out topics that cannot be resampled in every file. Events may be missing. */
static void leave_out_topics(struct making *p)
{
    for (size_t i = 0; i < p->survey.n_topics; i++) {
        struct topic *topic = &p->survey.topics[i];
        if (topic->role == TOPIC_IGNORED) {
            text_format(p->notes, "topic %s is left out\n", topic->name);
        } else if (topic->role <= TOPIC_ACTION && topic->files < logs_n_files(p->logs)) {
            text_format(p->notes,
                        "topic %s is left out: only %zu of %zu files have messages of it\n",
                        topic->name, topic->files, logs_n_files(p->logs));
            topic->role = TOPIC_IGNORED;
        } else if (topic->role <= TOPIC_ACTION && topic->fewest < 2) {
            text_format(p->notes, "topic %s is left out: it has a single message in a file\n",
                        topic->name);
            topic->role = TOPIC_IGNORED;
        } else if (topic->role >= TOPIC_REWARD && topic->event[0] == 0) {
            text_format(p->notes, "topic %s is left out: it has no field of one number\n",
                        topic->name);
            topic->role = TOPIC_IGNORED;
        }
    }
}

/* Sets an error that lists the topics. */
static status list_topics(const struct making *p, const char *missing)
{
    struct text names = {0};
    for (size_t i = 0; i < p->survey.n_topics && i < LISTED_MAX; i++) {
        text_format(&names, "%s%s", i == 0 ? "" : ", ", p->survey.topics[i].name);
    }
    /* Why a topic is left out may be why there is none. */
    const char *notes = p->notes->bytes != NULL ? p->notes->bytes : "";
    const status s =
        err_set(p->err, STATUS_INVALID,
                "%s: no topic looks like %s; write a mapping by hand. Topics: %.400s%s%.400s",
                logs_path(p->logs, 0), missing, names.bytes ? names.bytes : "none",
                notes[0] != 0 ? ". " : "", notes);
    text_fini(&names);
    return s;
}

/* The name of a slice for a topic and the first n bytes of a field: "imu.orientation". */
static void slice_name(const struct topic *topic, const char *field, size_t n,
                       char name[SIGNATURE_NAME_SIZE])
{
    char whole[2 * RECORDING_NAME_SIZE];
    snprintf(whole, sizeof whole, "%s%s%.*s", topic->name + (topic->name[0] == '/'),
             n > 0 ? "." : "", (int)n, field);
    /* The end of a long name tells more than its beginning. */
    const size_t length = strlen(whole);
    const char *from =
        length < SIGNATURE_NAME_SIZE ? whole : whole + length - (SIGNATURE_NAME_SIZE - 1);
    size_t i = 0;
    for (; from[i] != 0; i++) {
        const unsigned char c = (unsigned char)from[i];
        name[i] = (char)(isalnum(c) || c == '.' || c == '-' ? c : c == '/' ? '.' : '_');
    }
    name[i] = 0;
}

/* The bytes of a field's name that it shares with its neighbours: those before the last '/', if
 * its values are single numbers. */
static size_t group_size(const char *field, const struct recording_column *column)
{
    const char *slash = strrchr(field, '/');
    return column->width > 1 ? strlen(field) : slash == NULL ? 0 : (size_t)(slash - field);
}

/* Adds a column to the slice of its group, or to a new one. */
static status add_observation(struct making *p, const struct topic *topic, const char *field,
                              const struct recording_column *column)
{
    struct mapping *m = p->mapping;
    char name[SIGNATURE_NAME_SIZE];
    slice_name(topic, field, group_size(field, column), name);
    uint32_t i = 0;
    while (i < m->n_slices && strcmp(m->slices[i], name) != 0) {
        i++;
    }
    if (i == SIGNATURE_SLICES_MAX) {
        return err_set(p->err, STATUS_INVALID,
                       "more than %d groups of fields: write a mapping by hand",
                       SIGNATURE_SLICES_MAX);
    }
    if (i == m->n_slices) {
        memcpy(m->slices[m->n_slices++], name, sizeof name);
    }
    return mapping_columns_add(&m->observation[i], column->name, p->err);
}

/* Names the four columns x, y, z, w of an orientation once, for slerp. */
static status add_quaternion(struct making *p, const struct recording_column *column)
{
    const size_t n = strlen(column->name);
    if (n < 3 || strcmp(column->name + n - 2, "/w") != 0 || column->width != 1) {
        return STATUS_OK;
    }
    char name[RECORDING_NAME_SIZE];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%.*s/%c", (int)(n - 2), column->name, "xyz"[i]);
        if (recording_find(&p->survey.all, name) == NULL) {
            return STATUS_OK;
        }
    }
    name[n - 2] = 0;
    struct resample_column *made = mapping_resample_column(&p->mapping->resample, name);
    if (made == NULL) {
        return err_set(p->err, STATUS_NO_MEMORY, "columns of the mapping");
    }
    made->method = RESAMPLE_SLERP;
    return STATUS_OK;
}

static status add_observations(struct making *p)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < p->survey.all.n; i++) {
        const struct recording_column *column = &p->survey.all.columns[i];
        const struct topic *topic = topic_survey_topic(&p->survey, column->name);
        const char *field = topic == NULL ? NULL : topic_field(topic, column);
        if (field != NULL && topic->role == TOPIC_OBSERVATION) {
            s = add_observation(p, topic, field, column);
            if (s == STATUS_OK) {
                s = add_quaternion(p, column);
            }
        }
    }
    return s == STATUS_OK && p->mapping->n_slices == 0 ? list_topics(p, "an observation") : s;
}

/* ---- actions ---- */

/* Adds a column to the actions, unless it never changes. */
static status add_action(struct making *p, const struct recording_column *column)
{
    struct mapping *m = p->mapping;
    if (column->width > SIGNATURE_ACTIONS_MAX - m->A) {
        return err_set(p->err, STATUS_INVALID, "%s: more than %d action values", column->name,
                       SIGNATURE_ACTIONS_MAX);
    }
    double *low = &m->action_min[m->A], *high = &m->action_max[m->A];
    for (uint32_t j = 0; j < column->width; j++) {
        low[j] = INFINITY;
        high[j] = -INFINITY;
    }
    status s = topic_survey_range(&p->survey, p->logs, column, low, high, p->err);
    uint32_t constant = 0;
    for (uint32_t j = 0; s == STATUS_OK && j < column->width; j++) {
        constant += !(low[j] < high[j]);
    }
    if (s != STATUS_OK) {
        return s;
    }
    if (constant == column->width) {
        text_format(p->notes, "%s is left out of the action: it never changes\n", column->name);
        return STATUS_OK;
    }
    for (uint32_t j = 0; j < column->width; j++) {
        if (!(low[j] < high[j])) {
            const double value = isfinite(low[j]) ? low[j] : 0;
            text_format(p->notes,
                        PROPOSE_CONFIRM "action %u (%s) never changes (%g): its limits are a "
                                        "guess\n",
                        m->A + j, column->name, value);
            low[j] = value - 1;
            high[j] = value + 1;
        }
    }
    m->A += column->width;
    return mapping_columns_add(&m->action, column->name, p->err);
}

static status add_actions(struct making *p)
{
    struct mapping *m = p->mapping;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < p->survey.all.n; i++) {
        const struct recording_column *column = &p->survey.all.columns[i];
        const struct topic *topic = topic_survey_topic(&p->survey, column->name);
        if (topic != NULL && topic->role == TOPIC_ACTION && topic_field(topic, column) != NULL) {
            s = add_action(p, column);
        }
    }
    if (s == STATUS_OK && m->A == 0) {
        return list_topics(p, "a command that changes");
    }
    text_add(p->notes,
             "action limits are the smallest and largest values in the logs: replace them "
             "by those of the actuators, if known\n");
    return s;
}

/* ---- rewards and ends ---- */

/* Uses the event of a topic. Its values come after the action that led to it. */
static status set_event(struct making *p, const struct topic *topic, struct mapping_value *value)
{
    memcpy(value->column, topic->event, sizeof value->column);
    value->row = MAPPING_ROW_NEXT;
    /* A flag that is published all the time is a state and no event. */
    const double period = topic_clocks_period(&p->survey, p->mapping, topic);
    const bool dense = period > 0 && p->mapping->control_period_s / period > DENSE_SHARE;
    struct mapping_resample *resample = &p->mapping->resample;
    for (uint32_t i = 0; i < resample->n_columns; i++) {
        if (strcmp(resample->columns[i].name, topic->event) == 0) {
            return STATUS_OK;
        }
    }
    if (dense && topic->role != TOPIC_REWARD) {
        struct resample_column *column = mapping_resample_column(resample, topic->event);
        if (column == NULL) {
            return err_set(p->err, STATUS_NO_MEMORY, "columns of the mapping");
        }
        column->method = RESAMPLE_HOLD;
    }
    return STATUS_OK;
}

/* Adds the topics of rewards, or success as the only reward. */
static status add_rewards(struct making *p)
{
    struct mapping *m = p->mapping;
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < p->survey.n_topics && m->K < SIGNATURE_TASKS_MAX;
         i++) {
        if (p->survey.topics[i].role == TOPIC_REWARD) {
            slice_name(&p->survey.topics[i], "", 0, m->rewards[m->K]);
            s = set_event(p, &p->survey.topics[i], &m->reward[m->K++]);
        }
    }
    const struct topic *success = topic_survey_with_role(&p->survey, TOPIC_SUCCESS);
    if (s == STATUS_OK && m->K == 0 && success != NULL) {
        memcpy(m->rewards[0], "success", sizeof "success");
        s = set_event(p, success, &m->reward[m->K++]);
        text_add(p->notes, "no reward is logged: success is used as the reward\n");
    } else if (m->K == 0) {
        text_add(p->notes,
                 "no reward is logged: compute one with restorer.relabel, a Lua script\n");
    }
    return s;
}

/* Adds the topics that end episodes. Several ends in one file divide it. */
static status add_ends(struct making *p)
{
    struct mapping *m = p->mapping;
    const struct topic *success = topic_survey_with_role(&p->survey, TOPIC_SUCCESS);
    const struct topic *terminated = topic_survey_with_role(&p->survey, TOPIC_TERMINATED);
    const struct topic *timeout = topic_survey_with_role(&p->survey, TOPIC_TIMEOUT);
    status s = STATUS_OK;
    if (terminated == NULL && success != NULL) {
        terminated = success;
        text_add(p->notes, "success ends an episode; every other end counts as a time limit\n");
    }
    if (terminated != NULL) {
        s = set_event(p, terminated, &m->terminated);
    }
    if (s == STATUS_OK && timeout != NULL) {
        s = set_event(p, timeout, &m->timeout);
    }
    const bool several = (terminated != NULL && terminated->positives > 1) ||
                         (timeout != NULL && timeout->positives > 1);
    if (several) {
        m->episodes = MAPPING_BY_FLAGS;
        text_add(p->notes,
                 PROPOSE_CONFIRM "a file has several episodes: each ends where a flag is set\n");
    }
    return s;
}

/* ---- the whole ---- */

static status propose(struct making *p)
{
    struct mapping *m = p->mapping;
    snprintf(m->format, sizeof m->format, "%s", logs_format(p->logs)->name);
    m->last = MAPPING_LAST_ROW;
    m->resample.on = true;
    m->resample.method = RESAMPLE_HOLD;
    status s = topic_survey_make(&p->survey, p->logs, p->notes, p->err);
    if (s != STATUS_OK) {
        return s;
    }
    leave_out_topics(p);
    s = add_observations(p);
    if (s == STATUS_OK) {
        s = add_actions(p);
    }
    if (s == STATUS_OK) {
        s = topic_clocks_choose(&p->survey, p->mapping, p->notes, p->err);
    }
    if (s == STATUS_OK) {
        topic_clocks_set_periods(&p->survey, p->mapping, p->notes);
        s = add_rewards(p);
    }
    if (s == STATUS_OK) {
        s = add_ends(p);
    }
    if (s == STATUS_OK) {
        text_add(p->notes, PROPOSE_CONFIRM
                 "topics are taken for actions by their names, and all others for observations\n");
        text_add(p->notes, "times of recording, in all files:\n");
        clock_report_print(&p->survey.log, p->notes);
        if (p->survey.header.n > 0) {
            text_add(p->notes, "stamps in headers:\n");
            clock_report_print(&p->survey.header, p->notes);
        }
    }
    return s;
}

status propose_topics(struct logs *logs, struct mapping *mapping, struct text *notes,
                      struct err *err)
{
    struct making p = {.logs = logs, .mapping = mapping, .notes = notes, .err = err};
    const status s = propose(&p);
    topic_survey_fini(&p.survey);
    return s;
}
