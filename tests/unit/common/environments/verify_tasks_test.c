/* The checker, checked: verify_tasks must refuse recordings that were tampered with.
 *
 * Arguments: the verify_tasks program, a good recording of 60 steps of hopper-hop, one of start
 * states of finger-turn_easy, and one of 30 steps of sawyer-stack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#define HEADER_BYTES 72
#define START        36 /* doubles before the first record: qpos 7, qvel 7, warm start 7, obs 15 */
#define RECORD       36 /* action 4, obs 15, reward, discount, step type, qpos 7, qvel 7 */

static const char *program, *recording, *starts, *sawyer;
static char path[2 * SCRATCH_SIZE];
static unsigned char *good;
static size_t size;

/* Runs verify_tasks with an option on the folder (and one task, where not NULL); its exit status. */
static int verify_option(const char *option, const char *task)
{
    char command[1024];
    (void)snprintf(command, sizeof command, "'%s' %s %s %s > /dev/null", program, option,
                   scratch_folder, task == NULL ? "" : task);
    int result = system(command); /* NOLINT: fixed words and our own paths */
    assert_true(WIFEXITED(result));
    return WEXITSTATUS(result);
}

static int verify(const char *task)
{
    return verify_option("", task);
}

static void write_recording(const unsigned char *bytes, size_t n)
{
    struct err err = {0};
    const struct file_part part = {bytes, n};
    if (file_replace(path, &part, 1, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

/* Adds `amount` to the double at `index` after the header. */
static int verify_with(size_t index, double amount)
{
    unsigned char *bytes = mem_new(size);
    assert_non_null(bytes);
    memcpy(bytes, good, size);
    double value;
    memcpy(&value, bytes + HEADER_BYTES + 8 * index, sizeof value);
    value += amount;
    memcpy(bytes + HEADER_BYTES + 8 * index, &value, sizeof value);
    write_recording(bytes, size);
    mem_free(bytes);
    return verify(NULL);
}

static void good_recordings_pass(void **state)
{
    (void)state;
    write_recording(good, size);
    assert_int_equal(verify(NULL), 0);
    assert_int_equal(verify("hopper-hop"), 0);
}

static void every_quantity_is_looked_at(void **state)
{
    (void)state;
    static const struct {
        size_t index;
        const char *what;
    } places[] = {
        {2, "start qpos"},
        {9, "start qvel"},
        {16, "start warm start"},
        {25, "start observation"},
        {START + 40 * RECORD + 6, "observation"},
        {START + 40 * RECORD + 19, "reward"},
        {START + 40 * RECORD + 20, "discount"},
        {START + 40 * RECORD + 21, "step type"},
        {START + 40 * RECORD + 24, "qpos"},
        {START + 40 * RECORD + 33, "qvel"},
        {START + 59 * RECORD + 35, "last number"},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (verify_with(places[i].index, 1e-4) == 0) {
            fail_msg("a changed %s passed", places[i].what);
        }
    }
    assert_int_equal(verify_with(2, 0.0), 0);
}

static void headers_are_checked(void **state)
{
    (void)state;
    static const size_t places[] = {0, 9, 40, 44, 48, 52, 56, 60, 64, 68}; /* magic .. nobs */
    unsigned char *bytes = mem_new(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        memcpy(bytes, good, size);
        bytes[places[i]] ^= 1u;
        write_recording(bytes, size);
        if (verify(NULL) == 0) {
            fail_msg("byte %zu of the header changed, and passed", places[i]);
        }
    }
    mem_free(bytes);
    write_recording(good, size - 8);
    assert_int_not_equal(verify(NULL), 0);
    write_recording(good, 20);
    assert_int_not_equal(verify(NULL), 0);
}

static void absent_files_fail(void **state)
{
    (void)state;
    write_recording(good, size);
    assert_int_not_equal(verify("walker-walk"), 0);
    assert_int_not_equal(verify("no-such-task"), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_not_equal(verify(NULL), 0);
}

/* Start states: all of them are looked at, to the last bit where that is asked for. */
static void start_states_are_looked_at(void **state)
{
    (void)state;
    enum { NQ = 3, NV = 3, OBSERVED = 12, WIDTH = NQ + NV + NV + OBSERVED, STARTS = 8 };
    static const size_t places[] = {
        1, NQ, NQ + NV, NQ + NV + NV + 9, (STARTS - 1) * WIDTH, STARTS * WIDTH - 1};
    char starts_path[2 * SCRATCH_SIZE];
    struct err err = {0};
    void *bytes = NULL;
    size_t n_bytes;
    assert_int_equal(file_read(starts, (size_t)1 << 20, &bytes, &n_bytes, &err), STATUS_OK);
    assert_int_equal(n_bytes, HEADER_BYTES + 8 * STARTS * WIDTH);
    scratch_path(starts_path, scratch_folder, "finger-turn_easy_starts.bin");
    const struct file_part part = {bytes, n_bytes};
    assert_int_equal(file_replace(starts_path, &part, 1, &err), STATUS_OK);
    assert_int_equal(verify("finger-turn_easy"), 0);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        static const double changes[] = {1e-4, 1e-12};
        double *value = (double *)(void *)((char *)bytes + HEADER_BYTES) + places[i], kept = *value;
        for (size_t k = 0; k < 2; k++) {
            *value = kept + changes[k];
            assert_int_equal(file_replace(starts_path, &part, 1, &err), STATUS_OK);
            assert_int_equal(verify("finger-turn_easy") != 0, k == 0);
            assert_int_not_equal(verify_option("--same-machine", "finger-turn_easy"), 0);
        }
        *value = kept;
    }
    assert_int_equal(unlink(starts_path), 0);
    mem_free(bytes);
}

/* Everything that a recording of the Sawyer domain holds of a step, and its header. */
static void sawyer_recordings_are_looked_at(void **state)
{
    (void)state;
    enum {
        STATE = 29 + 27 + 8 + 27,
        STEPS_AT = STATE + 58 + 9,
        WIDTH = 5 + 58 + 9 + 2 + STATE + 8
    };
    enum { TENTH = STEPS_AT + 10 * WIDTH, TENTH_STATE = TENTH + 5 + 58 + 9 + 2 };
    static const size_t places[] = {2,
                                    STATE + 3,
                                    STATE + 58 + 2,
                                    TENTH,
                                    TENTH + 5 + 26,
                                    TENTH + 63 + 7,
                                    TENTH + 72,
                                    TENTH + 73,
                                    TENTH_STATE + 20,
                                    TENTH_STATE + 30,
                                    TENTH_STATE + 60,
                                    TENTH_STATE + STATE + 1};
    static const size_t header[] = {0, 3, 8, 40, 44, 48, 52, 56, 60, 64, 68};
    char sawyer_path[2 * SCRATCH_SIZE];
    struct err err = {0};
    void *bytes = NULL;
    size_t n_bytes;
    assert_int_equal(file_read(sawyer, (size_t)1 << 20, &bytes, &n_bytes, &err), STATUS_OK);
    assert_int_equal(n_bytes, HEADER_BYTES + 8 * (STEPS_AT + 30 * WIDTH));
    scratch_path(sawyer_path, scratch_folder, "sawyer_x.bin");
    const struct file_part part = {bytes, n_bytes};
    assert_int_equal(file_replace(sawyer_path, &part, 1, &err), STATUS_OK);
    assert_int_equal(verify("sawyer"), 0);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        double *value = (double *)(void *)((char *)bytes + HEADER_BYTES) + places[i], kept = *value;
        *value = kept + 1e-2;
        assert_int_equal(file_replace(sawyer_path, &part, 1, &err), STATUS_OK);
        if (verify("sawyer") == 0) {
            fail_msg("number %zu changed, and passed", places[i]);
        }
        *value = kept;
    }
    for (size_t i = 0; i < sizeof header / sizeof header[0]; i++) {
        ((char *)bytes)[header[i]] ^= 1;
        assert_int_equal(file_replace(sawyer_path, &part, 1, &err), STATUS_OK);
        if (verify("sawyer") == 0) {
            fail_msg("byte %zu of the header changed, and passed", header[i]);
        }
        ((char *)bytes)[header[i]] ^= 1;
    }
    assert_int_equal(unlink(sawyer_path), 0);
    mem_free(bytes);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_recordings_pass),
        cmocka_unit_test(every_quantity_is_looked_at),
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(absent_files_fail),
        cmocka_unit_test(start_states_are_looked_at),
        cmocka_unit_test(sawyer_recordings_are_looked_at),
    };
    if (argc != 5) {
        return 2;
    }
    program = argv[1];
    recording = argv[2];
    starts = argv[3];
    sawyer = argv[4];
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "hopper-hop_x.bin");
    void *bytes = NULL;
    if (file_read(recording, (size_t)1 << 20, &bytes, &size, &err) != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    good = bytes;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mem_free(bytes);
    scratch_remove(scratch_folder);
    return failed;
}
