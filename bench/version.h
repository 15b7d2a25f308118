/* What every benchmark answers to a lone --version. */
#ifndef HINDCAST_BENCH_VERSION_H
#define HINDCAST_BENCH_VERSION_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Prints the version and returns true when that is all that was asked for. */
static inline bool bench_version(int argc, char **argv)
{
    const bool asked = argc == 2 && strcmp(argv[1], "--version") == 0;
    if (asked) {
        puts(HINDCAST_VERSION);
    }
    return asked;
}

#endif
