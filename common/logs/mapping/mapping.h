/* A mapping says which columns of a recording are observations, actions, rewards and ends of
 * episodes.
 *
 * It is a YAML file that `hindcast dataset map` proposes from the contents of the logs and that the
 * user confirms or edits:
 *
 *     format: csv
 *     control_period_s: 0.02
 *     episodes: {by: recording}
 *     observation:
 *       encoder: [encoder_0, encoder_1, encoder_2]
 *       strain: {columns: [strain_0, strain_1], scale: 1000, offset: 0}
 *     last_observation: last_row
 *     action:
 *       columns: [tau_0, tau_1, tau_2]
 *       min: [-12, -12, -12]
 *       max: [8, 8, 8]
 *     rewards:
 *       success: {column: success, row: next}
 *     terminated: {column: success, row: next}
 *
 * docs/logs.md explains every key. An episode of T transitions has T + 1 observations. Logs differ
 * in where they store the last one:
 *
 *     last_row           in the last row of the recording, which has no action
 *     next_observation   in separate columns with the observation after each action
 *     none               nowhere; the last action becomes a transition only if the episode
 *                        terminates there, since nothing after a termination is used
 *
 * The reward or flag of transition t is in row t (`same`) or in row t + 1 (`next`). */
#ifndef HINDCAST_LOGS_MAPPING_H
#define HINDCAST_LOGS_MAPPING_H

#include "common/base/text.h"
#include "common/logs/columns/recording.h"
#include "common/logs/mapping/mapping_resample.h"
#include "common/trajectory/episode_rules.h"

#define MAPPING_BYTES_MAX   (1u << 20) /* size of a mapping file */
#define MAPPING_GAP_PERIODS 3.0        /* default of gap_periods */

enum mapping_episodes {
    MAPPING_BY_RECORDING, /* each recording is one episode */
    MAPPING_BY_COLUMN,    /* an episode starts where the value of `episode_column` changes */
    MAPPING_BY_FLAGS,     /* an episode ends with a row where `terminated` or `timeout` is set */
    MAPPING_BY_GAPS,      /* an episode ends where a topic pauses; needs `resample` */
    MAPPING_BY_TIMES,     /* a table has the times of the episodes; needs `resample` */
};

enum mapping_last { MAPPING_LAST_ROW, MAPPING_LAST_NEXT, MAPPING_LAST_NONE };
/* What is done with a gap: an interval between two rows that is longer than `gap_periods` control
 * periods, or not positive. */
enum mapping_gaps {
    MAPPING_GAPS_IGNORE, /* counted only */
    MAPPING_GAPS_REFUSE, /* the episode is bad */
    MAPPING_GAPS_SPLIT,  /* the episode is cut there */
};

enum mapping_row { MAPPING_ROW_SAME, MAPPING_ROW_NEXT };

/* A list of columns whose values are put side by side. */
struct mapping_columns {
    uint32_t n;
    char (*names)[RECORDING_NAME_SIZE];
    double scale, offset; /* value = logged * scale + offset */
};

/* One value per transition: a reward, or a flag, which is set where the value is above `above`, or
 * below it if is_below is set. */
struct mapping_value {
    char column[RECORDING_NAME_SIZE]; /* empty: not logged */
    enum mapping_row row;
    double above;
    bool is_below;
};

struct mapping {
    char format[16];
    double control_period_s; /* 0: unknown */
    enum mapping_episodes episodes;
    char episode_column[RECORDING_NAME_SIZE];

    uint32_t n_slices;
    char slices[SIGNATURE_SLICES_MAX][SIGNATURE_NAME_SIZE];
    struct mapping_columns observation[SIGNATURE_SLICES_MAX];
    struct mapping_columns next[SIGNATURE_SLICES_MAX]; /* empty unless last is MAPPING_LAST_NEXT */
    enum mapping_last last;

    struct mapping_columns action;
    enum mapping_row action_row; /* the action of transition t is in row t (`same`) or t + 1 */
    uint32_t A;                  /* number of values in action_min and action_max */
    double action_min[SIGNATURE_ACTIONS_MAX], action_max[SIGNATURE_ACTIONS_MAX];

    uint32_t K;
    char rewards[SIGNATURE_TASKS_MAX][SIGNATURE_NAME_SIZE];
    struct mapping_value reward[SIGNATURE_TASKS_MAX];
    struct mapping_value terminated, timeout;

    char time_column[RECORDING_NAME_SIZE]; /* empty: not logged */
    double time_scale;                     /* seconds = logged * scale */
    enum mapping_gaps gaps;
    double gap_periods;
    struct episode_rules rules;

    struct mapping_resample resample; /* columns that have clocks of their own */
};

void mapping_init(struct mapping *mapping);
void mapping_fini(struct mapping *mapping);
/* Is a flag set where its column has this value? Not where it has none (NaN). */
static inline bool mapping_is_set(const struct mapping_value *flag, double value)
{
    return flag->is_below ? value < flag->above : value > flag->above;
}
/* Appends a column. Returns NO_MEMORY, or INVALID if the name is too long or there are too many. */
status mapping_columns_add(struct mapping_columns *columns, const char *name,
                           struct err *err) MUST_CHECK;

/* Initialises `mapping` from a mapping file. Errors name the file, the line and what was expected.
 * `mapping` is not changed on error. */
status mapping_read(struct mapping *mapping, const char *path, struct err *err) MUST_CHECK;
/* Appends the mapping as YAML, from which mapping_read reads the same mapping. */
void mapping_write(const struct mapping *mapping, struct text *text);

/* Stores the signature of the rows that the mapping makes of a recording. Returns INVALID if a
 * column is missing, does not hold numbers or does not fit; the text names the key and the
 * column. */
status mapping_signature(const struct mapping *mapping, const struct recording *recording,
                         struct signature *signature, struct err *err) MUST_CHECK;

#endif
