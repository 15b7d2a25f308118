/* The journal: what was acknowledged is there after any cut, flip, failed call or crash, and
 * nothing is there twice. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/journal.h"
#include "common/trajectory/shard_survey.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

#define N 5

static char path[2 * SCRATCH_SIZE];
static struct signature signature;
static struct episode episodes[N];

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "journal");
    trajectories_signature(&signature, 2);
    for (uint32_t i = 0; i < N; i++) {
        trajectories_episode(&episodes[i], &signature, 1 + 3 * i, i + 1, i % 2 == 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        episode_fini(&episodes[i]);
    }
    scratch_remove(scratch_folder);
    return 0;
}

/* Without the syncs of file_replace: thousands of damaged files are made here. */
static void overwrite(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static struct journal *open_journal(const struct dataset_writer *writer,
                                    struct journal_found *found)
{
    struct journal *journal;
    struct err err = {0};
    if (journal_open(&journal, path, &signature, writer, found, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return journal;
}

static struct dataset_writer *open_writer(void)
{
    struct dataset_writer *writer;
    struct err err = {0};
    if (dataset_writer_open(&writer, scratch_folder, &signature, NULL, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return writer;
}

static void append_all(struct journal *journal)
{
    for (int i = 0; i < N; i++) {
        assert_int_equal(journal_append(journal, &episodes[i], NULL), STATUS_OK);
    }
}

/* Episode i of the journal is episode j of ours. */
static void assert_holds(struct journal *journal, uint64_t i, int j)
{
    struct episode back;
    episode_init(&back, signature_width(&signature));
    assert_int_equal(journal_read(journal, i, &back, NULL), STATUS_OK);
    assert_true(trajectories_difference(&back, &episodes[j]) == 0.0);
    assert_int_equal(episode_identity_compare(&back.identity, &episodes[j].identity), 0);
    episode_fini(&back);
}

static void what_is_appended_comes_back(void **state)
{
    (void)state;
    struct journal *journal = open_journal(NULL, NULL);
    append_all(journal);
    const uint64_t bytes = journal_bytes(journal);
    journal_close(journal);
    struct journal_found found;
    journal = open_journal(NULL, &found);
    assert_int_equal(found.episodes, N);
    assert_int_equal(found.corrupt + found.dropped + found.torn_bytes, 0);
    assert_int_equal(journal_episodes(journal), N);
    assert_int_equal(journal_transitions(journal), 1 + 4 + 7 + 10 + 13);
    assert_int_equal(journal_bytes(journal), bytes);
    for (int i = 0; i < N; i++) {
        assert_holds(journal, (uint64_t)i, i);
    }
    journal_close(journal);
}

static void one_process_and_one_signature(void **state)
{
    (void)state;
    struct journal *journal = open_journal(NULL, NULL);
    struct journal *second;
    struct err err = {0};
    assert_int_equal(journal_open(&second, path, &signature, NULL, NULL, &err), STATUS_EXISTS);
    journal_close(journal);
    struct signature other = signature;
    other.action_max[0] = 2;
    assert_int_equal(journal_open(&second, path, &other, NULL, NULL, &err), STATUS_MISMATCH);
    scratch_write(path, "something else, long enough to be a header");
    assert_int_equal(journal_open(&second, path, &signature, NULL, NULL, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, path));
    scratch_write(path, "");
    assert_int_equal(journal_open(&second, path, &signature, NULL, NULL, &err), STATUS_CORRUPT);
}

/* Cuts the file at every byte: all episodes before the cut are there, and appending goes on. */
static void any_torn_end_is_cut(void **state)
{
    (void)state;
    struct journal *journal = open_journal(NULL, NULL);
    uint64_t ends[N];
    for (int i = 0; i < N; i++) {
        assert_int_equal(journal_append(journal, &episodes[i], NULL), STATUS_OK);
        ends[i] = journal_bytes(journal);
    }
    journal_close(journal);
    void *bytes;
    size_t size;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, NULL), STATUS_OK);
    assert_int_equal(size, ends[N - 1]);
    for (size_t n = 32; n < size; n += 23) {
        overwrite(bytes, n);
        uint64_t whole = 0;
        while (ends[whole] <= n) {
            whole++;
        }
        struct journal_found found;
        journal = open_journal(NULL, &found);
        assert_int_equal(found.episodes, whole);
        assert_int_equal(found.torn_bytes, n - (whole > 0 ? ends[whole - 1] : 32));
        assert_int_equal(found.corrupt, 0);
        assert_int_equal(journal_append(journal, &episodes[0], NULL), STATUS_OK);
        journal_close(journal);
        journal = open_journal(NULL, &found);
        assert_int_equal(found.episodes, whole + 1);
        assert_int_equal(found.torn_bytes, 0);
        assert_holds(journal, whole, 0);
        journal_close(journal);
    }
    mem_free(bytes);
}

/* Flips single bytes: the episode hit is lost, the others are there. */
static void damage_costs_one_episode(void **state)
{
    (void)state;
    struct journal *journal = open_journal(NULL, NULL);
    append_all(journal);
    journal_close(journal);
    void *bytes;
    size_t size;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, NULL), STATUS_OK);
    for (size_t i = 32; i < size; i += 11) {
        unsigned char *byte = (unsigned char *)bytes + i;
        *byte ^= 0x10;
        overwrite(bytes, size);
        struct journal_found found;
        journal = open_journal(NULL, &found);
        assert_int_equal(found.episodes, N - 1);
        assert_int_equal(found.corrupt + (found.torn_bytes > 0), 1);
        journal_close(journal);
        *byte ^= 0x10;
    }
    mem_free(bytes);
}

static void failing_appends_leave_nothing(void **state)
{
    (void)state;
    struct journal *journal = open_journal(NULL, NULL);
    assert_int_equal(journal_append(journal, &episodes[0], NULL), STATUS_OK);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        const uint64_t before = journal_bytes(journal);
        struct err err = {0};
        file_fail_at(nth, ENOSPC);
        assert_int_equal(journal_append(journal, &episodes[1], &err), STATUS_FULL);
        file_fail_at(0, 0);
        assert_int_equal(journal_bytes(journal), before);
        assert_int_equal(journal_episodes(journal), nth);
        assert_int_equal(journal_append(journal, &episodes[2], &err), STATUS_OK);
    }
    journal_close(journal);
    struct journal_found found;
    journal = open_journal(NULL, &found);
    assert_int_equal(found.episodes, 4);
    assert_int_equal(found.corrupt + found.torn_bytes, 0);
    assert_holds(journal, 0, 0);
    for (uint64_t i = 1; i < 4; i++) {
        assert_holds(journal, i, 2);
    }
    journal_close(journal);
}

static uint64_t dataset_holds(void)
{
    struct dataset *dataset;
    struct err err = {0};
    if (dataset_open(&dataset, scratch_folder, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    const uint64_t n = dataset_episodes(dataset);
    dataset_close(dataset);
    return n;
}

static void compacting_empties_it_into_a_shard(void **state)
{
    (void)state;
    struct dataset_writer *writer = open_writer();
    struct journal *journal = open_journal(writer, NULL);
    assert_int_equal(journal_compact(journal, writer, NULL), STATUS_OK); /* nothing to do */
    assert_int_equal(dataset_writer_shards(writer), 0);
    append_all(journal);
    assert_int_equal(journal_compact(journal, writer, NULL), STATUS_OK);
    assert_int_equal(journal_episodes(journal), 0);
    assert_int_equal(journal_bytes(journal), 32);
    assert_int_equal(dataset_holds(), N);
    assert_int_equal(journal_append(journal, &episodes[3], NULL), STATUS_OK);
    assert_holds(journal, 0, 3);
    journal_close(journal);
    dataset_writer_close(writer);
}

/* Fails each write and sync of a compaction; then either goes on, or dies and starts again. In the
 * end each episode is there once. */
static void failing_compaction_loses_and_doubles_nothing(void **state)
{
    (void)state;
    for (int restart = 0; restart <= 1; restart++) {
        uint64_t nth = 1;
        for (;; nth++) {
            teardown(NULL);
            setup(NULL);
            struct dataset_writer *writer = open_writer();
            struct journal *journal = open_journal(writer, NULL);
            for (int i = 0; i < N - 1; i++) {
                assert_int_equal(journal_append(journal, &episodes[i], NULL), STATUS_OK);
            }
            file_fail_at(nth, EIO);
            const status s = journal_compact(journal, writer, NULL);
            file_fail_at(0, 0);
            if (s != STATUS_OK && restart) {
                journal_close(journal);
                dataset_writer_close(writer);
                writer = open_writer();
                journal = open_journal(writer, NULL);
            }
            assert_int_equal(journal_append(journal, &episodes[N - 1], NULL), STATUS_OK);
            assert_int_equal(journal_compact(journal, writer, NULL), STATUS_OK);
            assert_int_equal(journal_episodes(journal), 0);
            journal_close(journal);
            dataset_writer_close(writer);
            assert_int_equal(dataset_holds(), N);
            if (s == STATUS_OK) {
                break;
            }
        }
        print_message("%" PRIu64 " points of failure\n", nth - 1);
        assert_true(nth > 10);
    }
}

/* A child that appends and compacts for ever, killed at some time: what it acknowledged through a
 * pipe is there once. */
static void child(int acknowledge)
{
    struct dataset_writer *writer = open_writer();
    struct journal *journal = open_journal(writer, NULL);
    struct dataset *dataset;
    uint64_t kept = 0;
    if (dataset_open(&dataset, scratch_folder, NULL) == STATUS_OK) {
        kept = dataset_episodes(dataset);
        dataset_close(dataset);
    }
    kept += journal_episodes(journal);
    for (;;) {
        struct episode episode;
        trajectories_episode(&episode, &signature, 20, kept + 1, false);
        if (journal_append(journal, &episode, NULL) != STATUS_OK) {
            _exit(1);
        }
        episode_fini(&episode);
        kept++;
        if (write(acknowledge, &kept, sizeof kept) != sizeof kept) {
            _exit(1);
        }
        if (kept % 4 == 0 && journal_compact(journal, writer, NULL) != STATUS_OK) {
            _exit(1);
        }
    }
}

static void killed_processes_lose_and_double_nothing(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (unsigned round = 0; round < 12; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        const pid_t pid = fork();
        if (pid == 0) {
            close(ends[0]);
            child(ends[1]);
        }
        close(ends[1]);
        usleep(20000 + 3777 * round);
        kill(pid, SIGKILL);
        int code;
        assert_int_equal(waitpid(pid, &code, 0), pid);
        assert_true(WIFSIGNALED(code));
        uint64_t acknowledged;
        while (read(ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged) {
            assert_int_equal(acknowledged, last + 1);
            last = acknowledged;
        }
        close(ends[0]);
        /* All there, in order, once: shard after shard, then the journal. One more may be there
         * than was said. */
        struct dataset_writer *writer = open_writer();
        struct journal *journal = open_journal(writer, NULL);
        const uint64_t kept = dataset_holds() + journal_episodes(journal);
        assert_in_range(kept, last, last + 1);
        struct dataset *dataset;
        assert_int_equal(dataset_open(&dataset, scratch_folder, NULL), STATUS_OK);
        uint64_t expected = 1;
        for (size_t i = 0; i < dataset_n_shards(dataset); i++) {
            struct shard_survey survey;
            assert_int_equal(shard_survey(&survey, dataset_shard(dataset, i)->path, NULL),
                             STATUS_OK);
            for (uint64_t j = 0; j < survey.episodes; j++) {
                assert_int_equal(survey.origins[j].episode, expected++);
            }
            mem_free(survey.origins);
        }
        dataset_close(dataset);
        struct episode back;
        episode_init(&back, signature_width(&signature));
        for (uint64_t i = 0; i < journal_episodes(journal); i++) {
            assert_int_equal(journal_read(journal, i, &back, NULL), STATUS_OK);
            assert_int_equal(back.identity.episode, expected++);
        }
        episode_fini(&back);
        assert_int_equal(expected, kept + 1);
        last = kept;
        journal_close(journal);
        dataset_writer_close(writer);
    }
    print_message("%" PRIu64 " episodes over 12 kills\n", last);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_appended_comes_back),
        TEST(one_process_and_one_signature),
        TEST(any_torn_end_is_cut),
        TEST(damage_costs_one_episode),
        TEST(failing_appends_leave_nothing),
        TEST(compacting_empties_it_into_a_shard),
        TEST(failing_compaction_loses_and_doubles_nothing),
        TEST(killed_processes_lose_and_double_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
