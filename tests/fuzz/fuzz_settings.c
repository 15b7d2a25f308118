/* Options of a table that change while it is served: "name=value" from SetTable. Accepted: a change that
 * makes sense. */
#include <stdlib.h>
#include <string.h>

#include "replay_server/service/options.h"
#include "tests/fuzz/fuzz.h"

static struct options options;
static struct experiment experiment;

static const char *const words[] = {
    "max_transitions", "max_bytes", "max_episodes", "sampler", "=",
    "min_transitions", "10G",       "1e9",          "-1",      NULL};

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    (void)scratch;
    static const char *const texts[] = {"max_bytes=10G", "max_episodes=5", "samples_per_insert=2.5",
                                        "samples_per_insert_tolerance=1e6"};
    const struct config_section sections[] = {experiment_section(&experiment),
                                              options_section(&options)};
    char name[] = "fuzz";
    char *argv[] = {name, NULL};
    bool done;
    fuzz_must(config_load(sections, 2, "fuzz", 1, argv, &done, NULL), "defaults");
    options.map_bytes = 1 << 30;
    fuzz_must(options_table_finish(&options.table, "fuzz", &options, NULL), "finish");
    const size_t n = sizeof texts / sizeof texts[0];
    for (size_t i = 0; i < n; i++) {
        seeds[i] = (struct fuzz_input){(void *)texts[i], strlen(texts[i])};
    }
    return n;
}

/* What is shown of the options makes the same options. */
static void check_texts(const struct table_options *table)
{
    static struct table_options again;
    const char *name;
    char value[TABLE_OPTION_VALUE_SIZE], same[TABLE_OPTION_VALUE_SIZE];
    again = *table;
    for (size_t i = 0; options_table_text(table, i, &name, value); i++) {
        if (options_table_change(&again, name, value, NULL) == STATUS_OK) {
            (void)options_table_text(&again, i, &name, same);
            fuzz_must(strcmp(value, same) != 0, "a value that changes when it is read back");
        }
    }
}

static bool run(const void *bytes, size_t size)
{
    static struct table_options table;
    char *text = malloc(size + 1);
    fuzz_must(text == NULL, "memory");
    memcpy(text, bytes, size);
    text[size] = '\0';
    char *equals = strchr(text, '=');
    bool accepted = false;
    if (equals) {
        struct err err;
        *equals = '\0';
        table = options.table;
        accepted = options_table_change(&table, text, equals + 1, &err) == STATUS_OK &&
                   options_table_finish(&table, "fuzz", &options, &err) == STATUS_OK;
    }
    if (accepted) {
        const struct table_settings settings = options_table_settings(&table);
        const struct limiter_settings limiter = options_limiter_settings(&table);
        fuzz_must(settings.max_times_sampled != 0, "an option that is fixed has changed");
        fuzz_must(limiter_check(&limiter, NULL), "rates that the limiter refuses");
        check_texts(&table);
    }
    free(text);
    return accepted;
}

int main(int argc, char **argv)
{
    const struct fuzz_target target = {
        .name = "settings", .seeds = make_seeds, .run = run, .words = words};
    return fuzz_main(&target, argc, argv);
}
