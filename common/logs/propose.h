/* A mapping proposed from what the logs hold: names of columns, their shapes and values.
 *
 * A proposal is a guess with reasons. Every guess that a person should look at is a line of
 * `notes`, which `hindcast dataset map` prints as comments above the mapping. All rules are ours. */
#ifndef HINDCAST_LOGS_PROPOSE_H
#define HINDCAST_LOGS_PROPOSE_H

#include "common/base/text.h"
#include "common/logs/logs.h"

/* Reads all the logs once. `mapping` (initialised here) and `notes` (one line each, ending in a
 * newline) are the caller's. INVALID where no column can be an observation or an action: the text
 * names the columns that are there. */
status propose_mapping(struct logs *logs, struct mapping *mapping, struct text *notes,
                       struct err *err) MUST_CHECK;

#endif
