/* A channel to a peer of the experiment: its TLS files and token, from the `experiment` section. */
#ifndef HINDCAST_CLIENTS_PEER_H
#define HINDCAST_CLIENTS_PEER_H

#include "common/base/experiment.h"
#include "common/rpc/client.h"

/* Can the addresses in experiment.replay, or the one in experiment.parameters, be those of peers?
 * INVALID names the option. After experiment_finish; touches no network. */
status peer_check_replay(const struct experiment *experiment, struct err *err) MUST_CHECK;
status peer_check_parameters(const struct experiment *experiment, struct err *err) MUST_CHECK;

/* Opens a channel to `address` with tls_ca, tls_cert, tls_key and the first line of token_file of
 * the experiment, where they are given. max_message_bytes 0: the default. Connects lazily.
 * NOT_FOUND, INVALID, IO: a file that cannot be used. */
status peer_channel_open(struct rpc_channel **channel, const char *address,
                         const struct experiment *experiment, size_t max_message_bytes,
                         struct err *err) MUST_CHECK;

#endif
