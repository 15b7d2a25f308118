/* What happens, line by line, on stdout: with --trace. The log lines of the simulated code are in
 * it. */
#ifndef HINDCAST_SIM_TRACE_H
#define HINDCAST_SIM_TRACE_H

#include <stdbool.h>

#include "common/base/log.h"

void trace_switch(bool on);
/* Names the fiber that runs from here on. */
void trace_at(unsigned thread, const char *name);
void trace(const char *format, ...) PRINTF_LIKE(1, 2);
/* What the linker puts in place of log_write (--wrap). */
void __wrap_log_write(enum log_level level, const char *module, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
