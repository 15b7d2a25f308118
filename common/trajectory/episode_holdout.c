/* The rule is computed from the identity alone; nothing is remembered. */
#include "common/trajectory/episode_holdout.h"

#include <xxhash.h>

#include "common/base/bytes.h"

bool episode_holdout_any(const struct episode_holdout *holdout)
{
    return holdout->folds > 0 || holdout->fraction > 0;
}

double episode_holdout_share(const struct episode_holdout *holdout)
{
    return holdout->folds > 0 ? 1.0 / holdout->folds : holdout->fraction;
}

/* u of an episode. */
static double place_of(const struct episode_identity *identity)
{
    /* Not the number of the shard, which is part of its file's name, and not the rewards. */
    unsigned char bytes[16];
    bytes_put64(bytes, identity->source);
    bytes_put64(bytes + 8, identity->episode);
    /* 53 bits, all that a double has: the result is below 1. */
    return (double)(XXH64(bytes, sizeof bytes, 0) >> 11) * 0x1p-53;
}

bool episode_holdout_has(const struct episode_holdout *holdout,
                         const struct episode_identity *identity)
{
    if (!episode_holdout_any(holdout)) {
        return false;
    }
    const double u = place_of(identity);
    if (holdout->folds == 0) {
        return u < holdout->fraction;
    }
    /* The end of one fold is computed as the beginning of the next: they leave no gap. */
    const double k = holdout->folds;
    return u >= holdout->fold / k && u < (holdout->fold + 1) / k;
}

void episode_holdout_write(const struct episode_holdout *holdout, struct text *text)
{
    if (holdout->folds > 0) {
        text_format(text, "fold %u of %u", holdout->fold, holdout->folds);
    } else if (holdout->fraction > 0) {
        text_add_number(text, holdout->fraction);
    }
}
