/* Fault injection: makes the nth allocation or the nth write of a call fail, in our code and in the
 * libraries that it uses (LMDB, libyaml, cJSON). memory_fail_at and file_fail_at reach our own code
 * only.
 *
 * A program that links this file gets its malloc and write from here. They behave normally until
 * fault_arm, and fail only in the thread that called it. A sweep over all points of failure:
 *
 *     for (uint64_t nth = 1;; nth++) {
 *         fault_arm(FAULT_MEMORY, nth, 0);
 *         status s = the_call();
 *         if (!fault_disarm()) {
 *             break;     (the call makes fewer than nth such calls)
 *         }
 *         .. check what must hold after the failure
 *     }
 */
#ifndef HINDCAST_TESTS_FAULTS_H
#define HINDCAST_TESTS_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

enum fault {
    FAULT_MEMORY, /* malloc, calloc, realloc, aligned_alloc, posix_memalign */
    FAULT_WRITE,  /* write, pwrite(v), writev, fsync, fdatasync, msync, ftruncate, rename */
};

/* The nth (1, 2, ..) call of this kind that this thread makes from now on fails, once. `number` is
 * the errno of a failing write. */
void fault_arm(enum fault kind, uint64_t nth, int number);
/* Exempts allocations made by the shared library whose path contains this text ("libhdf5"), and by
 * the C library itself. Needed for HDF5, which does not survive a failed allocation (1.10 uses
 * memory after freeing it). */
void fault_spare(const char *library);
/* Ends the injection. Returns whether the failure happened. */
bool fault_disarm(void);
/* Puts the scratch folders of this process into memory, where syncing is cheap. Call it first in
 * main. */
void fault_scratch(void);
/* The number of failures injected in this process so far. */
uint64_t fault_points(void);

#endif
