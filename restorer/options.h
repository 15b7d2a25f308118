/* The `restorer` section of the experiment file. */
#ifndef HINDCAST_RESTORER_OPTIONS_H
#define HINDCAST_RESTORER_OPTIONS_H

#include "common/base/experiment.h"
#include "common/trajectory/episode_holdout.h"
#include "common/trajectory/episode_rules.h"

struct restorer_options {
    int64_t index;                  /* which of several restorers this is */
    int64_t count;                  /* how many there are */
    char folder[CONFIG_TEXT_SIZE];  /* a dataset, a folder of datasets, or other logs */
    char mapping[CONFIG_TEXT_SIZE]; /* how other logs are read; empty: see source.h */
    char mode[CONFIG_TEXT_SIZE];    /* once, loop */
    char table[CONFIG_TEXT_SIZE];   /* of the replay */
    bool shuffle;
    int64_t prefetch;                /* episodes */
    int64_t in_flight;               /* bytes sent and not yet acknowledged */
    char actions[CONFIG_TEXT_SIZE];  /* beyond their limits: refuse, clip */
    char bad_rows[CONFIG_TEXT_SIZE]; /* refuse, split */
    int64_t min_piece;               /* transitions */
    struct config_texts filter;      /* conditions of episode_filter.h; empty: all episodes */
    int64_t history;                 /* steps in an observation */
    bool history_actions;
    double holdout;                 /* share of the episodes, 0: none */
    int64_t folds, fold;            /* in place of a share; 0 folds: none */
    int64_t max_bad;                /* episodes; -1: any number */
    struct config_texts rewards;    /* to keep, in this order; empty: all that are logged */
    char relabel[CONFIG_TEXT_SIZE]; /* Lua file with reward functions; empty: none */
    double connect_timeout;         /* seconds */
};

/* The table for config_load, with `values` pointing to `options`. */
struct config_section restorer_section(struct restorer_options *options);

/* Stores the rules about which episodes are used. INVALID: a condition of the filter. */
status restorer_options_rules(const struct restorer_options *options, struct episode_rules *rules,
                              struct err *err) MUST_CHECK;

/* The rule about which episodes are held out. */
struct episode_holdout restorer_options_holdout(const struct restorer_options *options);

/* Checks what spans several options. After config_load. */
status restorer_options_check(const struct restorer_options *options, struct err *err) MUST_CHECK;

#endif
