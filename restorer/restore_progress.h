/* The progress of a restorer: counted by the restoring thread, shown by the loop thread as metrics
 * and as the text of its progress file. */
#ifndef HINDCAST_RESTORER_RESTORE_PROGRESS_H
#define HINDCAST_RESTORER_RESTORE_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/process.h"

/* What the restoring thread is doing. */
enum restore_state {
    RESTORE_CONNECTING,
    RESTORE_INSERTING,
    RESTORE_FLUSHING,
    RESTORE_SEALING,
    RESTORE_DONE
};

struct restore_progress {
    _Atomic int state;         /* enum restore_state */
    _Atomic uint64_t pass;     /* passes completed */
    _Atomic uint64_t done;     /* episodes of this pass, good and bad, earlier processes included */
    _Atomic uint64_t episodes; /* inserted by this process; so are those below */
    _Atomic uint64_t held_out; /* of these episodes */
    _Atomic uint64_t transitions;
    _Atomic uint64_t bad;
    _Atomic uint64_t bytes;
    _Atomic uint64_t duplicates;
    _Atomic uint64_t waited_ms;
    uint64_t all; /* episodes of a pass; set before the threads start */
    bool endless; /* mode loop: there is no fraction to show */
    /* Used by the loop thread only: */
    uint64_t last_ns, last_transitions;
    double rate; /* transitions per second since the last call */
};

/* Registers the metrics. Call it before the threads start. */
void restore_progress_start(struct restore_progress *progress);

/* Updates the metrics and calls process_report. Loop thread. */
void restore_progress_show(struct restore_progress *progress, struct process *process);

#endif
