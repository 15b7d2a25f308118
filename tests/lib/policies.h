/* Policy packages for tests: random weights, large enough that actions differ between states. */
#ifndef HINDCAST_TESTS_POLICIES_H
#define HINDCAST_TESTS_POLICIES_H

#include <stdbool.h>

#include "common/networks/policy.h"
#include "common/trajectory/signature.h"

/* A package for rows of `signature`, named in it, a function of `seed`; with prior/ tensors beside
 * it where asked. mem_free it. Aborts when it cannot be made. */
void *policies_package(const struct signature *signature, uint64_t seed, bool with_prior,
                       size_t *size);
/* One that acts by an argmax over 5 candidates, with a prior. */
void *policies_argmax_package(const struct signature *signature, uint64_t seed, size_t *size);
/* The first, parsed, without a prior; policy_free it. */
struct policy *policies_make(const struct signature *signature, uint64_t seed);

#endif
