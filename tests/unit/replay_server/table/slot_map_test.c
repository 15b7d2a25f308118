/* The slot map against a plain list, with hashes that collide. */
#include "common/base/rng.h"
#include "replay_server/table/slot_map.h"
#include "tests/lib/check.h"

#define SLOTS 300u

static uint32_t count_in_map(const struct slot_map *map, uint32_t hash, uint32_t slot)
{
    size_t cursor = 0;
    uint32_t n = 0, found;
    while ((found = slot_map_next(map, hash, &cursor)) != SLOT_NONE) {
        n += found == slot;
    }
    return n;
}

static void it_holds_what_was_put_and_not_removed(void **state)
{
    (void)state;
    struct slot_map map = {0};
    struct rng rng;
    rng_init(&rng, 3, "slot_map", 0);
    uint32_t hashes[SLOTS];
    bool there[SLOTS] = {false};
    for (uint32_t s = 0; s < SLOTS; s++) {
        /* Few values, all near the end of a small map: long runs that wrap. */
        hashes[s] = (uint32_t)(60 + rng_below(&rng, 8) + 64 * rng_below(&rng, 3));
    }
    for (int round = 0; round < 5000; round++) {
        const uint32_t s = (uint32_t)rng_below(&rng, SLOTS);
        if (there[s]) {
            slot_map_remove(&map, hashes[s], s);
        } else {
            assert_int_equal(slot_map_reserve(&map), STATUS_OK);
            slot_map_put(&map, hashes[s], s);
        }
        there[s] = !there[s];
        if (round % 50 == 0) {
            size_t n = 0;
            for (uint32_t i = 0; i < SLOTS; i++) {
                assert_int_equal(count_in_map(&map, hashes[i], i), there[i]);
                n += there[i];
            }
            assert_int_equal(map.n, n);
        }
    }
    slot_map_clear(&map);
    assert_int_equal(map.n, 0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(count_in_map(&map, hashes[i], i), 0);
    }
    slot_map_fini(&map);
    size_t cursor = 0;
    assert_int_equal(slot_map_next(&map, 5, &cursor), SLOT_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_holds_what_was_put_and_not_removed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
