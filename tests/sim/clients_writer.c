/* One incarnation of a writer: asks where it was, inserts what comes next, flushes now and then,
 * and at the end seals (logs) or ends. Any error ends this attempt, and the writer opens again, as
 * a supervised process would. */
#include <string.h>

#include "common/clients/replay_writer.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/ledger.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

struct attempt {
    struct incarnation *incarnation;
    struct replay_writer *writer;
    uint32_t number;    /* of the incarnation, in the ledger */
    uint32_t opened_at; /* the cursor */
    uint32_t next;
    bool sealed;
};

static bool mine(const struct attempt *attempt)
{
    return !attempt->incarnation->stopping && !attempt->incarnation->stale;
}

static status open_writer(struct attempt *attempt, struct err *err)
{
    struct incarnation *incarnation = attempt->incarnation;
    const char name[2] = {(char)('a' + incarnation->client), '\0'};
    const struct replay_writer_options options = {
        .writer = name,
        .restored = !incarnation->plan->online,
        .max_in_flight_bytes = incarnation->plan->in_flight_bytes,
        .connect_timeout_ms = chance_skewed(100, 60000),
        .stopping = incarnation_stopping,
        .stopping_arg = incarnation,
    };
    uint8_t cursor[REPLAY_CURSOR_MAX];
    size_t cursor_size = 0;
    status s = replay_writer_open(&attempt->writer, &incarnation->plan->experiment,
                                  &incarnation->plan->signature, &options, cursor, &cursor_size,
                                  &attempt->sealed, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (cursor_size != 0 && cursor_size != sizeof attempt->next) {
        verdict_wrong("writer %u: a cursor of %zu bytes", incarnation->client, cursor_size);
    }
    attempt->next = 0;
    memcpy(&attempt->next, cursor, cursor_size);
    attempt->opened_at = attempt->next;
    if (!mine(attempt)) {
        return err_set(err, STATUS_CLOSED, "another incarnation has begun meanwhile");
    }
    attempt->number = ledger_opened(incarnation->client, attempt->next);
    trace("writer %u: incarnation %u opens at %u", incarnation->client, attempt->number,
          attempt->next);
    return STATUS_OK;
}

static void note_acknowledged(const struct attempt *attempt)
{
    if (attempt->incarnation->plan->n_servers == 1 && attempt->next > attempt->opened_at &&
        mine(attempt)) {
        struct replay_writer_counts counts;
        replay_writer_counts(attempt->writer, &counts);
        ledger_acknowledged(attempt->incarnation->client,
                            attempt->opened_at + (uint32_t)counts.episodes);
    }
}

static status insert_next(struct attempt *attempt, struct err *err)
{
    struct incarnation *incarnation = attempt->incarnation;
    struct episode episode;
    struct episode_identity identity =
        plan_identity(incarnation->plan, incarnation->client, attempt->next);
    uint32_t cursor = attempt->next + 1;
    if (incarnation->stale) {
        identity = ledger_stale(incarnation->client, attempt->number);
        cursor = attempt->next;
    }
    plan_episode(incarnation->plan, &episode, &identity);
    if (!incarnation->stale) {
        ledger_handed(incarnation->client, attempt->next);
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
        ledger_acknowledged(attempt->incarnation->client, attempt->next);
        ledger_look();
    }
    return s == STATUS_TIMEOUT ? STATUS_OK : s;
}

static status finish(struct attempt *attempt, struct err *err)
{
    struct incarnation *incarnation = attempt->incarnation;
    status s = replay_writer_flush(attempt->writer, 600000, err);
    if (s == STATUS_OK && mine(attempt)) {
        ledger_acknowledged(incarnation->client, attempt->next);
        ledger_look();
    }
    bool sealed = incarnation->plan->online;
    while (s == STATUS_OK && !sealed && mine(attempt)) {
        s = replay_writer_seal(attempt->writer, incarnation->plan->n_writers, &sealed, err);
        if (s == STATUS_OK && !sealed) {
            fiber_wait(NULL, agenda_now() + 500 * NS_PER_MS);
        }
    }
    if (s == STATUS_OK && mine(attempt)) {
        incarnation->over = true;
        if (!incarnation->plan->online) {
            ledger_sealed();
        }
    }
    return s;
}

static status write_all(struct attempt *attempt, struct err *err)
{
    const struct incarnation *incarnation = attempt->incarnation;
    status s = STATUS_OK;
    uint32_t n_stale = 0;
    while (s == STATUS_OK && !incarnation->stopping && n_stale < 12 &&
           (incarnation->stale || attempt->next < incarnation->plan->n_episodes)) {
        s = insert_next(attempt, err);
        n_stale += incarnation->stale;
        note_acknowledged(attempt);
        if (s == STATUS_OK && chance_in(8)) {
            s = flush(attempt, err);
        }
        if (chance_in(4)) {
            fiber_wait(NULL, agenda_now() + chance_below(4 * incarnation->plan->pause_ns));
        }
    }
    if (incarnation->stale) {
        return s == STATUS_OK ? replay_writer_flush(attempt->writer, 20000, err) : s;
    }
    return s == STATUS_OK ? finish(attempt, err) : s;
}

/* Injected faults explain some errors; any other is a fault of the server. */
static void check_error(const struct attempt *attempt, status s, const struct err *err)
{
    const struct incarnation *incarnation = attempt->incarnation;
    /* Its predecessor, which called OpenInsert first, may have been served after it. */
    const bool fenced = s == STATUS_MISMATCH && (strstr(err->text, "generation") != NULL ||
                                                 strstr(err->text, "elsewhere") != NULL);
    const bool expected = s == STATUS_UNAVAILABLE || s == STATUS_CLOSED || s == STATUS_TIMEOUT ||
                          s == STATUS_FULL || s == STATUS_RETRY || fenced ||
                          (s == STATUS_MISMATCH && (incarnation->stale || incarnation->stopping));
    trace("writer %u: %s", incarnation->client, err->text);
    if (!expected) {
        verdict_wrong("writer %u is refused: %s", incarnation->client, err->text);
    }
}

void *writer_run(void *arg)
{
    struct incarnation *incarnation = arg;
    fiber_wait(NULL, agenda_now() + chance_skewed(1, 1000) * NS_PER_MS);
    while (!incarnation->stopping && !incarnation->over && !incarnation->stale) {
        struct attempt attempt = {.incarnation = incarnation};
        struct err err = {0};
        status s = open_writer(&attempt, &err);
        if (s == STATUS_OK) {
            s = write_all(&attempt, &err);
        }
        if (s != STATUS_OK) {
            check_error(&attempt, s, &err);
        }
        replay_writer_close(attempt.writer);
        if (!incarnation->over) {
            fiber_wait(NULL, agenda_now() + chance_skewed(10, 1000) * NS_PER_MS);
        }
    }
    return NULL;
}
