/* Asking replay servers what they hold, and dealing a batch out. See replay_servers.h. */
#define LOG_MODULE "replay_sampler"
#include "common/clients/replay_servers.h"

#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/clients/peer.h"
#include "common/clients/signature_wire.h"

#define INFO_MS 5000u
#define WAIT_MS 100u

status replay_servers_open(struct replay_servers *servers, const struct experiment *experiment,
                           size_t max_message_bytes, struct err *err)
{
    for (size_t i = 0; i < experiment->replay.n; i++) {
        const status s = peer_channel_open(&servers->at[i].channel, experiment->replay.items[i],
                                           experiment, max_message_bytes, err);
        if (s != STATUS_OK) {
            return s;
        }
        servers->n++;
    }
    return servers->n > 0 ? STATUS_OK
                          : err_set(err, STATUS_INVALID, "experiment.replay: no server");
}

void replay_servers_close(struct replay_servers *servers)
{
    for (size_t i = 0; i < servers->n; i++) {
        rpc_channel_close(servers->at[i].channel);
    }
}

/* ---- Asking ---- */

/* The option `sampler` of the table, among all that the server names. */
static void note_sampler(struct replay_server *server, const Hindcast__TableInfo *info)
{
    for (size_t i = 0; i < info->n_settings; i++) {
        if (strcmp(info->settings[i]->name, "sampler") == 0) {
            snprintf(server->sampler, sizeof server->sampler, "%s", info->settings[i]->value);
        }
    }
}

/* Size, sealed flag and signature of the table on one server. UNAVAILABLE, NOT_FOUND: not yet. */
static status ask(struct replay_server *server, const char *table, struct signature *signature,
                  struct err *err)
{
    /* The table is asked for by name; the answer has it alone, or nothing. */
    Hindcast__InfoRequest request = HINDCAST__INFO_REQUEST__INIT;
    request.table = (char *)table;
    const struct rpc_call_options options = {.timeout_ms = INFO_MS};
    struct rpc_message message;
    const char *address = rpc_channel_address(server->channel);
    /* A short wait first, so that an absent server does not cost the whole time of a call. */
    if (rpc_channel_wait(server->channel, WAIT_MS) != STATUS_OK) {
        return rpc_address_unreachable(address, err);
    }
    status s = rpc_unary(server->channel, &hindcast__replay__descriptor, "Info", &request.base,
                         NULL, &options, &message, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* What the server has, as it is at this moment. */
    const Hindcast__InfoResponse *info = (const Hindcast__InfoResponse *)message.body;
    if (info->n_tables != 1) {
        s = err_set(err, STATUS_NOT_FOUND, "%s: no table %s yet", address, table);
    } else {
        server->episodes = info->tables[0]->episodes;
        server->transitions = info->tables[0]->transitions;
        server->sealed = info->tables[0]->sealed;
        note_sampler(server, info->tables[0]);
        s = signature_wire_read(signature, info->tables[0]->signature, err);
    }
    rpc_message_free(&message);
    return s;
}

status replay_servers_ask(struct replay_servers *servers, const char *table, bool require_sealed,
                          struct signature *signature, struct err *err)
{
    for (size_t i = 0; i < servers->n; i++) {
        struct replay_server *server = &servers->at[i];
        struct signature have;
        /* The first server's signature becomes the one that is wanted, where none is. */
        status s = ask(server, table, &have, err);
        if (s != STATUS_OK) {
            return s;
        }
        if (signature->A == 0) {
            *signature = have;
        }
        /* Rewards may stand in another order in the table; the map is of no use here. */
        uint32_t map[SIGNATURE_TASKS_MAX];
        s = signature_match(&have, signature, map, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "%s: table %s", rpc_channel_address(server->channel), table);
        }
        /* How many snippets each server draws is fixed only when the contents of all are. */
        if (servers->n > 1 && require_sealed && !server->sealed) {
            return err_set(err, STATUS_UNAVAILABLE, "%s: table %s is not sealed yet",
                           rpc_channel_address(server->channel), table);
        }
    }
    return STATUS_OK;
}

status replay_servers_check_prioritized(const struct replay_servers *servers, const char *table,
                                        struct err *err)
{
    for (size_t i = 0; i < servers->n; i++) {
        const struct replay_server *server = &servers->at[i];
        if (server->sampler[0] && strcmp(server->sampler, "prioritized") != 0) {
            return err_set(err, STATUS_MISMATCH,
                           "%s: table %s has the sampler %s: expected prioritized, or "
                           "learner.priorities: none",
                           rpc_channel_address(server->channel), table, server->sampler);
        }
    }
    return STATUS_OK;
}

void replay_servers_measure(struct replay_servers *servers, const char *table)
{
    for (size_t i = 0; i < servers->n; i++) {
        struct replay_server *server = &servers->at[i];
        struct signature ignored;
        struct err err;
        if (ask(server, table, &ignored, &err) == STATUS_OK && server->left_out) {
            log_info("%s is back", rpc_channel_address(server->channel));
            server->left_out = false;
        }
    }
}

bool replay_servers_sealed(const struct replay_servers *servers)
{
    bool sealed = true;
    for (size_t i = 0; i < servers->n; i++) {
        sealed = sealed && servers->at[i].sealed;
    }
    return sealed;
}

/* ---- Dealing ---- */

/* What a server counts in dealing; equally when there are no transitions yet. */
static double share_of(const struct replay_server *server, bool by_transitions)
{
    return server->left_out ? 0 : by_transitions ? (double)server->transitions : 1;
}

/* What rounding down leaves goes to the largest remainders. */
void replay_servers_deal(struct replay_servers *servers, uint32_t B)
{
    double sum = 0;
    double remainder[CONFIG_LIST_MAX];
    uint32_t left = B;
    /* What each server has, of all that there is. */
    for (size_t i = 0; i < servers->n; i++) {
        sum += share_of(&servers->at[i], true);
    }
    const bool by_transitions = sum > 0;
    for (size_t i = 0; !by_transitions && i < servers->n; i++) {
        sum += share_of(&servers->at[i], false);
    }
    /* Rounded down, with the remainder kept. */
    for (size_t i = 0; i < servers->n; i++) {
        const double part = share_of(&servers->at[i], by_transitions) / sum;
        servers->at[i].dealt = (uint32_t)(part * B);
        remainder[i] = part * B - servers->at[i].dealt;
        left -= servers->at[i].dealt;
    }
    /* One snippet each to the largest remainders, until nothing is left. */
    for (; left > 0; left--) {
        size_t best = 0;
        for (size_t i = 1; i < servers->n; i++) {
            best = remainder[i] > remainder[best] ? i : best;
        }
        servers->at[best].dealt++;
        remainder[best] = -1;
    }
}
