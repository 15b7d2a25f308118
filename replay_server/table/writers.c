/* The writers of a table: an array of pointers, searched from front to back. A table has a handful
 * of writers, and they are looked up once a stream, not once an episode.
 *
 * A writer's three numbers move like this: `queued` when an episode is handed to the store,
 * `committed` when it is there, and after a failure `queued` falls back to `committed` while
 * `epoch` grows, so that what comes back of the old epoch is told from what is sent again.
 *
 * Everything runs on the thread of the table; `failed_epoch` alone belongs to the inserter's. */
#include "replay_server/table/writers.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/memory.h"

status writers_check_name(const char *what, const char *name, size_t max, struct err *err)
{
    ASSERT(max < WRITER_NAME_SIZE);
    const size_t length = strlen(name);
    /* An empty name would be a key of the store without a name in it. */
    if (length == 0 || length > max) {
        return err_set(err, STATUS_INVALID, "%s: %zu characters, expected 1..%zu", what, length,
                       max);
    }
    /* Names appear in logs, metrics and keys of the store: only harmless characters. */
    for (const char *c = name; *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("_./-", *c)) {
            return err_set(err, STATUS_INVALID,
                           "%s: byte %zu (0x%02x) is not one of [a-zA-Z0-9_./-]", what,
                           (size_t)(c - name), (unsigned)(unsigned char)*c);
        }
    }
    return STATUS_OK;
}

void writers_fini(struct writers *writers)
{
    for (size_t i = 0; i < writers->n; i++) {
        mem_free(writers->items[i]);
    }
    mem_free(writers->items);
    *writers = (struct writers){0};
}

struct writer *writers_find(const struct writers *writers, const char *name)
{
    for (size_t i = 0; i < writers->n; i++) {
        if (strcmp(writers->items[i]->name, name) == 0) {
            return writers->items[i];
        }
    }
    return NULL;
}

status writers_add(struct writers *writers, const char *name, struct writer **out, struct err *err)
{
    struct writer *writer = writers_find(writers, name);
    if (writer == NULL) {
        ASSERT(name[0] != '\0' && strlen(name) < WRITER_NAME_SIZE);
        /* Their number is bounded, since a client that makes up names could grow the server without
         * end. */
        if (writers->n == WRITERS_MAX) {
            return err_set(err, STATUS_FULL, "writer %s: the table has %u writers already", name,
                           WRITERS_MAX);
        }
        /* The pointers move when the array grows; the writers themselves do not. */
        struct writer **items = mem_resize(writers->items, writers->n + 1, sizeof *items);
        if (items == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "writer %s", name);
        }
        writers->items = items;
        writer = mem_new(sizeof *writer);
        if (writer == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "writer %s", name);
        }
        strcpy(writer->name, name);
        /* `failed_epoch` begins at 0, so jobs of the first epoch have not failed. */
        writer->epoch = 1;
        writers->items[writers->n++] = writer;
    }
    ASSERT(writer->queued >= writer->committed);
    *out = writer;
    return STATUS_OK;
}

status writer_open(struct writer *writer, uint64_t generation, struct err *err)
{
    /* A client's mistake must not use up the generations: above the maximum only the server
     * counts. */
    if (generation > WRITER_NUMBER_MAX) {
        return err_set(err, STATUS_INVALID,
                       "writer %s: generation %" PRIu64
                       ": expected at most %llu, or 0 for the next",
                       writer->name, generation, WRITER_NUMBER_MAX);
    }
    /* The client does not know its generation and takes the next one. */
    if (generation == 0) {
        generation = writer->generation + 1;
    }
    /* An older process of this writer, which has not noticed that a newer one runs. */
    if (generation < writer->generation) {
        return err_set(err, STATUS_MISMATCH,
                       "writer %s: generation %" PRIu64 " is older than %" PRIu64, writer->name,
                       generation, writer->generation);
    }
    ASSERT(generation >= 1);
    /* The same generation again is a process that connects anew. */
    writer->generation = generation;
    return STATUS_OK;
}

void writer_commit(struct writer *writer, uint64_t sequence, const uint8_t *cursor,
                   uint32_t cursor_size)
{
    /* Jobs come back in the order in which they were handed in. */
    ASSERT(sequence >= writer->committed);
    ASSERT(cursor_size <= WRITER_CURSOR_MAX);
    writer->committed = sequence;
    writer->cursor_size = cursor_size;
    memcpy(writer->cursor, cursor, cursor_size);
}

void writer_fail(struct writer *writer, uint64_t epoch)
{
    ASSERT(epoch <= writer->epoch);
    /* Jobs of an epoch that has failed already come back later; they must not count again. */
    if (epoch == writer->epoch) {
        writer->epoch++;
        writer->queued = writer->committed;
    }
    ASSERT(writer->queued >= writer->committed);
}

status writer_finish(struct writer *writer, const struct writers *all, uint32_t n_writers,
                     struct err *err)
{
    ASSERT(n_writers >= 1);
    for (size_t i = 0; i < all->n; i++) {
        /* Those that have sealed since the start of the server count. */
        const struct writer *other = all->items[i];
        if (other != writer && other->n_writers != 0 && other->n_writers != n_writers) {
            return err_set(
                err, STATUS_MISMATCH,
                "writer %s seals with n_writers %u, writer %s did with %u: all must give "
                "the same number (a restart of the server forgets it)",
                writer->name, n_writers, other->name, other->n_writers);
        }
    }
    /* From now on the writer counts for Seal. */
    writer->done = true;
    writer->n_writers = n_writers;
    return STATUS_OK;
}

size_t writers_n_done(const struct writers *writers)
{
    size_t n = 0;
    for (size_t i = 0; i < writers->n; i++) {
        n += writers->items[i]->done;
    }
    ASSERT(n <= writers->n);
    return n;
}
