/* HDF5 shards: our own, whose checksums catch most, and one of the user's kind (no checksums),
 * which gets deep into HDF5. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"
#include "common/trajectory/shard_survey.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/trajectories.h"

/* HDF5 leaks a little when it gives up on a file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

static const char *folder, *shard, *metadata;
static struct signature signature;

static void write_dataset(const char *to, uint32_t n, int compression)
{
    struct dataset_writer *writer;
    struct episode episodes[4];
    const struct episode *list[4];
    struct err err = {0};
    fuzz_must(dataset_writer_open(&writer, to, &signature, NULL, &err), err.text);
    dataset_writer_set_compression(writer, compression);
    for (uint32_t i = 0; i < n; i++) {
        trajectories_episode(&episodes[i], &signature, 1 + 5 * i, i + 1, i % 2 == 0);
        list[i] = &episodes[i];
    }
    fuzz_must(dataset_writer_shard(writer, list, n, &err), err.text);
    dataset_writer_close(writer);
    for (uint32_t i = 0; i < n; i++) {
        episode_fini(&episodes[i]);
    }
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    trajectories_signature(&signature, 2);
    for (uint32_t i = 0; i < 3; i++) {
        char name[16] = "made-0", file[64];
        name[5] = (char)('0' + i);
        write_dataset(fuzz_path(scratch, name), 1 + i, i == 1 ? 4 : 0);
        strcpy(file, name);
        strcat(file, "/shard-00000.hdf5");
        seeds[i] = fuzz_read_file(fuzz_path(scratch, file));
    }
    /* Read through a folder that lists nothing: size and checksum of the file are not known. */
    folder = fuzz_path(scratch, "read");
    shard = fuzz_path(scratch, "read/shard-00000.hdf5");
    metadata = fuzz_path(scratch, "read/metadata.json");
    write_dataset(folder, 1, 0);
    char *json = signature_to_json(&signature), *text = NULL;
    (void)!asprintf(&text, "{\"signature\": %s}", json);
    fuzz_write_file(metadata, text, strlen(text));
    free(text);
    mem_free(json);
    return 3;
}

static bool run(const void *bytes, size_t size)
{
    struct dataset *dataset;
    struct shard_reader *reader;
    struct shard_survey survey;
    struct err err = {0};
    fuzz_write_file(shard, bytes, size);
    if (shard_survey(&survey, shard, &err) == STATUS_OK) {
        mem_free(survey.origins);
    }
    if (dataset_open(&dataset, folder, &err) != STATUS_OK) {
        return false;
    }
    bool accepted = shard_reader_open(&reader, dataset, 0, &err) == STATUS_OK;
    if (accepted) {
        struct episode episode;
        episode_init(&episode, signature_width(&signature));
        for (uint64_t i = 0; i < shard_reader_episodes(reader); i++) {
            if (shard_reader_read(reader, i, &episode, &err) == STATUS_OK) {
                fuzz_must(episode_check(&episode, &signature, &err), err.text);
            } else {
                accepted = false;
            }
        }
        episode_fini(&episode);
        shard_reader_close(reader);
    }
    dataset_close(dataset);
    return accepted;
}

static const char *const words[] = {"\x89HDF\r\n\x1a\n",
                                    "OHDR",
                                    "OCHK",
                                    "TREE",
                                    "HEAP",
                                    "SNOD",
                                    "FRHP",
                                    "FADB",
                                    "FAHD",
                                    "BTHD",
                                    "episode_1",
                                    "observations",
                                    "total_steps",
                                    "rewards",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"shard", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
