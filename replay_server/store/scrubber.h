/* Checks every chunk of the store once after opening, slowly, in the background. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_SCRUBBER_H
#define HINDCAST_REPLAY_SERVER_STORE_SCRUBBER_H

#include "replay_server/store/store.h"

struct scrubber;

/* `corrupt` is called on the scrubber's thread for each episode with a chunk that fails its check.
 */
status scrubber_open(struct scrubber **scrubber, struct store *store, uint64_t bytes_per_s,
                     void (*corrupt)(void *arg, uint32_t table, uint64_t id), void *arg,
                     struct err *err) MUST_CHECK;
void scrubber_close(struct scrubber *scrubber);

/* The same at once, on this thread: at open after a power cut. *n_corrupt
 * counts. */
status scrub_all(struct store *store, void (*corrupt)(void *arg, uint32_t table, uint64_t id),
                 void *arg, uint64_t *n_corrupt, struct err *err) MUST_CHECK;

#endif
