/* The parts of resample.c, which no one else includes: what a resampled file is made of.
 *
 *     resample_clocks.c       which columns the mapping names, their groups, and their stamps
 *     resample_stretches.c    the stretches of time that become recordings
 *     resample_values.c       the values of a column at the control steps */
#ifndef HINDCAST_LOGS_RESAMPLE_PARTS_H
#define HINDCAST_LOGS_RESAMPLE_PARTS_H

#include "common/logs/mapping/resample.h"

#define RESAMPLE_SLACK_S  1e-6 /* rounding of stamps to doubles */
#define RESAMPLE_NO_GROUP UINT32_MAX

/* A column that the mapping names. */
struct resample_use {
    const char *name;
    const char *key; /* of the mapping, for errors */
    enum resample_method method;
    bool action;
    uint32_t group; /* in the current recording; RESAMPLE_NO_GROUP: it has no such column */
    const struct recording_column *column;   /* in the current recording */
    const struct recording_column *parts[4]; /* slerp of columns x, y, z, w; else parts[0] NULL */
    uint32_t part;                           /* which of them this column is */
};

/* The columns of one clock, in the current recording. */
struct resample_clocked {
    char name[RECORDING_NAME_SIZE];       /* the topic */
    const struct resample_group *options; /* NULL: none */
    bool topic;                           /* otherwise rows without a value are passed over */
    bool bounds;      /* some column is not summed, so it needs values all the time */
    bool action;      /* some column is an action */
    bool observed;    /* some column is an observation that is not summed */
    double max_gap_s; /* INFINITY: pauses may be of any length */
    uint64_t n;
    double *stamps;  /* (n) ascending, with the delay */
    uint64_t *order; /* (n) rows of the stamps; NULL: their own index */
};

/* A recording of the resampled file. */
struct resample_stretch {
    uint64_t recording_i;
    double start;
    uint64_t n; /* rows */
    char *bad;  /* why it cannot be read; NULL: it can */
};

struct resampled {
    struct log_file base;
    struct log_file *inner;
    const struct mapping *mapping;
    uint32_t n_uses, n_groups;
    struct resample_use *uses;
    struct resample_clocked *groups;
    size_t n_stretches, capacity;
    struct resample_stretch *stretches;
    struct recording recording; /* of the inner file, if `loaded` */
    bool loaded;
    uint64_t recording_i;
    double *raw; /* scratch buffer for values of the inner file */
    size_t raw_capacity;
};

/* Collects the columns that the mapping names. */
status resample_collect_uses(struct resampled *r, struct err *err) MUST_CHECK;
/* Returns INVALID if nothing belongs to a name in the mapping, which is most likely misspelt. */
status resample_check_names(const struct resampled *r, struct err *err) MUST_CHECK;
/* Makes a recording of the inner file the current one: finds its columns and reads their stamps. */
status resample_load(struct resampled *r, uint64_t recording_i, struct resample_findings *findings,
                     struct err *err) MUST_CHECK;
void resample_forget_groups(struct resampled *r);
/* The index after the last stamp that is at most t. */
uint64_t resample_count_until(const struct resample_clocked *group, double t);

/* Divides the current recording into stretches. */
status resample_divide(struct resampled *r, struct resample_findings *findings,
                       struct err *err) MUST_CHECK;

/* The read of struct log_format. */
status resample_read(struct log_file *file, uint64_t recording_i,
                     const struct recording_column *column, uint64_t first, uint64_t n,
                     double *values, struct err *err) MUST_CHECK;

#endif
