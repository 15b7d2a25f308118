/* One line for each event, on stderr: 2026-01-31T12:00:00.123Z INFO learner update: sentence
 * key=value
 *
 * ERROR means that somebody should look at it. WARN from one place is limited to a few a second,
 * the rest counted. In inner loops count, and report from a timer. Any thread may log; a line is
 * written with one write(). */
#ifndef HINDCAST_BASE_LOG_H
#define HINDCAST_BASE_LOG_H

#include "common/base/status.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Names this process in every line ("learner", "restorer/2"; copied) and sets the least level
 * shown. Installs the crash handler that prints version and backtrace. Once, from main(), before
 * threads start. */
void log_open(const char *process, enum log_level least);

/* Switches the level while running; any thread. */
void log_set_level(enum log_level least);

/* Parses "debug", "info", "warn", "error". */
status log_level_parse(enum log_level *level, const char *text, struct err *err) MUST_CHECK;

void log_write(enum log_level level, const char *module, const char *format, ...) PRINTF_LIKE(3, 4);

/* The same without the limit on warnings: for a list that is logged once, at start. */
void log_write_each(enum log_level level, const char *module, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* On a terminal: keeps `text` (copied, at most 500 bytes) as the last line, below all log lines;
 * NULL or "" takes it away. The progress bar's place; any thread. */
void log_footer(const char *text);

#define LOG_AT(level, ...) log_write(level, LOG_MODULE, __VA_ARGS__)
/* A file that logs defines LOG_MODULE before including this header; it is the file's noun. */
#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)

#endif
