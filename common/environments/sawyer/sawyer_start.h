/* Start states of the Sawyer stacking domain, drawn with numpy's RandomState.
 *
 * The tool is at a random place above the basket, pointing down; blocks lie apart on the floor; then
 *
 *     table     that is all
 *     held      green is between the closed fingers, in the air
 *     stacked   green is on yellow, nearly centred
 *
 * Ours. */
#ifndef HINDCAST_ENVIRONMENTS_SAWYER_START_H
#define HINDCAST_ENVIRONMENTS_SAWYER_START_H

#include "common/environments/random_state.h"
#include "common/environments/sawyer/sawyer_plant.h"
#include "common/environments/simulation.h"

#define SAWYER_SUB_STEPS 10 /* physics steps in a control step */

enum sawyer_mode { SAWYER_TABLE, SAWYER_HELD, SAWYER_STACKED, SAWYER_DRAWN };

struct sawyer_start {
    enum sawyer_mode mode;
    double held, stacked; /* with SAWYER_DRAWN: their probabilities; the rest is SAWYER_TABLE */
};

/* Draws a start state into simulation->data, which needs no reset before; derived quantities are
 * those of mj_step1. Errors as simulation_step. */
status sawyer_start(struct simulation *simulation, const struct sawyer_parts *parts,
                    const struct sawyer_start *start, struct random_state *random,
                    struct err *err) MUST_CHECK;

#endif
