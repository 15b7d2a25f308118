/* An observation as a Lua table: one field a slice, an array of numbers, or a number where the slice
 * has size 1. A reward function reads a few of them, so a field gets its value when it is first read:
 * to fill all of them at each step takes as long as several functions. Internal to common/relabel.
 *
 * Fields are there for reading: to assign one that has not been read is a Lua error, and what was
 * assigned to another, or to an element of an array, lasts until the next row. pairs sees all. */
#ifndef HINDCAST_RELABEL_OBSERVATION_TABLE_H
#define HINDCAST_RELABEL_OBSERVATION_TABLE_H

#include <lua.h>

#include "common/trajectory/signature.h"

/* The C side of one such table. Its address must not change. */
struct observation_table {
    const struct signature *signature;
    uint32_t at[SIGNATURE_SLICES_MAX]; /* of each slice in a row */
    const float *row;                  /* which is shown */
    uint64_t read;                     /* bit s: slice s has its value */
};

/* Pushes a new table. `table` and `signature` are borrowed for as long as Lua may reach it. Raises
 * Lua's errors of memory. */
void observation_table_push(lua_State *lua, struct observation_table *table,
                            const struct signature *signature);

/* From now on the table, which stands at stack index `at`, shows this row; borrowed. */
void observation_table_show(lua_State *lua, int at, struct observation_table *table,
                            const float *row);

#endif
