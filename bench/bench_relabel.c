/* bench_relabel [--script=FILE.lua] [--environment=sawyer-stack] [--seconds=2]
 *
 * How many steps a second a Lua file computes the rewards of, on one core:
 *
 *   relabel_steps N steps/s     all functions of the file, here nine
 *
 * The rows are random numbers in 0..1 with the environment's slices; without --script the file is
 * experiments/sawyer/rewards.lua. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/version.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/environments/environment.h"
#include "common/relabel/script.h"

#define STEPS 200

struct options {
    const char *script, *environment;
    double seconds;
};

/* A benchmark has nothing to fall back to. */
static void need(status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "bench_relabel: %s\n", err->text);
        exit(EXIT_FAILURE);
    }
}

/* An episode of random rows. */
static void fill(struct episode *episode, const struct signature *signature)
{
    struct err err = {0};
    struct rng rng;
    rng_init(&rng, 1, "bench_relabel", 0);
    episode_init(episode, signature_width(signature));
    need(episode_reserve(episode, STEPS + 1, &err), &err);
    episode->T = STEPS;
    for (size_t i = 0; i < (size_t)(STEPS + 1) * episode->W; i++) {
        episode->rows[i] = (float)rng_uniform(&rng);
    }
}

static void measure(const struct options *options)
{
    struct err err = {0};
    struct environment_description description;
    struct script *script;
    struct episode episode;
    need(environment_describe(&description, options->environment, &err), &err);
    need(script_open(&script, options->script, &description.signature, &err), &err);
    fill(&episode, &description.signature);
    float *rewards = mem_array((size_t)STEPS * script_n(script), sizeof *rewards);
    need(rewards != NULL ? STATUS_OK : err_set(&err, STATUS_NO_MEMORY, "out of memory"), &err);
    uint64_t n = 0, started_ns = clock_now_ns(), elapsed_ns = 0;
    while ((double)elapsed_ns < options->seconds * (double)NS_PER_S) {
        need(script_run(script, &episode, rewards, &err), &err);
        n += STEPS;
        elapsed_ns = clock_now_ns() - started_ns;
    }
    printf("relabel_functions %u functions\n", script_n(script));
    printf("relabel_steps %.6g steps/s\n", (double)n / ((double)elapsed_ns / (double)NS_PER_S));
    mem_free(rewards);
    episode_fini(&episode);
    script_close(script);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"script", required_argument, NULL, 's'},
        {"environment", required_argument, NULL, 'e'},
        {"seconds", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.script = HINDCAST_SOURCE_DIR "/experiments/sawyer/rewards.lua",
                              .environment = "sawyer-stack",
                              .seconds = 2.0};
    if (bench_version(argc, argv)) {
        return 0;
    }
    int flag;
    while ((flag = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (flag == 's') {
            options.script = optarg;
        } else if (flag == 'e') {
            options.environment = optarg;
        } else if (flag == 't') {
            options.seconds = strtod(optarg, NULL);
        } else {
            return 2;
        }
    }
    if (optind != argc || !(options.seconds > 0.0)) {
        fprintf(stderr, "usage: bench_relabel [--script=FILE.lua] [--environment=NAME] "
                        "[--seconds=2]\n");
        return 2;
    }
    measure(&options);
    return 0;
}
