/* Resamples a column when it is read: the rows of the inner file around the wanted steps are read, and
 * each step takes what its method says. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/mapping/resample_parts.h"

#define NORM_TOLERANCE 0.01 /* of quaternions */

/* The rows of a column that are in memory: first .. first + n of the sorted stamps. */
struct window {
    const struct resample_clocked *group;
    uint64_t first, n;
    uint64_t base; /* row of the inner file at which `values` begins */
    uint32_t width;
    const double *values;
};

static const double *value_at(const struct window *w, uint64_t i)
{
    const uint64_t row = w->group->order == NULL ? i : w->group->order[i];
    return &w->values[(row - w->base) * w->width];
}

/* Reads the rows that belong to the sorted stamps first .. first + n. */
static status open_window(struct resampled *r, const struct resample_clocked *group,
                          const struct recording_column *column, uint64_t first, uint64_t n,
                          struct window *window, struct err *err)
{
    uint64_t low = first, high = first + n;
    if (group->order != NULL && n > 0) {
        low = high = group->order[first];
        for (uint64_t i = first; i < first + n; i++) {
            low = group->order[i] < low ? group->order[i] : low;
            high = group->order[i] > high ? group->order[i] : high;
        }
        high++;
    }
    const uint64_t count = (high - low) * column->width;
    if (count > LOG_FILE_BYTES_MAX / sizeof(double)) {
        return err_set(err, STATUS_INVALID, "%s: %" PRIu64 " values, too many to read at once",
                       column->name, count);
    }
    if (count > r->raw_capacity) {
        double *raw = mem_resize(r->raw, count, sizeof *raw);
        if (raw == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " values", column->name, count);
        }
        r->raw = raw;
        r->raw_capacity = count;
    }
    *window = (struct window){group, first, n, low, column->width, r->raw};
    return log_file_read(r->inner, r->recording_i, column, low, high - low, r->raw, err);
}

static bool has_values(const double *values, uint32_t width)
{
    for (uint32_t j = 0; j < width; j++) {
        if (isnan(values[j])) {
            return false;
        }
    }
    return true;
}

/* The newest row at or before stamp i, and the next one after it, that have values; in topics every
 * message counts. False if there is none before. *after is the window's end if there is none. */
static bool neighbours(const struct window *w, uint64_t i, uint64_t *before, uint64_t *after)
{
    *before = i;
    *after = i + 1;
    if (w->group->topic) {
        return true;
    }
    while (!has_values(value_at(w, *before), w->width)) {
        if (*before == w->first) {
            return false;
        }
        --*before;
    }
    while (*after < w->first + w->n && !has_values(value_at(w, *after), w->width)) {
        ++*after;
    }
    return true;
}

/* Stores the quaternion at `part` of the way from a to b along the arc. */
static bool slerp(const double a[4], const double b[4], double part, double out[4])
{
    double aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < 4; i++) {
        aa += a[i] * a[i];
        bb += b[i] * b[i];
        ab += a[i] * b[i];
    }
    const double na = sqrt(aa), nb = sqrt(bb);
    if (!(fabs(na - 1) <= NORM_TOLERANCE) || !(fabs(nb - 1) <= NORM_TOLERANCE)) {
        return false;
    }
    /* q and -q are the same rotation: the shorter of the two arcs is taken. Near 0 and where the
     * arc is short, the ratio of sines is that of the angles. */
    const double cosine = fmin(fabs(ab) / (na * nb), 1), sign = ab < 0 ? -1 : 1;
    const double angle = acos(cosine), sine = sin(angle);
    const double wa = sine > 1e-9 ? sin((1 - part) * angle) / sine : 1 - part;
    const double wb = sine > 1e-9 ? sin(part * angle) / sine : part;
    for (int i = 0; i < 4; i++) {
        out[i] = wa * a[i] / na + sign * wb * b[i] / nb;
    }
    return true;
}

/* One row of hold, linear or slerp (of a column of 4 values) at time t, from the window. */
static status interpolate(const struct window *w, const struct resample_use *use, double t,
                          double *out, struct err *err)
{
    const struct resample_clocked *group = w->group;
    const uint64_t until = resample_count_until(group, t + RESAMPLE_SLACK_S);
    uint64_t before = 0, after = 0;
    if (until <= w->first || !neighbours(w, until - 1, &before, &after)) {
        return err_set(err, STATUS_INVALID, "%s: no value at or before %.6f s", use->name, t);
    }
    const double *a = value_at(w, before);
    const double from = group->stamps[before];
    if (!group->topic && t - from > group->max_gap_s) {
        return err_set(err, STATUS_INVALID,
                       "%s: no value between %.6f s and %.6f s, max_gap_s is %g", use->name, from,
                       t, group->max_gap_s);
    }
    /* After the last message its value is held. */
    const bool last = after >= w->first + w->n || use->method == RESAMPLE_HOLD;
    const double *b = last ? a : value_at(w, after);
    const double length = last ? 1 : group->stamps[after] - from;
    const double part = last ? 0 : fmin(fmax((t - from) / length, 0), 1);
    if (use->method == RESAMPLE_SLERP) {
        return slerp(a, b, part, out)
                   ? STATUS_OK
                   : err_set(err, STATUS_INVALID,
                             "%s: the quaternion at %.6f s does not have norm 1", use->name, from);
    }
    for (uint32_t j = 0; j < w->width; j++) {
        /* The first form is exact at both ends only without rounding; hold must not change bits. */
        out[j] = part == 0 ? a[j] : a[j] + (b[j] - a[j]) * part;
    }
    return STATUS_OK;
}

/* One row of a sum over the stamps in (from, to]. */
static void sum_up(const struct window *w, double from, double to, double *out)
{
    memset(out, 0, w->width * sizeof *out);
    const uint64_t end = resample_count_until(w->group, to + RESAMPLE_SLACK_S);
    for (uint64_t i = resample_count_until(w->group, from + RESAMPLE_SLACK_S); i < end; i++) {
        const double *value = value_at(w, i);
        for (uint32_t j = 0; j < w->width; j++) {
            out[j] += !w->group->topic && isnan(value[j]) ? 0 : value[j];
        }
    }
}

/* Reads the column's rows between two times, and one more on each side. */
static status read_around(struct resampled *r, const struct resample_use *use,
                          const struct recording_column *column, double from, double to,
                          struct window *window, struct err *err)
{
    const struct resample_clocked *group = &r->groups[use->group];
    const uint64_t until = resample_count_until(group, from + RESAMPLE_SLACK_S);
    /* Where rows without values are passed over, the one with a value may be anywhere. */
    const uint64_t first = !group->topic || until == 0 ? 0 : until - 1;
    const uint64_t end =
        group->topic ? resample_count_until(group, to + RESAMPLE_SLACK_S) + 1 : group->n;
    return open_window(r, group, column, first, (end < group->n ? end : group->n) - first, window,
                       err);
}

/* Rows first .. first + n of a quaternion in four columns; keeps the part that is asked for. */
static status read_quaternion(struct resampled *r, const struct resample_use *use, double start,
                              double dt, uint64_t n, double *values, struct err *err)
{
    double *parts = NULL;
    struct window window = {0};
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < 4; i++) {
        s = read_around(r, use, use->parts[i], start, start + dt * (double)(n - 1), &window, err);
        if (s == STATUS_OK && parts == NULL) {
            parts = mem_array(window.n * 4 + 1, sizeof *parts);
            s = parts == NULL ? err_set(err, STATUS_NO_MEMORY, "%s", use->name) : STATUS_OK;
        }
        for (uint64_t j = 0; s == STATUS_OK && j < window.n; j++) {
            parts[j * 4 + i] = *value_at(&window, window.first + j);
        }
    }
    /* The window over the four is in the order of the stamps, beginning with its first. */
    struct resample_clocked ordered = r->groups[use->group];
    ordered.order = NULL;
    const struct window whole = {&ordered, window.first, window.n, window.first, 4, parts};
    for (uint64_t k = 0; s == STATUS_OK && k < n; k++) {
        double q[4] = {0};
        s = interpolate(&whole, use, start + dt * (double)k, q, err);
        values[k] = q[use->part];
    }
    mem_free(parts);
    return s;
}

status resample_read(struct log_file *file, uint64_t recording_i,
                     const struct recording_column *column, uint64_t first, uint64_t n,
                     double *values, struct err *err)
{
    struct resampled *r = (struct resampled *)file;
    const struct resample_stretch *stretch = &r->stretches[recording_i];
    const double dt = r->mapping->control_period_s;
    if (stretch->bad != NULL) {
        return err_set(err, STATUS_INVALID, "%s", stretch->bad);
    }
    status s = resample_load(r, stretch->recording_i, NULL, err);
    if (s != STATUS_OK || n == 0) {
        return s;
    }
    /* Columns of the description are in the order of the uses, without those that are missing. */
    const struct resample_use *use = NULL;
    for (uint32_t i = 0; i < r->n_uses && use == NULL; i++) {
        use = strcmp(r->uses[i].name, column->name) == 0 ? &r->uses[i] : NULL;
    }
    ASSERT(use != NULL);
    if (use->group == RESAMPLE_NO_GROUP) {
        memset(values, 0, n * sizeof *values);
        return STATUS_OK;
    }

    const double start = stretch->start + dt * (double)first + (use->action ? dt / 2 : 0);
    if (use->method == RESAMPLE_SLERP && use->parts[0] != NULL) {
        return read_quaternion(r, use, start, dt, n, values, err);
    }
    struct window window;
    const bool sum = use->method == RESAMPLE_SUM;
    s = read_around(r, use, use->column, start - (sum ? dt : 0), start + dt * (double)n, &window,
                    err);
    for (uint64_t k = 0; s == STATUS_OK && k < n; k++) {
        const double t = start + dt * (double)k;
        if (sum) {
            const bool last = first + k + 1 == stretch->n;
            sum_up(&window, t - dt, last ? t + dt : t, &values[k * column->width]);
        } else {
            s = interpolate(&window, use, t, &values[k * column->width], err);
        }
    }
    return s;
}
