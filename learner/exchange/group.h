/* The group of learners that train one model, as rank 0 sees it: which ranks have joined, which are
 * awaited at the barrier, which generation counts. Pure: events carry their time, and nothing is
 * sent from here.
 *
 *     FORMING  --all ranks in, group_open-->  STEPPING  --arrive * ranks, group_pass-->  STEPPING
 *        ^                                       |
 *        '---- group_form_anew <---- BROKEN <----'  a rank left, or was silent for too long
 *
 * Each opening begins a new generation. A message of another generation is refused, so that sums of
 * a group that broke up are never added. Rank 0 is a member like the others, but never absent. The
 * texts of errors are sent to the rank that is refused. */
#ifndef HINDCAST_LEARNER_EXCHANGE_GROUP_H
#define HINDCAST_LEARNER_EXCHANGE_GROUP_H

#include <stdint.h>

#include "common/base/status.h"

#define GROUP_RANKS_MAX      64
#define GROUP_TEXT_SIZE      128
#define GROUP_WAITS_SIZE     256
#define GROUP_GENERATION_MAX (UINT64_C(1) << 53)

enum group_phase { GROUP_FORMING, GROUP_STEPPING, GROUP_BROKEN };

/* Where a rank is when it comes to the barrier. */
struct group_mark {
    uint64_t generation;
    uint64_t step;   /* learner steps done */
    uint64_t batch;  /* number of the batch that the sums come from */
    uint64_t digest; /* of the state before the step */
};

struct group_member {
    uint64_t incarnation; /* of its process; 0: absent */
    char who[GROUP_TEXT_SIZE];
    bool arrived;                /* at this barrier */
    uint64_t digest;             /* of its state, when it arrived */
    uint64_t heard_ns;           /* time of its last message */
    char waits[GROUP_TEXT_SIZE]; /* what it says it waits for; empty: nothing */
    bool refused;                /* at its first barrier, for its state */
};

struct group {
    uint32_t ranks;
    uint64_t timeout_ns; /* how long a silent rank is waited for */
    enum group_phase phase;
    uint64_t generation;                          /* of this group, or of the last one */
    uint64_t step, batch;                         /* of the barrier */
    uint64_t passed;                              /* barriers of this generation */
    uint64_t opened_ns;                           /* when rank 0 arrived there */
    struct group_member members[GROUP_RANKS_MAX]; /* [0]: rank 0 */
    char reason[2 * GROUP_TEXT_SIZE];             /* why it broke */
    /* Why the last process of each rank was refused; empty: it was not, or another has joined. */
    char refusals[GROUP_RANKS_MAX][GROUP_WAITS_SIZE];
};

/* FORMING, with rank 0 alone. `generation`: that of the last group; 0: there was none. */
void group_init(struct group *group, uint32_t ranks, uint64_t generation, uint64_t timeout_ns);

/* A rank asks to join. The same incarnation again takes over its own place (its connection was
 * lost). `generation`: the last one it knows. INVALID: no such rank. EXISTS: another process has
 * this rank. GROUP_BROKEN: the group is breaking up; the rank may ask again. */
struct group_join {
    uint32_t rank, ranks;
    uint64_t incarnation;
    uint64_t generation;
    const char *who;
};
status group_join(struct group *group, const struct group_join *join, struct err *err) MUST_CHECK;

/* Have all ranks joined? */
bool group_complete(const struct group *group);
/* "for rank 2 of 3 to join", "for rank 1 of 3, which waits for a batch"; empty: for none. Where the
 * last process of a missing rank was refused, says why. */
void group_waits(const struct group *group, char text[GROUP_WAITS_SIZE]);
/* This process, which is or wants to be this rank, is refused. Ignored where another one has its
 * place, or where there is no such rank. */
void group_refuse(struct group *group, uint32_t rank, uint64_t incarnation, const char *why);

/* All ranks begin from this step and batch, as a new generation. Needs FORMING and
 * group_complete. */
void group_open(struct group *group, uint64_t step, uint64_t batch);

/* The sums of a rank have arrived. MISMATCH: they belong to another generation, or no group steps.
 * INVALID: they belong to another step or batch, or came before. CORRUPT: the rank's parameters
 * differ from rank 0's. They are compared when both have arrived, so rank 0's own arrival may also
 * return this. At the first barrier of a generation the rank does not have the state that it was
 * sent: it is refused, and the group BROKEN. Later, nobody knows which of the two is right. */
status group_arrive(struct group *group, uint64_t now_ns, uint32_t rank,
                    const struct group_mark *mark, struct err *err) MUST_CHECK;
/* The rank is alive, and waits for something. */
void group_heard(struct group *group, uint64_t now_ns, uint32_t rank, const char *waits);
/* The rank is gone. A group that is STEPPING becomes BROKEN. */
void group_leave(struct group *group, uint32_t rank, const char *why);
/* Checks the time: a rank that rank 0 waits for and that was silent for too long breaks the
 * group. */
void group_watch(struct group *group, uint64_t now_ns);

/* Have all ranks arrived? Then group_pass opens the next barrier. */
bool group_full(const struct group *group);
void group_pass(struct group *group);

/* To be called when all ranks know that the group broke: FORMING, with rank 0 alone. */
void group_form_anew(struct group *group);

#endif
