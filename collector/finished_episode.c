/* Allocation, and a name; what the fields mean is in the header.
 *
 * A finished episode is made by a worker, filled by it, and passed on through the reorder buffer;
 * whoever takes it out frees it. At each moment one thread owns it, so there is no lock. */
#include "collector/finished_episode.h"

#include "common/base/memory.h"

const char *acting_text(enum acting acting)
{
    static const char *const texts[] = {
        [ACTING_POLICY] = "policy", [ACTING_RANDOM] = "random", [ACTING_SCRIPT] = "script"};
    return texts[acting];
}

/* On the heap, since its rows are handed from thread to thread. */
struct episode *episode_new(uint32_t W)
{
    struct episode *episode = mem_new(sizeof *episode);
    if (episode != NULL) {
        episode_init(episode, W);
    }
    return episode;
}

void episode_free(struct episode *episode)
{
    if (episode != NULL) {
        episode_fini(episode);
        mem_free(episode);
    }
}

struct finished_episode *finished_episode_new(uint64_t sequence, uint32_t W)
{
    struct finished_episode *finished = mem_new(sizeof *finished);
    if (finished == NULL) {
        return NULL;
    }
    finished->sequence = sequence;
    /* The episode is apart, so that the rows can be taken over without a copy. */
    finished->episode = episode_new(W);
    if (finished->episode == NULL) {
        mem_free(finished);
        return NULL;
    }
    return finished;
}

void finished_episode_free(struct finished_episode *finished)
{
    if (finished != NULL) {
        episode_free(finished->episode);
        mem_free(finished);
    }
}
