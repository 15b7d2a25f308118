/* The third step of a proposal: what follows from names and values together. */
#ifndef HINDCAST_LOGS_PROPOSE_DECISIONS_H
#define HINDCAST_LOGS_PROPOSE_DECISIONS_H

#include "common/logs/propose/propose_findings.h"

/* Completes the mapping: how episodes are told apart and end, in which rows rewards and flags are,
 * what `done` means, the limits of the actions, the control period and the column of times. What the
 * user should check goes to the notes. The files are read again for the times. */
status propose_decide(struct proposal *p, const struct propose_findings *found) MUST_CHECK;

#endif
