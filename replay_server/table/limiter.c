/* The rates of one table. The rules are in limiter.h. */
#include "replay_server/table/limiter.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static status check_one(const char *name, double value, struct err *err)
{
    if (!isfinite(value) || value < 0) {
        return err_set(err, STATUS_INVALID, "%s %g: expected a finite number >= 0", name, value);
    }
    return STATUS_OK;
}

status limiter_check(const struct limiter_settings *settings, struct err *err)
{
    status s = check_one("samples_per_insert", settings->samples_per_insert, err);
    if (s == STATUS_OK) {
        s = check_one("samples_per_insert_tolerance", settings->tolerance, err);
    }
    if (s == STATUS_OK) {
        s = check_one("samples_per_eviction", settings->samples_per_eviction, err);
    }
    return s;
}

/* How far inserting is ahead of sampling, in transitions sampled. */
static double lead(const struct limiter *limiter)
{
    const double owed = (double)limiter->fresh_inserted - (double)limiter->settings.min_transitions;
    return owed * limiter->settings.samples_per_insert - (double)limiter->sampled;
}

static void say(char *why, size_t size, const char *what, double have, double need)
{
    if (why && size > 0) {
        snprintf(why, size, "%s: %.0f of %.0f", what, have, need);
    }
}

bool limiter_allow_sample(const struct limiter *limiter, uint64_t resident, bool sealed, char *why,
                          size_t why_size)
{
    const struct limiter_settings *set = &limiter->settings;
    if (resident == 0) {
        say(why, why_size, "empty", 0, set->min_transitions ? (double)set->min_transitions : 1);
        return false;
    }
    if (sealed) {
        return true;
    }
    if (resident < set->min_transitions) {
        say(why, why_size, "min_transitions", (double)resident, (double)set->min_transitions);
        return false;
    }
    if (set->samples_per_insert > 0 && lead(limiter) < -set->tolerance) {
        const double missing = (-set->tolerance - lead(limiter)) / set->samples_per_insert;
        say(why, why_size, "samples_per_insert: transitions inserted",
            (double)limiter->fresh_inserted, ceil((double)limiter->fresh_inserted + missing));
        return false;
    }
    return true;
}

bool limiter_allow_insert(const struct limiter *limiter, bool restored, uint64_t evict, char *why,
                          size_t why_size)
{
    const struct limiter_settings *set = &limiter->settings;
    if (!restored && set->samples_per_insert > 0 && lead(limiter) > set->tolerance) {
        say(why, why_size, "samples_per_insert: transitions sampled", (double)limiter->sampled,
            ceil((double)limiter->sampled + lead(limiter) - set->tolerance));
        return false;
    }
    if (restored && set->samples_per_eviction > 0 && evict > 0) {
        const double need = set->samples_per_eviction * (double)(limiter->evicted + evict);
        if ((double)limiter->sampled < need) {
            say(why, why_size, "samples_per_eviction: transitions sampled",
                (double)limiter->sampled, ceil(need));
            return false;
        }
    }
    return true;
}

void limiter_commit_sample(struct limiter *limiter, uint64_t transitions)
{
    limiter->sampled += transitions;
}

void limiter_commit_insert(struct limiter *limiter, bool restored, uint64_t transitions,
                           uint64_t evicted)
{
    if (restored) {
        limiter->evicted += evicted;
    } else {
        limiter->fresh_inserted += transitions;
    }
}

void limiter_cancel_insert(struct limiter *limiter, bool restored, uint64_t transitions)
{
    if (!restored) {
        ASSERT(limiter->fresh_inserted >= transitions);
        limiter->fresh_inserted -= transitions;
    }
}
