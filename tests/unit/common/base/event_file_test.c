/* Event files, byte by byte: records are whole and sound, also after a disk that was full. What
 * TensorBoard makes of them: tests/integration/test_insight.py. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/event.pb-c.h"
#include "common/base/event_file.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static uint64_t number_at(const uint8_t *bytes, int n)
{
    uint64_t value = 0;
    for (int i = n; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* The records of the only file in the folder, unpacked; returns how many. */
static size_t read_events(Hindcast__Event__Event **events, size_t max)
{
    char path[4 * SCRATCH_SIZE] = "";
    DIR *folder = opendir(scratch_folder);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strstr(entry->d_name, "tfevents") != NULL) {
            assert_string_equal(path, "");
            snprintf(path, sizeof path, "%s/%s", scratch_folder, entry->d_name);
        }
    }
    closedir(folder);
    void *content;
    size_t size = 0, n = 0;
    assert_int_equal(file_read(path, 1 << 24, &content, &size, NULL), STATUS_OK);
    const uint8_t *bytes = content;
    for (size_t at = 0; at < size; n++) {
        assert_true(size - at >= 16 && n < max);
        const uint64_t length = number_at(bytes + at, 8);
        assert_int_equal(number_at(bytes + at + 8, 4), event_file_masked_crc(bytes + at, 8));
        assert_true(length <= size - at - 16);
        const uint8_t *message = bytes + at + 12;
        assert_int_equal(number_at(message + length, 4), event_file_masked_crc(message, length));
        events[n] = hindcast__event__event__unpack(NULL, length, message);
        assert_non_null(events[n]);
        at += 16 + length;
    }
    mem_free(content);
    return n;
}

static void free_events(Hindcast__Event__Event **events, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        hindcast__event__event__free_unpacked(events[i], NULL);
    }
}

static void the_checksum_is_castagnolis(void **state)
{
    (void)state;
    /* CRC32C of "123456789" is e3069283 (RFC 3720's polynomial), here rotated by 15 and moved. */
    const uint32_t crc = 0xe3069283u;
    assert_int_equal(event_file_masked_crc("123456789", 9),
                     (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u));
}

static void points_come_back(void **state)
{
    (void)state;
    struct event_file *file;
    const struct event_scalar scalars[] = {{"loss", 0.5}, {"kl/0", 0}, {"odd", (double)NAN}};
    assert_int_equal(event_file_open(&file, scratch_folder, 41, NULL), STATUS_OK);
    event_file_add(file, 50, scalars, 3);
    event_file_add(file, 60, scalars, 1);
    event_file_close(file);
    Hindcast__Event__Event *events[8];
    const size_t n = read_events(events, 8);
    assert_int_equal(n, 4);
    assert_string_equal(events[0]->file_version, "brain.Event:2");
    assert_int_equal(events[1]->step, 41);
    assert_int_equal(events[1]->session_log->status, 1);
    assert_int_equal(events[2]->step, 50);
    assert_int_equal(events[2]->summary->n_value, 3);
    assert_string_equal(events[2]->summary->value[1]->tag, "kl/0");
    /* A zero is there, not left out. */
    assert_int_equal(events[2]->summary->value[1]->value_case,
                     HINDCAST__EVENT__SUMMARY__VALUE__VALUE_SIMPLE_VALUE);
    assert_true(isnan(events[2]->summary->value[2]->simple_value));
    assert_true(events[3]->summary->value[0]->simple_value == 0.5f);
    assert_true(events[3]->wall_time > 1.6e9);
    free_events(events, n);
}

static void a_full_disk_costs_points_not_the_file(void **state)
{
    (void)state;
    struct event_file *file;
    static struct event_scalar scalars[EVENT_SCALARS_MAX];
    for (size_t i = 0; i < EVENT_SCALARS_MAX; i++) {
        memset(scalars[i].tag, 'x', EVENT_TAG_SIZE - 1);
    }
    assert_int_equal(event_file_open(&file, scratch_folder, 0, NULL), STATUS_OK);
    file_fail_at(1, ENOSPC);
    for (uint64_t step = 1; step <= 8; step++) { /* each more than a third of the buffer */
        event_file_add(file, step, scalars, EVENT_SCALARS_MAX);
    }
    file_fail_at(0, 0);
    event_file_close(file);
    Hindcast__Event__Event *events[16];
    const size_t n = read_events(events, 16);
    assert_true(n > 2 && n < 10); /* some were lost, the rest is sound */
    assert_int_equal(events[n - 1]->step, 8);
    free_events(events, n);
}

/* A write that went half way, as on a disk that fills up: the file goes on where it was whole. */
static void half_a_write_leaves_no_hole(void **state)
{
    (void)state;
    struct event_file *file;
    const struct event_scalar scalar = {"loss", 0.5};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit tight = before;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(event_file_open(&file, scratch_folder, 0, NULL), STATUS_OK);
    tight.rlim_cur = 4096; /* in the middle of a record of the first write */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    static struct event_scalar many[EVENT_SCALARS_MAX];
    for (size_t i = 0; i < EVENT_SCALARS_MAX; i++) {
        memset(many[i].tag, 'x', EVENT_TAG_SIZE - 1);
    }
    for (uint64_t step = 1; step <= 4; step++) { /* each more than a third of the buffer */
        event_file_add(file, step, many, EVENT_SCALARS_MAX);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    event_file_add(file, 9, &scalar, 1);
    event_file_close(file);
    Hindcast__Event__Event *events[16];
    const size_t n = read_events(events, 16);
    assert_true(n > 2 && n < 7); /* some were lost, the rest is sound */
    assert_int_equal(events[n - 1]->step, 9);
    free_events(events, n);
}

static void what_cannot_be_opened_is_said(void **state)
{
    (void)state;
    struct event_file *file;
    struct err err;
    char *blocked = scratch_at("blocked");
    scratch_write(blocked, "a file");
    assert_true(event_file_open(&file, blocked, 0, &err) != STATUS_OK);
    assert_non_null(strstr(err.text, "blocked"));
    for (uint64_t nth = 1;; nth++) {
        memory_fail_at(nth);
        const status s = event_file_open(&file, scratch_folder, 0, NULL);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            event_file_close(file);
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
}

int main(void)
{
    log_open("test", LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_castagnolis),
        cmocka_unit_test_setup_teardown(points_come_back, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_costs_points_not_the_file, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(half_a_write_leaves_no_hole, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_opened_is_said, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
