/* From logged rows to the rows that are inserted: which rewards, in which order, logged or
 * computed.
 *
 * The other parts of a row stay as they are. With a script, the identity's `relabel` is the
 * script's digest: the same episode with other rewards is another episode. One thread. */
#ifndef HINDCAST_RELABEL_RELABEL_H
#define HINDCAST_RELABEL_RELABEL_H

#include <stdatomic.h>

#include "common/base/config.h"
#include "common/trajectory/episode.h"

struct relabel;

/* `logged` is borrowed. `rewards` names what is wanted (n == 0: all that are logged, then the
 * script's others); `script` is the path of a Lua file (script.h), or empty. Where both have a
 * reward of one name, the script's is taken. NOT_FOUND, INVALID. */
status relabel_new(struct relabel **relabel, const struct signature *logged,
                   const struct config_texts *rewards, const char *script,
                   struct err *err) MUST_CHECK;
void relabel_free(struct relabel *relabel);
/* The signature of the rows that come out. */
const struct signature *relabel_signature(const struct relabel *relabel);

/* XXH64 of the script's file; 0: there is none. */
uint64_t relabel_digest(const struct relabel *relabel);
/* Are the rows that come out the logged rows, so that relabel_apply would only copy them? True
 * without a script when the rewards are all the logged ones in their order. */
bool relabel_is_identity(const struct relabel *relabel);

/* Makes a running script end soon after *stop becomes true (CLOSED). Borrowed. */
void relabel_set_stop(struct relabel *relabel, const atomic_bool *stop);

/* `to` (of the signature's width, reused) <- `from`, which passed episode_check. INVALID: the
 * script failed. */
status relabel_apply(struct relabel *relabel, const struct episode *from, struct episode *to,
                     struct err *err) MUST_CHECK;

#endif
