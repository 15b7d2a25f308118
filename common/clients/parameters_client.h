/* Following the learner's parameters: a background thread watches and keeps the newest policy
 * package. All functions except open and close may be called from any thread. */
#ifndef HINDCAST_CLIENTS_PARAMETERS_CLIENT_H
#define HINDCAST_CLIENTS_PARAMETERS_CLIENT_H

#include <stdint.h>

#include "common/base/experiment.h"

#define PARAMETERS_RUN_ID_SIZE 64

struct parameters_client;

/* A published version. Reference counted: it stays valid while newer ones arrive. */
struct parameters_snapshot {
    uint64_t version;
    uint64_t learner_step;
    bool finished; /* the run has ended; this version is the last */
    char run_id[PARAMETERS_RUN_ID_SIZE];
    const void *package; /* policy package, safetensors (common/networks/policy.h) */
    size_t package_size;
};

/* Starts watching experiment->parameters. A learner that is not there yet is waited for without
 * a limit, with backoff. rpc_init must have been called. INVALID: an address or a key file that
 * cannot be used. */
status parameters_client_open(struct parameters_client **client,
                              const struct experiment *experiment, struct err *err) MUST_CHECK;

/* The newest snapshot with version > newer_than, waiting up to `timeout_ms`: OK, TIMEOUT, CLOSED
 * (client closing). Release it. Two snapshots are returned whatever their version: the end of
 * the run (once, with `finished` set), and the first of another run_id than that taken last,
 * whose versions start again. */
status parameters_client_take(struct parameters_client *client, uint64_t newer_than,
                              uint64_t timeout_ms,
                              const struct parameters_snapshot **snapshot) MUST_CHECK;
void parameters_snapshot_release(const struct parameters_snapshot *snapshot);

/* Ends the run that is being watched (Parameters.Finish); retries within `timeout_ms`. OK also
 * if it was finished already. MISMATCH: another run has replaced it; UNAVAILABLE, TIMEOUT: no
 * answer. */
status parameters_client_finish(struct parameters_client *client, uint64_t version,
                                const char *reason, const char *who, uint64_t timeout_ms,
                                struct err *err) MUST_CHECK;

/* Is there a connection now? For status lines. */
bool parameters_client_connected(const struct parameters_client *client);

/* Stops within about a second. Snapshots that were taken stay valid until released. No other thread
 * may be inside a call, except parameters_client_take, which returns CLOSED. */
void parameters_client_close(struct parameters_client *client);

#endif
