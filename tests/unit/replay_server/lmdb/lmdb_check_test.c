/* The check of the store's file: a sound one passes, a cut one does not, and no flipped bit makes
 * it (or LMDB after it) read where nothing is. tests/fuzz/fuzz_store.c goes further. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replay_server/store/store.h"
#include "tests/lib/check.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

#define PAGE 4096u

static char path[2 * SCRATCH_SIZE];
static uint8_t *sound;
static size_t size;

static int set_up(void **state)
{
    (void)state;
    char store_path[2 * SCRATCH_SIZE];
    struct store *store = NULL;
    struct signature signature;
    struct err err = {0};
    bool scan;
    scratch_make(scratch_folder);
    const struct store_settings settings = {.path =
                                                scratch_path(store_path, scratch_folder, "store"),
                                            .map_bytes = 16 << 20,
                                            .durability = STORE_NONE};
    scratch_path(path, scratch_folder, "store/data.mdb");
    trajectories_signature(&signature, 2);
    assert_int_equal(store_check_file(path, &err), STATUS_OK); /* absent */
    assert_int_equal(store_open(&store, &settings, &scan, &err), STATUS_OK);
    for (uint32_t i = 0; i < 60; i++) {
        struct episode episode;
        const uint64_t id = store_next_chunk(store);
        replay_episode(&episode, &signature, i, i % 20 == 0 ? 500 : 3);
        assert_int_equal(store_begin(store, &err), STATUS_OK);
        replay_store_episode(store, id, &episode);
        if (i % 4 == 3) {
            assert_int_equal(store_remove_episode(store, id, &err), STATUS_OK);
        }
        assert_int_equal(store_commit(store, &err), STATUS_OK);
        episode_fini(&episode);
    }
    store_close(store);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    sound = malloc(1 << 24);
    size = fread(sound, 1, 1 << 24, file);
    fclose(file);
    return size == 0 || size % PAGE != 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(sound);
    scratch_remove(scratch_folder);
    return 0;
}

static void write_file(const uint8_t *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void a_sound_file_passes(void **state)
{
    (void)state;
    struct err err = {0};
    write_file(sound, size);
    assert_int_equal(store_check_file(path, &err), STATUS_OK);
    write_file(sound, 0); /* LMDB will begin in it */
    assert_int_equal(store_check_file(path, &err), STATUS_OK);
}

static void a_cut_file_does_not(void **state)
{
    (void)state;
    struct err err = {0};
    for (size_t n = 1; n < size / 2; n += n < 2 * PAGE ? 511 : PAGE) {
        write_file(sound, n);
        assert_int_equal(store_check_file(path, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.text, "the file ends here"));
        assert_non_null(strstr(err.text, path));
    }
    memset(err.text, 0, sizeof err.text);
    write_file((const uint8_t *)"not a store, but a text of some length", 38);
    assert_int_equal(store_check_file(path, &err), STATUS_CORRUPT);
}

/* One bit of every byte where pages begin, and of some further in. */
static void flipped_bits_are_survived_and_mostly_named(void **state)
{
    (void)state;
    unsigned refused = 0, passed = 0;
    FILE *file = NULL;
    write_file(sound, size);
    file = fopen(path, "r+b");
    assert_non_null(file);
    setbuf(file, NULL);
    for (size_t at = 0; at < size; at += at % PAGE < 192 ? 1 : 61) {
        const uint8_t flipped = sound[at] ^ (uint8_t)(1u << at % 8);
        struct err err = {0};
        assert_int_equal(pwrite(fileno(file), &flipped, 1, (off_t)at), 1);
        const status s = store_check_file(path, &err);
        if (s == STATUS_OK) {
            passed++; /* in rows, in records with checksums of their own, in free pages */
        } else {
            assert_true(s == STATUS_CORRUPT || s == STATUS_INVALID);
            assert_non_null(strstr(err.text, "page "));
            refused++;
        }
        assert_int_equal(pwrite(fileno(file), &sound[at], 1, (off_t)at), 1);
    }
    fclose(file);
    print_message("%u flips refused, %u not noticed here\n", refused, passed);
    assert_true(refused > 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_file_passes),
        cmocka_unit_test(a_cut_file_does_not),
        cmocka_unit_test(flipped_bits_are_survived_and_mostly_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
