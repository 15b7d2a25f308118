/* The replay server as a whole: store, tables, threads and the Replay service over gRPC. What
 * main.c opens, runs and closes. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_SERVICE_H
#define HINDCAST_REPLAY_SERVER_SERVICE_SERVICE_H

#include "common/base/experiment.h"
#include "replay_server/service/options.h"

struct service;

/* Opens the store, loads every table, binds the addresses. Serves nothing yet. `options` and
 * `experiment` are copied. */
status service_open(struct service **service, const struct options *options,
                    const struct experiment *experiment, uint64_t config_digest,
                    struct err *err) MUST_CHECK;
status service_start(struct service *service, struct err *err) MUST_CHECK;
/* endpoint_check_sockets. */
status service_check_sockets(const struct service *service, struct err *err) MUST_CHECK;
/* Has something failed that only a restart of the process can repair? The log says what. Any
 * thread. */
bool service_broken(const struct service *service);
int service_port(const struct service *service, size_t address_i); /* the port bound */

/* The status line's text. Any thread, from a snapshot that the call thread takes a few times a
 * second. */
void service_describe(struct service *service, char *text, size_t size);

/* Stops serving, writes what is queued, closes the store. Takes grace_ms and the store's last
 * commits at most. */
void service_close(struct service *service);

#endif
