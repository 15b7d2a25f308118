/* Parameters from both ends, over real gRPC in one process: learner/publisher and
 * common/clients/parameters_client. */
#include "tests/lib/check.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "common/clients/parameters_client.h"
#include "common/clients/peer.h"
#include "common/rpc/client.h"
#include "common/rpc/server.h"
#include "learner/run/publisher.h"
#include "proto/parameters.pb-c.h"
#include "tests/lib/scratch.h"

#define WAIT_MS 10000

struct world {
    char folder[SCRATCH_SIZE];
    struct experiment experiment;
    struct rpc_server *server;
    struct publisher *publisher;
    struct parameters_client *client;
};

static void open_server(struct world *world, const char *run_id)
{
    struct err err = {0};
    const char *address = world->experiment.parameters;
    const struct rpc_server_options options = {
        .addresses = &address, .n_addresses = 1, .max_message_bytes = PUBLISHER_MESSAGE_MAX_BYTES};
    assert_int_equal(rpc_server_open(&world->server, &options, &err), STATUS_OK);
    assert_int_equal(publisher_new(&world->publisher, world->server, &err), STATUS_OK);
    assert_int_equal(rpc_server_start(world->server, &err), STATUS_OK);
    publisher_set_run(world->publisher, run_id);
}

static void close_server(struct world *world)
{
    rpc_server_close(world->server, 100);
    publisher_free(world->publisher);
}

static int set_up(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof(world));
    scratch_make(world.folder);
    snprintf(world.experiment.parameters, sizeof(world.experiment.parameters),
             "unix:%s/parameters.sock", world.folder);
    struct err err = {0};
    open_server(&world, "run-a");
    assert_int_equal(parameters_client_open(&world.client, &world.experiment, &err), STATUS_OK);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    parameters_client_close(world->client);
    close_server(world);
    scratch_remove(world->folder);
    return 0;
}

/* A package that says which version it is, large enough to fill flow-control windows. */
static void publish(struct world *world, uint64_t version, size_t size, bool finished)
{
    struct err err = {0};
    unsigned char *package = mem_new(size);
    assert_non_null(package);
    memset(package, (int)(version & 0xff), size);
    assert_int_equal(
        publisher_publish(world->publisher, package, size, version, version * 10, finished, &err),
        STATUS_OK);
}

/* Takes what is newer and checks that it is that version, whole. */
static void expect(struct world *world, uint64_t newer_than, uint64_t version, bool finished,
                   const char *run_id)
{
    const struct parameters_snapshot *snapshot = NULL;
    assert_int_equal(parameters_client_take(world->client, newer_than, WAIT_MS, &snapshot),
                     STATUS_OK);
    assert_int_equal(snapshot->version, version);
    assert_int_equal(snapshot->learner_step, version * 10);
    assert_int_equal(snapshot->finished, finished);
    assert_string_equal(snapshot->run_id, run_id);
    assert_true(snapshot->package_size > 0);
    const unsigned char *bytes = snapshot->package;
    for (size_t i = 0; i < snapshot->package_size; i++) {
        assert_int_equal(bytes[i], version & 0xff);
    }
    parameters_snapshot_release(snapshot);
}

static void expect_nothing(struct world *world, uint64_t newer_than)
{
    const struct parameters_snapshot *snapshot = NULL;
    assert_int_equal(parameters_client_take(world->client, newer_than, 150, &snapshot),
                     STATUS_TIMEOUT);
    assert_null(snapshot);
}

static void versions_come_in_order_and_once(void **state)
{
    struct world *world = *state;
    expect_nothing(world, 0);
    publish(world, 1, 1000, false);
    expect(world, 0, 1, false, "run-a");
    expect(world, 0, 1, false, "run-a"); /* newer_than decides, not what was taken */
    expect_nothing(world, 1);
    publish(world, 2, 1000, false);
    expect(world, 1, 2, false, "run-a");
    assert_true(parameters_client_connected(world->client));
}

static void late_watchers_get_the_newest_only(void **state)
{
    struct world *world = *state;
    for (uint64_t version = 1; version <= 40; version++) {
        publish(world, version, 4u << 20, false);
    }
    expect(world, 39, 40, false, "run-a");
}

static void a_snapshot_outlives_newer_ones(void **state)
{
    struct world *world = *state;
    publish(world, 1, 1000, false);
    const struct parameters_snapshot *first = NULL;
    assert_int_equal(parameters_client_take(world->client, 0, WAIT_MS, &first), STATUS_OK);
    publish(world, 2, 1000, false);
    expect(world, 1, 2, false, "run-a");
    assert_int_equal(first->version, 1);
    assert_int_equal(((const unsigned char *)first->package)[999], 1);
    parameters_snapshot_release(first);
}

static void the_first_finish_counts(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    publish(world, 1, 1000, false);
    expect(world, 0, 1, false, "run-a");
    assert_false(publisher_ending(world->publisher, NULL));
    assert_int_equal(
        parameters_client_finish(world->client, 1, "no improvement", "evaluator-0", WAIT_MS, &err),
        STATUS_OK);
    struct publisher_end end = {0};
    assert_true(publisher_ending(world->publisher, &end));
    assert_string_equal(end.reason, "no improvement");
    assert_string_equal(end.who, "evaluator-0");
    assert_int_equal(end.version, 1);
    assert_int_equal(
        parameters_client_finish(world->client, 1, "other", "evaluator-1", WAIT_MS, &err),
        STATUS_OK);
    assert_true(publisher_ending(world->publisher, &end));
    assert_string_equal(end.reason, "no improvement");
    assert_false(publisher_end(world->publisher, "steps done", "learner"));
}

/* Half a character at a cut would make Progress unreadable, and the header of every checkpoint. */
static void long_reasons_are_cut_between_characters(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    for (size_t lead = 0; lead < 4; lead++) {
        char reason[700] = "xxx";
        reason[lead] = '\0';
        for (int i = 0; i < 150; i++) {
            strcat(reason, "\xe2\x82\xac"); /* the Euro sign */
        }
        close_server(world);
        open_server(world, "run-a");
        assert_int_equal(parameters_client_finish(world->client, 1, reason, reason, WAIT_MS, &err),
                         STATUS_OK);
        struct publisher_end end = {0};
        assert_true(publisher_ending(world->publisher, &end));
        assert_true(utf8_is_name(end.reason) && utf8_is_name(end.who));
        assert_true(strlen(end.reason) > PUBLISHER_TEXT_SIZE - 5);
        assert_memory_equal(end.reason, reason, strlen(end.reason));
        publisher_set_state(world->publisher, reason);
        publisher_set_state(world->publisher, "raw \xff\xfe bytes\n");
    }
}

static void control_characters_are_refused(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    assert_int_equal(parameters_client_finish(world->client, 1, "two\nlines", "me", WAIT_MS, &err),
                     STATUS_INVALID);
    assert_int_equal(parameters_client_finish(world->client, 1, "done", "\033[2J", WAIT_MS, &err),
                     STATUS_INVALID);
    assert_false(publisher_ending(world->publisher, NULL));
}

/* ---- Clients that do not read ---- */

/* A Watch whose client takes no message. */
static struct rpc_stream *watch_without_reading(struct rpc_channel *channel)
{
    const struct rpc_call_options options = {.wait_for_ready = true, .payload_field = 15};
    struct rpc_stream *stream = NULL;
    struct err err = {0};
    assert_int_equal(rpc_stream_open(&stream, channel, &hindcast__parameters__descriptor, "Watch",
                                     RPC_SERVER_STREAM, &options, &err),
                     STATUS_OK);
    Hindcast__ParametersRequest request = HINDCAST__PARAMETERS_REQUEST__INIT;
    assert_int_equal(rpc_stream_send(stream, &request.base, NULL, WAIT_MS), STATUS_OK);
    return stream;
}

static void wait_for_watches(struct world *world, unsigned n)
{
    const uint64_t deadline_ns = clock_now_ns() + 5 * NS_PER_S;
    while (publisher_followers(world->publisher) < n && clock_now_ns() < deadline_ns) {
        clock_sleep_ms(5);
    }
    assert_true(publisher_followers(world->publisher) >= n);
    clock_sleep_ms(100); /* its request follows */
}

/* Has the stream of a client that did not read ended? `err` says why. */
static bool has_ended(struct rpc_stream *stream, struct err *err)
{
    struct rpc_message message = {0};
    status s;
    while ((s = rpc_stream_recv(stream, &message, 1000)) == STATUS_OK) {
        rpc_message_free(&message);
    }
    if (s == STATUS_TIMEOUT) {
        return false;
    }
    assert_int_equal(rpc_stream_finish(stream, 1000, err), STATUS_TIMEOUT); /* as the server said */
    return true;
}

static void who_does_not_read_in_time_is_ended(void **state)
{
    struct world *world = *state;
    struct rpc_channel *channel = NULL;
    struct err err = {0};
    publisher_set_limits(world->publisher, 300, SIZE_MAX);
    assert_int_equal(peer_channel_open(&channel, world->experiment.parameters, &world->experiment,
                                       PUBLISHER_MESSAGE_MAX_BYTES, &err),
                     STATUS_OK);
    struct rpc_stream *stream = watch_without_reading(channel);
    wait_for_watches(world, 1);
    publish(world, 1, 4u << 20, false);
    clock_sleep_ms(1000);
    publish(world, 2, 1000, false);
    expect(world, 1, 2, false, "run-a"); /* others are served meanwhile */
    clock_sleep_ms(6000);                /* 0.3 s, and 4.1 s for the package */
    assert_true(has_ended(stream, &err));
    assert_non_null(strstr(err.text, "the parameters were not read in time"));
    rpc_channel_close(channel);
}

/* Watchers at different versions, none of which reads: only so many bytes of old packages. */
static void old_packages_are_bounded(void **state)
{
    enum { N = 12, SIZE = 4 << 20, KEPT = 3 };
    struct world *world = *state;
    struct rpc_channel *channels[N] = {NULL};
    struct rpc_stream *streams[N];
    struct err err = {0};
    publisher_set_limits(world->publisher, 60000, KEPT * (size_t)SIZE);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(peer_channel_open(&channels[i], world->experiment.parameters,
                                           &world->experiment, PUBLISHER_MESSAGE_MAX_BYTES, &err),
                         STATUS_OK);
        streams[i] = watch_without_reading(channels[i]);
        wait_for_watches(world, i + 1);
        publish(world, i + 1, SIZE, false);
    }
    expect(world, N - 1, N, false, "run-a");
    clock_sleep_ms(1500);
    int ended = 0;
    for (unsigned i = 0; i < N; i++) {
        struct err why = {0};
        if (has_ended(streams[i], &why)) {
            assert_non_null(strstr(why.text, "too many older versions are still being sent"));
            assert_true(i < N - KEPT); /* the oldest first */
            ended++;
        } else {
            rpc_stream_cancel(streams[i]);
            (void)!rpc_stream_finish(streams[i], 1000, &why);
        }
        rpc_channel_close(channels[i]);
    }
    print_message("    %d of %d watchers were ended\n", ended, (int)N);
    assert_true(ended >= N - KEPT - 1);
}

static void the_end_is_delivered_once(void **state)
{
    struct world *world = *state;
    publish(world, 1, 1000, false);
    expect(world, 0, 1, false, "run-a");
    assert_false(publisher_delivered(world->publisher));
    publish(world, 2, 100000, true);
    expect(world, 1, 2, true, "run-a");
    expect_nothing(world, 2);
    uint64_t deadline_ns = clock_now_ns() + 5 * NS_PER_S;
    while (!publisher_delivered(world->publisher) && clock_now_ns() < deadline_ns) {
        clock_sleep_ms(10);
    }
    assert_true(publisher_delivered(world->publisher));
    assert_int_equal(publisher_followers(world->publisher), 1);
}

/* Nobody waits for who asked for the end and left, but for who vanished before. */
static void who_leaves_after_the_end_is_not_waited_for(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    publish(world, 1, 1000, false);
    expect(world, 0, 1, false, "run-a");
    assert_int_equal(
        parameters_client_finish(world->client, 1, "done", "collector-0", WAIT_MS, &err),
        STATUS_OK);
    parameters_client_close(world->client);
    uint64_t deadline_ns = clock_now_ns() + 5 * NS_PER_S;
    publish(world, 2, 1000, true);
    while (!publisher_delivered(world->publisher) && clock_now_ns() < deadline_ns) {
        clock_sleep_ms(10);
    }
    assert_true(publisher_delivered(world->publisher));
    assert_int_equal(parameters_client_open(&world->client, &world->experiment, &err), STATUS_OK);
}

static void who_vanished_before_the_end_is_waited_for(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    publish(world, 1, 1000, false);
    expect(world, 0, 1, false, "run-a");
    parameters_client_close(world->client);
    clock_sleep_ms(100);
    assert_true(publisher_end(world->publisher, "steps done", "learner"));
    publish(world, 2, 1000, true);
    clock_sleep_ms(200);
    assert_false(publisher_delivered(world->publisher));
    assert_int_equal(parameters_client_open(&world->client, &world->experiment, &err), STATUS_OK);
    expect(world, 1, 2, true, "run-a");
    uint64_t deadline_ns = clock_now_ns() + 5 * NS_PER_S;
    while (!publisher_delivered(world->publisher) && clock_now_ns() < deadline_ns) {
        clock_sleep_ms(10);
    }
    assert_true(publisher_delivered(world->publisher));
}

/* The end is news also to who took this version before it was known to be the last. */
static void a_restarted_learner_is_found_again(void **state)
{
    struct world *world = *state;
    publish(world, 5, 1000, false);
    expect(world, 0, 5, false, "run-a");
    close_server(world);
    clock_sleep_ms(300);
    open_server(world, "run-a");
    publish(world, 6, 1000, false);
    expect(world, 5, 6, false, "run-a");
    close_server(world);
    open_server(world, "run-a");
    publish(world, 6, 1000, true);
    expect(world, 6, 6, true, "run-a");
}

static void another_run_begins_anew(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    publish(world, 9, 1000, false);
    expect(world, 0, 9, false, "run-a");
    close_server(world);
    open_server(world, "run-b");
    publish(world, 1, 1000, false);
    /* A decision about run-a does not end run-b. */
    assert_int_equal(
        parameters_client_finish(world->client, 9, "late", "evaluator-0", WAIT_MS, &err),
        STATUS_MISMATCH);
    assert_false(publisher_ending(world->publisher, NULL));
    expect(world, 9, 1, false, "run-b");
    expect_nothing(world, 1);
}

static void finish_without_a_learner_times_out(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    close_server(world);
    uint64_t begin_ns = clock_now_ns();
    status s = parameters_client_finish(world->client, 0, "x", "y", 700, &err);
    assert_true(s == STATUS_TIMEOUT || s == STATUS_UNAVAILABLE);
    assert_true(clock_now_ns() - begin_ns < 3 * NS_PER_S);
    open_server(world, "run-a");
}

static void *take_for_ever(void *arg)
{
    struct world *world = arg;
    const struct parameters_snapshot *snapshot = NULL;
    status s = parameters_client_take(world->client, 0, 60000, &snapshot);
    return (void *)(intptr_t)s;
}

static void closing_wakes_takers(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, take_for_ever, world), 0);
    clock_sleep_ms(100);
    uint64_t begin_ns = clock_now_ns();
    parameters_client_close(world->client);
    assert_true(clock_now_ns() - begin_ns < 2 * NS_PER_S);
    void *result = NULL;
    pthread_join(thread, &result);
    assert_int_equal((intptr_t)result, STATUS_CLOSED);
    assert_int_equal(parameters_client_open(&world->client, &world->experiment, &err), STATUS_OK);
}

static void get_and_progress_answer(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    struct rpc_channel *channel = NULL;
    assert_int_equal(rpc_channel_open(&channel, world->experiment.parameters, NULL, &err),
                     STATUS_OK);
    const struct rpc_call_options options = {
        .timeout_ms = WAIT_MS, .wait_for_ready = true, .payload_field = 15};
    Hindcast__ParametersRequest request = HINDCAST__PARAMETERS_REQUEST__INIT;
    struct rpc_message message = {0};
    assert_int_equal(rpc_unary(channel, &hindcast__parameters__descriptor, "Get", &request.base,
                               NULL, &options, &message, &err),
                     STATUS_UNAVAILABLE);
    publish(world, 3, 5000, false);
    assert_int_equal(rpc_unary(channel, &hindcast__parameters__descriptor, "Get", &request.base,
                               NULL, &options, &message, &err),
                     STATUS_OK);
    const Hindcast__ParametersResponse *response = (const void *)message.body;
    assert_true(response->modified);
    assert_int_equal(response->version, 3);
    assert_int_equal(message.payload.size, 5000);
    rpc_message_free(&message);

    request.newer_than = 3;
    message = (struct rpc_message){0};
    assert_int_equal(rpc_unary(channel, &hindcast__parameters__descriptor, "Get", &request.base,
                               NULL, &options, &message, &err),
                     STATUS_OK);
    assert_false(((const Hindcast__ParametersResponse *)(const void *)message.body)->modified);
    assert_int_equal(message.payload.size, 0);
    rpc_message_free(&message);

    const struct publisher_progress progress = {
        .learner_step = 30,
        .learner_steps = 60,
        .steps_per_second = 2.5,
        .n_reports = 1,
        .reports = {{.name = "critic_loss", .value = 0.25}}};
    publisher_set_progress(world->publisher, &progress);
    publisher_set_state(world->publisher, "learning");
    Hindcast__ProgressRequest ask = HINDCAST__PROGRESS_REQUEST__INIT;
    message = (struct rpc_message){0};
    assert_int_equal(rpc_unary(channel, &hindcast__parameters__descriptor, "Progress", &ask.base,
                               NULL, &options, &message, &err),
                     STATUS_OK);
    const Hindcast__ProgressResponse *answer = (const void *)message.body;
    assert_int_equal(answer->learner_step, 30);
    assert_int_equal(answer->learner_steps, 60);
    assert_int_equal(answer->version, 3);
    assert_string_equal(answer->state, "learning");
    assert_string_equal(answer->run_id, "run-a");
    assert_int_equal(answer->n_reports, 1);
    assert_string_equal(answer->reports[0]->name, "critic_loss");
    rpc_message_free(&message);
    rpc_channel_close(channel);
}

int main(void)
{
    log_open("test", LOG_WARN);
    rpc_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(versions_come_in_order_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(late_watchers_get_the_newest_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_snapshot_outlives_newer_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_finish_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_reasons_are_cut_between_characters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(control_characters_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_does_not_read_in_time_is_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_packages_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_is_delivered_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_leaves_after_the_end_is_not_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_vanished_before_the_end_is_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_restarted_learner_is_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_run_begins_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finish_without_a_learner_times_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_wakes_takers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(get_and_progress_answer, set_up, tear_down),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
