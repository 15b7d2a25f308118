/* hindcast status --parameters. See status_learner.h.
 *
 * The learner knows where the replay servers are, and how many follow it; what a replay server holds
 * it says itself. Texts of peers are cleaned before they reach a terminal. */
#include "deploy/local/status_learner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "common/clients/peer.h"
#include "deploy/local/experiment_flags.h"
#include "deploy/local/screen.h"
#include "proto/parameters.pb-c.h"
#include "proto/replay.pb-c.h"

#define TIMEOUT_MS 5000u

/* Calls a method without arguments at an address. The response is rpc_message_free's. */
static status ask(const struct experiment *experiment, const char *address,
                  const ProtobufCServiceDescriptor *service, const char *method,
                  const ProtobufCMessage *message, struct rpc_message *response, struct err *err)
{
    struct rpc_channel *channel;
    status s = peer_channel_open(&channel, address, experiment, 0, err);
    if (s == STATUS_OK) {
        const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
        s = rpc_unary(channel, service, method, message, NULL, &options, response, err);
        rpc_channel_close(channel);
    }
    return s;
}

static void show(const char *name, const char *state, char *text)
{
    utf8_clean(text);
    screen_row(stdout, name, state, text);
}

/* One replay server: what its tables hold, and who waits for it. */
static void show_replay(const struct experiment *experiment, size_t i, const char *address)
{
    char name[40], text[1024];
    snprintf(name, sizeof name, "replay_server/%zu", i);
    Hindcast__InfoRequest request = HINDCAST__INFO_REQUEST__INIT;
    struct rpc_message response;
    struct err err;
    if (ask(experiment, address, &hindcast__replay__descriptor, "Info", &request.base, &response,
            &err) != STATUS_OK) {
        show(name, "silent", err.text);
        return;
    }
    const Hindcast__InfoResponse *info = (const Hindcast__InfoResponse *)response.body;
    int length = snprintf(text, sizeof text, "%.200s:", address);
    for (size_t t = 0; t < info->n_tables && (size_t)length < sizeof text; t++) {
        const Hindcast__TableInfo *table = info->tables[t];
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "%s %.64s %" PRIu64 " episodes%s", t > 0 ? "," : "", table->name,
                           table->episodes, table->sealed ? " sealed" : "");
        if (table->n_waiters > 0 && (size_t)length < sizeof text) {
            length += snprintf(text + length, sizeof text - (size_t)length, ", %zu wait (%.120s)",
                               table->n_waiters, table->waiters[0]->why);
        }
    }
    show(name, "running", text);
    rpc_message_free(&response);
}

static int show_run(struct experiment *experiment)
{
    Hindcast__ProgressRequest request = HINDCAST__PROGRESS_REQUEST__INIT;
    struct rpc_message response;
    struct err err;
    if (ask(experiment, experiment->parameters, &hindcast__parameters__descriptor, "Progress",
            &request.base, &response, &err) != STATUS_OK) {
        show("learner", "silent", err.text);
        return 1;
    }
    const Hindcast__ProgressResponse *progress = (const Hindcast__ProgressResponse *)response.body;
    char text[1024];
    snprintf(text, sizeof text, "%.800s", progress->state);
    show("learner", progress->finished ? "finished" : "running", text);
    snprintf(text, sizeof text, "%" PRIu32 " follow; the newest policy is version %" PRIu64,
             progress->followers, progress->version);
    show("", "", text);

    /* What the learner names is a peer's word: it is checked like an option. */
    experiment->replay.n = 0;
    for (size_t i = 0; i < progress->n_replay && i < CONFIG_LIST_MAX; i++) {
        snprintf(experiment->replay.items[i], CONFIG_TEXT_SIZE, "%s", progress->replay[i]);
        experiment->replay.n++;
    }
    rpc_message_free(&response);
    if (experiment->replay.n > 0 && peer_check_replay(experiment, &err) != STATUS_OK) {
        show("replay_server", "silent", err.text);
        return 0;
    }
    for (size_t i = 0; i < experiment->replay.n; i++) {
        show_replay(experiment, i, experiment->replay.items[i]);
    }
    return 0;
}

int status_of_learner(int n_flags, char *const *flags)
{
    struct experiment *experiment = mem_new(sizeof *experiment);
    if (experiment == NULL) {
        return 1;
    }
    struct err err;
    status s = experiment_flags_read(experiment, n_flags, flags, &err);
    if (s == STATUS_OK) {
        s = peer_check_parameters(experiment, &err);
    }
    int result = 2;
    if (s == STATUS_OK) {
        rpc_init();
        result = show_run(experiment);
        rpc_fini();
    } else {
        fprintf(stderr, "hindcast status: %s\n", err.text);
    }
    mem_free(experiment);
    return result;
}
