/* Episodes that have been sampled as often as their table allows (max_times_sampled) leave the index
 * with their last draw and the store later, when nobody reads them any more.
 *
 * Responses are drawn in the order of their numbers and gathered in any order. An episode that
 * response k has used up may have been drawn by responses before k as well. It is deleted when all
 * up to k have been gathered: a snippet that was counted is also sent.
 *
 * How often the others were sampled is written with every tick, one job of a table at a time. A crash
 * takes what was drawn since: those episodes may be drawn again as often as that, and those that were
 * used up in that time, and not deleted yet, are there again. Call thread only. */
#define LOG_MODULE "replay"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service/service_private.h"

#define TIMES_MAX 4096u /* episodes of one job, each of which rewrites a record */

struct used_up {
    struct used_up *next;
    struct served_table *table;
    uint64_t number; /* of the response */
    uint32_t n;
    uint64_t ids[];
};

struct used_up *used_up_new(struct served_table *table, uint32_t n)
{
    struct used_up *used_up = mem_new(sizeof *used_up + n * sizeof used_up->ids[0]);
    if (used_up) {
        used_up->table = table;
    }
    return used_up;
}

void used_up_free(struct used_up *used_up)
{
    mem_free(used_up);
}

void used_up_add(struct used_up *used_up, uint64_t id)
{
    used_up->ids[used_up->n++] = id;
}

void used_up_post(struct service *service, struct used_up *used_up, uint64_t number)
{
    if (used_up->n == 0) {
        mem_free(used_up);
        return;
    }
    used_up->number = number;
    *(service->used_up_last ? &service->used_up_last->next : &service->used_up_first) = used_up;
    service->used_up_last = used_up;
    /* There is room in the table. */
    service->inserts_may_go = true;
}

/* Where the delete failed the inserter has kept the removal, and job->removal is NULL. */
static void deleted(struct insert_job *job)
{
    if (job->result != STATUS_OK) {
        log_warn("episodes that were sampled often enough are not deleted yet: %s", job->err.text);
    }
    mem_free(job->removal);
    mem_free(job);
}

/* Hands the first of the list to the inserter. False: not now. */
static bool delete_first(struct service *service)
{
    struct used_up *first = service->used_up_first;
    struct insert_removal *removal = insert_removal_new(first->ids, first->n);
    struct insert_job *job = mem_new(sizeof *job);
    if (job && removal) {
        job->removal = removal;
        job->has_history = true;
        served_table_history(first->table, &job->history);
        job->done = deleted;
    }
    if (!job || !removal || inserter_submit(service->inserter, job) != STATUS_OK) {
        mem_free(removal);
        mem_free(job);
        return false;
    }
    service->used_up_first = first->next;
    if (service->used_up_first == NULL) {
        service->used_up_last = NULL;
    }
    mem_free(first);
    return true;
}

void used_up_delete(struct service *service)
{
    if (service->used_up_first == NULL) {
        return;
    }
    /* What cannot be handed over now is tried again with the next response, and with every tick. */
    const uint64_t oldest = sample_streams_oldest(service);
    while (service->used_up_first && service->used_up_first->number < oldest &&
           delete_first(service)) {
    }
}

bool used_up_waits(const struct service *service, const struct served_table *table)
{
    const struct used_up *used_up = service->used_up_first;
    while (used_up && used_up->table != table) {
        used_up = used_up->next;
    }
    return used_up != NULL;
}

void used_up_delete_all(struct service *service)
{
    /* The inserter works on, so that its queue has room again. */
    while (service->used_up_first) {
        if (!delete_first(service)) {
            clock_sleep_ms(1);
        }
    }
}

/* ---- Times sampled ---- */

struct times_job {
    struct insert_job job;
    struct served_table *table;
    struct table_times times[TIMES_MAX];
};

static void times_saved(struct insert_job *job)
{
    struct times_job *saved = job->owner;
    saved->table->saving_times = 0;
    if (job->result != STATUS_OK) {
        log_warn("it is not in the store yet how often episodes of table %s were sampled: %s",
                 saved->table->record.name, job->err.text);
        for (uint32_t i = 0; i < job->n_times; i++) {
            table_note_times(saved->table->table, saved->times[i].id);
        }
    }
    mem_free(saved);
}

/* False: nothing to save, or not now. */
static bool save_times(struct service *service, struct served_table *table)
{
    struct times_job *save = mem_new(sizeof *save);
    if (save == NULL) {
        return false;
    }
    save->table = table;
    save->job.times = save->times;
    save->job.n_times = table_take_times(table->table, save->times, TIMES_MAX);
    save->job.done = times_saved;
    save->job.owner = save;
    if (save->job.n_times == 0 || inserter_submit(service->inserter, &save->job) != STATUS_OK) {
        for (uint32_t i = 0; i < save->job.n_times; i++) {
            table_note_times(table->table, save->times[i].id);
        }
        mem_free(save);
        return false;
    }
    table->saving_times = save->job.n_times;
    return true;
}

void used_up_save_times_all(struct service *service)
{
    for (struct served_table *table = service->tables; table; table = table->next) {
        /* Jobs are written in the order in which they are handed in: the last word is the newest. */
        while (table->stored && table_noted_times(table->table) > 0) {
            if (!save_times(service, table)) {
                clock_sleep_ms(1);
            }
        }
    }
}

void used_up_save_times(struct service *service)
{
    for (struct served_table *table = service->tables; table; table = table->next) {
        if (table->stored && table->saving_times == 0 && table_noted_times(table->table) > 0) {
            (void)save_times(service, table);
        }
    }
}
