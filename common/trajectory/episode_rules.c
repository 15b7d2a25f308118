/* The rules as a whole; the parts are in episode_pieces.c and episode_filter.c. */
#include "common/trajectory/episode_rules.h"

void episode_rules_init(struct episode_rules *rules)
{
    *rules = (struct episode_rules){.min_piece = 2, .history = {.steps = 1}};
    episode_filter_init(&rules->filter);
}

bool episode_rules_split(const struct episode_rules *rules)
{
    return rules->split_bad_rows || rules->split_gaps;
}

bool episode_rules_use_all(const struct episode_rules *rules)
{
    return !episode_rules_split(rules) && episode_filter_keeps_all(&rules->filter);
}

void episode_rules_write(const struct episode_rules *rules, struct text *text)
{
    const char *between = "";
    if (rules->split_bad_rows) {
        text_add(text, "bad_rows: split");
        between = ", ";
    }
    if (rules->split_gaps) {
        text_format(text, "%stime_gaps: split", between);
        between = ", ";
    }
    /* Only where pieces can arise does their length matter. */
    if (episode_rules_split(rules)) {
        text_format(text, ", min_piece: %u", rules->min_piece);
    }
    if (!episode_filter_keeps_all(&rules->filter)) {
        text_format(text, "%sfilter: ", between);
        episode_filter_write(&rules->filter, text);
        between = ", ";
    }
    if (rules->history.steps > 1) {
        text_format(text, "%shistory: %u%s", between, rules->history.steps,
                    rules->history.actions ? " with actions" : "");
    }
}
