/* Compares the tables of a server with what its clients were promised. */
#include <inttypes.h>

#include "tests/sim/ledger_private.h"
#include "tests/sim/server.h"
#include "tests/sim/verdict.h"

static void check_resident(uint32_t server, const struct table_episode *episode)
{
    uint32_t w;
    const enum ledger_kind kind = ledger_kind_of(&episode->identity, &w);
    const struct episode_identity *id = &episode->identity;
    if (kind == LEDGER_UNKNOWN || ledger_server_of(id) != server) {
        verdict_wrong("server %u holds episode %" PRIu64 "/%" PRIu64 " that no client gave it",
                      server, id->source, id->episode);
    }
    if (episode->n_rows != plan_T(ledger.plan, id) + 1) {
        verdict_wrong("server %u: episode %" PRIu64 "/%" PRIu64 " has %u rows", server, id->source,
                      id->episode, episode->n_rows);
    }
    if (!ledger_priority_possible(id, episode->priority)) {
        verdict_wrong("server %u: episode %" PRIu64 "/%" PRIu64
                      " has the priority %g, which nobody has set",
                      server, id->source, id->episode, episode->priority);
    }
    if (kind == LEDGER_STALE) {
        struct ledger_writer *writer = &ledger.writers[w];
        bool *seen = &writer->stale_seen[id->episode];
        if (!*seen && !writer->absorb[server] &&
            writer->stale_incarnation[id->episode] < writer->n_opened) {
            verdict_wrong(
                "server %u: episode %" PRIu64 "/%" PRIu64
                " of an older incarnation of writer %u came in after a newer one had opened",
                server, id->source, id->episode, w);
        }
        *seen = true;
    }
}

/* Everything that was acknowledged must be there, except what was removed. */
static void check_acknowledged(uint32_t server, const struct table *table)
{
    if (ledger_removes()) {
        return;
    }
    for (uint32_t w = 0; w < ledger.plan->n_writers; w++) {
        for (uint32_t i = 0; i < ledger.writers[w].acknowledged; i++) {
            const struct episode_identity id = plan_identity(ledger.plan, w, i);
            bool pending = false;
            if (ledger_server_of(&id) == server && !ledger_deleted(&id) &&
                (table_find(table, &id, &pending) == NULL || pending)) {
                verdict_wrong("server %u has lost episode %" PRIu64 "/%" PRIu64
                              " of writer %u, which was acknowledged",
                              server, id.source, id.episode, w);
            }
        }
    }
}

/* fifo: of each writer's acknowledged episodes the last ones stay. */
static void check_order_of_removal(uint32_t server, const struct table *table)
{
    const struct plan *plan = ledger.plan;
    if (!ledger_removes() || plan->duplicates || plan->queue || plan->deletes ||
        plan->options.table.remover[0] != 'f') {
        return;
    }
    for (uint32_t w = 0; w < plan->n_writers; w++) {
        bool stays = false;
        for (uint32_t i = 0; i < ledger.writers[w].acknowledged; i++) {
            const struct episode_identity id = plan_identity(plan, w, i);
            const bool here = table_find(table, &id, NULL) != NULL;
            if (stays && !here) {
                verdict_wrong("server %u: episode %" PRIu64 "/%" PRIu64
                              " is gone, an older one is there",
                              server, id.source, id.episode);
            }
            stays = here;
        }
    }
}

static void check_sums(uint32_t server, const struct served_table *served)
{
    const struct table *table = served->table;
    const struct table_counts *c = table_counts(table);
    const struct table_limits *limits = &table_settings(table)->limits;
    uint64_t episodes = 0, transitions = 0, bytes = 0;
    for (const struct table_episode *e = table_newer(table, NULL); e; e = table_newer(table, e)) {
        check_resident(server, e);
        episodes++;
        transitions += e->n_rows - 1;
        bytes += e->bytes;
    }
    if (episodes != c->episodes || transitions != c->transitions || bytes != c->bytes ||
        !table_check(table)) {
        verdict_wrong("server %u: the table says %" PRIu64 " episodes, %" PRIu64
                      " transitions; it holds %" PRIu64 ", %" PRIu64,
                      server, c->episodes, c->transitions, episodes, transitions);
    }
    if (c->episodes_corrupt > 0) {
        verdict_wrong("server %u: %" PRIu64 " episodes are corrupt", server, c->episodes_corrupt);
    }
    if (c->episodes + c->episodes_removed + c->episodes_corrupt != c->episodes_inserted ||
        c->transitions + c->transitions_removed > c->transitions_inserted) {
        verdict_wrong("server %u: %" PRIu64 " episodes inserted, %" PRIu64 " removed, %" PRIu64
                      " corrupt: %" PRIu64 " are there",
                      server, c->episodes_inserted, c->episodes_removed, c->episodes_corrupt,
                      c->episodes);
    }
    if (servers_marked_by_full_disk(server)) {
        return; /* what was to be removed may be back */
    }
    /* What was allowed more than the plan, and then less by a restart, shrinks with the next insert. */
    const uint64_t max_episodes =
        limits->max_episodes && ledger.plan->sets
            ? (uint64_t)ledger.plan->options.table.max_episodes + PLAN_MORE_EPISODES
            : limits->max_episodes;
    if ((max_episodes && c->episodes + c->pending_episodes > max_episodes) ||
        (limits->max_transitions &&
         c->transitions + c->pending_transitions > limits->max_transitions)) {
        verdict_wrong("server %u: %" PRIu64 " + %" PRIu64 " episodes, %" PRIu64 " + %" PRIu64
                      " transitions are more than its table may hold",
                      server, c->episodes, c->pending_episodes, c->transitions,
                      c->pending_transitions);
    }
}

static void check_writers(uint32_t server, const struct served_table *served)
{
    for (size_t i = 0; i < served->writers.n; i++) {
        const struct writer *writer = served->writers.items[i];
        if (writer->name[0] == 'z') {
            continue; /* clients_hostile.c */
        }
        const uint32_t w = (uint32_t)(writer->name[0] - 'a');
        ASSERT(w < ledger.plan->n_writers);
        uint64_t *highest = &ledger.writers[w].committed[server];
        if (writer->committed < *highest || writer->queued < writer->committed) {
            verdict_wrong("server %u: writer %u is at %" PRIu64 " (%" PRIu64
                          " queued), it was at %" PRIu64,
                          server, w, writer->committed, writer->queued, *highest);
        }
        *highest = writer->committed;
    }
}

static void check_sealed(uint32_t server, const struct served_table *served)
{
    static struct referee now;
    if (!table_sealed(served->table)) {
        if (ledger.has_contents[server]) {
            verdict_wrong("server %u: the table was sealed and is not any more", server);
        }
        return;
    }
    now.n = 0;
    now.transitions = 0;
    for (const struct table_episode *e = table_newer(served->table, NULL); e;
         e = table_newer(served->table, e)) {
        referee_add(&now, &e->identity, e->n_rows - 1, e->priority);
    }
    const uint64_t version = table_version(served->table);
    if (!ledger.has_contents[server]) {
        ledger.has_contents[server] = true;
        ledger.contents[server] = now;
        ledger.version[server] = version;
    }
    /* The version tells of priorities, and of nothing else. */
    const bool same_priorities = referee_same_priorities(&now, &ledger.contents[server]);
    if (!referee_same(&now, &ledger.contents[server]) ||
        same_priorities != (ledger.version[server] == version)) {
        verdict_wrong("server %u: the sealed table has changed", server);
    }
    ledger.contents[server] = now;
    ledger.version[server] = version;
}

void ledger_look_at(uint32_t server, struct service *service)
{
    for (const struct served_table *t = service->tables; t; t = t->next) {
        check_sums(server, t);
        check_acknowledged(server, t->table);
        check_order_of_removal(server, t->table);
        check_writers(server, t);
        check_sealed(server, t);
    }
    if (service->tables == NULL) {
        for (uint32_t w = 0; w < ledger.plan->n_writers; w++) {
            if (ledger.writers[w].committed[server] > 0) {
                verdict_wrong("server %u has lost its table", server);
            }
        }
    }
    for (uint32_t w = 0; w < ledger.plan->n_writers; w++) {
        ledger.writers[w].absorb[server] = false;
    }
}
