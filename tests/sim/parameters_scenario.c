/* Parameters and their watchers: a learner's publisher under the real common/rpc, clients that
 * follow it, and clients that ask and never read.
 *
 * A period with faults (the learner is killed and started again, connections are cut or held up),
 * then one without, in which the run ends. Required:
 *
 *   - a client sees versions that rise, each with its own package, whole, and of this run
 *   - every client that reads gets the last version
 *   - a client that does not read is ended by the server within the time that publisher.h gives, so
 *     that it holds no package for ever */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/clients/parameters_client.h"
#include "common/rpc/client.h"
#include "common/rpc/server.h"
#include "learner/run/publisher.h"
#include "proto/parameters.pb-c.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/fiber.h"
#include "tests/sim/scenario.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

#define STEPS_MAX     20000000u
#define TROUBLE_NS    (60 * NS_PER_S)
#define CALM_NS       (600 * NS_PER_S)
#define RUN           "run-a"
#define DELIVERY_MS   5000u /* given to publisher_set_limits */
#define PACKAGE_MAX   (96u << 10)
#define UNREAD_S      30u /* more than any delivery may take */
#define WINDOW_MAX    (32u << 10)
#define READERS_MAX   6u
#define HOARDERS_MAX  3u
#define FIRST_SERVER  10 /* hosts */
#define FIRST_READER  200
#define FIRST_HOARDER 300

static struct experiment experiment;
static unsigned n_kills;

/* ---- The learner ---- */

/* One process of it. What outlives it is on its disk: the number of the newest version. */
struct learner {
    int host;
    uint64_t away_ns;
    struct learner *before;
    bool killed, ended, over;
    struct publisher *publisher;
    struct fiber *fiber;
};

static struct learner *learner; /* the latest */
static struct learner *learners[64];
static unsigned n_learners;
static uint64_t newest;  /* version published, ever */
static bool run_is_over; /* asked to end: by a client, or at the beginning of the calm */
static bool all_is_done; /* every client that reads has the last version */

static size_t size_of(uint64_t version)
{
    return (size_t)(version * 7919 % PACKAGE_MAX) + 1;
}

static void publish(struct learner *self, bool finished)
{
    const uint64_t version = ++newest;
    const size_t size = size_of(version);
    unsigned char *package = mem_new(size);
    struct err err = {0};
    ASSERT(package != NULL);
    memset(package, (int)(version & 0xff), size);
    const status s =
        publisher_publish(self->publisher, package, size, version, version * 10, finished, &err);
    ASSERT(s == STATUS_OK);
}

static void *learn(void *arg)
{
    struct learner *self = arg;
    while (self->before != NULL && !self->before->over) {
        fiber_wait(self->before, AGENDA_NEVER);
    }
    fiber_wait(NULL, agenda_now() + self->away_ns);

    const char *address = experiment.parameters;
    const struct rpc_server_options options = {
        .addresses = &address, .n_addresses = 1, .max_message_bytes = PUBLISHER_MESSAGE_MAX_BYTES};
    struct rpc_server *server;
    struct err err = {0};
    if (rpc_server_open(&server, &options, &err) != STATUS_OK ||
        publisher_new(&self->publisher, server, &err) != STATUS_OK) {
        verdict_wrong("the learner does not open: %s", err.text);
    }
    publisher_set_limits(self->publisher, DELIVERY_MS, 4 * PACKAGE_MAX);
    publisher_set_run(self->publisher, RUN);
    const status s = rpc_server_start(server, &err);
    ASSERT(s == STATUS_OK);

    /* Learning is publishing, as far as clients can see. */
    while (!self->killed && !run_is_over && !publisher_ending(self->publisher, NULL)) {
        publish(self, false);
        fiber_wait(NULL, agenda_now() + chance_skewed(100, 5000) * NS_PER_MS);
    }
    if (!self->killed) {
        run_is_over = true;
        trace("the run ends");
        publish(self, true);
    }
    while (!self->killed && !all_is_done) {
        fiber_wait(NULL, agenda_now() + 100 * NS_PER_MS);
    }
    rpc_server_close(server, 100);
    publisher_free(self->publisher);
    self->over = true;
    fiber_wake_all(self);
    return NULL;
}

static void begin_learner(uint64_t away_ns)
{
    ASSERT(n_learners < sizeof learners / sizeof learners[0]);
    struct learner *made = mem_new(sizeof *made);
    ASSERT(made != NULL);
    made->host = FIRST_SERVER + (int)n_learners;
    made->away_ns = away_ns;
    made->before = learner;
    learners[n_learners++] = learner = made;
    made->fiber = fiber_start("learner", made->host, learn, made);
}

static void kill_learner(void)
{
    if (n_learners + 1 >= sizeof learners / sizeof learners[0]) {
        return;
    }
    n_kills++;
    network_kill_host(learner->host);
    learner->killed = true;
    begin_learner(chance_skewed(1, 8000) * NS_PER_MS);
}

/* ---- Clients that read ---- */

struct reader {
    unsigned number;
    bool done;
    struct fiber *fiber;
};

static struct reader readers[READERS_MAX];
static unsigned n_readers;

static void check(const struct reader *reader, const struct parameters_snapshot *snapshot,
                  uint64_t had)
{
    if (strcmp(snapshot->run_id, RUN) != 0 || snapshot->version > newest ||
        (snapshot->version <= had && !(snapshot->finished && snapshot->version == had))) {
        verdict_wrong("reader %u has version %llu of run %s after %llu; the newest is %llu",
                      reader->number, (unsigned long long)snapshot->version, snapshot->run_id,
                      (unsigned long long)had, (unsigned long long)newest);
    }
    const unsigned char *bytes = snapshot->package;
    bool whole = snapshot->package_size == size_of(snapshot->version) &&
                 snapshot->learner_step == snapshot->version * 10;
    for (size_t i = 0; whole && i < snapshot->package_size; i++) {
        whole = bytes[i] == (snapshot->version & 0xff);
    }
    if (!whole) {
        verdict_wrong("reader %u: the package of version %llu is another one", reader->number,
                      (unsigned long long)snapshot->version);
    }
}

static void *read_on(void *arg)
{
    struct reader *reader = arg;
    struct parameters_client *client;
    struct err err = {0};
    fiber_wait(NULL, agenda_now() + chance_skewed(1, 20000) * NS_PER_MS);
    if (parameters_client_open(&client, &experiment, &err) != STATUS_OK) {
        verdict_wrong("reader %u: %s", reader->number, err.text);
    }
    uint64_t had = 0;
    while (!reader->done) {
        const struct parameters_snapshot *snapshot = NULL;
        if (parameters_client_take(client, had, chance_between(1, 3000), &snapshot) != STATUS_OK) {
            continue;
        }
        check(reader, snapshot, had);
        had = snapshot->version;
        reader->done = snapshot->finished;
        if (chance_in(3)) { /* it takes its time, as a rollout does */
            fiber_wait(NULL, agenda_now() + chance_skewed(1, 5000) * NS_PER_MS);
        }
        parameters_snapshot_release(snapshot);
        /* One of them ends the run now and then, as a stop rule does. */
        if (!run_is_over && reader->number == 0 && had > 20 && chance_in(1000)) {
            (void)!parameters_client_finish(client, had, "it is enough", "reader-0", 2000, &err);
        }
    }
    parameters_client_close(client);
    return NULL;
}

/* ---- Clients that do not read ---- */

static struct fiber *hoarders[HOARDERS_MAX];
static unsigned n_hoarders;

/* Watches, and looks at nothing for a while. Then its stream must have ended: if it is still open,
 * reading what was held makes the server send what is newest by then. */
static void hoard(struct rpc_channel *channel)
{
    const struct rpc_call_options options = {.payload_field = 15};
    struct rpc_stream *stream;
    if (rpc_stream_open(&stream, channel, &hindcast__parameters__descriptor, "Watch",
                        RPC_SERVER_STREAM, &options, NULL) != STATUS_OK) {
        return;
    }
    Hindcast__ParametersRequest request = HINDCAST__PARAMETERS_REQUEST__INIT;
    status s = rpc_stream_send(stream, &request.base, NULL, 1000);
    const uint64_t until_ns = agenda_now() + UNREAD_S * NS_PER_S;
    while (s == STATUS_OK && agenda_now() < until_ns && !all_is_done) {
        fiber_wait(NULL, agenda_now() + NS_PER_S / 2);
    }
    const bool waited = s == STATUS_OK && agenda_now() >= until_ns;
    const uint64_t then = newest;
    unsigned n = 0;
    size_t last = 0; /* bytes of the package before */
    struct rpc_message message = {0};
    while (waited && (s = rpc_stream_recv(stream, &message, 5000)) == STATUS_OK) {
        const Hindcast__ParametersResponse *response = (const void *)message.body;
        const bool open = n++ > 0 && response->version >= then && !response->finished;
        const bool held = last > WINDOW_MAX + (8u << 10); /* smaller ones fit the window */
        last = message.payload.size;
        rpc_message_free(&message);
        if (open && held) {
            verdict_wrong("a client that read nothing for %u s was not ended", UNREAD_S);
        }
    }
    rpc_stream_cancel(stream);
    (void)!rpc_stream_finish(stream, 1000, NULL);
}

static void *hoard_on(void *arg)
{
    (void)arg;
    struct rpc_channel *channel;
    struct err err;
    const status s = rpc_channel_open(&channel, experiment.parameters, NULL, &err);
    ASSERT(s == STATUS_OK);
    while (!all_is_done) {
        hoard(channel);
        fiber_wait(NULL, agenda_now() + chance_skewed(1, 2000) * NS_PER_MS);
    }
    rpc_channel_close(channel);
    return NULL;
}

/* ---- The scenario ---- */

static void inject_fault(void)
{
    switch (chance_below(24)) {
    case 0:
        kill_learner();
        break;
    case 1:
    case 2:
        network_stall_one(chance_skewed(1, 20000) * NS_PER_MS);
        break;
    default:
        network_cut_one();
        break;
    }
}

static unsigned n_waiting(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < n_readers; i++) {
        n += !readers[i].done;
    }
    return n;
}

static void *run(void *arg)
{
    (void)arg;
    begin_learner(0);
    for (unsigned i = 0; i < n_readers; i++) {
        readers[i] = (struct reader){.number = i};
        readers[i].fiber = fiber_start("reader", FIRST_READER + (int)i, read_on, &readers[i]);
    }
    for (unsigned i = 0; i < n_hoarders; i++) {
        hoarders[i] = fiber_start("hoarder", FIRST_HOARDER + (int)i, hoard_on, NULL);
    }
    const uint64_t calm_ns = agenda_now() + TROUBLE_NS;
    while (agenda_now() < calm_ns) {
        fiber_wait(NULL, agenda_now() + chance_skewed(50, 10000) * NS_PER_MS);
        inject_fault();
    }
    trace("no more faults");
    /* Clients that do not read get the time to be ended; then the run ends. */
    fiber_wait(NULL, agenda_now() + 2 * UNREAD_S * NS_PER_S);
    run_is_over = true;
    const uint64_t end_ns = agenda_now() + CALM_NS;
    while (n_waiting() > 0) {
        if (agenda_now() > end_ns) {
            verdict_wrong("600 s without a fault, and %u clients lack the last version",
                          n_waiting());
        }
        fiber_wait(NULL, agenda_now() + 100 * NS_PER_MS);
    }
    all_is_done = true;
    for (unsigned i = 0; i < n_readers; i++) {
        fiber_join(readers[i].fiber, NULL);
    }
    for (unsigned i = 0; i < n_hoarders; i++) {
        fiber_join(hoarders[i], NULL);
    }
    for (unsigned i = 0; i < n_learners; i++) {
        fiber_join(learners[i]->fiber, NULL);
    }
    return NULL;
}

static void no_step(void)
{
}

void scenario_run(uint64_t seed, bool print_plan, struct scenario *scenario)
{
    chance_seed(seed);
    agenda_reset();
    network_reset();
    verdict_begin(seed);
    memset(&experiment, 0, sizeof experiment);
    snprintf(experiment.parameters, sizeof experiment.parameters, "127.0.0.1:7100");
    learner = NULL;
    n_learners = n_kills = 0;
    newest = 0;
    run_is_over = all_is_done = false;
    n_readers = (unsigned)chance_between(1, READERS_MAX);
    n_hoarders = (unsigned)chance_below(HOARDERS_MAX + 1);
    const uint64_t delay_ns = chance_skewed(1, 200) * NS_PER_MS;
    const uint64_t window = chance_skewed(4 << 10, WINDOW_MAX);
    network_set(delay_ns, window);
    if (print_plan) {
        printf("%u readers, %u that do not read, delays up to %llu ms, windows of %llu bytes\n",
               n_readers, n_hoarders, (unsigned long long)(delay_ns / NS_PER_MS),
               (unsigned long long)window);
    }
    const uint64_t start_ns = agenda_now();
    fiber_start("scenario", 0, run, NULL);
    struct fiber_run turns;
    const char *wrong = fiber_run_all(&turns, STEPS_MAX, no_step);
    if (wrong != NULL) {
        verdict_wrong("%s", wrong);
    }
    scenario->steps = turns.steps;
    scenario->digest = turns.digest;
    scenario->fake_ns = agenda_now() - start_ns;
    scenario->kills = n_kills;
    network_count(&scenario->network);
    for (unsigned i = 0; i < n_learners; i++) {
        mem_free(learners[i]);
    }
    fiber_reset();
    network_reset();
}
