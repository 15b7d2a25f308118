/* The second step of a proposal: what the values of all recordings say about the columns that the
 * mapping names so far. */
#ifndef HINDCAST_LOGS_PROPOSE_FINDINGS_H
#define HINDCAST_LOGS_PROPOSE_FINDINGS_H

#include "common/logs/propose/proposal.h"

struct propose_findings {
    bool flags_inside;     /* a flag is set before the last row of some recording */
    bool shorter_actions;  /* every recording has one action fewer than observations */
    bool empty_last;       /* the action in the last row of every recording has no value */
    bool last_row_nonzero; /* the last row of some recording has a reward or flag other than 0 */
    bool last_row_valued;  /* the last row of some recording has a value for a reward or flag */
    bool sparse;           /* rewards are 0 except in the last row of a recording */
    bool all_done;         /* `done` is set in the last row of every recording */
    double period;         /* control period from the time column; NaN: unknown */
};

/* Reads all recordings. Also widens the limits of the actions in the mapping to the range of their
 * values. Errors name the file. */
status propose_findings_collect(struct proposal *p, struct propose_findings *found) MUST_CHECK;

/* Counts the gaps, as the mapping has them, between the times of all recordings in the column
 * `name`. *has says whether every recording has such a column, with a time for each row. */
status propose_findings_gaps(struct proposal *p, const char *name, bool *has,
                             uint64_t *gaps) MUST_CHECK;

#endif
