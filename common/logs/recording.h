/* A recording: one run of a plant as its log shows it, a set of named columns over rows of time.
 *
 * Nothing is interpreted here: which columns are observations, actions or rewards, and where an
 * episode ends, is what a mapping says (mapping.h). A recording describes columns; the values are
 * read by the file's format (log_file.h). */
#ifndef HINDCAST_LOGS_RECORDING_H
#define HINDCAST_LOGS_RECORDING_H

#include <stdint.h>

#include "common/base/status.h"

#define RECORDING_NAME_SIZE   192u /* bytes of a column's name, with the terminating 0 */
#define RECORDING_COLUMNS_MAX 4096u
#define RECORDING_WIDTH_MAX   4096u /* values in a row of a column that can be read */

enum recording_kind {
    RECORDING_NUMBERS, /* real or whole numbers, or booleans as 0 and 1 */
    RECORDING_TEXT,    /* named, and left out */
    RECORDING_OTHER,   /* images, compound types, more than RECORDING_WIDTH_MAX values: left out */
};

struct recording_column {
    char name[RECORDING_NAME_SIZE]; /* "tau_0", "obs/encoder", "observation.state" */
    enum recording_kind kind;
    uint32_t width; /* values in a row */
    uint64_t rows;  /* 1 also where the log has one value for the whole recording */
    uint32_t index; /* of the column in its recording: the format's own key */
};

/* All zero: empty. */
struct recording {
    uint32_t n, capacity;
    struct recording_column *columns; /* (n) */
};

void recording_fini(struct recording *recording);
/* Forgets the columns and keeps the memory. */
void recording_clear(struct recording *recording);
/* Adds a column. INVALID: a name that is empty, too long or there already, or too many columns. */
status recording_add(struct recording *recording, const char *name, enum recording_kind kind,
                     uint32_t width, uint64_t rows, struct err *err) MUST_CHECK;
/* NULL where there is no column of that name. */
const struct recording_column *recording_find(const struct recording *recording, const char *name);

#endif
