/* Signatures as messages and back. What comes from a peer is checked before it is copied: counts
 * first, then names, then signature_check.
 *
 * The message of `fill` points into the signature, which must outlive it; `read` copies everything,
 * so a message can be freed at once. */
#include "common/clients/signature_wire.h"

#include <string.h>

void signature_wire_fill(struct signature_wire *wire, const struct signature *signature)
{
    /* One message for each slice of the observation. */
    hindcast__signature__init(&wire->message);
    for (uint32_t i = 0; i < signature->n_slices; i++) {
        hindcast__signature__slice__init(&wire->slices[i]);
        /* The casts: protobuf-c's fields are not const, but packing only reads them. */
        wire->slices[i].name = (char *)signature->slices[i].name;
        wire->slices[i].size = signature->slices[i].size;
        wire->slice_pointers[i] = &wire->slices[i];
    }
    /* Names of rewards, then the arrays, which are used in place. */
    for (uint32_t k = 0; k < signature->K; k++) {
        wire->rewards[k] = (char *)signature->rewards[k];
    }
    wire->message.n_observation = signature->n_slices;
    wire->message.observation = wire->slice_pointers;
    wire->message.n_action_min = signature->A;
    wire->message.action_min = (float *)signature->action_min;
    wire->message.n_action_max = signature->A;
    wire->message.action_max = (float *)signature->action_max;
    wire->message.n_rewards = signature->K;
    wire->message.rewards = wire->rewards;
    wire->message.control_period_s = signature->control_period_s;
}

/* Copies a name that fits. `what` and `i` say which one, for the message. */
static status copy_name(char to[SIGNATURE_NAME_SIZE], const char *from, const char *what, size_t i,
                        struct err *err)
{
    if (strlen(from) >= SIGNATURE_NAME_SIZE) {
        return err_set(err, STATUS_INVALID,
                       "signature: %s %zu: name of %zu characters, expected at most %d", what, i,
                       strlen(from), SIGNATURE_NAME_SIZE - 1);
    }
    /* It fits, as was checked above. */
    strcpy(to, from);
    return STATUS_OK;
}

status signature_wire_read(struct signature *out, const Hindcast__Signature *m, struct err *err)
{
    if (m == NULL) {
        return err_set(err, STATUS_INVALID, "signature: missing");
    }
    /* Counts first: the arrays of struct signature have fixed sizes. */
    if (m->n_observation > SIGNATURE_SLICES_MAX || m->n_action_min > SIGNATURE_ACTIONS_MAX ||
        m->n_rewards > SIGNATURE_TASKS_MAX) {
        return err_set(err, STATUS_INVALID,
                       "signature: %zu slices, %zu action dimensions, %zu rewards; expected at "
                       "most %d, %d, %d",
                       m->n_observation, m->n_action_min, m->n_rewards, SIGNATURE_SLICES_MAX,
                       SIGNATURE_ACTIONS_MAX, SIGNATURE_TASKS_MAX);
    }
    /* One count for both, as each action dimension has two limits. */
    if (m->n_action_min != m->n_action_max) {
        return err_set(err, STATUS_INVALID, "signature: %zu action_min, %zu action_max",
                       m->n_action_min, m->n_action_max);
    }
    /* Built apart, so that `out` is unchanged after an error. */
    struct signature signature = {0};
    status s = STATUS_OK;
    signature.n_slices = (uint32_t)m->n_observation;
    for (size_t i = 0; s == STATUS_OK && i < m->n_observation; i++) {
        signature.slices[i].size = m->observation[i]->size;
        s = copy_name(signature.slices[i].name, m->observation[i]->name, "observation", i, err);
    }
    signature.A = (uint32_t)m->n_action_min;
    for (size_t i = 0; i < m->n_action_min; i++) {
        signature.action_min[i] = m->action_min[i];
        signature.action_max[i] = m->action_max[i];
    }
    signature.K = (uint32_t)m->n_rewards;
    for (size_t k = 0; s == STATUS_OK && k < m->n_rewards; k++) {
        s = copy_name(signature.rewards[k], m->rewards[k], "reward", k, err);
    }
    signature.control_period_s = m->control_period_s;
    /* Then what every signature must be, whoever made it. */
    if (s == STATUS_OK) {
        s = signature_check(&signature, err);
    }
    if (s == STATUS_OK) {
        *out = signature;
    }
    return s;
}
