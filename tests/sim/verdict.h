/* The first violation that is found ends a simulation: it is printed, and the process exits. */
#ifndef HINDCAST_SIM_VERDICT_H
#define HINDCAST_SIM_VERDICT_H

#include "common/base/status.h"

#define VERDICT_EXIT 3

void verdict_begin(unsigned long long seed);
void verdict_wrong(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));

#endif
