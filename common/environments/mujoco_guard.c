/* The process-wide MuJoCo log handler, and the jump out of a fatal error.
 *
 * The handler runs on the thread that called MuJoCo. Where that thread is within mujoco_guard_run,
 * the handler jumps back there; otherwise it can only log why the process is about to end. */
#include "common/environments/mujoco_guard.h"

#include <mujoco/mujoco.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>

#define LOG_MODULE "mujoco"
#include "common/base/log.h"

/* Where this thread continues when MuJoCo raises an error. */
static _Thread_local struct {
    bool armed;
    jmp_buf jump;
    char text[1024];
} guard;

/* Called by MuJoCo for each message, on the thread that called MuJoCo. */
static void on_message(const mjLogMessage *message)
{
    if (message->level == mjLOG_WARNING) {
        log_debug("%s", message->subject);
        return;
    }
    if (message->level != mjLOG_ERROR) {
        return; /* timings of the model compiler and the like */
    }
    /* An error within a guarded call: keep its text and leave MuJoCo. */
    if (guard.armed) {
        (void)snprintf(guard.text, sizeof guard.text, "%s", message->subject);
        guard.armed = false;
        longjmp(guard.jump, 1);
    }
    /* Outside a guarded call MuJoCo ends the process when this returns. */
    log_error("fatal: %s", message->subject);
}

static void install(void)
{
    (void)mju_setLogHandler(on_message);
}

void mujoco_guard_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install);
}

status mujoco_guard_run(void (*work)(void *arg), void *arg, struct err *err)
{
    /* A guarded call within another would overwrite the place to return to. */
    ASSERT(!guard.armed);
    /* Reached a second time, with 1, when the handler jumps. */
    if (setjmp(guard.jump) != 0) {
        return err_set(err, STATUS_INTERNAL, "MuJoCo: %s", guard.text);
    }
    /* From here to the end of `work` an error returns to the setjmp above. What MuJoCo had
     * allocated by then may be lost; this is rare, and better than the end of the process. */
    guard.armed = true;
    work(arg);
    guard.armed = false;
    return STATUS_OK;
}
