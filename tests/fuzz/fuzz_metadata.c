/* metadata.json of a dataset, ours and Minari's: the first byte of an input says which. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/trajectories.h"

static const char *ours, *ours_file, *minari, *minari_file;

static const char minari_text[] = "M{\"total_episodes\": 1, \"total_steps\": 10, \"data_format\": "
                                  "\"hdf5\", \"dataset_id\": \"test/x-v0\", "
                                  "\"minari_version\": \"0.5.0\", \"observation_space\": "
                                  "\"{\\\"type\\\": \\\"Dict\\\", \\\"subspaces\\\": "
                                  "{\\\"a\\\": {\\\"type\\\": \\\"Box\\\", \\\"dtype\\\": "
                                  "\\\"float64\\\", \\\"shape\\\": [3], \\\"low\\\": "
                                  "[-Infinity, -Infinity, -Infinity], \\\"high\\\": [Infinity, "
                                  "Infinity, Infinity]}}}\", \"action_space\": "
                                  "\"{\\\"type\\\": \\\"Box\\\", \\\"dtype\\\": \\\"float32\\\", "
                                  "\\\"shape\\\": [2], \\\"low\\\": [-1.0, 0.0], "
                                  "\\\"high\\\": [1.0, 4.0]}\"}";

static struct fuzz_input with_head(struct fuzz_input input)
{
    char *bytes = malloc(input.size + 1);
    fuzz_must(bytes == NULL, "memory");
    bytes[0] = 'O';
    memcpy(bytes + 1, input.bytes, input.size);
    free(input.bytes);
    return (struct fuzz_input){bytes, input.size + 1};
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    struct signature signature;
    struct dataset_writer *writer;
    struct episode episode;
    struct err err = {0};
    ours = fuzz_path(scratch, "ours");
    ours_file = fuzz_path(scratch, "ours/metadata.json");
    trajectories_signature(&signature, 2);
    trajectories_episode(&episode, &signature, 10, 1, true);
    const struct episode *list[] = {&episode};
    fuzz_must(dataset_writer_open(&writer, ours, &signature, "{\"program\": \"fuzz\"}", &err),
              err.text);
    for (int i = 0; i < 2; i++) {
        fuzz_must(dataset_writer_shard(writer, list, 1, &err), err.text);
        seeds[i] = with_head(fuzz_read_file(ours_file));
    }
    dataset_writer_close(writer);
    episode_fini(&episode);
    /* Minari's layout: a folder `data` with both files. */
    minari = fuzz_path(scratch, "minari");
    minari_file = fuzz_path(scratch, "minari/data/metadata.json");
    char *command = NULL;
    (void)!asprintf(&command, "mkdir -p %s/data && cp %s/shard-00000.hdf5 %s/data/main_data.hdf5",
                    minari, ours, minari);
    fuzz_must(system(command), command);
    free(command);
    seeds[2] = (struct fuzz_input){(void *)minari_text, sizeof minari_text - 1};
    return 3;
}

static bool run(const void *input, size_t size)
{
    const char *bytes = input;
    const bool is_minari = size > 0 && bytes[0] == 'M';
    struct dataset *dataset;
    struct err err = {0};
    fuzz_write_file(is_minari ? minari_file : ours_file, bytes + (size > 0), size - (size > 0));
    if (dataset_open(&dataset, is_minari ? minari : ours, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    fuzz_must(signature_check(dataset_signature(dataset), &err), "signature");
    struct episode episode;
    episode_init(&episode, signature_width(dataset_signature(dataset)));
    for (size_t i = 0; i < dataset_n_shards(dataset) && i < 3; i++) {
        struct shard_reader *reader;
        if (shard_reader_open(&reader, dataset, i, &err) == STATUS_OK) {
            if (shard_reader_episodes(reader) > 0 &&
                shard_reader_read(reader, 0, &episode, &err) == STATUS_OK) {
                fuzz_must(episode_check(&episode, dataset_signature(dataset), &err), err.text);
            }
            shard_reader_close(reader);
        }
    }
    episode_fini(&episode);
    dataset_close(dataset);
    return true;
}

static const char *const words[] = {"\"shards\":[",
                                    "\"file\":\"../../etc/passwd\"",
                                    "\"episodes\":",
                                    "\"xxh64\":\"",
                                    "\"signature\":{",
                                    "18446744073709551615",
                                    "-1",
                                    "1e30",
                                    "null",
                                    "\\\"",
                                    "\\u0000",
                                    "Infinity",
                                    "NaN",
                                    "\\\"subspaces\\\": {",
                                    "\\\"type\\\": \\\"Dict\\\"",
                                    "[",
                                    "{",
                                    "}",
                                    "]",
                                    "\"version\": 2",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"metadata", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
