/* Prints the violation and ends the process. */
#include "tests/sim/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/sim/agenda.h"
#include "tests/sim/fiber.h"

static unsigned long long seed;

void verdict_begin(unsigned long long of_seed)
{
    seed = of_seed;
}

void verdict_wrong(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("seed %llu: at %.6f s: %s\n", seed, (double)(agenda_now() - 1000000000000ull) * 1e-9,
           text);
    fiber_print_all();
    fflush(stdout);
    _exit(VERDICT_EXIT);
}
