/* What the operator has set and deleted: one call at a time, so that an episode has the priority that
 * was stored last, or the one that is on its way or whose call had no answer. */
#include <string.h>

#include "tests/sim/ledger_private.h"
#include "tests/sim/verdict.h"

#define TOUCHED_MAX 2048u

static struct touched {
    struct episode_identity identity;
    bool deleted;    /* or about to be */
    double stored;   /* what the server has answered last; 1: nothing yet */
    double maybe[8]; /* sent since without an answer: any of them, the newest last */
    unsigned n_maybe;
} touched[TOUCHED_MAX];
static uint32_t n_touched;

void ledger_operator_begin(void)
{
    n_touched = 0;
}

static struct touched *find(const struct episode_identity *identity)
{
    for (uint32_t i = 0; i < n_touched; i++) {
        if (episode_identity_compare(&touched[i].identity, identity) == 0) {
            return &touched[i];
        }
    }
    return NULL;
}

static struct touched *find_or_add(const struct episode_identity *identity)
{
    struct touched *found = find(identity);
    if (found == NULL) {
        ASSERT(n_touched < TOUCHED_MAX);
        found = &touched[n_touched++];
        *found = (struct touched){.identity = *identity, .stored = 1};
    }
    return found;
}

void ledger_priority_sent(const struct episode_identity *identity, double priority)
{
    struct touched *of = find_or_add(identity);
    /* So many calls in a row without an answer: what comes next is not judged. */
    if (of->n_maybe < sizeof of->maybe / sizeof of->maybe[0]) {
        of->maybe[of->n_maybe++] = priority;
    } else {
        of->deleted = true;
    }
}

void ledger_priority_stored(const struct episode_identity *identity, double priority)
{
    struct touched *of = find_or_add(identity);
    of->stored = priority;
    of->n_maybe = 0;
}

void ledger_delete_sent(const struct episode_identity *identity)
{
    find_or_add(identity)->deleted = true;
}

bool ledger_deleted(const struct episode_identity *identity)
{
    const struct touched *of = find(identity);
    return of != NULL && of->deleted;
}

bool ledger_priority_possible(const struct episode_identity *identity, double priority)
{
    const struct touched *of = find(identity);
    if (of == NULL) {
        return priority == 1;
    }
    /* A table that removes may have got the episode anew. */
    bool possible = priority == of->stored || of->deleted || (ledger_removes() && priority == 1);
    for (unsigned i = 0; i < of->n_maybe; i++) {
        possible = possible || priority == of->maybe[i];
    }
    return possible;
}
