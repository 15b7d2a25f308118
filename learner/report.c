/* The report: a list of named values. */
#include "learner/report.h"

#include <string.h>

const struct report_value *report_find(const struct report *report, const char *name)
{
    for (int i = 0; i < report->n_values; i++) {
        if (strcmp(report->values[i].name, name) == 0) {
            return &report->values[i];
        }
    }
    return NULL;
}

void report_add(struct report *report, const char *name, const double *values, int size)
{
    ASSERT(report->n_values < REPORT_VALUES_MAX);
    ASSERT(size <= REPORT_VECTOR_MAX);
    struct report_value *value = &report->values[report->n_values++];
    value->name = name;
    value->size = size;
    memcpy(value->values, values, (size_t)size * sizeof *values);
}
