#include "common/logs/propose/proposal.h"

#include <string.h>

const struct recording_column *proposal_with_role(const struct proposal *p, enum propose_role role)
{
    for (uint32_t i = 0; i < p->recording.n; i++) {
        if (p->roles[i] == role) {
            return &p->recording.columns[i];
        }
    }
    return NULL;
}

void proposal_set_value(struct mapping_value *value, const struct recording_column *column)
{
    if (column != NULL) {
        memcpy(value->column, column->name, sizeof value->column);
    }
}
