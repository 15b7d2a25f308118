/* The stores as the servers left them, checked row by row. */
#include <inttypes.h>
#include <string.h>

#include "common/base/memory.h"
#include "tests/sim/ledger_private.h"
#include "tests/sim/server.h"
#include "tests/sim/verdict.h"

struct look {
    uint32_t server;
    struct store_reader *reader;
    uint32_t n;
    struct episode_identity identities[REFEREE_EPISODES_MAX];
};

static void check_rows(struct look *look, const struct store_episode *episode)
{
    const uint32_t chunk_rows = store_chunk_rows(episode->W);
    for (uint32_t t = 0; t < episode->n_rows; t++) {
        const uint32_t begin = t / chunk_rows * chunk_rows;
        const uint32_t rest = episode->n_rows - begin;
        const uint8_t *rows;
        status s = store_reader_chunk(look->reader, episode->id + t / chunk_rows,
                                      rest < chunk_rows ? rest : chunk_rows, episode->W, &rows);
        if (s != STATUS_OK) {
            verdict_wrong("store %u: episode %" PRIu64 ": %s", look->server, episode->id,
                          status_text(s));
        }
        for (uint32_t c = 0; c < episode->W; c++) {
            const float want = plan_number(&episode->identity, t, c);
            if (memcmp(rows + 4 * ((size_t)(t - begin) * episode->W + c), &want, 4) != 0) {
                verdict_wrong("store %u: episode %" PRIu64 ", row %u, column %u is not what was "
                              "handed over",
                              look->server, episode->id, t, c);
            }
        }
    }
}

static status visit(void *arg, const struct store_episode *episode, struct err *err)
{
    (void)err;
    struct look *look = arg;
    uint32_t w;
    if (ledger_kind_of(&episode->identity, &w) == LEDGER_UNKNOWN ||
        ledger_server_of(&episode->identity) != look->server) {
        verdict_wrong("store %u: episode %" PRIu64 " is nobody's", look->server, episode->id);
    }
    for (uint32_t i = 0; i < look->n; i++) {
        if (episode_identity_compare(&look->identities[i], &episode->identity) == 0) {
            verdict_wrong("store %u: episode %" PRIu64 "/%" PRIu64 " is there twice", look->server,
                          episode->identity.source, episode->identity.episode);
        }
    }
    if (!ledger_priority_possible(&episode->identity, episode->priority)) {
        verdict_wrong("store %u: episode %" PRIu64 " has the priority %g", look->server,
                      episode->id, episode->priority);
    }
    if (episode->times_sampled < ledger_drawn(&episode->identity) && !servers_lost_draws()) {
        verdict_wrong("store %u: episode %" PRIu64 " was sampled %u times, %" PRId64
                      " snippets of it have come",
                      look->server, episode->id, episode->times_sampled,
                      ledger_drawn(&episode->identity));
    }
    ASSERT(look->n < REFEREE_EPISODES_MAX);
    look->identities[look->n++] = episode->identity;
    check_rows(look, episode);
    return STATUS_OK;
}

static bool holds(const struct look *look, const struct episode_identity *identity)
{
    uint32_t i = 0;
    while (i < look->n && episode_identity_compare(&look->identities[i], identity) != 0) {
        i++;
    }
    return i < look->n;
}

static void check_store(uint32_t server)
{
    static struct look look;
    char path[256];
    servers_path(server, path, sizeof path);
    const struct store_settings settings = {
        .path = path, .map_bytes = 64 << 20, .durability = STORE_NONE};
    struct store *store;
    struct err err;
    bool scan;
    status s = store_open(&store, &settings, &scan, &err);
    if (s != STATUS_OK) {
        verdict_wrong("store %u does not open: %s", server, err.text);
    }
    look.server = server;
    look.n = 0;
    s = store_reader_open(&look.reader, store, &err);
    ASSERT(s == STATUS_OK);
    s = store_reader_refresh(look.reader, &err);
    ASSERT(s == STATUS_OK);
    s = store_each_episode(store, visit, &look, &err);
    if (s != STATUS_OK) {
        verdict_wrong("store %u: %s", server, err.text);
    }
    for (uint32_t w = 0; w < ledger.plan->n_writers && !ledger_removes(); w++) {
        for (uint32_t i = 0; i < ledger.writers[w].acknowledged; i++) {
            const struct episode_identity identity = plan_identity(ledger.plan, w, i);
            if (ledger_server_of(&identity) == server && !ledger_deleted(&identity) &&
                !holds(&look, &identity)) {
                verdict_wrong("store %u lacks episode %" PRIu64 "/%" PRIu64, server,
                              identity.source, identity.episode);
            }
        }
    }
    if (ledger.has_contents[server] && look.n != ledger.contents[server].n) {
        verdict_wrong("store %u: %u episodes, %u when the table was sealed", server, look.n,
                      ledger.contents[server].n);
    }
    store_reader_close(look.reader);
    store_close(store);
}

void ledger_look_at_stores(void)
{
    for (uint32_t i = 0; i < ledger.plan->n_servers; i++) {
        check_store(i);
    }
}
