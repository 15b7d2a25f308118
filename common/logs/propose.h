/* Proposes a mapping from the contents of the logs: names, shapes and values of the columns.
 *
 * A proposal is a guess. Every guess that the user should check is explained by a line of `notes`,
 * which `hindcast dataset map` prints as comments above the mapping. The rules are heuristics of
 * this program and not part of any format. */
#ifndef HINDCAST_LOGS_PROPOSE_H
#define HINDCAST_LOGS_PROPOSE_H

#include "common/base/text.h"
#include "common/logs/logs.h"

/* Reads all logs once, initialises `mapping` and appends lines to `notes`, each ending in a
 * newline. The caller releases both; `mapping` is empty on error. Returns INVALID if no column can
 * be an observation or an action; the text then lists the columns. */
status propose_mapping(struct logs *logs, struct mapping *mapping, struct text *notes,
                       struct err *err) MUST_CHECK;

#endif
