/* Rewards computed from logged observations by a Lua file: learning new tasks from old logs.
 *
 *     -- lift.lua
 *     return {
 *         lift = function(now, action, after)
 *             local height = after.block_position[3] - 0.025
 *             return math.min(math.max((height - 0.005) / 0.045, 0), 1)
 *         end,
 *     }
 *
 * The file returns a table with one function per task. `now` and `after` are the observations
 * before and after the step: one field a slice, an array of numbers, or a number where the slice
 * has size 1; `action` is an array, canonical (-1..1). Observations are for reading
 * (observation_table.h). The function returns a finite number.
 *
 * The file is foreign code. It has Lua's basic functions (without next, rawget and rawset) and math
 * (without random, with tanh), but no files, no modules and no loading of code. It has at most
 * SCRIPT_MEMORY_MAX bytes, SCRIPT_STRING_MAX of them for one text (to compare two is a single
 * instruction), and SCRIPT_STEPS_MAX instructions and SCRIPT_SECONDS_MAX seconds per call. One
 * thread. */
#ifndef HINDCAST_RELABEL_SCRIPT_H
#define HINDCAST_RELABEL_SCRIPT_H

#include <stdatomic.h>

#include "common/trajectory/episode.h"

#define SCRIPT_MEMORY_MAX  (64u << 20)
#define SCRIPT_STRING_MAX  (64u << 10)
#define SCRIPT_STEPS_MAX   1000000
#define SCRIPT_SECONDS_MAX 10

struct script;

/* `signature` is that of the logs; borrowed. NOT_FOUND, INVALID with Lua's text: file and line. */
status script_open(struct script **script, const char *path, const struct signature *signature,
                   struct err *err) MUST_CHECK;
void script_close(struct script *script);

/* A call that is running ends with CLOSED soon after *stop becomes true. Borrowed; NULL: none. */
void script_set_stop(struct script *script, const atomic_bool *stop);

uint32_t script_n(const struct script *script); /* tasks, 1..SIGNATURE_TASKS_MAX */
const char *script_task(const struct script *script, uint32_t i); /* in order of name */
uint64_t script_digest(const struct script *script);              /* of the file's bytes; not 0 */

/* rewards(T, n) <- the result of function i at each step. INVALID names task, row and reason. */
status script_run(struct script *script, const struct episode *episode, float *rewards,
                  struct err *err) MUST_CHECK;

#endif
