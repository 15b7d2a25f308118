/* The collector's journal: opening it (which mends it), reading all, appending, opening it again.
 */
#include <unistd.h>

#include "common/trajectory/journal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/trajectories.h"

static const char *path;
static struct signature signature;
static struct episode one;

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    path = fuzz_path(scratch, "journal");
    trajectories_signature(&signature, 2);
    trajectories_episode(&one, &signature, 2, 99, true);
    for (uint32_t i = 0; i < 3; i++) {
        struct journal *journal;
        struct err err = {0};
        fuzz_must(journal_open(&journal, path, &signature, NULL, NULL, &err), "journal");
        for (uint32_t n = 0; n < i * 2; n++) {
            struct episode episode;
            trajectories_episode(&episode, &signature, 1 + 4 * n, n + 1, false);
            fuzz_must(journal_append(journal, &episode, &err), "append");
            episode_fini(&episode);
        }
        journal_close(journal);
        seeds[i] = fuzz_read_file(path);
        fuzz_must(unlink(path), path);
    }
    return 3;
}

static uint64_t read_all(struct journal *journal)
{
    struct episode episode;
    struct err err = {0};
    episode_init(&episode, signature_width(&signature));
    const uint64_t n = journal_episodes(journal);
    for (uint64_t i = 0; i < n; i++) {
        /* Opening has looked at every one of them. */
        fuzz_must(journal_read(journal, i, &episode, &err), "an episode that was found sound");
    }
    episode_fini(&episode);
    return n;
}

static bool run(const void *bytes, size_t size)
{
    struct journal *journal;
    struct journal_found found;
    struct err err = {0};
    fuzz_write_file(path, bytes, size);
    if (journal_open(&journal, path, &signature, NULL, &found, &err) != STATUS_OK) {
        return false;
    }
    const uint64_t n = read_all(journal);
    fuzz_must(n != found.episodes, "another number of episodes than was said");
    fuzz_must(journal_append(journal, &one, &err), "append");
    journal_close(journal);
    fuzz_must(journal_open(&journal, path, &signature, NULL, &found, &err), "open again");
    fuzz_must(read_all(journal) != n + 1 || found.torn_bytes > 0, "not what was left");
    journal_close(journal);
    return true;
}

static const char *const words[] = {"HCJOURN1", "HCEPISOD", NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"journal", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
