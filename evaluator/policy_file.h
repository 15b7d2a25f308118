/* Policy packages on disk, with the results of their evaluation.
 *
 * A kept policy is the package as published, its tensors byte for byte, with notes added to its
 * metadata:
 *
 *     evaluated/run_id, evaluated/version, evaluated/learner_step, evaluated/return_mean,
 *     evaluated/wall_s */
#ifndef HINDCAST_EVALUATOR_POLICY_FILE_H
#define HINDCAST_EVALUATOR_POLICY_FILE_H

#include <stdint.h>

#include "common/clients/parameters_client.h"
#include "common/networks/policy.h"

/* The notes in a kept policy. */
struct policy_notes {
    char run_id[PARAMETERS_RUN_ID_SIZE];
    uint64_t version;
    uint64_t learner_step;
    double return_mean; /* of the running evaluation, mean over tasks; NaN: not evaluated */
    double wall_s;      /* since the run's start */
};

/* Writes the package with these notes to `path`, atomically. CORRUPT: not a package. */
status policy_file_keep(const char *path, const void *package, size_t size,
                        const struct policy_notes *notes, struct err *err) MUST_CHECK;

/* Reads the policy and its notes (either may be NULL: not wanted). NOT_FOUND; CORRUPT also where a
 * note is missing. */
status policy_file_load(const char *path, struct policy **policy, struct policy_notes *notes,
                        struct err *err) MUST_CHECK;

#endif
