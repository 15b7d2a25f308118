/* Proposes a mapping from the contents of the logs: names, shapes and values of the columns.
 *
 * Where a layout names its parts (robomimic, D4RL, LeRobot, ..), the proposal follows the names; in
 * logs with columns of any name it is a guess. The lines of `notes`, which `hindcast dataset map`
 * prints as comments above the mapping, explain both and tell them apart. The rules are heuristics
 * of this program and not part of any format. */
#ifndef HINDCAST_LOGS_PROPOSE_H
#define HINDCAST_LOGS_PROPOSE_H

#include "common/base/text.h"
#include "common/logs/episodes/logs.h"

/* A line of the notes that begins with this tells what the user has to confirm: something that the
 * logs do not say. The others tell which rule was applied, or what is left out. */
#define PROPOSE_CONFIRM "confirm: "

/* Returns whether the notes ask for no confirmation. Otherwise the first line that does is stored in
 * `guess`, without the prefix. */
bool propose_is_certain(const struct text *notes, char *guess, size_t size);

/* Reads all logs once, initialises `mapping` and appends lines to `notes`, each ending in a
 * newline. The caller releases both; `mapping` is empty on error. Returns INVALID if no column can
 * be an observation or an action; the text then lists the columns. */
status propose_mapping(struct logs *logs, struct mapping *mapping, struct text *notes,
                       struct err *err) MUST_CHECK;

#endif
