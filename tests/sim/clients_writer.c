/* One life of a writer: asks where it was, inserts what comes next, flushes now and then, and at
 * the end seals (logs) or leaves. Whatever goes wrong ends this attempt, and it opens again, as a
 * supervised process would. */
#include <string.h>

#include "common/clients/replay_writer.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/ledger.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

struct attempt {
    struct life *life;
    struct replay_writer *writer;
    uint32_t number;    /* which life it is, by the ledger */
    uint32_t opened_at; /* the cursor */
    uint32_t next;
    bool sealed;
};

static bool mine(const struct attempt *attempt)
{
    return !attempt->life->stopping && !attempt->life->stale;
}

static status open_writer(struct attempt *attempt, struct err *err)
{
    struct life *life = attempt->life;
    const char name[2] = {(char)('a' + life->client), '\0'};
    const struct replay_writer_options options = {
        .writer = name,
        .restored = !life->plan->online,
        .max_in_flight_bytes = life->plan->in_flight_bytes,
        .connect_timeout_ms = chance_skewed(100, 60000),
        .stopping = life_stopping,
        .stopping_arg = life,
    };
    uint8_t cursor[REPLAY_CURSOR_MAX];
    size_t cursor_size = 0;
    status s = replay_writer_open(&attempt->writer, &life->plan->experiment, &life->plan->signature,
                                  &options, cursor, &cursor_size, &attempt->sealed, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (cursor_size != 0 && cursor_size != sizeof attempt->next) {
        verdict_wrong("writer %u: a cursor of %zu bytes", life->client, cursor_size);
    }
    attempt->next = 0;
    memcpy(&attempt->next, cursor, cursor_size);
    attempt->opened_at = attempt->next;
    if (!mine(attempt)) {
        return err_set(err, STATUS_CLOSED, "another life has begun meanwhile");
    }
    attempt->number = ledger_opened(life->client, attempt->next);
    trace("writer %u: life %u opens at %u", life->client, attempt->number, attempt->next);
    return STATUS_OK;
}

static void note_acknowledged(const struct attempt *attempt)
{
    if (attempt->life->plan->n_servers == 1 && attempt->next > attempt->opened_at &&
        mine(attempt)) {
        struct replay_writer_counts counts;
        replay_writer_counts(attempt->writer, &counts);
        ledger_acknowledged(attempt->life->client, attempt->opened_at + (uint32_t)counts.episodes);
    }
}

static status insert_next(struct attempt *attempt, struct err *err)
{
    struct life *life = attempt->life;
    struct episode episode;
    struct episode_identity identity = plan_identity(life->plan, life->client, attempt->next);
    uint32_t cursor = attempt->next + 1;
    if (life->stale) {
        identity = ledger_stale(life->client, attempt->number);
        cursor = attempt->next;
    }
    plan_episode(life->plan, &episode, &identity);
    if (!life->stale) {
        ledger_handed(life->client, attempt->next);
        attempt->next++;
    }
    status s = replay_writer_insert(attempt->writer, &episode, &cursor, sizeof cursor, err);
    episode_fini(&episode);
    return s;
}

static status flush(struct attempt *attempt, struct err *err)
{
    status s = replay_writer_flush(attempt->writer, chance_skewed(1, 30000), err);
    if (s == STATUS_OK && mine(attempt)) {
        ledger_acknowledged(attempt->life->client, attempt->next);
        ledger_look();
    }
    return s == STATUS_TIMEOUT ? STATUS_OK : s;
}

static status finish(struct attempt *attempt, struct err *err)
{
    struct life *life = attempt->life;
    status s = replay_writer_flush(attempt->writer, 600000, err);
    if (s == STATUS_OK && mine(attempt)) {
        ledger_acknowledged(life->client, attempt->next);
        ledger_look();
    }
    bool sealed = life->plan->online;
    while (s == STATUS_OK && !sealed && mine(attempt)) {
        s = replay_writer_seal(attempt->writer, life->plan->n_writers, &sealed, err);
        if (s == STATUS_OK && !sealed) {
            fiber_wait(NULL, agenda_now() + 500 * NS_PER_MS);
        }
    }
    if (s == STATUS_OK && mine(attempt)) {
        life->over = true;
        if (!life->plan->online) {
            ledger_sealed();
        }
    }
    return s;
}

static status write_all(struct attempt *attempt, struct err *err)
{
    const struct life *life = attempt->life;
    status s = STATUS_OK;
    uint32_t n_stale = 0;
    while (s == STATUS_OK && !life->stopping && n_stale < 12 &&
           (life->stale || attempt->next < life->plan->n_episodes)) {
        s = insert_next(attempt, err);
        n_stale += life->stale;
        note_acknowledged(attempt);
        if (s == STATUS_OK && chance_in(8)) {
            s = flush(attempt, err);
        }
        if (chance_in(4)) {
            fiber_wait(NULL, agenda_now() + chance_below(4 * life->plan->pause_ns));
        }
    }
    if (life->stale) {
        return s == STATUS_OK ? replay_writer_flush(attempt->writer, 20000, err) : s;
    }
    return s == STATUS_OK ? finish(attempt, err) : s;
}

/* Errors that faults explain; others are the server's mistake. */
static void judge(const struct attempt *attempt, status s, const struct err *err)
{
    const struct life *life = attempt->life;
    /* Its predecessor, asked to open before it began, may have opened after it. */
    const bool fenced = s == STATUS_MISMATCH && (strstr(err->text, "generation") != NULL ||
                                                 strstr(err->text, "elsewhere") != NULL);
    const bool expected = s == STATUS_UNAVAILABLE || s == STATUS_CLOSED || s == STATUS_TIMEOUT ||
                          s == STATUS_FULL || s == STATUS_RETRY || fenced ||
                          (s == STATUS_MISMATCH && (life->stale || life->stopping));
    trace("writer %u: %s", life->client, err->text);
    if (!expected) {
        verdict_wrong("writer %u is refused: %s", life->client, err->text);
    }
}

void *writer_live(void *arg)
{
    struct life *life = arg;
    fiber_wait(NULL, agenda_now() + chance_skewed(1, 1000) * NS_PER_MS);
    while (!life->stopping && !life->over && !life->stale) {
        struct attempt attempt = {.life = life};
        struct err err = {0};
        status s = open_writer(&attempt, &err);
        if (s == STATUS_OK) {
            s = write_all(&attempt, &err);
        }
        if (s != STATUS_OK) {
            judge(&attempt, s, &err);
        }
        replay_writer_close(attempt.writer);
        if (!life->over) {
            fiber_wait(NULL, agenda_now() + chance_skewed(10, 1000) * NS_PER_MS);
        }
    }
    return NULL;
}
