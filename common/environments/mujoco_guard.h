/* Turns MuJoCo's errors and warnings into ours: no exit, and no file MUJOCO_LOG.TXT.
 *
 * MuJoCo reports an impossible situation (stack overflow, wrong sizes) through a handler that must
 * not return, and by default ends the process. Here such an error jumps back to the guarded call,
 * which fails with its text. Warnings go to our log at level debug only, because the code that steps
 * reads the warning counters in mjData. */
#ifndef HINDCAST_ENVIRONMENTS_MUJOCO_GUARD_H
#define HINDCAST_ENVIRONMENTS_MUJOCO_GUARD_H

#include "common/base/status.h"

/* Installs the handler, once per process however often called. Any thread. */
void mujoco_guard_install(void);

/* Runs work(arg). INTERNAL with MuJoCo's text when MuJoCo raised an error in it: whatever mjData it
 * worked on then holds garbage until mj_resetData. `work` may hold no locks and own no memory
 * across its MuJoCo calls. Not nested. */
status mujoco_guard_run(void (*work)(void *arg), void *arg, struct err *err) MUST_CHECK;

#endif
