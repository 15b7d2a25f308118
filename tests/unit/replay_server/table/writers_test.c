/* Writers: names, finding, generations. */
#include <stdio.h>
#include <string.h>

#include "common/base/rng.h"
#include "replay_server/table/writers.h"
#include "tests/lib/check.h"

static void names_are_checked(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(writers_check_name("writer", "restorer-0/a_b.C", 128, &err), STATUS_OK);
    assert_int_equal(writers_check_name("writer", "", 128, &err), STATUS_INVALID);
    assert_int_equal(writers_check_name("writer", "abcde", 4, &err), STATUS_INVALID);
    assert_string_equal(err.text, "writer: 5 characters, expected 1..4");
    assert_int_equal(writers_check_name("table", "a b", 64, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "table: byte 1 (0x20)"));
    assert_int_equal(writers_check_name("table", "a\xc3\xa4", 64, &err), STATUS_INVALID);
}

static void a_writer_is_found_again_and_generations_rise(void **state)
{
    (void)state;
    struct writers writers = {0};
    struct writer *a, *b;
    struct err err;
    assert_null(writers_find(&writers, "a"));
    assert_int_equal(writers_add(&writers, "a", &a, &err), STATUS_OK);
    for (int i = 0; i < 100; i++) { /* addresses stay as the list grows */
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        assert_int_equal(writers_add(&writers, name, &b, &err), STATUS_OK);
    }
    assert_int_equal(writers_add(&writers, "a", &b, &err), STATUS_OK);
    assert_ptr_equal(a, b);
    assert_int_equal(writers.n, 101);

    assert_int_equal(writer_open(a, 0, &err), STATUS_OK);
    assert_int_equal(a->generation, 1);
    assert_int_equal(writer_open(a, 1, &err), STATUS_OK);
    assert_int_equal(writer_open(a, 5, &err), STATUS_OK);
    assert_int_equal(writer_open(a, 4, &err), STATUS_MISMATCH);
    assert_int_equal(a->generation, 5);
    assert_int_equal(writer_open(a, 0, &err), STATUS_OK);
    assert_int_equal(a->generation, 6);

    assert_int_equal(writers_n_done(&writers), 0);
    a->done = true;
    assert_int_equal(writers_n_done(&writers), 1);
    writers_fini(&writers);
}

static void a_generation_at_the_end_of_its_range_is_refused(void **state)
{
    (void)state;
    struct writers writers = {0};
    struct writer *writer;
    struct err err;
    assert_int_equal(writers_add(&writers, "w", &writer, &err), STATUS_OK);
    assert_int_equal(writer_open(writer, UINT64_MAX, &err), STATUS_INVALID);
    assert_int_equal(writer_open(writer, WRITER_NUMBER_MAX + 1, &err), STATUS_INVALID);
    assert_int_equal(writer->generation, 0);
    /* After the largest one that a client may give, a server gives further ones. */
    assert_int_equal(writer_open(writer, WRITER_NUMBER_MAX, &err), STATUS_OK);
    assert_int_equal(writer_open(writer, 0, &err), STATUS_OK);
    assert_int_equal(writer->generation, WRITER_NUMBER_MAX + 1);
    writers_fini(&writers);
}

static void all_writers_seal_with_the_same_number(void **state)
{
    (void)state;
    struct writers writers = {0};
    struct writer *a, *b;
    struct err err;
    assert_int_equal(writers_add(&writers, "a", &a, &err), STATUS_OK);
    assert_int_equal(writers_add(&writers, "b", &b, &err), STATUS_OK);
    assert_int_equal(writer_finish(a, &writers, 2, &err), STATUS_OK);
    assert_int_equal(writer_finish(b, &writers, 1, &err), STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "writer b seals with n_writers 1, writer a did with 2"));
    assert_false(b->done);
    assert_int_equal(writers_n_done(&writers), 1);
    assert_int_equal(writer_finish(a, &writers, 2, &err), STATUS_OK); /* again */
    assert_int_equal(writer_finish(b, &writers, 2, &err), STATUS_OK);
    assert_int_equal(writers_n_done(&writers), 2);
    writers_fini(&writers);
}

/* Random histories against the three numbers that a plain reading of writers.h gives. */
static void random_histories_never_skip(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct writers writers = {0};
        struct writer *writer;
        struct rng rng;
        rng_init(&rng, seed, "writers", 0);
        assert_int_equal(writers_add(&writers, "w", &writer, NULL), STATUS_OK);
        uint64_t committed = 0, queued = 0, epoch = 1;
        for (int round = 0; round < 300; round++) {
            switch (rng_below(&rng, 4)) {
            case 0:
            case 1: /* handed to the store */
                writer->queued = ++queued;
                break;
            case 2: /* the next one comes back well */
                if (committed < queued) {
                    const uint8_t cursor = (uint8_t)++committed;
                    writer_commit(writer, committed, &cursor, 1);
                    assert_int_equal(writer->cursor[0], cursor);
                }
                break;
            default: /* one comes back failed: of this epoch, or of one that has failed before */
                if (rng_below(&rng, 2)) {
                    writer_fail(writer, epoch++);
                    queued = committed;
                } else if (epoch > 1) {
                    writer_fail(writer, 1 + rng_below(&rng, epoch - 1));
                }
            }
            assert_int_equal(writer->committed, committed);
            assert_int_equal(writer->queued, queued);
            assert_int_equal(writer->epoch, epoch);
        }
        writers_fini(&writers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(a_writer_is_found_again_and_generations_rise),
        cmocka_unit_test(a_generation_at_the_end_of_its_range_is_refused),
        cmocka_unit_test(all_writers_seal_with_the_same_number),
        cmocka_unit_test(random_histories_never_skip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
