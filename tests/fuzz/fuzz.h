/* Bounded fuzzing of one parser: sound inputs are changed at random, and the parser must take or
 * refuse what comes out: no crash, no sanitizer report, no hang.
 *
 *     fuzz_config --seconds=10 --seed=1 --keep=FOLDER     runs; the same seed makes the same inputs
 *     fuzz_config FILE..                                  runs the parser on files: a crash again
 *
 * Inputs run in a child process; one that ends the child is kept as FOLDER/NAME-SEED-N, and another
 * child goes on after it. The last line says "NAME: N executions, N accepted, N crashes"; exit 1
 * after a crash. */
#ifndef HINDCAST_TESTS_FUZZ_H
#define HINDCAST_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_BYTES_MAX (1u << 20) /* of one input */
#define FUZZ_SEEDS_MAX 16

struct fuzz_input {
    void *bytes; /* heap (malloc or mem_new) */
    size_t size;
};

struct fuzz_target {
    const char *name;
    /* Makes sound inputs (up to FUZZ_SEEDS_MAX), which the parser must accept; returns how many.
     * Called once, before the child is made. `scratch` is an empty folder in memory. */
    size_t (*seeds)(struct fuzz_input *seeds, const char *scratch);
    /* One run, in the child. True: accepted. `bytes` is a block of exactly `size` bytes (so ASan
     * sees a read beyond it); there is no 0 after it. */
    bool (*run)(const void *bytes, size_t size);
    /* Words that mean something to the parser, ended by NULL; may be NULL. */
    const char *const *words;
};

int fuzz_main(const struct fuzz_target *target, int argc, char **argv);

/* Help for targets: a whole file's bytes; a file written without syncs. Abort on failure. */
struct fuzz_input fuzz_read_file(const char *path);
void fuzz_write_file(const char *path, const void *bytes, size_t size);
/* A path in the scratch folder, valid for ever. */
const char *fuzz_path(const char *scratch, const char *name);
/* Aborts with `what` when `failed` (a status, or a condition) is not 0. */
void fuzz_must(int failed, const char *what);

#endif
