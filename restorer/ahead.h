/* Reading ahead: a thread that follows the plan, reads, checks and relabels episodes, and hands
 * them over through a bounded queue. Buffers go round: nothing is allocated once the longest
 * episode was seen. */
#ifndef HINDCAST_RESTORER_AHEAD_H
#define HINDCAST_RESTORER_AHEAD_H

#include "restorer/plan.h"
#include "restorer/relabel.h"
#include "restorer/sources.h"

struct ahead;

enum ahead_kind {
    AHEAD_EPISODE,
    AHEAD_BAD,       /* one that was refused: `reason` */
    AHEAD_STILL_BAD, /* one that was refused in an earlier pass, and not tried again */
    AHEAD_PASS_END,  /* the plan's pass is over */
    AHEAD_FAILED,    /* reading cannot go on (out of memory): `reason`; the last item */
};

struct ahead_item {
    enum ahead_kind kind;
    struct plan_position after; /* where a restart would go on */
    struct episode episode;     /* of relabel_signature; AHEAD_EPISODE only */
    struct err reason;
};

struct ahead_settings {
    const struct sources *sources; /* borrowed until ahead_stop, like the other two */
    struct plan *plan;             /* the thread's alone until then; starts where it stands */
    struct relabel *relabel;       /* the thread's alone until then */
    struct plan_position until;    /* ends before this position */
    size_t read_ahead;             /* episodes, >= 1 */
};

/* Everything: from where the plan stands for ever. */
#define AHEAD_FOR_EVER ((struct plan_position){.pass = UINT64_MAX})

status ahead_start(struct ahead **ahead, const struct ahead_settings *settings,
                   struct err *err) MUST_CHECK;
/* The next item, in the plan's order; give it back. OK, TIMEOUT, CLOSED: all was handed out. */
status ahead_next(struct ahead *ahead, struct ahead_item **item, uint64_t timeout_ms) MUST_CHECK;
void ahead_return(struct ahead *ahead, struct ahead_item *item);
/* Ends the thread, after the episode that it is reading. NULL is fine. */
void ahead_stop(struct ahead *ahead);

#endif
