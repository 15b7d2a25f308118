/* build/tests/sim: simulates seeds, one after another.
 *
 *     sim --seed N [--trace]      one seed, twice: both must be the same, step by step
 *     sim --from N --count M      M seeds, beginning with N
 *     sim --from N --step S --seconds T   N, N + S, N + 2 S, .. for so long
 *     sim --list FILE             the seeds in the file, one a line (# begins a comment)
 *
 * Several may be given; the list comes first. Each seed runs in a process of its own making that
 * goes on with the next one, so that a crash ends one seed only. Failing seeds go to stdout with
 * what was found, and to --failed FILE one a line. Exit status 0 when nothing failed. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/status.h"
#include "tests/lib/scratch.h"
#include "tests/sim/plan.h"
#include "tests/sim/scenario.h"
#include "tests/sim/trace.h"

#define STUCK_S  600 /* a seed that takes longer on the real clock hangs */
#define REPORT_S 60
#define LIST_MAX 4096

struct arguments {
    const char *list, *failed;
    bool has_seed, trace;
    uint64_t seed, from, step, count;
    double seconds;
};

/* Shared by the process that runs seeds and the one that watches it. */
struct shared {
    uint64_t i;    /* which seed is being run */
    uint64_t done; /* seeds that ended well */
    uint64_t failed;
    uint64_t steps, messages, kills, fake_s;
    uint64_t operated[4];
    double begin_s, reported_s;
};
static struct shared *shared;

/* ---- Real time: what the simulated code sees is not ---- */

static double now_s(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- One process ---- */

static void report(uint64_t n_failed)
{
    printf("%" PRIu64 " seeds well, %" PRIu64 " failed; %.1f a second; %" PRIu64 " steps, %" PRIu64
           " messages, %" PRIu64 " kills, %" PRIu64 " simulated seconds\n",
           shared->done, n_failed, (double)shared->done / (now_s() - shared->begin_s),
           shared->steps, shared->messages, shared->kills, shared->fake_s);
    printf("operated: %" PRIu64 " priorities set, %" PRIu64 " settings changed, %" PRIu64
           " episodes deleted, %" PRIu64 " compactions\n",
           shared->operated[0], shared->operated[1], shared->operated[2], shared->operated[3]);
}

static void report_now_and_then(void)
{
    if (now_s() - shared->reported_s > REPORT_S) {
        shared->reported_s = now_s();
        printf("so far ");
        report(shared->failed);
    }
}

static void run_one(uint64_t seed)
{
    struct scenario scenario;
    alarm(STUCK_S);
    scenario_run(seed, false, &scenario);
    alarm(0);
    shared->done++;
    shared->steps += scenario.steps;
    shared->messages += scenario.network.messages;
    shared->kills += scenario.kills;
    for (size_t i = 0; i < 4; i++) {
        shared->operated[i] += scenario.operated[i];
    }
    shared->fake_s += scenario.fake_ns / 1000000000u;
    report_now_and_then();
}

static void run_twice(uint64_t seed)
{
    struct scenario first, second;
    scenario_run(seed, true, &first);
    trace_switch(false);
    scenario_run(seed, false, &second);
    printf("seed %" PRIu64 ": %" PRIu64 " steps, %" PRIu64 " messages, %.1f s, digest %016" PRIx64
           "\n",
           seed, first.steps, first.network.messages, (double)first.fake_ns * 1e-9, first.digest);
    if (first.digest != second.digest || first.steps != second.steps) {
        printf("seed %" PRIu64 ": the second time it was not the same\n", seed);
        fflush(stdout);
        _exit(1);
    }
}

/* ---- Many ---- */

struct seeds {
    uint64_t list[LIST_MAX];
    size_t n_list;
    const struct arguments *arguments;
    double until_s;
};

static uint64_t seed_at(const struct seeds *seeds, uint64_t i)
{
    const struct arguments *a = seeds->arguments;
    return i < seeds->n_list ? seeds->list[i] : a->from + (i - seeds->n_list) * a->step;
}

static bool is_one(const struct seeds *seeds, uint64_t i)
{
    return i < seeds->n_list || (seeds->until_s > 0 ? now_s() < seeds->until_s
                                                    : i - seeds->n_list < seeds->arguments->count);
}

static status read_list(struct seeds *seeds, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "sim: %s cannot be read\n", path);
        return STATUS_IO;
    }
    char line[256];
    while (fgets(line, sizeof line, file)) {
        char *end;
        const uint64_t seed = strtoull(line, &end, 10);
        if (end != line && seeds->n_list < LIST_MAX) {
            seeds->list[seeds->n_list++] = seed;
        }
    }
    fclose(file);
    return STATUS_OK;
}

static void note_failure(const struct arguments *arguments, uint64_t seed, int wait_status)
{
    if (WIFSIGNALED(wait_status)) {
        printf("seed %" PRIu64 ": ended by signal %d%s\n", seed, WTERMSIG(wait_status),
               WTERMSIG(wait_status) == SIGALRM ? ": it hangs" : "");
    }
    printf("FAILED seed %" PRIu64 "; again: build/tests/sim --seed %" PRIu64 " --trace\n", seed,
           seed);
    fflush(stdout);
    if (arguments->failed) {
        FILE *file = fopen(arguments->failed, "a");
        if (file) {
            fprintf(file, "%" PRIu64 "\n", seed);
            fclose(file);
        }
    }
}

/* Runs seeds from shared->i on until one fails, in a process and a folder of their own; its status.
 */
static int run_some(const struct seeds *seeds)
{
    char folder[SCRATCH_SIZE];
    scratch_make(folder);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        ASSERT(chdir(folder) == 0);
        for (; is_one(seeds, shared->i); shared->i++) {
            run_one(seed_at(seeds, shared->i));
        }
        exit(0);
    }
    int wait_status = 0;
    if (child < 0 || waitpid(child, &wait_status, 0) != child) {
        perror("sim");
        exit(2);
    }
    scratch_remove(folder);
    return wait_status;
}

static void run_all(const struct seeds *seeds)
{
    while (is_one(seeds, shared->i)) {
        const int wait_status = run_some(seeds);
        if (wait_status != 0) {
            note_failure(seeds->arguments, seed_at(seeds, shared->i), wait_status);
            shared->failed++;
            shared->i++;
        }
    }
}

/* ---- Arguments ---- */

static bool take(struct arguments *a, const char *name, const char *value)
{
    if (strcmp(name, "--seed") == 0) {
        a->seed = strtoull(value, NULL, 10);
        a->has_seed = true;
    } else if (strcmp(name, "--from") == 0) {
        a->from = strtoull(value, NULL, 10);
    } else if (strcmp(name, "--step") == 0) {
        a->step = strtoull(value, NULL, 10);
    } else if (strcmp(name, "--count") == 0) {
        a->count = strtoull(value, NULL, 10);
    } else if (strcmp(name, "--seconds") == 0) {
        a->seconds = strtod(value, NULL);
    } else if (strcmp(name, "--list") == 0) {
        a->list = value;
    } else if (strcmp(name, "--failed") == 0) {
        a->failed = value;
    } else {
        return false;
    }
    return true;
}

static bool read_arguments(struct arguments *a, int argc, char **argv)
{
    *a = (struct arguments){.step = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            a->trace = true;
        } else if (i + 1 < argc && take(a, argv[i], argv[i + 1])) {
            i++;
        } else {
            fprintf(stderr,
                    "sim: %s: unknown, or without its value; see the head of "
                    "tests/sim/sim.c\n",
                    argv[i]);
            return false;
        }
    }
    return true;
}

static int run_seed(const struct arguments *a)
{
    char folder[SCRATCH_SIZE];
    scratch_make(folder);
    ASSERT(chdir(folder) == 0);
    trace_switch(a->trace);
    run_twice(a->seed);
    scratch_remove(folder);
    return 0;
}

int main(int argc, char **argv)
{
    static struct arguments arguments;
    static struct seeds seeds;
    if (!read_arguments(&arguments, argc, argv)) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* the last line before a crash counts */
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 0); /* memory: the stores are small and many */
    }
    if (arguments.has_seed) {
        return run_seed(&arguments);
    }
    seeds.arguments = &arguments;
    if (arguments.list && read_list(&seeds, arguments.list) != STATUS_OK) {
        return 2;
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(shared != MAP_FAILED);
    shared->begin_s = shared->reported_s = now_s();
    seeds.until_s = arguments.seconds > 0 ? shared->begin_s + arguments.seconds : 0;
    run_all(&seeds);
    report(shared->failed);
    return shared->failed > 0 ? 1 : 0;
}
