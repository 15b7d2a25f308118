/* Both figures come from the code that evaluators and collectors act with (rollout_group), with one
 * lane or with all of them. They take turns, so that changes of the machine's speed meet both. */
#include "bench/policy_steps.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/rollout/rollout_group.h"

#define TURN_NS (NS_PER_S / 4)

/* What a turn needs; the episodes of a turn end with it. */
struct acting {
    struct environment *environments[POLICY_STEPS_BATCH];
    struct episode episodes[POLICY_STEPS_BATCH];
    struct policy *policy;
    struct rollout_group *group;
    uint64_t next_seed, n_steps, end_ns;
};

/* The published form of a policy, parsed as those who act with it do. */
static status make_policy(struct policy **policy, const struct signature *signature,
                          struct err *err)
{
    struct network_shape shape;
    struct safetensors_writer *writer;
    void *bytes = NULL;
    size_t size;
    struct policy_info info = {.algorithm = "abm+mpo",
                               .acting = POLICY_ACT_GAUSSIAN,
                               .candidates = 1,
                               .O = (int)signature_observation(signature),
                               .A = (int)signature->A,
                               .K = (int)signature->K,
                               .n_widths = 3,
                               .widths = {256, 256, 256},
                               .min_std = 0.01,
                               .init_std = 0.5};
    status s = network_shape_gaussian(&shape, policy_inputs(&info), info.widths, info.n_widths,
                                      info.A, err);
    s = s != STATUS_OK ? s : safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return s;
    }
    float *params = mem_aligned(shape.size * sizeof *params);
    s = params != NULL ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "policy: out of memory");
    if (s == STATUS_OK) {
        noise_normal(params, shape.size, 1, 0, 0, 0);
        for (size_t i = 0; i < shape.size; i++) {
            params[i] *= 0.05f;
        }
        s = policy_write(writer, &info, params, err);
    }
    s = s != STATUS_OK ? s : safetensors_encode(writer, &bytes, &size, err);
    s = s != STATUS_OK ? s : policy_parse(policy, bytes, size, err);
    mem_free(bytes);
    safetensors_writer_free(writer);
    mem_free(params);
    return s;
}

static status begin(void *arg, uint32_t lane, struct environment_start *start,
                    struct episode **episode, struct err *err)
{
    struct acting *acting = arg;
    struct actor *actor = rollout_group_actor(acting->group, lane);
    struct rng rng;
    (void)err;
    rng_init(&rng, acting->next_seed, "policy_steps", 0);
    const uint32_t task = (uint32_t)(acting->next_seed % actor_tasks(actor));
    actor_start(actor, &rng, task);
    *start =
        (struct environment_start){.seed = acting->next_seed++, .task = actor_reward(actor, task)};
    *episode = &acting->episodes[lane];
    return STATUS_OK;
}

static status before_step(void *arg, uint32_t lane, uint32_t step, struct err *err)
{
    struct acting *acting = arg;
    (void)lane;
    (void)step;
    (void)err;
    if (clock_now_ns() >= acting->end_ns) {
        return STATUS_CLOSED;
    }
    acting->n_steps++;
    return STATUS_OK;
}

static status end(void *arg, uint32_t lane, status outcome, struct err *err)
{
    (void)arg;
    (void)lane;
    (void)err;
    return outcome;
}

/* Adds the steps of one turn with so many lanes. */
static status take_turn(struct acting *acting, uint32_t n_lanes, uint64_t *n_steps, uint64_t *ns,
                        struct err *err)
{
    static const struct rollout_calls calls = {
        .begin = begin, .before_step = before_step, .end = end};
    const uint64_t started_ns = clock_now_ns();
    acting->end_ns = started_ns + TURN_NS;
    acting->n_steps = 0;
    status s = rollout_group_run(acting->group, n_lanes, &calls, acting, err);
    *n_steps += acting->n_steps;
    *ns += clock_now_ns() - started_ns;
    return s == STATUS_CLOSED ? STATUS_OK : s;
}

static status measure(struct acting *acting, struct policy_steps *steps, double seconds,
                      struct err *err)
{
    status s = rollout_group_new(&acting->group, acting->environments, POLICY_STEPS_BATCH, err);
    for (uint32_t i = 0; s == STATUS_OK && i < POLICY_STEPS_BATCH; i++) {
        s = actor_use(rollout_group_actor(acting->group, i), acting->policy, false, err);
    }
    const uint64_t end_ns = clock_now_ns() + (uint64_t)(seconds * (double)NS_PER_S);
    *steps = (struct policy_steps){0};
    do {
        s = s != STATUS_OK ? s : take_turn(acting, 1, &steps->alone, &steps->alone_ns, err);
        s = s != STATUS_OK
                ? s
                : take_turn(acting, POLICY_STEPS_BATCH, &steps->batched, &steps->batched_ns, err);
    } while (s == STATUS_OK && clock_now_ns() < end_ns);
    rollout_group_free(acting->group);
    return s;
}

status policy_steps_measure(struct policy_steps *steps, const char *uri, double seconds,
                            uint64_t seed, struct err *err)
{
    struct acting acting = {.next_seed = seed};
    uint32_t n_open = 0;
    status s = STATUS_OK;
    while (s == STATUS_OK && n_open < POLICY_STEPS_BATCH) {
        s = environment_open(&acting.environments[n_open], uri, err);
        n_open += s == STATUS_OK;
    }
    if (s == STATUS_OK) {
        const struct signature *signature = environment_signature(acting.environments[0]);
        for (uint32_t i = 0; i < POLICY_STEPS_BATCH; i++) {
            episode_init(&acting.episodes[i], signature_width(signature));
        }
        s = make_policy(&acting.policy, signature, err);
        s = s != STATUS_OK ? s : measure(&acting, steps, seconds, err);
        for (uint32_t i = 0; i < POLICY_STEPS_BATCH; i++) {
            episode_fini(&acting.episodes[i]);
        }
        policy_free(acting.policy);
    }
    while (n_open > 0) {
        environment_close(acting.environments[--n_open]);
    }
    return s;
}
