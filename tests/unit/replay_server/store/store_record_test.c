/* The store's records: there and back, and no flipped bit goes unseen. */
#include <string.h>

#include "common/base/memory.h"
#include "replay_server/store/store_record.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

#define WIDTH 9u
#define ROWS  11u

static void chunks_are_checked_whole(void **state)
{
    (void)state;
    uint8_t chunk[STORE_CHUNK_HEADER + ROWS * WIDTH * 4];
    for (size_t i = 0; i < sizeof chunk; i++) {
        chunk[i] = (uint8_t)(i * 31);
    }
    chunk_header_write(chunk, 77, ROWS, WIDTH);
    assert_true(chunk_header_check(chunk, sizeof chunk, 77, ROWS, WIDTH, true));
    assert_false(chunk_header_check(chunk, sizeof chunk - 1, 77, ROWS, WIDTH, true));
    assert_false(chunk_header_check(chunk, sizeof chunk, 78, ROWS, WIDTH, true));
    assert_false(chunk_header_check(chunk, sizeof chunk, 77, ROWS - 1, WIDTH, false));
    assert_false(chunk_header_check(chunk, sizeof chunk, 77, WIDTH, ROWS, false));
    for (size_t bit = 0; bit < 8 * sizeof chunk; bit++) {
        chunk[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(chunk_header_check(chunk, sizeof chunk, 77, ROWS, WIDTH, true));
        chunk[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void an_episode_comes_back(void **state)
{
    (void)state;
    const struct store_episode episode = {.id = 1234567,
                                          .table = 3,
                                          .n_rows = 1001,
                                          .W = 27,
                                          .restored = true,
                                          .client = 0x89abcdef,
                                          .times_sampled = 77,
                                          .priority = 2.5,
                                          .identity = {1, 2, 3, 1ull << 63}};
    uint8_t bytes[EPISODE_RECORD_SIZE];
    episode_record_write(bytes, &episode);
    struct store_episode back;
    assert_true(episode_record_read(&back, episode.id, bytes, sizeof bytes));
    assert_int_equal(back.id, episode.id);
    assert_int_equal(back.table, 3);
    assert_int_equal(back.n_rows, 1001);
    assert_int_equal(back.W, 27);
    assert_true(back.restored && back.priority == 2.5);
    assert_int_equal(back.client, 0x89abcdef);
    assert_int_equal(back.times_sampled, 77);
    assert_int_equal(episode_identity_compare(&back.identity, &episode.identity), 0);
    assert_false(episode_record_read(&back, 1, bytes, sizeof bytes - 1));
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(episode_record_read(&back, 1, bytes, sizeof bytes));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    /* A good checksum over nonsense is refused too. */
    struct store_episode bad = episode;
    bad.n_rows = 1;
    episode_record_write(bytes, &bad);
    assert_false(episode_record_read(&back, 1, bytes, sizeof bytes));
    bad = episode;
    bad.priority = 0;
    episode_record_write(bytes, &bad);
    assert_false(episode_record_read(&back, 1, bytes, sizeof bytes));
}

static void a_writer_comes_back(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 4, WRITER_CURSOR_MAX};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct store_writer writer = {.name = "a",
                                      .done = k % 2,
                                      .generation = 4,
                                      .last_sequence = 1ull << 40,
                                      .cursor_size = sizes[k]};
        memset(writer.cursor, 0x5a, sizes[k]);
        uint8_t bytes[WRITER_RECORD_MAX];
        const size_t size = writer_record_write(bytes, &writer);
        struct store_writer back = {0};
        assert_true(writer_record_read(&back, bytes, size));
        assert_int_equal(back.done, writer.done);
        assert_int_equal(back.generation, 4);
        assert_int_equal(back.last_sequence, 1ull << 40);
        assert_int_equal(back.cursor_size, sizes[k]);
        assert_memory_equal(back.cursor, writer.cursor, sizes[k]);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(writer_record_read(&back, bytes, size));
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_false(writer_record_read(&back, bytes, size - 1));
    }
}

static void tables_and_histories_come_back(void **state)
{
    (void)state;
    struct store_table table = {.number = 7, .sealed = true};
    trajectories_signature(&table.signature, 2);
    void *bytes;
    size_t size;
    struct err err;
    assert_int_equal(table_record_write(&bytes, &size, &table, &err), STATUS_OK);
    struct store_table back = {0};
    assert_int_equal(table_record_read(&back, bytes, size, &err), STATUS_OK);
    assert_int_equal(back.number, 7);
    assert_true(back.sealed);
    uint32_t map[SIGNATURE_TASKS_MAX];
    assert_int_equal(signature_match(&back.signature, &table.signature, map, &err), STATUS_OK);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        ((uint8_t *)bytes)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(table_record_read(&back, bytes, size, &err), STATUS_CORRUPT);
        ((uint8_t *)bytes)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    mem_free(bytes);

    struct store_history history = {.table = 7};
    for (uint64_t i = 0; i < STORE_HISTORY; i++) {
        history.counts[i] = i << 33 | 5;
    }
    uint8_t record[HISTORY_RECORD_SIZE];
    history_record_write(record, &history);
    struct store_history again;
    assert_true(history_record_read(&again, record, sizeof record));
    assert_int_equal(again.table, 7);
    assert_memory_equal(again.counts, history.counts, sizeof history.counts);
    record[20] ^= 4;
    assert_false(history_record_read(&again, record, sizeof record));
}

static void another_format_is_named(void **state)
{
    (void)state;
    uint8_t bytes[STORE_RECORD_SIZE];
    uint64_t next = 0;
    uint32_t format = 0;
    struct err err;
    store_record_write(bytes, 99);
    assert_int_equal(store_record_read(&next, &format, bytes, sizeof bytes, &err), STATUS_OK);
    assert_int_equal(next, 99);
    assert_int_equal(format, STORE_FORMAT);
    bytes[9] ^= 1;
    assert_int_equal(store_record_read(&next, &format, bytes, sizeof bytes, &err), STATUS_CORRUPT);
    bytes[4] = 200;
    assert_int_equal(store_record_read(&next, &format, bytes, sizeof bytes, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "format 200"));
    bytes[0] = 'x';
    assert_int_equal(store_record_read(&next, &format, bytes, sizeof bytes, &err), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_checked_whole),
        cmocka_unit_test(an_episode_comes_back),
        cmocka_unit_test(a_writer_comes_back),
        cmocka_unit_test(tables_and_histories_come_back),
        cmocka_unit_test(another_format_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
