/* Times the policy library as a control loop calls it: one observation, one action, then sleep.
 *
 * The program is linked with the library itself (deploy/policy/), not with the code that evaluators
 * use, so that what is measured is what users get. Between two actions of a loop the caches belong
 * to others and the core may sleep, which is why a loop is slower than actions in a row; both are
 * of interest, and --rate chooses. */
#include "deploy/local/policy_bench.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "deploy/policy/hindcast_policy.h"

#define ACTIONS_MAX  10000000u
#define OBSERVATIONS 64u /* different ones, in turn */

struct timing {
    hindcast_policy *policy;
    hindcast_actor *actor;
    float *observations; /* (OBSERVATIONS, O) */
    float *action;       /* (A) */
    uint64_t *times_ns;  /* (n), sorted at the end */
    size_t n;
    uint64_t late; /* loops that began after the end of their period */
};

static status open_policy(struct timing *timing, const struct policy_bench *bench, struct err *err)
{
    char error[HINDCAST_POLICY_ERROR_SIZE];
    if (hindcast_policy_load(&timing->policy, bench->path, error) != HINDCAST_POLICY_OK ||
        hindcast_actor_new(&timing->actor, timing->policy, bench->acting, error) !=
            HINDCAST_POLICY_OK) {
        return err_set(err, STATUS_INVALID, "%s", error);
    }
    const size_t O = hindcast_policy_observation_size(timing->policy);
    timing->observations = mem_array(OBSERVATIONS * O, sizeof *timing->observations);
    timing->action = mem_array(hindcast_policy_action_size(timing->policy), sizeof *timing->action);
    timing->times_ns = mem_array(ACTIONS_MAX, sizeof *timing->times_ns);
    if (timing->observations == NULL || timing->action == NULL || timing->times_ns == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", bench->path);
    }
    struct rng rng;
    rng_init(&rng, 0, "policy_bench", 0);
    for (size_t i = 0; i < OBSERVATIONS * O; i++) {
        timing->observations[i] = (float)rng_normal(&rng);
    }
    return STATUS_OK;
}

/* Sleeps to `at`, a time of the monotonic clock. */
static void sleep_until(uint64_t at_ns)
{
    const struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                .tv_nsec = (long)(at_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {
    }
}

static void act(struct timing *timing, const struct policy_bench *bench)
{
    const uint64_t begin = clock_now_ns();
    const uint64_t end = begin + (uint64_t)(bench->seconds * 1e9);
    const uint64_t period = bench->rate_hz > 0 ? (uint64_t)(1e9 / bench->rate_hz) : 0;
    const size_t O = hindcast_policy_observation_size(timing->policy);
    uint64_t now = begin;
    while (now < end && timing->n < ACTIONS_MAX) {
        if (period > 0) {
            const uint64_t at = begin + period * (timing->n + 1);
            timing->late += clock_now_ns() > at;
            sleep_until(at);
        }
        const float *observation = timing->observations + timing->n % OBSERVATIONS * O;
        const uint64_t before = clock_now_ns();
        /* Observations are finite and a policy's weights, too: this cannot fail. */
        const int code = hindcast_actor_act(timing->actor, observation, timing->action);
        now = clock_now_ns();
        ASSERT(code == HINDCAST_POLICY_OK);
        timing->times_ns[timing->n++] = now - before;
    }
}

static int by_time(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* In microseconds; the times are sorted. */
static double quantile(const struct timing *timing, double q)
{
    const size_t i = (size_t)(q * (double)(timing->n - 1) + 0.5);
    return (double)timing->times_ns[i] * 1e-3;
}

static void print(struct timing *timing, const struct policy_bench *bench, FILE *out)
{
    qsort(timing->times_ns, timing->n, sizeof *timing->times_ns, by_time);
    fprintf(out, "policy      %s (%s, O %u, A %u)\n", bench->path,
            hindcast_policy_note(timing->policy, "algorithm"),
            hindcast_policy_observation_size(timing->policy),
            hindcast_policy_action_size(timing->policy));
    fprintf(out, "actions     %zu", timing->n);
    if (bench->rate_hz > 0) {
        fprintf(out, " at %g Hz, %llu periods begun late\n", bench->rate_hz,
                (unsigned long long)timing->late);
    } else {
        fprintf(out, " in a row\n");
    }
    fprintf(out, "time_us     p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
            quantile(timing, 0.5), quantile(timing, 0.9), quantile(timing, 0.99),
            quantile(timing, 0.999), quantile(timing, 1.0));
}

status policy_bench(const struct policy_bench *bench, FILE *out, struct err *err)
{
    struct timing timing = {0};
    const status s = open_policy(&timing, bench, err);
    if (s == STATUS_OK) {
        act(&timing, bench);
        print(&timing, bench, out);
    }
    hindcast_actor_free(timing.actor);
    hindcast_policy_free(timing.policy);
    mem_free(timing.observations);
    mem_free(timing.action);
    mem_free(timing.times_ns);
    return s;
}
