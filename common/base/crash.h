/* The report of a crash on stderr: signal, version and backtrace. As far as possible
 * async-signal-safe. */
#ifndef HINDCAST_BASE_CRASH_H
#define HINDCAST_BASE_CRASH_H

#include <signal.h>

/* Installs handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT that print `process` (copied),
 * version, signal and backtrace and then die of the same signal. Under a sanitizer only SIGABRT: it
 * reports the others better. Once, from main(), before threads start. */
void crash_install(const char *process);

/* Removes these signals from a set that is about to be blocked. A fault of a thread that blocks its
 * signal ends the process at once, without the handler: every thread must leave them unblocked. */
void crash_unblock_faults(sigset_t *set);

/* Prints the backtrace of the caller, once per process: an ASSERT prints it where it
 * failed, and the abort that follows does not print it again. */
void crash_print_backtrace(void);

#endif
