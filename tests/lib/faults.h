/* Faults on purpose: the nth allocation, or the nth write, of one call fails, in our code and in
 * the libraries below it alike (LMDB, libyaml, cJSON: memory_fail_at and file_fail_at reach ours
 * alone).
 *
 * A program that links this file gets its malloc and write from here: they are the real ones until
 * fault_arm. Only the thread that armed fails. A sweep is
 *
 *     for (uint64_t nth = 1;; nth++) {
 *         fault_arm(FAULT_MEMORY, nth, 0);
 *         status s = the_call();
 *         if (!fault_disarm()) {
 *             break;     the whole call passed without reaching its nth
 *         }
 *         .. what must hold although it failed, or in spite of it
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

/* The nth (1, 2, ..) call of that kind that this thread makes from now on fails, once. `number`:
 * errno of a write that fails. */
void fault_arm(enum fault kind, uint64_t nth, int number);
/* Allocations made by the shared library with this in its path ("libhdf5"), and by the C library on
 * anybody's behalf, are left alone from now on. For HDF5, which does not survive want of memory
 * itself (1.10: use after free). */
void fault_spare(const char *library);
/* Back to normal. Has it happened? */
bool fault_disarm(void);
/* Scratch folders of this process lie in memory, where syncing costs nothing. First thing in main.
 */
void fault_scratch(void);
/* How many have happened in this process. */
uint64_t fault_points(void);

#endif
