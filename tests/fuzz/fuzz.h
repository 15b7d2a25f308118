/* Bounded fuzzing of one parser. Valid inputs are mutated at random, and the parser must accept or
 * reject each result without a crash, a sanitizer report or a hang.
 *
 *     fuzz_config --seconds=10 --seed=1 --keep=FOLDER    fuzzes; a seed always gives the same inputs
 *     fuzz_config FILE..                                 runs the parser on files, to repeat a crash
 *
 * Inputs run in a child process. An input that ends the child is saved as FOLDER/NAME-SEED-N, and a
 * new child continues with the next one. The last line is "NAME: N executions, N accepted, N
 * crashes". The exit status is 1 after a crash. */
#ifndef HINDCAST_TESTS_FUZZ_H
#define HINDCAST_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_BYTES_MAX (1u << 20) /* size of one input */
#define FUZZ_SEEDS_MAX 16

struct fuzz_input {
    void *bytes; /* allocated by malloc or mem_new */
    size_t size;
};

struct fuzz_target {
    const char *name;
    /* Makes up to FUZZ_SEEDS_MAX valid inputs, which the parser must accept, and returns their
     * number. Called once, before the child is started. `scratch` is an empty folder in memory. */
    size_t (*seeds)(struct fuzz_input *seeds, const char *scratch);
    /* Runs the parser in the child. Returns whether it accepts the input. `bytes` is a block of
     * exactly `size` bytes without a terminating 0, so that ASan detects a read beyond its end. */
    bool (*run)(const void *bytes, size_t size);
    /* Words that have a meaning to the parser, ended by NULL. May be NULL. */
    const char *const *words;
};

int fuzz_main(const struct fuzz_target *target, int argc, char **argv);

/* Helpers for targets: read a whole file, and write one without syncing. Both abort on failure. */
struct fuzz_input fuzz_read_file(const char *path);
void fuzz_write_file(const char *path, const void *bytes, size_t size);
/* Returns scratch/name. The text is never freed. */
const char *fuzz_path(const char *scratch, const char *name);
/* Prints `what` and aborts if `failed` (a status or a condition) is not 0. */
void fuzz_must(int failed, const char *what);

#endif
