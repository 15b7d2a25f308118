/* Faults that are injected on purpose, each once: KIND@EPISODE.STEP, as "nan@2.30", in the second
 * episode of the process at step 30.
 *
 *     nan    an element of the observation is not a number       (plant)
 *     jump   an element of the observation is far beyond limits  (plant)
 *     drop   the observation is lost on its way to the driver    (plant)
 *     burst  the simulation's physics go bad                     (plant)
 *     late   the action takes ten control periods to the plant   (driver)
 *     stop   somebody presses the emergency stop                 (driver) */
#ifndef HINDCAST_ROBOT_SIM_FAULTS_H
#define HINDCAST_ROBOT_SIM_FAULTS_H

#include "common/base/config.h"

enum fault_kind {
    FAULT_NAN,
    FAULT_JUMP,
    FAULT_DROP,
    FAULT_BURST,
    FAULT_LATE,
    FAULT_STOP,
    FAULT_KINDS
};

struct faults {
    size_t n;
    struct {
        enum fault_kind kind;
        uint64_t episode, step;
    } items[CONFIG_LIST_MAX];
};

/* INVALID names the text. */
status faults_parse(struct faults *faults, const struct config_texts *texts,
                    struct err *err) MUST_CHECK;
/* Is this kind due now? `episode` counts from 1. */
bool faults_due(const struct faults *faults, enum fault_kind kind, uint64_t episode, uint64_t step);

#endif
