/* A mapping: which columns of a recording are observation, action, reward and end of an episode.
 *
 * It is a YAML file that `hindcast dataset map` proposes from what it finds in the logs, and that
 * the user confirms or edits:
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
 * docs/logs.md explains every key. An episode of T transitions has T + 1 observations; where the
 * last one comes from differs from format to format:
 *
 *     last_row           the last row of the recording holds it, and no action
 *     next_observation   columns of their own hold the observation after each action
 *     none               it was not logged: the last action becomes a transition only where the
 *                        episode terminated there, since nothing behind a termination is ever used
 *
 * A reward or a flag of transition t stands in row t (`same`) or in row t + 1 (`next`). */
#ifndef HINDCAST_LOGS_MAPPING_H
#define HINDCAST_LOGS_MAPPING_H

#include "common/base/text.h"
#include "common/logs/recording.h"
#include "common/trajectory/signature.h"

#define MAPPING_BYTES_MAX (1u << 20) /* of a mapping file */

enum mapping_episodes {
    MAPPING_BY_RECORDING, /* each recording is one episode */
    MAPPING_BY_COLUMN,    /* a change of `episode_column` begins a new one */
    MAPPING_BY_FLAGS,     /* the row where `terminated` or `timeout` is set is an episode's last */
};

enum mapping_last { MAPPING_LAST_ROW, MAPPING_LAST_NEXT, MAPPING_LAST_NONE };
enum mapping_row { MAPPING_ROW_SAME, MAPPING_ROW_NEXT };

/* Columns beside one another. */
struct mapping_columns {
    uint32_t n;
    char (*names)[RECORDING_NAME_SIZE];
    double scale, offset; /* value = logged * scale + offset */
};

/* One value a transition: a reward, or a flag, which is set where the value is above `above`. */
struct mapping_value {
    char column[RECORDING_NAME_SIZE]; /* empty: there is none */
    enum mapping_row row;
    double above;
};

struct mapping {
    char format[16];
    double control_period_s; /* 0: not known */
    enum mapping_episodes episodes;
    char episode_column[RECORDING_NAME_SIZE];

    uint32_t n_slices;
    char slices[SIGNATURE_SLICES_MAX][SIGNATURE_NAME_SIZE];
    struct mapping_columns observation[SIGNATURE_SLICES_MAX];
    struct mapping_columns next[SIGNATURE_SLICES_MAX]; /* n 0 unless last is MAPPING_LAST_NEXT */
    enum mapping_last last;

    struct mapping_columns action;
    uint32_t A; /* values in `min` and `max` */
    double action_min[SIGNATURE_ACTIONS_MAX], action_max[SIGNATURE_ACTIONS_MAX];

    uint32_t K;
    char rewards[SIGNATURE_TASKS_MAX][SIGNATURE_NAME_SIZE];
    struct mapping_value reward[SIGNATURE_TASKS_MAX];
    struct mapping_value terminated, timeout;
};

void mapping_init(struct mapping *mapping);
void mapping_fini(struct mapping *mapping);
/* Appends a column. NO_MEMORY, INVALID (the name is too long). */
status mapping_columns_add(struct mapping_columns *columns, const char *name,
                           struct err *err) MUST_CHECK;

/* Reads a mapping file. NOT_FOUND, INVALID name file, line and what was expected. */
status mapping_read(struct mapping *mapping, const char *path, struct err *err) MUST_CHECK;
/* Writes it as YAML that mapping_read reads back as the same mapping. */
void mapping_write(const struct mapping *mapping, struct text *text);

/* The signature of the rows that the mapping makes of such a recording. INVALID names the key of
 * the mapping and the column that is not there, is no number, or does not fit. */
status mapping_signature(const struct mapping *mapping, const struct recording *recording,
                         struct signature *signature, struct err *err) MUST_CHECK;

#endif
