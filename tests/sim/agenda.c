/* The fake clock and its events: a binary heap ordered by (time, order of scheduling), so that
 * events due at the same time run in the order in which they were scheduled, and a seed gives the
 * same run every time. */
#include "tests/sim/agenda.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/base/status.h"
#include "tests/sim/fiber.h"

#define START_NS 1000000000000ull
#define WALL_NS  1700000000000000000ull /* of the same moment */

struct entry {
    uint64_t at_ns;
    uint64_t order;
    void (*happen)(void *arg);
    void *arg;
};

static struct entry *heap;
static size_t n, capacity;
static uint64_t now_ns = START_NS, order;

void agenda_reset(void)
{
    n = 0;
    order = 0;
    now_ns = START_NS;
}

uint64_t agenda_now(void)
{
    return now_ns;
}

void agenda_pass(uint64_t ns)
{
    now_ns += ns;
}

void agenda_pass_until(uint64_t ns)
{
    now_ns = ns > now_ns ? ns : now_ns;
}

static bool before(const struct entry *a, const struct entry *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void swap(size_t i, size_t j)
{
    const struct entry entry = heap[i];
    heap[i] = heap[j];
    heap[j] = entry;
}

void agenda_at(uint64_t ns, void (*happen)(void *arg), void *arg)
{
    if (n == capacity) {
        capacity = capacity ? 2 * capacity : 256;
        heap = realloc(heap, capacity * sizeof *heap);
        ASSERT(heap != NULL);
    }
    size_t i = n++;
    heap[i] = (struct entry){ns > now_ns ? ns : now_ns, order++, happen, arg};
    for (; i > 0 && before(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2) {
        swap(i, (i - 1) / 2);
    }
}

void agenda_in(uint64_t ns, void (*happen)(void *arg), void *arg)
{
    agenda_at(now_ns + ns, happen, arg);
}

void agenda_drop(void (*happen)(void *arg), void (*drop)(void *arg))
{
    for (size_t i = 0; i < n; i++) {
        if (heap[i].happen == happen) {
            drop(heap[i].arg);
        }
    }
}

uint64_t agenda_next_ns(void)
{
    return n > 0 ? heap[0].at_ns : AGENDA_NEVER;
}

bool agenda_run_one(void)
{
    if (n == 0 || heap[0].at_ns > now_ns) {
        return false;
    }
    const struct entry first = heap[0];
    heap[0] = heap[--n];
    for (size_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!before(&heap[child], &heap[i])) {
            break;
        }
        swap(i, child);
    }
    first.happen(first.arg);
    return true;
}

/* ---- common/base/clock.h ---- */

uint64_t clock_now_ns(void)
{
    return now_ns;
}

uint64_t clock_wall_ns(void)
{
    return now_ns - START_NS + WALL_NS;
}

void clock_sleep_ms(unsigned ms)
{
    fiber_wait(NULL, now_ns + ms * NS_PER_MS);
}
