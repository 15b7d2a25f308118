/* Mappings in memory, and the signature that a mapping gives for a recording.
 *
 * mapping_signature is also the check that a recording fits a mapping: every column must exist,
 * hold numbers and have the right width. Reading and writing mapping files is in mapping_file.c. */
#include "common/logs/mapping/mapping.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

/* The defaults of keys that a file leaves out. Scales are set when columns are added. */
void mapping_init(struct mapping *mapping)
{
    *mapping = (struct mapping){
        .last = MAPPING_LAST_ROW, .time_scale = 1, .gap_periods = MAPPING_GAP_PERIODS};
    episode_rules_init(&mapping->rules);
}

/* Leaves an empty mapping, so that a second call is harmless. */
void mapping_fini(struct mapping *mapping)
{
    for (uint32_t i = 0; i < SIGNATURE_SLICES_MAX; i++) {
        mem_free(mapping->observation[i].names);
        mem_free(mapping->next[i].names);
    }
    mem_free(mapping->action.names);
    mapping_resample_fini(&mapping->resample);
    mapping_init(mapping);
}

/* Appends a copy of the name. */
status mapping_columns_add(struct mapping_columns *columns, const char *name, struct err *err)
{
    if (columns->n == 0) {
        columns->scale = 1; /* columns that are all zero have no scale yet */
    }
    /* The limit on the number of columns keeps a hostile file from taking all memory. */
    if (strlen(name) >= RECORDING_NAME_SIZE || columns->n >= SIGNATURE_OBSERVATION_MAX) {
        return err_set(err, STATUS_INVALID,
                       "\"%.40s\": too long for a column's name, or too many columns", name);
    }

    /* Lists are short, so they grow by one name at a time. */
    void *names = mem_resize(columns->names, columns->n + 1, sizeof *columns->names);
    if (names == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "columns of a mapping");
    }
    columns->names = names;
    memcpy(columns->names[columns->n++], name, strlen(name) + 1);
    return STATUS_OK;
}

/* Finds the column that `key` of the mapping names. It must hold numbers. */
static status find(const struct recording *recording, const char *key, const char *name,
                   const struct recording_column **column, struct err *err)
{
    /* Two errors, since they have different causes: a misspelt name, and a column of text. */
    const struct recording_column *found = recording_find(recording, name);
    if (found == NULL) {
        return err_set(err, STATUS_INVALID, "%s: the logs have no column \"%s\"", key, name);
    }
    if (found->kind != RECORDING_NUMBERS) {
        return err_set(err, STATUS_INVALID, "%s: column \"%s\" does not hold readable numbers", key,
                       name);
    }
    /* The pointer is into the recording, and valid until that changes. */
    *column = found;
    return STATUS_OK;
}

/* Stores the number of values in a row of all columns together. */
static status width_of(const struct mapping_columns *columns, const struct recording *recording,
                       const char *key, uint64_t *width, struct err *err)
{
    /* 64 bits cannot overflow: lists and widths are limited. */
    *width = 0;
    for (uint32_t i = 0; i < columns->n; i++) {
        const struct recording_column *column = NULL;
        const status s = find(recording, key, columns->names[i], &column, err);
        if (s != STATUS_OK) {
            return s;
        }
        *width += column->width;
    }
    return STATUS_OK;
}

/* Checks the column of a reward or flag: one number in each row. No column is fine. */
static status check_value(const struct mapping_value *value, const struct recording *recording,
                          const char *key, struct err *err)
{
    if (value->column[0] == 0) {
        return STATUS_OK;
    }
    /* A column may have fewer rows than the observations; this is checked when values are read. */
    const struct recording_column *column = NULL;
    const status s = find(recording, key, value->column, &column, err);
    if (s == STATUS_OK && column->width != 1) {
        return err_set(err, STATUS_INVALID, "%s: column \"%s\" has %u values per row, expected 1",
                       key, value->column, column->width);
    }
    return s;
}

/* Fills the slices of the signature. Columns of next_observation must have the same sizes. */
static status observation_signature(const struct mapping *mapping,
                                    const struct recording *recording, struct signature *signature,
                                    struct err *err)
{
    status s = STATUS_OK;
    signature->n_slices = mapping->n_slices;
    for (uint32_t i = 0; s == STATUS_OK && i < mapping->n_slices; i++) {
        /* `key` names the part of the mapping that an error is about. */
        uint64_t width, next_width;
        char key[SIGNATURE_NAME_SIZE + 32];
        snprintf(key, sizeof key, "observation: %s", mapping->slices[i]);
        s = width_of(&mapping->observation[i], recording, key, &width, err);
        if (s != STATUS_OK || mapping->last != MAPPING_LAST_NEXT) {
            next_width = width;
        } else {
            snprintf(key, sizeof key, "next_observation: %s", mapping->slices[i]);
            s = width_of(&mapping->next[i], recording, key, &next_width, err);
        }

        /* The width is checked here because the signature stores it in 32 bits. */
        if (s == STATUS_OK && (width > SIGNATURE_OBSERVATION_MAX || width != next_width)) {
            s = err_set(err, STATUS_INVALID, "%s: %llu values, expected %llu, at most %u", key,
                        (unsigned long long)next_width, (unsigned long long)width,
                        SIGNATURE_OBSERVATION_MAX);
        }
        if (s == STATUS_OK) {
            memcpy(signature->slices[i].name, mapping->slices[i], SIGNATURE_NAME_SIZE);
            signature->slices[i].size = (uint32_t)width;
        }
    }
    return s;
}

/* Fills the actions of the signature. The limits must have one value for each component. */
static status action_signature(const struct mapping *mapping, const struct recording *recording,
                               struct signature *signature, struct err *err)
{
    uint64_t width;
    /* A column with several values in a row is several components. */
    const status s = width_of(&mapping->action, recording, "action: columns", &width, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The limits come from the file and the width from the logs; they must agree. */
    if (width != mapping->A) {
        return err_set(err, STATUS_INVALID,
                       "action: the columns have %llu values, min and max have %u",
                       (unsigned long long)width, mapping->A);
    }
    signature->A = mapping->A;
    for (uint32_t i = 0; i < mapping->A; i++) {
        signature->action_min[i] = (float)mapping->action_min[i];
        signature->action_max[i] = (float)mapping->action_max[i];
    }
    return STATUS_OK;
}

status mapping_signature(const struct mapping *mapping, const struct recording *recording,
                         struct signature *signature, struct err *err)
{
    /* The result is stored only when all checks have passed. */
    struct signature made = {.control_period_s = mapping->control_period_s};
    status s = observation_signature(mapping, recording, &made, err);
    if (s == STATUS_OK) {
        s = action_signature(mapping, recording, &made, err);
    }

    /* Columns with one value in each row. */
    made.K = mapping->K;
    for (uint32_t k = 0; s == STATUS_OK && k < mapping->K; k++) {
        memcpy(made.rewards[k], mapping->rewards[k], SIGNATURE_NAME_SIZE);
        s = check_value(&mapping->reward[k], recording, "rewards", err);
    }
    if (s == STATUS_OK) {
        s = check_value(&mapping->terminated, recording, "terminated", err);
    }
    if (s == STATUS_OK) {
        s = check_value(&mapping->timeout, recording, "timeout", err);
    }

    /* The column that numbers the episodes is checked like a reward. */
    if (s == STATUS_OK && mapping->episodes == MAPPING_BY_COLUMN) {
        /* The same check, for a value that has only a column. */
        const struct mapping_value column = {.column = {0}};
        struct mapping_value by = column;
        memcpy(by.column, mapping->episode_column, sizeof by.column);
        s = check_value(&by, recording, "episodes: column", err);
    }

    if (s == STATUS_OK) {
        struct mapping_value time = {.column = {0}};
        memcpy(time.column, mapping->time_column, sizeof time.column);
        s = check_value(&time, recording, "time", err);
    }

    /* Names, limits and sizes must make a valid signature. */
    if (s == STATUS_OK) {
        s = signature_check(&made, err);
    }
    if (s == STATUS_OK) {
        *signature = made;
    }
    return s;
}
