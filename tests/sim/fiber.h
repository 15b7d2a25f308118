/* Threads of a simulation: they take turns on one real thread. Exactly one runs; it goes on until
 * it waits, or until chance takes the turn away at one of the places where threads meet (locks,
 * queues, the clock). The next one is chosen at random too. The pthread functions that Hindcast
 * uses end here (fiber_pthread.c).
 *
 * Every fiber belongs to a host, the process it would be in; what it starts inherits it. */
#ifndef HINDCAST_SIM_FIBER_H
#define HINDCAST_SIM_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIBER_NAME_SIZE 24

struct fiber;

struct fiber *fiber_start(const char *name, int host, void *(*body)(void *arg), void *arg);
void fiber_join(struct fiber *fiber, void **result); /* once each */
struct fiber *fiber_self(void);                      /* NULL: the scheduler itself */
int fiber_host(void);                                /* of the running one; 0 outside */
void fiber_set_name(struct fiber *fiber, const char *name);
const char *fiber_name(const struct fiber *fiber);
unsigned fiber_number(const struct fiber *fiber); /* 1, 2, .. in order of starting */
struct fiber *fiber_of_number(unsigned number);

/* Waits until somebody wakes those who wait for `what`, or until that time; false: the time came
 * first. */
bool fiber_wait(const void *what, uint64_t until_ns);
void fiber_wake_one(const void *what);
void fiber_wake_all(const void *what);
/* A place where the scheduler may switch to another fiber. */
void fiber_may_yield(void);

struct fiber_run {
    uint64_t steps;  /* turns */
    uint64_t digest; /* of which fiber ran when: two runs with the same digest were the same */
};
/* Runs until every fiber has ended; `step` after each turn. NULL, or why it did not come to an end:
 * all wait for one another, or `steps_max` turns were not enough. */
const char *fiber_run_all(struct fiber_run *run, uint64_t steps_max, void (*step)(void));
/* Prints who waits. */
void fiber_print_all(void);
/* Frees all; every one must have ended. */
void fiber_reset(void);

#endif
