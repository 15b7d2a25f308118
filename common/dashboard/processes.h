/* The processes of a run, as they describe themselves. */
#ifndef HINDCAST_DASHBOARD_PROCESSES_H
#define HINDCAST_DASHBOARD_PROCESSES_H

#include <stdint.h>

#include "common/base/json.h"
#include "common/base/peek.h"

/* Asks every process that has left its address in RUN_DIR/LABEL.admin, one after another, for at most
 * timeout_ms each, with the token of `access`. A list, in the order of their names, of
 *
 *   {"name": LABEL, "state", "text", "fraction": 0..1 or null}
 *
 * State and text are the process's own. One that does not answer is "silent" (it is stopped or too
 * busy) or "gone" (nobody listens at its address; it was killed), and one that does not tell us its
 * state, or that we do not believe, is "denied"; then the text says why. An empty list where there is
 * no such folder; NULL: out of memory. */
cJSON *processes_ask(const char *run_dir, const struct peek_access *access, uint64_t timeout_ms);

/* The same of the process whose admin page is at a numeric address; its name is its role, or the
 * address. */
cJSON *processes_ask_at(const char *address, const struct peek_access *access, uint64_t timeout_ms);

/* Does a process of the list, or this one, answer, be it that it does not tell us its state? */
bool processes_answers(const cJSON *process);
bool processes_denies(const cJSON *process);

#endif
