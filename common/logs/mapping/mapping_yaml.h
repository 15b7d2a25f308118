/* Reads values of a mapping file, which is YAML. Used by mapping_file.c and by the files that read
 * further keys. All errors are INVALID and name the file, the line and what was expected. */
#ifndef HINDCAST_LOGS_MAPPING_YAML_H
#define HINDCAST_LOGS_MAPPING_YAML_H

#include <yaml.h>

#include "common/logs/mapping/mapping.h"

/* A file that is being read. */
struct mapping_document {
    yaml_document_t yaml;
    const char *path;
    struct err *err; /* never NULL, so that the readers can add their context */
};

/* Sets an error with the file and the line of the node. */
status mapping_refuse(struct mapping_document *d, const yaml_node_t *node, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Returns NULL for a number that is no node's. */
yaml_node_t *mapping_node(struct mapping_document *d, int id);
/* Returns the text of a scalar, or NULL if the node is not a scalar or its text contains a 0. */
const char *mapping_scalar(const yaml_node_t *node);

/* Reads a text that fits `size` bytes with its terminating 0. */
status mapping_read_text(struct mapping_document *d, const yaml_node_t *node, const char *key,
                         char *text, size_t size) MUST_CHECK;
/* Reads a finite number. */
status mapping_read_number(struct mapping_document *d, const yaml_node_t *node, const char *key,
                           double *number) MUST_CHECK;
/* Reads one of n words; stores its index. The error lists all of them. */
status mapping_read_choice(struct mapping_document *d, const yaml_node_t *node, const char *key,
                           const char *const *choices, int n, int *choice) MUST_CHECK;
/* Reads a name or a list of names. */
status mapping_read_columns(struct mapping_document *d, const yaml_node_t *node, const char *key,
                            struct mapping_columns *columns) MUST_CHECK;
/* Reads a list with one number for each component of the action. */
status mapping_read_numbers(struct mapping_document *d, const yaml_node_t *node, const char *key,
                            double numbers[SIGNATURE_ACTIONS_MAX], uint32_t *n) MUST_CHECK;

/* Handles one key of a YAML mapping. */
typedef status (*mapping_key_reader)(struct mapping_document *d, const char *key,
                                     const yaml_node_t *key_node, const yaml_node_t *value,
                                     void *arg);
/* Calls `read` for each key of a YAML mapping. A key that occurs twice is an error. `where` names
 * the mapping in errors. */
status mapping_read_keys(struct mapping_document *d, const yaml_node_t *node, const char *where,
                         mapping_key_reader read, void *arg) MUST_CHECK;

#endif
