/* Finds the stretches of time in which all topics have messages, cuts them where the mapping says so,
 * and places the control steps in them. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/mapping/resample_parts.h"

#define PHASE_STRENGTH 0.5  /* length of the mean vector from which the actions have a phase */
#define HELD_SHARE     0.75 /* of its period that the last observation is valid for */

static const double two_pi = 6.28318530717958647692;

/* A stretch of time. */
struct span {
    double start, end;
};

struct spans {
    size_t n, capacity;
    struct span *spans;
};

static status add_span(struct spans *spans, double start, double end, struct err *err)
{
    if (!(start <= end)) {
        return STATUS_OK;
    }
    if (spans->n == spans->capacity) {
        const size_t capacity = spans->capacity == 0 ? 16 : 2 * spans->capacity;
        struct span *grown = mem_resize(spans->spans, capacity, sizeof *grown);
        if (grown == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "stretches of time");
        }
        spans->spans = grown;
        spans->capacity = capacity;
    }
    spans->spans[spans->n++] = (struct span){start, end};
    return STATUS_OK;
}

static int compare_double(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Stores the median time between two stamps of a group; 0 if there is only one. */
static status median_period(const struct resample_clocked *group, double *median, struct err *err)
{
    *median = 0;
    if (group->n < 2) {
        return STATUS_OK;
    }
    double *periods = mem_array(group->n - 1, sizeof *periods);
    if (periods == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: stamps", group->name);
    }
    for (uint64_t i = 0; i + 1 < group->n; i++) {
        periods[i] = group->stamps[i + 1] - group->stamps[i];
    }
    qsort(periods, group->n - 1, sizeof *periods, compare_double);
    *median = periods[(group->n - 1) / 2];
    mem_free(periods);
    return STATUS_OK;
}

/* Adds the stretches in which a group has values. */
static status runs_of(const struct resampled *r, const struct resample_clocked *group,
                      struct spans *runs, struct err *err)
{
    const struct mapping *m = r->mapping;
    double split = m->resample.gaps_are_bad ? (double)INFINITY : group->max_gap_s;
    if (m->episodes == MAPPING_BY_GAPS) {
        split = fmin(split, m->resample.gap_s);
    }
    double period;
    status s = median_period(group, &period, err);
    /* An action is valid until the next one, from half a step before its message on, and its last
     * step has one more observation. */
    const double half = group->observed ? 0 : m->control_period_s / 2;
    const double valid = fmin(group->observed ? HELD_SHARE * period : period, split);
    uint64_t first = 0;
    for (uint64_t i = 0; s == STATUS_OK && i < group->n; i++) {
        if (i + 1 == group->n || group->stamps[i + 1] - group->stamps[i] > split) {
            const double end = group->stamps[i] + valid + half;
            const double next = i + 1 == group->n ? end : group->stamps[i + 1] - half;
            s = add_span(runs, group->stamps[first] - half, fmin(end, next), err);
            first = i + 1;
        }
    }
    return s;
}

/* Replaces `spans` by what it has in common with `others`. Both are in order of time. */
static status intersect(struct spans *spans, const struct spans *others, struct err *err)
{
    struct spans common = {0};
    status s = STATUS_OK;
    for (size_t i = 0, j = 0; s == STATUS_OK && i < spans->n && j < others->n;) {
        const struct span a = spans->spans[i], b = others->spans[j];
        s = add_span(&common, fmax(a.start, b.start), fmin(a.end, b.end), err);
        if (a.end < b.end) {
            i++;
        } else {
            j++;
        }
    }
    mem_free(spans->spans);
    *spans = common;
    return s;
}

/* Moves the start of a span to where the actions are in the control period. */
static double align(const struct resampled *r, struct span span)
{
    const double dt = r->mapping->control_period_s;
    const struct resample_clocked *group = NULL;
    for (uint32_t i = 0; i < r->n_groups && group == NULL; i++) {
        group = r->groups[i].action ? &r->groups[i] : NULL;
    }
    if (group == NULL) {
        return span.start;
    }
    double x = 0, y = 0;
    const uint64_t first = resample_count_until(group, span.start - dt / 2);
    const uint64_t end = resample_count_until(group, span.end);
    for (uint64_t i = first; i < end; i++) {
        const double angle = two_pi * fmod(group->stamps[i] - span.start, dt) / dt;
        x += cos(angle);
        y += sin(angle);
    }
    if (end <= first || hypot(x, y) < PHASE_STRENGTH * (double)(end - first)) {
        return span.start;
    }
    const double phase = atan2(y, x) / two_pi * dt;
    return span.start + (phase < -RESAMPLE_SLACK_S ? phase + dt : fmax(phase, 0));
}

/* Appends a recording. `bad`: why it cannot be read, or an empty text. */
static status add_stretch(struct resampled *r, double start, uint64_t n, struct text *bad,
                          struct err *err)
{
    const bool is_bad = bad->size > 0 || bad->failed;
    char *why = is_bad ? text_take(bad, NULL) : NULL;
    if (r->n_stretches == r->capacity) {
        const size_t capacity = r->capacity == 0 ? 16 : 2 * r->capacity;
        struct resample_stretch *grown = mem_resize(r->stretches, capacity, sizeof *grown);
        if (grown != NULL) {
            r->stretches = grown;
            r->capacity = capacity;
        }
    }
    if (r->n_stretches == r->capacity || (is_bad && why == NULL)) {
        mem_free(why);
        return err_set(err, STATUS_NO_MEMORY, "stretches of time");
    }
    r->stretches[r->n_stretches++] = (struct resample_stretch){r->recording_i, start, n, why};
    return STATUS_OK;
}

/* Appends the first pause that is too long, where such pauses are bad. */
static void note_gap(const struct resampled *r, double start, double end, struct text *text)
{
    for (uint32_t i = 0; i < r->n_groups && r->mapping->resample.gaps_are_bad; i++) {
        const struct resample_clocked *group = &r->groups[i];
        if (!group->bounds) {
            continue;
        }
        for (uint64_t j = resample_count_until(group, start);
             j < group->n && group->stamps[j] <= end; j++) {
            if (j > 0 && group->stamps[j] - group->stamps[j - 1] > group->max_gap_s) {
                text_format(text, "%s has no message between %.6f s and %.6f s, max_gap_s is %g",
                            group->name, group->stamps[j - 1], group->stamps[j], group->max_gap_s);
                return;
            }
        }
    }
}

/* Adds the stretch of a span, unless it is too short for a transition. */
static status add_span_stretch(struct resampled *r, struct span span, uint64_t *n_short,
                               struct err *err)
{
    const double dt = r->mapping->control_period_s;
    const double start = align(r, span);
    const double steps = floor((span.end - start + RESAMPLE_SLACK_S) / dt);
    if (!(steps >= 1)) {
        ++*n_short;
        return STATUS_OK;
    }
    if (steps >= (double)RECORDING_ROWS_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%.6g s are more than %llu control periods: are the stamps in seconds?",
                       span.end - start, RECORDING_ROWS_MAX);
    }
    const uint64_t n = (uint64_t)steps + 1;
    struct text bad = {0};
    note_gap(r, start, start + dt * (double)(n - 1), &bad);
    return add_stretch(r, start, n, &bad, err);
}

/* Cuts the spans at the times of the mapping. */
static status cut_at_times(struct resampled *r, const struct spans *spans, uint64_t *n_short,
                           struct resample_findings *findings, struct err *err)
{
    const struct mapping_resample *resample = &r->mapping->resample;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < resample->n_times; i++) {
        for (size_t j = 0; s == STATUS_OK && j < spans->n; j++) {
            const struct span cut = {fmax(spans->spans[j].start, resample->times[i][0]),
                                     fmin(spans->spans[j].end, resample->times[i][1])};
            if (cut.start < cut.end) {
                s = add_span_stretch(r, cut, n_short, err);
                if (findings != NULL && findings->times_seen != NULL) {
                    findings->times_seen[i] = 1;
                }
            }
        }
    }
    return s;
}

/* The text of a recording whose topics have no time in common. */
static status add_nothing(struct resampled *r, struct err *err)
{
    struct text text = {0};
    text_add(&text, "there are no two control steps at which all topics have messages:");
    for (uint32_t i = 0; i < r->n_groups; i++) {
        const struct resample_clocked *group = &r->groups[i];
        if (group->bounds && group->n > 0) {
            text_format(&text, " %s %.3f..%.3f s", group->name, group->stamps[0],
                        group->stamps[group->n - 1]);
        }
    }
    return add_stretch(r, 0, 2, &text, err);
}

/* Says how many events are outside of all stretches of the current recording. */
static void note_events(const struct resampled *r, size_t first, struct text *notes)
{
    const double dt = r->mapping->control_period_s;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        const struct resample_clocked *group = &r->groups[i];
        uint64_t inside = 0;
        for (size_t j = first; j < r->n_stretches; j++) {
            const struct resample_stretch *stretch = &r->stretches[j];
            inside += resample_count_until(group, stretch->start + (double)stretch->n * dt +
                                                      RESAMPLE_SLACK_S) -
                      resample_count_until(group, stretch->start - dt + RESAMPLE_SLACK_S);
        }
        if (!group->bounds && inside < group->n) {
            text_format(notes,
                        "%s: %" PRIu64 " of %" PRIu64 " messages are outside of all episodes\n",
                        group->name, group->n - inside, group->n);
        }
    }
}

/* Divides the current recording into stretches. */
status resample_divide(struct resampled *r, struct resample_findings *findings, struct err *err)
{
    struct spans spans = {0};
    bool first = true;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_groups; i++) {
        if (!r->groups[i].bounds) {
            continue;
        }
        struct spans runs = {0};
        s = runs_of(r, &r->groups[i], first ? &spans : &runs, err);
        if (s == STATUS_OK && !first) {
            s = intersect(&spans, &runs, err);
        }
        first = false;
        mem_free(runs.spans);
    }

    const size_t before = r->n_stretches;
    uint64_t n_short = 0;
    if (s == STATUS_OK && r->mapping->episodes == MAPPING_BY_TIMES) {
        s = cut_at_times(r, &spans, &n_short, findings, err);
    } else {
        for (size_t i = 0; s == STATUS_OK && i < spans.n; i++) {
            s = add_span_stretch(r, spans.spans[i], &n_short, err);
        }
        if (s == STATUS_OK && r->n_stretches == before) {
            s = add_nothing(r, err);
            n_short = 0;
        }
    }
    if (s == STATUS_OK && findings != NULL) {
        note_events(r, before, &findings->notes);
        if (n_short > 0) {
            text_format(&findings->notes,
                        "%" PRIu64
                        " stretches between pauses are shorter than two control steps and "
                        "left out\n",
                        n_short);
        }
    }
    mem_free(spans.spans);
    return s;
}
