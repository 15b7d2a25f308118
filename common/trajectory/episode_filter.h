/* Which episodes of some logs are used: conditions on return, success, length and tag, then the best
 * part of those that are left, then every n-th of these. Specific to Hindcast.
 *
 * A filter is written as a list of conditions, in any order:
 *
 *     min_return=3, max_return=9    undiscounted, of the reward `reward`
 *     success                       the last reward is above 0
 *     min_length=10, max_length=99  in transitions
 *     tag=robot=left                what is called `robot` in the log has the value `left`
 *     best=0.1                      the tenth with the highest returns, at least one episode
 *     every=2                       the 1st, 3rd, 5th, ..
 *     reward=reach                  the reward that all of these are about; default: the first
 *
 * Pure: it reads no file. */
#ifndef HINDCAST_TRAJECTORY_EPISODE_FILTER_H
#define HINDCAST_TRAJECTORY_EPISODE_FILTER_H

#include "common/base/text.h"
#include "common/trajectory/episode.h"

#define EPISODE_TAG_SIZE       128 /* bytes of a tag's name or value, with the terminating 0 */
#define EPISODE_FILTER_BETWEEN ", "

struct episode_filter {
    char reward[SIGNATURE_NAME_SIZE]; /* empty: the first */
    double min_return, max_return;    /* -HUGE_VAL, HUGE_VAL: no condition */
    bool success;
    uint32_t min_length, max_length; /* 0, UINT32_MAX: no condition */
    char tag[EPISODE_TAG_SIZE];      /* empty: no condition */
    char tag_value[EPISODE_TAG_SIZE];
    double best;    /* share, 1: all */
    uint64_t every; /* 1: all */
};

/* Why an episode is not used. */
enum episode_filter_reason {
    EPISODE_KEPT,
    EPISODE_RETURN,  /* outside min_return..max_return */
    EPISODE_FAILURE, /* no success */
    EPISODE_LENGTH,
    EPISODE_TAG,
    EPISODE_NOT_BEST,
    EPISODE_NOT_NTH,
    EPISODE_REASONS,
};

/* What the filter needs to know of an episode. */
struct episode_facts {
    double episode_return, last_reward;
    uint32_t T;
    bool tagged; /* it has the tag; true where none is asked for */
    enum episode_filter_reason reason;
};

/* A filter that keeps everything. */
void episode_filter_init(struct episode_filter *filter);
bool episode_filter_keeps_all(const struct episode_filter *filter);
/* Adds one condition, such as "best=0.1", to the filter. INVALID says what was expected. */
status episode_filter_add(struct episode_filter *filter, const char *condition,
                          struct err *err) MUST_CHECK;
/* Appends the conditions in a fixed order, with EPISODE_FILTER_BETWEEN between them. Nothing for a filter that keeps all.
 * Two filters that keep the same have the same text. */
void episode_filter_write(const struct episode_filter *filter, struct text *text);

/* Stores the index of the filter's reward. INVALID where the signature has no such reward, or none
 * at all and a condition needs one. */
status episode_filter_reward(const struct episode_filter *filter, const struct signature *signature,
                             uint32_t *k, struct err *err) MUST_CHECK;
/* Does a logged value fulfil the tag's condition? Numbers are compared as numbers. */
bool episode_filter_tag_is(const struct episode_filter *filter, const char *value);

/* Sets `reason` of n episodes, which are in the order of the logs. NO_MEMORY. */
status episode_filter_apply(const struct episode_filter *filter, struct episode_facts *facts,
                            uint64_t n, struct err *err) MUST_CHECK;
/* For messages, such as "without success". */
const char *episode_filter_reason_text(enum episode_filter_reason reason);

#endif
