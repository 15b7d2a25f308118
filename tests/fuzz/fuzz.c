/* Mutates inputs, runs them in a child process, and saves those that end it.
 *
 * An input is a function of the target's name, the seed and the input's number, so a run can be
 * repeated. The child builds each input in memory that it shares with the parent. When the child
 * crashes, the parent therefore still has the input, saves it, and forks the next child. Coverage
 * is not measured: the mutations know what parsers are sensitive to (edge values of integers,
 * lengths, words of the format). */
#include "tests/fuzz/fuzz.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/rng.h"

/* Memory that the harness and the seeds never free is not reported as a leak. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define NO_LEAKS_BEGIN() __lsan_disable()
#define NO_LEAKS_END()   __lsan_enable()
#else
#define NO_LEAKS_BEGIN()
#define NO_LEAKS_END()
#endif

#define HANG_S      20 /* time limit of one input; SIGALRM then ends the child */
#define CRASHES_MAX 20

/* Memory shared with the child, which is still there when the child has crashed. */
struct board {
    uint64_t number; /* of the current input */
    uint64_t accepted;
    size_t size;
    uint8_t bytes[FUZZ_BYTES_MAX];
};

struct options {
    double seconds;
    uint64_t seed;
    const char *keep;
};

/* ---- Helpers for targets ---- */

void fuzz_must(int failed, const char *what)
{
    if (failed != 0) {
        fprintf(stderr, "fuzz: %s: %d\n", what, failed);
        abort();
    }
}

struct fuzz_input fuzz_read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    fuzz_must(file == NULL || fstat(fileno(file), &info) != 0, path);
    struct fuzz_input input = {malloc((size_t)info.st_size + 1), (size_t)info.st_size};
    fuzz_must(input.bytes == NULL || fread(input.bytes, 1, input.size, file) != input.size, path);
    fclose(file);
    return input;
}

void fuzz_write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    fuzz_must(file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0, path);
}

const char *fuzz_path(const char *scratch, const char *name)
{
    char *path = NULL;
    NO_LEAKS_BEGIN();
    fuzz_must(asprintf(&path, "%s/%s", scratch, name) < 0, name);
    NO_LEAKS_END();
    return path;
}

/* ---- Mutation ---- */

struct mutation {
    struct rng rng;
    uint8_t *bytes;
    size_t size;
};

static size_t below(struct mutation *m, size_t n)
{
    return n == 0 ? 0 : (size_t)rng_below(&m->rng, n);
}

/* A random length, short in most cases. */
static size_t length(struct mutation *m)
{
    static const size_t most[] = {1, 4, 16, 64, 1024};
    return 1 + below(m, most[below(m, 5)]);
}

/* Inserts n bytes at a random place, unless the input would become too large. */
static void insert(struct mutation *m, const void *from, size_t n)
{
    if (n > FUZZ_BYTES_MAX - m->size) {
        return;
    }
    const size_t at = below(m, m->size + 1);
    memmove(m->bytes + at + n, m->bytes + at, m->size - at);
    memcpy(m->bytes + at, from, n);
    m->size += n;
}

/* Removes some bytes at a random place. */
static void take_out(struct mutation *m)
{
    const size_t at = below(m, m->size);
    const size_t n = length(m);
    const size_t left = m->size - at;
    const size_t out = n < left ? n : left;
    memmove(m->bytes + at, m->bytes + at + out, left - out);
    m->size -= out;
}

/* Overwrites 1, 2, 4 or 8 bytes with an edge value. */
static void put_integer(struct mutation *m)
{
    const uint64_t edges[] = {0,           1,          2,          0x7f,        0x80,
                              0xff,        0xffff,     0x7fffffff, 0x80000000u, 0xffffffffu,
                              UINT64_MAX,  INT64_MAX,  1ull << 63, m->size,     m->size - 1,
                              m->size * 2, 1ull << 32, 1ull << 62, 1ull << 40,  4096};
    const uint64_t value = edges[below(m, sizeof edges / sizeof edges[0])];
    const size_t n = (size_t)1 << below(m, 4);
    if (m->size >= n) {
        memcpy(m->bytes + below(m, m->size - n + 1), &value, n);
    }
}

/* Adds -16..16 to an integer of 1, 2, 4 or 8 bytes. */
static void nudge(struct mutation *m)
{
    const size_t n = (size_t)1 << below(m, 4);
    if (m->size >= n) {
        uint64_t value = 0;
        uint8_t *at = m->bytes + below(m, m->size - n + 1);
        memcpy(&value, at, n);
        value += below(m, 33) - 16;
        memcpy(at, &value, n);
    }
}

/* Inserts one of the target's words, or overwrites bytes with it. */
static void insert_word(struct mutation *m, const char *const *words)
{
    size_t n = 0;
    while (words != NULL && words[n] != NULL) {
        n++;
    }
    if (n > 0) {
        const char *word = words[below(m, n)];
        const size_t size = strlen(word);
        if (below(m, 2) == 0 && m->size >= size) {
            memcpy(m->bytes + below(m, m->size - size + 1), word, size);
        } else {
            insert(m, word, size);
        }
    }
}

/* Inserts a piece of a valid input. */
static void splice(struct mutation *m, const struct fuzz_input *other)
{
    if (other->size > 0) {
        const size_t at = below(m, other->size);
        const size_t n = length(m);
        insert(m, (const uint8_t *)other->bytes + at, n < other->size - at ? n : other->size - at);
    }
}

static void mutate_once(struct mutation *m, const struct fuzz_target *target,
                        const struct fuzz_input *seeds, size_t n_seeds)
{
    /* Flip a bit, set a byte, edge value, small change, remove, cut the end off, noise, a piece of
     * a seed, a word. */
    uint8_t noise[16];
    switch (below(m, 9)) {
    case 0:
        if (m->size > 0) {
            m->bytes[below(m, m->size)] ^= (uint8_t)(1u << below(m, 8));
        }
        break;
    case 1:
        if (m->size > 0) {
            m->bytes[below(m, m->size)] = (uint8_t)below(m, 256);
        }
        break;
    case 2:
        put_integer(m);
        break;
    case 3:
        nudge(m);
        break;
    case 4:
        take_out(m);
        break;
    case 5:
        m->size = below(m, 4) == 0 ? below(m, m->size + 1) : m->size;
        break;
    case 6:
        for (size_t i = 0; i < sizeof noise; i++) {
            noise[i] = (uint8_t)below(m, 256);
        }
        insert(m, noise, 1 + below(m, sizeof noise));
        break;
    case 7:
        splice(m, &seeds[below(m, n_seeds)]);
        break;
    default:
        insert_word(m, target->words);
        break;
    }
}

/* Makes input board->number, a function of (seed, number) alone. The first n_seeds inputs are the
 * unchanged valid ones; the others have 1 to 6 mutations. */
static void make_input(struct board *board, const struct fuzz_target *target,
                       const struct fuzz_input *seeds, size_t n_seeds, uint64_t seed)
{
    struct mutation m = {.bytes = board->bytes};
    rng_init(&m.rng, seed, target->name, board->number);
    const struct fuzz_input *start =
        &seeds[board->number < n_seeds ? board->number : below(&m, n_seeds)];
    m.size = start->size;
    memcpy(m.bytes, start->bytes, start->size);
    for (size_t n = board->number < n_seeds ? 0 : 1 + below(&m, 6); n > 0; n--) {
        mutate_once(&m, target, seeds, n_seeds);
    }
    board->size = m.size;
}

/* ---- Running ---- */

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Runs one input from a block of exactly its size, so that ASan detects reads beyond either end. */
static bool run_input(const struct fuzz_target *target, const void *from, size_t size)
{
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    fuzz_must(bytes == NULL, "memory");
    memcpy(bytes, from, size);
    alarm(HANG_S);
    const bool accepted = target->run(bytes, size);
    alarm(0);
    free(bytes);
    return accepted;
}

static void run_child(struct board *board, const struct fuzz_target *target,
                      const struct fuzz_input *seeds, size_t n_seeds, const struct options *options,
                      double until_s)
{
    /* All valid inputs run, even if the time is too short for more. */
    for (; board->number < n_seeds || now_s() < until_s; board->number++) {
        make_input(board, target, seeds, n_seeds, options->seed);
        const bool accepted = run_input(target, board->bytes, board->size);
        board->accepted += accepted;
        if (board->number < n_seeds && !accepted) {
            fprintf(stderr, "%s: valid input %" PRIu64 " is rejected\n", target->name,
                    board->number);
            abort();
        }
    }
}

static void keep_input(const struct board *board, const struct fuzz_target *target,
                       const struct options *options, int end)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%" PRIu64 "-%" PRIu64, target->name, options->seed,
             board->number);
    const char *path = fuzz_path(options->keep, name);
    fuzz_write_file(path, board->bytes, board->size);
    printf("%s: input %" PRIu64 " crashed (%s %d), saved as %s\n", target->name, board->number,
           WIFSIGNALED(end) ? "signal" : "exit",
           WIFSIGNALED(end) ? WTERMSIG(end) : WEXITSTATUS(end), path);
}

/* Fuzzes until the time is over or there are CRASHES_MAX crashes. Returns 1 after a crash. */
static int fuzz(const struct fuzz_target *target, const struct options *options,
                const char *scratch)
{
    struct fuzz_input seeds[FUZZ_SEEDS_MAX];
    NO_LEAKS_BEGIN();
    const size_t n_seeds = target->seeds(seeds, scratch);
    NO_LEAKS_END();
    for (size_t i = 0; i < n_seeds; i++) {
        fuzz_must(seeds[i].size > FUZZ_BYTES_MAX, "a seed is too large");
    }
    struct board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fuzz_must(board == MAP_FAILED, "shared memory");

    const double until_s = now_s() + options->seconds;
    int crashes = 0;
    bool more = true;
    while (more && crashes < CRASHES_MAX) {
        fflush(NULL); /* otherwise the child would print buffered text a second time */
        const pid_t child = fork();
        fuzz_must(child < 0, "fork");
        if (child == 0) {
            run_child(board, target, seeds, n_seeds, options, until_s);
            exit(0); /* not _exit: the leak check runs at exit */
        }
        int end = 0;
        fuzz_must(waitpid(child, &end, 0) != child, "wait");
        if (end == 0) {
            more = false;
        } else {
            crashes++;
            keep_input(board, target, options, end);
            board->number++;
        }
    }
    printf("%s: %" PRIu64 " executions, %" PRIu64 " accepted, %d crashes\n", target->name,
           board->number, board->accepted, crashes);
    return crashes > 0;
}

static int run_files(const struct fuzz_target *target, int n, char **paths, const char *scratch)
{
    struct fuzz_input seeds[FUZZ_SEEDS_MAX];
    NO_LEAKS_BEGIN();
    (void)target->seeds(seeds, scratch);
    NO_LEAKS_END();
    for (int i = 0; i < n; i++) {
        struct fuzz_input input = fuzz_read_file(paths[i]);
        printf("%s: %s\n", paths[i],
               run_input(target, input.bytes, input.size) ? "accepted" : "rejected");
        free(input.bytes);
    }
    return 0;
}

int fuzz_main(const struct fuzz_target *target, int argc, char **argv)
{
    struct options options = {5, 1, "."};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (sscanf(argv[i], "--seconds=%lf", &options.seconds) == 1 ||
            sscanf(argv[i], "--seed=%" SCNu64, &options.seed) == 1) {
            continue;
        }
        if (strncmp(argv[i], "--keep=", 7) != 0) {
            fprintf(stderr, "%s: unknown flag %s; see tests/fuzz/fuzz.h\n", target->name, argv[i]);
            return 2;
        }
        options.keep = argv[i] + 7;
    }
    log_open(target->name, LOG_ERROR + 1);
    char scratch[] = "/dev/shm/hindcast-fuzz-XXXXXX";
    fuzz_must(mkdtemp(scratch) == NULL, scratch);
    int result =
        i < argc ? run_files(target, argc - i, argv + i, scratch) : fuzz(target, &options, scratch);
    char command[sizeof scratch + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    fuzz_must(system(command), command);
    return result;
}
