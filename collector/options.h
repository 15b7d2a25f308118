/* The `collector` section of an experiment file. */
#ifndef HINDCAST_COLLECTOR_OPTIONS_H
#define HINDCAST_COLLECTOR_OPTIONS_H

#include "common/base/experiment.h"

struct collector_options {
    int64_t index; /* of several collectors of a run: 0 .. count - 1 */
    int64_t count;
    char act[CONFIG_TEXT_SIZE];     /* "policy" or "random" */
    char initial[CONFIG_TEXT_SIZE]; /* until the first parameters come: "random" or "wait" */
    int64_t random_episodes;        /* the first so many act at random */
    int64_t environments;           /* acting at the same time, a thread each */
    int64_t episodes;      /* of this collector, over all its starts; 0: until the run ends */
    int64_t refresh_steps; /* newest parameters every so many steps; 0: at episode starts */
    bool insert;           /* into the replay, besides keeping logs */
    char table[CONFIG_TEXT_SIZE];
    char folder[CONFIG_TEXT_SIZE]; /* of the logs; empty: RUN_DIR/logs, with /collector-INDEX if
                                      there are several */
    int64_t shard_episodes;        /* in a shard; until then they are in the journal */
    bool finish_run;               /* after the last episode, end the run */
};

struct config_section collector_section(struct collector_options *options);

/* Checks what one option cannot know of another, and fills in `folder`. After experiment_finish. */
status collector_options_finish(struct collector_options *options,
                                const struct experiment *experiment, struct err *err) MUST_CHECK;

#endif
