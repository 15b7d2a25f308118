/* Reads and writes mappings as YAML.
 *
 * libyaml loads the document as a tree of nodes, and each node has its line, which error messages
 * name. Every YAML mapping is read by mapping_read_keys with a function that handles one key at a time.
 * Unknown and repeated keys are errors, so that a misspelt key is not ignored silently. Whether the
 * columns exist is checked later, by mapping_signature. */
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/mapping/mapping_rules.h"
#include "common/logs/mapping/mapping_yaml.h"

/* A slice that is being read. The keys may come in any order, and mapping_columns_add sets the
 * scale of the first column, so scale and offset are kept apart until all keys are read. */
struct slice {
    struct mapping_columns columns;
    double scale, offset;
};

/* A key of a slice. */
static status read_slice_key(struct mapping_document *d, const char *key,
                             const yaml_node_t *key_node, const yaml_node_t *value, void *arg)
{
    struct slice *slice = arg;
    if (strcmp(key, "columns") == 0) {
        return mapping_read_columns(d, value, key, &slice->columns);
    }
    if (strcmp(key, "scale") == 0) {
        return mapping_read_number(d, value, key, &slice->scale);
    }
    if (strcmp(key, "offset") == 0) {
        return mapping_read_number(d, value, key, &slice->offset);
    }
    return mapping_refuse(d, key_node, "\"%s\": expected columns, scale or offset", key);
}

/* Reads a slice: [a, b], or {columns: [a, b], scale: 2, offset: 1}. */
static status read_slice(struct mapping_document *d, const char *name, const yaml_node_t *value,
                         struct mapping_columns *columns)
{
    if (value->type != YAML_MAPPING_NODE) {
        return mapping_read_columns(d, value, name, columns);
    }
    struct slice slice = {.scale = 1};
    const status s = mapping_read_keys(d, value, name, read_slice_key, &slice);
    *columns = slice.columns; /* on error too: the mapping releases them */
    columns->scale = slice.scale;
    columns->offset = slice.offset;
    if (s == STATUS_OK && columns->n == 0) {
        return mapping_refuse(d, value, "%s: columns are missing", name);
    }
    return s;
}

/* A key of `observation`: the name of a slice. */
static status read_observation(struct mapping_document *d, const char *key,
                               const yaml_node_t *key_node, const yaml_node_t *value, void *arg)
{
    struct mapping *mapping = arg;
    if (mapping->n_slices == SIGNATURE_SLICES_MAX) {
        return mapping_refuse(d, key_node, "observation: more than %d slices",
                              SIGNATURE_SLICES_MAX);
    }
    /* The slice is counted before it is read, so that mapping_fini releases it after an error. */
    const uint32_t i = mapping->n_slices++;
    const status s =
        mapping_read_text(d, key_node, "observation", mapping->slices[i], SIGNATURE_NAME_SIZE);
    return s == STATUS_OK ? read_slice(d, key, value, &mapping->observation[i]) : s;
}

/* A key of `next_observation`, which must name a slice of `observation`. */
static status read_next(struct mapping_document *d, const char *key, const yaml_node_t *key_node,
                        const yaml_node_t *value, void *arg)
{
    /* Slices are matched by name, so their order may differ from that of the observation. */
    struct mapping *mapping = arg;
    for (uint32_t i = 0; i < mapping->n_slices; i++) {
        if (strcmp(mapping->slices[i], key) == 0) {
            return read_slice(d, key, value, &mapping->next[i]);
        }
    }
    return mapping_refuse(
        d, key_node,
        "next_observation: \"%s\" is not a slice of observation, which must come first", key);
}

/* Reads in which row a value is. */
static status read_row(struct mapping_document *d, const yaml_node_t *value, const char *key,
                       enum mapping_row *read)
{
    static const char *const rows[] = {"same", "next"};
    int row = 0;
    const status s = mapping_read_choice(d, value, key, rows, 2, &row);
    *read = row == 0 ? MAPPING_ROW_SAME : MAPPING_ROW_NEXT;
    return s;
}

/* A key of `action`. */
static status read_action(struct mapping_document *d, const char *key, const yaml_node_t *key_node,
                          const yaml_node_t *value, void *arg)
{
    struct mapping *mapping = arg;
    /* All three keys are required, in any order; check_whole reports a missing one. */
    uint32_t n = 0;
    status s;
    if (strcmp(key, "columns") == 0) {
        return mapping_read_columns(d, value, "action", &mapping->action);
    }
    if (strcmp(key, "min") == 0) {
        s = mapping_read_numbers(d, value, key, mapping->action_min, &n);
    } else if (strcmp(key, "max") == 0) {
        s = mapping_read_numbers(d, value, key, mapping->action_max, &n);
    } else if (strcmp(key, "row") == 0) {
        return read_row(d, value, key, &mapping->action_row);
    } else {
        return mapping_refuse(d, key_node, "action: \"%s\": expected columns, min, max or row",
                              key);
    }

    /* Whichever of min and max comes second must have the length of the first. */
    if (s == STATUS_OK && mapping->A != 0 && mapping->A != n) {
        return mapping_refuse(d, value, "action: min and max differ in length");
    }
    mapping->A = n;
    return s;
}

/* A key of a reward or flag. */
static status read_value_key(struct mapping_document *d, const char *key,
                             const yaml_node_t *key_node, const yaml_node_t *value, void *arg)
{
    struct mapping_value *read = arg;
    if (strcmp(key, "column") == 0) {
        return mapping_read_text(d, value, key, read->column, sizeof read->column);
    }
    if (strcmp(key, "row") == 0) {
        return read_row(d, value, key, &read->row);
    }
    if (strcmp(key, "above") == 0 || strcmp(key, "below") == 0) {
        read->is_below = key[0] == 'b';
        return mapping_read_number(d, value, key, &read->above);
    }
    return mapping_refuse(d, key_node, "\"%s\": expected column, row, above or below", key);
}

/* Reads a column's name, or {column: success, row: next, above: 0.5}. */
static status read_value(struct mapping_document *d, const char *key, const yaml_node_t *node,
                         struct mapping_value *value)
{
    /* A plain name is the short form, with the defaults of the other keys. */
    if (node->type != YAML_MAPPING_NODE) {
        return mapping_read_text(d, node, key, value->column, sizeof value->column);
    }
    const status s = mapping_read_keys(d, node, key, read_value_key, value);
    if (s == STATUS_OK && value->column[0] == 0) {
        return mapping_refuse(d, node, "%s: column is missing", key);
    }
    return s;
}

/* A key of `rewards`: the name of a reward. */
static status read_reward(struct mapping_document *d, const char *key, const yaml_node_t *key_node,
                          const yaml_node_t *value, void *arg)
{
    struct mapping *mapping = arg;
    if (mapping->K == SIGNATURE_TASKS_MAX) {
        return mapping_refuse(d, key_node, "rewards: more than %d", SIGNATURE_TASKS_MAX);
    }
    /* Like slices, rewards are counted before they are read. */
    const uint32_t k = mapping->K++;
    const status s =
        mapping_read_text(d, key_node, "rewards", mapping->rewards[k], SIGNATURE_NAME_SIZE);
    return s == STATUS_OK ? read_value(d, key, value, &mapping->reward[k]) : s;
}

/* A key of `episodes`. */
static status read_episodes(struct mapping_document *d, const char *key,
                            const yaml_node_t *key_node, const yaml_node_t *value, void *arg)
{
    static const char *const ways[] = {"recording", "column", "flags", "gaps", "times"};
    struct mapping *mapping = arg;
    if (strcmp(key, "by") == 0) {
        int way = 0;
        const status s = mapping_read_choice(d, value, key, ways, 5, &way);
        mapping->episodes = (enum mapping_episodes)way;
        return s;
    }
    if (strcmp(key, "column") == 0) {
        return mapping_read_text(d, value, key, mapping->episode_column,
                                 sizeof mapping->episode_column);
    }
    if (strcmp(key, "gap_s") == 0) {
        return mapping_resample_read_gap(d, value, &mapping->resample);
    }
    if (strcmp(key, "times") == 0) {
        return mapping_resample_read_times(d, value, &mapping->resample);
    }
    if (strcmp(key, "file") == 0) {
        return mapping_resample_read_file(d, value, &mapping->resample);
    }
    return mapping_refuse(d, key_node,
                          "episodes: \"%s\": expected by, column, gap_s, times or file", key);
}

/* A key at the top of the file. */
static status read_top(struct mapping_document *d, const char *key, const yaml_node_t *key_node,
                       const yaml_node_t *value, void *arg)
{
    static const char *const lasts[] = {"last_row", "next_observation", "none"};
    struct mapping *mapping = arg;

    /* The words of a choice are in the order of its enumeration. */
    if (strcmp(key, "format") == 0) {
        return mapping_read_text(d, value, key, mapping->format, sizeof mapping->format);
    }
    if (strcmp(key, "control_period_s") == 0) {
        return mapping_read_number(d, value, key, &mapping->control_period_s);
    }
    if (strcmp(key, "episodes") == 0) {
        return mapping_read_keys(d, value, key, read_episodes, mapping);
    }
    if (strcmp(key, "observation") == 0) {
        return mapping_read_keys(d, value, key, read_observation, mapping);
    }
    if (strcmp(key, "next_observation") == 0) {
        return mapping_read_keys(d, value, key, read_next, mapping);
    }
    if (strcmp(key, "last_observation") == 0) {
        int last = 0;
        const status s = mapping_read_choice(d, value, key, lasts, 3, &last);
        mapping->last = (enum mapping_last)last;
        return s;
    }
    if (strcmp(key, "action") == 0) {
        return mapping_read_keys(d, value, key, read_action, mapping);
    }
    if (strcmp(key, "rewards") == 0) {
        return mapping_read_keys(d, value, key, read_reward, mapping);
    }
    if (strcmp(key, "terminated") == 0) {
        return read_value(d, key, value, &mapping->terminated);
    }
    if (strcmp(key, "timeout") == 0) {
        return read_value(d, key, value, &mapping->timeout);
    }
    if (strcmp(key, "resample") == 0) {
        return mapping_resample_read(d, value, &mapping->resample);
    }
    bool known;
    const status s = mapping_rules_read(d, key, value, mapping, &known);
    return known ? s : mapping_refuse(d, key_node, "\"%s\" is not a key of a mapping", key);
}

/* Checks that required keys are present and that keys agree with one another. This needs the whole
 * file, since keys may come in any order; only next_observation must follow observation. */
static status check_whole(struct mapping_document *d, const struct mapping *mapping)
{
    /* The first problem is reported; each message starts with the key to look at. */
    const char *why = NULL;
    if (mapping->n_slices == 0) {
        why = "observation: is missing";
    } else if (mapping->action.n == 0) {
        why = "action: columns are missing";
    } else if (mapping->A == 0) {
        why = "action: min and max are missing";
    } else if (mapping->episodes == MAPPING_BY_COLUMN && mapping->episode_column[0] == 0) {
        why = "episodes: column is missing";
    } else if (mapping->episodes == MAPPING_BY_FLAGS && mapping->terminated.column[0] == 0 &&
               mapping->timeout.column[0] == 0) {
        why = "episodes: by flags needs terminated or timeout";
    } else if (mapping->episodes >= MAPPING_BY_GAPS && !mapping->resample.on) {
        why = "episodes: by gaps or times needs resample, which names the clock";
    } else if (mapping->episodes == MAPPING_BY_GAPS && mapping->resample.gap_s == 0) {
        why = "episodes: by gaps needs gap_s";
    } else if (mapping->episodes == MAPPING_BY_TIMES && mapping->resample.n_times == 0) {
        why = "episodes: by times needs times or file";
    } else if (mapping->resample.on && !(mapping->control_period_s > 0)) {
        why = "resample: needs control_period_s above 0";
    } else if (mapping->resample.on && mapping->time_column[0] != 0) {
        why = "time: is for rows at the control period; with resample, the clocks are in resample";
    } else if (mapping->resample.on && mapping->last != MAPPING_LAST_ROW) {
        why = "resample: needs last_observation: last_row, since every row has an observation";
    }
    /* A slice without its next observation would have no last row. */
    for (uint32_t i = 0; why == NULL && i < mapping->n_slices; i++) {
        if (mapping->last == MAPPING_LAST_NEXT && mapping->next[i].n == 0) {
            why = "next_observation: every slice of observation must be there";
        }
    }
    if (why == NULL && mapping->action_row == MAPPING_ROW_NEXT &&
        mapping->last != MAPPING_LAST_ROW) {
        why = "action: row: next needs last_observation: last_row";
    }
    if (why == NULL) {
        why = mapping_rules_check(mapping);
    }
    return why == NULL ? STATUS_OK : err_set(d->err, STATUS_INVALID, "%s: %s", d->path, why);
}

/* Parses the text and reads it into an initialised mapping. On error the mapping is partly
 * filled. */
static status read_document(struct mapping_document *d, const char *text, size_t size,
                            struct mapping *mapping)
{
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) {
        return err_set(d->err, STATUS_NO_MEMORY, "%s", d->path);
    }

    /* libyaml reports its own failures in the parser; everything else is reported by the
     * readers. */
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    status s = STATUS_OK;
    if (yaml_parser_load(&parser, &d->yaml) == 0) {
        s = parser.error == YAML_MEMORY_ERROR
                ? err_set(d->err, STATUS_NO_MEMORY, "%s", d->path)
                : err_set(d->err, STATUS_INVALID, "%s:%zu: not valid YAML: %s", d->path,
                          parser.problem_mark.line + 1,
                          parser.problem == NULL ? "parse error" : parser.problem);
    } else {
        const yaml_node_t *root = yaml_document_get_root_node(&d->yaml);
        s = root == NULL ? err_set(d->err, STATUS_INVALID, "%s: is empty", d->path)
                         : mapping_read_keys(d, root, "mapping", read_top, mapping);
        if (s == STATUS_OK) {
            s = check_whole(d, mapping);
        }
        yaml_document_delete(&d->yaml);
    }
    yaml_parser_delete(&parser);
    return s;
}

status mapping_read(struct mapping *mapping, const char *path, struct err *err)
{
    void *text;
    size_t size;
    /* The whole file is read first; its size is limited. */
    status s = file_read_regular(path, MAPPING_BYTES_MAX, &text, &size, err);
    if (s != STATUS_OK) {
        return s;
    }

    /* Errors go through document.err, which must not be NULL. */
    struct err reason = {0};
    struct mapping_document document = {.path = path, .err = err != NULL ? err : &reason};
    struct mapping read;
    mapping_init(&read);
    s = read_document(&document, text, size, &read);
    mem_free(text);
    if (s != STATUS_OK) {
        mapping_fini(&read);
        return s;
    }
    *mapping = read;
    return STATUS_OK;
}

/* ---- writing ----
 *
 * Names are quoted wherever they come from the logs, since they may contain any character. The
 * names of slices and rewards need no quotes: signature_check allows letters, digits and _./-
 * only. */

/* Writes the short form without a scale: [a, b]. */
static void write_columns(struct text *text, const struct mapping_columns *columns)
{
    /* Most columns need no scale, and then the short form is easier to read and edit. */
    const bool scaled = columns->scale != 1 || columns->offset != 0;
    text_add(text, scaled ? "{columns: [" : "[");
    for (uint32_t i = 0; i < columns->n; i++) {
        text_add(text, i == 0 ? "" : ", ");
        text_add_quoted(text, columns->names[i]);
    }
    text_add(text, "]");
    if (scaled) {
        text_add(text, ", scale: ");
        text_add_number(text, columns->scale);
        text_add(text, ", offset: ");
        text_add_number(text, columns->offset);
        text_add(text, "}");
    }
    text_add(text, "\n");
}

/* Numbers are written so that reading gives the same bits again. */
static void write_numbers(struct text *text, const char *key, const double *numbers, uint32_t n)
{
    text_format(text, "  %s: [", key);
    for (uint32_t i = 0; i < n; i++) {
        text_add(text, i == 0 ? "" : ", ");
        text_add_number(text, numbers[i]);
    }
    text_add(text, "]\n");
}

/* Writes a reward or flag, or nothing if it is not logged. */
static void write_value(struct text *text, const char *key, const struct mapping_value *value)
{
    if (value->column[0] == 0) {
        return;
    }
    /* The long form is always written: it shows the user which keys there are. */
    text_format(text, "%s: {column: ", key);
    text_add_quoted(text, value->column);
    text_format(text, ", row: %s", value->row == MAPPING_ROW_SAME ? "same" : "next");
    if (value->above != 0 || value->is_below) {
        text_add(text, value->is_below ? ", below: " : ", above: ");
        text_add_number(text, value->above);
    }
    text_add(text, "}\n");
}

void mapping_write(const struct mapping *mapping, struct text *text)
{
    static const char *const ways[] = {"recording", "column", "flags", "gaps", "times"};
    static const char *const lasts[] = {"last_row", "next_observation", "none"};

    /* How the logs are cut into episodes. */
    text_format(text, "format: %s\ncontrol_period_s: ", mapping->format);
    text_add_number(text, mapping->control_period_s);
    text_format(text, "\nepisodes: {by: %s", ways[mapping->episodes]);
    if (mapping->episodes == MAPPING_BY_COLUMN) {
        text_add(text, ", column: ");
        text_add_quoted(text, mapping->episode_column);
    } else if (mapping->episodes == MAPPING_BY_GAPS) {
        text_add(text, ", gap_s: ");
        text_add_number(text, mapping->resample.gap_s);
    } else if (mapping->episodes == MAPPING_BY_TIMES) {
        mapping_resample_write_times(&mapping->resample, text);
    }

    /* Observations. `next_observation` follows `observation`, as read_next requires. */
    text_add(text, "}\n");
    mapping_resample_write(&mapping->resample, text);
    text_add(text, "observation:\n");
    for (uint32_t i = 0; i < mapping->n_slices; i++) {
        text_format(text, "  %s: ", mapping->slices[i]);
        write_columns(text, &mapping->observation[i]);
    }
    text_format(text, "last_observation: %s\n", lasts[mapping->last]);
    if (mapping->last == MAPPING_LAST_NEXT) {
        text_add(text, "next_observation:\n");
        for (uint32_t i = 0; i < mapping->n_slices; i++) {
            text_format(text, "  %s: ", mapping->slices[i]);
            write_columns(text, &mapping->next[i]);
        }
    }

    /* Actions, rewards and flags. */
    text_add(text, "action:\n  columns: ");
    write_columns(text, &mapping->action);
    write_numbers(text, "min", mapping->action_min, mapping->A);
    write_numbers(text, "max", mapping->action_max, mapping->A);
    if (mapping->action_row == MAPPING_ROW_NEXT) {
        text_add(text, "  row: next\n");
    }
    if (mapping->K > 0) {
        text_add(text, "rewards:\n");
    }
    for (uint32_t k = 0; k < mapping->K; k++) {
        char key[SIGNATURE_NAME_SIZE + 3];
        snprintf(key, sizeof key, "  %s", mapping->rewards[k]);
        write_value(text, key, &mapping->reward[k]);
    }
    write_value(text, "terminated", &mapping->terminated);
    write_value(text, "timeout", &mapping->timeout);
    mapping_rules_write(mapping, text);
}
