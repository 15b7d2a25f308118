/* Proposes a mapping for ExORL's files: one npz file an episode, with the arrays observation,
 * action, reward and discount (and often physics), whose first row is that of the reset: its action
 * and reward are 0 and led to nothing, so that the action in row t led to the observation in row t.
 * See propose.h; this is the part of propose_mapping for such logs. */
#ifndef HINDCAST_LOGS_PROPOSE_EXORL_H
#define HINDCAST_LOGS_PROPOSE_EXORL_H

#include "common/base/text.h"
#include "common/logs/episodes/logs.h"

/* Looks at all files. *is_exorl says whether they have this layout; then the initialised `mapping` is
 * complete and the notes say so. On an error `mapping` may be filled in part. */
status propose_exorl(struct logs *logs, bool *is_exorl, struct mapping *mapping, struct text *notes,
                     struct err *err) MUST_CHECK;

#endif
