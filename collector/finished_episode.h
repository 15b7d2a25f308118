/* An episode that was acted to its end, and how: passed from the workers to the episode writer. */
#ifndef HINDCAST_COLLECTOR_FINISHED_EPISODE_H
#define HINDCAST_COLLECTOR_FINISHED_EPISODE_H

#include <stdint.h>

#include "common/trajectory/episode.h"

enum acting { ACTING_POLICY, ACTING_RANDOM, ACTING_SCRIPT };

/* "policy", "random", "script". */
const char *acting_text(enum acting acting);

struct finished_episode {
    uint64_t sequence;       /* 1, 2, .. of this collector */
    struct episode *episode; /* owned; NULL once taken */
    enum acting acting;
    uint64_t version; /* of the parameters when it began; 0 without a policy */
    uint64_t learner_step;
    uint32_t task; /* pursued: index of its reward in the environment's signature */
};

/* Empty, for rows of width W. NULL when out of memory. */
struct finished_episode *finished_episode_new(uint64_t sequence, uint32_t W);
void finished_episode_free(struct finished_episode *finished); /* NULL is fine */

/* An empty episode on the heap. */
struct episode *episode_new(uint32_t W);    /* NULL when out of memory */
void episode_free(struct episode *episode); /* NULL is fine */

#endif
