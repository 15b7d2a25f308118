/* What each client holds, against a plain list; quotas, with and without a plan of eviction. */
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "replay_server/table/table.h"
#include "replay_server/table/table_clients.h"
#include "tests/lib/check.h"

#define CLIENTS  90u
#define EPISODES 600u

static void it_counts_what_each_client_has(void **state)
{
    (void)state;
    struct table_clients clients = {0};
    struct rng rng;
    rng_init(&rng, 5, "clients", 0);
    uint32_t client[EPISODES];
    uint64_t bytes[EPISODES];
    bool there[EPISODES] = {false};
    for (int round = 0; round < 20000; round++) {
        const uint32_t i = (uint32_t)rng_below(&rng, EPISODES);
        if (there[i]) {
            table_clients_take(&clients, client[i], bytes[i]);
        } else {
            client[i] = 64 * (uint32_t)rng_below(&rng, CLIENTS); /* long runs in the map */
            bytes[i] = rng_below(&rng, 1000);
            assert_int_equal(table_clients_reserve(&clients), STATUS_OK);
            table_clients_add(&clients, client[i], bytes[i]);
        }
        there[i] = !there[i];
        const uint32_t one = 64 * (uint32_t)rng_below(&rng, CLIENTS);
        uint64_t n = 0, sum = 0;
        for (uint32_t k = 0; k < EPISODES; k++) {
            n += there[k] && client[k] == one;
            sum += there[k] && client[k] == one ? bytes[k] : 0;
        }
        const struct table_client *found = table_clients_find(&clients, one);
        assert_int_equal(found ? found->episodes : 0, n);
        assert_int_equal(found ? found->bytes : 0, sum);
    }
    table_clients_fini(&clients);
}

static void add(struct table *table, uint64_t id, uint32_t client)
{
    const struct table_episode episode = {.identity = {.episode = id},
                                          .id = id,
                                          .bytes = 100,
                                          .priority = 1,
                                          .n_rows = 11,
                                          .client = client};
    assert_int_equal(table_begin(table, &episode), STATUS_OK);
}

/* OK: an episode of 100 bytes may come. */
static status may_insert(struct table *table, uint32_t client)
{
    struct eviction plan = {0};
    struct err err;
    assert_int_equal(table_plan_eviction(table, 10, 100, &plan, &err), STATUS_OK);
    const status s = table_check_client(table, client, 100, &plan, &err);
    assert_true(s == STATUS_OK || strstr(err.text, "max_client_episodes") != NULL);
    mem_free(plan.ids);
    return s;
}

static void a_client_has_a_quota(void **state)
{
    (void)state;
    struct table_settings settings = {
        .sampler = SELECTOR_UNIFORM,
        .remover = SELECTOR_FIFO,
        .removes = true,
        .limits = {.max_client_episodes = 2, .max_client_bytes = 250}};
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    add(table, 1, 7);
    assert_int_equal(may_insert(table, 7), STATUS_OK);
    add(table, 2, 7);
    /* Pending episodes count. */
    assert_int_equal(may_insert(table, 7), STATUS_FULL);
    assert_int_equal(may_insert(table, 8), STATUS_OK);
    table_commit(table, 1);
    table_cancel(table, 2);
    assert_int_equal(may_insert(table, 7), STATUS_OK);
    add(table, 3, 7);
    table_commit(table, 3);
    add(table, 4, 8);
    table_commit(table, 4);
    assert_true(table_check(table));
    /* Episodes without limit, bytes for two and a half. */
    table_set_limits(table, &(struct table_limits){.max_client_bytes = 250});
    assert_int_equal(may_insert(table, 7), STATUS_FULL);
    table_set_limits(table, &(struct table_limits){.max_client_bytes = 300});
    assert_int_equal(may_insert(table, 7), STATUS_OK);
    /* A full table removes the oldest, which is the client's own: its place is free. */
    table_set_limits(table, &(struct table_limits){.max_client_episodes = 2, .max_episodes = 3});
    assert_int_equal(may_insert(table, 7), STATUS_OK);
    table_set_limits(table, &(struct table_limits){.max_client_episodes = 1, .max_episodes = 3});
    assert_int_equal(may_insert(table, 7), STATUS_FULL);
    assert_int_equal(may_insert(table, 8), STATUS_FULL); /* the oldest is not its own */
    assert_int_equal(may_insert(table, 9), STATUS_OK);
    assert_true(table_remove(table, 1, true));
    assert_true(table_remove(table, 3, false));
    uint32_t client;
    uint64_t episodes, bytes;
    assert_true(table_client(table, 0, &client, &episodes, &bytes));
    assert_true(client == 8 && episodes == 1 && bytes == 100);
    assert_false(table_client(table, 1, &client, &episodes, &bytes));
    assert_true(table_check(table));
    table_free(table);
}

static void where_a_table_waits_so_does_a_client(void **state)
{
    (void)state;
    const struct table_settings settings = {
        .sampler = SELECTOR_FIFO, .waits = true, .limits = {.max_client_episodes = 1}};
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    add(table, 1, 7);
    assert_int_equal(may_insert(table, 7), STATUS_RETRY);
    table_cancel(table, 1);
    assert_int_equal(may_insert(table, 7), STATUS_OK);
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_what_each_client_has),
        cmocka_unit_test(a_client_has_a_quota),
        cmocka_unit_test(where_a_table_waits_so_does_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
