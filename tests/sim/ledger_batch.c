/* Batches: every row must be what was written, and in batches of a sealed table every snippet must
 * be the one that the seed determines. */
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "tests/sim/ledger_private.h"
#include "tests/sim/server.h"
#include "tests/sim/verdict.h"

#define REMEMBERED 512u /* batches of a sealed table, by number */

static uint64_t digests[REMEMBERED];

/* How often snippets of each episode have come, where that has a limit. */
#define DRAWN_MAX 1024u
static struct {
    struct episode_identity identity;
    int64_t times;
} drawn[DRAWN_MAX];
static uint32_t n_drawn;

void ledger_batches_begin(void)
{
    memset(digests, 0, sizeof digests);
    n_drawn = 0;
}

/* What several writers have comes again when it has been used up. */
static void count_draw(const struct episode_identity *identity)
{
    const struct plan *plan = ledger.plan;
    uint32_t i = 0;
    if (!plan->queue || plan->duplicates) {
        return;
    }
    while (i < n_drawn && episode_identity_compare(&drawn[i].identity, identity) != 0) {
        i++;
    }
    if (i == n_drawn) {
        ASSERT(n_drawn < DRAWN_MAX);
        drawn[n_drawn++].identity = *identity;
        drawn[i].times = 0;
    }
    drawn[i].times++;
    if (drawn[i].times > plan->options.table.max_times_sampled && !servers_lost_draws()) {
        verdict_wrong("episode %" PRIu64 "/%" PRIu64 " was sampled %" PRId64
                      " times, max_times_sampled is %" PRId64,
                      identity->source, identity->episode, drawn[i].times,
                      plan->options.table.max_times_sampled);
    }
}

int64_t ledger_drawn(const struct episode_identity *identity)
{
    uint32_t i = 0;
    while (i < n_drawn && episode_identity_compare(&drawn[i].identity, identity) != 0) {
        i++;
    }
    return i < n_drawn ? drawn[i].times : 0;
}

static void check_rows(const struct replay_batch *batch, uint32_t i,
                       struct episode_identity *identity, uint32_t *first)
{
    const struct plan *plan = ledger.plan;
    const uint32_t W = plan->W, n = batch->n_valid[i];
    const float *rows = batch->rows + (size_t)i * (plan->N + 1) * W;
    uint32_t writer;
    plan_number_read(rows, identity, first);
    if (ledger_kind_of(identity, &writer) == LEDGER_UNKNOWN) {
        verdict_wrong("batch %" PRIu64 ": snippet %u is of episode %" PRIu64 "/%" PRIu64
                      ", which nobody handed over",
                      batch->number, i, identity->source, identity->episode);
    }
    const uint32_t left = plan_T(plan, identity) - *first;
    if (n != (left < plan->N ? left : plan->N) || n == 0) {
        verdict_wrong("batch %" PRIu64 ": snippet %u has %u transitions from row %u", batch->number,
                      i, n, *first);
    }
    for (uint32_t t = 0; t <= plan->N; t++) {
        for (uint32_t c = 0; c < W; c++) {
            const float want = t <= n ? plan_number(identity, *first + t, c) : 0;
            if (memcmp(&rows[(size_t)t * W + c], &want, sizeof want) != 0) {
                verdict_wrong("batch %" PRIu64 ": snippet %u, row %u, column %u: %g, not %g",
                              batch->number, i, t, c, (double)rows[(size_t)t * W + c],
                              (double)want);
            }
        }
    }
}

void ledger_batch(const struct replay_batch *batch, uint64_t sampler_seed)
{
    const struct plan *plan = ledger.plan;
    uint64_t digest = sampler_seed;
    if (batch->snippets != plan->B) {
        verdict_wrong("batch %" PRIu64 " has %u snippets", batch->number, batch->snippets);
    }
    for (uint32_t i = 0; i < batch->snippets; i++) {
        struct episode_identity identity, want;
        uint32_t first, want_first;
        check_rows(batch, i, &identity, &first);
        count_draw(&identity);
        const uint64_t words[3] = {digest, identity.source << 32 | identity.episode, first};
        digest = XXH3_64bits(words, sizeof words);
        if (batch->table_version == 0 || plan->n_servers > 1) {
            continue;
        }
        if (!ledger.has_contents[0]) {
            ledger_look(); /* the seal was this moment's */
        }
        if (!ledger.has_contents[0] || batch->table_version != ledger.version[0]) {
            continue; /* its server has died since; what follows will be looked at */
        }
        referee_draw(&ledger.contents[0], sampler_seed, batch->number, i, &want, &want_first);
        if (episode_identity_compare(&identity, &want) != 0 || first != want_first) {
            verdict_wrong("batch %" PRIu64 ": snippet %u is row %u of %" PRIu64 "/%" PRIu64
                          ", the seed says row %u of %" PRIu64 "/%" PRIu64,
                          batch->number, i, first, identity.source, identity.episode, want_first,
                          want.source, want.episode);
        }
    }
    /* All samplers of a plan share a seed. */
    if (batch->table_version != 0 && batch->number < REMEMBERED && plan->require_sealed &&
        !plan->priorities) {
        if (digests[batch->number] != 0 && digests[batch->number] != digest) {
            verdict_wrong("batch %" PRIu64 " of the sealed tables is not what it was before",
                          batch->number);
        }
        digests[batch->number] = digest;
    }
}
