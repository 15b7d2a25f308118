/* Channels to the other processes of an experiment, with the TLS files and the token that the
 * `experiment` section names. The token is read for each channel, so a changed file takes effect
 * with the next connection that is opened.
 *
 * The token is a secret: its file must be private to this user, it appears in no text, and it is
 * freed when the channel has its copy. */
#include "common/clients/peer.h"

#include "common/base/memory.h"
#include "common/base/tokens.h"
#include "common/service/endpoint.h"
#include "common/service/wire_version.h"

status peer_check_replay(const struct experiment *experiment, struct err *err)
{
    /* Every address is checked, so that a mistake is told before anything starts. */
    for (size_t i = 0; i < experiment->replay.n; i++) {
        status s = rpc_address_check(experiment->replay.items[i], err);
        if (s != STATUS_OK) {
            return err_context(err, s, "experiment.replay");
        }
    }
    return STATUS_OK;
}

status peer_check_parameters(const struct experiment *experiment, struct err *err)
{
    status s = rpc_address_check(experiment->parameters, err);
    return s == STATUS_OK ? s : err_context(err, s, "experiment.parameters");
}

status peer_channel_open(struct rpc_channel **channel, const char *address,
                         const struct experiment *experiment, size_t max_message_bytes,
                         struct err *err)
{
    /* Without a token_file, calls carry no token. */
    char *token = NULL;
    if (experiment->token_file[0]) {
        status s = token_read(&token, experiment->token_file, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* TLS is used when the section names its files. */
    struct rpc_channel_options options = {.tls = endpoint_tls(experiment),
                                          .protocol = WIRE_PROTOCOL,
                                          .token = token,
                                          .max_message_bytes = max_message_bytes};
    status s = rpc_channel_open(channel, address, &options, err);
    mem_free(token);
    return s;
}
