/* Random batches and settings for tests of the learner step. */
#ifndef HINDCAST_TESTS_LEARNING_H
#define HINDCAST_TESTS_LEARNING_H

#include "learner/step/batch.h"
#include "learner/step/settings.h"

/* Small sizes (O 5, A 2, M 5, widths 16 and 12) that pass settings_check, with `K` tasks of which
 * `T` are trained in each step. */
struct settings learning_settings(const char *algorithm, int K, int T);

/* Variants for tests of what must hold for every learner: each algorithm with 2 tasks, all trained,
 * and with 3 tasks of which 1 is drawn, and further combinations of options. learning_variant(i)
 * returns variant i < learning_variants() and describes it in `name`. */
size_t learning_variants(void);
struct settings learning_variant(size_t i, char name[64]);

/* B snippets of 1..N transitions, a function of `seed`. Values that must not be read are NaN. Free
 * with learning_free. */
struct batch learning_batch(const struct settings *settings, int B, int N, uint64_t seed);
void learning_free(struct batch *batch);

#endif
