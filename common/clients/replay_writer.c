/* Distributes a writer's episodes over the replay servers, and waits while too much is in flight.
 *
 * An episode goes to the server that its identity hashes to, so a restart sends it to the same one.
 * The position after a restart is that of the server furthest behind; episodes that the other
 * servers have already are duplicates there and are not stored twice. What is exchanged with one
 * server is in replay_link.c. */
#include "common/clients/replay_writer.h"

#include <string.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/replay_link.h"

#define IN_FLIGHT_DEFAULT  (8u << 20)
#define CONNECT_DEFAULT_MS 60000u
#define WAIT_MS            20u
#define SEND_MS            100u

struct replay_writer {
    char *table;
    char *writer;
    struct replay_link_settings settings;
    struct signature signature;
    /* How much each server may have to store before the writer waits. */
    size_t max_in_flight_bytes; /* of each link */
    uint64_t counter;           /* of the last episode handed over */
    /* In insert and flush, for the counts. */
    double waited_s;
    size_t n;
    struct replay_link *links[CONFIG_LIST_MAX];
};

status replay_writer_open(struct replay_writer **out, const struct experiment *experiment,
                          const struct signature *signature,
                          const struct replay_writer_options *options, void *cursor,
                          size_t *cursor_size, bool *sealed, struct err *err)
{
    struct replay_writer *writer = mem_new(sizeof *writer);
    if (writer == NULL || experiment->replay.n == 0) {
        mem_free(writer);
        return err_set(err, STATUS_INVALID, "experiment.replay: no server");
    }
    /* The links borrow the two names and the settings, so they live here. */
    writer->table = mem_text(options->table ? options->table : "default");
    writer->writer = mem_text(options->writer);
    writer->signature = *signature;
    writer->max_in_flight_bytes =
        options->max_in_flight_bytes ? options->max_in_flight_bytes : IN_FLIGHT_DEFAULT;
    writer->settings = (struct replay_link_settings){
        .table = writer->table,
        .writer = writer->writer,
        .restored = options->restored,
        .n_servers = (uint32_t)experiment->replay.n,
        .connect_timeout_ms =
            options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_DEFAULT_MS,
        .stopping = options->stopping,
        .stopping_arg = options->stopping_arg,
    };
    /* Connect to all servers; the one furthest behind determines the position. */
    struct replay_link_position behind = {0};
    status s = writer->table && writer->writer ? STATUS_OK
                                               : err_set(err, STATUS_NO_MEMORY, "replay writer");
    bool all_sealed = true;
    for (uint32_t i = 0; s == STATUS_OK && i < experiment->replay.n; i++) {
        struct replay_link_position position;
        s = replay_link_open(&writer->links[i], experiment, i, signature, &writer->settings,
                             &position, err);
        if (s == STATUS_OK) {
            writer->n++;
            all_sealed = all_sealed && position.sealed;
            if (i == 0 || position.counter < behind.counter) {
                behind = position;
            }
        }
    }
    /* Counting continues from that position, so an episode that is sent a second time has the same
     * counter as the first time. A higher one would make the server that receives it seem further
     * ahead than the others. */
    writer->counter = behind.counter;
    if (s != STATUS_OK) {
        replay_writer_close(writer);
        return s;
    }
    /* Where the caller goes on: the cursor of the server that is furthest behind. */
    if (cursor) {
        memcpy(cursor, behind.cursor, behind.cursor_size);
    }
    if (cursor_size) {
        *cursor_size = behind.cursor_size;
    }
    *sealed = all_sealed;
    *out = writer;
    return STATUS_OK;
}

/* Makes progress on every link; waits only on `on`. */
static status pump(struct replay_writer *writer, const struct replay_link *on, uint64_t send_ms,
                   uint64_t receive_ms, struct err *err)
{
    /* Every link gets its turn, so that all servers are served while one is waited for. */
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < writer->n; i++) {
        struct replay_link *link = writer->links[i];
        s = replay_link_pump(link, link == on ? send_ms : 0, link == on ? receive_ms : 0, err);
    }
    return s;
}

status replay_writer_insert(struct replay_writer *writer, const struct episode *episode,
                            const void *cursor, size_t cursor_size, struct err *err)
{
    /* An episode must have the rows of the table that was opened. */
    if (episode->W != signature_width(&writer->signature) || episode->T < 1) {
        return err_set(err, STATUS_INVALID,
                       "episode of %u transitions, width %u: expected at least 1, width %u",
                       episode->T, episode->W, signature_width(&writer->signature));
    }
    if (cursor_size > REPLAY_CURSOR_MAX) {
        return err_set(err, STATUS_INVALID, "cursor of %zu bytes: expected at most %d", cursor_size,
                       REPLAY_CURSOR_MAX);
    }
    /* By identity and not in turn: a restart must choose the same server. */
    struct replay_link *link =
        writer->links[XXH3_64bits(&episode->identity, sizeof episode->identity) % writer->n];
    /* Wait for room. A single episode larger than the limit is sent alone. */
    const size_t bytes = (size_t)(episode->T + 1) * episode->W * sizeof(float);
    status s = STATUS_OK;
    uint64_t start_ns = 0;
    while (s == STATUS_OK && replay_link_unacknowledged_bytes(link) > 0 &&
           replay_link_unacknowledged_bytes(link) + bytes > writer->max_in_flight_bytes) {
        start_ns = start_ns ? start_ns : clock_now_ns();
        s = pump(writer, link, WAIT_MS, WAIT_MS, err);
    }
    /* Time that the servers cost the caller. */
    if (start_ns) {
        writer->waited_s += (double)(clock_now_ns() - start_ns) * 1e-9;
    }
    /* From here on the link owns a copy of the episode. */
    if (s == STATUS_OK) {
        s = replay_link_add(link, episode, writer->counter + 1, cursor, cursor_size, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    writer->counter++;
    /* The episode is in the list. Send what we can before returning, since nothing is sent between
     * two calls; a server that is away or makes us wait is waited for by the next call. */
    const uint64_t until_ns = clock_now_ns() + SEND_MS * NS_PER_MS;
    do {
        s = pump(writer, link, WAIT_MS, 0, err);
    } while (s == STATUS_OK && replay_link_sendable(link) && clock_now_ns() < until_ns);
    return s;
}

status replay_writer_poll(struct replay_writer *writer, struct err *err)
{
    return pump(writer, NULL, 0, 0, err);
}

status replay_writer_flush(struct replay_writer *writer, uint64_t timeout_ms, struct err *err)
{
    const uint64_t start_ns = clock_now_ns();
    /* One link after the other; pump() makes progress on all of them meanwhile. */
    for (size_t i = 0; i < writer->n;) {
        if (replay_link_unacknowledged_bytes(writer->links[i]) == 0) {
            i++;
            continue;
        }
        /* The text says how much is missing at the first server that is behind. */
        if (clock_now_ns() - start_ns > timeout_ms * NS_PER_MS) {
            return err_set(err, STATUS_TIMEOUT, "%zu bytes are not acknowledged after %llu ms",
                           replay_link_unacknowledged_bytes(writer->links[i]),
                           (unsigned long long)timeout_ms);
        }
        status s = pump(writer, writer->links[i], WAIT_MS, WAIT_MS, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* Flushing is waiting, too. */
    writer->waited_s += (double)(clock_now_ns() - start_ns) * 1e-9;
    return STATUS_OK;
}

status replay_writer_seal(struct replay_writer *writer, uint32_t n_writers, bool *sealed,
                          struct err *err)
{
    /* Without a limit: how long a server's rate limiter makes us wait is not known here. */
    status s;
    while ((s = replay_writer_flush(writer, writer->settings.connect_timeout_ms, err)) ==
           STATUS_TIMEOUT) {
    }
    /* The table is sealed when every server says so. */
    bool all = true;
    for (size_t i = 0; s == STATUS_OK && i < writer->n; i++) {
        bool one = false;
        s = replay_link_seal(writer->links[i], n_writers, &one, err);
        all = all && one;
    }
    if (s == STATUS_OK) {
        *sealed = all;
    }
    return s;
}

status replay_writer_room(struct replay_writer *writer, struct replay_writer_room *room,
                          struct err *err)
{
    /* The sums over all servers, each of which is asked in turn. */
    struct replay_writer_room sum = {0};
    bool transitions_limited = true;
    bool bytes_limited = true;
    for (size_t i = 0; i < writer->n; i++) {
        struct replay_writer_room one;
        const status s = replay_link_room(writer->links[i], &one, err);
        if (s != STATUS_OK) {
            return s;
        }
        /* What the tables hold, and what they may hold. */
        sum.episodes += one.episodes;
        sum.transitions += one.transitions;
        sum.bytes += one.bytes;
        sum.episodes_removed += one.episodes_removed;
        sum.transitions_limit += one.transitions_limit;
        sum.bytes_limit += one.bytes_limit;
        transitions_limited = transitions_limited && one.transitions_limit > 0;
        bytes_limited = bytes_limited && one.bytes_limit > 0;
    }
    /* One server without a limit could take everything. */
    sum.transitions_limit = transitions_limited ? sum.transitions_limit : 0;
    sum.bytes_limit = bytes_limited ? sum.bytes_limit : 0;
    *room = sum;
    return STATUS_OK;
}

void replay_writer_counts(const struct replay_writer *writer, struct replay_writer_counts *counts)
{
    /* The waiting is the writer's; all other counts are those of its links. */
    *counts = (struct replay_writer_counts){.waited_s = writer->waited_s};
    for (size_t i = 0; i < writer->n; i++) {
        replay_link_counts(writer->links[i], counts);
    }
}

void replay_writer_close(struct replay_writer *writer)
{
    if (writer) {
        for (size_t i = 0; i < writer->n; i++) {
            /* Before the names and the settings, which the links borrow. */
            replay_link_close(writer->links[i]);
        }
        mem_free(writer->table);
        mem_free(writer->writer);
        mem_free(writer);
    }
}
