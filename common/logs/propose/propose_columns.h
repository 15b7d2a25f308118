/* The first step of a proposal: the mapping, as far as names and shapes of the columns say it. */
#ifndef HINDCAST_LOGS_PROPOSE_COLUMNS_H
#define HINDCAST_LOGS_PROPOSE_COLUMNS_H

#include "common/logs/propose/proposal.h"

/* Describes the first recording, gives each of its columns a role, and adds observations, actions,
 * rewards, flags and the column of episodes to the mapping. The limits of the actions are empty
 * intervals (INFINITY..-INFINITY). No value is read. Returns INVALID if no column can be an
 * observation or an action. */
status propose_columns(struct proposal *p) MUST_CHECK;

#endif
