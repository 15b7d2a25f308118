/* The pthread functions of the simulated code: linked in front of the real ones by --wrap, which
 * leaves those of gRPC, LMDB and libc alone. A mutex or a condition is only an address to wait for,
 * and whether it is locked. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "common/base/status.h"
#include "tests/sim/agenda.h"
#include "tests/sim/fiber.h"
#include "tests/sim/fiber_pthread.h"

/* In the memory of a pthread_mutex_t; all zero as PTHREAD_MUTEX_INITIALIZER is: unlocked. */
struct sim_mutex {
    unsigned owner; /* fiber's number; 0: none */
};

static struct sim_mutex *mutex_of(pthread_mutex_t *mutex)
{
    return (struct sim_mutex *)(void *)mutex;
}

#define SCHEDULER 0xffffffffu /* as an owner: what a check locks between two turns */

static unsigned me(void)
{
    return fiber_self() ? fiber_number(fiber_self()) : SCHEDULER;
}

/* ---- Threads ---- */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *arg)
{
    (void)attributes;
    *thread = fiber_number(fiber_start("thread", fiber_host(), body, arg));
    fiber_may_yield();
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    fiber_join(fiber_of_number((unsigned)thread), result);
    return 0;
}

pthread_t __wrap_pthread_self(void)
{
    return me();
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    fiber_set_name(fiber_of_number((unsigned)thread), name);
    return 0;
}

/* ---- Mutexes ---- */

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    memset(mutex, 0, sizeof *mutex);
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    ASSERT(mutex_of(mutex)->owner == 0);
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    fiber_may_yield();
    ASSERT(mutex_of(mutex)->owner != me());
    while (mutex_of(mutex)->owner != 0) {
        fiber_wait(mutex, AGENDA_NEVER);
    }
    mutex_of(mutex)->owner = me();
    return 0;
}

static void unlock(pthread_mutex_t *mutex)
{
    ASSERT(mutex_of(mutex)->owner == me());
    mutex_of(mutex)->owner = 0;
    fiber_wake_one(mutex);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    unlock(mutex);
    fiber_may_yield();
    return 0;
}

/* ---- Conditions ---- */

int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    (void)condition, (void)attributes;
    return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *condition)
{
    (void)condition;
    return 0;
}

static int wait_for(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_ns)
{
    unlock(mutex);
    const bool woken = fiber_wait(condition, until_ns);
    (void)__wrap_pthread_mutex_lock(mutex);
    return woken ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    return wait_for(condition, mutex, AGENDA_NEVER);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    return wait_for(condition, mutex,
                    (uint64_t)until->tv_sec * NS_PER_S + (uint64_t)until->tv_nsec);
}

int __wrap_pthread_cond_signal(pthread_cond_t *condition)
{
    fiber_wake_one(condition);
    fiber_may_yield();
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *condition)
{
    fiber_wake_all(condition);
    fiber_may_yield();
    return 0;
}

/* ---- The clock that conditions look at ---- */

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    const uint64_t ns = clock == CLOCK_REALTIME ? clock_wall_ns() : clock_now_ns();
    *time = (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    return 0;
}
