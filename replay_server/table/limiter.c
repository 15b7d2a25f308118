/* The limits of a table's rates.
 *
 * Each kind of limit is a row of the table `kinds`: when it is on, and one function for each side
 * that it can make wait. A limiter holds pointers to the rows that its settings turn on and asks
 * them in order. The functions are pure: they read the counters and the question, and give a reason
 * in numbers. The rules themselves are in limiter.h.
 *
 * The functions that allow or refuse write their reason before they answer; the reason of a true
 * answer is not looked at. */
#include "replay_server/table/limiter.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* What a limit is asked: may this go on? */
struct question {
    const struct limiter *limiter;
    uint64_t resident; /* sample: transitions that the table holds */
    uint64_t evict;    /* insert: transitions that it evicts */
    bool restored;     /* insert: the episode comes from logs */
};

/* Why not, in numbers: "what: have of need". */
struct reason {
    const char *what;
    double have, need;
};

struct limiter_kind {
    bool (*is_on)(const struct limiter_settings *settings);
    /* Each returns true, or false and the reason. NULL: it never makes that side wait. */
    bool (*allow_sample)(const struct question *question, struct reason *reason);
    bool (*allow_insert)(const struct question *question, struct reason *reason);
    bool couples_samples; /* a draw changes what the next draw may do */
};

/* ---- min_transitions ---- */

static bool min_transitions_is_on(const struct limiter_settings *settings)
{
    return settings->min_transitions > 0;
}

static bool min_transitions_allow_sample(const struct question *question, struct reason *reason)
{
    /* What the table holds now counts, not what was ever inserted: removals lower it again. */
    const uint64_t least = question->limiter->settings.min_transitions;
    *reason = (struct reason){"min_transitions", (double)question->resident, (double)least};
    return question->resident >= least;
}

/* ---- samples_per_insert ---- */

static bool samples_per_insert_is_on(const struct limiter_settings *settings)
{
    return settings->samples_per_insert > 0;
}

/* An insert that is cancelled may take the count below the origin. */
static double since(uint64_t count, uint64_t origin)
{
    return (double)count - (double)origin;
}

/* How far inserting is ahead of sampling, in transitions sampled. Below 0 sampling is ahead; it
 * begins below, since the first min_transitions do not count. */
static double lead(const struct limiter *limiter)
{
    const double inserted = since(limiter->counts.fresh_inserted, limiter->origin.fresh_inserted);
    const double counted = inserted - (double)limiter->settings.min_transitions;
    return counted * limiter->settings.samples_per_insert -
           since(limiter->counts.sampled, limiter->origin.sampled);
}

static bool samples_per_insert_allow_sample(const struct question *question, struct reason *reason)
{
    const struct limiter_settings *set = &question->limiter->settings;
    /* How many transitions would have to be inserted before a sample may go on, rounded up. */
    const double missing = (-set->tolerance - lead(question->limiter)) / set->samples_per_insert;
    const double inserted = (double)question->limiter->counts.fresh_inserted;
    *reason = (struct reason){"samples_per_insert: transitions inserted", inserted,
                              ceil(inserted + missing)};
    return lead(question->limiter) >= -set->tolerance;
}

static bool samples_per_insert_allow_insert(const struct question *question, struct reason *reason)
{
    const struct limiter *limiter = question->limiter;
    /* Restored episodes do not count as inserts, and so they do not wait here either. */
    const double sampled = (double)limiter->counts.sampled;
    const double tolerance = limiter->settings.tolerance;
    *reason = (struct reason){"samples_per_insert: transitions sampled", sampled,
                              ceil(sampled + lead(limiter) - tolerance)};
    return question->restored || lead(limiter) <= tolerance;
}

/* ---- samples_per_eviction ---- */

static bool samples_per_eviction_is_on(const struct limiter_settings *settings)
{
    return settings->samples_per_eviction > 0;
}

static bool samples_per_eviction_allow_insert(const struct question *question,
                                              struct reason *reason)
{
    const struct limiter *limiter = question->limiter;
    /* As if the eviction had been carried out already. */
    const double evicted = since(limiter->counts.evicted, limiter->origin.evicted);
    const double need =
        limiter->settings.samples_per_eviction * (evicted + (double)question->evict);
    const double sampled = since(limiter->counts.sampled, limiter->origin.sampled);
    *reason = (struct reason){"samples_per_eviction: transitions sampled", sampled, ceil(need)};
    /* An insert that evicts nothing never waits. */
    return !question->restored || question->evict == 0 || sampled >= need;
}

/* ---- The list ---- */

/* In the order in which they are asked: the first that refuses gives the reason. */
static const struct limiter_kind kinds[] = {
    {.is_on = min_transitions_is_on, .allow_sample = min_transitions_allow_sample},
    {.is_on = samples_per_insert_is_on,
     .allow_sample = samples_per_insert_allow_sample,
     .allow_insert = samples_per_insert_allow_insert,
     .couples_samples = true},
    {.is_on = samples_per_eviction_is_on, .allow_insert = samples_per_eviction_allow_insert},
};
_Static_assert(sizeof kinds / sizeof kinds[0] <= LIMITER_LIMITS_MAX, "the list has room for all");

/* One number of the settings. */
static status check_one(const char *name, double value, struct err *err)
{
    if (!isfinite(value) || value < 0) {
        return err_set(err, STATUS_INVALID, "%s %g: expected a finite number >= 0", name, value);
    }
    return STATUS_OK;
}

status limiter_check(const struct limiter_settings *settings, struct err *err)
{
    /* min_transitions is an unsigned integer, every value of which is valid. */
    status s = check_one("samples_per_insert", settings->samples_per_insert, err);
    if (s == STATUS_OK) {
        s = check_one("samples_per_insert_tolerance", settings->tolerance, err);
    }
    if (s == STATUS_OK) {
        s = check_one("samples_per_eviction", settings->samples_per_eviction, err);
    }
    return s;
}

void limiter_init(struct limiter *limiter, const struct limiter_settings *settings)
{
    *limiter = (struct limiter){0};
    limiter_set(limiter, settings);
}

void limiter_reset(struct limiter *limiter)
{
    limiter->counts = limiter->origin = (struct limiter_counts){0};
}

void limiter_set(struct limiter *limiter, const struct limiter_settings *settings)
{
    const struct limiter_settings *old = &limiter->settings;
    /* The lead becomes 0; before the first min_transitions are there it stays below. */
    if (old->samples_per_insert != settings->samples_per_insert ||
        old->samples_per_eviction != settings->samples_per_eviction ||
        old->min_transitions != settings->min_transitions) {
        const uint64_t inserted = limiter->counts.fresh_inserted;
        limiter->origin = limiter->counts;
        limiter->origin.fresh_inserted -=
            settings->min_transitions < inserted ? settings->min_transitions : inserted;
    }
    limiter->settings = *settings;
    limiter->n_limits = 0;
    ASSERT(settings->samples_per_insert >= 0 && settings->samples_per_eviction >= 0);
    /* In the order of `kinds`; a limit that is off costs nothing later. */
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].is_on(settings)) {
            ASSERT(limiter->n_limits < LIMITER_LIMITS_MAX);
            limiter->limits[limiter->n_limits++] = &kinds[i];
        }
    }
}

/* Writes the reason as Info shows it. Always false, for `return refuse(..)`. */
static bool refuse(const struct reason *reason, char *why, size_t size)
{
    /* Callers that only want the answer pass NULL. */
    if (why && size > 0) {
        snprintf(why, size, "%s: %.0f of %.0f", reason->what, reason->have, reason->need);
    }
    return false;
}

bool limiter_allow_sample(const struct limiter *limiter, uint64_t resident, bool sealed, char *why,
                          size_t why_size)
{
    const struct question question = {.limiter = limiter, .resident = resident};
    struct reason reason;
    /* From nothing nothing can be drawn, sealed or not. */
    if (resident == 0) {
        const uint64_t least = limiter->settings.min_transitions;
        reason = (struct reason){"empty", 0, least ? (double)least : 1};
        return refuse(&reason, why, why_size);
    }
    /* All inserts of a sealed table are over, so nothing can be waited for. */
    for (uint32_t i = 0; !sealed && i < limiter->n_limits; i++) {
        const struct limiter_kind *kind = limiter->limits[i];
        if (kind->allow_sample && !kind->allow_sample(&question, &reason)) {
            return refuse(&reason, why, why_size);
        }
    }
    return true;
}

bool limiter_allow_insert(const struct limiter *limiter, bool restored, uint64_t evict, char *why,
                          size_t why_size)
{
    const struct question question = {.limiter = limiter, .restored = restored, .evict = evict};
    struct reason reason;
    /* A sealed table takes no inserts and does not ask. */
    for (uint32_t i = 0; i < limiter->n_limits; i++) {
        const struct limiter_kind *kind = limiter->limits[i];
        if (kind->allow_insert && !kind->allow_insert(&question, &reason)) {
            return refuse(&reason, why, why_size);
        }
    }
    return true;
}

bool limiter_couples_samples(const struct limiter *limiter)
{
    bool couples = false;
    for (uint32_t i = 0; i < limiter->n_limits; i++) {
        couples = couples || limiter->limits[i]->couples_samples;
    }
    return couples;
}

/* ---- Counting ---- */

void limiter_commit_sample(struct limiter *limiter, uint64_t transitions)
{
    /* Sums of 64 bits do not wrap around in the life of a table; the assertion says so. */
    ASSERT(limiter->counts.sampled + transitions >= transitions);
    limiter->counts.sampled += transitions;
}

void limiter_commit_insert(struct limiter *limiter, bool restored, uint64_t transitions,
                           uint64_t evicted)
{
    ASSERT(transitions >= 1);
    /* Fresh inserts move the lead, restored ones the count of evictions. */
    if (restored) {
        ASSERT(limiter->counts.evicted + evicted >= evicted);
        limiter->counts.evicted += evicted;
    } else {
        ASSERT(limiter->counts.fresh_inserted + transitions >= transitions);
        limiter->counts.fresh_inserted += transitions;
    }
}

void limiter_cancel_insert(struct limiter *limiter, bool restored, uint64_t transitions)
{
    ASSERT(transitions >= 1);
    /* An eviction stays counted: its episodes are gone, whatever became of the insert. */
    if (!restored) {
        ASSERT(limiter->counts.fresh_inserted >= transitions);
        limiter->counts.fresh_inserted -= transitions;
    }
}
