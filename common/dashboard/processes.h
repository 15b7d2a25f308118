/* The processes of a run, as they describe themselves. */
#ifndef HINDCAST_DASHBOARD_PROCESSES_H
#define HINDCAST_DASHBOARD_PROCESSES_H

#include <stdint.h>

#include "common/base/json.h"

/* Asks every process that has left its address in RUN_DIR/LABEL.admin, one after another, for at most
 * timeout_ms each. A list, in the order of their names, of
 *
 *   {"name": LABEL, "state", "text", "fraction": 0..1 or null}
 *
 * State and text are the process's own. One that does not answer is "silent" (it is stopped or too
 * busy) or "gone" (nobody listens at its address; it was killed), and the text says why. An empty
 * list where there is no such folder; NULL: out of memory. */
cJSON *processes_ask(const char *run_dir, uint64_t timeout_ms);

/* The same of the process whose admin page is at a numeric address; its name is its role, or the
 * address. */
cJSON *processes_ask_at(const char *address, uint64_t timeout_ms);

/* Does a process of the list, or this one, answer? */
bool processes_answers(const cJSON *process);

#endif
