/* Files of logs in other formats: whatever a file holds, it is described and read, or refused with a
 * text. The contents say which format reads it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "common/base/memory.h"
#include "common/trajectory/dataset_writer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_log_file.h"
#include "tests/lib/trajectories.h"

/* HDF5 leaks a little when it gives up on a file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

static const char *path;

static const char csv[] =
    "t,q_0,q_1,\"mode; x\",ok\n0.00,1.5,-2e3,auto,true\n0.02,,4,\"a\"\"b\",false\n";

/* An archive of two arrays. */
static struct fuzz_input make_npz(const char *scratch)
{
    static const char flat[] =
        "\x93NUMPY\1\0\x46\0{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }             "
        "\n\0\0\0\0\0\0\xf0?\0\0\0\0\0\0\0@";
    static const char flag[] =
        "\x93NUMPY\1\0\x46\0{'descr': '|b1', 'fortran_order': False, 'shape': (), }               "
        "\n\1";
    const char *file = fuzz_path(scratch, "seed.npz");
    zip_t *zip = zip_open(file, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    fuzz_must(zip == NULL, "zip");
    fuzz_must(zip_file_add(zip, "tau.npy", zip_source_buffer(zip, flat, sizeof flat - 1, 0), 0) < 0,
              "tau.npy");
    fuzz_must(
        zip_file_add(zip, "success.npy", zip_source_buffer(zip, flag, sizeof flag - 1, 0), 0) < 0,
        "success.npy");
    fuzz_must(zip_close(zip) != 0, "zip_close");
    return fuzz_read_file(file);
}

/* A shard of ours is HDF5 with one group an episode, like robomimic's. */
static struct fuzz_input make_hdf5(const char *scratch)
{
    struct signature signature;
    struct dataset_writer *writer;
    struct episode episode;
    struct err err = {0};
    const char *folder = fuzz_path(scratch, "shards");
    trajectories_signature(&signature, 2);
    trajectories_episode(&episode, &signature, 10, 1, true);
    const struct episode *list[] = {&episode, &episode};
    fuzz_must(dataset_writer_open(&writer, folder, &signature, NULL, &err), err.text);
    fuzz_must(dataset_writer_shard(writer, list, 2, &err), err.text);
    dataset_writer_close(writer);
    episode_fini(&episode);
    return fuzz_read_file(fuzz_path(scratch, "shards/shard-00000.hdf5"));
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    path = fuzz_path(scratch, "log");
    seeds[0] = (struct fuzz_input){(void *)csv, sizeof csv - 1};
    seeds[1] = make_npz(scratch);
    seeds[2] = make_hdf5(scratch);
    return 3;
}

static bool run(const void *input, size_t size)
{
    fuzz_write_file(path, input, size);
    return fuzz_log_file(path);
}

static const char *const words[] = {"'descr': '<f4'",
                                    "'shape': (18446744073709551615, 2)",
                                    "'fortran_order': True",
                                    "(0, 3)",
                                    "|O",
                                    "\x93NUMPY\2\0",
                                    "PK\3\4",
                                    "PK\5\6",
                                    "\"\"",
                                    "\r\n",
                                    "nan",
                                    "1e999",
                                    ";",
                                    "\t",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"logs", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
