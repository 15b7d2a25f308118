/* The `collector` section of an experiment file. */
#ifndef HINDCAST_COLLECTOR_OPTIONS_H
#define HINDCAST_COLLECTOR_OPTIONS_H

#include "common/base/experiment.h"
#include "common/environments/environment.h"

struct collector_options {
    int64_t index; /* of several collectors of a run: 0 .. count - 1 */
    int64_t count;
    char act[CONFIG_TEXT_SIZE];     /* "policy", "random" or "script" */
    char policy[CONFIG_TEXT_SIZE];  /* file of a saved policy; empty: the learner's newest */
    char initial[CONFIG_TEXT_SIZE]; /* until the first parameters arrive: "random" or "wait" */
    int64_t random_episodes;        /* this many first episodes are acted at random */
    struct config_texts script_noise;
    double noise[CONFIG_LIST_MAX]; /* the same as numbers, by collector_options_finish */
    double noise_correlation;      /* of the noise that a policy is sampled with */
    int64_t reset_episodes;        /* a new start state every so many episodes of an environment */
    double advanced;               /* probability that it is one further along the task */
    struct config_texts tasks;
    bool pursued[SIGNATURE_TASKS_MAX]; /* which rewards those are, by collector_options_finish */
    int64_t environments;              /* acted in at the same time */
    int64_t threads;       /* that act in them; after collector_options_finish 1 .. environments */
    int64_t episodes;      /* of this collector, over all its starts; 0: no limit */
    int64_t refresh_steps; /* take the newest parameters every so many steps; 0: per episode */
    bool insert;           /* into the replay server, besides writing logs */
    char table[CONFIG_TEXT_SIZE];
    char folder[CONFIG_TEXT_SIZE]; /* of the logs; empty: RUN_DIR/logs, with /collector-INDEX if
                                    * there are several */
    int64_t shard_episodes;        /* per shard; until then they are in the journal */
    bool finish_run;               /* after the last episode, end the run */
};

struct config_section collector_section(struct collector_options *options);

/* Checks options against each other and against the environment, which is described and not opened;
 * fills in `folder`, `noise`, `pursued` and `threads`. INVALID, or as environment_describe. After
 * experiment_finish. */
status collector_options_finish(struct collector_options *options,
                                const struct experiment *experiment,
                                struct environment_description *environment,
                                struct err *err) MUST_CHECK;

#endif
