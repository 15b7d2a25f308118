/* Corrupt episodes: what a read or the scrubber finds damaged leaves the index at once and the
 * store soon after.
 *
 * The order matters: once it is out of the index nothing draws the episode again, and a delete that
 * fails costs room on the disk and nothing else. Call thread only. */
#define LOG_MODULE "replay"
#include <inttypes.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service/service_private.h"

/* Where the delete failed the inserter has kept the removal, and job->removal is NULL. */
static void deleted(struct insert_job *job)
{
    if (job->result != STATUS_OK) {
        log_warn("a corrupt episode is not deleted yet: %s", job->err.text);
    }
    mem_free(job->removal);
    mem_free(job);
}

/* Hands the delete to the inserter, which goes on trying until it succeeds. Where that is not
 * possible, the next start finds the episode damaged again. */
static void delete_episode(struct service *service, struct served_table *table, uint64_t id)
{
    struct insert_removal *removal = insert_removal_new(&id, 1);
    struct insert_job *job = mem_new(sizeof *job);
    if (removal == NULL || job == NULL) {
        mem_free(removal);
        mem_free(job);
        return;
    }
    /* The counter of corrupt episodes goes into the same transaction. */
    job->removal = removal;
    job->has_history = true;
    served_table_history(table, &job->history);
    job->done = deleted;
    if (inserter_submit(service->inserter, job) != STATUS_OK) {
        mem_free(removal);
        mem_free(job);
    }
}

void service_drop_corrupt(struct service *service, struct served_table *table, uint64_t id)
{
    if (!table_remove(table->table, id, true)) {
        return; /* found before */
    }
    log_error("a corrupt episode is taken out table=%s id=%" PRIu64, table->record.name, id);
    delete_episode(service, table, id);
    /* A stream whose draw fell on the episode can draw again. */
    service->samples_may_go = true;
}
