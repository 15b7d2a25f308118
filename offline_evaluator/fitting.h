/* Fitting the critics of an evaluation, from its checkpoint where there is one. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_FITTING_H
#define HINDCAST_OFFLINE_EVALUATOR_FITTING_H

#include "offline_evaluator/evaluation.h"

/* Takes the steps of all critics. Needs data, columns, heads, critics and digest. CLOSED: stopping,
 * with a checkpoint written. INVALID: a critic has diverged. */
status fitting_run(struct evaluation *evaluation, struct err *err) MUST_CHECK;

#endif
