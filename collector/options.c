/* The table behind the `collector` section. Defaults that the paper gives are said to be its; all
 * others are ours. */
#include "collector/options.h"

#include <stdio.h>
#include <string.h>

#define FIELD(name) offsetof(struct collector_options, name)

static const struct config_option table[] = {
    {"index", CONFIG_INT, FIELD(index), "", "0", 0, 1023, NULL,
     "which of several collectors this is"},
    {"count", CONFIG_INT, FIELD(count), "", "1", 1, 1024, NULL, "how many collectors there are"},
    {"act", CONFIG_CHOICE, FIELD(act), "", "policy", 0, 0, "policy|random",
     "the learner's policy, sampled, or uniform chance"},
    {"initial", CONFIG_CHOICE, FIELD(initial), "", "random", 0, 0, "random|wait",
     "until the first parameters come: act at random, or wait"},
    {"random_episodes", CONFIG_INT, FIELD(random_episodes), "episodes", "0", 0, 1e9, NULL,
     "the first so many act at random"},
    {"environments", CONFIG_INT, FIELD(environments), "", "1", 1, 256, NULL,
     "environments acted in at the same time, a thread each"},
    {"episodes", CONFIG_INT, FIELD(episodes), "episodes", "0", 0, 1e12, NULL,
     "to collect in all, earlier starts included; 0: until the run ends"},
    {"refresh_steps", CONFIG_INT, FIELD(refresh_steps), "steps", "0", 0, 1e9, NULL,
     "take the newest parameters every so many steps; 0: when an episode starts"},
    {"insert", CONFIG_BOOL, FIELD(insert), "", "false", 0, 0, NULL,
     "insert finished episodes into the replay (online learning)"},
    {"table", CONFIG_TEXT, FIELD(table), "", "default", 0, 0, NULL, "replay table to insert into"},
    {"folder", CONFIG_TEXT, FIELD(folder), "", "", 0, 0, NULL,
     "where the logs go; empty: RUN_DIR/logs (with several collectors /collector-INDEX in it)"},
    {"shard_episodes", CONFIG_INT, FIELD(shard_episodes), "episodes", "100", 1, 100000, NULL,
     "episodes per log file; until they are so many they stay in the journal"},
    {"finish_run", CONFIG_BOOL, FIELD(finish_run), "", "false", 0, 0, NULL,
     "end the run, the learner's too, after the last episode"},
};

struct config_section collector_section(struct collector_options *options)
{
    return (struct config_section){.name = "collector",
                                   .options = table,
                                   .n_options = sizeof table / sizeof table[0],
                                   .values = options};
}

status collector_options_finish(struct collector_options *options,
                                const struct experiment *experiment, struct err *err)
{
    if (options->index >= options->count) {
        return err_set(err, STATUS_INVALID, "collector.index %lld: expected less than count %lld",
                       (long long)options->index, (long long)options->count);
    }
    if (options->finish_run && options->episodes == 0) {
        return err_set(err, STATUS_INVALID,
                       "collector.finish_run: needs collector.episodes, which is 0 (no end)");
    }
    if (options->folder[0] != '\0') {
        return STATUS_OK;
    }
    char folder[2 * CONFIG_TEXT_SIZE];
    if (options->count == 1) {
        snprintf(folder, sizeof folder, "%s/logs", experiment->run_dir);
    } else {
        snprintf(folder, sizeof folder, "%s/logs/collector-%lld", experiment->run_dir,
                 (long long)options->index);
    }
    if (strlen(folder) >= sizeof options->folder) {
        return err_set(err, STATUS_INVALID, "collector.folder: %s is too long", folder);
    }
    strcpy(options->folder, folder);
    return STATUS_OK;
}
