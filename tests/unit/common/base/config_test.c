/* The configuration: types, limits, files, flags, and what is said about each mistake. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/config.h"
#include "common/base/memory.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#define TABLES_MAX 3

struct shared {
    char name[CONFIG_TEXT_SIZE];
    int64_t seed;
};

struct learner {
    bool resume;
    int64_t batch_snippets;
    int64_t memory;
    double discount;
    char replay_table[CONFIG_TEXT_SIZE];
    char prior[CONFIG_TEXT_SIZE];
    struct config_ints layers;
    struct config_texts tasks;
    int64_t seed;
    size_t n_tables;
    struct table {
        struct config_entry entry;
        int64_t memory; /* the learner's, where not given */
        int64_t rows;
        char prior[CONFIG_TEXT_SIZE];
        struct config_texts tags;
    } tables[TABLES_MAX];
};

#define SHARED(field)  offsetof(struct shared, field)
#define LEARNER(field) offsetof(struct learner, field)

static const struct config_option shared_options[] = {
    {"name", CONFIG_TEXT, SHARED(name), "", "run", 0, 0, NULL, "name of the run"},
    {"seed", CONFIG_INT, SHARED(seed), "", "1", 0, 0, NULL, "seed of the run"},
};
static const struct config_option learner_options[] = {
    {"resume", CONFIG_BOOL, LEARNER(resume), "", "false", 0, 0, NULL, "go on"},
    {"batch_snippets", CONFIG_INT, LEARNER(batch_snippets), "snippets", "64", 1, 65536, NULL,
     "batch"},
    {"memory", CONFIG_INT, LEARNER(memory), "bytes", "2G", 0, 1e15, NULL, "memory"},
    {"discount", CONFIG_REAL, LEARNER(discount), "", "0.99", 0, 1, NULL, "gamma"},
    {"replay_table", CONFIG_TEXT, LEARNER(replay_table), "", "", 0, 0, NULL, "table"},
    {"prior", CONFIG_CHOICE, LEARNER(prior), "", "abm", 0, 0, "none|bm|abm", "which prior"},
    {"layers", CONFIG_INTS, LEARNER(layers), "units", "[256, 256]", 1, 4096, NULL, "widths"},
    {"tasks", CONFIG_TEXTS, LEARNER(tasks), "", "[]", 0, 0, NULL, "tasks"},
    {"seed", CONFIG_INT, LEARNER(seed), "", "0", 0, 0, NULL, "seed of the learner"},
};

static const struct config_rename learner_renames[] = {{"batch", "batch_snippets"},
                                                       {"widths", "layers"}};

#define TABLE(field) offsetof(struct table, field)
static const struct config_option table_options[] = {
    {"memory", CONFIG_INT, TABLE(memory), "bytes", "1", 0, 1e15, NULL, "memory"},
    {"rows", CONFIG_INT, TABLE(rows), "rows", "7", 1, 100, NULL, "rows"},
    {"prior", CONFIG_CHOICE, TABLE(prior), "", "bm", 0, 0, "none|bm|abm", "which prior"},
    {"tags", CONFIG_TEXTS, TABLE(tags), "", "[x]", 0, 0, NULL, "tags"},
};
static const struct config_rename table_renames[] = {{"lines", "rows"}};
static const struct config_group learner_groups[] = {
    {.name = "tables",
     .help = "settings of single tables",
     .options = table_options,
     .n_options = 4,
     .renames = table_renames,
     .n_renames = 1,
     .entries_offset = LEARNER(tables),
     .count_offset = LEARNER(n_tables),
     .entry_size = sizeof(struct table),
     .max_entries = TABLES_MAX},
};

static struct shared shared;
static struct learner learner;
static struct err err;
static bool done;
static char path[2 * SCRATCH_SIZE];

static const struct config_section sections[] = {
    {.name = "experiment", .options = shared_options, .n_options = 2, .values = &shared},
    {.name = "learner",
     .options = learner_options,
     .n_options = 9,
     .values = &learner,
     .renames = learner_renames,
     .n_renames = 2,
     .groups = learner_groups,
     .n_groups = 1},
};

/* Loads with these flags; the list ends with NULL. */
static status load_flags(const char *flag, ...)
{
    char *argv[16] = {strdup("program")};
    int argc = 1;
    va_list args;
    va_start(args, flag);
    for (; flag != NULL; flag = va_arg(args, const char *)) {
        argv[argc++] = strdup(flag);
    }
    va_end(args);
    memset(&shared, 0xaa, sizeof shared);
    memset(&learner, 0xaa, sizeof learner);
    err = (struct err){0};
    const status s = config_load(sections, 2, "program: tests", argc, argv, &done, &err);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return s;
}

static char *config_flag(void)
{
    static char flag[3 * SCRATCH_SIZE];
    snprintf(flag, sizeof flag, "--config=%s", path);
    return flag;
}

static status load_yaml(const char *yaml)
{
    scratch_write(path, yaml);
    return load_flags(config_flag(), NULL);
}

/* The file is refused, with exactly this text behind its path. */
static void assert_refused(const char *yaml, const char *expected)
{
    assert_int_equal(load_yaml(yaml), STATUS_INVALID);
    assert_int_equal(err.code, STATUS_INVALID);
    assert_int_equal(strncmp(err.text, path, strlen(path)), 0);
    assert_string_equal(err.text + strlen(path), expected);
}

static void assert_flag_refused(const char *flag, const char *expected)
{
    assert_int_equal(load_flags(flag, NULL), STATUS_INVALID);
    assert_string_equal(err.text, expected);
}

static void defaults(void **state)
{
    (void)state;
    assert_int_equal(load_flags(NULL), STATUS_OK);
    assert_false(done);
    assert_string_equal(shared.name, "run");
    assert_int_equal(shared.seed, 1);
    assert_false(learner.resume);
    assert_int_equal(learner.batch_snippets, 64);
    assert_int_equal(learner.memory, 2ll << 30);
    assert_true(learner.discount == 0.99);
    assert_string_equal(learner.replay_table, "");
    assert_string_equal(learner.prior, "abm");
    assert_int_equal(learner.layers.n, 2);
    assert_int_equal(learner.layers.items[1], 256);
    assert_int_equal(learner.tasks.n, 0);
}

static void file_sets_every_type(void **state)
{
    (void)state;
    assert_int_equal(load_yaml("# a comment\n"
                               "experiment:\n"
                               "  name: \"a: b # c\"\n"
                               "learner:\n"
                               "  resume: true\n"
                               "  batch_snippets: 65536\n"
                               "  memory: 64M\n"
                               "  discount: 1e-3\n"
                               "  replay_table: ~\n"
                               "  prior: 'none'\n"
                               "  layers: [1, 2, 4096]\n"
                               "  tasks:\n"
                               "    - run\n"
                               "    - \"two words, comma\"\n"
                               "  seed: -7\n"
                               "evaluator:\n"
                               "  whatever: [1, {a: b}, [c]]\n"
                               "  learner: {x: 1}\n"
                               "collector:\n"),
                     STATUS_OK);
    assert_string_equal(shared.name, "a: b # c");
    assert_true(learner.resume);
    assert_int_equal(learner.batch_snippets, 65536);
    assert_int_equal(learner.memory, 64ll << 20);
    assert_true(learner.discount == 1e-3);
    assert_string_equal(learner.replay_table, "");
    assert_string_equal(learner.prior, "none");
    assert_int_equal(learner.layers.n, 3);
    assert_int_equal(learner.layers.items[2], 4096);
    assert_int_equal(learner.tasks.n, 2);
    assert_string_equal(learner.tasks.items[1], "two words, comma");
    assert_int_equal(learner.seed, -7);
    assert_int_equal(shared.seed, 1);
}

static void empty_files_are_all_defaults(void **state)
{
    (void)state;
    static const char *const empty[] = {"", "\n\n# only a comment\n", "---\n", "learner:\n", "{}"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        assert_int_equal(load_yaml(empty[i]), STATUS_OK);
        assert_int_equal(learner.batch_snippets, 64);
    }
}

static void mistakes_in_the_file_name_line_key_value_and_expectation(void **state)
{
    (void)state;
    assert_refused("learner:\n  batch_snippets: many\n",
                   ":2: learner.batch_snippets: \"many\": expected an integer 1..65536");
    assert_refused("learner:\n  batch_snippets: 0\n",
                   ":2: learner.batch_snippets: \"0\": expected an integer 1..65536");
    assert_refused("learner:\n  batch_snippets: 64K\n",
                   ":2: learner.batch_snippets: \"64K\": expected an integer 1..65536");
    assert_refused("learner:\n  batch_snippets: 1.5\n",
                   ":2: learner.batch_snippets: \"1.5\": expected an integer 1..65536");
    assert_refused("learner:\n\n  batch_snippets: \"64\"\n",
                   ":3: learner.batch_snippets: \"64\" in quotes: expected an integer 1..65536");
    assert_refused("learner:\n  batch_snippets: [64]\n",
                   ":2: learner.batch_snippets: a list: expected an integer 1..65536");
    assert_refused("learner:\n  seed: 99999999999999999999\n",
                   ":2: learner.seed: \"99999999999999999999\": expected an integer");
    assert_refused(
        "learner:\n  memory: 9000000T\n",
        ":2: learner.memory: \"9000000T\": expected bytes, such as 4096 or 64M, 0..1e+15");
    assert_refused("learner:\n  resume: yes\n",
                   ":2: learner.resume: \"yes\": expected true or false");
    assert_refused("learner:\n  discount: nan\n",
                   ":2: learner.discount: \"nan\": expected a number 0..1");
    assert_refused("learner:\n  discount: 1.0001\n",
                   ":2: learner.discount: \"1.0001\": expected a number 0..1");
    assert_refused("learner:\n  prior: ab\n",
                   ":2: learner.prior: \"ab\": expected one of none|bm|abm");
    assert_refused(
        "learner:\n  layers: 256\n",
        ":2: learner.layers: a single value: expected a list of at most 64 integers 1..4096");
    assert_refused("learner:\n  layers: [256, wide]\n",
                   ":2: learner.layers: \"wide\": expected a list of at most 64 integers 1..4096");
    assert_refused("learner:\n  layers: [256,\n   '1']\n",
                   ":3: learner.layers: an item is quoted: expected an integer");
    assert_refused("learner:\n  tasks: [[a]]\n",
                   ":2: learner.tasks: an item is a list: expected text");
    assert_refused("learner:\n  replay_table: {a: b}\n",
                   ":2: learner.replay_table: a mapping: expected text of at most 511 bytes");
}

static void mistakes_in_the_shape_of_the_file(void **state)
{
    (void)state;
    assert_refused("learner:\n  batch_snipets: 3\n",
                   ":2: learner.batch_snipets: unknown option (did you mean \"batch_snippets\"?)");
    assert_refused("learner:\n  zzz: 3\n", ":2: learner.zzz: unknown option");
    assert_refused("experiment:\n  seed: 1\nlerner:\n  seed: 3\n",
                   ":3: lerner: unknown section (did you mean \"learner\"?)");
    assert_refused("learner:\n  seed: 1\n  resume: true\n  seed: 1\n",
                   ":4: learner.seed: already set in line 2");
    assert_refused("learner:\n  seed: 1\nlearner:\n  resume: true\n",
                   ":3: learner: section already begun in line 1");
    assert_refused("evaluator:\nevaluator:\n", ":2: evaluator: section already begun in line 1");
    assert_refused("learner: 3\n",
                   ":1: learner: expected a section, options indented below its name");
    assert_refused("evaluator: [1]\n",
                   ":1: evaluator: expected a section, options indented below its name");
    assert_refused("just text\n", ":1: a single value: expected sections");
    assert_refused("- a\n", ":1: a list: expected sections");
    assert_refused("learner:\n  ? [a]\n  : b\n",
                   ":2: learner: a list where an option's name was expected");
    assert_refused("learner:\n  seed: &x 1\n",
                   ":2: learner.seed: a value with an anchor or a tag: expected an integer");
    assert_refused("learner:\n  replay_table: \"a\\0b\"\n",
                   ":2: learner.replay_table: a value with an anchor or a tag: expected text of at "
                   "most 511 bytes");
    assert_refused("learner:\n  seed: 1\n---\nlearner:\n", ":3: a second document: expected one");
    assert_int_equal(load_yaml("learner:\n  seed: 1\n bad\n"), STATUS_INVALID);
    assert_non_null(strstr(err.text, ":3: not valid YAML"));
    assert_int_equal(load_yaml("learner:\n\tseed: 1\n"), STATUS_INVALID);
    assert_non_null(strstr(err.text, "not valid YAML"));
}

static void lists_and_texts_have_a_most(void **state)
{
    (void)state;
    char yaml[2048] = "learner:\n  layers: [1";
    for (int i = 1; i < CONFIG_LIST_MAX; i++) {
        strcat(yaml, ", 1");
    }
    char over[2100];
    snprintf(over, sizeof over, "%s, 1]\n", yaml);
    strcat(yaml, "]\n");
    assert_int_equal(load_yaml(yaml), STATUS_OK);
    assert_int_equal(learner.layers.n, CONFIG_LIST_MAX);
    assert_int_equal(load_yaml(over), STATUS_INVALID);

    char text[CONFIG_TEXT_SIZE + 64] = "--replay_table=";
    const size_t start = strlen(text);
    memset(text + start, 'x', CONFIG_TEXT_SIZE - 1);
    text[start + CONFIG_TEXT_SIZE - 1] = '\0';
    assert_int_equal(load_flags(text, NULL), STATUS_OK);
    assert_int_equal(strlen(learner.replay_table), CONFIG_TEXT_SIZE - 1);
    strcat(text, "x");
    assert_int_equal(load_flags(text, NULL), STATUS_INVALID);
}

static void flags_win_over_the_file_and_later_ones_over_earlier(void **state)
{
    (void)state;
    scratch_write(path, "learner:\n  batch_snippets: 8\n  layers: [1]\n  resume: true\n");
    assert_int_equal(load_flags("--batch_snippets=16", config_flag(), "--layers=3,4",
                                "--tasks=[a, b]", "--resume=false", "--discount=.5",
                                "--experiment.seed=5", "--learner.seed=6", "--batch_snippets=17",
                                "--name=", NULL),
                     STATUS_OK);
    assert_int_equal(learner.batch_snippets, 17);
    assert_int_equal(learner.layers.n, 2);
    assert_int_equal(learner.layers.items[0], 3);
    assert_int_equal(learner.tasks.n, 2);
    assert_string_equal(learner.tasks.items[1], "b");
    assert_false(learner.resume);
    assert_true(learner.discount == 0.5);
    assert_int_equal(shared.seed, 5);
    assert_int_equal(learner.seed, 6);
    assert_string_equal(shared.name, "");
    /* A switch may stand alone; an empty list is a list. */
    assert_int_equal(load_flags("--resume", "--layers=[]", NULL), STATUS_OK);
    assert_true(learner.resume);
    assert_int_equal(learner.layers.n, 0);
}

static void mistakes_in_flags(void **state)
{
    (void)state;
    assert_flag_refused("--batch_snippets=many",
                        "--batch_snippets: \"many\": expected an integer 1..65536");
    assert_flag_refused("--batch_snipets=3", "--batch_snipets: unknown flag (did you mean "
                                             "\"batch_snippets\"?), see --help");
    assert_flag_refused("--seed=3", "--seed: 2 sections have this option; write --SECTION.seed=..");
    assert_flag_refused("--evaluator.seed=3", "--evaluator.seed: unknown flag, see --help");
    assert_flag_refused("--batch_snippets",
                        "--batch_snippets: no value: expected --batch_snippets=VALUE, an integer "
                        "1..65536");
    assert_flag_refused("batch_snippets=3", "batch_snippets=3: expected --name=value");
    assert_flag_refused("-v", "-v: expected --name=value");
    assert_flag_refused("--", "--: expected --name=value");
    assert_flag_refused("--=3", "--=3: expected --name=value");
    assert_flag_refused("--layers=1,,2",
                        "--layers: \"\": expected a list of at most 64 integers 1..4096");
    assert_flag_refused("--tasks=a,", "--tasks: \",\": expected a list of at most 64 texts");
    assert_int_equal(load_flags("--config=/no/such.yaml", NULL), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/such.yaml"));
    assert_int_equal(load_flags("--config=a", "--config=b", NULL), STATUS_INVALID);
}

/* What config_load prints to stdout for this flag; free it. */
static char *printed_by(const char *flag)
{
    fflush(stdout);
    const int saved = dup(STDOUT_FILENO);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    const status s = load_flags("--batch_snippets=nonsense", flag, NULL);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(fd);
    close(saved);
    assert_int_equal(s, STATUS_OK);
    assert_true(done);
    return scratch_read(path);
}

static void help_shows_every_option(void **state)
{
    (void)state;
    char *text = printed_by("--help");
    char *short_form = printed_by("-h");
    assert_string_equal(text, short_form);
    free(short_form);
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(strcspn(line, "\n") <= 100);
    }
    assert_non_null(strstr(text, "program: tests"));
    assert_non_null(strstr(text, "--config=FILE"));
    assert_non_null(strstr(text, "--batch_snippets=64"));
    assert_non_null(strstr(text, "an integer 1..65536; snippets"));
    for (size_t i = 0; i < 9; i++) {
        assert_non_null(strstr(text, learner_options[i].name));
        assert_non_null(strstr(text, learner_options[i].help));
    }
    free(text);
    text = printed_by("--version");
    assert_string_equal(text, HINDCAST_VERSION "\n");
    free(text);
}

static void sample_reads_back_as_the_defaults(void **state)
{
    (void)state;
    char *text = printed_by("--sample");
    const struct learner before = learner;
    assert_int_equal(load_yaml(text), STATUS_OK);
    assert_string_equal(shared.name, "run");
    assert_int_equal(learner.batch_snippets, 64);
    assert_memory_equal(&learner.layers, &before.layers, sizeof before.layers);
    assert_int_equal(learner.memory, before.memory);
    free(text);
}

static char *print_config(void)
{
    struct text out = {0};
    config_print_text(&out, sections, 2);
    return text_take(&out, NULL);
}

static void print_reads_back_whatever_the_values(void **state)
{
    (void)state;
    assert_int_equal(load_flags("--name=a \"quoted\" \\ text: # 1", "--replay_table=true",
                                "--discount=0.1", "--tasks=~,null,-1,a: b", "--resume", NULL),
                     STATUS_OK);
    snprintf(learner.tasks.items[0], CONFIG_TEXT_SIZE, "tab\tnewline\nbell\a \xc3\xa9");
    char *first = print_config();
    assert_non_null(strstr(first, "  discount: 0.1\n"));
    const struct shared shared_before = shared;
    const struct config_texts tasks_before = learner.tasks;
    assert_int_equal(load_yaml(first), STATUS_OK);
    assert_string_equal(shared.name, shared_before.name);
    assert_string_equal(learner.replay_table, "true");
    assert_int_equal(learner.tasks.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(learner.tasks.items[i], tasks_before.items[i]);
    }
    char *second = print_config();
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void digest_follows_the_values(void **state)
{
    (void)state;
    assert_int_equal(load_flags(NULL), STATUS_OK);
    const uint64_t default_digest = config_digest(&sections[1]);
    assert_int_equal(load_flags("--batch_snippets=64", "--memory=2048M", NULL), STATUS_OK);
    assert_int_equal(config_digest(&sections[1]), default_digest);
    assert_int_equal(load_flags("--batch_snippets=65", NULL), STATUS_OK);
    assert_int_not_equal(config_digest(&sections[1]), default_digest);
    assert_int_equal(load_flags("--experiment.seed=9", NULL), STATUS_OK);
    assert_int_equal(config_digest(&sections[1]), default_digest);
}

/* What is logged to stderr while the file or the flags are loaded; free it. */
static char *logged_by(const char *yaml, const char *flag)
{
    char log[2 * SCRATCH_SIZE];
    scratch_path(log, scratch_folder, "stderr");
    fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    const int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    const status s = yaml != NULL ? load_yaml(yaml) : load_flags(flag, NULL);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(fd);
    close(saved);
    assert_int_equal(s, STATUS_OK);
    return scratch_read(log);
}

static void assert_warned(const char *text, const char *warning)
{
    const char *first = strstr(text, warning);
    assert_non_null(first);
    assert_null(strstr(first + 1, warning));
}

static void renamed_options_work_and_warn(void **state)
{
    (void)state;
    char *text = logged_by("learner:\n  prior: bm\n  batch: 3\n  widths: [5]\n"
                           "  tables: {a: {lines: 9}}\n",
                           NULL);
    assert_int_equal(learner.batch_snippets, 3);
    assert_int_equal(learner.layers.n, 1);
    assert_int_equal(learner.layers.items[0], 5);
    assert_int_equal(learner.tables[0].rows, 9);
    assert_warned(text,
                  "cheetah.yaml:3: the option learner.batch is now called batch_snippets; the "
                  "next release will not accept the old name");
    assert_warned(text, "cheetah.yaml:4: the option learner.widths is now called layers;");
    assert_warned(text, "cheetah.yaml:5: the option learner.tables.a.lines is now called rows;");
    free(text);

    text = logged_by(NULL, "--batch=4");
    assert_int_equal(learner.batch_snippets, 4);
    assert_warned(text, "--batch: the option learner.batch is now called batch_snippets;");
    free(text);
    text = logged_by(NULL, "--learner.batch=5");
    assert_int_equal(learner.batch_snippets, 5);
    assert_warned(text, "--learner.batch: the option learner.batch is now called batch_snippets;");
    free(text);
    text = logged_by(NULL, "--tables.b.lines=5");
    assert_int_equal(learner.tables[0].rows, 5);
    assert_warned(text, "--tables.b.lines: the option learner.lines is now called rows;");
    free(text);
    text = logged_by(NULL, "--batch_snippets=5");
    assert_string_equal(text, "");
    free(text);

    /* Old and new name are one option. */
    assert_refused("learner:\n  batch: 3\n  batch_snippets: 4\n",
                   ":3: learner.batch_snippets: already set in line 2");
    assert_refused("learner:\n  batch: many\n",
                   ":2: learner.batch_snippets: \"many\": expected an integer 1..65536");
    /* The old name is on no page. */
    text = printed_by("--help");
    assert_null(strstr(text, "widths="));
    free(text);
}

static const struct table *table_named(const char *name)
{
    for (size_t i = 0; i < learner.n_tables; i++) {
        if (strcmp(learner.tables[i].entry.name, name) == 0) {
            return &learner.tables[i];
        }
    }
    fail_msg("no table %s", name);
    return NULL;
}

static void groups_have_named_entries(void **state)
{
    (void)state;
    assert_int_equal(load_yaml("learner:\n"
                               "  tables:\n"
                               "    expert: {memory: 3, tags: [a, b]}\n"
                               "    \"two words: #.x\":\n"
                               "      rows: 8\n"
                               "    plain:\n"
                               "  memory: 5\n"
                               "  prior: none\n"),
                     STATUS_OK);
    assert_int_equal(learner.n_tables, 3);
    /* What is not given comes from the section, or is the option's default. */
    const struct table *table = table_named("expert");
    assert_int_equal(table->memory, 3);
    assert_int_equal(table->rows, 7);
    assert_string_equal(table->prior, "none");
    assert_int_equal(table->tags.n, 2);
    assert_int_equal(table->entry.given, 1 | 8);
    table = table_named("two words: #.x");
    assert_int_equal(table->memory, 5);
    assert_int_equal(table->rows, 8);
    assert_string_equal(table->tags.items[0], "x");
    assert_int_equal(table_named("plain")->memory, 5);
    assert_int_equal(table_named("plain")->entry.given, 0);

    /* Printed and read back. */
    char *first = print_config();
    assert_int_equal(load_yaml(first), STATUS_OK);
    assert_int_equal(learner.n_tables, 3);
    assert_int_equal(table_named("two words: #.x")->rows, 8);
    char *second = print_config();
    assert_string_equal(first, second);
    free(first);
    free(second);

    /* Flags win over the file, and name entries that it does not have. */
    scratch_write(path, "learner:\n  tables: {a: {rows: 2, memory: 2}}\n");
    assert_int_equal(load_flags(config_flag(), "--tables.a.rows=3", "--learner.tables.b.x.rows=4",
                                "--memory=9", "--tables.a.rows=5", NULL),
                     STATUS_OK);
    assert_int_equal(learner.n_tables, 2);
    assert_int_equal(table_named("a")->rows, 5);
    assert_int_equal(table_named("a")->memory, 2);
    assert_int_equal(table_named("b.x")->rows, 4);
    assert_int_equal(table_named("b.x")->memory, 9);

    assert_int_equal(load_yaml("learner:\n  tables:\n"), STATUS_OK);
    assert_int_equal(learner.n_tables, 0);
    char *help = printed_by("--help");
    assert_non_null(strstr(help, "--tables.NAME.OPTION=VALUE\n        settings of single tables "
                                 "(OPTION is one of memory, rows, prior, tags)"));
    free(help);
}

/* A file of 1 MiB is read or refused in seconds, however it nests. */
static void deep_nesting_is_refused_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *level, *end;
    } KINDS[] = {{"[", ""},   {"{a: ", ""},        {"- ", "x"},
                 {"? ", "x"}, {"[[[[\n     ", ""}, {"[{a: ", ""}};
    static char yaml[1u << 20];
    for (size_t k = 0; k < sizeof KINDS / sizeof KINDS[0]; k++) {
        size_t used = (size_t)snprintf(yaml, sizeof yaml, "collector:\n  x:\n    ");
        while (used + 16 < sizeof yaml) {
            used += (size_t)snprintf(yaml + used, sizeof yaml - used, "%s", KINDS[k].level);
        }
        snprintf(yaml + used, sizeof yaml - used, "%s\n", KINDS[k].end);
        const uint64_t begin_ns = clock_now_ns();
        assert_int_equal(load_yaml(yaml), STATUS_INVALID);
        assert_true(clock_now_ns() - begin_ns < 3 * NS_PER_S);
        if (strstr(err.text, "nested deeper than 32 levels") == NULL) {
            fail_msg("%s", err.text);
        }
    }
    /* What people write is far from it. */
    assert_int_equal(
        load_yaml("collector: {a: [[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]}\n"),
        STATUS_OK);
}

static void mistakes_in_groups(void **state)
{
    (void)state;
    assert_refused("learner:\n  tables: 3\n",
                   ":2: learner.tables: a single value: expected names with their options below "
                   "them");
    assert_refused("learner:\n  tables: [a]\n",
                   ":2: learner.tables: a list: expected names with their options below them");
    assert_refused("learner:\n  tables: &x {a: {}}\n",
                   ":2: learner.tables: a mapping: expected names with their options below them");
    assert_refused("learner:\n  tables:\n    [a]: {}\n",
                   ":3: learner.tables: a list where a name was expected");
    assert_refused("learner:\n  tables:\n    a: 3\n",
                   ":3: learner.tables.a: a single value: expected options indented below the "
                   "name");
    assert_refused("learner:\n  tables:\n    a: {row: 3}\n",
                   ":3: learner.tables.a.row: unknown option (did you mean \"rows\"?)");
    assert_refused("learner:\n  tables:\n    a: {rows: 300}\n",
                   ":3: learner.tables.a.rows: \"300\": expected an integer 1..100");
    assert_refused("learner:\n  tables:\n    a: {tables: {b: {}}}\n",
                   ":3: learner.tables.a.tables: unknown option (did you mean \"tags\"?)");
    assert_refused("learner:\n  tables:\n    a: {rows: 3}\n    a: {rows: 4}\n",
                   ":4: learner.tables.a: given twice");
    assert_refused("learner:\n  tables: {}\n  tables: {}\n",
                   ":3: learner.tables: already set in line 2");
    assert_refused("learner:\n  tabels: {}\n",
                   ":2: learner.tabels: unknown option (did you mean \"tables\"?)");
    assert_refused("learner:\n  tables:\n    \"\": {rows: 3}\n",
                   ":3: learner.tables: \"\": expected a name of 1 to 64 bytes without control "
                   "characters");
    assert_refused("learner:\n  tables: {a: , b: , c: , d: }\n",
                   ":2: learner.tables: \"d\": there are 3 already, and no more can be");
    assert_flag_refused("--tables.a.row=3", "--tables.a.row: unknown flag, see --help");
    assert_flag_refused("--tables.rows=3", "--tables.rows: unknown flag, see --help");
    assert_flag_refused("--tables..rows=3", "--tables..rows: \"\": expected a name of 1 to 64 "
                                            "bytes without control characters");
    assert_flag_refused("--learner.tables.a.rows=0",
                        "--learner.tables.a.rows: \"0\": expected an integer 1..100");
    assert_flag_refused("--experiment.tables.a.rows=3",
                        "--experiment.tables.a.rows: unknown flag, see --help");
}

static void without_memory(void **state)
{
    (void)state;
    scratch_write(path, "experiment:\n  name: x\nlearner:\n  layers: [1]\n");
    uint64_t nth = 1;
    for (;; nth++) {
        memory_fail_at(nth);
        const status s = load_flags(config_flag(), NULL);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
        assert_non_null(strstr(err.text, "cheetah.yaml"));
    }
    assert_int_equal(nth, 4); /* the file's bytes, and a table of lines for each section */
}

/* Any bytes are read or refused, never worse: cut and changed files. */
static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    const char *good = "experiment:\n  name: \"x\"\nlearner:\n  layers: [1, 2]\n  prior: bm # c\n"
                       "  tables: {t: {rows: 3}}\nevaluator: {a: [b, c], d: e}\n";
    char bad[256];
    for (size_t i = 0; i < strlen(good); i++) {
        snprintf(bad, sizeof bad, "%.*s", (int)i, good);
        (void)load_yaml(bad);
        for (const char *c = "\"'[]{}:,&*!|>%@`\t\n\x01\xff#-?"; *c != '\0'; c++) {
            snprintf(bad, sizeof bad, "%s", good);
            bad[i] = *c;
            const status s = load_yaml(bad);
            assert_true(s == STATUS_OK || (s == STATUS_INVALID && err.text[0] != '\0'));
        }
    }
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "cheetah.yaml");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(file_sets_every_type),
        cmocka_unit_test(empty_files_are_all_defaults),
        cmocka_unit_test(mistakes_in_the_file_name_line_key_value_and_expectation),
        cmocka_unit_test(mistakes_in_the_shape_of_the_file),
        cmocka_unit_test(lists_and_texts_have_a_most),
        cmocka_unit_test(flags_win_over_the_file_and_later_ones_over_earlier),
        cmocka_unit_test(mistakes_in_flags),
        cmocka_unit_test(help_shows_every_option),
        cmocka_unit_test(sample_reads_back_as_the_defaults),
        cmocka_unit_test(print_reads_back_whatever_the_values),
        cmocka_unit_test(digest_follows_the_values),
        cmocka_unit_test(renamed_options_work_and_warn),
        cmocka_unit_test(groups_have_named_entries),
        cmocka_unit_test(mistakes_in_groups),
        cmocka_unit_test(deep_nesting_is_refused_at_once),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_tear_down);
}
