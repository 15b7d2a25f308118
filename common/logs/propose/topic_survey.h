/* What logs of topics with clocks of their own hold (MCAP): the topics, what their names say, their
 * stamps, and the columns of all files. */
#ifndef HINDCAST_LOGS_TOPIC_SURVEY_H
#define HINDCAST_LOGS_TOPIC_SURVEY_H

#include "common/base/text.h"
#include "common/logs/columns/clock_report.h"
#include "common/logs/columns/recording.h"
#include "common/logs/episodes/logs.h"

/* By the last word in the topic's name that has a role; without one a topic is an observation. */
enum topic_role {
    TOPIC_OBSERVATION,
    TOPIC_ACTION,
    TOPIC_REWARD, /* from here on: events, of one number */
    TOPIC_SUCCESS,
    TOPIC_TERMINATED,
    TOPIC_TIMEOUT,
    TOPIC_IGNORED,
};

struct topic {
    char name[RECORDING_NAME_SIZE];
    enum topic_role role;
    size_t files;     /* in which it has messages */
    uint64_t fewest;  /* messages in one file */
    bool header;      /* it has a header stamp, which advances, in all files with messages */
    double positives; /* events: the most values above 0 in one file */
    char event[RECORDING_NAME_SIZE]; /* its first column of one number */
};

/* Initialise with {0}. */
struct topic_survey {
    size_t n_topics;
    struct topic *topics;
    struct recording all;       /* the columns of all files */
    struct clock_report log;    /* times of recording */
    struct clock_report header; /* stamps in headers, of topics that have them */
    double *stamps[2];          /* scratch: of log and header */
    double *values;             /* scratch */
};

/* Reads the stamps of all topics and the values of events. Appends what the files say about their
 * fields to `notes`. Errors name the file. */
status topic_survey_make(struct topic_survey *survey, struct logs *logs, struct text *notes,
                         struct err *err) MUST_CHECK;
void topic_survey_fini(struct topic_survey *survey);

/* Returns the topic of a column, or NULL. */
const struct topic *topic_survey_topic(const struct topic_survey *survey, const char *column);
/* Returns the first topic with a role, or NULL. */
const struct topic *topic_survey_with_role(const struct topic_survey *survey, enum topic_role role);
/* Returns the field of a column, which is one of the topic's, or NULL if it is a clock, no measurement
 * or no number. */
const char *topic_field(const struct topic *topic, const struct recording_column *column);
/* Widens low and high (width) by the values of a column in all files. */
status topic_survey_range(struct topic_survey *survey, struct logs *logs,
                          const struct recording_column *column, double *low, double *high,
                          struct err *err) MUST_CHECK;

#endif
