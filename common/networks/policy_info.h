/* The metadata of a policy package. Private to common/networks/policy*. */
#ifndef HINDCAST_NETWORKS_POLICY_INFO_H
#define HINDCAST_NETWORKS_POLICY_INFO_H

#include <stdbool.h>

#include "common/networks/policy.h"

/* Which networks a package has beside `policy/`, according to its `acting`. */
bool policy_info_has_critic(const struct policy_info *info);
bool policy_info_has_perturb(const struct policy_info *info);

/* Fills a zeroed `info` and checks it; its signature_json points into the file. CORRUPT;
 * UNIMPLEMENTED for an unknown `acting`. */
status policy_info_read(const struct safetensors *file, struct policy_info *info,
                        struct err *err) MUST_CHECK;
status policy_info_write(struct safetensors_writer *writer, const struct policy_info *info,
                         struct err *err) MUST_CHECK;

#endif
