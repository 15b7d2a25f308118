/* Writes checkpoints while training goes on: the state is copied, and a separate thread encodes and
 * syncs it. The training thread waits for the copy only. One checkpoint is written at a time. */
#ifndef HINDCAST_LEARNER_RUN_CHECKPOINTER_H
#define HINDCAST_LEARNER_RUN_CHECKPOINTER_H

#include "learner/run/checkpoint.h"

struct checkpointer;

/* Writes to `folder`, keeping the `keep` newest. `like` gives the sizes of the copy; `settings` is
 * copied. */
status checkpointer_open(struct checkpointer **checkpointer, const char *folder, int64_t keep,
                         const struct state *like, const struct settings *settings,
                         struct err *err) MUST_CHECK;

/* Copies state and `about` and has them written. False, and nothing done, while the last one is
 * still being written. */
bool checkpointer_offer(struct checkpointer *checkpointer, const struct state *state,
                        const struct checkpoint *about);

/* Waits until nothing is being written: how the last write ended, or TIMEOUT. */
status checkpointer_wait(struct checkpointer *checkpointer, uint64_t timeout_ms,
                         struct err *err) MUST_CHECK;

/* Step of the newest checkpoint that is durable; false: none yet. */
bool checkpointer_step(struct checkpointer *checkpointer, uint64_t *step);

/* Waits for what is being written. */
void checkpointer_close(struct checkpointer *checkpointer);

#endif
