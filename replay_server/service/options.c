/* The section `replay_server`: its options, their checks, and what they become.
 *
 * Options that each table may have for itself are listed once (TABLE_OPTIONS) and appear twice: in
 * the section, where they are the defaults, and in each entry of `tables`. options_finish fills in
 * what depends on other options or on the experiment and refuses what no range can: combinations
 * that could never work are told before anything starts.
 *
 * The paper that Hindcast reproduces gives a value for none of these options: all defaults are
 * ours. */
#include "replay_server/service/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/base/config_lookup.h"
#include "common/base/config_value.h"

#define MAP_MIN            ((int64_t)16 << 20)
#define MAP_LEAST          ((int64_t)64 << 30) /* of a map that follows the disk */
#define AT(field)          offsetof(struct options, field)
#define ENDPOINT_AT(field) offsetof(struct options, endpoint.field)
#define COUNT_MAX          9e15 /* below 2^53 */
/* What the process needs beside the map: libraries, stacks, arenas, buffers. */
#define ADDRESSES_BESIDE_MAP (2ull << 30)

/* What each table has for itself: the options of the section, which are the defaults, and those of
 * an entry of `tables` come from this one list. */
/* clang-format off */
#define TABLE_OPTIONS(X)                                                                           \
    X(max_transitions, CONFIG_INT, "transitions", "0", 0, COUNT_MAX, NULL,                         \
      "the most that a table holds; 0: no limit")                                                  \
    X(max_bytes, CONFIG_INT, "bytes", "0", 0, COUNT_MAX, NULL,                                     \
      "the most that a table holds; 0: four fifths of map_bytes")                                  \
    X(max_episodes, CONFIG_INT, "episodes", "0", 0, 4e9, NULL,                                     \
      "the most that a table holds; 0: no limit")                                                  \
    X(max_client_bytes, CONFIG_INT, "bytes", "0", 0, COUNT_MAX, NULL,                              \
      "the most that a table holds of one client (the name of its token, or its host); what is "   \
      "more is refused; 0: no limit")                                                              \
    X(max_client_episodes, CONFIG_INT, "episodes", "0", 0, 4e9, NULL,                              \
      "the most that a table holds of one client; 0: no limit")                                    \
    X(sampler, CONFIG_CHOICE, "", "prioritized", 0, 0,                                             \
      "uniform|prioritized|fifo|lifo|min_heap|max_heap",                                           \
      "which episode a snippet comes from: any, in proportion to its transitions (prioritized: "   \
      "times its priority), the oldest, the newest, or that of the lowest or highest priority")    \
    X(remover, CONFIG_CHOICE, "", "fifo", 0, 0,                                                    \
      "uniform|prioritized|fifo|lifo|min_heap|max_heap|none|wait",                                 \
      "which episode is removed from a full table: any (prioritized: in proportion to its "        \
      "priority), the oldest, the newest, that of the lowest or highest priority; none: inserts "  \
      "are refused; wait: they wait for room")                                                     \
    X(priority_exponent, CONFIG_REAL, "", "1", 0, 1, NULL,                                         \
      "prioritized: draws are in proportion to priorities to this power; 0: as if all were 1")     \
    X(max_times_sampled, CONFIG_INT, "snippets", "0", 0, 4e9, NULL,                                \
      "an episode is removed once so many snippets were drawn from it; 0: it stays; a sealed "     \
      "table keeps all")                                                                           \
    X(min_transitions, CONFIG_INT, "transitions", "1", 1, COUNT_MAX, NULL,                         \
      "sampling waits until an unsealed table holds so many")                                      \
    X(samples_per_insert, CONFIG_REAL, "", "0", 0, 1e9, NULL,                                      \
      "transitions sampled per transition inserted by acting: both sides wait for each other; "    \
      "0: no limit")                                                                               \
    X(samples_per_insert_tolerance, CONFIG_REAL, "transitions", "10000", 0, COUNT_MAX, NULL,       \
      "transitions sampled by which one side may be ahead of the other")                           \
    X(samples_per_eviction, CONFIG_REAL, "", "0", 0, 1e9, NULL,                                    \
      "an insert from logs that evicts waits until so many transitions were sampled per one "      \
      "evicted; 0: no limit")

/* From a row of the list to an option of the section, and to one of an entry. */
#define SECTION_ROW(field, type, unit, default_text, min, max, choices, help)                      \
    {#field, type, offsetof(struct options, table.field), unit, default_text, min, max, choices,   \
     help},
#define ENTRY_ROW(field, type, unit, default_text, min, max, choices, help)                        \
    {#field, type, offsetof(struct named_table, options.field), unit, default_text, min, max,      \
     choices, help},
/* To one of a table that is served. */
#define TABLE_ROW(field, type, unit, default_text, min, max, choices, help)                        \
    {#field, type, offsetof(struct table_options, field), unit, default_text, min, max, choices,   \
     help},
/* clang-format on */

static const struct config_option entry_options_table[] = {TABLE_OPTIONS(ENTRY_ROW)};

/* The map `tables`, from names to options. */
static const struct config_group groups[] = {
    {.name = "tables",
     .help = "tables with settings of their own, by name; other tables have those above",
     .options = entry_options_table,
     .n_options = sizeof entry_options_table / sizeof entry_options_table[0],
     .entries_offset = offsetof(struct options, named),
     .count_offset = offsetof(struct options, n_named),
     .entry_size = sizeof(struct named_table),
     .max_entries = OPTIONS_NAMED_MAX}};

static const struct config_option options_table[] = {
    {"listen", CONFIG_TEXTS, AT(listen), "", "[]", 0, 0, NULL,
     "addresses to listen on; empty: the address of experiment.replay with this `index`"},
    {"index", CONFIG_INT, AT(index), "", "0", 0, CONFIG_LIST_MAX - 1, NULL,
     "which of several replay servers this is: 0, 1, .."},
    {"path", CONFIG_TEXT, AT(path), "", "", 0, 0, NULL,
     "folder of the store, on a local disk; empty: RUN_DIR/replay, with -INDEX for several "
     "servers"},
    {"dump_folder", CONFIG_TEXT, AT(dump_folder), "", "", 0, 0, NULL,
     "folder of the copies that hindcast replay dump makes; empty: `path` with -dumps behind it"},
    {"map_bytes", CONFIG_INT, AT(map_bytes), "bytes", "0", 0, 1e15, NULL,
     "how large the store may become; the file is sparse and takes only what it holds; 0: the free "
     "space of its disk, at least 64G"},
    {"durability", CONFIG_CHOICE, AT(durability), "", "each", 0, 0, "each|interval|none",
     "each: an insert is acknowledged when it is on the disk; interval: a power cut may lose the "
     "last sync_ms; none: a power cut may lose everything"},
    {"sync_ms", CONFIG_INT, AT(sync_ms), "ms", "1000", 1, 3600000, NULL,
     "durability interval: time between syncs"},
    TABLE_OPTIONS(SECTION_ROW){"gather_threads", CONFIG_INT, AT(gather_threads), "threads", "1", 1,
                               64, NULL, "threads that gather large batches"},
    {"insert_buffer_bytes", CONFIG_INT, AT(insert_buffer_bytes), "bytes", "128M", 1 << 20, 1e12,
     NULL, "memory for episodes on their way to the store"},
    {"sample_buffer_bytes", CONFIG_INT, AT(sample_buffer_bytes), "bytes", "256M", 1 << 20, 1e12,
     NULL, "memory for batches that have not been sent yet"},
    {"max_message_bytes", CONFIG_INT, AT(max_message_bytes), "bytes", "64M", 1 << 20, 1 << 30, NULL,
     "largest message in either direction; bounds the size of a batch"},
    ENDPOINT_OPTIONS(ENDPOINT_AT, "insert, sample, admin", "500"),
    {"idle_seconds", CONFIG_INT, AT(idle_seconds), "s", "60", 1, 86400, NULL,
     "an insert stream that stops in the middle of an episode is ended after this"},
    {"max_client_bytes_per_s", CONFIG_INT, AT(max_client_bytes_per_s), "bytes", "0", 0, 1e12, NULL,
     "at which one client may insert, over all tables; faster ones are made to wait; 0: no limit"},
    {"scrub_bytes_per_s", CONFIG_INT, AT(scrub_bytes_per_s), "bytes", "64M", 0, 1e12, NULL,
     "rate of the check of the whole store in the background after opening; 0: only what is read "
     "is checked"},
};

struct config_section options_section(struct options *options)
{
    return (struct config_section){.name = "replay_server",
                                   .options = options_table,
                                   .n_options = sizeof options_table / sizeof options_table[0],
                                   .values = options,
                                   .groups = groups,
                                   .n_groups = sizeof groups / sizeof groups[0]};
}

/* The defaults of a table that depend on other options, and what ranges cannot check. `name` is ""
 * for the section's own, or ends with a dot. */
static status finish_table(struct table_options *table, const char *name,
                           const struct options *options, struct err *err)
{
    /* The default is less than the map, because what has been removed takes its room a little
     * longer. */
    if (table->max_bytes == 0) {
        table->max_bytes = options->map_bytes / 5 * 4;
    }
    /* Each number is in its range, but together they could never work. */
    if (table->max_transitions > 0 && table->min_transitions > table->max_transitions) {
        return err_set(err, STATUS_INVALID,
                       "replay_server.%smin_transitions %" PRId64
                       " is above max_transitions %" PRId64
                       ": an unsealed table would never be sampled from; lower the first or raise "
                       "the second",
                       name, table->min_transitions, table->max_transitions);
    }
    /* What the limiter itself would refuse. */
    const struct limiter_settings limiter = options_limiter_settings(table);
    status s = limiter_check(&limiter, err);
    return s == STATUS_OK ? s : err_context(err, s, "replay_server.%s", name);
}

/* An entry of `tables`: its name must be one that a table can have. */
static status finish_named(struct named_table *named, const struct options *options,
                           struct err *err)
{
    char name[CONFIG_ENTRY_NAME_SIZE + 16];
    status s = writers_check_name("table", named->entry.name, STORE_TABLE_NAME_SIZE - 1, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "replay_server.tables.%s", named->entry.name);
    }
    /* Errors name the option with its table. */
    snprintf(name, sizeof name, "tables.%s.", named->entry.name);
    return finish_table(&named->options, name, options, err);
}

/* map_bytes 0: what the disk has free, and what the store has of it already. At least MAP_LEAST, so
 * that space which becomes free later can be used. The folder may not be there yet; then its
 * nearest parent is on the same disk. */
static status finish_map(struct options *options, struct err *err)
{
    /* A number that was given only has to be large enough. */
    if (options->map_bytes > 0) {
        return options->map_bytes >= MAP_MIN
                   ? STATUS_OK
                   : err_set(err, STATUS_INVALID,
                             "replay_server.map_bytes %" PRId64 ": expected at least %" PRId64
                             ", or 0 for the free space of the disk",
                             options->map_bytes, MAP_MIN);
    }
    char path[CONFIG_TEXT_SIZE + 16];
    struct stat store = {0};
    struct statvfs disk;
    /* What the store's file takes already is part of the map, and counts as free. */
    snprintf(path, sizeof path, "%s/data.mdb", options->path);
    const uint64_t used = stat(path, &store) == 0 ? (uint64_t)store.st_blocks * 512 : 0;
    /* Go up the path to the nearest folder that exists. */
    char *slash;
    while (statvfs(path, &disk) != 0) {
        slash = strrchr(path, '/');
        if (slash == NULL || slash == path) {
            strcpy(path, slash == NULL ? "." : "/");
            if (statvfs(path, &disk) != 0) {
                disk = (struct statvfs){0};
            }
            break;
        }
        *slash = '\0';
    }
    const uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize + used;
    /* A multiple of MAP_MIN, and so of the page size. */
    options->map_bytes = room > MAP_LEAST ? (int64_t)(room / MAP_MIN * MAP_MIN) : MAP_LEAST;
    return STATUS_OK;
}

/* The store's map needs addresses for all of map_bytes, though it takes only what it holds. */
static status check_address_space(const struct options *options, struct err *err)
{
    struct rlimit limit;
    /* Nothing to compare with. */
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return STATUS_OK;
    }
    const uint64_t needed = (uint64_t)options->map_bytes + ADDRESSES_BESIDE_MAP;
    if (limit.rlim_cur >= needed) {
        return STATUS_OK;
    }
    /* The text says which map would fit. */
    const uint64_t limit_bytes = (uint64_t)limit.rlim_cur;
    const uint64_t most =
        limit_bytes > ADDRESSES_BESIDE_MAP ? limit_bytes - ADDRESSES_BESIDE_MAP : 16u << 20;
    return err_set(err, STATUS_INVALID,
                   "the store's map of %" PRIu64 "M does not fit the address space that is allowed "
                   "here, %" PRIu64 "M (ulimit -v): raise that limit, or give at most %" PRIu64
                   "M to replay_server.map_bytes",
                   (uint64_t)options->map_bytes >> 20, limit_bytes >> 20, most >> 20);
}

status options_finish(struct options *options, const struct experiment *experiment, struct err *err)
{
    /* Where to listen: one of the experiment's addresses, by index. */
    if (options->listen.n == 0) {
        if (options->index >= (int64_t)experiment->replay.n) {
            return err_set(err, STATUS_INVALID,
                           "replay_server.index %" PRId64 ": experiment.replay names %zu servers",
                           options->index, experiment->replay.n);
        }
        options->listen.n = 1;
        strcpy(options->listen.items[0], experiment->replay.items[options->index]);
    }
    /* Where the store lies: in the run's folder, one for each server of the machine. */
    if (options->path[0] == '\0') {
        char suffix[24] = "";
        if (experiment->replay.n > 1) {
            snprintf(suffix, sizeof suffix, "-%" PRId64, options->index);
        }
        const int length = snprintf(options->path, sizeof options->path, "%s/replay%s",
                                    experiment->run_dir, suffix);
        if (length < 0 || (size_t)length >= sizeof options->path) {
            return err_set(err, STATUS_INVALID, "experiment.run_dir: too long for a path within");
        }
    }
    if (options->dump_folder[0] == '\0') {
        const int length =
            snprintf(options->dump_folder, sizeof options->dump_folder, "%s-dumps", options->path);
        if (length < 0 || (size_t)length >= sizeof options->dump_folder) {
            return err_set(err, STATUS_INVALID, "replay_server.path: too long for a folder beside");
        }
    }
    /* The map comes first: limits of tables depend on it. */
    status s = finish_map(options, err);
    if (s == STATUS_OK) {
        s = check_address_space(options, err);
    }
    if (s == STATUS_OK) {
        s = finish_table(&options->table, "", options, err);
    }
    for (size_t i = 0; s == STATUS_OK && i < options->n_named; i++) {
        s = finish_named(&options->named[i], options, err);
    }
    return s;
}

/* ---- The options of a table that is served ---- */

static const struct config_option table_options_table[] = {TABLE_OPTIONS(TABLE_ROW)};

#define N_TABLE_OPTIONS (sizeof table_options_table / sizeof table_options_table[0])

/* What a selector has made of its items, and episodes that were drawn from so often, cannot be made
 * anew under those who draw. */
static const char *const fixed[] = {"sampler", "remover", "priority_exponent", "max_times_sampled"};

bool options_table_text(const struct table_options *table, size_t i, const char **name,
                        char value[TABLE_OPTION_VALUE_SIZE])
{
    if (i >= N_TABLE_OPTIONS) {
        return false;
    }
    const struct config_option *option = &table_options_table[i];
    struct text text = {0};
    config_value_print(&text, option, (const char *)table + option->offset);
    *name = option->name;
    snprintf(value, TABLE_OPTION_VALUE_SIZE, "%s", text.failed ? "?" : text.bytes);
    text_fini(&text);
    return true;
}

status options_table_change(struct table_options *table, const char *name, const char *value,
                            struct err *err)
{
    const struct config_section section = {
        .name = "table", .options = table_options_table, .n_options = N_TABLE_OPTIONS};
    bool renamed;
    const struct config_option *option = config_find_option(&section, name, &renamed);
    if (option == NULL) {
        char nearest[128];
        config_suggest_option(nearest, sizeof nearest, name, &section);
        return err_set(err, STATUS_INVALID, "a table has no option \"%.64s\"%s", name, nearest);
    }
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (strcmp(option->name, fixed[i]) == 0) {
            return err_set(err, STATUS_INVALID,
                           "%s cannot change while the table is served: set it in the experiment "
                           "and start the server again",
                           option->name);
        }
    }
    status s = config_value_parse(option, (char *)table + option->offset, value, err);
    return s == STATUS_OK ? s : err_context(err, s, "%s", option->name);
}

status options_table_finish(struct table_options *table, const char *name,
                            const struct options *options, struct err *err)
{
    char prefix[STORE_TABLE_NAME_SIZE + 16];
    snprintf(prefix, sizeof prefix, "tables.%s.", name);
    return finish_table(table, prefix, options, err);
}

/* The entry of that name, or the section's own options. */
const struct table_options *options_of_table(const struct options *options, const char *name)
{
    for (size_t i = 0; i < options->n_named; i++) {
        if (strcmp(options->named[i].entry.name, name) == 0) {
            return &options->named[i].options;
        }
    }
    return &options->table;
}

/* The checks of options_finish have passed. */
struct table_settings options_table_settings(const struct table_options *options)
{
    const bool waits = strcmp(options->remover, "wait") == 0;
    struct table_settings settings = {
        .removes = !waits && strcmp(options->remover, "none") != 0,
        .waits = waits,
        .priority_exponent = options->priority_exponent,
        .max_times_sampled = (uint32_t)options->max_times_sampled,
        .limits = {.max_transitions = (uint64_t)options->max_transitions,
                   .max_bytes = (uint64_t)options->max_bytes,
                   .max_episodes = (uint64_t)options->max_episodes,
                   .max_client_bytes = (uint64_t)options->max_client_bytes,
                   .max_client_episodes = (uint64_t)options->max_client_episodes},
    };
    /* The choices of the two options are the names of selectors. */
    const bool sampler = selector_kind_read(&settings.sampler, options->sampler);
    const bool remover =
        !settings.removes || selector_kind_read(&settings.remover, options->remover);
    ASSERT(sampler && remover);
    return settings;
}

struct limiter_settings options_limiter_settings(const struct table_options *options)
{
    return (struct limiter_settings){
        .min_transitions = (uint64_t)options->min_transitions,
        .samples_per_insert = options->samples_per_insert,
        .tolerance = options->samples_per_insert_tolerance,
        .samples_per_eviction = options->samples_per_eviction,
    };
}

enum store_durability options_durability(const struct options *options)
{
    return strcmp(options->durability, "each") == 0       ? STORE_EACH
           : strcmp(options->durability, "interval") == 0 ? STORE_INTERVAL
                                                          : STORE_NONE;
}
