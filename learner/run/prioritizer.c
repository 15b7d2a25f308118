/* Weights in, priorities out. See prioritizer.h. The sending is common/clients/replay_priorities. */
#include "learner/run/prioritizer.h"

#include <math.h>

#include "common/base/memory.h"
#include "common/clients/replay_priorities.h"

struct prioritizer {
    const struct learner_options *options;
    struct replay_priorities *priorities; /* NULL: none are sent */
    double *weights, *values;             /* (B) */
};

status prioritizer_new(struct prioritizer **prioritizer, const struct experiment *experiment,
                       const struct learner_options *options, size_t B, struct err *err)
{
    *prioritizer = NULL;
    if (!learner_options_prioritized(options)) {
        return STATUS_OK;
    }
    struct prioritizer *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "priorities");
    }
    made->options = options;
    made->weights = mem_array(B, sizeof *made->weights);
    made->values = mem_array(B, sizeof *made->values);
    status s =
        made->weights && made->values ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "priorities");
    if (s == STATUS_OK && learner_options_sends_priorities(options)) {
        s = replay_priorities_open(&made->priorities, experiment, options->table, err);
    }
    if (s != STATUS_OK) {
        prioritizer_free(made);
        return s;
    }
    *prioritizer = made;
    return STATUS_OK;
}

void prioritizer_free(struct prioritizer *prioritizer)
{
    if (prioritizer == NULL) {
        return;
    }
    replay_priorities_close(prioritizer->priorities);
    mem_free(prioritizer->weights);
    mem_free(prioritizer->values);
    mem_free(prioritizer);
}

const double *prioritizer_weights(struct prioritizer *prioritizer, const struct replay_batch *batch)
{
    if (prioritizer == NULL) {
        return NULL;
    }
    ASSERT(batch->origins != NULL);
    for (uint32_t b = 0; b < batch->snippets; b++) {
        const double weight =
            pow(batch->origins->ratio[b], -prioritizer->options->importance_exponent);
        prioritizer->weights[b] = fmin(weight, BATCH_WEIGHT_MAX);
    }
    return prioritizer->weights;
}

void prioritizer_note(struct prioritizer *prioritizer, const struct replay_batch *batch,
                      const struct update *update)
{
    if (prioritizer == NULL || prioritizer->priorities == NULL) {
        return;
    }
    const double mix = prioritizer->options->priority_mix;
    for (uint32_t b = 0; b < batch->snippets; b++) {
        const struct td_error error = update_td_error(update, (int)b);
        prioritizer->values[b] =
            mix * error.largest + (1.0 - mix) * error.mean + prioritizer->options->priority_offset;
    }
    replay_priorities_add(prioritizer->priorities, batch->origins, prioritizer->values,
                          batch->snippets);
}
