/* A list that is searched: it is short. */
#include "robot_sim/faults.h"

#include <stdio.h>
#include <string.h>

static const char *const kinds[FAULT_KINDS] = {"nan", "jump", "drop", "burst", "late", "stop"};

status faults_parse(struct faults *faults, const struct config_texts *texts, struct err *err)
{
    faults->n = texts->n;
    for (size_t i = 0; i < texts->n; i++) {
        char kind[8], rest[2];
        unsigned long episode, step;
        size_t k = 0;
        bool good = sscanf(texts->items[i], "%7[a-z]@%lu.%lu%1s", kind, &episode, &step, rest) == 3;
        while (good && k < FAULT_KINDS && strcmp(kinds[k], kind) != 0) {
            k++;
        }
        if (!good || k == FAULT_KINDS || episode == 0) {
            return err_set(err, STATUS_INVALID,
                           "robot_sim.faults: \"%.40s\": expected KIND@EPISODE.STEP, KIND one of "
                           "nan, jump, drop, burst, late, stop",
                           texts->items[i]);
        }
        faults->items[i].kind = (enum fault_kind)k;
        faults->items[i].episode = episode;
        faults->items[i].step = step;
    }
    return STATUS_OK;
}

bool faults_due(const struct faults *faults, enum fault_kind kind, uint64_t episode, uint64_t step)
{
    for (size_t i = 0; i < faults->n; i++) {
        if (faults->items[i].kind == kind && faults->items[i].episode == episode &&
            faults->items[i].step == step) {
            return true;
        }
    }
    return false;
}
