/* Clients that hold what others need: a sampler that never reads what it was granted, and a writer
 * that announces an episode as large as all of insert_buffer_bytes and sends it very slowly.
 * Neither ever finishes; the scenario requires that everybody else does (scenario.c). Both start
 * again whenever the server ends their stream. */
#include <string.h>

#include "common/base/memory.h"
#include "common/clients/signature_wire.h"
#include "common/rpc/client.h"
#include "proto/replay.pb-c.h"
#include "replay_server/store/store.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/clients.h"
#include "tests/sim/fiber.h"
#include "tests/sim/trace.h"

#define HOSTILE_FIRST_HOST (CLIENTS_FIRST_HOST + 500)
#define CHUNK_EVERY_S      15u /* 4 KiB a second; within idle_seconds */

/* Names of writers; the ledger passes over those that begin with z. */
#define HOARDER  "z-hoarder"
#define TRICKLER "z-trickler"

static const struct plan *plan;
static bool stopping;
static struct fiber *fibers[2];
static uint32_t n_fibers;

/* Waits for so long, or until they are to end. */
static void wait_s(uint64_t seconds)
{
    const uint64_t until_ns = agenda_now() + seconds * NS_PER_S;
    while (!stopping && agenda_now() < until_ns) {
        fiber_wait(NULL, agenda_now() + NS_PER_S / 2);
    }
}

static struct rpc_channel *open_channel(void)
{
    struct rpc_channel *channel;
    struct err err;
    status s = rpc_channel_open(&channel, plan->experiment.replay.items[0], NULL, &err);
    ASSERT(s == STATUS_OK);
    return channel;
}

static void close_stream(struct rpc_stream *stream)
{
    rpc_stream_cancel(stream);
    status s = rpc_stream_finish(stream, 1000, NULL);
    ASSERT(s != STATUS_OK);
}

/* Opens a writer that is none of the ledger's; its generation, or 0. */
static uint64_t open_insert(struct rpc_channel *channel, const char *writer,
                            const struct signature_wire *signature, uint32_t *chunk_rows)
{
    Hindcast__OpenInsertRequest request = HINDCAST__OPEN_INSERT_REQUEST__INIT;
    request.writer = (char *)writer;
    request.signature = (Hindcast__Signature *)&signature->message;
    struct rpc_message message;
    if (rpc_unary(channel, &hindcast__replay__descriptor, "OpenInsert", &request.base, NULL, NULL,
                  &message, NULL) != STATUS_OK) {
        return 0;
    }
    const Hindcast__OpenInsertResponse *response =
        (const Hindcast__OpenInsertResponse *)message.body;
    const uint64_t generation = response->generation;
    *chunk_rows = response->chunk_rows;
    rpc_message_free(&message);
    return generation;
}

/* ---- Does not read ---- */

static void hoard(struct rpc_channel *channel, const struct signature_wire *signature)
{
    struct rpc_stream *stream;
    if (rpc_stream_open(&stream, channel, &hindcast__replay__descriptor, "Sample", RPC_BIDI, NULL,
                        NULL) != STATUS_OK) {
        return;
    }
    Hindcast__SampleRequest request = HINDCAST__SAMPLE_REQUEST__INIT;
    request.signature = (Hindcast__Signature *)&signature->message;
    request.credit = 1000;
    request.batch_snippets = plan_hoarder_snippets(plan);
    request.snippet_transitions = 1;
    /* Grants a batch more now and then, until the server has had enough. */
    while (!stopping && rpc_stream_send(stream, &request.base, NULL, 5000) == STATUS_OK) {
        request = (Hindcast__SampleRequest)HINDCAST__SAMPLE_REQUEST__INIT;
        request.credit = 1;
        wait_s(2);
    }
    trace("hoarder: the stream has ended");
    close_stream(stream);
}

static void *hoarder(void *arg)
{
    (void)arg;
    struct rpc_channel *channel = open_channel();
    struct signature_wire *signature = mem_new(sizeof *signature);
    ASSERT(signature != NULL);
    signature_wire_fill(signature, &plan->signature);
    while (!stopping) {
        uint32_t chunk_rows;
        if (open_insert(channel, HOARDER, signature, &chunk_rows) >
            0) { /* makes the table, to be early */
            hoard(channel, signature);
        }
        wait_s(1);
    }
    mem_free(signature);
    rpc_channel_close(channel);
    return NULL;
}

/* ---- Trickles ---- */

static void trickle(struct rpc_channel *channel, uint64_t generation, uint32_t chunk_rows)
{
    struct rpc_stream *stream;
    if (rpc_stream_open(&stream, channel, &hindcast__replay__descriptor, "Insert", RPC_BIDI, NULL,
                        NULL) != STATUS_OK) {
        return;
    }
    const uint64_t fit = (uint64_t)plan->options.insert_buffer_bytes / 65536;
    const uint64_t most = (EPISODE_TRANSITIONS_MAX + 1u) / chunk_rows;
    const uint32_t n_chunks = (uint32_t)(fit < most ? fit : most);
    const size_t size = (size_t)chunk_rows * plan->W * sizeof(float);
    uint8_t *rows = mem_new(size);
    ASSERT(rows != NULL && n_chunks >= 2);
    Hindcast__Identity identity = HINDCAST__IDENTITY__INIT;
    identity.source = 7777;
    for (uint32_t i = 0; i + 1 < n_chunks && !stopping; i++) { /* the last one never comes */
        Hindcast__InsertRequest request = HINDCAST__INSERT_REQUEST__INIT;
        request.sequence = 1;
        request.chunk = i;
        request.rows = (ProtobufCBinaryData){size, rows};
        if (i == 0) {
            request.writer = (char *)TRICKLER;
            request.generation = generation;
            request.n_rows = n_chunks * chunk_rows;
            request.identity = &identity;
            request.restored = !plan->online;
        }
        if (rpc_stream_send(stream, &request.base, NULL, 30000) != STATUS_OK) {
            break;
        }
        wait_s(CHUNK_EVERY_S);
    }
    mem_free(rows);
    close_stream(stream);
}

static void *trickler(void *arg)
{
    (void)arg;
    struct rpc_channel *channel = open_channel();
    struct signature_wire *signature = mem_new(sizeof *signature);
    ASSERT(signature != NULL);
    signature_wire_fill(signature, &plan->signature);
    while (!stopping) {
        uint32_t chunk_rows = 0;
        const uint64_t generation = open_insert(channel, TRICKLER, signature, &chunk_rows);
        if (generation > 0) {
            trickle(channel, generation, chunk_rows);
        }
        wait_s(chance_between(1, 10));
    }
    mem_free(signature);
    rpc_channel_close(channel);
    return NULL;
}

/* ---- Both ---- */

void hostile_open(const struct plan *of)
{
    plan = of;
    stopping = false;
    n_fibers = 0;
    if (plan->hoarder) {
        fibers[n_fibers++] = fiber_start("hoarder", HOSTILE_FIRST_HOST, hoarder, NULL);
    }
    if (plan->trickler) {
        fibers[n_fibers++] = fiber_start("trickler", HOSTILE_FIRST_HOST + 1, trickler, NULL);
    }
}

void hostile_close(void)
{
    stopping = true;
    for (uint32_t i = 0; i < n_fibers; i++) {
        fiber_join(fibers[i], NULL);
    }
    n_fibers = 0;
}
