/* Runs of good steps. Which step is good is decided from its row and the next one, so one pass over
 * the rows finds all pieces. */
#include "common/trajectory/episode_pieces.h"

#include <string.h>
#include <xxhash.h>

#include "common/base/elements.h"
#include "common/base/memory.h"

void episode_pieces_fini(struct episode_pieces *pieces)
{
    mem_free(pieces->items);
    *pieces = (struct episode_pieces){0};
}

/* Ends a run of steps: a piece, or one that is too short. */
static status add_run(struct episode_pieces *pieces, uint32_t first, uint32_t end, uint32_t T_min,
                      struct err *err)
{
    const uint32_t T = end - first;
    if (T < T_min) {
        pieces->n_short += T > 0;
        pieces->lost += T;
        return STATUS_OK;
    }
    if (pieces->n == pieces->capacity) {
        const uint32_t capacity = pieces->capacity == 0 ? 16 : 2 * pieces->capacity;
        void *items = mem_resize(pieces->items, capacity, sizeof *pieces->items);
        if (items == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "pieces of an episode");
        }
        pieces->items = items;
        pieces->capacity = capacity;
    }
    pieces->items[pieces->n++] = (struct episode_piece){first, T};
    return STATUS_OK;
}

status episode_pieces_find(struct episode_pieces *pieces, const struct episode *episode,
                           const struct signature *signature, uint32_t T_min, struct err *err)
{
    ASSERT(T_min >= 1 && episode->T >= 1);
    ASSERT(episode->W == signature_width(signature));
    const uint32_t O = signature_observation(signature);
    pieces->n = pieces->bad_rows = pieces->n_short = pieces->lost = 0;

    /* `first` is where the run begins that step t would continue. */
    uint32_t first = 0;
    status s = STATUS_OK;
    bool seen = elements_finite(episode->rows, O); /* observation t can be used */
    for (uint32_t t = 0; t < episode->T && s == STATUS_OK; t++) {
        const float *row = episode->rows + (size_t)t * episode->W;
        const bool step = elements_finite(row + O, episode->W - O);
        const bool next = elements_finite(row + episode->W, O);
        pieces->bad_rows += !seen || !step;
        if (!seen || !step || !next) {
            s = add_run(pieces, first, t, T_min, err);
            pieces->lost++;
            first = t + 1;
        }
        seen = next;
    }
    pieces->bad_rows += !seen;
    return s == STATUS_OK ? add_run(pieces, first, episode->T, T_min, err) : s;
}

status episode_piece_copy(struct episode *to, const struct episode *episode,
                          const struct signature *signature, struct episode_piece piece,
                          struct err *err)
{
    ASSERT(piece.T >= 1 && piece.first + piece.T <= episode->T);
    ASSERT(to->W == episode->W);
    const size_t n = piece.T + (size_t)1;
    const status s = episode_reserve(to, n, err);
    if (s != STATUS_OK) {
        return s;
    }
    memcpy(to->rows, episode->rows + (size_t)piece.first * episode->W,
           n * episode->W * sizeof(float));
    /* The last row holds nothing but the observation, also where the log goes on. */
    const uint32_t O = signature_observation(signature);
    memset(to->rows + (size_t)piece.T * to->W + O, 0, (to->W - O) * sizeof(float));
    to->T = piece.T;
    to->identity = episode->identity;
    to->open_end = episode->open_end && piece.first + piece.T == episode->T;
    if (piece.T != episode->T) {
        const uint64_t part[2] = {episode->identity.source, piece.first};
        to->identity.source = XXH64(part, sizeof part, 0);
    }
    return STATUS_OK;
}
