/* Random batches and settings for tests of the learner step. */
#ifndef HINDCAST_TESTS_LEARNING_H
#define HINDCAST_TESTS_LEARNING_H

#include "learner/step/batch.h"
#include "learner/step/settings.h"

/* Small sizes (O 5, A 2, M 5, widths 16, 12) that pass settings_check, with `K` tasks of which `T`
 * are trained. */
struct settings learning_settings(const char *algorithm, int K, int T);

/* What must hold of every learner: each algorithm with all of 2 tasks and with 1 drawn of 3, and
 * what else the options choose between. Variant i of learning_variants(); `name` says which. */
size_t learning_variants(void);
struct settings learning_variant(size_t i, char name[64]);

/* B snippets of 1..N transitions, a function of `seed`; NaN in all that must not be read. Free with
 * learning_free. */
struct batch learning_batch(const struct settings *settings, int B, int N, uint64_t seed);
void learning_free(struct batch *batch);

#endif
