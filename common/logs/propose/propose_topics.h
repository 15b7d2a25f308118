/* Proposes a mapping for logs whose columns are topics with clocks of their own (MCAP). See
 * propose.h; this is the part of propose_mapping for such logs. */
#ifndef HINDCAST_LOGS_PROPOSE_TOPICS_H
#define HINDCAST_LOGS_PROPOSE_TOPICS_H

#include "common/base/text.h"
#include "common/logs/episodes/logs.h"

/* As propose_mapping; on an error `mapping` may be filled in part. */
status propose_topics(struct logs *logs, struct mapping *mapping, struct text *notes,
                      struct err *err) MUST_CHECK;

#endif
