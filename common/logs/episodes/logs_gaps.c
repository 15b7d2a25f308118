/* One pass over the times of an episode. */
#include "common/logs/episodes/logs_gaps.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Counts the gap behind row t of the episode, and does with it what the mapping says. */
static status on_gap(struct logs_gaps *gaps, const struct logs_index *index, const char *path,
                     uint64_t first, uint32_t t, double seconds, struct episode *episode,
                     struct err *err)
{
    const struct mapping *mapping = index->mapping;
    gaps->n++;
    static const double bounds[LOGS_GAP_SIZES - 1] = {0, 10, 30, 100, 1000};
    int size = 0;
    while (size < LOGS_GAP_SIZES - 1 && seconds > bounds[size] * mapping->control_period_s) {
        size++;
    }
    gaps->sizes[size]++;
    if (gaps->n == 1 || seconds > gaps->longest_s) {
        gaps->longest_s = seconds;
        snprintf(gaps->place, sizeof gaps->place, "%s, row %" PRIu64, path, first + t);
    }
    if (mapping->gaps == MAPPING_GAPS_REFUSE) {
        return err_set(err, STATUS_INVALID,
                       "column %s: %.6g s between rows %" PRIu64 " and %" PRIu64
                       ", the control period is %g s (time_gaps: split would cut the episode here)",
                       mapping->time_column, seconds, first + t, first + t + 1,
                       mapping->control_period_s);
    }
    /* A step that took longer than the others cannot be used; it is marked like one without an
     * action. */
    if (mapping->gaps == MAPPING_GAPS_SPLIT) {
        episode->rows[(size_t)t * episode->W + signature_action_at(&index->signature)] = NAN;
    }
    return STATUS_OK;
}

status logs_gaps_find(struct logs_gaps *gaps, struct logs_cursor *cursor,
                      const struct logs_index *index, const struct logs_place *place,
                      struct episode *episode, struct err *err)
{
    const struct mapping *mapping = index->mapping;
    if (mapping->time_column[0] == 0 || !(mapping->control_period_s > 0)) {
        return STATUS_OK;
    }
    gaps->has_times = true;
    const char *path = cursor->files->paths[place->file_i];
    /* Steps whose both rows are logged. */
    const struct recording_column *column =
        recording_find(&cursor->recording, mapping->time_column);
    const uint64_t n = place->n < episode->T + 1ull ? place->n : episode->T + 1ull;
    status s = logs_cursor_read(cursor, column, place->first, n, err);
    for (uint32_t t = 0; s == STATUS_OK && t + 1 < n; t++) {
        /* A missing time gives no interval: NaN fails both comparisons. */
        const double seconds = (cursor->values[t + 1] - cursor->values[t]) * mapping->time_scale;
        if (seconds > mapping->gap_periods * mapping->control_period_s || seconds <= 0) {
            s = on_gap(gaps, index, path, place->first, t, seconds, episode, err);
        }
    }
    return s == STATUS_OK ? s : err_context(err, s, "time");
}
