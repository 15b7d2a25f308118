/* The ranges of the observations that a run learns from: least and largest value of each dimension in
 * the rows that are measured when the run begins. They are kept in RUN_DIR/observed.safetensors, so
 * that a resumed run publishes the same ones: `observed/min` and `observed/max`, (O) each, with the
 * run's name as the note run_id. One thread. */
#ifndef HINDCAST_LEARNER_RUN_OBSERVED_H
#define HINDCAST_LEARNER_RUN_OBSERVED_H

#include "common/networks/policy.h"

/* All zero: nothing is known. */
struct observed {
    size_t O;
    uint64_t n;  /* rows */
    float *both; /* (2,O) min, max */
};

status observed_init(struct observed *observed, size_t O) MUST_CHECK; /* NO_MEMORY */
void observed_fini(struct observed *observed);
void observed_add(struct observed *observed, const float *x);
/* A view; O is 0 without rows. */
struct policy_ranges observed_ranges(const struct observed *observed);

status observed_save(const struct observed *observed, const char *run_dir, const char *run_id,
                     struct err *err) MUST_CHECK;
/* For a run of this name and O dimensions. NOT_FOUND: there is no file, or it is of another run.
 * Other errors name the file. After an error `observed` is all zero. */
status observed_load(struct observed *observed, const char *run_dir, const char *run_id, size_t O,
                     struct err *err) MUST_CHECK;

#endif
