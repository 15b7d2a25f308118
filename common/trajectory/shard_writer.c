/* Episodes as HDF5: one group per episode, one dataset per part of its rows.
 *
 * Shards and exports use the same layout (dataset.h). Actions are written in physical units and
 * discounts as the two flags that other libraries know, which is why only the discounts 0 and 1 can
 * be written.
 *
 * Columns are gathered in scratch memory, since HDF5 wants each dataset in one piece. Callers of
 * shard_write_episode hold hdf5_lock; shard_image takes it itself. */
#include "common/trajectory/shard_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/hdf5_writing.h"

/* An episode without an identity gets no such attribute. */
static bool is_zero(const struct episode_identity *identity)
{
    const struct episode_identity zero = {0};
    return episode_identity_compare(identity, &zero) == 0;
}

/* Writes columns at .. at + size - 1 of the first n rows as one dataset. row_size 0: of rank 1. */
static status write_columns(struct hdf5_writing *writing, hid_t group, const char *name,
                            const struct episode *episode, float *scratch, uint32_t n, uint32_t at,
                            uint32_t size, uint64_t row_size, struct err *err)
{
    /* The columns of each row, one behind the other. */
    for (size_t t = 0; t < n; t++) {
        memcpy(scratch + t * size, episode->rows + t * episode->W + at, size * sizeof(float));
    }
    return hdf5_writing_floats(writing, group, name, scratch, n, row_size, err);
}

/* The actions of T steps, in the units of the robot. */
static status write_actions(struct hdf5_writing *writing, hid_t group,
                            const struct signature *signature, const struct episode *episode,
                            float *scratch, struct err *err)
{
    uint32_t at = signature_action_at(signature);
    /* Logs hold physical units, as other libraries expect. */
    for (size_t t = 0; t < episode->T; t++) {
        signature_to_physical(signature, scratch + t * signature->A,
                              episode->rows + t * episode->W + at);
    }
    return hdf5_writing_floats(writing, group, "actions", scratch, episode->T, signature->A, err);
}

/* (T) for one reward, (T, K) for several; zeros where there are none, since Minari requires the
 * dataset. */
static status write_rewards(struct hdf5_writing *writing, hid_t group,
                            const struct signature *signature, const struct episode *episode,
                            uint32_t reward_k, float *scratch, struct err *err)
{
    uint32_t at = signature_rewards_at(signature);
    if (signature->K == 0) {
        memset(scratch, 0, episode->T * sizeof(float));
        return hdf5_writing_floats(writing, group, "rewards", scratch, episode->T, 0, err);
    }
    /* A reward_k that is none of them stands for all. */
    bool one = reward_k < signature->K;
    uint32_t size = one ? 1 : signature->K;
    return write_columns(writing, group, "rewards", episode, scratch, episode->T,
                         one ? at + reward_k : at, size, size > 1 ? size : 0, err);
}

/* terminations and truncations: exactly one of the two is set, in the last row. */
static status write_ends(struct hdf5_writing *writing, hid_t group,
                         const struct signature *signature, const struct episode *episode,
                         int8_t *flags, struct err *err)
{
    uint32_t T = episode->T;
    uint32_t at = signature_discount_at(signature);
    /* Checked before anything is written: a discount of another value would be lost. */
    for (size_t t = 0; t < T; t++) {
        float discount = episode->rows[t * episode->W + at];
        if (discount != 1.0f && !(discount == 0.0f && t + 1 == T)) {
            return err_set(
                err, STATUS_INVALID,
                "row %zu, discount: %g; a log keeps 1, and 0 where the episode terminates", t,
                (double)discount);
        }
    }
    bool terminated = episode->rows[(size_t)(T - 1) * episode->W + at] == 0.0f;
    /* The same memory serves for both flags, one after the other. */
    memset(flags, 0, T);
    flags[T - 1] = terminated;
    status s = hdf5_writing_flags(writing, group, "terminations", flags, T, err);
    flags[T - 1] = !terminated;
    return s == STATUS_OK ? hdf5_writing_flags(writing, group, "truncations", flags, T, err) : s;
}

/* The number of the episode, its length, and its identity where it has one. */
static status write_attributes(hid_t group, const struct episode *episode, uint64_t number,
                               struct err *err)
{
    /* The members are numbers of 64 bits, as hdf5_read_attribute reads them. */
    const struct episode_identity *id = &episode->identity;
    const uint64_t total_steps = episode->T;
    const uint64_t identity[4] = {id->source, id->shard, id->episode, id->relabel};
    status s = hdf5_writing_attribute(group, "id", &number, 1, err);
    if (s == STATUS_OK) {
        s = hdf5_writing_attribute(group, "total_steps", &total_steps, 1, err);
    }
    if (s == STATUS_OK && !is_zero(id)) {
        s = hdf5_writing_attribute(group, "identity", identity, 4, err);
    }
    return s;
}

status shard_write_episode(struct hdf5_writing *writing, const struct signature *signature,
                           const struct episode *episode, uint64_t number, uint32_t reward_k,
                           struct err *err)
{
    ASSERT(episode->W == signature_width(signature));
    ASSERT(episode->T >= 1);
    char name[64];
    snprintf(name, sizeof name, "episode_%" PRIu64, number);
    uint32_t O = signature_observation(signature);
    /* One block, large enough for the largest part and used for each of them. */
    float *scratch = mem_array((size_t)episode->T + 1, episode->W * sizeof(float));
    if (scratch == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: %u rows", name, episode->T + 1);
    }
    hid_t group;
    status s = hdf5_writing_group(&group, writing->file, name, err);
    if (s != STATUS_OK) {
        mem_free(scratch);
        return s;
    }
    /* Observations have one row more than all other parts. */
    s = write_columns(writing, group, "observations", episode, scratch, episode->T + 1, 0, O, O,
                      err);
    if (s == STATUS_OK) {
        s = write_actions(writing, group, signature, episode, scratch, err);
    }
    if (s == STATUS_OK) {
        s = write_rewards(writing, group, signature, episode, reward_k, scratch, err);
    }
    if (s == STATUS_OK) {
        s = write_ends(writing, group, signature, episode, (int8_t *)scratch, err);
    }
    if (s == STATUS_OK) {
        s = write_attributes(group, episode, number, err);
    }
    H5Gclose(group);
    mem_free(scratch);
    return s == STATUS_OK ? s : err_context(err, s, "%s", name);
}

status shard_image(void **image, size_t *size, const struct signature *signature,
                   const struct episode *const *episodes, size_t n, int compression,
                   struct err *err)
{
    /* One hold of the lock for the whole file: its handles are never seen outside. */
    struct hdf5_writing writing;
    hdf5_lock();
    status s = hdf5_writing_begin(&writing, compression, err);
    if (s == STATUS_OK) {
        /* Episodes are numbered from 0 in each shard. */
        for (size_t i = 0; i < n && s == STATUS_OK; i++) {
            s = shard_write_episode(&writing, signature, episodes[i], i, UINT32_MAX, err);
        }
        if (s == STATUS_OK) {
            s = hdf5_writing_end(&writing, image, size, err);
        } else {
            hdf5_writing_abort(&writing);
        }
    }
    hdf5_unlock();
    return s;
}
