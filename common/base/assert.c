/* The end of a process by ASSERT. On its own, so that the policy library (deploy/policy/), which has
 * neither log nor crash reports, can end in its own way. */
#include <stdlib.h>

#include "common/base/crash.h"
#include "common/base/status.h"

#define LOG_MODULE "assert"
#include "common/base/log.h"

void assert_failed(const char *condition, const char *file, int line)
{
    /* The line comes first: it is out even if the backtrace fails. */
    log_error("assertion failed: %s file=%s line=%d", condition, file, line);
    crash_print_backtrace();
    abort();
}
