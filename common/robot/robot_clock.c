/* A ring of exchanges. Differences of unsigned times wrap to the right signed number. */
#include "common/robot/robot_clock.h"

void robot_clock_add(struct robot_clock *clock, uint64_t sent_ns, uint64_t received_ns,
                     uint64_t answered_ns, uint64_t arrived_ns)
{
    const uint64_t i = clock->n++ % ROBOT_CLOCK_SAMPLES;
    /* Halved before they are added: clocks with other zeros differ by large numbers. */
    clock->offset_ns[i] =
        (int64_t)(received_ns - sent_ns) / 2 + (int64_t)(answered_ns - arrived_ns) / 2;
    clock->delay_ns[i] = (int64_t)(arrived_ns - sent_ns) - (int64_t)(answered_ns - received_ns);
}

int64_t robot_clock_offset_ns(const struct robot_clock *clock, int64_t *delay_ns)
{
    const uint64_t n = clock->n < ROBOT_CLOCK_SAMPLES ? clock->n : ROBOT_CLOCK_SAMPLES;
    uint64_t best = 0;
    for (uint64_t i = 1; i < n; i++) {
        best = clock->delay_ns[i] < clock->delay_ns[best] ? i : best;
    }
    *delay_ns = n == 0 ? 0 : clock->delay_ns[best];
    return n == 0 ? 0 : clock->offset_ns[best];
}
