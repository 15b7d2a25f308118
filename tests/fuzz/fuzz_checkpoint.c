/* Checkpoints: what a learner resumes from. The checksum refuses nearly every change, so the state is
 * also read without it. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "learner/run/checkpoint.h"
#include "tests/fuzz/fuzz.h"

static struct learner_options options;
static struct signature signature;
static struct settings settings;
static const char *folder, *path;

static void read_options(void)
{
    const struct config_section section = learner_options_section(&options);
    char program[] = "fuzz", widths[] = "--widths=6,4", samples[] = "--samples=2";
    char *argv[] = {program, widths, samples, NULL};
    struct err err = {0};
    bool done = false;
    fuzz_must(config_load(&section, 1, "fuzz", 3, argv, &done, &err), "options");
    signature = (struct signature){.n_slices = 1, .A = 2, .K = 1, .control_period_s = 0.02};
    snprintf(signature.slices[0].name, sizeof signature.slices[0].name, "state");
    signature.slices[0].size = 3;
    snprintf(signature.rewards[0], sizeof signature.rewards[0], "run");
    for (size_t i = 0; i < signature.A; i++) {
        signature.action_min[i] = -1;
        signature.action_max[i] = 1;
    }
    fuzz_must(learner_options_settings(&options, &signature, 3, &settings, &err), "settings");
}

static struct fuzz_input a_checkpoint(bool finished)
{
    struct state *state = NULL;
    struct err err = {0};
    static struct checkpoint about;
    about = (struct checkpoint){.version = 2,
                                .next_batch = 3,
                                .table_version = 77,
                                .learning_seconds = 0.5,
                                .finished = finished,
                                .signature = signature,
                                .config_digest = 5};
    snprintf(about.run_id, sizeof about.run_id, "20260131T120000-00c0ffee");
    snprintf(about.config, sizeof about.config, "learner:\n  gamma: 0.99\n");
    if (finished) {
        snprintf(about.finish_reason, sizeof about.finish_reason, "3 steps done");
        snprintf(about.finish_who, sizeof about.finish_who, "learner");
    }
    fuzz_must(state_new(&state, &settings, &err), "state");
    state_set_step(state, 3);
    fuzz_must(checkpoint_write(folder, 1, state, &settings, &about, &err), "checkpoint");
    state_free(state);
    return fuzz_read_file(path);
}

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    log_open("fuzz", LOG_ERROR + 1);
    folder = fuzz_path(scratch, "checkpoints");
    path = fuzz_path(scratch, "checkpoints/step-00000003.safetensors");
    read_options();
    seeds[0] = a_checkpoint(false);
    seeds[1] = a_checkpoint(true);
    return 2;
}

static bool run(const void *bytes, size_t size)
{
    struct err err = {0};
    fuzz_write_file(path, bytes, size);

    /* The state alone: what was accepted is read to its last float. */
    struct state *state = NULL;
    fuzz_must(state_new(&state, &settings, &err), "state");
    struct safetensors *file = NULL;
    if (state_load(state, &settings, path, &file, &err) == STATUS_OK) {
        volatile uint64_t digest = state_digest(state);
        (void)digest;
        safetensors_free(file);
    }
    state_free(state);

    /* As a learner resumes: nothing is set aside by a look. */
    static struct checkpoint about;
    struct settings found;
    state = NULL;
    if (checkpoint_look(folder, &options, 3, &state, &found, &about, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "a refusal without a reason");
        return false;
    }
    fuzz_must(strlen(about.run_id) >= sizeof about.run_id, "run_id");
    fuzz_must(strlen(about.config) >= sizeof about.config, "config");
    state_free(state);
    return true;
}

static const char *const words[] = {"\"F32\"",
                                    "\"shape\":[",
                                    "\"data_offsets\":[0,",
                                    "\"__metadata__\":{",
                                    "\"checksum\":\"",
                                    "\"learner_step\":\"",
                                    "\"next_batch\":\"18446744073709551615\"",
                                    "\"version\":\"-1\"",
                                    "\"widths\":\"6,4\"",
                                    "\"learning_seconds\":\"nan\"",
                                    "\"finished\":\"true\"",
                                    "\\u0000",
                                    "\\ud800",
                                    "1e300",
                                    "target/",
                                    "m/",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"checkpoint", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
