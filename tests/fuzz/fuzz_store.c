/* The replay server's data file: LMDB pages with our records. What is opened is read whole, written
 * to and removed from, and must then still be a sound file. */
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "replay_server/store/scrubber.h"
#include "replay_server/store/store.h"
#include "replay_server/store/store_compact.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

static const char *folder, *file;
static struct signature signature;

static status open_store(struct store **store, struct err *err)
{
    bool scan;
    const struct store_settings settings = {
        .path = folder, .map_bytes = 32 << 20, .durability = STORE_NONE};
    return store_open(store, &settings, &scan, err);
}

static void put(struct store *store, uint32_t number, uint32_t T)
{
    const uint64_t id = store_next_chunk(store);
    struct episode episode;
    struct err err = {0};
    replay_episode(&episode, &signature, number, T);
    fuzz_must(store_begin(store, &err), err.text);
    replay_store_episode(store, id, &episode);
    fuzz_must(store_commit(store, &err), err.text);
    episode_fini(&episode);
}

/* `n` episodes, of which every third is removed again. */
static struct fuzz_input a_store(uint32_t n, uint32_t T)
{
    struct store *store = NULL;
    struct err err = {0};
    fuzz_must(open_store(&store, &err), err.text);
    const struct store_table table = {.name = "default", .signature = signature};
    struct store_writer writer = {.name = "restorer-0", .generation = 1, .last_sequence = 8};
    fuzz_must(store_begin(store, &err), err.text);
    fuzz_must(store_put_table(store, &table, &err), err.text);
    fuzz_must(store_put_writer(store, &writer, false, &err), err.text);
    fuzz_must(store_commit(store, &err), err.text);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t id = store_next_chunk(store);
        put(store, i % 60, T);
        if (i % 3 == 0) {
            fuzz_must(store_begin(store, &err), err.text);
            fuzz_must(store_remove_episode(store, id, &err), err.text);
            fuzz_must(store_commit(store, &err), err.text);
        }
    }
    store_close(store);
    struct fuzz_input input = fuzz_read_file(file);
    fuzz_write_file(file, "", 0); /* LMDB begins anew */
    return input;
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    folder = fuzz_path(scratch, "store");
    file = fuzz_path(scratch, "store/data.mdb");
    trajectories_signature(&signature, 2);
    seeds[0] = a_store(4, 1);
    seeds[1] = a_store(4, 1000); /* values in pages of their own */
    seeds[2] = a_store(300, 3);  /* a tree of two levels */
    return 3;
}

static status see_table(void *arg, const struct store_table *table, struct err *err)
{
    (void)arg;
    return signature_check(&table->signature, err);
}

static status see_history(void *arg, const struct store_history *history, struct err *err)
{
    (void)arg;
    (void)history;
    (void)err;
    return STATUS_OK;
}

static status see_writer(void *arg, const struct store_writer *writer, struct err *err)
{
    (void)arg;
    (void)err;
    fuzz_must(writer->cursor_size > WRITER_CURSOR_MAX, "cursor");
    return STATUS_OK;
}

struct ids {
    size_t n;
    uint64_t items[512];
};

static status see_episode(void *arg, const struct store_episode *episode, struct err *err)
{
    (void)err;
    struct ids *ids = arg;
    if (ids->n < sizeof ids->items / sizeof ids->items[0]) {
        ids->items[ids->n++] = episode->id;
    }
    return STATUS_OK;
}

static void note(void *arg, uint32_t table, uint64_t id)
{
    (void)arg;
    (void)table;
    (void)id;
}

/* Removes all and puts something new. */
static status write_all(struct store *store, const struct ids *ids, struct err *err)
{
    static uint8_t chunk[65536];
    for (size_t i = 0; i < ids->n; i++) {
        status s = store_begin(store, err);
        if (s == STATUS_OK) {
            s = store_remove_episode(store, ids->items[i], err);
        }
        if (s == STATUS_OK || s == STATUS_NOT_FOUND) {
            s = store_commit(store, err);
        }
        if (s != STATUS_OK) {
            store_abort(store);
            return s;
        }
    }
    status s = store_begin(store, err);
    for (uint32_t i = 0; s == STATUS_OK && i < 40; i++) {
        s = store_put_chunk(store, store_next_chunk(store) + i, chunk, 1 + i * 10, 10, err);
    }
    if (s == STATUS_OK) {
        return store_commit(store, err);
    }
    store_abort(store);
    return s;
}

/* With a change that it has to catch up with. Some inputs get it, as it takes much longer than the rest. */
static bool compact(struct store *store)
{
    struct compaction *compaction;
    struct err err = {0};
    double pause_s;
    fuzz_must(compaction_begin(&compaction, store, &err), err.text);
    const struct store_writer writer = {.name = "late", .generation = 2};
    const bool put = store_begin(store, &err) == STATUS_OK &&
                     store_put_writer(store, &writer, false, &err) == STATUS_OK &&
                     store_commit(store, &err) == STATUS_OK;
    if (!put) {
        store_abort(store);
    }
    const status s = compaction_finish(compaction, &pause_s, &err);
    fuzz_must(s != STATUS_OK && err.text[0] == '\0', "no text");
    return put && s == STATUS_OK;
}

static bool run(const void *bytes, size_t size)
{
    struct store *store = NULL;
    struct err err = {0};
    struct ids ids = {0};
    uint64_t n_corrupt = 0;
    fuzz_write_file(file, bytes, size);
    if (open_store(&store, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    bool good = store_each_table(store, see_table, NULL, &err) == STATUS_OK;
    good = store_each_history(store, see_history, NULL, &err) == STATUS_OK && good;
    good = store_each_writer(store, see_writer, NULL, &err) == STATUS_OK && good;
    good = store_each_episode(store, see_episode, &ids, &err) == STATUS_OK && good;
    good = scrub_all(store, note, NULL, &n_corrupt, &err) == STATUS_OK && good;
    const bool compacted = size % 4 != 0 || compact(store);
    const bool written = write_all(store, &ids, &err) == STATUS_OK;
    store_close(store);
    if (written && store_check_file(file, &err) != STATUS_OK) {
        fuzz_must(1, err.text);
    }
    return good && compacted && written && n_corrupt == 0;
}

static const char *const words[] = {"\xde\xc0\xef\xbe", "episodes", "chunks", "meta",
                                    "writers",          "HCC1",     "HCRS",   NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"store", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
