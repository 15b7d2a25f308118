/* Prefetching: a thread that follows the plan, reads, checks and relabels episodes, and passes them
 * on through a bounded queue. Buffers are reused: nothing is allocated once the longest episode was
 * seen. */
#ifndef HINDCAST_RESTORER_PREFETCH_H
#define HINDCAST_RESTORER_PREFETCH_H

#include "common/logs/source/sources.h"
#include "common/relabel/relabel.h"
#include "restorer/plan.h"

struct prefetch;

enum prefetch_kind {
    PREFETCH_EPISODE,
    PREFETCH_BAD,       /* a refused episode: `reason` */
    PREFETCH_STILL_BAD, /* one that was refused in an earlier pass and not read again */
    PREFETCH_PASS_END,  /* the plan's pass is over */
    PREFETCH_FAILED,    /* reading cannot continue (out of memory): `reason`; the last item */
};

struct prefetch_item {
    enum prefetch_kind kind;
    struct plan_position after; /* where a restart would continue */
    struct episode episode;     /* of relabel_signature; PREFETCH_EPISODE only */
    uint64_t clipped;           /* action values of this episode */
    struct err reason;
};

struct prefetch_settings {
    const struct sources *sources; /* borrowed until prefetch_stop, like the other two */
    struct plan *plan;             /* used by the thread only; it starts at the plan's position */
    struct relabel *relabel;       /* used by the thread only */
    struct plan_position until;    /* ends before this position */
    bool clip;                     /* actions beyond their limits */
    size_t prefetch_episodes;      /* episodes, >= 1 */
};

/* Without an end: pass after pass. */
#define PREFETCH_UNBOUNDED ((struct plan_position){.pass = UINT64_MAX})

status prefetch_start(struct prefetch **prefetch, const struct prefetch_settings *settings,
                      struct err *err) MUST_CHECK;
/* The next item, in the plan's order; return it. OK, TIMEOUT, CLOSED: there are no more. */
status prefetch_next(struct prefetch *prefetch, struct prefetch_item **item,
                     uint64_t timeout_ms) MUST_CHECK;
void prefetch_return(struct prefetch *prefetch, struct prefetch_item *item);
/* Ends the thread, after the episode that it is reading. NULL is fine. */
void prefetch_stop(struct prefetch *prefetch);

#endif
