/* A recording: the log of one run, as a set of named columns with one row for each time step.
 *
 * A recording describes its columns only. Which of them are observations, actions or rewards, and
 * where episodes end, is defined by a mapping (mapping.h). Values are read by the format of the
 * file (log_file.h). */
#ifndef HINDCAST_LOGS_RECORDING_H
#define HINDCAST_LOGS_RECORDING_H

#include <stdint.h>

#include "common/base/status.h"

#define RECORDING_NAME_SIZE   192u /* bytes of a column's name, with the terminating 0 */
#define RECORDING_COLUMNS_MAX 4096u
#define RECORDING_WIDTH_MAX   4096u /* values per row of a readable column */
#define RECORDING_ROWS_MAX    100000000ull

enum recording_kind {
    RECORDING_NUMBERS, /* floating-point numbers, integers, or booleans as 0 and 1 */
    RECORDING_TEXT,    /* cannot be read */
    RECORDING_OTHER,   /* images, compound types, too wide columns: cannot be read */
};

struct recording_column {
    char name[RECORDING_NAME_SIZE]; /* such as "tau_0", "obs/encoder" or "observation.state" */
    enum recording_kind kind;
    uint32_t width; /* values per row */
    uint64_t rows;  /* 1 if the log has a single value for the whole recording */
    uint32_t index; /* position in the recording, by which formats find the column */
};

/* Initialise with {0}, which is an empty recording. */
struct recording {
    uint32_t n, capacity;
    struct recording_column *columns; /* (n) */
};

void recording_fini(struct recording *recording);
/* Removes all columns and keeps the memory. */
void recording_clear(struct recording *recording);
/* Adds a column. Returns INVALID if the name is empty, too long or in use, or if there are too many
 * columns. */
status recording_add(struct recording *recording, const char *name, enum recording_kind kind,
                     uint32_t width, uint64_t rows, struct err *err) MUST_CHECK;
/* Adds all columns of `from`, in their order. Errors as recording_add. */
status recording_append(struct recording *recording, const struct recording *from,
                        struct err *err) MUST_CHECK;
/* Returns the column of this name, or NULL. */
const struct recording_column *recording_find(const struct recording *recording, const char *name);

#endif
