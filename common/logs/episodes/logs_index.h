/* Which episodes a list of files has, and where each is. */
#ifndef HINDCAST_LOGS_LOGS_INDEX_H
#define HINDCAST_LOGS_LOGS_INDEX_H

#include "common/logs/episodes/logs_cursor.h"
#include "common/logs/mapping/mapping.h"
#include "common/trajectory/signature.h"

/* The location of an episode: rows first .. first + n of a recording. */
struct logs_place {
    uint32_t file_i;
    uint64_t recording_i, first, n;
    double start_s; /* of its first row, if it is resampled */
};

/* Initialise with {0}. */
struct logs_index {
    const struct mapping *mapping; /* NULL: not built */
    struct signature signature;    /* of all episodes */
    uint64_t n, capacity;
    struct logs_place *places; /* (n) in the order of the files */
};

/* Finds the episodes of all files of the cursor, which then reads by `mapping`; what the index held
 * before is given up. `mapping` must outlive both. Returns INVALID if a recording does not fit the
 * mapping, or has another signature than those before it; the error names file and recording. */
status logs_index_build(struct logs_index *index, struct logs_cursor *cursor,
                        const struct mapping *mapping, struct err *err) MUST_CHECK;
void logs_index_fini(struct logs_index *index);

/* Returns the first episode that is in file i or a later one. */
uint64_t logs_index_first(const struct logs_index *index, size_t file_i);

#endif
