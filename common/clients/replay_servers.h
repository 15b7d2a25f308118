/* The replay servers that a sampler draws from: what each holds, and how a batch is dealt out among
 * them. One thread. */
#ifndef HINDCAST_CLIENTS_REPLAY_SERVERS_H
#define HINDCAST_CLIENTS_REPLAY_SERVERS_H

#include "common/base/experiment.h"
#include "common/rpc/client.h"
#include "common/trajectory/signature.h"

struct replay_server {
    struct rpc_channel *channel;
    uint64_t episodes, transitions; /* of the table, when it was asked last */
    bool sealed;
    char sampler[16]; /* the table's option; empty: the server does not say */
    bool left_out;    /* it is away, and batches are made without it */
    uint32_t dealt;   /* snippets of the global batch */
};

struct replay_servers {
    size_t n;
    struct replay_server at[CONFIG_LIST_MAX];
};

/* A channel to each server of the experiment, into `servers`, all zero. After an error
 * replay_servers_close closes those that are open. */
status replay_servers_open(struct replay_servers *servers, const struct experiment *experiment,
                           size_t max_message_bytes, struct err *err) MUST_CHECK;
void replay_servers_close(struct replay_servers *servers);

/* Asks every server for its table. OK: all have it, and its signature is the one wanted (where
 * signature->A is 0, that of the first server, which is filled in). UNAVAILABLE, NOT_FOUND: not
 * yet, or with `require_sealed` and several servers not sealed yet. */
status replay_servers_ask(struct replay_servers *servers, const char *table, bool require_sealed,
                          struct signature *signature, struct err *err) MUST_CHECK;
/* After replay_servers_ask: do priorities decide about the draws of all? MISMATCH names the first
 * table whose sampler is another one. */
status replay_servers_check_prioritized(const struct replay_servers *servers, const char *table,
                                        struct err *err) MUST_CHECK;
/* Asks for the sizes again. A server that was left out and answers is back; one that does not answer
 * stays what it was. */
void replay_servers_measure(struct replay_servers *servers, const char *table);
/* Are the tables of all servers sealed? */
bool replay_servers_sealed(const struct replay_servers *servers);

/* Sets `dealt` of each server; the sum is B. In proportion to transitions, equally while there are
 * none; nothing to servers that are left out, which must not be all. */
void replay_servers_deal(struct replay_servers *servers, uint32_t B);

#endif
