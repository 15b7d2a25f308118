/* Cutting an episode around steps that cannot be used.
 *
 * A row with a value that is not finite has no place in a table, but the steps before and after it
 * may be good. A step t needs observation t, action t, its rewards, and observation t + 1:
 *
 *     row                0    1    2    3    4    5         observation 2 is missing:
 *     step               0    1    2    3    4              steps 1 and 2 cannot be used
 *     pieces           [ 0 ]            [ 3    4 ]          rows 0..1 and rows 3..5
 *
 * A piece ends like an episode at its time limit, because the log goes on; only the piece with the
 * last step of the episode ends as the episode does. Specific to Hindcast. */
#ifndef HINDCAST_TRAJECTORY_EPISODE_PIECES_H
#define HINDCAST_TRAJECTORY_EPISODE_PIECES_H

#include "common/trajectory/episode.h"

/* Rows first .. first + T of an episode. */
struct episode_piece {
    uint32_t first, T;
};

/* Initialise with {0}, reuse, release with episode_pieces_fini. */
struct episode_pieces {
    uint32_t n, capacity;
    struct episode_piece *items;
    uint32_t bad_rows; /* rows with a value that is not finite */
    uint32_t n_short;  /* pieces that are left out because they are too short */
    uint32_t lost;     /* steps that are in no piece */
};

void episode_pieces_fini(struct episode_pieces *pieces);

/* Finds the pieces of at least T_min >= 1 steps, in order; replaces what was found before. A sound
 * episode is one piece. NO_MEMORY. */
status episode_pieces_find(struct episode_pieces *pieces, const struct episode *episode,
                           const struct signature *signature, uint32_t T_min,
                           struct err *err) MUST_CHECK;

/* Makes `to` the piece. Its identity is that of the episode if the piece is all of it; otherwise one
 * that also depends on where the piece begins. NO_MEMORY. */
status episode_piece_copy(struct episode *to, const struct episode *episode,
                          const struct signature *signature, struct episode_piece piece,
                          struct err *err) MUST_CHECK;

#endif
