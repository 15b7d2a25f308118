/* The experiment file: YAML by libyaml, then our checks. */
#include <string.h>

#include "common/base/config.h"
#include "common/base/experiment.h"
#include "learner/run/options.h"
#include "tests/fuzz/fuzz.h"

static const char *path;

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    static const char *const texts[] = {
        "experiment:\n  name: x\n  seed: 3\n",
        "# c\nexperiment:\n  name: \"a b\"  # c\n  replay: [\"unix:a\", 'unix:b']\nlearner:\n"
        "  widths: [16, 16]\n  steps: 10\n  algorithm: abm+mpo\n  gamma: 0.99\nevaluator: {a: [b, "
        "c], d: e}\n",
        "learner: {widths: [256], samples: 20, listen: 'x'}\n",
        "experiment:\n  replay:\n    - unix:a\n    - unix:b\n  name: >\n    folded\n    text\n",
    };
    path = fuzz_path(scratch, "experiment.yaml");
    for (size_t i = 0; i < 4; i++) {
        seeds[i] = (struct fuzz_input){(void *)texts[i], strlen(texts[i])};
    }
    return 4;
}

static bool run(const void *bytes, size_t size)
{
    static struct experiment experiment;
    static struct learner_options options;
    const struct config_section sections[] = {experiment_section(&experiment),
                                              learner_options_section(&options)};
    struct err err = {0};
    bool done;
    char flag[512] = "--config=";
    strcat(flag, path);
    char *argv[] = {(char *)"fuzz", flag, NULL};
    fuzz_write_file(path, bytes, size);
    const bool accepted = config_load(sections, 2, "fuzz", 2, argv, &done, &err) == STATUS_OK;
    if (!accepted) {
        fuzz_must(err.text[0] == '\0', "no text");
    }
    return accepted;
}

static const char *const words[] = {
    "experiment:", "learner:", "  ",           "\n",       "- ",          "[",      "]",  "{",
    "}",           ": ",       "&a ",          "*a",       "!!int ",      "<<: *a", "\"", "'",
    "|\n",         ">\n",      "---\n",        "...\n",    "%YAML 1.1\n", "? ",     "\t", "64K",
    "1e999",       "null",     "\xef\xbb\xbf", "\xff\xfe", "seed: ",      NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"config", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
