/* Policy packages for tests. Their random weights are large enough that actions differ between
 * states. */
#ifndef HINDCAST_TESTS_POLICIES_H
#define HINDCAST_TESTS_POLICIES_H

#include <stdbool.h>

#include "common/networks/policy.h"
#include "common/trajectory/signature.h"

/* Makes a package for rows of `signature`, which it contains; a function of `seed`. `with_prior`
 * adds the prior/ tensors. Release it with mem_free. Aborts on failure. */
void *policies_package(const struct signature *signature, uint64_t seed, bool with_prior,
                       size_t *size);
/* The same, but acting by an argmax over 5 candidates, with a critic and a prior. */
void *policies_argmax_package(const struct signature *signature, uint64_t seed, size_t *size);
/* A copy of a package, with ranges of observations (NULL: none) and with notes: a key, its text, .., and
 * NULL at the end (or NULL: none). Release it with mem_free. */
void *policies_with(const void *package, size_t size, const struct policy_ranges *ranges,
                    const char *const *notes, size_t *new_size);
/* policies_package without a prior, parsed. Release it with policy_free. */
struct policy *policies_make(const struct signature *signature, uint64_t seed);

#endif
