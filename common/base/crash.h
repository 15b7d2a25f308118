/* The last words of a process: signal, version and backtrace on stderr, as far as possible
 * async-signal-safe. */
#ifndef HINDCAST_BASE_CRASH_H
#define HINDCAST_BASE_CRASH_H

/* Installs handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT that print `process` (copied),
 * version, signal and backtrace and then die of the same signal. Under a sanitizer only SIGABRT: it
 * reports the others better. Once, from main(), before threads start. */
void crash_install(const char *process);

/* Prints the backtrace of the caller, once in the life of the process: an ASSERT prints it where it
 * failed, and the abort that follows does not print it again. */
void crash_print_backtrace(void);

#endif
