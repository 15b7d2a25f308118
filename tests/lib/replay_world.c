/* Starting, feeding and asking replay servers in tests. */
#include "tests/lib/replay_world.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/peer.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

static const char *const names[] = {"a", "b", "c"};

/* ---- Servers ---- */

int replay_world_set_up(void **state)
{
    struct replay_world *world = mem_new(sizeof *world);
    scratch_make(world->folder);
    trajectories_signature(&world->signature, REPLAY_WORLD_REWARDS);
    *state = world;
    return 0;
}

int replay_world_tear_down(void **state)
{
    struct replay_world *world = *state;
    for (int i = 0; i < 3; i++) {
        service_close(world->services[i]);
    }
    scratch_remove(world->folder);
    mem_free(world);
    return 0;
}

void replay_world_serve(struct replay_world *world, uint32_t i, const char *const *flags)
{
    world->services[i] = replay_serve(world->folder, names[i], &world->experiment, i, flags);
}

void replay_world_stop(struct replay_world *world, uint32_t i)
{
    service_close(world->services[i]);
    world->services[i] = NULL;
}

void replay_world_forget(struct replay_world *world, uint32_t i)
{
    char path[2 * SCRATCH_SIZE];
    scratch_remove(scratch_path(path, world->folder, names[i]));
}

/* ---- Clients ---- */

struct replay_writer *replay_world_open_writer(struct replay_world *world,
                                               struct replay_writer_options options, char *cursor,
                                               bool *sealed)
{
    struct replay_writer *writer = NULL;
    struct err err = {0};
    uint8_t bytes[REPLAY_CURSOR_MAX];
    size_t size = 0;
    options.writer = options.writer ? options.writer : "w";
    if (replay_writer_open(&writer, &world->experiment, &world->signature, &options, bytes, &size,
                           sealed, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    if (cursor) {
        memcpy(cursor, bytes, size);
        cursor[size] = '\0';
    }
    return writer;
}

status replay_world_insert(struct replay_world *world, struct replay_writer *writer,
                           uint32_t number, uint32_t T, struct err *err)
{
    struct episode episode;
    char cursor[16];
    replay_episode(&episode, &world->signature, number, T);
    const int size = snprintf(cursor, sizeof cursor, "at %u", number);
    status s = replay_writer_insert(writer, &episode, cursor, (size_t)size, err);
    episode_fini(&episode);
    return s;
}

void replay_world_must_insert(struct replay_world *world, struct replay_writer *writer,
                              uint32_t number, uint32_t T)
{
    struct err err = {0};
    if (replay_world_insert(world, writer, number, T, &err) != STATUS_OK) {
        fail_msg("insert %u: %s", number, err.text);
    }
}

void replay_world_must_flush(struct replay_writer *writer)
{
    struct err err = {0};
    if (replay_writer_flush(writer, 20000, &err) != STATUS_OK) {
        fail_msg("flush: %s", err.text);
    }
}

void replay_world_fill(struct replay_world *world, uint32_t first, uint32_t n)
{
    bool sealed = false;
    struct err err;
    struct replay_writer *writer = replay_world_open_writer(
        world, (struct replay_writer_options){.restored = true}, NULL, &sealed);
    for (uint32_t k = first; k < first + n; k++) {
        replay_world_must_insert(world, writer, k, 10 + k);
    }
    assert_int_equal(replay_writer_seal(writer, 1, &sealed, &err), STATUS_OK);
    assert_true(sealed);
    replay_writer_close(writer);
}

struct replay_sampler *replay_world_open_sampler(struct replay_world *world,
                                                 struct replay_sampler_options options)
{
    struct replay_sampler *sampler = NULL;
    struct signature signature = world->signature;
    struct err err = {0};
    if (replay_sampler_open(&sampler, &world->experiment, &signature, &options, 10000, NULL, NULL,
                            &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return sampler;
}

struct replay_batch *replay_world_must_next(struct replay_sampler *sampler)
{
    struct replay_batch *batch = NULL;
    struct err err = {0};
    if (replay_sampler_next(sampler, &batch, 20000, &err) != STATUS_OK) {
        fail_msg("next: %s", err.text);
    }
    return batch;
}

void replay_world_check_batch(const struct replay_batch *batch, uint32_t N, uint32_t W,
                              uint32_t counts[64])
{
    for (uint32_t i = 0; i < batch->snippets; i++) {
        const float *rows = batch->rows + (size_t)i * (N + 1) * W;
        uint32_t number, t, column;
        replay_number_read(rows[0], &number, &t, &column);
        assert_int_equal(column, 0);
        assert_in_range(batch->n_valid[i], 1, N);
        for (uint32_t r = 0; r <= N; r++) {
            for (uint32_t c = 0; c < W; c++) {
                assert_true(rows[r * W + c] ==
                            (r <= batch->n_valid[i] ? replay_number(number, t + r, c) : 0));
            }
        }
        if (counts) {
            counts[number]++;
        }
    }
}

void replay_world_call(struct replay_world *world, uint32_t i, const char *method,
                       const ProtobufCMessage *request, struct rpc_message *message)
{
    struct rpc_channel *channel;
    struct err err = {0};
    const struct rpc_call_options options = {.timeout_ms = 10000, .wait_for_ready = true};
    assert_int_equal(
        peer_channel_open(&channel, world->experiment.replay.items[i], &world->experiment, 0, &err),
        STATUS_OK);
    if (rpc_unary(channel, &hindcast__replay__descriptor, method, request, NULL, &options, message,
                  &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    rpc_channel_close(channel);
}

Hindcast__TableInfo *replay_world_table_info(struct replay_world *world, uint32_t i,
                                             struct rpc_message *message)
{
    const Hindcast__InfoRequest request = HINDCAST__INFO_REQUEST__INIT;
    replay_world_call(world, i, "Info", &request.base, message);
    const Hindcast__InfoResponse *response = (const Hindcast__InfoResponse *)message->body;
    assert_int_equal(response->n_tables, 1);
    return response->tables[0];
}

void replay_world_await_waiter(struct replay_world *world, const char *what, const char *why)
{
    for (int i = 0; i < 500; i++) {
        struct rpc_message message;
        const Hindcast__TableInfo *table = replay_world_table_info(world, 0, &message);
        bool found = false;
        for (size_t k = 0; k < table->n_waiters; k++) {
            found = found || (strcmp(table->waiters[k]->what, what) == 0 &&
                              strstr(table->waiters[k]->why, why));
        }
        rpc_message_free(&message);
        if (found) {
            return;
        }
        clock_sleep_ms(20);
    }
    fail_msg("nobody waits: %s, %s", what, why);
}

void replay_world_await_transitions(struct replay_world *world, uint64_t n)
{
    uint64_t there = 0;
    for (int tries = 0; tries < 1000 && there != n; tries++) {
        struct rpc_message message;
        there = replay_world_table_info(world, 0, &message)->transitions;
        rpc_message_free(&message);
        clock_sleep_ms(10);
    }
    assert_int_equal(there, n);
}
