/* The numbers of a file of JSON lines, as columns, while the file grows.
 *
 * Each number of a line becomes a value of a column with its name: a number or a flag "name"; a list
 * of numbers its mean, "name"; an object "name/key"; a list of objects with a "task" each
 * "tasks/TASK/key". Lists below those, such as single returns, are left out.
 *
 * Memory is bounded: when there are SERIES_ROWS_MAX rows, every second one is dropped, and from then
 * on only every second line (fourth, ..) is kept. The newest line is always there. One thread at a
 * time. */
#ifndef HINDCAST_DASHBOARD_SERIES_H
#define HINDCAST_DASHBOARD_SERIES_H

#include "common/base/json.h"
#include "common/base/text.h"

#define SERIES_ROWS_MAX    512u
#define SERIES_COLUMNS_MAX 512u

struct series;

/* Of the file at `path`, which need not exist yet. NULL: out of memory. */
struct series *series_new(const char *path);
void series_free(struct series *series); /* NULL is fine */

/* Reads the lines that were added since the last call; begins anew if the file is another one. Lines
 * that cannot be read are passed over. Without memory the rest is read by a later call. */
void series_update(struct series *series);

/* Rows that are kept, and the value of a column in the newest; NaN where there is none. */
size_t series_rows(const struct series *series);
double series_last(const struct series *series, const char *column);
/* A column (series_rows), NaN where a line had no value; valid until the next update. NULL: there is no
 * such column. */
const double *series_values(const struct series *series, const char *column);
/* Lines seen, and how many of them came after the largest value of a column; NaN where there is
 * none. Of rows that are not kept any more it counts by those beside them. */
size_t series_lines(const struct series *series);
double series_since_best(const struct series *series, const char *column);

/* Adds the names of all columns, with ", " between them and before the first if there is text. */
void series_names(const struct series *series, struct text *names);

/* {"COLUMN": [number or null, ..], ..}, all lists of one length, six digits where values are below
 * a million. NULL: out of memory. */
cJSON *series_to_json(const struct series *series);

#endif
