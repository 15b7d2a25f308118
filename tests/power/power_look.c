/* power_look each|interval|none MAP_BYTES FOLDER..: opens each store as a server would, says in a
 * line of JSON what it holds, and puts all rows, one episode after another, into FOLDER/rows. Then
 * a commit must pass, and the file must be sound as it was left.
 *
 *   {"error": ""           or why it does not open, or what failed
 *    "scan": false         the server would have to check everything first
 *    "episodes": [[source, episode, rows, floats a row, bytes in FOLDER/rows or -1: damaged], ..]
 *    "writers": [[name, generation, last sequence, cursor], ..]} */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "replay_server/store/store.h"

struct look {
    struct store_reader *reader;
    FILE *rows;
    const char *comma;
};

/* Returns what was written, or -1. */
static int64_t write_rows(struct look *look, const struct store_episode *episode)
{
    const uint32_t chunk_rows = store_chunk_rows(episode->W);
    int64_t bytes = 0;
    for (uint32_t begin = 0, i = 0; begin < episode->n_rows; begin += chunk_rows, i++) {
        const uint32_t rest = episode->n_rows - begin;
        const uint32_t n = rest < chunk_rows ? rest : chunk_rows;
        const uint8_t *rows;
        if (store_reader_chunk(look->reader, episode->id + i, n, episode->W, &rows) != STATUS_OK) {
            return -1;
        }
        const size_t size = (size_t)n * episode->W * 4;
        if (fwrite(rows, 1, size, look->rows) != size) {
            abort();
        }
        bytes += (int64_t)size;
    }
    return bytes;
}

static status show_episode(void *arg, const struct store_episode *episode, struct err *err)
{
    (void)err;
    struct look *look = arg;
    const int64_t bytes = write_rows(look, episode);
    printf("%s[%" PRIu64 ", %" PRIu64 ", %u, %u, %" PRId64 "]", look->comma,
           episode->identity.source, episode->identity.episode, episode->n_rows, episode->W, bytes);
    look->comma = ", ";
    return STATUS_OK;
}

static status show_writer(void *arg, const struct store_writer *writer, struct err *err)
{
    (void)err;
    struct look *look = arg;
    printf("%s[\"%s\", %" PRIu64 ", %" PRIu64 ", \"%.*s\"]", look->comma, writer->name,
           writer->generation, writer->last_sequence, (int)writer->cursor_size,
           (const char *)writer->cursor);
    look->comma = ", ";
    return STATUS_OK;
}

static status show(struct store *store, const char *folder, struct err *err)
{
    char path[4096];
    struct look look = {.comma = ""};
    snprintf(path, sizeof path, "%s/rows", folder);
    look.rows = fopen(path, "wb");
    if (look.rows == NULL) {
        abort();
    }
    status s = store_reader_open(&look.reader, store, err);
    if (s == STATUS_OK) {
        s = store_reader_refresh(look.reader, err);
        printf(", \"episodes\": [");
        if (s == STATUS_OK) {
            s = store_each_episode(store, show_episode, &look, err);
        }
        printf("], \"writers\": [");
        look.comma = "";
        if (s == STATUS_OK) {
            s = store_each_writer(store, show_writer, &look, err);
        }
        printf("]");
        store_reader_close(look.reader);
    }
    fclose(look.rows);
    return s;
}

static status go_on(struct store *store, struct err *err)
{
    status s = store_begin(store, err);
    if (s == STATUS_OK) {
        s = store_touch(store, err);
        if (s == STATUS_OK) {
            s = store_commit(store, err);
        } else {
            store_abort(store);
        }
    }
    return s;
}

static void look_at(const char *folder, const struct store_settings *settings)
{
    struct store *store;
    struct err err = {0};
    bool scan = false;
    char path[4096];
    status s = store_open(&store, settings, &scan, &err);
    printf("{\"scan\": %s", scan ? "true" : "false");
    if (s == STATUS_OK) {
        s = show(store, folder, &err);
        if (s == STATUS_OK) {
            s = go_on(store, &err);
        }
        store_close(store);
        snprintf(path, sizeof path, "%s/data.mdb", folder);
        if (s == STATUS_OK) {
            s = store_check_file(path, &err);
        }
    }
    for (char *c = err.text; *c; c++) {
        *c = *c == '"' || *c == '\\' || *c == '\n' ? ' ' : *c;
    }
    printf(", \"error\": \"%s\"}\n", s == STATUS_OK ? "" : err.text);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "power_look each|interval|none MAP_BYTES FOLDER..\n");
        return 2;
    }
    log_open("power_look", LOG_ERROR + 1);
    for (int i = 3; i < argc; i++) {
        const struct store_settings settings = {
            .path = argv[i],
            .map_bytes = strtoull(argv[2], NULL, 10),
            .durability = strcmp(argv[1], "each") == 0       ? STORE_EACH
                          : strcmp(argv[1], "interval") == 0 ? STORE_INTERVAL
                                                             : STORE_NONE,
        };
        look_at(argv[i], &settings);
    }
    return 0;
}
