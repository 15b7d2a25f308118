/* The parts that all keys of a mapping file are read with: values of one node, and the keys of one
 * YAML mapping. libyaml loads a document as a tree of nodes, and each node has its line, which
 * error messages name. */
#include "common/logs/mapping/mapping_yaml.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sets an error with the file and the line of the node. */
status mapping_refuse(struct mapping_document *d, const yaml_node_t *node, const char *format, ...)
{
    char text[512];
    /* The message comes first, since the place is put in front of it. */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(d->err, STATUS_INVALID, "%s:%zu: %s", d->path, node->start_mark.line + 1, text);
}

/* Returns NULL for a number that is no node's. */
yaml_node_t *mapping_node(struct mapping_document *d, int id)
{
    return yaml_document_get_node(&d->yaml, id);
}

/* Returns the text of a scalar, or NULL if the node is not a scalar or its text contains a 0. */
const char *mapping_scalar(const yaml_node_t *node)
{
    /* A name with a 0 inside would be cut, and could then be mistaken for another. */
    if (node == NULL || node->type != YAML_SCALAR_NODE ||
        strlen((const char *)node->data.scalar.value) != node->data.scalar.length) {
        return NULL;
    }
    return (const char *)node->data.scalar.value;
}

/* ---- values ---- */

/* Reads a text that fits `size` bytes with its terminating 0. */
status mapping_read_text(struct mapping_document *d, const yaml_node_t *node, const char *key,
                         char *text, size_t size)
{
    const char *value = mapping_scalar(node);
    if (value == NULL || strlen(value) >= size) {
        return mapping_refuse(d, node, "%s: expected a text of at most %zu bytes", key, size - 1);
    }
    memcpy(text, value, strlen(value) + 1);
    return STATUS_OK;
}

/* Reads a finite number. */
status mapping_read_number(struct mapping_document *d, const yaml_node_t *node, const char *key,
                           double *number)
{
    /* The whole text must be a number: "0.02s" is refused, not read as 0.02. */
    const char *value = mapping_scalar(node);
    char *end = NULL;
    errno = 0;
    const double parsed = value == NULL ? 0 : strtod(value, &end);
    if (value == NULL || end == value || *end != 0 || !isfinite(parsed)) {
        return mapping_refuse(d, node, "%s: expected a number", key);
    }
    *number = parsed;
    return STATUS_OK;
}

/* Reads one of n words; stores its index. The error lists all of them. */
status mapping_read_choice(struct mapping_document *d, const yaml_node_t *node, const char *key,
                           const char *const *choices, int n, int *choice)
{
    /* The list of choices is built on the way, for the case that none of them matches. */
    const char *value = mapping_scalar(node);
    char expected[128] = "";
    for (int i = 0; i < n; i++) {
        /* The words are those of the file format, in the order of an enumeration. */
        if (value != NULL && strcmp(value, choices[i]) == 0) {
            *choice = i;
            return STATUS_OK;
        }
        /* "a, b or c" */
        strncat(expected, i == 0 ? "" : i + 1 < n ? ", " : " or ", 5);
        strncat(expected, choices[i], 32);
    }
    return mapping_refuse(d, node, "%s: expected %s", key, expected);
}

/* Reads a name or a list of names. */
status mapping_read_columns(struct mapping_document *d, const yaml_node_t *node, const char *key,
                            struct mapping_columns *columns)
{
    /* A single name needs no brackets. */
    if (mapping_scalar(node) != NULL) {
        return mapping_columns_add(columns, mapping_scalar(node), d->err);
    }
    if (node->type != YAML_SEQUENCE_NODE ||
        node->data.sequence.items.start == node->data.sequence.items.top) {
        return mapping_refuse(d, node, "%s: expected a column's name, or a list of them", key);
    }
    /* The position in the file is added here, as mapping_columns_add does not know it. */
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        /* Every item is checked by itself, so that an error names its line. */
        const yaml_node_t *name = mapping_node(d, *item);
        if (mapping_scalar(name) == NULL) {
            return mapping_refuse(d, name, "%s: expected a column's name", key);
        }
        const status s = mapping_columns_add(columns, mapping_scalar(name), d->err);
        if (s != STATUS_OK) {
            return err_context(d->err, s, "%s:%zu", d->path, name->start_mark.line + 1);
        }
    }
    return STATUS_OK;
}

/* Reads a list with one number for each component of the action. */
status mapping_read_numbers(struct mapping_document *d, const yaml_node_t *node, const char *key,
                            double numbers[SIGNATURE_ACTIONS_MAX], uint32_t *n)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        return mapping_refuse(d, node, "%s: expected a list of numbers, one for each action", key);
    }
    /* Items are counted as they are read, and the limit is checked before each is stored. */
    *n = 0;
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++, ++*n) {
        if (*n == SIGNATURE_ACTIONS_MAX) {
            return mapping_refuse(d, node, "%s: more than %d numbers", key, SIGNATURE_ACTIONS_MAX);
        }
        const status s = mapping_read_number(d, mapping_node(d, *item), key, &numbers[*n]);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* ---- keys ---- */

/* Calls `read` for each key of a YAML mapping. A key that occurs twice is an error. `where` names
 * the mapping in errors. */
status mapping_read_keys(struct mapping_document *d, const yaml_node_t *node, const char *where,
                         mapping_key_reader read, void *arg)
{
    if (node->type != YAML_MAPPING_NODE) {
        return mapping_refuse(d, node, "%s: expected keys and values", where);
    }
    /* Pairs come in the order of the file, so of two equal keys the second one is reported. */
    status s = STATUS_OK;
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         s == STATUS_OK && pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = mapping_node(d, pair->key);
        if (mapping_scalar(key) == NULL) {
            return mapping_refuse(d, key, "%s: expected a key", where);
        }

        /* libyaml accepts repeated keys. Mappings are small, so all earlier keys are compared. */
        for (yaml_node_pair_t *other = node->data.mapping.pairs.start; other < pair; other++) {
            if (strcmp(mapping_scalar(mapping_node(d, other->key)), mapping_scalar(key)) == 0) {
                return mapping_refuse(d, key, "%s: %s is given twice", where, mapping_scalar(key));
            }
        }
        /* The key's node goes along, for errors about the key itself. */
        s = read(d, mapping_scalar(key), key, mapping_node(d, pair->value), arg);
    }
    return s;
}
