/* The mapping by which logs are read: given, beside them, or proposed. */
#ifndef HINDCAST_LOGS_SOURCE_MAPPING_H
#define HINDCAST_LOGS_SOURCE_MAPPING_H

#include "common/base/text.h"
#include "common/logs/episodes/logs.h"

/* Initialises `mapping` for the logs: from the file `given`, or, if it is NULL or empty, from
 * PATH/mapping.yaml if that exists, or from a proposal, whose notes are appended to `notes`.
 * *proposed says that it is a proposal. */
status source_find_mapping(struct logs *logs, const char *path, const char *given,
                           struct mapping *mapping, bool *proposed, struct text *notes,
                           struct err *err) MUST_CHECK;
/* Returns INVALID for a proposal that the user has to confirm, with the commands for that. */
status source_mapping_check(const char *path, const struct text *notes, struct err *err) MUST_CHECK;

#endif
