/* Logs of other formats: a mapping proposed for them, and a dataset of ours made from them. */
#ifndef HINDCAST_DEPLOY_LOCAL_LOG_IMPORT_H
#define HINDCAST_DEPLOY_LOCAL_LOG_IMPORT_H

#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

/* Prints a mapping for the logs at `path` (a file or a folder) as YAML, with the reasons for its
 * guesses as comments. */
status log_import_map(const char *path, FILE *out, struct err *err) MUST_CHECK;

struct log_import_options {
    const char *from; /* a file or a folder of logs */
    const char *to;   /* folder of the new dataset; EXISTS where it holds one */
    const char
        *mapping; /* file; NULL: FROM/mapping.yaml where it is there, else what is proposed */
};

/* Writes every good episode into a new dataset and names every bad one on `out`. INVALID where none
 * is good. *n_bad: how many were left out. */
status log_import(const struct log_import_options *options, FILE *out, uint64_t *n_bad,
                  struct err *err) MUST_CHECK;

#endif
