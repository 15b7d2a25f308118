/* Removing from the store what is out of the index already: corrupt episodes, and those that made
 * room for an insert which then failed. */
#define LOG_MODULE "replay"
#include <inttypes.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service/service_private.h"

struct removal {
    struct insert_job job;
    struct served_table *table;
    uint64_t *ids;
};

static void removal_done(struct insert_job *job)
{
    struct removal *removal = job->owner;
    removal->table->removing = false;
    if (job->result != STATUS_OK) {
        log_warn("episodes are not removed yet table=%s: %s", removal->table->record.name,
                 job->err.text);
        served_table_owe(removal->table, job->removed, job->n_removed);
    }
    mem_free(removal->ids);
    mem_free(removal);
}

/* Hands what the table owes to the inserter, all in one job; what cannot be now is tried again with
 * every tick. */
static void remove_owed(struct service *service, struct served_table *table)
{
    struct removal *removal =
        table->n_owed > 0 && !table->removing ? mem_new(sizeof *removal) : NULL;
    if (removal == NULL) {
        return;
    }
    *removal = (struct removal){.table = table, .ids = table->owed};
    removal->job.removed = removal->ids;
    removal->job.n_removed = table->n_owed;
    removal->job.has_history = true;
    served_table_history(table, &removal->job.history);
    removal->job.done = removal_done;
    removal->job.owner = removal;
    if (inserter_submit(service->inserter, &removal->job) == STATUS_OK) {
        table->owed = NULL;
        table->n_owed = 0;
        table->removing = true;
    } else {
        mem_free(removal);
    }
}

void service_remove_owed(struct service *service)
{
    for (struct served_table *table = service->tables; table; table = table->next) {
        remove_owed(service, table);
    }
}

void service_drop_corrupt(struct service *service, struct served_table *table, uint64_t id)
{
    if (!table_remove(table->table, id, true)) {
        return; /* dealt with before */
    }
    log_error("a corrupt episode is taken out table=%s id=%" PRIu64, table->record.name, id);
    served_table_owe(table, &id, 1);
    remove_owed(service, table);
    service->samples_may_go = true;
}
