/* Rules that turn logged episodes into those that are used: bad rows are cut out, then a filter
 * chooses. They come from a mapping file or from the options of the restorer. Specific to Hindcast.
 */
#ifndef HINDCAST_TRAJECTORY_EPISODE_RULES_H
#define HINDCAST_TRAJECTORY_EPISODE_RULES_H

#include "common/trajectory/episode_filter.h"
#include "common/trajectory/episode_history.h"

struct episode_rules {
    bool
        split_bad_rows; /* cut episodes around rows with missing values, instead of refusing them */
    bool split_gaps;    /* the same for intervals between rows that are too long */
    uint32_t min_piece; /* transitions; shorter pieces are left out */
    struct episode_filter filter;
    struct episode_history history; /* stacked last, after episodes were cut and chosen */
};

/* Rules that change nothing: every episode is used as it was logged. */
void episode_rules_init(struct episode_rules *rules);
bool episode_rules_use_all(const struct episode_rules *rules); /* whole, whatever the history */
/* Do episodes have to be cut? */
bool episode_rules_split(const struct episode_rules *rules);
/* Appends the rules in words, such as "bad_rows: split, min_piece: 10, filter: success, best=0.1";
 * nothing for rules that change nothing. Equal rules have equal texts. */
void episode_rules_write(const struct episode_rules *rules, struct text *text);

#endif
