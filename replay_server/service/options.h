/* The `replay_server` section of the configuration. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_OPTIONS_H
#define HINDCAST_REPLAY_SERVER_SERVICE_OPTIONS_H

#include "common/base/config.h"
#include "common/base/experiment.h"
#include "common/service/endpoint.h"
#include "replay_server/store/store.h"
#include "replay_server/table/limiter.h"
#include "replay_server/table/table.h"

/* What each table has for itself. */
struct table_options {
    int64_t max_transitions;
    int64_t max_bytes;
    int64_t max_episodes;
    int64_t max_client_bytes;
    int64_t max_client_episodes;
    char sampler[CONFIG_TEXT_SIZE];
    char remover[CONFIG_TEXT_SIZE];
    double priority_exponent;
    int64_t max_times_sampled;
    int64_t min_transitions;
    double samples_per_insert;
    double samples_per_insert_tolerance;
    double samples_per_eviction;
};

/* An entry of `tables`: a table with options of its own. */
#define OPTIONS_NAMED_MAX 64u
struct named_table {
    struct config_entry entry; /* first, as config.h wants it: the table's name */
    struct table_options options;
};

struct options {
    struct config_texts listen;
    int64_t index;
    char path[CONFIG_TEXT_SIZE];
    char dump_folder[CONFIG_TEXT_SIZE];
    int64_t map_bytes;
    char durability[CONFIG_TEXT_SIZE];
    int64_t sync_ms;

    struct table_options table; /* of tables that have no entry in `named` */
    size_t n_named;
    struct named_table named[OPTIONS_NAMED_MAX];

    int64_t gather_threads;
    int64_t insert_buffer_bytes;
    int64_t sample_buffer_bytes;
    int64_t max_message_bytes;
    struct endpoint_options endpoint;
    int64_t idle_seconds;
    int64_t max_client_bytes_per_s;
    int64_t scrub_bytes_per_s;
};

struct config_section options_section(struct options *options);

/* Fills in what depends on the experiment (listen, path, max_bytes) and checks what a range cannot.
 * After experiment_finish. */
status options_finish(struct options *options, const struct experiment *experiment,
                      struct err *err) MUST_CHECK;

/* The name of option i of a table, and its value as in an experiment; false: there are no more. */
#define TABLE_OPTION_VALUE_SIZE 64
bool options_table_text(const struct table_options *table, size_t i, const char **name,
                        char value[TABLE_OPTION_VALUE_SIZE]);
/* Changes one option of a table that is served: `value` as in an experiment ("10G"). INVALID: no
 * such option, not such a value, or one that only a new start changes. */
status options_table_change(struct table_options *table, const char *name, const char *value,
                            struct err *err) MUST_CHECK;
/* After such changes: do they go together? Defaults are filled in as by options_finish. */
status options_table_finish(struct table_options *table, const char *name,
                            const struct options *options, struct err *err) MUST_CHECK;

/* The options of the table with this name. */
const struct table_options *options_of_table(const struct options *options, const char *name);
struct table_settings options_table_settings(const struct table_options *options);
struct limiter_settings options_limiter_settings(const struct table_options *options);
enum store_durability options_durability(const struct options *options);

#endif
