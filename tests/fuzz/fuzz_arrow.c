/* Arrow files: whatever a file holds, it is described and read, or refused with a text. */
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_arrow_seeds.h"
#include "tests/fuzz/fuzz_log_file.h"

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

static bool run(const void *input, size_t size)
{
    fuzz_write_file(path, input, size);
    return fuzz_log_file(path);
}

/* Prefixes of messages, and large sizes. */
static const char *const words[] = {"ARROW1", "\xff\xff\xff\xff", "\xff\xff\xff\x7f",
                                    "\xff\xff\xff\xff\xff\xff\xff\xff", NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"arrow", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
