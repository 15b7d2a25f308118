/* hindcast-restorer: reads logs, checks them, streams them into the replay.
 *
 * The logs are opened before the process is: logs that cannot be used, or options that do not fit
 * them, end the program with exit code 2 before it has touched the run's folder. After that the
 * main thread runs the loop (signals, admin page, progress), the restoring thread inserts, and a
 * reader thread prefetches. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clients/peer.h"
#include "common/rpc/rpc.h"
#include "restorer/restore.h"

#define LOG_MODULE "main"
#include "common/base/log.h"

/* All parts, in the order in which they are made. */
struct restorer {
    struct experiment experiment;
    struct restorer_options options;
    struct sources *sources;
    struct text notes; /* about a mapping that was proposed */
    struct selection selection;
    struct relabel *relabel;
    struct process *process;
    struct restore *restore;
};

/* Checks the options and opens the logs and the choice of rewards. What was opened stays open on an
 * error; close_logs ends it. */
static status open_logs(struct restorer *restorer, struct err *err)
{
    status s = restorer_options_check(&restorer->options, err);
    if (s == STATUS_OK) {
        s = sources_open(&restorer->sources, restorer->options.folder, restorer->options.mapping,
                         &restorer->notes, err);
    }
    if (s == STATUS_OK) {
        struct episode_rules rules;
        s = restorer_options_rules(&restorer->options, &rules, err);
        if (s == STATUS_OK) {
            s = sources_set_history(restorer->sources, &rules.history, err);
        }
    }
    if (s == STATUS_OK) {
        s = relabel_new(&restorer->relabel, sources_signature(restorer->sources),
                        &restorer->options.rewards, restorer->options.relabel, err);
    }
    return s;
}

/* Told while the rules look at all episodes, before there is a log. */
static void tell_selection(void *arg, uint64_t done, uint64_t all)
{
    (void)arg;
    fprintf(stderr, "hindcast-restorer: looking at the episodes, %" PRIu64 " of %" PRIu64 "\n",
            done, all);
}

/* Applies the rules about which episodes are used, which may read all of them. */
static status select_episodes(struct restorer *restorer, struct err *err)
{
    struct episode_rules rules;
    status s = restorer_options_rules(&restorer->options, &rules, err);
    if (s == STATUS_OK) {
        s = sources_select(restorer->sources, &restorer->selection, &rules,
                           restorer->options.actions[0] == 'c', tell_selection, err);
    }
    return s;
}

/* Both are NULL where they were not opened. */
static void close_logs(struct restorer *restorer)
{
    relabel_free(restorer->relabel);
    sources_close(restorer->sources);
    text_fini(&restorer->notes);
    selection_fini(&restorer->selection);
}

/* The mapping that was proposed because none was given, and the reasons for it, line by line. */
static void log_notes(const struct restorer *restorer)
{
    const char *line = restorer->notes.bytes;
    if (line != NULL && line[0] != '\0') {
        log_info("no mapping was given; the proposed one is used (hindcast dataset map %s):",
                 restorer->options.folder);
    }
    while (line != NULL && line[0] != '\0') {
        const size_t length = strcspn(line, "\n");
        log_info("mapping: %.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

/* What the rules about episodes have done, line by line. */
static void log_selection(const struct selection *selection)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return;
    }
    selection_print(selection, out);
    fclose(out);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        log_info("%.*s", (int)(end - line), line);
    }
    free(text);
}

/* Starts the restoring thread, and the timer that shows how far it is. */
static status start(struct restorer *restorer, struct err *err)
{
    const struct restore_parts parts = {
        .process = restorer->process,
        .experiment = &restorer->experiment,
        .options = &restorer->options,
        .sources = restorer->sources,
        .relabel = restorer->relabel,
        .selection = &restorer->selection,
    };
    log_notes(restorer);
    log_selection(&restorer->selection);
    /* What will be restored, before the server is even connected. */
    log_info("restoring folder=%s sources=%zu shards=%zu episodes=%" PRIu64 " mode=%s",
             restorer->options.folder, sources_n(restorer->sources),
             sources_n_shards(restorer->sources), sources_episodes(restorer->sources),
             restorer->options.mode);
    const status s = restore_start(&restorer->restore, &parts, err);
    if (s == STATUS_OK) {
        process_every(restorer->process, 500, restore_tick, restorer->restore);
    }
    return s;
}

/* Everything from the open process to its end; returns the exit code. */
static int run(struct restorer *restorer)
{
    struct err err = {0};
    const int count = (int)restorer->options.count;
    if (process_open(&restorer->process, "restorer", (int)restorer->options.index, count,
                     &restorer->experiment, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-restorer: %s\n", err.text);
        return 1;
    }
    rpc_init();
    /* process_run returns when the restoring thread is done or a signal came; the join then takes a
     * moment. */
    status s = start(restorer, &err);
    if (s == STATUS_OK) {
        process_run(restorer->process);
        restore_join(restorer->restore);
    } else {
        log_error("cannot start: %s", err.text);
        process_stop(restorer->process, status_exit_code(s));
    }
    rpc_fini();
    return process_close(restorer->process);
}

int main(int argc, char **argv)
{
    /* Both sections are filled by one call; --help prints and ends there. */
    static struct restorer restorer;
    const struct config_section sections[] = {experiment_section(&restorer.experiment),
                                              restorer_section(&restorer.options)};
    struct err err = {0};
    bool done = false;
    status s = config_load(
        sections, 2, "hindcast-restorer: reads logs, checks them, streams them into the replay",
        argc, argv, &done, &err);
    if (s == STATUS_OK && done) {
        return 0;
    }
    /* Checks that need no server: addresses, then the logs. */
    if (s == STATUS_OK) {
        experiment_finish(&restorer.experiment);
        s = process_check(&restorer.experiment, &err);
        s = s == STATUS_OK ? peer_check_replay(&restorer.experiment, &err) : s;
    }
    if (s == STATUS_OK) {
        s = open_logs(&restorer, &err);
    }
    if (s == STATUS_OK && !restorer.experiment.check) {
        s = select_episodes(&restorer, &err);
    }
    /* --check needs the signature alone, which is known since the logs were opened. */
    int exit_code = 0;
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-restorer: %s\n", err.text);
        exit_code = 2;
    } else if (restorer.experiment.check) {
        signature_tell(sources_signature(restorer.sources), stdout);
    } else {
        config_print(stderr, sections, 2);
        exit_code = run(&restorer);
    }
    close_logs(&restorer);
    return exit_code;
}
