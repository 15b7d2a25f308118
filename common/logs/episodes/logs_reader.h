/* Reads one episode: rows of the signature, from the values of the columns that the mapping names.
 *
 * Where the last observation of an episode is depends on the mapping. With n rows in an episode
 * (o observation, o' next observation, a action; T transitions need T + 1 observations):
 *
 *     last_row            o0 a0   o1 a1   o2           T = n - 1, all rows have an observation
 *     next_observation    o0 a0 o1'   o1 a1 o2'        T = n, the last one is o' of the last row
 *     none, terminated    o0 a0   o1 a1                T = n, the last one is never used
 *     none, otherwise     o0 a0   o1 (a1)              T = n - 1, the last action is dropped */
#ifndef HINDCAST_LOGS_LOGS_READER_H
#define HINDCAST_LOGS_LOGS_READER_H

#include "common/logs/episodes/logs_cursor.h"
#include "common/logs/episodes/logs_gaps.h"
#include "common/logs/episodes/logs_index.h"
#include "common/trajectory/episode_actions.h"

/* Initialise with {0} and set `cursor` and `index`, which outlive it. */
struct logs_reader {
    struct logs_cursor *cursor;
    const struct logs_index *index;
    bool keep_bad; /* keep missing values, so that episodes can be cut around them */
    struct episode_actions actions;
    struct logs_gaps gaps;
};

/* Reads the episode at `place` of the index; see logs_read. Errors name row, column and value. */
status logs_reader_read(struct logs_reader *reader, const struct logs_place *place,
                        struct episode *episode, struct err *err) MUST_CHECK;

#endif
