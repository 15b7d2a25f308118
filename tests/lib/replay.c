/* Numbered episodes, stores and services for tests. */
#include "tests/lib/replay.h"

#include <stdio.h>
#include <string.h>

#include "common/base/config.h"
#include "common/base/memory.h"
#include "tests/lib/check.h"

float replay_number(uint32_t number, uint32_t t, uint32_t column)
{
    return (float)(number << 17 | t << 5 | column);
}

void replay_number_read(float value, uint32_t *number, uint32_t *t, uint32_t *column)
{
    const uint32_t bits = (uint32_t)value;
    *number = bits >> 17;
    *t = bits >> 5 & 4095;
    *column = bits & 31;
}

void replay_episode(struct episode *episode, const struct signature *signature, uint32_t number,
                    uint32_t T)
{
    assert_in_range(number, 0, 63);
    assert_in_range(T, 1, 4095);
    const uint32_t W = signature_width(signature);
    episode_init(episode, W);
    assert_int_equal(episode_reserve(episode, T + 1, NULL), STATUS_OK);
    for (uint32_t t = 0; t <= T; t++) {
        for (uint32_t column = 0; column < W; column++) {
            episode->rows[(size_t)t * W + column] = replay_number(number, t, column);
        }
    }
    episode->T = T;
    episode->identity = (struct episode_identity){.source = 9, .episode = number};
}

void replay_store_episode(struct store *store, uint64_t id, const struct episode *episode)
{
    struct err err;
    uint8_t *chunk = mem_aligned(65536);
    const uint32_t chunk_rows = store_chunk_rows(episode->W);
    const uint32_t n_rows = episode->T + 1;
    for (uint32_t begin = 0, i = 0; begin < n_rows; begin += chunk_rows, i++) {
        const uint32_t n = n_rows - begin < chunk_rows ? n_rows - begin : chunk_rows;
        memcpy(chunk + STORE_CHUNK_HEADER, episode->rows + (size_t)begin * episode->W,
               (size_t)n * episode->W * 4);
        assert_int_equal(store_put_chunk(store, id + i, chunk, n, episode->W, &err), STATUS_OK);
    }
    const struct store_episode record = {
        .id = id, .n_rows = n_rows, .W = episode->W, .priority = 1, .identity = episode->identity};
    assert_int_equal(store_put_episode(store, &record, &err), STATUS_OK);
    mem_free(chunk);
}

struct service *replay_serve(const char *folder, const char *name, struct experiment *experiment,
                             uint32_t index, const char *const *flags)
{
    static struct options options;
    static struct experiment read;
    char listen[CONFIG_TEXT_SIZE], path[CONFIG_TEXT_SIZE];
    const char *argv[24] = {"test", listen, path, "--map_bytes=64M", "--grace_ms=200"};
    int argc = 5;
    snprintf(listen, sizeof listen, "--listen=unix:%s/%s.sock", folder, name);
    snprintf(path, sizeof path, "--path=%s/%s", folder, name);
    for (; flags && *flags; flags++) {
        assert_in_range(argc, 0, 22);
        argv[argc++] = *flags;
    }
    const struct config_section sections[] = {experiment_section(&read), options_section(&options)};
    struct err err = {0};
    bool done;
    status s = config_load(sections, 2, "test", argc, (char **)argv, &done, &err);
    if (s == STATUS_OK) {
        experiment_finish(&read);
        s = options_finish(&options, &read, &err);
    }
    struct service *service = NULL;
    if (s == STATUS_OK) {
        s = service_open(&service, &options, &read, 7, &err);
    }
    if (s == STATUS_OK) {
        s = service_start(service, &err);
    }
    if (s != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    strcpy(experiment->replay.items[index], options.listen.items[0]);
    experiment->replay.n = experiment->replay.n > index ? experiment->replay.n : index + 1;
    return service;
}
