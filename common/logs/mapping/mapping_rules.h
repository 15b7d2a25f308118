/* The keys of a mapping file about which episodes are used, and the times of rows:
 *
 *     time: {column: stamp, scale: 1e-9}      seconds = logged * scale; or a column's name
 *     time_gaps: split                        refuse, split, or ignore (the default)
 *     gap_periods: 3                          a longer interval, in control periods, is a gap
 *     bad_rows: split                         refuse (the default), or split
 *     min_piece: 2                            transitions
 *     filter: [success, best=0.1]             see episode_filter.h
 *     history: {steps: 3, actions: true}      see episode_history.h; or the number of steps
 */
#ifndef HINDCAST_LOGS_MAPPING_RULES_H
#define HINDCAST_LOGS_MAPPING_RULES_H

#include "common/logs/mapping/mapping_yaml.h"

/* Reads one of these keys. *known says whether the key is one of them. */
status mapping_rules_read(struct mapping_document *d, const char *key, const yaml_node_t *value,
                          struct mapping *mapping, bool *known) MUST_CHECK;
/* Returns what is wrong with these keys together, or NULL. */
const char *mapping_rules_check(const struct mapping *mapping);
/* Appends those keys that differ from their defaults. */
void mapping_rules_write(const struct mapping *mapping, struct text *text);

#endif
