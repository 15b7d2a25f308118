/* Arrow files: whatever a file holds, it is described and read, or refused with a text. */
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/log_file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_arrow_seeds.h"

#define VALUES_MAX 65536

static const char *path;

static struct fuzz_input copy(const unsigned char *bytes, size_t size)
{
    struct fuzz_input input = {mem_array(size, 1), size};
    fuzz_must(input.bytes == NULL, "memory");
    memcpy(input.bytes, bytes, size);
    return input;
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    path = fuzz_path(scratch, "log");
    seeds[0] = copy(plain, sizeof plain);
    seeds[1] = copy(zstd, sizeof zstd);
    seeds[2] = copy(lz4, sizeof lz4);
    return 3;
}

static void read_column(struct log_file *file, const struct recording_column *column)
{
    static double values[VALUES_MAX];
    struct err err = {0};
    if (column->kind != RECORDING_NUMBERS) {
        return;
    }
    /* The first rows and the last ones, which may be in different record batches. */
    const uint64_t most = VALUES_MAX / column->width;
    const uint64_t n = column->rows < most ? column->rows : most;
    for (int end = 0; n > 0 && end < 2; end++) {
        const uint64_t first = end == 0 ? 0 : column->rows - n;
        if (log_file_read(file, 0, column, first, n, values, &err) != STATUS_OK) {
            fuzz_must(err.text[0] == '\0', "no text");
        }
    }
}

static bool run(const void *input, size_t size)
{
    struct log_file *file;
    struct err err = {0};
    fuzz_write_file(path, input, size);
    if (log_file_open(&file, path, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    struct recording recording = {0};
    if (log_file_describe(file, 0, &recording, &err) == STATUS_OK) {
        for (uint32_t i = 0; i < recording.n && i < 16; i++) {
            read_column(file, &recording.columns[i]);
        }
    }
    recording_fini(&recording);
    log_file_close(file);
    return true;
}

/* Prefixes of messages, and large sizes. */
static const char *const words[] = {"ARROW1", "\xff\xff\xff\xff", "\xff\xff\xff\x7f",
                                    "\xff\xff\xff\xff\xff\xff\xff\xff", NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"arrow", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
