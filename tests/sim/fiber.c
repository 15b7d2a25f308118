/* Threads of the simulation as ucontext fibers, and the scheduler that chooses which one runs next.
 */
#include "tests/sim/fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "common/base/status.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/trace.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES  (512u << 10)
#define GUARD_BYTES  4096u
#define FIBERS_MAX   4096u
#define STEP_NS_MAX  20000u /* the longest duration of a turn */
#define YIELD_ONE_IN 6u
#define LAG_ONE_IN   300u /* turns between two random delays of a thread, as on a busy machine */

enum state { READY, WAITING, ENDED };

struct fiber {
    char name[FIBER_NAME_SIZE];
    int host;
    unsigned number;
    enum state state;
    const void *what;  /* waited for */
    uint64_t until_ns; /* waited until; while READY: held up until */
    bool timed_out;
    bool joined;
    void *(*body)(void *arg);
    void *arg, *result;
    ucontext_t context;
    char *stack;
    void *fake_stack; /* the address sanitizer's */
};

static struct fiber *fibers[FIBERS_MAX]; /* [number - 1] */
static struct fiber *living[FIBERS_MAX]; /* those that have not ended, in order */
static unsigned n_fibers, n_live;
static struct fiber *self, *agenda_fiber;
static ucontext_t scheduler;
static const void *scheduler_stack; /* for the address sanitizer */
static size_t scheduler_stack_size;
static void *scheduler_fake_stack;
static char *spare_stacks[FIBERS_MAX];
static unsigned n_spare_stacks;

/* ---- Switching ---- */

static void start_switch(void **fake, const void *stack, size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fake, stack, size);
#else
    (void)fake, (void)stack, (void)size;
#endif
}

static void end_switch(void *fake, const void **stack, size_t *size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, stack, size);
#else
    (void)fake, (void)stack, (void)size;
#endif
}

static void to_scheduler(bool for_good)
{
    struct fiber *fiber = self;
    start_switch(for_good ? NULL : &fiber->fake_stack, scheduler_stack, scheduler_stack_size);
    ASSERT(swapcontext(&fiber->context, &scheduler) == 0);
    end_switch(fiber->fake_stack, NULL, NULL);
}

static void to_fiber(struct fiber *fiber)
{
    self = fiber;
    start_switch(&scheduler_fake_stack, fiber->stack, STACK_BYTES);
    ASSERT(swapcontext(&scheduler, &fiber->context) == 0);
    end_switch(scheduler_fake_stack, NULL, NULL);
    self = NULL;
}

static void forget(const struct fiber *fiber)
{
    unsigned i = 0;
    while (living[i] != fiber) {
        i++;
    }
    for (n_live--; i < n_live; i++) {
        living[i] = living[i + 1];
    }
}

static void enter(void)
{
    end_switch(NULL, &scheduler_stack, &scheduler_stack_size);
    struct fiber *fiber = self;
    fiber->result = fiber->body(fiber->arg);
    fiber->state = ENDED;
    forget(fiber);
    fiber_wake_all(fiber);
    to_scheduler(true);
    ASSERT(false);
}

/* ---- Life ---- */

static char *take_stack(void)
{
    if (n_spare_stacks > 0) {
        return spare_stacks[--n_spare_stacks];
    }
    char *stack = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(stack != MAP_FAILED && mprotect(stack, GUARD_BYTES, PROT_NONE) == 0);
    return stack + GUARD_BYTES;
}

struct fiber *fiber_start(const char *name, int host, void *(*body)(void *arg), void *arg)
{
    struct fiber *fiber = calloc(1, sizeof *fiber);
    ASSERT(fiber != NULL && n_fibers < FIBERS_MAX);
    fibers[n_fibers++] = fiber;
    living[n_live++] = fiber;
    fiber->number = n_fibers;
    fiber->host = host;
    fiber->body = body;
    fiber->arg = arg;
    fiber->stack = take_stack();
    fiber_set_name(fiber, name);
    ASSERT(getcontext(&fiber->context) == 0);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fiber->context, enter, 0);
    return fiber;
}

void fiber_join(struct fiber *fiber, void **result)
{
    ASSERT(!fiber->joined);
    fiber->joined = true;
    while (fiber->state != ENDED) {
        fiber_wait(fiber, AGENDA_NEVER);
    }
    if (result) {
        *result = fiber->result;
    }
}

struct fiber *fiber_self(void)
{
    return self;
}

int fiber_host(void)
{
    return self ? self->host : 0;
}

void fiber_set_name(struct fiber *fiber, const char *name)
{
    snprintf(fiber->name, sizeof fiber->name, "%s", name);
}

const char *fiber_name(const struct fiber *fiber)
{
    return fiber->name;
}

unsigned fiber_number(const struct fiber *fiber)
{
    return fiber->number;
}

struct fiber *fiber_of_number(unsigned number)
{
    ASSERT(number >= 1 && number <= n_fibers);
    return fibers[number - 1];
}

void fiber_reset(void)
{
    ASSERT(self == NULL && n_live == 0);
    for (unsigned i = 0; i < n_fibers; i++) {
        spare_stacks[n_spare_stacks++] = fibers[i]->stack;
        free(fibers[i]);
    }
    n_fibers = 0;
}

/* ---- Waiting ---- */

bool fiber_wait(const void *what, uint64_t until_ns)
{
    ASSERT(self != NULL);
    self->state = WAITING;
    self->what = what;
    self->until_ns = until_ns;
    self->timed_out = false;
    to_scheduler(false);
    return !self->timed_out;
}

static void make_ready(struct fiber *fiber, bool timed_out)
{
    fiber->state = READY;
    fiber->what = NULL;
    fiber->until_ns = 0;
    fiber->timed_out = timed_out;
}

void fiber_wake_one(const void *what)
{
    struct fiber *chosen = NULL;
    unsigned n = 0;
    for (unsigned i = 0; i < n_live; i++) {
        if (living[i]->state == WAITING && living[i]->what == what && chance_in(++n)) {
            chosen = living[i];
        }
    }
    if (chosen) {
        make_ready(chosen, false);
    }
}

void fiber_wake_all(const void *what)
{
    for (unsigned i = 0; i < n_live; i++) {
        if (living[i]->state == WAITING && living[i]->what == what) {
            make_ready(living[i], false);
        }
    }
}

void fiber_may_yield(void)
{
    if (self && chance_in(YIELD_ONE_IN)) {
        to_scheduler(false);
    }
}

/* ---- Scheduling ---- */

/* Wakes the fibers whose time has come and chooses one that may run; NULL: none can. *next_ns: when
 * that may change. */
static struct fiber *choose(uint64_t *next_ns)
{
    const uint64_t now_ns = agenda_now();
    struct fiber *chosen = NULL;
    unsigned n = 0;
    *next_ns = AGENDA_NEVER;
    for (unsigned i = 0; i < n_live; i++) {
        struct fiber *fiber = living[i];
        if (fiber->state == WAITING && fiber->until_ns <= now_ns) {
            make_ready(fiber, true);
        }
        if (fiber->state == READY && fiber->until_ns <= now_ns) {
            chosen = chance_in(++n) ? fiber : chosen;
        } else if (fiber->until_ns < *next_ns) {
            *next_ns = fiber->until_ns;
        }
    }
    return chosen;
}

static void take_turn(struct fiber *fiber, struct fiber_run *run)
{
    run->steps++;
    run->digest = (run->digest ^ agenda_now() ^ (uint64_t)fiber->number << 56) * 0x100000001b3ull;
    run->digest ^= run->digest >> 29;
    trace_at(fiber->number, fiber->name);
    to_fiber(fiber);
    agenda_pass(chance_below(STEP_NS_MAX));
    if (fiber->state == READY && chance_in(LAG_ONE_IN)) {
        fiber->until_ns = agenda_now() + chance_skewed(NS_PER_MS, 300 * NS_PER_MS);
    }
}

/* Events run on a fiber too, as gRPC has threads of its own: they may have to wait for a lock. It
 * ends after all others. */
static void *keep_agenda(void *arg)
{
    (void)arg;
    while (n_live > 1) {
        if (!agenda_run_one()) {
            fiber_wait(NULL, agenda_next_ns());
        }
    }
    return NULL;
}

const char *fiber_run_all(struct fiber_run *run, uint64_t steps_max, void (*step)(void))
{
    *run = (struct fiber_run){.digest = 0xcbf29ce484222325ull};
    agenda_fiber = fiber_start("agenda", 0, keep_agenda, NULL);
    while (n_live > 0) {
        uint64_t next_ns;
        if (agenda_fiber->state == WAITING && agenda_fiber->what == NULL) {
            agenda_fiber->until_ns = n_live > 1 ? agenda_next_ns() : 0;
        }
        struct fiber *fiber = choose(&next_ns);
        if (fiber) {
            take_turn(fiber, run);
            step();
        } else if (next_ns == AGENDA_NEVER) {
            return "all threads wait for one another";
        } else {
            agenda_pass_until(next_ns);
        }
        if (run->steps >= steps_max) {
            return "it does not come to an end";
        }
    }
    return NULL;
}

void fiber_print_all(void)
{
    for (unsigned i = 0; i < n_live; i++) {
        const struct fiber *fiber = living[i];
        printf("  thread %u %s of host %d %s", fiber->number, fiber->name, fiber->host,
               fiber->state == READY ? "may run" : "waits");
        if (fiber->until_ns != AGENDA_NEVER && fiber->until_ns > agenda_now()) {
            printf(" for %.3f s", (double)(fiber->until_ns - agenda_now()) * 1e-9);
        }
        printf("\n");
    }
}
