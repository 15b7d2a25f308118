/* An environment: signature, reset, step, close. A simulated task and a robot are the same to
 * whoever acts.
 *
 *     environment_open(&environment, "cheetah-run", seed, &err)
 *     per episode: environment_reset(o0), then environment_step(a) -> o, rewards until last
 *
 * Actions are canonical, in [-1, 1], shape (A); the environment maps them to physical limits
 * itself. Observations are float32, shape (O), slices in signature order. One environment belongs
 * to one thread at a time; environments of the same task share one read-only model within the
 * process, so fifty of them cost little. Same name and seed: same episodes, bit for bit, on one
 * machine. */
#ifndef HINDCAST_ENVIRONMENTS_ENVIRONMENT_H
#define HINDCAST_ENVIRONMENTS_ENVIRONMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/trajectory/signature.h"

struct environment;

/* `name` is one of environment_names(). One random generator, seeded here, serves all episodes.
 * NOT_FOUND names the environments there are, or the model file that is absent; INVALID: bad model. */
status environment_open(struct environment **environment, const char *name, uint64_t seed,
                        struct err *err) MUST_CHECK;
void environment_close(struct environment *environment); /* NULL is fine */

/* Valid until environment_close. */
const struct signature *environment_signature(const struct environment *environment);
const char *environment_name(const struct environment *environment);
/* Control steps after which an episode is cut off (`last` with discount 1); 0: no limit. */
uint32_t environment_step_limit(const struct environment *environment);

/* Starts an episode, whatever state the last one is in. observation(O) <- the first one. After an
 * error there is no episode under way; reset may be tried again. */
status environment_reset(struct environment *environment, float *observation,
                         struct err *err) MUST_CHECK;

/* One control step. action(A): finite, |a| <= 1 + 1e-5 (clipped to 1), else INVALID and nothing
 * moved. On OK observation(O), rewards(K), discount (0: terminated; 1 otherwise, also at the time
 * limit) and *last are written. CORRUPT: the simulated state went bad (not finite, or a buffer
 * overflowed); CLOSED: no episode under way. After any error but INVALID the episode is over, must
 * not be stored, and only reset() goes on. */
status environment_step(struct environment *environment, const float *action, float *observation,
                        float *rewards, float *discount, bool *last, struct err *err) MUST_CHECK;

/* All names, then NULL. */
const char *const *environment_names(void);

#endif
