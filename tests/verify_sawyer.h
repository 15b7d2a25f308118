/* Recordings of the Sawyer stacking domain, for verify_tasks. */
#ifndef HINDCAST_TESTS_VERIFY_SAWYER_H
#define HINDCAST_TESTS_VERIFY_SAWYER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

/* Do the bytes of a file begin like a recording of this domain? */
bool verify_sawyer_knows(const void *bytes, size_t size);

/* Replays the recording and prints its errors. False: it fails, or `err` says why it cannot be used.
 * same_machine: everything must be equal to the last bit. */
bool verify_sawyer(const void *bytes, size_t size, bool same_machine, struct err *err);

#endif
