/* A control loop at a fixed rate, with a policy of Hindcast.
 *
 *     cc control_loop.c $(pkg-config --cflags --libs hindcast_policy) -lm -o control_loop
 *     ./control_loop policy.safetensors [RATE_HZ [STEPS]]
 *
 * read_sensors and write_motors stand for your robot: here they are a mass on a spring for each
 * joint, so that the program runs as it is. */
#include <hindcast_policy.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define JOINTS_MAX 64

static double position[JOINTS_MAX], velocity[JOINTS_MAX];

/* Every value of the observation, slice by slice. */
static void read_sensors(const hindcast_policy *policy, float *observation)
{
    for (uint32_t s = 0; s < hindcast_policy_slices(policy); s++) {
        uint32_t begin, size;
        hindcast_policy_slice(policy, s, &begin, &size); /* returns its name, such as "velocity" */
        for (uint32_t i = 0; i < size; i++) {
            observation[begin + i] =
                (float)(s % 2 == 0 ? position[i % JOINTS_MAX] : velocity[i % JOINTS_MAX]);
        }
    }
}

static void write_motors(const float *action, uint32_t n, double period_s)
{
    for (uint32_t i = 0; i < n && i < JOINTS_MAX; i++) {
        velocity[i] += period_s * ((double)action[i] - 4 * position[i] - velocity[i]);
        position[i] += period_s * velocity[i];
    }
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Wakes at multiples of the period: a late step does not move those that follow. */
static void wait_for_next(struct timespec *next, long period_ns)
{
    next->tv_nsec += period_ns;
    while (next->tv_nsec >= 1000000000) {
        next->tv_nsec -= 1000000000;
        next->tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: control_loop POLICY [RATE_HZ [STEPS]]\n");
        return 2;
    }
    const double rate = argc > 2 ? atof(argv[2]) : 1000;
    const long steps = argc > 3 ? atol(argv[3]) : 5000;

    char error[HINDCAST_POLICY_ERROR_SIZE];
    hindcast_policy *policy = NULL;
    hindcast_actor *actor = NULL;
    if (hindcast_policy_load(&policy, argv[1], error) != HINDCAST_POLICY_OK ||
        hindcast_actor_new(&actor, policy, NULL, error) != HINDCAST_POLICY_OK) {
        fprintf(stderr, "control_loop: %s\n", error);
        hindcast_policy_free(policy);
        return 1;
    }
    const uint32_t n = hindcast_policy_action_size(policy);
    float *observation = calloc(hindcast_policy_observation_size(policy), sizeof *observation);
    float *action = calloc(n, sizeof *action);
    if (observation == NULL || action == NULL) {
        return 1;
    }

    /* Far outside of what the policy has seen it repeats the last action; before the first one, the
     * middle of the limits. A file without ranges does not allow it. */
    for (uint32_t i = 0; i < n; i++) {
        action[i] =
            (hindcast_policy_action_min(policy, i) + hindcast_policy_action_max(policy, i)) / 2;
    }
    hindcast_outside outside = {0};
    const int holds = hindcast_actor_hold(actor, HINDCAST_HOLD_LAST, 1.0F, action);
    if (holds != HINDCAST_POLICY_OK) {
        fprintf(stderr, "control_loop: acts whatever it sees: %s\n",
                hindcast_policy_status_text(holds));
    }

    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    double longest_us = 0;
    for (long t = 0; t < steps; t++) {
        wait_for_next(&next, (long)(1e9 / rate));
        read_sensors(policy, observation);
        const double begin = now_us();
        const int status = hindcast_actor_act(actor, observation, action);
        if (status == HINDCAST_POLICY_OUTSIDE) {
            hindcast_actor_outside(actor, &outside); /* the action is the last one */
        } else if (status != HINDCAST_POLICY_OK) {
            break; /* a sensor gave NaN: hold still, here by ending */
        }
        longest_us = fmax(longest_us, now_us() - begin);
        write_motors(action, n, 1 / rate);
    }
    printf("%ld steps at %g Hz; the longest action took %.1f us; last action", steps, rate,
           longest_us);
    for (uint32_t i = 0; i < n; i++) {
        printf(" %g", (double)action[i]);
    }
    printf("\n");
    if (outside.count > 0) {
        printf("outside: %s[%u] was %g, seen %g..%g\n", outside.slice, outside.element,
               (double)outside.value, (double)outside.min, (double)outside.max);
    }
    free(observation);
    free(action);
    hindcast_actor_free(actor);
    hindcast_policy_free(policy);
    return 0;
}
