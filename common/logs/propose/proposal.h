/* A proposal in the making, which the parts of propose.c share. */
#ifndef HINDCAST_LOGS_PROPOSAL_H
#define HINDCAST_LOGS_PROPOSAL_H

#include "common/base/text.h"
#include "common/logs/episodes/logs.h"
#include "common/logs/propose/propose_names.h"

struct proposal {
    struct logs *logs;
    struct mapping *mapping;    /* filled step by step */
    struct text *notes;         /* see propose.h */
    struct err *err;            /* not NULL */
    struct recording recording; /* the first recording of the first file */
    enum propose_role *roles;   /* (recording.n) of its columns */
};

/* Returns the first column of the first recording that has the role, or NULL. */
const struct recording_column *proposal_with_role(const struct proposal *p, enum propose_role role);
/* Sets the column of a reward or flag; NULL leaves it as it is, which means not logged. */
void proposal_set_value(struct mapping_value *value, const struct recording_column *column);

#endif
