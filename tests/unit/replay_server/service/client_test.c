/* Clients of a replay server: their rate as a debt that is paid back; who is remembered. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "replay_server/service/client.h"
#include "tests/lib/check.h"

#define RATE 1000.0

static void nobody_inserts_faster_than_the_rate(void **state)
{
    (void)state;
    struct client *clients = NULL;
    struct client *client = client_enter(&clients, "alice");
    uint64_t inserted = 0;
    const uint64_t begin_ns = 5 * NS_PER_S;
    /* Asks every 10 ms for 20 s to insert 300 bytes, and once for much more than a second's worth. */
    for (uint64_t t = 0; t < 2000; t++) {
        const uint64_t now_ns = begin_ns + t * 10 * NS_PER_MS;
        assert_true(client_may_insert(client, 0, now_ns));
        if (client_may_insert(client, RATE, now_ns)) {
            const uint64_t bytes = t > 500 && inserted < 8000 ? 4000 : 300;
            client_count_insert(client, bytes);
            inserted += bytes;
        }
        /* The rate, one second's worth, and one episode. */
        assert_true((double)inserted <= RATE * (1 + (double)t / 100) + 4000);
    }
    assert_true((double)inserted >= 20 * RATE);
    client_leave(client);
    clients_free(clients);
}

static void those_who_owe_or_insert_are_remembered(void **state)
{
    (void)state;
    struct client *clients = NULL;
    struct client *alice = client_enter(&clients, "alice");
    struct client *bob = client_enter(&clients, "bob");
    assert_ptr_equal(client_enter(&clients, "alice"), alice);
    assert_int_not_equal(alice->number, bob->number);
    const uint32_t number = bob->number;
    client_count_insert(bob, 1000);
    client_leave(bob);
    for (int i = 0; i < 400; i++) {
        char name[32];
        snprintf(name, sizeof name, "host-%d", i);
        client_leave(client_enter(&clients, name));
    }
    bob->repaid_ns = alice->repaid_ns = 0;
    clients_trim(&clients, RATE, NS_PER_S / 2);
    assert_string_equal(client_name(clients, number), "bob");
    assert_string_equal(client_name(clients, alice->number), "alice");
    clients_trim(&clients, RATE, 2 * NS_PER_S);
    assert_null(client_name(clients, number)); /* the last of more than 256 without streams */
    assert_string_equal(client_name(clients, alice->number), "alice");
    assert_null(client_name(clients, 0));
    client_leave(NULL);
    clients_free(clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_inserts_faster_than_the_rate),
        cmocka_unit_test(those_who_owe_or_insert_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
