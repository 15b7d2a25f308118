/* MuJoCo models, compiled once per process and shared, read-only, by all environments of a task.
 *
 * Reference-counted; any thread may take and drop them. Automatic reset on bad states is disabled in
 * all of them: a bad state must end the episode, not silently begin a new one. */
#ifndef HINDCAST_ENVIRONMENTS_SHARED_MODEL_H
#define HINDCAST_ENVIRONMENTS_SHARED_MODEL_H

#include <mujoco/mujoco.h>

#include "common/base/status.h"

/* Changes a parsed model before it is compiled: remove a geom, set a size. `arg` as given to
 * shared_model_take. */
typedef status shared_model_edit(mjSpec *spec, const void *arg, struct err *err);

/* Makes the spec of a model that consists of several files in `folder`; the caller deletes it. `arg`
 * as given to shared_model_take_assembled. */
typedef status shared_model_assemble(mjSpec **spec, const char *folder, const void *arg,
                                     struct err *err);

struct shared_model {
    const mjModel *model;
    const mjModel *passive; /* the same arrays, actuation disabled: for start states */
};

/* The model of file `path` after `edit` (NULL: unchanged), under the name `key`: the same path and key
 * give the same model, so different edits need different keys. NOT_FOUND: the file does not exist;
 * INVALID: MuJoCo refuses it (its text is in `err`). */
status shared_model_take(const struct shared_model **shared, const char *path, const char *key,
                         shared_model_edit *edit, const void *arg, struct err *err) MUST_CHECK;
/* The same of a model that `assemble` makes from the files in `folder`. */
status shared_model_take_assembled(const struct shared_model **shared, const char *folder,
                                   const char *key, shared_model_assemble *assemble,
                                   const void *arg, struct err *err) MUST_CHECK;
void shared_model_drop(const struct shared_model *shared); /* NULL is fine; the last one frees */

#endif
