/* The stopwatch: see phases.h. A lap costs one reading of the monotonic clock, about 20 ns, so
 * that it always runs and a profile is not another program.
 *
 * A stopwatch belongs to one thread. The times of the workers are added up by update.c when they
 * are done. Names come from the same list as the enum, so that no phase can lack its text. */
#include "learner/step/phases.h"

#include "common/base/clock.h"
#include "common/base/status.h"

const char *phase_name(enum phase phase)
{
    /* In the order of the enum. */
    static const char *const names[PHASES] = {
#define PHASE_TEXT(name, text) text,
        PHASES_MAP(PHASE_TEXT)
#undef PHASE_TEXT
    };
    return names[phase];
}

void phases_start(struct phases *phases)
{
    phases->lap_ns = clock_now_ns();
}

void phases_lap(struct phases *phases, enum phase phase)
{
    ASSERT(phase < PHASES);
    /* One reading ends this lap and begins the next, so that no time is lost between them. */
    const uint64_t now_ns = clock_now_ns();
    phases->ns[phase] += now_ns - phases->lap_ns;
    phases->lap_ns = now_ns;
}

void phases_add(struct phases *phases, const struct phases *more)
{
    for (int i = 0; i < PHASES; i++) {
        phases->ns[i] += more->ns[i];
    }
}

uint64_t phases_sum(const struct phases *phases)
{
    uint64_t sum = 0;
    for (int i = 0; i < PHASES; i++) {
        sum += phases->ns[i];
    }
    return sum;
}
