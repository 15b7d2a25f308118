/* Intervals between the rows of an episode that are longer than the control period allows. */
#ifndef HINDCAST_LOGS_LOGS_GAPS_H
#define HINDCAST_LOGS_LOGS_GAPS_H

#include "common/logs/episodes/logs_cursor.h"
#include "common/logs/episodes/logs_index.h"
#include "common/trajectory/episode.h"

#define LOGS_GAP_SIZES 6

/* Gaps (see mapping.h) in all episodes read so far. */
struct logs_gaps {
    bool has_times; /* the mapping names a column of times, and the control period is known */
    uint64_t n;
    /* Of these: not positive; up to 10, 30, 100, 1000 control periods; longer. */
    uint64_t sizes[LOGS_GAP_SIZES];
    double longest_s;
    char place[512]; /* "rec_003.csv, row 40", of the longest */
};

/* Looks at the intervals between the rows of the episode, which is at `place` in the current
 * recording of the cursor, and counts the gaps. With `time_gaps: refuse` in the mapping a gap is an
 * error (INVALID); with `split` the first action before it becomes NaN. */
status logs_gaps_find(struct logs_gaps *gaps, struct logs_cursor *cursor,
                      const struct logs_index *index, const struct logs_place *place,
                      struct episode *episode, struct err *err) MUST_CHECK;

#endif
