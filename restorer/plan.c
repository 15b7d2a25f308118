/* The order in which a restorer reads episodes, and positions in it. Pure: no file, no clock.
 *
 * The order is never stored. It is computed again for each pass from (seed, pass), and within a
 * shard from (seed, pass, shard), so a position of three integers is enough to continue after a
 * restart.
 *
 * Invariant: `shards` is the order of pass at.pass, and `episodes` that of the shard at.shard,
 * where there is one. Every function that moves `at` restores it. One thread at a time. */
#include "restorer/plan.h"

#include <string.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/base/rng.h"

/* A share of the shards, its order in the current pass, and a position in it. */
struct plan {
    struct plan_settings settings;
    /* See digest_of; part of every cursor. */
    uint64_t digest;
    size_t n; /* shards of which this share has episodes */
    struct mine {
        uint64_t shard_i;
        uint64_t first; /* this share has the episodes first, first + stride, .. of it */
        uint64_t episodes;
    } * mine; /* (n), ascending by shard_i */
    /* 1 where whole shards are shared out, else the number of restorers. */
    uint64_t stride;
    /* Episodes of this share in one pass. */
    uint64_t total;
    /* What is read next. */
    struct plan_position at;
    uint32_t *shards;   /* (n): order of this pass */
    uint32_t *episodes; /* order within the shard that `at` is in */
    uint64_t room;      /* of `episodes` */
};

/* ---- the share and its order ---- */

/* Of everything that determines order and share. A cursor of another plan is recognised by it. */
static uint64_t digest_of(const struct plan_shard *shards, size_t n,
                          const struct plan_settings *settings)
{
    /* Everything goes into one digest, each part seeded by the one before it. */
    const uint64_t head[4] = {settings->seed, settings->shuffle, settings->index, settings->count};
    uint64_t digest = XXH64(head, sizeof head, 0);
    for (size_t i = 0; i < n; i++) {
        const uint64_t shard[2] = {shards[i].source, shards[i].episodes};
        digest = XXH64(shard, sizeof shard, digest);
    }
    return digest;
}

/* Which episodes of shard i belong to this share: whole shards where there are enough of them, else
 * every count-th episode. */
static struct mine share_of(const struct plan_shard *shards, size_t n, size_t i,
                            const struct plan_settings *settings)
{
    const uint64_t count = settings->count;
    const uint64_t all = shards[i].episodes;
    /* With as many shards as restorers each shard is read by one of them. */
    if (n >= count) {
        return (struct mine){.shard_i = i, .episodes = i % count == settings->index ? all : 0};
    }
    /* The first episode rotates with the shard, so that no restorer always has the longer part. */
    const uint64_t first = (settings->index + i) % count;
    return (struct mine){
        .shard_i = i, .first = first, .episodes = all > first ? (all - first - 1) / count + 1 : 0};
}

/* The order of the shards in the pass that `at` is in. */
static void order_shards(struct plan *plan)
{
    /* The identity first, so that the order depends on the pass alone and not on the one before. */
    for (size_t i = 0; i < plan->n; i++) {
        plan->shards[i] = (uint32_t)i;
    }
    if (plan->settings.shuffle) {
        struct rng rng;
        rng_init(&rng, plan->settings.seed, "restorer/shards", plan->at.pass);
        rng_shuffle(&rng, plan->shards, plan->n);
    }
}

/* The shard that `at` is in; there must be one. */
static const struct mine *current(const struct plan *plan)
{
    return &plan->mine[plan->shards[plan->at.shard]];
}

/* The order of the episodes within the shard that `at` is in. */
static void order_episodes(struct plan *plan)
{
    /* Behind the last shard there is nothing to order. */
    if (plan->at.shard >= plan->n) {
        return;
    }
    const struct mine *mine = current(plan);
    for (uint64_t i = 0; i < mine->episodes; i++) {
        plan->episodes[i] = (uint32_t)i;
    }
    /* The shard's number, not its place, so that a shard has the same order wherever it comes in a
     * pass. */
    if (plan->settings.shuffle) {
        struct rng rng;
        rng_init(&rng, plan->settings.seed + plan->at.pass * 0x9e3779b97f4a7c15ull,
                 "restorer/episodes", mine->shard_i);
        rng_shuffle(&rng, plan->episodes, mine->episodes);
    }
}

status plan_new(struct plan **plan, const struct plan_shard *shards, size_t n,
                const struct plan_settings *settings, struct err *err)
{
    ASSERT(settings->count >= 1 && settings->index < settings->count);
    struct plan *made = mem_new(sizeof *made);
    /* One more than needed, so that an empty share is no special case. */
    if (made == NULL || (made->mine = mem_array(n + 1, sizeof *made->mine)) == NULL) {
        plan_free(made);
        return err_set(err, STATUS_NO_MEMORY, "plan of %zu shards", n);
    }
    made->settings = *settings;
    made->digest = digest_of(shards, n, settings);
    made->stride = n >= settings->count ? 1 : settings->count;
    /* Keep only the shards that have episodes for us. */
    for (size_t i = 0; i < n; i++) {
        /* Orders are kept as 32-bit numbers. */
        if (shards[i].episodes > UINT32_MAX) {
            plan_free(made);
            return err_set(err, STATUS_INVALID, "shard %zu: too many episodes", i);
        }
        struct mine mine = share_of(shards, n, i, settings);
        if (mine.episodes > 0) {
            made->mine[made->n++] = mine;
            made->total += mine.episodes;
            made->room = mine.episodes > made->room ? mine.episodes : made->room;
        }
    }
    made->shards = mem_array(made->n + 1, sizeof *made->shards);
    made->episodes = mem_array(made->room + 1, sizeof *made->episodes);
    if (made->shards == NULL || made->episodes == NULL) {
        plan_free(made);
        return err_set(err, STATUS_NO_MEMORY, "plan of %zu shards", n);
    }
    /* The plan starts at the first episode of pass 0. */
    order_shards(made);
    order_episodes(made);
    *plan = made;
    return STATUS_OK;
}

void plan_free(struct plan *plan)
{
    if (plan == NULL) {
        return;
    }
    mem_free(plan->episodes);
    mem_free(plan->shards);
    mem_free(plan->mine);
    mem_free(plan);
}

uint64_t plan_episodes(const struct plan *plan)
{
    return plan->total;
}

uint64_t plan_shards(const struct plan *plan)
{
    return plan->n;
}

/* ---- walking ---- */

void plan_next(struct plan *plan, struct plan_step *step)
{
    struct plan_position *at = &plan->at;
    /* Behind the last shard: the pass ends, and the next one starts in another order. */
    if (at->shard == plan->n) {
        *step = (struct plan_step){.pass_end = true};
        *at = (struct plan_position){.pass = at->pass + 1};
        order_shards(plan);
        order_episodes(plan);
        return;
    }
    /* The next episode of the current shard. */
    const struct mine *mine = current(plan);
    ASSERT(at->episode < mine->episodes);
    *step =
        (struct plan_step){.shard_i = mine->shard_i,
                           .episode_i = mine->first + plan->episodes[at->episode] * plan->stride};
    /* The last episode of a shard moves the position to the next shard, or behind the last one. */
    at->episode++;
    if (at->episode == mine->episodes) {
        at->episode = 0;
        at->shard++;
        order_episodes(plan);
    }
}

struct plan_position plan_position(const struct plan *plan)
{
    return plan->at;
}

uint64_t plan_done(const struct plan *plan)
{
    /* Complete shards before this one, and the part of this one. */
    uint64_t done = plan->at.episode;
    for (uint64_t i = 0; i < plan->at.shard; i++) {
        done += plan->mine[plan->shards[i]].episodes;
    }
    return done;
}

status plan_seek(struct plan *plan, struct plan_position position, struct err *err)
{
    const struct plan_position before = plan->at;
    /* Whether a position exists depends on the order of its pass; go there and check. */
    plan->at = (struct plan_position){.pass = position.pass};
    order_shards(plan);
    bool good = position.shard <= plan->n;
    /* Behind the last shard there is one more position, from which the end of the pass follows. */
    if (good) {
        plan->at.shard = position.shard;
        good = position.shard == plan->n ? position.episode == 0
                                         : position.episode < current(plan)->episodes;
    }
    /* Where it does not exist the plan stays as it was. */
    plan->at = good ? position : before;
    if (!good) {
        order_shards(plan);
    }
    order_episodes(plan);
    return good ? STATUS_OK
                : err_set(err, STATUS_INVALID, "no position (%llu, %llu, %llu) in this plan",
                          (unsigned long long)position.pass, (unsigned long long)position.shard,
                          (unsigned long long)position.episode);
}

int plan_compare(struct plan_position a, struct plan_position b)
{
    /* The most significant number first. */
    const uint64_t x[3] = {a.pass, a.shard, a.episode};
    const uint64_t y[3] = {b.pass, b.shard, b.episode};
    for (int i = 0; i < 3; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

/* ---- cursors ---- */

/* Big-endian, so that cursors compare as their positions do. */
static void put_big_endian(unsigned char *at, uint64_t value)
{
    const uint64_t bytes = __builtin_bswap64(value);
    memcpy(at, &bytes, sizeof bytes);
}

static uint64_t get_big_endian(const unsigned char *at)
{
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return __builtin_bswap64(bytes);
}

void plan_cursor(const struct plan *plan, struct plan_position position,
                 unsigned char cursor[PLAN_CURSOR_SIZE])
{
    /* The digest ties the cursor to this plan, and the checksum finds cursors that others wrote. */
    put_big_endian(cursor, position.pass);
    put_big_endian(cursor + 8, position.shard);
    put_big_endian(cursor + 16, position.episode);
    put_big_endian(cursor + 24, plan->digest);
    put_big_endian(cursor + 32, XXH64(cursor, 32, 0));
}

status plan_from_cursor(const struct plan *plan, const void *cursor, size_t size,
                        struct plan_position *position, struct err *err)
{
    const unsigned char *bytes = cursor;
    /* The checksum first: without it the other fields mean nothing. */
    if (size != PLAN_CURSOR_SIZE || get_big_endian(bytes + 32) != XXH64(bytes, 32, 0)) {
        return err_set(err, STATUS_CORRUPT,
                       "a cursor of %zu bytes that was not written by a restorer", size);
    }
    if (get_big_endian(bytes + 24) != plan->digest) {
        return err_set(err, STATUS_MISMATCH,
                       "the cursor belongs to other logs, or to another seed, index or count");
    }
    *position = (struct plan_position){.pass = get_big_endian(bytes),
                                       .shard = get_big_endian(bytes + 8),
                                       .episode = get_big_endian(bytes + 16)};
    return STATUS_OK;
}
