/* Membership and barrier of a group of learners. See group.h.
 *
 * A small state machine over an array of members. Every change comes from one of three sources: a
 * message of a rank (join, arrive, heard), the end of its connection (leave), the clock (watch). A
 * group only ever breaks here; that ranks are told and the group forms again is the host's work.
 *
 * There is no lock and no clock in this file: callers hold the host's mutex and pass the time, so
 * tests can play any order of events. */
#include "learner/exchange/group.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/utf8.h"

void group_init(struct group *group, uint32_t ranks, uint64_t generation, uint64_t timeout_ns)
{
    ASSERT(ranks >= 1 && ranks <= GROUP_RANKS_MAX);
    ASSERT(timeout_ns > 0);
    memset(group, 0, sizeof *group);
    group->ranks = ranks;
    group->generation = generation;
    group->timeout_ns = timeout_ns;
    /* Rank 0 is always a member: it keeps the group. */
    group->members[0].incarnation = 1;
}

void group_form_anew(struct group *group)
{
    /* All ranks have to join again, except rank 0. */
    const uint64_t own = group->members[0].incarnation;
    ASSERT(own != 0);
    memset(group->members, 0, sizeof group->members);
    group->members[0].incarnation = own;
    group->phase = GROUP_FORMING;
    group->reason[0] = '\0';
}

/* The first reason is kept; later ones are its consequences. */
static void break_up(struct group *group, uint32_t rank, const char *why)
{
    ASSERT(rank < group->ranks);
    if (group->phase == GROUP_STEPPING) {
        group->phase = GROUP_BROKEN;
        snprintf(group->reason, sizeof group->reason, "rank %u of %u %.200s", rank, group->ranks,
                 why);
    }
}

status group_join(struct group *group, const struct group_join *join, struct err *err)
{
    ASSERT(group->members[0].incarnation != 0);
    /* What the rank says of itself. */
    if (join->ranks != group->ranks) {
        return err_set(err, STATUS_INVALID, "rank %u of %u: expected one of %u ranks", join->rank,
                       join->ranks, group->ranks);
    }
    if (join->rank < 1 || join->rank >= group->ranks) {
        return err_set(err, STATUS_INVALID, "rank %u: expected 1..%u", join->rank,
                       group->ranks - 1);
    }
    if (join->incarnation == 0) {
        return err_set(err, STATUS_INVALID, "rank %u: incarnation 0", join->rank);
    }
    /* Without a bound one message could use up the numbers of all later groups. */
    if (join->generation > GROUP_GENERATION_MAX) {
        return err_set(err, STATUS_INVALID,
                       "rank %u: generation %" PRIu64 ", expected at most 2^53", join->rank,
                       join->generation);
    }
    /* Who has its place now. A process whose connection was lost comes back before the loss is
     * noticed: its new join breaks the group that the old one was in. */
    struct group_member *member = &group->members[join->rank];
    if (member->incarnation != 0 && member->incarnation != join->incarnation) {
        return err_set(err, STATUS_EXISTS, "rank %u is %s", join->rank, member->who);
    }
    if (member->incarnation != 0) {
        break_up(group, join->rank, "joined again");
    }
    if (group->phase != GROUP_FORMING) {
        return err_set(err, STATUS_GROUP_BROKEN, "the group breaks up: %s", group->reason);
    }
    /* The place is free, or is taken again by the same process. */
    *member = (struct group_member){.incarnation = join->incarnation};
    snprintf(member->who, sizeof member->who, "%s", join->who);
    utf8_trim(member->who); /* it is part of texts that are sent */
    group->refusals[join->rank][0] = '\0';
    /* Rank 0 may have lost its record of the generations; the others remember. */
    if (group->generation < join->generation) {
        group->generation = join->generation;
    }
    ASSERT(member->incarnation != 0 && !member->arrived);
    return STATUS_OK;
}

bool group_complete(const struct group *group)
{
    ASSERT(group->ranks >= 1 && group->ranks <= GROUP_RANKS_MAX);
    /* Every rank has a process. */
    for (uint32_t r = 0; r < group->ranks; r++) {
        if (group->members[r].incarnation == 0) {
            return false;
        }
    }
    return true;
}

void group_waits(const struct group *group, char text[GROUP_WAITS_SIZE])
{
    text[0] = '\0';
    /* The first rank that is missing stands for all of them. */
    for (uint32_t r = 1; r < group->ranks; r++) {
        const struct group_member *member = &group->members[r];
        if (member->incarnation == 0) {
            const char *refusal = group->refusals[r];
            snprintf(text, GROUP_WAITS_SIZE, "for rank %u of %u to join%s%.190s", r, group->ranks,
                     refusal[0] ? "; refused: " : "", refusal);
            utf8_trim(text);
            return;
        }
        /* A rank that waits for something itself says what; that is the more useful text. */
        if (group->phase == GROUP_STEPPING && !member->arrived) {
            snprintf(text, GROUP_WAITS_SIZE, "for rank %u of %u%s%s", r, group->ranks,
                     member->waits[0] ? ", which waits " : "", member->waits);
            return;
        }
    }
}

void group_refuse(struct group *group, uint32_t rank, uint64_t incarnation, const char *why)
{
    if (rank < 1 || rank >= group->ranks ||
        (group->members[rank].incarnation != 0 &&
         group->members[rank].incarnation != incarnation)) {
        return;
    }
    snprintf(group->refusals[rank], sizeof group->refusals[rank], "%s", why);
    utf8_trim(group->refusals[rank]);
}

void group_open(struct group *group, uint64_t step, uint64_t batch)
{
    ASSERT(group->phase == GROUP_FORMING && group_complete(group));
    /* Nobody has arrived at the first barrier yet. */
    group->phase = GROUP_STEPPING;
    group->generation++;
    group->step = step;
    group->batch = batch;
    group->passed = 0;
    for (uint32_t r = 0; r < group->ranks; r++) {
        group->members[r].arrived = false;
        group->members[r].waits[0] = '\0';
    }
    ASSERT(group->generation != 0 && !group_full(group));
}

/* Compares a rank's parameters with those of rank 0, once both have arrived. */
static status compare(struct group *group, uint32_t rank, struct err *err)
{
    const struct group_member *own = &group->members[0];
    struct group_member *member = &group->members[rank];
    /* Without both digests there is nothing to compare yet. */
    if (!own->arrived || !member->arrived || own->digest == member->digest) {
        return STATUS_OK;
    }
    struct err why;
    const status s = err_set(
        &why, STATUS_CORRUPT,
        "differs from rank 0 before step %" PRIu64 ": %s %016" PRIx64 ", expected %016" PRIx64,
        group->step + 1, group->passed > 0 ? "parameters" : "the state it was sent has digest",
        member->digest, own->digest);
    (void)err_set(err, s, "rank %u of %u (%s) %s", rank, group->ranks, member->who, why.text);
    /* No step was taken together: the state of rank 0 is the group's. */
    if (group->passed == 0) {
        member->refused = true;
        group_refuse(group, rank, member->incarnation, err->text);
        break_up(group, rank, why.text);
    }
    return s;
}

status group_arrive(struct group *group, uint64_t now_ns, uint32_t rank,
                    const struct group_mark *mark, struct err *err)
{
    ASSERT(rank < group->ranks);
    struct group_member *member = &group->members[rank];
    /* Sums that were on their way when the group broke are of no use to the next one. */
    if (group->phase != GROUP_STEPPING || mark->generation != group->generation) {
        return err_set(err, STATUS_MISMATCH,
                       "generation %" PRIu64 " is not the group's: %s %" PRIu64, mark->generation,
                       group->phase == GROUP_STEPPING ? "it is" : "the last was",
                       group->generation);
    }
    /* The right group, but another place in the run, or a second time. */
    if (mark->step != group->step || mark->batch != group->batch || member->arrived) {
        return err_set(err, STATUS_INVALID,
                       "rank %u came with step %" PRIu64 " batch %" PRIu64
                       ", expected step %" PRIu64 " batch %" PRIu64 " once",
                       rank, mark->step, mark->batch, group->step, group->batch);
    }
    /* The rank has arrived: it waits for nothing but the others. */
    member->arrived = true;
    member->digest = mark->digest;
    member->heard_ns = now_ns;
    member->waits[0] = '\0';
    ASSERT(member->incarnation != 0);
    /* The other ranks are compared with rank 0 when it arrives. */
    if (rank != 0) {
        return compare(group, rank, err);
    }
    /* Rank 0 waits from now on; the others may have been here for long. */
    group->opened_ns = now_ns;
    status s = STATUS_OK;
    for (uint32_t r = 1; r < group->ranks && s == STATUS_OK; r++) {
        s = compare(group, r, err);
    }
    ASSERT(s != STATUS_CORRUPT || group->phase == GROUP_BROKEN || group->passed > 0);
    return s;
}

void group_heard(struct group *group, uint64_t now_ns, uint32_t rank, const char *waits)
{
    ASSERT(rank >= 1 && rank < group->ranks);
    /* A sign of life: the timeout counts from here. */
    struct group_member *member = &group->members[rank];
    member->heard_ns = now_ns;
    snprintf(member->waits, sizeof member->waits, "%s", waits);
    utf8_trim(member->waits);
}

void group_leave(struct group *group, uint32_t rank, const char *why)
{
    ASSERT(rank >= 1 && rank < group->ranks);
    break_up(group, rank, why);
    group->members[rank].incarnation = 0;
    ASSERT(group->phase != GROUP_STEPPING);
}

void group_watch(struct group *group, uint64_t now_ns)
{
    /* Before rank 0 has arrived, nobody is waited for. */
    if (group->phase != GROUP_STEPPING || !group->members[0].arrived) {
        return;
    }
    for (uint32_t r = 1; r < group->ranks; r++) {
        /* A rank that waits for something says so again and again: it may take its time. */
        const struct group_member *member = &group->members[r];
        /* The later of two moments: its last word, and when rank 0 began to wait. */
        const uint64_t since_ns =
            member->heard_ns > group->opened_ns ? member->heard_ns : group->opened_ns;
        if (!member->arrived && now_ns > since_ns && now_ns - since_ns >= group->timeout_ns) {
            char why[64];
            snprintf(why, sizeof why, "said nothing for %.3g s", (double)(now_ns - since_ns) / 1e9);
            break_up(group, r, why);
            return;
        }
    }
}

bool group_full(const struct group *group)
{
    /* One that is missing is enough. */
    for (uint32_t r = 0; r < group->ranks; r++) {
        if (!group->members[r].arrived) {
            return false;
        }
    }
    return group->phase == GROUP_STEPPING;
}

void group_pass(struct group *group)
{
    ASSERT(group_full(group));
    /* The next barrier is that of the next step, with the next batch. */
    group->step++;
    group->batch++;
    group->passed++;
    for (uint32_t r = 0; r < group->ranks; r++) {
        group->members[r].arrived = false;
    }
    ASSERT(group->phase == GROUP_STEPPING);
}
