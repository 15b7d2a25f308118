/* The experiment file: YAML by libyaml, then our checks. */
#include <string.h>

#include "common/base/config.h"
#include "common/base/experiment.h"
#include "learner/run/options.h"
#include "tests/fuzz/fuzz.h"

static const char *path;

/* A section with a group and a renamed option, under a role's name that the others leave free. */
static struct tabled {
    int64_t rows;
    size_t n_tables;
    struct fuzzed_table {
        struct config_entry entry;
        int64_t rows;
        struct config_texts tags;
    } tables[4];
} tabled;
static const struct config_option tabled_options[] = {
    {"rows", CONFIG_INT, offsetof(struct tabled, rows), "", "1", 0, 100, NULL, "rows"}};
static const struct config_rename tabled_renames[] = {{"lines", "rows"}};
static const struct config_option table_options[] = {
    {"rows", CONFIG_INT, offsetof(struct fuzzed_table, rows), "", "1", 0, 100, NULL, "rows"},
    {"tags", CONFIG_TEXTS, offsetof(struct fuzzed_table, tags), "", "[]", 0, 0, NULL, "tags"}};
static const struct config_group tabled_groups[] = {
    {.name = "tables",
     .help = "tables",
     .options = table_options,
     .n_options = 2,
     .entries_offset = offsetof(struct tabled, tables),
     .count_offset = offsetof(struct tabled, n_tables),
     .entry_size = sizeof(struct fuzzed_table),
     .max_entries = 4}};

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    static const char *const texts[] = {
        "experiment:\n  name: x\n  seed: 3\n",
        "# c\nexperiment:\n  name: \"a b\"  # c\n  replay: [\"unix:a\", 'unix:b']\nlearner:\n"
        "  widths: [16, 16]\n  steps: 10\n  algorithm: abm+mpo\n  gamma: 0.99\nevaluator: {a: [b, "
        "c], d: e}\n",
        "learner: {widths: [256], samples: 20, listen: 'x'}\n",
        "replay_server:\n  lines: 3\n  tables:\n    a: {rows: 2}\n    b: {tags: [x]}\n    c:\n",
        "experiment:\n  replay:\n    - unix:a\n    - unix:b\n  name: >\n    folded\n    text\n",
    };
    path = fuzz_path(scratch, "experiment.yaml");
    for (size_t i = 0; i < 5; i++) {
        seeds[i] = (struct fuzz_input){(void *)texts[i], strlen(texts[i])};
    }
    return 5;
}

static bool run(const void *bytes, size_t size)
{
    static struct experiment experiment;
    static struct learner_options options;
    const struct config_section sections[] = {experiment_section(&experiment),
                                              learner_options_section(&options),
                                              {.name = "replay_server",
                                               .options = tabled_options,
                                               .n_options = 1,
                                               .values = &tabled,
                                               .renames = tabled_renames,
                                               .n_renames = 1,
                                               .groups = tabled_groups,
                                               .n_groups = 1}};
    struct err err = {0};
    bool done;
    char flag[512] = "--config=";
    strcat(flag, path);
    char *argv[] = {(char *)"fuzz", flag, NULL};
    fuzz_write_file(path, bytes, size);
    const bool accepted = config_load(sections, 3, "fuzz", 2, argv, &done, &err) == STATUS_OK;
    if (!accepted) {
        fuzz_must(err.text[0] == '\0', "no text");
    } else {
        fuzz_must(tabled.n_tables > 4, "too many entries");
        for (size_t i = 0; i < tabled.n_tables; i++) {
            fuzz_must(tabled.tables[i].entry.name[0] == '\0', "an entry without a name");
        }
    }
    return accepted;
}

static const char *const words[] = {
    "experiment:", "learner:", "  ",      "\n",      "- ",           "[",        "]",      "{",
    "}",           ": ",       "&a ",     "*a",      "!!int ",       "<<: *a",   "\"",     "'",
    "|\n",         ">\n",      "---\n",   "...\n",   "%YAML 1.1\n",  "? ",       "\t",     "64K",
    "1e999",       "null",     "tables:", "lines: ", "\xef\xbb\xbf", "\xff\xfe", "seed: ", NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"config", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
