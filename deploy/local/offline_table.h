/* The table of an off-policy evaluation, from its JSON (offline_evaluator/report.h). */
#ifndef HINDCAST_LOCAL_OFFLINE_TABLE_H
#define HINDCAST_LOCAL_OFFLINE_TABLE_H

#include <cjson/cJSON.h>
#include <stdio.h>

/* What is absent is shown as 0 or empty: the file is one of ours, but anybody may have changed it. */
void offline_table_print(const cJSON *report, FILE *out);

#endif
