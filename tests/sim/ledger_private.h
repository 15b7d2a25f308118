/* What the files of the ledger share:
 *
 *   ledger.c         what was handed over and acknowledged
 *   ledger_look.c    the tables of the servers against that
 *   ledger_rates.c   the limiter, step by step
 *   ledger_batch.c   batches
 *   ledger_operator.c  what the operator has set and deleted
 *   ledger_store.c   the stores on disk, at the end */
#ifndef HINDCAST_SIM_LEDGER_PRIVATE_H
#define HINDCAST_SIM_LEDGER_PRIVATE_H

#include "replay_server/service/service_private.h"
#include "tests/sim/ledger.h"
#include "tests/sim/referee.h"

#define STALE_MAX 256u

struct ledger_writer {
    uint32_t handed, acknowledged;         /* number that comes next */
    uint32_t n_opened;                     /* incarnations */
    uint32_t n_stale;                      /* episodes of incarnations that others will follow */
    uint32_t stale_incarnation[STALE_MAX]; /* that handed it over */
    bool stale_seen[STALE_MAX];            /* was in a table at a time when it might have come in */
    bool absorb[PLAN_SERVERS_MAX]; /* the next look takes what stale ones are there as they are */
    uint64_t committed[PLAN_SERVERS_MAX]; /* highest sequence a server had committed */
};

struct ledger {
    const struct plan *plan;
    struct ledger_writer writers[PLAN_WRITERS_MAX];
    bool sealed;                               /* a writer has been told so */
    bool has_contents[PLAN_SERVERS_MAX];       /* of the sealed table */
    struct referee contents[PLAN_SERVERS_MAX]; /* with the priorities that were seen last */
    uint64_t version[PLAN_SERVERS_MAX];
};

extern struct ledger ledger;

/* The server whose table this episode goes to. */
uint32_t ledger_server_of(const struct episode_identity *identity);
/* What kind of episode this is, and which writer's. */
enum ledger_kind { LEDGER_UNKNOWN, LEDGER_EPISODE, LEDGER_STALE };
enum ledger_kind ledger_kind_of(const struct episode_identity *identity, uint32_t *writer);
bool ledger_removes(void); /* may the table remove episodes? */

/* ---- ledger_operator.c ---- */
void ledger_operator_begin(void);
bool ledger_deleted(const struct episode_identity *identity);
/* Can this be the episode's priority by what was set? */
bool ledger_priority_possible(const struct episode_identity *identity, double priority);

/* ---- ledger_look.c ---- */
void ledger_look_at(uint32_t server, struct service *service);
void ledger_rates_look(uint32_t server, const struct service *service);
void ledger_rates_begin(void);
void ledger_batches_begin(void);
/* Snippets of it that have come, where max_times_sampled is set. */
int64_t ledger_drawn(const struct episode_identity *identity);

#endif
