/* The trace: prints events with the fake time, and stands in for common/base/log.c. */
#include "tests/sim/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "tests/sim/agenda.h"

static bool on;
static unsigned thread_now;
static char name_now[24];

void trace_switch(bool to)
{
    on = to;
}

void trace_at(unsigned thread, const char *name)
{
    if (on) {
        thread_now = thread;
        snprintf(name_now, sizeof name_now, "%s", name);
    }
}

static void line(const char *kind, const char *format, va_list args)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, args);
    const uint64_t us = agenda_now() / 1000 - 1000000000u;
    printf("%4" PRIu64 ".%06" PRIu64 " %3u %-16s %s%s\n", us / 1000000, us % 1000000, thread_now,
           name_now, kind, text);
}

void trace(const char *format, ...)
{
    if (on) {
        va_list args;
        va_start(args, format);
        line("", format, args);
        va_end(args);
    }
}

/* ---- In place of common/base/log.c's: what is simulated logs into the trace ---- */

void __wrap_log_write(enum log_level level, const char *module, const char *format, ...)
{
    (void)level;
    const bool fatal = strcmp(module, "assert") == 0; /* a failed assertion */
    if (on || fatal) {
        va_list args;
        va_start(args, format);
        char kind[40];
        snprintf(kind, sizeof kind, "[%s] ", module);
        line(kind, format, args);
        va_end(args);
    }
}
