/* Help for the replay server's tests: episodes whose every number says where it belongs, a store,
 * and a service in this process. */
#ifndef HINDCAST_TESTS_REPLAY_H
#define HINDCAST_TESTS_REPLAY_H

#include "common/trajectory/episode.h"
#include "replay_server/service/service.h"
#include "replay_server/store/store.h"
#include "tests/lib/scratch.h"

/* The number in column `column` of row t of episode `number`: exact in a float for number < 64, t <
 * 4096, column < 32. */
float replay_number(uint32_t number, uint32_t t, uint32_t column);
void replay_number_read(float value, uint32_t *number, uint32_t *t, uint32_t *column);

/* T + 1 rows of such numbers with identity (9, 0, number, 0); episode_fini is the caller's. */
void replay_episode(struct episode *episode, const struct signature *signature, uint32_t number,
                    uint32_t T);

/* Puts it into the store, in the open transaction. */
void replay_store_episode(struct store *store, uint64_t id, const struct episode *episode);

/* A service at unix:FOLDER/NAME.sock with its store in FOLDER/NAME and the defaults but for `flags`
 * ("--min_transitions=5", .., NULL). Fills `experiment`'s replay list from place `index` on. */
struct service *replay_serve(const char *folder, const char *name, struct experiment *experiment,
                             uint32_t index, const char *const *flags);

#endif
