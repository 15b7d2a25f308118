/* One episode is in memory at a time. Reading goes through shard_reader, so an episode that the
 * restorer refuses is left out here too. */
#include "common/trajectory/dataset_export.h"

#include <string.h>

#define LOG_MODULE "export"
#include "common/base/log.h"
#include "common/trajectory/shard_reader.h"

/* Reads and writes the episodes of one shard. */
static status export_shard(const struct dataset *dataset, size_t shard_i, struct episode *episode,
                           dataset_export_write write, void *to, uint64_t *n_bad, struct err *err)
{
    struct shard_reader *reader;
    struct err why = {0};
    if (shard_reader_open(&reader, dataset, shard_i, &why) != STATUS_OK) {
        log_warn("left out: %s", why.text);
        /* As many as metadata.json lists; nobody can count them better. */
        *n_bad += dataset_shard(dataset, shard_i)->episodes;
        return STATUS_OK;
    }
    status s = STATUS_OK;
    for (uint64_t i = 0; i < shard_reader_episodes(reader) && s == STATUS_OK; i++) {
        if (shard_reader_read(reader, i, episode, &why) != STATUS_OK) {
            log_warn("left out: %s", why.text);
            ++*n_bad;
        } else {
            s = write(to, episode, err);
        }
    }
    shard_reader_close(reader);
    return s;
}

status dataset_export_episodes(const struct dataset *dataset, dataset_export_write write, void *to,
                               uint64_t *n_bad, struct err *err)
{
    struct episode episode;
    episode_init(&episode, signature_width(dataset_signature(dataset)));
    status s = STATUS_OK;
    *n_bad = 0;
    for (size_t i = 0; i < dataset_n_shards(dataset) && s == STATUS_OK; i++) {
        s = export_shard(dataset, i, &episode, write, to, n_bad, err);
    }
    episode_fini(&episode);
    return s;
}

bool dataset_export_parts(const struct signature *signature, const struct episode *episode,
                          uint32_t reward_k, float *observations, float *actions, float *rewards)
{
    ASSERT(episode->T >= 1);
    ASSERT(episode->W == signature_width(signature));
    const uint32_t O = signature_observation(signature), T = episode->T;
    for (size_t t = 0; observations != NULL && t <= T; t++) {
        memcpy(observations + t * O, episode->rows + t * episode->W, O * sizeof *observations);
    }
    for (size_t t = 0; t < T; t++) {
        const float *row = episode->rows + t * episode->W;
        if (actions != NULL) {
            signature_to_physical(signature, actions + t * signature->A,
                                  row + signature_action_at(signature));
        }
        if (rewards != NULL) {
            rewards[t] =
                reward_k < signature->K ? row[signature_rewards_at(signature) + reward_k] : 0;
        }
    }
    const float *last = episode->rows + (size_t)(T - 1) * episode->W;
    return last[signature_discount_at(signature)] == 0;
}
