/* The crash handler. It runs on the thread that failed, in whatever state that thread left locks
 * and the heap, so it calls only write(), backtrace() (loaded beforehand) and raise(), and formats
 * nothing. */
#include "common/base/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FRAMES_MAX 64
#define STACK_SIZE (64u * 1024u)

/* "\nhindcast 0.1.0 learner: ": made beforehand, a handler must not format. */
static char banner[160];
static size_t banner_size;
static atomic_bool printed;
/* After a stack overflow the handler cannot run on the same stack. */
static unsigned char handler_stack[STACK_SIZE];

/* Writes everything, unless the reader is gone. Async-signal-safe. */
static void put(const char *text, size_t size)
{
    while (size > 0) {
        const ssize_t n = write(STDERR_FILENO, text, size);
        if (n <= 0) {
            return;
        }
        text += n;
        size -= (size_t)n;
    }
}

/* With its final newline: the handler only writes. */
static const char *signal_name(int number)
{
    switch (number) {
    case SIGSEGV:
        return "SIGSEGV, bad memory access\n";
    case SIGBUS:
        return "SIGBUS, bad mapping (file cut short, or disk full under a map)\n";
    case SIGFPE:
        return "SIGFPE, arithmetic error\n";
    case SIGILL:
        return "SIGILL, instruction unknown to this processor\n";
    default:
        return "SIGABRT, aborted\n";
    }
}

void crash_print_backtrace(void)
{
    /* A second thread that crashes meanwhile must not mix its backtrace in. */
    if (atomic_exchange(&printed, true)) {
        return;
    }
    void *frames[FRAMES_MAX];
    const int n = backtrace(frames, FRAMES_MAX);
    backtrace_symbols_fd(frames, n, STDERR_FILENO);
}

static void on_crash(int number)
{
    const char *name = signal_name(number);
    /* In order of importance: should anything below crash again, these lines are out. */
    put(banner, banner_size);
    put(name, strlen(name));
    crash_print_backtrace();
    /* SA_RESETHAND has restored the default action: now really die of it. */
    raise(number);
}

/* What a thread raises by its own fault. */
static const int FAULTS[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

void crash_unblock_faults(sigset_t *set)
{
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
        sigdelset(set, FAULTS[i]);
    }
}

void crash_install(const char *process)
{
    snprintf(banner, sizeof banner, "\nhindcast %s %s: ", HINDCAST_VERSION, process);
    banner_size = strlen(banner);

    /* The first call loads libgcc, which allocates: not in a handler. */
    void *frames[2];
    (void)backtrace(frames, 2);

    /* For the main thread; other threads use their own stack, and an overflow of it is not
     * reported. */
    const stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
    (void)sigaltstack(&stack, NULL);

    /* SA_RESETHAND: the raise at the end of the handler, or a second fault in it, kills. */
    struct sigaction action = {.sa_handler = on_crash,
                               .sa_flags = (int)(SA_RESETHAND | SA_ONSTACK)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGABRT, &action, NULL);
/* Sanitizers install handlers of their own, which say more. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
    sigaction(SIGILL, &action, NULL);
#endif
}
