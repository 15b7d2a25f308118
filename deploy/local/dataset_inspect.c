/* Reads all logs into a summary and prints it, after the rules about episodes have been applied. The
 * options are those of the restorer, so that one sees what it would use. */
#include "deploy/local/dataset_inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/episodes/logs.h"
#include "common/logs/source/selection.h"
#include "common/logs/source/source_summary.h"
#include "deploy/local/log_plot.h"

/* What to look at, and how. */
struct look {
    const char *path, *mapping;
    const char *plot; /* a file for the picture; NULL: none */
    bool clip;
    struct episode_rules rules;
    struct episode_holdout holdout;
};

/* ---- the command line ---- */

/* Adds the conditions of a list like that of restorer.filter. */
static status read_filter(struct look *look, const char *list, struct err *err)
{
    char *copy = mem_text(list);
    if (copy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "filter");
    }
    status s = STATUS_OK;
    for (char *rest = copy, *one; s == STATUS_OK && (one = strsep(&rest, ",")) != NULL;) {
        s = episode_filter_add(&look->rules.filter, one, err);
    }
    mem_free(copy);
    return s;
}

/* Reads a whole number 1..most behind the first `at` bytes of an argument. */
static status read_count(const char *argument, size_t at, uint32_t most, uint32_t *count,
                         struct err *err)
{
    char *end;
    const unsigned long number = strtoul(argument + at, &end, 10);
    if (*end != '\0' || argument[at] == '-' || number < 1 || number > most) {
        return err_set(err, STATUS_INVALID, "%s: expected a whole number 1..%u", argument, most);
    }
    *count = (uint32_t)number;
    return STATUS_OK;
}

/* Reads a rule about held-out episodes: a share, or two whole numbers. */
static status read_holdout(struct look *look, const char *argument, struct err *err)
{
    char *end;
    if (strncmp(argument, "--holdout=", 10) == 0) {
        look->holdout.fraction = strtod(argument + 10, &end);
        return *end == '\0' && look->holdout.fraction > 0 &&
                       look->holdout.fraction <= EPISODE_HOLDOUT_MAX
                   ? STATUS_OK
                   : err_set(err, STATUS_INVALID, "%s: expected a number above 0, at most %g",
                             argument, EPISODE_HOLDOUT_MAX);
    }
    if (strncmp(argument, "--folds=", 8) == 0) {
        return read_count(argument, 8, EPISODE_HOLDOUT_FOLDS_MAX, &look->holdout.folds, err);
    }
    /* Folds count from 0. */
    look->holdout.fold = (uint32_t)strtoul(argument + 7, &end, 10);
    return *end == '\0' && end > argument + 7 && look->holdout.fold < EPISODE_HOLDOUT_FOLDS_MAX
               ? STATUS_OK
               : err_set(err, STATUS_INVALID, "%s: expected a whole number from 0", argument);
}

/* Reads one option. INVALID: there is no such option, or not with this value. */
static status read_option(struct look *look, const char *argument, struct err *err)
{
    if (strncmp(argument, "--mapping=", 10) == 0) {
        look->mapping = argument + 10;
        return STATUS_OK;
    }
    if (strncmp(argument, "--plot=", 7) == 0) {
        const size_t n = strlen(argument);
        look->plot = argument + 7;
        return n > 11 && strcmp(argument + n - 4, ".svg") == 0
                   ? STATUS_OK
                   : err_set(err, STATUS_INVALID, "%s: expected the name of an .svg file",
                             argument);
    }
    if (strncmp(argument, "--filter=", 9) == 0) {
        return read_filter(look, argument + 9, err);
    }
    if (strcmp(argument, "--bad_rows=split") == 0 || strcmp(argument, "--bad_rows=refuse") == 0) {
        look->rules.split_bad_rows = argument[11] == 's';
        return STATUS_OK;
    }
    if (strcmp(argument, "--actions=clip") == 0 || strcmp(argument, "--actions=refuse") == 0) {
        look->clip = argument[10] == 'c';
        return STATUS_OK;
    }
    if (strncmp(argument, "--min_piece=", 12) == 0) {
        return read_count(argument, 12, EPISODE_TRANSITIONS_MAX, &look->rules.min_piece, err);
    }
    if (strncmp(argument, "--history=", 10) == 0) {
        return read_count(argument, 10, EPISODE_HISTORY_MAX, &look->rules.history.steps, err);
    }
    if (strncmp(argument, "--holdout=", 10) == 0 || strncmp(argument, "--folds=", 8) == 0 ||
        strncmp(argument, "--fold=", 7) == 0) {
        return read_holdout(look, argument, err);
    }
    if (strcmp(argument, "--history_actions=true") == 0) {
        look->rules.history.actions = true;
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID, "unknown option \"%s\"", argument);
}

/* Exactly one place of logs, after the options. */
static status read_arguments(struct look *look, int argc, char **argv, struct err *err)
{
    episode_rules_init(&look->rules);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0) {
            const status s = read_option(look, argv[i], err);
            if (s != STATUS_OK) {
                return s;
            }
        } else if (look->path != NULL) {
            return err_set(err, STATUS_INVALID, "%s: expected one place of logs", argv[i]);
        } else {
            look->path = argv[i];
        }
    }
    if (look->holdout.fold > 0 && look->holdout.fold >= look->holdout.folds) {
        return err_set(err, STATUS_INVALID, "--fold=%u: expected less than --folds, %u",
                       look->holdout.fold, look->holdout.folds);
    }
    return look->path != NULL ? STATUS_OK
                              : err_set(err, STATUS_INVALID, "expected a place of logs");
}

/* ---- the work ---- */

/* Opens a dataset, several, or other logs. A mapping that was proposed is printed to stderr. */
static status open_sources(const struct look *look, struct sources **sources, struct err *err)
{
    struct text notes = {0};
    const char *mapping = look->mapping != NULL ? look->mapping : "";
    const status s = sources_open(sources, look->path, mapping, &notes, err);
    if (s == STATUS_OK && notes.bytes != NULL) {
        fprintf(stderr,
                "no mapping was given; the proposed one is used (hindcast dataset map %s):\n%s",
                look->path, notes.bytes);
    }
    text_fini(&notes);
    return s;
}

/* Intervals between rows that are too long. */
static void print_gaps(const struct logs_gaps *gaps)
{
    if (gaps != NULL && gaps->n > 0) {
        printf("warning      time gaps: %" PRIu64
               " intervals between rows are much longer than the control period, or not positive; "
               "the longest is %.6g s (%s)\n",
               gaps->n, gaps->longest_s, gaps->place);
    }
}

/* Reads everything and prints it. *sound: every episode is good. */
static status look_at(const struct look *look, struct sources *sources, bool *sound,
                      struct err *err)
{
    struct selection selection;
    struct dataset_summary *summary;
    status s = sources_set_history(sources, &look->rules.history, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = sources_select(sources, &selection, &look->rules, look->clip, NULL, err);
    /* The summary reads every episode; bad ones are part of what it tells. */
    if (s == STATUS_OK) {
        s = source_summary_make(&summary, sources, &look->holdout, err);
    }
    /* The page is printed for bad logs too: it says which episodes are bad, and why. */
    if (s == STATUS_OK) {
        selection_print(&selection, stdout);
        dataset_summary_print(summary, stdout);
        /* Counted by the first pass over the logs. Only a single source of logs has times. */
        struct logs_gaps gaps = {0};
        const struct logs_gaps *counted = source_gaps(sources_at(sources, 0));
        if (counted != NULL) {
            gaps = selection.active ? selection.gaps : *counted;
            counted = gaps.has_times ? &gaps : NULL;
        }
        print_gaps(counted);
        *sound = dataset_summary_is_sound(summary);
        dataset_summary_free(summary);
        if (look->plot != NULL) {
            s = log_plot(look->plot, look->path, sources, counted, err);
        }
    }
    selection_fini(&selection);
    return s;
}

int dataset_inspect(int argc, char **argv)
{
    struct err err = {0};
    struct look look = {0};
    if (read_arguments(&look, argc, argv, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast dataset inspect: %s\n", err.text);
        return 2;
    }
    bool sound = false;
    struct sources *sources;
    status s = open_sources(&look, &sources, &err);
    if (s == STATUS_OK) {
        s = look_at(&look, sources, &sound, &err);
        sources_close(sources);
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast dataset inspect: %s\n", err.text);
    }
    return s == STATUS_OK && sound ? 0 : 1;
}
