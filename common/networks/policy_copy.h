/* Copies of a policy package: with other notes, and the prior that one may contain as a policy. */
#ifndef HINDCAST_NETWORKS_POLICY_COPY_H
#define HINDCAST_NETWORKS_POLICY_COPY_H

#include "common/networks/policy.h"

/* Copies the tensors whose names begin with `prefix`, replaced by `new_prefix`, into `writer`; an
 * empty prefix matches all. *n: how many. */
status policy_copy_tensors(struct safetensors_writer *writer, const struct safetensors *file,
                           const char *prefix, const char *new_prefix, size_t *n,
                           struct err *err) MUST_CHECK;
/* Copies all metadata but keys that begin with `without` or with `nor`. */
status policy_copy_notes(struct safetensors_writer *writer, const struct safetensors *file,
                         const char *without, const char *nor, struct err *err) MUST_CHECK;

/* Fills `writer` with a package whose policy is the prior of `file` (its tensors prior/..): it acts
 * by its distribution, and its least standard deviation is setting/prior_min_std. NOT_FOUND: the
 * package has no prior. */
status policy_copy_prior(struct safetensors_writer *writer, const struct safetensors *file,
                         struct err *err) MUST_CHECK;

/* The prior of a package as a policy of its own. NOT_FOUND likewise. */
status policy_parse_prior(struct policy **prior, const void *bytes, size_t size,
                          struct err *err) MUST_CHECK;
status policy_read_prior(struct policy **prior, const char *path, struct err *err) MUST_CHECK;

#endif
