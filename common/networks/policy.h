/* The policy package: what a learner publishes, and what evaluators, collectors and Python load.
 *
 * A safetensors file. The network that acts is under `policy/`, named and shaped as in the
 * reference (in bm, abm and bcq it is the prior). Metadata strings:
 *
 *     format            hindcast-policy-1
 *     algorithm         abm+mpo, ..
 *     acting            gaussian          clip(mean + std z)
 *                       argmax            of `candidates` such actions, the one with the largest Q1
 *                       perturbed_argmax  the same, each moved first: clip(a + perturb_scale
 *                                         tanh(net(s, a))), a = clip(mean + std z)
 *     candidates        argmax: how many (also perturbed)
 *     perturb_scale     perturbed_argmax
 *     observation, actions, tasks, widths ("256,256,256"), min_std, init_std
 *     learner_step      steps done when it was taken
 *     offline_value, offline_value_low, offline_value_high
 *                       of an offline evaluation: the value and its interval, where there was one
 *     hindcast_version  of the learner
 *     made_of           JSON: what its table was made of (docs/policies.md)
 *     signature         JSON of the table's signature, where known (common/trajectory/signature.h)
 *     and all settings of the learner under setting/..
 *
 * Where the learner normalized observations there are `normalizer/mean` and `normalizer/scale`, (O)
 * each (normalizer.h); acting applies them, so inputs are always observations as they are logged.
 *
 * Where they were measured there are `observed/min` and `observed/max`, (O) each: the least and the
 * largest value of each dimension in a sample of the rows that were learned from, as logged.
 *
 * For an argmax there is also Q1 as `critic/`, and the perturbation network as `perturb/`.
 *
 * Inputs are [observation | one-hot task], the latter absent with one task: I = O or O + K.
 * Actions are canonical. */
#ifndef HINDCAST_NETWORKS_POLICY_H
#define HINDCAST_NETWORKS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/networks/network.h"
#include "common/networks/normalizer.h"
#include "common/networks/safetensors.h"
#include "common/trajectory/signature.h"

#define POLICY_TEXT_SIZE 32
#define POLICY_BYTES_MAX (256u << 20)

#define POLICY_ACT_GAUSSIAN  "gaussian"
#define POLICY_ACT_ARGMAX    "argmax"
#define POLICY_ACT_PERTURBED "perturbed_argmax"

struct policy_info {
    char algorithm[POLICY_TEXT_SIZE];
    char acting[POLICY_TEXT_SIZE]; /* POLICY_ACT_.. */
    int candidates;                /* argmax; else 1 */
    double perturb_scale;          /* perturbed_argmax */
    int O, A, K;
    int n_widths;
    int widths[NETWORK_LAYERS_MAX];
    double min_std, init_std;
    uint64_t learner_step;
    const char *signature_json; /* NULL when the package has none */
};
int policy_inputs(const struct policy_info *info); /* I */

/* How it acts: by the mean action (perturbed where there is a perturbation network), by a sample
 * given noise, or by the best of the candidates given noise. */
enum policy_rule { POLICY_MEAN, POLICY_SAMPLE, POLICY_ARGMAX };
const char *policy_rule_name(enum policy_rule rule); /* "mean", "sample", "argmax" */
/* By name; NULL: what an evaluator does, the mean or the argmax. INVALID for a rule that this
 * policy does not have: one that takes the best of candidates has no sample, and the other way
 * round. */
status policy_rule_find(enum policy_rule *rule, const struct policy_info *info, const char *name,
                        struct err *err) MUST_CHECK;

/* The signature of the rows it was made for. NOT_FOUND where the package has none, CORRUPT where it
 * does not parse or its sizes differ from those of `info`. */
status policy_info_signature(struct signature *signature, const struct policy_info *info,
                             struct err *err) MUST_CHECK;

/* Immutable once made: any number of threads may act with it, each with its own scratch. */
struct policy;

/* Parses and checks a package: sizes, names, shapes, finite weights. Copies what it needs. CORRUPT,
 * MISMATCH, INVALID. */
status policy_parse(struct policy **policy, const void *bytes, size_t size,
                    struct err *err) MUST_CHECK;
status policy_read(struct policy **policy, const char *path, struct err *err) MUST_CHECK;
void policy_free(struct policy *policy);
const struct policy_info *policy_info(const struct policy *policy);
/* The network PREFIX/.. that acting reads: "policy", "critic", "perturb". Its weights are the
 * policy's. False where the package has none. */
bool policy_network(const struct policy *policy, const char *prefix, struct network *net);
/* What acting normalizes observations with, the policy's; O is 0 where it does not. */
struct normalizer policy_normalizer(const struct policy *policy);
/* The ranges of observations that were seen in learning, min <= max in each of O dimensions; O is 0
 * where the package does not say. */
struct policy_ranges {
    const float *min, *max; /* (O) */
    size_t O;
};
struct policy_ranges policy_ranges(const struct policy *policy);
/* The value that an offline evaluation gave the policy, with its interval; false where there is
 * none. */
bool policy_offline_value(const struct policy *policy, double *value, double *low, double *high);
/* A metadata string of the package ("setting/gamma"), or NULL. */
const char *policy_note(const struct policy *policy, const char *key);

/* Actions per state that policy_act chooses from, each made of A standard normals. 1 unless the
 * policy acts by an argmax. */
int policy_candidates(const struct policy *policy);
/* From now on at most `most` (at least 1) candidates: acting needs less scratch and noise. */
void policy_limit_candidates(struct policy *policy, int most);
/* Floats of scratch for up to P states at a time; 64-byte aligned. */
size_t policy_scratch(const struct policy *policy, int P);
/* actions(P,A), canonical and clipped, at inputs(P,I). z(P, candidates, A) standard normals, or
 * NULL: the mean is the only candidate. */
void policy_act(const struct policy *policy, float *actions, const float *inputs, const float *z,
                int P, float *scratch);
/* The distribution itself: mean(P,A), std(P,A), of the network before clipping. */
void policy_distribution(const struct policy *policy, float *mean, float *std, const float *inputs,
                         int P, float *scratch);

/* Puts network and metadata of a package into `writer`; further notes may be added. `params` is
 * borrowed until the file is made. */
status policy_write(struct safetensors_writer *writer, const struct policy_info *info,
                    const float *params, struct err *err) MUST_CHECK;

status policy_write_normalizer(struct safetensors_writer *writer,
                               const struct normalizer *normalizer, struct err *err) MUST_CHECK;

status policy_write_ranges(struct safetensors_writer *writer, const struct policy_ranges *ranges,
                           struct err *err) MUST_CHECK;

/* Add what an argmax needs beside the policy, under `critic/` and `perturb/`. */
status policy_write_critic(struct safetensors_writer *writer, const struct policy_info *info,
                           const float *params, struct err *err) MUST_CHECK;
status policy_write_perturb(struct safetensors_writer *writer, const struct policy_info *info,
                            const float *params, struct err *err) MUST_CHECK;

/* Adds the prior that the policy was improved from, of the same shape, as `prior/`. The floor of
 * its std is the note setting/prior_min_std. No program acts with it; it is kept for
 * measurements. */
status policy_write_prior(struct safetensors_writer *writer, const struct policy_info *info,
                          const float *params, struct err *err) MUST_CHECK;

#endif
