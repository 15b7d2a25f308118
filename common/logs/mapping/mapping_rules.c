/* Reading and writing the keys about which episodes are used. */
#include "common/logs/mapping/mapping_rules.h"

#include <math.h>
#include <string.h>

static const char *const gap_words[] = {"ignore", "refuse", "split"}; /* as enum mapping_gaps */

/* A key of `time`. */
static status read_time_key(struct mapping_document *d, const char *key,
                            const yaml_node_t *key_node, const yaml_node_t *value, void *arg)
{
    struct mapping *mapping = arg;
    if (strcmp(key, "column") == 0) {
        return mapping_read_text(d, value, key, mapping->time_column, sizeof mapping->time_column);
    }
    if (strcmp(key, "scale") == 0) {
        return mapping_read_number(d, value, key, &mapping->time_scale);
    }
    return mapping_refuse(d, key_node, "time: \"%s\": expected column or scale", key);
}

/* Reads the number of steps. */
static status read_steps(struct mapping_document *d, const yaml_node_t *node,
                         struct mapping *mapping)
{
    double number = 0;
    const status s = mapping_read_number(d, node, "history", &number);
    if (s != STATUS_OK) {
        return s;
    }
    if (!(number >= 1 && number <= EPISODE_HISTORY_MAX && number == floor(number))) {
        return mapping_refuse(d, node, "history: expected a whole number 1..%d",
                              EPISODE_HISTORY_MAX);
    }
    mapping->rules.history.steps = (uint32_t)number;
    return STATUS_OK;
}

/* A key of `history`. */
static status read_history_key(struct mapping_document *d, const char *key,
                               const yaml_node_t *key_node, const yaml_node_t *value, void *arg)
{
    static const char *const words[] = {"false", "true"};
    struct mapping *mapping = arg;
    if (strcmp(key, "steps") == 0) {
        return read_steps(d, value, mapping);
    }
    if (strcmp(key, "actions") == 0) {
        int word = 0;
        const status s = mapping_read_choice(d, value, key, words, 2, &word);
        mapping->rules.history.actions = word == 1;
        return s;
    }
    return mapping_refuse(d, key_node, "history: \"%s\": expected steps or actions", key);
}

/* Reads a list of conditions, or a single one. */
static status read_filter(struct mapping_document *d, const yaml_node_t *node,
                          struct mapping *mapping)
{
    if (mapping_scalar(node) != NULL) {
        const status s = episode_filter_add(&mapping->rules.filter, mapping_scalar(node), d->err);
        return s == STATUS_OK
                   ? s
                   : err_context(d->err, s, "%s:%zu", d->path, node->start_mark.line + 1);
    }
    if (node->type != YAML_SEQUENCE_NODE) {
        return mapping_refuse(d, node, "filter: expected a list of conditions, such as [success]");
    }
    status s = STATUS_OK;
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         s == STATUS_OK && item < node->data.sequence.items.top; item++) {
        const yaml_node_t *condition = mapping_node(d, *item);
        s = mapping_scalar(condition) != NULL
                ? read_filter(d, condition, mapping)
                : mapping_refuse(d, condition, "filter: expected a condition, such as best=0.1");
    }
    return s;
}

status mapping_rules_read(struct mapping_document *d, const char *key, const yaml_node_t *value,
                          struct mapping *mapping, bool *known)
{
    static const char *const row_words[] = {"refuse", "split"};
    int word = 0;
    double number = 0;
    status s = STATUS_OK;
    *known = true;
    if (strcmp(key, "time") == 0 && mapping_scalar(value) != NULL) {
        s = mapping_read_text(d, value, key, mapping->time_column, sizeof mapping->time_column);
    } else if (strcmp(key, "time") == 0) {
        s = mapping_read_keys(d, value, key, read_time_key, mapping);
    } else if (strcmp(key, "time_gaps") == 0) {
        s = mapping_read_choice(d, value, key, gap_words, 3, &word);
        mapping->gaps = (enum mapping_gaps)word;
        mapping->rules.split_gaps = mapping->gaps == MAPPING_GAPS_SPLIT;
    } else if (strcmp(key, "gap_periods") == 0) {
        s = mapping_read_number(d, value, key, &mapping->gap_periods);
    } else if (strcmp(key, "bad_rows") == 0) {
        s = mapping_read_choice(d, value, key, row_words, 2, &word);
        mapping->rules.split_bad_rows = word == 1;
    } else if (strcmp(key, "min_piece") == 0) {
        s = mapping_read_number(d, value, key, &number);
        if (s == STATUS_OK &&
            !(number >= 1 && number <= EPISODE_TRANSITIONS_MAX && number == floor(number))) {
            return mapping_refuse(d, value, "min_piece: expected a whole number 1..%u",
                                  EPISODE_TRANSITIONS_MAX);
        }
        mapping->rules.min_piece = (uint32_t)number;
    } else if (strcmp(key, "filter") == 0) {
        s = read_filter(d, value, mapping);
    } else if (strcmp(key, "history") == 0 && mapping_scalar(value) != NULL) {
        s = read_steps(d, value, mapping);
    } else if (strcmp(key, "history") == 0) {
        s = mapping_read_keys(d, value, key, read_history_key, mapping);
    } else {
        *known = false;
    }
    return s;
}

const char *mapping_rules_check(const struct mapping *mapping)
{
    if (mapping->gaps != MAPPING_GAPS_IGNORE && mapping->time_column[0] == 0) {
        return "time_gaps: needs time, the column of times";
    }
    if (mapping->gaps != MAPPING_GAPS_IGNORE && !(mapping->control_period_s > 0)) {
        return "time_gaps: needs control_period_s";
    }
    if (!(mapping->gap_periods > 1)) {
        return "gap_periods: expected a number above 1";
    }
    return mapping->time_scale > 0 ? NULL : "time: scale: expected a number above 0";
}

void mapping_rules_write(const struct mapping *mapping, struct text *text)
{
    if (mapping->time_column[0] != 0) {
        text_add(text, "time: {column: ");
        text_add_quoted(text, mapping->time_column);
        if (mapping->time_scale != 1) {
            text_add(text, ", scale: ");
            text_add_number(text, mapping->time_scale);
        }
        text_format(text, "}\ntime_gaps: %s\n", gap_words[mapping->gaps]);
    }
    if (mapping->gap_periods != MAPPING_GAP_PERIODS) {
        text_add(text, "gap_periods: ");
        text_add_number(text, mapping->gap_periods);
        text_add(text, "\n");
    }
    if (mapping->rules.split_bad_rows) {
        text_add(text, "bad_rows: split\n");
    }
    if (episode_rules_split(&mapping->rules)) {
        text_format(text, "min_piece: %u\n", mapping->rules.min_piece);
    }
    if (mapping->rules.history.steps > 1) {
        text_format(text, "history: {steps: %u, actions: %s}\n", mapping->rules.history.steps,
                    mapping->rules.history.actions ? "true" : "false");
    }
    /* Quoted, since a tag may hold any character; conditions are written in one text and split
     * here. */
    if (!episode_filter_keeps_all(&mapping->rules.filter)) {
        struct text conditions = {0};
        episode_filter_write(&mapping->rules.filter, &conditions);
        text->failed |= conditions.failed;
        text_add(text, "filter: [");
        for (char *at = conditions.bytes; at != NULL;) {
            char *end = strstr(at, EPISODE_FILTER_BETWEEN);
            if (end != NULL) {
                *end = '\0';
            }
            text_add_quoted(text, at);
            text_add(text, end != NULL ? ", " : "");
            at = end != NULL ? end + strlen(EPISODE_FILTER_BETWEEN) : NULL;
        }
        text_add(text, "]\n");
        text_fini(&conditions);
    }
}
