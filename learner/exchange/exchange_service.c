/* The exchange over gRPC at rank 0: the Exchange service. See exchange.h.
 *
 * Everything here runs on the call thread. It receives what ranks send, keeps `group` up to date,
 * puts sums into the ranks' buffers, and sends what the training thread posts. The calls belong to
 * this thread; the rest of the host is guarded by the mutex.
 *
 * Ranks are peers, but what they send is checked like any foreign bytes: sizes, generation, step,
 * and that the numbers can be added. A rank that fails a check is refused by name; the group then
 * forms again with whoever takes its place. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/roles.h"
#include "learner/exchange/exchange_host.h"

#define LOG_MODULE "exchange"
#include "common/base/log.h"

/* The state of one Join stream. */
struct member_call {
    uint32_t rank; /* 0: has not joined */
    bool telling;  /* End is being sent */
};

/* ---- Breaking up: call thread ---- */

/* Ends every stream with the reason; the group is FORMING again. */
void host_dissolve(void *arg)
{
    struct host *host = arg;
    /* The calls are taken out first: on_done must not see these ranks as members that leave. */
    struct rpc_call *calls[GROUP_RANKS_MAX];
    memcpy(calls, host->calls, sizeof calls);
    memset(host->calls, 0, sizeof host->calls);
    /* What is said to the ranks is copied under the mutex and sent outside it. */
    pthread_mutex_lock(&host->mutex);
    host->dissolving = false;
    const struct err fatal = host->fatal;
    const bool ended = host->ended;
    char reason[sizeof host->group.reason];
    memcpy(reason, host->group.reason, sizeof reason);
    char refusals[GROUP_RANKS_MAX][GROUP_WAITS_SIZE] = {""};
    for (uint32_t r = 1; r < host->base.ranks; r++) {
        if (host->group.members[r].refused) {
            memcpy(refusals[r], host->group.refusals[r], sizeof refusals[r]);
        }
    }
    const bool break_up = host->group.phase == GROUP_BROKEN || fatal.code != STATUS_OK;
    if (break_up) {
        host->broken = true;
        group_form_anew(&host->group);
    }
    pthread_cond_broadcast(&host->news);
    pthread_mutex_unlock(&host->mutex);
    if (!break_up) { /* posted for a break that was told meanwhile */
        memcpy(host->calls, calls, sizeof calls);
        return;
    }
    /* The warning is for a group that broke; an end and a fatal difference have logs of their
     * own. */
    if (fatal.code == STATUS_OK && !ended) {
        log_warn("the group breaks up: %s", reason);
    }
    /* Each stream ends with the reason. The ranks come back with a new Join, but for one that did
     * not have rank 0's state: its process ends. */
    for (uint32_t r = 1; r < host->base.ranks; r++) {
        if (calls[r] != NULL && refusals[r][0]) {
            rpc_call_finish(calls[r], STATUS_CORRUPT, refusals[r]);
        } else if (calls[r] != NULL) {
            rpc_call_finish(calls[r], fatal.code != STATUS_OK ? fatal.code : STATUS_GROUP_BROKEN,
                            fatal.code != STATUS_OK ? fatal.text : reason);
        }
    }
}

bool host_to_dissolve(const struct host *host)
{
    return host->group.phase == GROUP_BROKEN || (host->fatal.code != STATUS_OK && !host->broken);
}

/* Ends a change of the group: wakes the training thread; where the group broke, tells the ranks. */
static void unlock_with_news(struct host *host)
{
    const bool broken = host_to_dissolve(host);
    pthread_cond_broadcast(&host->news);
    pthread_mutex_unlock(&host->mutex);
    if (broken) {
        host_dissolve(host);
    }
}

/* ---- What ranks send: call thread ---- */

/* Tells a rank that the run has ended. Where it only stops for now, the stream ends as if rank 0
 * had died: the rank waits for it to come back. */
static void send_end(struct rpc_call *call, struct member_call *member,
                     const struct exchange_end *end)
{
    /* UNAVAILABLE is what the death of rank 0 looks like, so a rank that waits goes on waiting. */
    if (!end->finished) {
        rpc_call_finish(call, STATUS_UNAVAILABLE, "rank 0 is stopping, the run goes on");
        return;
    }
    /* The last message of the stream. It is `done` when the rank has read it. */
    Hindcast__GroupMessage__End body = HINDCAST__GROUP_MESSAGE__END__INIT;
    body.finished = true;
    body.reason = (char *)(uintptr_t)end->reason;
    Hindcast__GroupMessage message = HINDCAST__GROUP_MESSAGE__INIT;
    message.end = &body;
    member->telling = true;
    rpc_call_reply(call, &message.base);
}

/* A new stream. Nobody is a member before Join. */
static void on_start(struct rpc_call *call)
{
    struct member_call *member = mem_new(sizeof *member);
    if (member == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "exchange");
    }
    rpc_call_set_state(call, member);
}

/* May this rank join? Terms and run must be rank 0's. Under the mutex. */
static status admit(struct host *host, const Hindcast__RankMessage__Join *join, struct err *err)
{
    /* A rank that joins for the first time has no run yet, and rank 0 may not know its own. */
    if (strlen(join->run_id) >= sizeof host->run_id) {
        return err_set(err, STATUS_INVALID, "run_id of %zu bytes", strlen(join->run_id));
    }
    /* Terms first: a rank with other options must hear of them, whatever run it had. */
    status s = exchange_compare_terms(host->terms, join->terms, err);
    if (s == STATUS_OK && host->run_id[0] && join->run_id[0] &&
        strcmp(host->run_id, join->run_id) != 0) {
        s = err_set(err, STATUS_MISMATCH, "run %s, expected %s", join->run_id, host->run_id);
    }
    if (s != STATUS_OK) {
        return err_context(err, s, "rank %u", join->rank);
    }
    /* Then its place in the group. */
    const struct group_join wanted = {join->rank, join->ranks, join->incarnation, join->generation,
                                      join->who};
    s = group_join(&host->group, &wanted, err);
    if (s == STATUS_OK) {
        snprintf(host->run_ids[join->rank], sizeof host->run_ids[0], "%s", join->run_id);
        log_info("rank %u of %u has joined: %s", join->rank, host->base.ranks,
                 host->group.members[join->rank].who);
    }
    return s;
}

/* The first message of a stream. */
static void on_join(struct rpc_call *call, struct host *host, struct member_call *member,
                    const Hindcast__RankMessage__Join *join)
{
    /* Admitted or not, the training thread looks at the group again. */
    struct err err = {0};
    pthread_mutex_lock(&host->mutex);
    const status s = admit(host, join, &err);
    if (s != STATUS_OK && s != STATUS_EXISTS && s != STATUS_GROUP_BROKEN) {
        group_refuse(&host->group, join->rank, join->incarnation, err.text);
    }
    const bool ended = host->ended;
    const struct exchange_end end = host->base.end_of;
    unlock_with_news(host);
    /* Only this rank's stream ends; the group goes on forming. */
    if (s != STATUS_OK) {
        log_info("%s is refused: %s", rpc_call_peer(call), err.text);
        rpc_call_finish(call, s, err.text);
        return;
    }
    /* The same process joined again, so its older stream is dead. */
    struct rpc_call *older = host->calls[join->rank];
    host->calls[join->rank] = call;
    member->rank = join->rank;
    if (older != NULL) {
        rpc_call_finish(older, STATUS_SUPERSEDED, "this rank has joined again");
    }
    /* The run ended before this rank joined. */
    if (ended) {
        send_end(call, member, &end);
    }
}

/* Are the numbers of a payload finite, and small enough to be added? One NaN would make the total,
 * and so every rank's step, useless. They are looked at before they are copied: sums that were
 * accepted for this step must not be overwritten by a message that is refused. */
static bool payload_fits(const struct host *host, const struct rpc_pieces *payload)
{
    /* Piece by piece through a small buffer, which is aligned for both kinds of numbers. */
    _Alignas(64) unsigned char chunk[4096];
    const size_t gradients = host->sums_size - host->n_scalars * sizeof(double);
    bool fits = true;
    for (size_t at = 0; at < host->sums_size && fits;) {
        /* A chunk never holds both kinds: it ends where the gradients end. */
        const size_t end = at < gradients ? gradients : host->sums_size;
        const size_t n = end - at < sizeof chunk ? end - at : sizeof chunk;
        const bool whole = rpc_pieces_copy(payload, chunk, at, n);
        ASSERT(whole);
        fits = at < gradients
                   ? exchange_floats_fit((const float *)(const void *)chunk, n / sizeof(float))
                   : exchange_doubles_fit((const double *)(const void *)chunk, n / sizeof(double));
        at += n;
    }
    return fits;
}

/* The sums of a rank for this step. Under the mutex. */
static status take_sums(struct host *host, uint32_t rank, const Hindcast__RankMessage *message,
                        const struct rpc_pieces *payload, struct err *err)
{
    /* The size says how much may be copied; messages of another generation may have any. */
    const struct group_mark mark = {message->generation, message->step, message->batch,
                                    message->digest};
    if (mark.generation == host->group.generation && payload->size != host->sums_size) {
        return err_set(err, STATUS_INVALID, "rank %u: sums of %zu bytes, expected %zu", rank,
                       payload->size, host->sums_size);
    }
    if (mark.generation == host->group.generation && !payload_fits(host, payload)) {
        return err_set(err, STATUS_INVALID,
                       "the sums of rank %u of %u (%s) for step %" PRIu64
                       " are not finite, or too large to be added",
                       rank, host->base.ranks, host->group.members[rank].who, mark.step + 1);
    }
    /* A rank may bring sums once for each step; group_arrive refuses everything else. */
    status s = group_arrive(&host->group, clock_now_ns(), rank, &mark, err);
    if (s == STATUS_CORRUPT && host->group.phase == GROUP_STEPPING) {
        host->fatal = *err; /* where it breaks the group, the rank alone is refused */
    } else if (s == STATUS_OK) {
        /* Accepted: the training thread adds them when all are there. */
        const bool whole = rpc_pieces_copy(payload, host->sums[rank], 0, host->sums_size);
        ASSERT(whole);
    }
    return s;
}

/* A message of a rank that has joined: what it waits for, or its sums. */
static void on_word(struct rpc_call *call, struct host *host, const struct member_call *member,
                    const Hindcast__RankMessage *message)
{
    struct err err = {0};
    status s = STATUS_OK;
    /* A word that it waits, from an earlier generation, is taken as sums and refused below. */
    pthread_mutex_lock(&host->mutex);
    if (message->waits[0] && message->generation == host->group.generation) {
        group_heard(&host->group, clock_now_ns(), member->rank, message->waits);
    } else {
        s = take_sums(host, member->rank, message, rpc_call_payload(call), &err);
    }
    /* Sums of an older group are no fault of the rank. */
    if (s != STATUS_OK && s != STATUS_MISMATCH) {
        group_refuse(&host->group, member->rank, host->group.members[member->rank].incarnation,
                     err.text);
    }
    unlock_with_news(host);
    /* The stream ends, and with it a group that steps: on_done sees a member that leaves. */
    if (s != STATUS_OK) {
        log_warn("rank %u is refused: %s", member->rank, err.text);
        rpc_call_finish(call, s, err.text);
    }
}

/* Sorts a message by what its stream may send: Join first and once, then words of a member. */
static void on_message(struct rpc_call *call, const ProtobufCMessage *body)
{
    struct host *host = rpc_call_service(call);
    struct member_call *member = rpc_call_state(call);
    const Hindcast__RankMessage *message = (const void *)body;
    if (member == NULL) {
        return;
    }
    /* Only the newest stream of a rank speaks for it; an older one was superseded. */
    if (member->rank != 0 && host->calls[member->rank] == call && message->join == NULL) {
        on_word(call, host, member, message);
    } else if (member->rank == 0 && message->join != NULL) {
        on_join(call, host, member, message->join);
    } else if (message->join != NULL) {
        rpc_call_finish(call, STATUS_INVALID, "join a second time");
    } else {
        pthread_mutex_lock(&host->mutex);
        const uint64_t generation = host->group.generation;
        pthread_mutex_unlock(&host->mutex);
        char text[128];
        snprintf(text, sizeof text,
                 "generation %" PRIu64 " is over, or was never joined: the group's is %" PRIu64,
                 message->generation, generation);
        rpc_call_finish(call, STATUS_MISMATCH, text);
    }
}

/* A rank that closes its side has nothing more to say. */
static void on_half_closed(struct rpc_call *call)
{
    rpc_call_finish(call, STATUS_OK, "");
}

/* The stream has ended, whoever ended it. A member that leaves breaks its group. */
static void on_done(struct rpc_call *call)
{
    struct host *host = rpc_call_service(call);
    struct member_call *member = rpc_call_state(call);
    if (member == NULL) {
        return;
    }
    pthread_mutex_lock(&host->mutex);
    /* A call that carried End is done when the rank has read it. */
    if (member->telling) {
        host->told[member->rank] = true;
    }
    /* Where the call is not the newest of its rank, the rank has joined again and stays. */
    if (member->rank != 0 && host->calls[member->rank] == call) {
        host->calls[member->rank] = NULL;
        group_leave(&host->group, member->rank, "is gone");
    }
    unlock_with_news(host);
    rpc_call_set_state(call, NULL);
    mem_free(member);
}

/* ---- What is sent to all ---- */

void sending_free(struct sending *sending)
{
    for (size_t i = 0; i < EXCHANGE_BLOCKS; i++) {
        exchange_buffer_release(sending->buffers[i]);
    }
    mem_free(sending->signature);
    mem_free(sending->start);
    mem_free(sending);
}

/* One sending to one rank: Start and the blocks, or the total. */
static status send_one(struct rpc_call *call, struct sending *sending)
{
    Hindcast__GroupMessage message = HINDCAST__GROUP_MESSAGE__INIT;
    message.generation = sending->generation;
    message.step = sending->step;
    /* First Start, without a payload. */
    status s = STATUS_OK;
    if (sending->start != NULL) {
        message.start = sending->start;
        s = rpc_call_send(call, &message.base, NULL);
        message.start = NULL;
    }
    /* Then one message for each buffer. gRPC holds them until they have left. */
    for (size_t i = 0; s == STATUS_OK && i < EXCHANGE_BLOCKS && sending->buffers[i] != NULL; i++) {
        const struct rpc_payload payload = exchange_payload(sending->buffers[i]);
        s = rpc_call_send(call, &message.base, &payload);
    }
    return s;
}

void host_send_all(void *arg)
{
    struct sending *sending = arg;
    struct host *host = sending->host;
    /* The group may have broken since this was posted; then nobody waits for it. */
    pthread_mutex_lock(&host->mutex);
    const bool now =
        host->group.phase == GROUP_STEPPING && host->group.generation == sending->generation;
    pthread_mutex_unlock(&host->mutex);
    for (uint32_t r = 1; now && r < host->base.ranks; r++) {
        status s = host->calls[r] != NULL ? send_one(host->calls[r], sending) : STATUS_OK;
        if (s != STATUS_OK) {
            rpc_call_finish(host->calls[r], s, status_text(s)); /* done: the group breaks */
        }
    }
    sending_free(sending);
}

/* Ranks that joined before this rank 0 knew its run, and belong to another one. */
void host_refuse_other_runs(void *arg)
{
    struct host *host = arg;
    for (uint32_t r = 1; r < host->base.ranks; r++) {
        char text[256] = "";
        pthread_mutex_lock(&host->mutex);
        if (host->refuse[r] && host->calls[r] != NULL) {
            snprintf(text, sizeof text, "rank %u: run %s, expected %s", r, host->run_ids[r],
                     host->run_id);
        }
        host->refuse[r] = false;
        pthread_mutex_unlock(&host->mutex);
        if (text[0]) {
            rpc_call_finish(host->calls[r], STATUS_MISMATCH, text);
        }
    }
}

/* Every rank that is here; one that joins later is told in on_join. */
void host_end_all(void *arg)
{
    struct host *host = arg;
    for (uint32_t r = 1; r < host->base.ranks; r++) {
        if (host->calls[r] != NULL) {
            send_end(host->calls[r], rpc_call_state(host->calls[r]), &host->base.end_of);
        }
    }
}

/* ---- What the host calls ---- */

/* One method: a rank's stream is its membership. */
static const struct rpc_method METHODS[] = {
    {.name = "Join",
     .kind = RPC_BIDI,
     .payload_field = EXCHANGE_PAYLOAD,
     .roles = ROLE_LEARN | ROLE_ADMIN,
     .start = on_start,
     .message = on_message,
     .half_closed = on_half_closed,
     .done = on_done},
};

status exchange_service_add(struct host *host, struct err *err)
{
    return rpc_server_add(host->server, &hindcast__exchange__descriptor, METHODS,
                          sizeof METHODS / sizeof METHODS[0], host, err);
}
