/* Log lines: formatted in one buffer and written with one write(), so that lines of several threads
 * and processes do not mix. Warnings are limited per place (the address of the format), since the
 * same fault often repeats thousands of times a second; how many were hidden is told with the next
 * one. On a terminal a footer stays below all lines: each line takes the footer's place, and the
 * footer moves down. */
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crash.h"
#include "common/base/utf8.h"

#define LINE_SIZE      4096 /* up to PIPE_BUF a write to a pipe is not torn */
#define FOOTER_SIZE    512
#define PLACES         256 /* whose warnings are counted; two in one slot share its limit */
#define WARNINGS_PER_S 5

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
static char process_name[64] = "hindcast";
/* The least level that is shown; any thread may change it at any time. */
static atomic_int least_shown = LOG_INFO;

/* Guards what follows, and keeps the footer below the lines. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char footer[FOOTER_SIZE];
/* A place that warns: the second that is counted, how many warnings it was shown in that second,
 * and how many were hidden since the last one that was shown. */
static struct place {
    uint64_t second;
    unsigned shown;
    unsigned hidden;
} places[PLACES];

void log_open(const char *process, enum log_level least)
{
    snprintf(process_name, sizeof process_name, "%s", process);
    log_set_level(least);
    /* From here on a crash prints the name of this process. */
    crash_install(process);
}

void log_set_level(enum log_level least)
{
    atomic_store(&least_shown, (int)least);
}

status log_level_parse(enum log_level *level, const char *text, struct err *err)
{
    static const char *const texts[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, texts[i]) == 0) {
            *level = (enum log_level)i;
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_INVALID, "log level \"%s\": expected debug, info, warn or error",
                   text);
}

/* May a warning from this place be shown now? `hidden`: how many were not since the last one. Under
 * the lock. */
static bool warning_allowed(const char *format, unsigned *hidden)
{
    const uint64_t second = clock_now_ns() / NS_PER_S;
    /* A format is a constant of the program, so its address names the place. The lowest bits are
     * left out. */
    struct place *place = &places[((uintptr_t)format >> 3) % PLACES];
    /* A new second: the count of those shown starts anew, that of the hidden ones goes on. */
    if (place->second != second) {
        place->second = second;
        place->shown = 0;
    }
    if (place->shown >= WARNINGS_PER_S) {
        place->hidden++;
        return false;
    }
    place->shown++;
    *hidden = place->hidden;
    place->hidden = 0;
    return true;
}

/* "2026-01-31T12:00:00.123Z INFO learner update: ". Returns its length, at most size - 1. */
static size_t put_head(char *line, size_t size, enum log_level level, const char *module)
{
    const uint64_t now_ns = clock_wall_ns();
    const time_t seconds = (time_t)(now_ns / NS_PER_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    const int n = snprintf(
        line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %s %s %s: ", utc.tm_year + 1900,
        utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
        (unsigned)(now_ns % NS_PER_S / NS_PER_MS), level_names[level], process_name, module);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

/* Runs before main. A process that is started with a standard file closed gets its number for the
 * next file that it opens; log lines would go into that file. SIGXFSZ, for a file that would exceed
 * `ulimit -f`, ends a process by default; ignored, the write fails with EFBIG, which is handled
 * like a full disk. */
__attribute__((constructor)) static void prepare_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            /* open() takes the lowest free number: this one, since all below are open. */
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
        }
    }
    (void)signal(SIGXFSZ, SIG_IGN);
}

/* All of it, or as much as somebody takes. */
static void write_out(const char *text, size_t size)
{
    while (size > 0) {
        const ssize_t n = write(STDERR_FILENO, text, size);
        if (n <= 0) {
            return; /* no reader: nothing can be done */
        }
        text += n;
        size -= (size_t)n;
    }
}

/* Formats and writes one line; `hidden` warnings of the same place went before it. */
static void write_line(enum log_level level, const char *module, unsigned hidden,
                       const char *format, va_list args)
{
    /* The line is made without the lock, in a buffer on the stack. */
    char line[LINE_SIZE];
    const size_t most = sizeof line - 64; /* room for the tail */
    size_t used = put_head(line, most, level, module);
    const int n = vsnprintf(line + used, most - used, format, args);
    /* One event, one line: whatever a peer or a file put into a text cannot forge another, and no
     * control sequence of theirs reaches the terminal. */
    utf8_trim(line + used);
    utf8_clean(line + used);
    /* A line that did not fit ends in "...". */
    const bool cut = n > 0 && (size_t)n >= most - used;
    used = strlen(line);
    if (cut) {
        used += (size_t)snprintf(line + used, sizeof line - used, "...");
    }
    if (hidden > 0) {
        used += (size_t)snprintf(line + used, sizeof line - used, " not_shown=%u", hidden);
    }
    line[used++] = '\n';

    /* Under the lock, because the footer that is written with the line may change. */
    pthread_mutex_lock(&lock);
    if (footer[0] == '\0') {
        write_out(line, used);
    } else {
        /* The line takes the footer's place, the footer moves down. */
        char both[LINE_SIZE + FOOTER_SIZE + 8];
        const int size = snprintf(both, sizeof both, "\r\033[K%.*s%s", (int)used, line, footer);
        write_out(both, (size_t)size);
    }
    pthread_mutex_unlock(&lock);
}

/* Cheap: most debug lines end here. */
static bool is_shown(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&least_shown, memory_order_relaxed);
}

void log_write(enum log_level level, const char *module, const char *format, ...)
{
    if (!is_shown(level)) {
        return;
    }
    /* Warnings alone are limited: errors are rare, and the others are a matter of the level. */
    unsigned hidden = 0;
    if (level == LOG_WARN) {
        pthread_mutex_lock(&lock);
        const bool allowed = warning_allowed(format, &hidden);
        pthread_mutex_unlock(&lock);
        if (!allowed) {
            return;
        }
    }
    /* The line tells how many of its kind were hidden before it. */
    va_list args;
    va_start(args, format);
    write_line(level, module, hidden, format, args);
    va_end(args);
}

/* Without the limit of warnings, for lines of which each one counts. */
void log_write_each(enum log_level level, const char *module, const char *format, ...)
{
    if (!is_shown(level)) {
        return;
    }
    va_list args;
    va_start(args, format);
    write_line(level, module, 0, format, args);
    va_end(args);
}

void log_footer(const char *text)
{
    char out[FOOTER_SIZE + 8];
    pthread_mutex_lock(&lock);
    /* Kept, because each line that comes later writes it anew below itself. */
    snprintf(footer, sizeof footer, "%s", text == NULL ? "" : text);
    utf8_trim(footer);
    utf8_clean(footer);
    const int size = snprintf(out, sizeof out, "\r\033[K%s", footer);
    write_out(out, (size_t)size);
    pthread_mutex_unlock(&lock);
}
