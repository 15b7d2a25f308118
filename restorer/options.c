/* The options of the `restorer` section. All defaults are our own: the paper gives none of these.
 *
 * What depends on one option alone is bounded by the table; the function below checks the rest,
 * before any file is opened. */
#include "restorer/options.h"

#include <string.h>

#define TABLE_NAME_MAX 64u /* proto/replay.proto */

/* Where the parser stores a value. */
#define FIELD(name) offsetof(struct restorer_options, name)

/* Name, type, place, unit, default, least, most, choices, help. */
static const struct config_option restorer_options_table[] = {
    {"index", CONFIG_INT, FIELD(index), "", "0", 0, 1023, NULL,
     "which of several restorers this is"},
    {"count", CONFIG_INT, FIELD(count), "", "1", 1, 1024, NULL,
     "how many restorers share the logs; the table is sealed when all are done"},
    {"folder", CONFIG_TEXT, FIELD(folder), "", "", 0, 0, NULL,
     "the logs: a dataset, a folder whose subfolders are datasets, or logs of another format "
     "(docs/logs.md)"},
    {"mapping", CONFIG_TEXT, FIELD(mapping), "", "", 0, 0, NULL,
     "how logs of another format are read: a file that `hindcast dataset map` proposes; empty: "
     "FOLDER/mapping.yaml, or the proposal where nothing in it has to be confirmed"},
    {"mode", CONFIG_CHOICE, FIELD(mode), "", "once", 0, 0, "once|loop",
     "insert everything once and seal the table, or repeat without end at the pace of the server"},
    {"table", CONFIG_TEXT, FIELD(table), "", "default", 0, 0, NULL, "replay table to insert into"},
    {"shuffle", CONFIG_BOOL, FIELD(shuffle), "", "true", 0, 0, NULL,
     "another order of shards, and of episodes within a shard, in each pass"},
    {"prefetch", CONFIG_INT, FIELD(prefetch), "episodes", "16", 1, 4096, NULL,
     "episodes read while others are being sent"},
    {"in_flight", CONFIG_INT, FIELD(in_flight), "bytes", "8M", 65536, 1e10, NULL,
     "bytes of rows that are sent and not yet acknowledged"},
    {"actions", CONFIG_CHOICE, FIELD(actions), "", "refuse", 0, 0, "refuse|clip",
     "what is done with actions beyond their limits: the episode is refused, or they are clipped "
     "and "
     "counted"},
    {"bad_rows", CONFIG_CHOICE, FIELD(bad_rows), "", "refuse", 0, 0, "refuse|split",
     "what is done with rows with missing or infinite values: the episode is refused, or it is cut "
     "around them, and told how often"},
    {"min_piece", CONFIG_INT, FIELD(min_piece), "transitions", "2", 1, 1e6, NULL,
     "shorter pieces of episodes that were cut are left out"},
    {"filter", CONFIG_TEXTS, FIELD(filter), "", "", 0, 0, NULL,
     "conditions on the episodes that are used: success, min_return=, max_return=, min_length=, "
     "max_length=, tag=NAME=VALUE, best=, every=, reward= (docs/logs.md); empty: all"},
    {"history", CONFIG_INT, FIELD(history), "steps", "1", 1, EPISODE_HISTORY_MAX, NULL,
     "observations that are stacked into one, the current one included (docs/logs.md)"},
    {"history_actions", CONFIG_BOOL, FIELD(history_actions), "", "false", 0, 0, NULL,
     "stack the actions between these observations, too"},
    {"holdout", CONFIG_REAL, FIELD(holdout), "", "0", 0, EPISODE_HOLDOUT_MAX, NULL,
     "share of the episodes that is held out: they go to the table <table>_holdout and are not "
     "learned from (docs/held_out.md)"},
    {"folds", CONFIG_INT, FIELD(folds), "", "0", 0, EPISODE_HOLDOUT_FOLDS_MAX, NULL,
     "in place of a share: the episodes are divided into so many folds, one of which is held out; "
     "0: none"},
    {"fold", CONFIG_INT, FIELD(fold), "", "0", 0, EPISODE_HOLDOUT_FOLDS_MAX - 1, NULL,
     "which of the folds is held out: 0 .. folds - 1"},
    {"max_bad", CONFIG_INT, FIELD(max_bad), "episodes", "-1", -1, 1e12, NULL,
     "bad episodes that are left out before giving up; -1: any number, as long as one is good"},
    {"rewards", CONFIG_TEXTS, FIELD(rewards), "", "", 0, 0, NULL,
     "rewards to insert, in this order; empty: all logged ones, then those of relabel"},
    {"relabel", CONFIG_TEXT, FIELD(relabel), "", "", 0, 0, NULL,
     "Lua file with one reward function per task (docs/storage.md)"},
    {"connect_timeout", CONFIG_REAL, FIELD(connect_timeout), "s", "60", 0.1, 1e6, NULL,
     "how long the replay server may be away"},
};

/* Accepted with a warning for one release. */
static const struct config_rename renames[] = {{"read_ahead", "prefetch"}};

struct config_section restorer_section(struct restorer_options *options)
{
    return (struct config_section){.name = "restorer",
                                   .options = restorer_options_table,
                                   .n_options = sizeof restorer_options_table /
                                                sizeof restorer_options_table[0],
                                   .values = options,
                                   .renames = renames,
                                   .n_renames = sizeof renames / sizeof renames[0]};
}

status restorer_options_rules(const struct restorer_options *options, struct episode_rules *rules,
                              struct err *err)
{
    episode_rules_init(rules);
    rules->split_bad_rows = options->bad_rows[0] == 's';
    rules->min_piece = (uint32_t)options->min_piece;
    rules->history = (struct episode_history){(uint32_t)options->history, options->history_actions};
    status s = STATUS_OK;
    for (size_t i = 0; i < options->filter.n && s == STATUS_OK; i++) {
        s = episode_filter_add(&rules->filter, options->filter.items[i], err);
    }
    return s == STATUS_OK ? s : err_context(err, s, "restorer.filter");
}

struct episode_holdout restorer_options_holdout(const struct restorer_options *options)
{
    return (struct episode_holdout){.fraction = options->holdout,
                                    .folds = (uint32_t)options->folds,
                                    .fold = (uint32_t)options->fold};
}

/* The options about held-out episodes. */
static status check_holdout(const struct restorer_options *options, struct err *err)
{
    const struct episode_holdout holdout = restorer_options_holdout(options);
    if (options->folds == 1) {
        return err_set(err, STATUS_INVALID,
                       "restorer.folds is 1, expected at least 2, or 0 for none: a single fold "
                       "would leave no episode to learn from");
    }
    if (options->fold > 0 && options->fold >= options->folds) {
        return err_set(err, STATUS_INVALID,
                       "restorer.fold is %lld, expected less than restorer.folds, %lld",
                       (long long)options->fold, (long long)options->folds);
    }
    if (options->folds > 0 && options->holdout > 0) {
        return err_set(err, STATUS_INVALID,
                       "restorer.holdout is %g and restorer.folds is %lld, expected one of them: "
                       "folds hold out one of %lld",
                       options->holdout, (long long)options->folds, (long long)options->folds);
    }
    /* In a loop the tables change for ever, and there is nothing to compare with. */
    if (episode_holdout_any(&holdout) && options->mode[0] == 'l') {
        return err_set(err, STATUS_INVALID,
                       "restorer.mode is loop, expected once where restorer.holdout or "
                       "restorer.folds holds episodes out");
    }
    if (episode_holdout_any(&holdout) &&
        strlen(options->table) + strlen(EPISODE_HOLDOUT_TABLE_SUFFIX) > TABLE_NAME_MAX) {
        return err_set(err, STATUS_INVALID,
                       "restorer.table is \"%.80s\", expected at most %zu characters where "
                       "episodes are held out: their table is called "
                       "<table>" EPISODE_HOLDOUT_TABLE_SUFFIX,
                       options->table, TABLE_NAME_MAX - strlen(EPISODE_HOLDOUT_TABLE_SUFFIX));
    }
    return STATUS_OK;
}

status restorer_options_check(const struct restorer_options *options, struct err *err)
{
    /* Whether there are logs in the folder is found when it is opened. */
    if (options->folder[0] == '\0') {
        return err_set(err, STATUS_INVALID,
                       "restorer.folder is empty: give the folder with the logs");
    }
    /* Several restorers share the logs by these two numbers. */
    if (options->index >= options->count) {
        return err_set(err, STATUS_INVALID,
                       "restorer.index is %lld, expected less than restorer.count, %lld",
                       (long long)options->index, (long long)options->count);
    }
    struct episode_rules rules;
    status s = restorer_options_rules(options, &rules, err);
    if (s == STATUS_OK) {
        s = check_holdout(options, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* As many as a signature can have. */
    if (options->rewards.n > 32) {
        return err_set(err, STATUS_INVALID, "restorer.rewards: %zu names, expected at most 32",
                       options->rewards.n);
    }
    return STATUS_OK;
}
