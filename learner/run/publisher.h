/* The Parameters service: the newest policy package for every client, and the end of the run.
 *
 * The training thread hands over a package and goes on: a publication is one pointer swapped under
 * a short lock. A client that is still being sent an older package keeps that one alive, for a
 * bounded time. Handlers run on the server's call thread. All functions except publisher_new, _free,
 * _set_limits and _set_replay may be called on any thread. docs/wire.md, "Parameters". */
#ifndef HINDCAST_LEARNER_RUN_PUBLISHER_H
#define HINDCAST_LEARNER_RUN_PUBLISHER_H

#include <stdint.h>

#include "common/base/config.h"
#include "common/base/status.h"
#include "common/rpc/server.h"

#define PUBLISHER_TEXT_SIZE         256
#define PUBLISHER_RUN_ID_SIZE       64
#define PUBLISHER_REPORTS_MAX       48
#define PUBLISHER_PACKAGE_MAX_BYTES (64u << 20)
/* The server's limit for a message. */
#define PUBLISHER_MESSAGE_MAX_BYTES (PUBLISHER_PACKAGE_MAX_BYTES + 65536u)

struct publisher;

/* Adds the service to `server`, which is not started yet and must be closed before publisher_free.
 */
status publisher_new(struct publisher **publisher, struct rpc_server *server,
                     struct err *err) MUST_CHECK;
void publisher_free(struct publisher *publisher);

/* Bounds what clients that do not read can hold: a package must be read within `delivery_ms`, plus
 * its size at 1024 bytes per ms, and all packages but the newest may have `old_max_bytes` together.
 * 60,000 and 256 MiB where this is not called. Before the server is started. */
void publisher_set_limits(struct publisher *publisher, uint64_t delivery_ms, size_t old_max_bytes);

/* What Progress says about where the replay servers are. Borrowed; before the server is started. */
void publisher_set_replay(struct publisher *publisher, const struct config_texts *replay);

/* Names the run, once, before the first publication. */
void publisher_set_run(struct publisher *publisher, const char *run_id);

/* Makes this package the newest one and takes it (mem_free when it is no longer being sent).
 * `version` >= 1 and above the last one. `finished`: it is the last of the run. */
status publisher_publish(struct publisher *publisher, void *package, size_t size, uint64_t version,
                         uint64_t learner_step, bool finished, struct err *err) MUST_CHECK;

/* Why the run ends. */
struct publisher_end {
    char reason[PUBLISHER_TEXT_SIZE]; /* "no improvement in 5 windows" */
    char who[PUBLISHER_TEXT_SIZE];    /* "evaluator-0" */
    uint64_t version;                 /* on which that stands; 0: the newest */
};
/* Has the end been asked for? `end` may be NULL. Cheap: asked every step. */
bool publisher_ending(struct publisher *publisher, struct publisher_end *end);
/* The learner's own end: steps done, time over. False where the end was asked for before: the first
 * reason counts. */
bool publisher_end(struct publisher *publisher, const char *reason, const char *who);

/* What Progress answers. */
struct publisher_progress {
    uint64_t learner_step;
    uint64_t learner_steps; /* to be taken; 0: no end */
    double steps_per_second;
    double learning_seconds;
    size_t n_reports;
    struct publisher_report {
        const char *name; /* static */
        double value;
    } reports[PUBLISHER_REPORTS_MAX];
};
void publisher_set_progress(struct publisher *publisher, const struct publisher_progress *progress);
/* One line for humans; longer ones are cut. */
void publisher_set_state(struct publisher *publisher, const char *text);

/* Has the last version been delivered? True once it was sent to as many watchers as there ever were
 * at once (those that left after the end was asked for are not waited for), and also where no
 * client ever asked for parameters. */
bool publisher_delivered(struct publisher *publisher);
/* The number of Watch calls since the start, and one more where Get was used. */
unsigned publisher_followers(struct publisher *publisher);

#endif
