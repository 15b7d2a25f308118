/* MCAP files: whatever a file holds, it is read as a recording, mapped and resampled, or refused with
 * a text. */
#include <string.h>

#include "common/logs/episodes/logs.h"
#include "common/logs/propose/propose.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/bags.h"

static const char *path;

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    static const char *const compressions[] = {"", "lz4", "zstd"};
    path = fuzz_path(scratch, "bag.mcap");
    for (size_t i = 0; i < 3; i++) {
        struct text file = {0};
        bags_example(&file, compressions[i]);
        size_t size;
        char *bytes = text_take(&file, &size);
        fuzz_must(bytes == NULL, "memory");
        seeds[i] = (struct fuzz_input){bytes, size};
    }
    return 3;
}

/* Reads the episodes through the proposed mapping. */
static void read_episodes(struct logs *logs, const struct mapping *mapping)
{
    struct err err = {0};
    if (logs_map(logs, mapping, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return;
    }
    struct episode episode;
    episode_init(&episode, signature_width(logs_signature(logs)));
    for (uint64_t i = 0; i < logs_n_episodes(logs) && i < 8; i++) {
        if (logs_read(logs, i, &episode, &err) != STATUS_OK) {
            fuzz_must(err.text[0] == '\0', "no text");
        }
    }
    episode_fini(&episode);
}

static bool run(const void *input, size_t size)
{
    struct logs *logs;
    struct err err = {0};
    fuzz_write_file(path, input, size);
    if (logs_open(&logs, path, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    struct mapping mapping;
    struct text notes = {0};
    const status s = propose_mapping(logs, &mapping, &notes, &err);
    if (s == STATUS_OK) {
        read_episodes(logs, &mapping);
    }
    fuzz_must(s != STATUS_OK && err.text[0] == '\0', "no text");
    logs_close(logs);
    mapping_fini(&mapping);
    text_fini(&notes);
    return s == STATUS_OK;
}

static const char bag[] = "rosbag2_bagfile_information:\n  storage_identifier: mcap\n"
                          "  relative_file_paths:\n    - bag.mcap\n";

static const char *const words[] = {"\x89MCAP0\r\n",
                                    "zstd",
                                    "lz4",
                                    "ros2msg",
                                    "json",
                                    "cdr",
                                    "jsonschema",
                                    "{\"x\": 1e308}",
                                    "\3\0\0\0\0\0\0",
                                    "\xff\xff\xff\xff\xff\xff\xff\x7f",
                                    bag,
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"mcap", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
