/* The `experiment` section: what all processes of a run share. */
#ifndef HINDCAST_BASE_EXPERIMENT_H
#define HINDCAST_BASE_EXPERIMENT_H

#include "common/base/config.h"

struct experiment {
    char name[CONFIG_TEXT_SIZE];        /* "cheetah-run" */
    char run_dir[CONFIG_TEXT_SIZE];     /* all a run writes; empty: runs/NAME */
    char environment[CONFIG_TEXT_SIZE]; /* "cheetah-run" */
    int64_t seed;
    char choose[CONFIG_TEXT_SIZE];     /* "last", "offline": experiment_chooses_offline */
    struct config_texts replay;        /* of the replay servers; empty: unix:RUN_DIR/replay.sock */
    char parameters[CONFIG_TEXT_SIZE]; /* the learner's; empty: unix:RUN_DIR/parameters.sock */
    char tls_ca[CONFIG_TEXT_SIZE];     /* PEM files; all empty: no TLS */
    char tls_cert[CONFIG_TEXT_SIZE];
    char tls_key[CONFIG_TEXT_SIZE];
    char token_file[CONFIG_TEXT_SIZE]; /* holds the bearer token this process shows to its peers */
    bool allow_insecure; /* listen beyond loopback without TLS, show pages without tokens */
    char log_level[CONFIG_TEXT_SIZE];
    char admin[CONFIG_TEXT_SIZE]; /* HTTP HOST:PORT of /metrics; empty: 127.0.0.1 and a free port */
    struct config_texts admin_hosts;          /* further host names under which that page answers */
    char admin_tokens_file[CONFIG_TEXT_SIZE]; /* who may read that page; empty: everybody */
    bool check; /* --check: read the configuration, say what is wrong, leave */
};

/* The table for config_load, with `values` pointing to `experiment`. */
struct config_section experiment_section(struct experiment *experiment);

/* Lists these names (then NULL) in the help of `environment`. Before config_load; one thread. */
void experiment_offer_environments(const char *const *names);

/* Is the run's policy chosen by an off-policy evaluation? */
bool experiment_chooses_offline(const struct experiment *experiment);

/* Fills in what depends on other values (run_dir, addresses). After config_load, before use. */
void experiment_finish(struct experiment *experiment);

#endif
