/* What the fuzzers of log files do with an input: open it, describe it, and read its columns. */
#ifndef HINDCAST_TESTS_FUZZ_LOG_FILE_H
#define HINDCAST_TESTS_FUZZ_LOG_FILE_H

#include "common/logs/files/log_file.h"

/* Reads the first rows and the last ones of the first columns of the first recordings. Everything
 * that is refused must have a text. Returns whether the file was opened; then it is closed again. */
bool fuzz_log_file(const char *path);

#endif
