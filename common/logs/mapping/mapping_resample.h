/* The part of a mapping that says how columns with clocks of their own are brought to the control
 * period:
 *
 *     resample:
 *       clock: header                      # log, publish or header: the stamps of topics (MCAP)
 *       time: t                            # the column of stamps, where the format has no clocks
 *       method: hold                       # of observations: hold, linear or slerp
 *       max_gap_s: 0.2                     # a longer pause ..
 *       gaps: split                        # .. splits an episode, or makes it bad
 *       groups:
 *         "/imu": {clock: log, delay_s: 0.004, max_gap_s: 0.05, method: linear}
 *       columns:
 *         "/imu/orientation": slerp
 *
 * and of the episodes that are found by time. docs/logs.md explains every key. */
#ifndef HINDCAST_LOGS_MAPPING_RESAMPLE_H
#define HINDCAST_LOGS_MAPPING_RESAMPLE_H

#include "common/base/text.h"
#include "common/logs/columns/recording.h"

#define RESAMPLE_GROUPS_MAX 1024u
#define RESAMPLE_TIMES_MAX  1000000u

enum resample_method {
    RESAMPLE_DEFAULT, /* that of the group, then of the mapping, then hold */
    RESAMPLE_HOLD,    /* the newest value that is not later */
    RESAMPLE_LINEAR,  /* between the two neighbours in time */
    RESAMPLE_SLERP,   /* between two unit quaternions */
    RESAMPLE_SUM,     /* the sum of all values since the row before */
};

enum resample_clock { RESAMPLE_CLOCK_DEFAULT, RESAMPLE_LOG, RESAMPLE_PUBLISH, RESAMPLE_HEADER };

/* A topic, or other columns whose names begin alike and that have one clock. */
struct resample_group {
    char name[RECORDING_NAME_SIZE]; /* the topic, or the beginning of the columns' names */
    char time[RECORDING_NAME_SIZE]; /* column of its stamps; empty: by `clock`, or the mapping's */
    enum resample_clock clock;
    enum resample_method method;
    double delay_s;   /* added to the stamps */
    double max_gap_s; /* 0: the mapping's */
};

struct resample_column {
    char name[RECORDING_NAME_SIZE]; /* of a column, or of a quaternion NAME/x, /y, /z, /w */
    enum resample_method method;
};

struct mapping_resample {
    bool on; /* columns have clocks; otherwise all rows are control steps, and the rest is unused */
    enum resample_clock clock;
    enum resample_method method;
    char time[RECORDING_NAME_SIZE];
    double max_gap_s; /* 0: pauses of any length are filled */
    bool gaps_are_bad;
    uint32_t n_groups, n_columns;
    struct resample_group *groups;   /* (n_groups) */
    struct resample_column *columns; /* (n_columns) */
    double gap_s;                    /* episodes by gaps */
    uint32_t n_times;                /* episodes by times */
    double (*times)[2];              /* (n_times) start and end, seconds */
};

void mapping_resample_fini(struct mapping_resample *resample);
/* Append a group or column of this name with default values. NULL: out of memory, or too many, or
 * the name is too long. */
struct resample_group *mapping_resample_group(struct mapping_resample *resample, const char *name);
struct resample_column *mapping_resample_column(struct mapping_resample *resample,
                                                const char *name);

struct mapping_document;
struct yaml_node_s;
/* Reads the key `resample`, and the keys `gap_s`, `times` and `file` of the key `episodes`; `file`
 * is a CSV file beside the mapping with columns start and end. Errors as in mapping_yaml.h. */
status mapping_resample_read(struct mapping_document *d, const struct yaml_node_s *value,
                             struct mapping_resample *resample) MUST_CHECK;
status mapping_resample_read_gap(struct mapping_document *d, const struct yaml_node_s *value,
                                 struct mapping_resample *resample) MUST_CHECK;
status mapping_resample_read_times(struct mapping_document *d, const struct yaml_node_s *value,
                                   struct mapping_resample *resample) MUST_CHECK;
status mapping_resample_read_file(struct mapping_document *d, const struct yaml_node_s *value,
                                  struct mapping_resample *resample) MUST_CHECK;
/* Appends the key `resample`, or nothing if it is not on. */
void mapping_resample_write(const struct mapping_resample *resample, struct text *text);
/* Appends ", times: [[1.5, 20], ..]". */
void mapping_resample_write_times(const struct mapping_resample *resample, struct text *text);

#endif
