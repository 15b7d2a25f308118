/* The group of learners that share one model, as rank 0 sees it: who is in, what is awaited at the
 * barrier, which generation counts. Pure: events come in with their time, nothing is sent here.
 *
 *     FORMING  --all ranks in, group_open-->  STEPPING  --arrive * ranks, group_pass-->  STEPPING
 *        ^                                       |
 *        '---- group_form_anew <---- BROKEN <----'  a rank left, or was silent for too long
 *
 * Each opening is a new generation. What carries another generation's number is refused, so nothing
 * of a group that broke is ever added up. Rank 0 is a rank as the others, but never absent.
 * Errors' texts are for those who are refused. */
#ifndef HINDCAST_LEARNER_EXCHANGE_GROUP_H
#define HINDCAST_LEARNER_EXCHANGE_GROUP_H

#include <stdint.h>

#include "common/base/status.h"

#define GROUP_RANKS_MAX      64
#define GROUP_TEXT_SIZE      128
#define GROUP_GENERATION_MAX (UINT64_C(1) << 53)

enum group_phase { GROUP_FORMING, GROUP_STEPPING, GROUP_BROKEN };

/* Where a rank is when it comes to the barrier. */
struct group_mark {
    uint64_t generation;
    uint64_t step;   /* learner steps done */
    uint64_t batch;  /* that the sums are of */
    uint64_t digest; /* of the state before the step */
};

struct group_member {
    uint64_t incarnation; /* of its process; 0: absent */
    char who[GROUP_TEXT_SIZE];
    bool arrived;                /* at this barrier */
    uint64_t digest;             /* with which */
    uint64_t heard_ns;           /* its last word */
    char waits[GROUP_TEXT_SIZE]; /* what it says to be waiting for; empty: nothing */
};

struct group {
    uint32_t ranks;
    uint64_t timeout_ns; /* a silent rank is waited for so long */
    enum group_phase phase;
    uint64_t generation;                          /* of this group, or of the last one */
    uint64_t step, batch;                         /* of the barrier */
    uint64_t opened_ns;                           /* when rank 0 arrived there */
    struct group_member members[GROUP_RANKS_MAX]; /* [0]: rank 0 */
    char reason[2 * GROUP_TEXT_SIZE];             /* why it broke */
};

/* FORMING, with nobody but rank 0. `generation`: the last one that there was, 0: none. */
void group_init(struct group *group, uint32_t ranks, uint64_t generation, uint64_t timeout_ns);

/* A rank asks to be in. The same incarnation again takes its own place (its connection was lost).
 * `generation`: the last one it knows of. INVALID: no such rank. EXISTS: another process has it.
 * GROUP_BROKEN: the group is breaking up, come again. */
struct group_join {
    uint32_t rank, ranks;
    uint64_t incarnation;
    uint64_t generation;
    const char *who;
};
status group_join(struct group *group, const struct group_join *join, struct err *err) MUST_CHECK;

/* Are all in? */
bool group_complete(const struct group *group);
/* "for rank 2 of 3 to join", "for rank 1: for a batch"; empty: for nobody. */
void group_waits(const struct group *group, char *text, size_t size);

/* All begin from this step and batch, as a new generation. Needs FORMING and group_complete. */
void group_open(struct group *group, uint64_t step, uint64_t batch);

/* A rank's sums are there. MISMATCH: of another generation, or of none. INVALID: of another step or
 * batch, or a second time. CORRUPT: its parameters are not rank 0's; to be compared, both must have
 * arrived, so that rank 0's own arrival may find it. */
status group_arrive(struct group *group, uint64_t now_ns, uint32_t rank,
                    const struct group_mark *mark, struct err *err) MUST_CHECK;
/* It is alive, and waits for something. */
void group_heard(struct group *group, uint64_t now_ns, uint32_t rank, const char *waits);
/* It is gone. Breaks a group that steps. */
void group_leave(struct group *group, uint32_t rank, const char *why);
/* Time passes: a rank that rank 0 waits for, silent for too long, breaks the group. */
void group_watch(struct group *group, uint64_t now_ns);

/* Have all arrived? Then group_pass opens the next barrier. */
bool group_full(const struct group *group);
void group_pass(struct group *group);

/* After BROKEN, when everyone has been told: nobody is in but rank 0. */
void group_form_anew(struct group *group);

#endif
