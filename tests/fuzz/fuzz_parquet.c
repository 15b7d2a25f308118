/* Parquet files: whatever a file holds, it is described and read, or refused with a text. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_log_file.h"
#include "tests/lib/parquet_samples.h"

/* carquet compresses the seeds in threads of its own, which keep their state. Where libzstd has no frame
 * pointers, the stack ends before carquet. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libcarquet\nleak:ZSTD_createCCtx";
}

static const char *path;

/* All forms of pages, without checksums, which would stop most inputs early. */
static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    static const carquet_compression_t compressions[] = {
        CARQUET_COMPRESSION_UNCOMPRESSED, CARQUET_COMPRESSION_SNAPPY, CARQUET_COMPRESSION_GZIP,
        CARQUET_COMPRESSION_ZSTD};
    path = fuzz_path(scratch, "log");
    for (size_t i = 0; i < 16; i++) {
        const struct parquet_sample sample = {compressions[i / 4], 1 + (int)(i % 2), i / 2 % 2 == 1,
                                              false};
        parquet_sample_write(path, &sample);
        seeds[i] = fuzz_read_file(path);
    }
    return 16;
}

static bool run(const void *input, size_t size)
{
    fuzz_write_file(path, input, size);
    return fuzz_log_file(path);
}

/* Thrift's encodings of large numbers and long lists, and the magic bytes. */
static const char *const words[] = {
    "PAR1",     "PARE",     "\xff\xff\xff\xff\x0f",     "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "\x19\xfc", "\x15\x00", "\x16\x80\x80\x80\x80\x10", NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"parquet", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
