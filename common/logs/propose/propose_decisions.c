/* Decisions use earlier ones, so their order in propose_decide matters. */
#include "common/logs/propose/propose_decisions.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/logs/propose/propose.h"

/* Decides how episodes are told apart and where their last observation is.
 *
 * A flag that is set before the last row means that a recording has several episodes. Logs of this
 * kind have no extra row after each episode, so only columns of the next observation can hold the
 * last observation. */
static void decide_episodes(struct proposal *p, const struct propose_findings *found)
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
static void decide_rows(struct proposal *p, const struct propose_findings *found)
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
    const struct recording_column *discount = proposal_with_role(p, PROPOSE_ROLE_DISCOUNT);
    if (discount == NULL || discount->width != 1 || m->terminated.column[0] != 0) {
        return;
    }
    proposal_set_value(&m->terminated, discount);
    m->terminated.is_below = true;
    m->terminated.above = 0.5;
    text_format(p->notes, "an episode terminates where its last \"%s\" is below 0.5\n",
                discount->name);
}

/* Decides what `done` means, unless the logs have a flag for terminations.
 *
 * Taking a time limit for a termination would teach the critic that nothing follows the last state,
 * so in doubt `done` is treated as a time limit. */
static void decide_done(struct proposal *p, const struct propose_findings *found)
{
    struct mapping *m = p->mapping;
    const struct recording_column *done = proposal_with_role(p, PROPOSE_ROLE_DONE);
    if (done == NULL || m->terminated.column[0] != 0) {
        return;
    }

    /* `done` is a termination if some recordings end without it, or if time limits have a flag of
     * their own. */
    if (!found->all_done || m->timeout.column[0] != 0) {
        proposal_set_value(&m->terminated, done);
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
static void decide_period(struct proposal *p, const struct propose_findings *found)
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

/* Names the column of times if the period comes from one, and warns of gaps. */
static status decide_time(struct proposal *p)
{
    struct mapping *m = p->mapping;
    const struct recording_column *time = proposal_with_role(p, PROPOSE_ROLE_TIME);
    if (time == NULL || !(m->control_period_s > 0)) {
        return STATUS_OK;
    }
    bool has;
    uint64_t gaps;
    const status s = propose_findings_gaps(p, time->name, &has, &gaps);
    if (s != STATUS_OK) {
        return s;
    }
    if (has) {
        snprintf(m->time_column, sizeof m->time_column, "%s", time->name);
    }
    if (gaps > 0) {
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

status propose_decide(struct proposal *p, const struct propose_findings *found)
{
    if (logs_minari(p->logs) != NULL) {
        decide_minari(p);
        return STATUS_OK;
    }
    /* `done` needs the kind of episodes, rows need all flags. */
    decide_episodes(p, found);
    decide_done(p, found);
    decide_discount(p);
    decide_rows(p, found);
    decide_limits(p);
    note_lost_metadata(p);
    decide_period(p, found);
    return decide_time(p);
}
