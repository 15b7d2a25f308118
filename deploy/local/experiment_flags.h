/* Flags of the section `experiment`, for commands that are given no experiment file: they name what
 * processes ask for, as in --experiment.tls_ca=FILE --experiment.token_file=FILE. */
#ifndef HINDCAST_LOCAL_EXPERIMENT_FLAGS_H
#define HINDCAST_LOCAL_EXPERIMENT_FLAGS_H

#include "common/base/experiment.h"

#define EXPERIMENT_FLAG "--experiment."

/* Reads n flags, all of which must be such, over the defaults, and derives what follows from them
 * (experiment_finish). INVALID names the flag. */
status experiment_flags_read(struct experiment *experiment, int n, char *const *flags,
                             struct err *err) MUST_CHECK;

#endif
