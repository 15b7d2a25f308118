/* Up to three replay servers in this process and clients to them: the fixture of the clients'
 * tests. What is not there in time fails the test. */
#ifndef HINDCAST_TESTS_REPLAY_WORLD_H
#define HINDCAST_TESTS_REPLAY_WORLD_H

#include "common/clients/replay_sampler.h"
#include "common/clients/replay_writer.h"
#include "common/rpc/client.h"
#include "proto/replay.pb-c.h"
#include "tests/lib/replay.h"

#define REPLAY_WORLD_REWARDS 2u /* W = 10 */

struct replay_world {
    char folder[SCRATCH_SIZE];
    struct experiment experiment;
    struct signature signature;
    struct service *services[3];
};

/* Set-up and tear-down of one test; *state is the world. */
int replay_world_set_up(void **state);
int replay_world_tear_down(void **state);

/* Starts server i with its store and these flags (NULL: defaults); stops it. */
void replay_world_serve(struct replay_world *world, uint32_t i, const char *const *flags);
void replay_world_stop(struct replay_world *world, uint32_t i);
/* Removes the store of server i, which is stopped. */
void replay_world_forget(struct replay_world *world, uint32_t i);

/* The writer "w" unless options name one. `cursor` (text) may be NULL. */
struct replay_writer *replay_world_open_writer(struct replay_world *world,
                                               struct replay_writer_options options, char *cursor,
                                               bool *sealed);
/* Episode `number` of T transitions, with the cursor "at NUMBER". */
status replay_world_insert(struct replay_world *world, struct replay_writer *writer,
                           uint32_t number, uint32_t T, struct err *err);
void replay_world_must_insert(struct replay_world *world, struct replay_writer *writer,
                              uint32_t number, uint32_t T);
void replay_world_must_flush(struct replay_writer *writer);
/* Episodes first .. first + n - 1, of 10 + number transitions, and sealed. */
void replay_world_fill(struct replay_world *world, uint32_t first, uint32_t n);

struct replay_sampler *replay_world_open_sampler(struct replay_world *world,
                                                 struct replay_sampler_options options);
struct replay_batch *replay_world_must_next(struct replay_sampler *sampler);
/* Every number of every snippet says where it belongs; counts[episode]++ (NULL: not counted). */
void replay_world_check_batch(const struct replay_batch *batch, uint32_t N, uint32_t W,
                              uint32_t counts[64]);

/* A unary call of Replay to server i; *message is the answer, which the caller frees. */
void replay_world_call(struct replay_world *world, uint32_t i, const char *method,
                       const ProtobufCMessage *request, struct rpc_message *message);
/* The one table of server i, within *message, which the caller frees. */
Hindcast__TableInfo *replay_world_table_info(struct replay_world *world, uint32_t i,
                                             struct rpc_message *message);
/* Until somebody waits at server 0 to `what` ("insert", "sample") for `why`; 10 s. */
void replay_world_await_waiter(struct replay_world *world, const char *what, const char *why);
/* Until server 0 holds n transitions; 10 s. */
void replay_world_await_transitions(struct replay_world *world, uint64_t n);

#endif
