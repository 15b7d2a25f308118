/* hindcast policy inspect: what a policy is, as a page for people. */
#ifndef HINDCAST_LOCAL_POLICY_INSPECT_H
#define HINDCAST_LOCAL_POLICY_INSPECT_H

#include <stdio.h>

#include "common/networks/policy.h"
#include "deploy/local/policy_location.h"

/* Of `policy`, which was read from `location`. CORRUPT for a signature that is none. */
status policy_inspect(const struct policy *policy, const struct policy_location *location,
                      FILE *out, struct err *err) MUST_CHECK;

#endif
