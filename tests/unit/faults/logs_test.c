/* Logs while memory or disk fail at every single point: journal, shards, the collector's store, and
 * reading a dataset. What was acknowledged is there once, in order; what was refused is not; and
 * the same calls go on afterwards. cJSON's own allocations fail too, HDF5's do not
 * (tests/lib/faults.h). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/journal.h"
#include "common/trajectory/log_store.h"
#include "common/trajectory/shard_reader.h"
#include "tests/lib/check.h"
#include "tests/lib/faults.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

#define N_EPISODES     6
#define SHARD_EPISODES 4

static const struct kind {
    const char *name;
    enum fault fault;
    int number;
    status expected;
} kinds[] = {{"memory", FAULT_MEMORY, 0, STATUS_NO_MEMORY},
             {"disk full", FAULT_WRITE, ENOSPC, STATUS_FULL},
             {"disk broken", FAULT_WRITE, EIO, STATUS_IO}};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static struct signature signature;
static struct log_store_settings settings;
static struct episode episodes[N_EPISODES + 1]; /* by sequence: 1.. */

static int set_up(void **state)
{
    (void)state;
    fault_spare("libhdf5");
    trajectories_signature(&signature, 2);
    for (uint32_t i = 1; i <= N_EPISODES; i++) {
        trajectories_episode(&episodes[i], &signature, 1 + 3 * i, i, i % 2 == 0);
    }
    settings =
        (struct log_store_settings){scratch_folder, "collector-0", "toy", 3, SHARD_EPISODES, NULL};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 1; i <= N_EPISODES; i++) {
        episode_fini(&episodes[i]);
    }
    return 0;
}

static void must(status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fail_msg("status %d: %s", (int)s, err->text);
    }
}

/* A refusal must be the fault's own. */
static void check_refusal(const struct kind *kind, uint64_t nth, status s, const struct err *err)
{
    if (s != STATUS_OK && s != kind->expected) {
        fail_msg("%s %" PRIu64 ": status %d: %s", kind->name, nth, (int)s, err->text);
    }
}

/* ---- The collector's store: open, append (which makes shards), the last shard ---- */

/* As a collector does it, until something fails. *last: what was acknowledged. */
static status collect(uint64_t *last, struct err *err)
{
    struct log_store *store;
    status s = log_store_open(&store, &settings, &signature, err);
    if (s != STATUS_OK) {
        return s;
    }
    *last = log_store_last(store);
    while (s == STATUS_OK && *last < N_EPISODES) {
        s = log_store_append(store, &episodes[*last + 1], err);
        *last += s == STATUS_OK;
    }
    assert_int_equal(log_store_last(store), *last);
    if (s == STATUS_OK) {
        s = log_store_compact(store, err);
    }
    log_store_close(store);
    return s;
}

struct order {
    uint64_t next;
};

static status check_next(void *arg, const struct episode *episode, struct err *err)
{
    (void)err;
    struct order *order = arg;
    assert_int_equal(episode->identity.episode, order->next);
    assert_true(trajectories_difference(episode, &episodes[order->next]) < 1e-6);
    order->next++;
    return STATUS_OK;
}

static void check_holds(uint64_t last)
{
    struct err err = {0};
    struct log_store *store;
    struct order order = {1};
    must(log_store_open(&store, &settings, &signature, &err), &err);
    assert_int_equal(log_store_last(store), last);
    must(log_store_each(store, 0, check_next, &order, &err), &err);
    assert_int_equal(order.next, last + 1);
    log_store_close(store);
}

static void a_collectors_logs_are_whole(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        uint64_t nth = 1;
        for (bool failed = true; failed; nth++) {
            struct err err = {0};
            uint64_t last = 0;
            scratch_make(scratch_folder);
            fault_arm(kinds[k].fault, nth, kinds[k].number);
            status s = collect(&last, &err);
            failed = fault_disarm();
            check_refusal(&kinds[k], nth, s, &err);
            assert_true(failed || s == STATUS_OK);
            check_holds(last);
            must(collect(&last, &err), &err);
            assert_int_equal(last, N_EPISODES);
            check_holds(last);
            scratch_remove(scratch_folder);
        }
        print_message("collecting, %s: %" PRIu64 " points of failure\n", kinds[k].name, nth - 2);
    }
}

/* ---- The journal alone, call by call ---- */

static struct journal *open_journal(uint64_t episodes_there)
{
    char path[2 * SCRATCH_SIZE];
    struct journal *journal;
    struct journal_found found;
    struct err err = {0};
    must(journal_open(&journal, scratch_path(path, scratch_folder, "journal"), &signature, NULL,
                      &found, &err),
         &err);
    assert_int_equal(found.episodes, episodes_there);
    assert_int_equal(found.corrupt + found.torn_bytes, 0);
    return journal;
}

static status journal_life(uint64_t *acknowledged, struct err *err)
{
    char path[2 * SCRATCH_SIZE];
    struct journal *journal;
    struct episode back;
    *acknowledged = 2;
    status s = journal_open(&journal, scratch_path(path, scratch_folder, "journal"), &signature,
                            NULL, NULL, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The second try is the next call after a failure: it must pass. */
    for (int try = 0; try < 2; try++) {
        status appended = journal_append(journal, &episodes[3], err);
        *acknowledged += appended == STATUS_OK;
        s = s == STATUS_OK ? appended : s;
    }
    assert_true(*acknowledged >= 3);
    assert_int_equal(journal_episodes(journal), *acknowledged);
    episode_init(&back, signature_width(&signature));
    for (uint64_t i = 0; s == STATUS_OK && i < *acknowledged; i++) {
        s = journal_read(journal, i, &back, err);
    }
    episode_fini(&back);
    journal_close(journal);
    return s;
}

static void a_journal_holds_what_it_acknowledged(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        uint64_t nth = 1, acknowledged = 0;
        for (bool failed = true; failed; nth++) {
            struct err err = {0};
            scratch_make(scratch_folder);
            struct journal *journal = open_journal(0);
            must(journal_append(journal, &episodes[1], &err), &err);
            must(journal_append(journal, &episodes[2], &err), &err);
            journal_close(journal);
            fault_arm(kinds[k].fault, nth, kinds[k].number);
            status s = journal_life(&acknowledged, &err);
            failed = fault_disarm();
            check_refusal(&kinds[k], nth, s, &err);
            assert_true(failed || s == STATUS_OK);
            journal_close(open_journal(acknowledged));
            scratch_remove(scratch_folder);
        }
        print_message("journal, %s: %" PRIu64 " points of failure\n", kinds[k].name, nth - 2);
    }
}

/* ---- Reading ---- */

static status read_dataset(uint64_t *n, struct err *err)
{
    struct dataset *dataset;
    struct episode back;
    *n = 0;
    status s = dataset_open(&dataset, scratch_folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    episode_init(&back, signature_width(&signature));
    for (size_t shard = 0; s == STATUS_OK && shard < dataset_n_shards(dataset); shard++) {
        struct shard_reader *reader;
        s = shard_reader_open(&reader, dataset, shard, err);
        for (uint64_t i = 0; s == STATUS_OK && i < shard_reader_episodes(reader); i++) {
            s = shard_reader_read(reader, i, &back, err);
            if (s == STATUS_OK) {
                *n += 1;
                assert_true(trajectories_difference(&back, &episodes[*n]) < 1e-6);
            }
            if (s != STATUS_OK || i + 1 == shard_reader_episodes(reader)) {
                shard_reader_close(reader);
                break;
            }
        }
    }
    episode_fini(&back);
    dataset_close(dataset);
    return s;
}

static void a_reader_says_so_and_reads_on(void **state)
{
    (void)state;
    struct err err = {0};
    uint64_t last = 0, n = 0, nth = 1;
    scratch_make(scratch_folder);
    must(collect(&last, &err), &err);
    for (bool failed = true; failed; nth++) {
        fault_arm(FAULT_MEMORY, nth, 0);
        status s = read_dataset(&n, &err);
        failed = fault_disarm();
        check_refusal(&kinds[0], nth, s, &err);
        assert_true(failed || s == STATUS_OK);
        must(read_dataset(&n, &err), &err);
        assert_int_equal(n, N_EPISODES);
    }
    scratch_remove(scratch_folder);
    print_message("reading, memory: %" PRIu64 " points of failure\n", nth - 2);
}

int main(void)
{
    fault_scratch();
    log_open("test", LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_collectors_logs_are_whole),
        cmocka_unit_test(a_journal_holds_what_it_acknowledged),
        cmocka_unit_test(a_reader_says_so_and_reads_on),
    };
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%" PRIu64 " fault points\n", fault_points());
    return failed;
}
