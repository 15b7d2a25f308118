/* Following the learner's parameters: a background thread watches and keeps the newest policy package. */
#ifndef HINDCAST_CLIENTS_PARAMETERS_CLIENT_H
#define HINDCAST_CLIENTS_PARAMETERS_CLIENT_H

#include "common/base/experiment.h"

struct parameters_client;

/* A version as published; shared and counted, so the newest can be swapped while others are in use. */
struct parameters_snapshot {
    uint64_t version;
    uint64_t learner_step;
    bool finished;        /* the run has ended; this version is the last */
    char run_id[64];
    const void *package;  /* policy package, safetensors (common/networks/policy.h) */
    size_t package_size;
};

/* Starts watching experiment->parameters; a learner that is not there yet is waited for, for ever, with backoff. */
status parameters_client_open(struct parameters_client **client, const struct experiment *experiment, struct err *err) MUST_CHECK;

/* The newest snapshot with version > newer_than, waiting up to `timeout_ms`: OK, TIMEOUT, CLOSED (client closed). Release it. `finished` alone also counts as news
 * once: a snapshot with the same version and finished set. */
status parameters_client_take(struct parameters_client *client, uint64_t newer_than, uint64_t timeout_ms,
                              const struct parameters_snapshot **snapshot) MUST_CHECK;
void parameters_snapshot_release(const struct parameters_snapshot *snapshot);

/* Ends the run (Parameters.Finish); retries within `timeout_ms`. */
status parameters_client_finish(struct parameters_client *client, uint64_t version, const char *reason, const char *who,
                                uint64_t timeout_ms, struct err *err) MUST_CHECK;

/* Connected at this moment? For status lines. */
bool parameters_client_connected(const struct parameters_client *client);
void parameters_client_close(struct parameters_client *client);

#endif
