/* Texts of status codes, and errors that gain context on their way up.
 *
 * An error text is built from the inside out: the innermost function says what went wrong, each
 * level puts in front what it was doing. The buffer is fixed, so that reporting an error cannot
 * itself fail; what does not fit is cut at the end, and context that was put in front stays
 * readable.
 *
 * Callers to whom the code is enough pass NULL for err. */
#include "common/base/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/utf8.h"

const char *status_text(status code)
{
    /* The cases come from the list in status.h: a new code has its text there. */
    switch (code) {
#define STATUS_CASE(name, number, text)                                                            \
    case STATUS_##name:                                                                            \
        return text;
        STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

/* A text that was cut ends in "...", between two characters. */
static void end_cut_text(struct err *err)
{
    /* Room for the dots and the final 0, then back to the end of a whole character. */
    err->text[sizeof err->text - 4] = '\0';
    utf8_trim(err->text);
    strcat(err->text, "...");
}

/* Formats into err->text; a longer text is cut. */
static void set_text(struct err *err, const char *format, va_list args)
{
    const int length = vsnprintf(err->text, sizeof err->text, format, args);
    /* A format that fails leaves no text, rather than the one from before. */
    if (length < 0) {
        err->text[0] = '\0';
    } else if ((size_t)length >= sizeof err->text) {
        end_cut_text(err);
    }
    /* Errors quote what they refuse, and are printed: to a terminal, into logs, to a peer. */
    utf8_clean(err->text);
}

/* Behind the text: ": reason"; cut likewise. */
static void add_reason(struct err *err, const char *reason)
{
    /* What fits of it. */
    const size_t used = strlen(err->text);
    const size_t room = sizeof err->text - used;
    const int length = snprintf(err->text + used, room, ": %s", reason);
    if (length > 0 && (size_t)length >= room) {
        end_cut_text(err);
    }
}

int status_exit_code(status code)
{
    switch (code) {
    case STATUS_OK:
        return 0;
    /* Configuration or data must change first; until then, starting again fails again. */
    case STATUS_INVALID:
    case STATUS_CORRUPT:
    case STATUS_MISMATCH:
    case STATUS_UNIMPLEMENTED:
    case STATUS_TOO_LONG:
        return 2;
    default:
        return 1;
    }
}

status err_set(struct err *err, status code, const char *format, ...)
{
    if (err == NULL) {
        return code;
    }
    va_list args;
    va_start(args, format);
    set_text(err, format, args);
    va_end(args);
    err->code = code;
    return code;
}

status err_context(struct err *err, status code, const char *format, ...)
{
    if (err == NULL) {
        return code;
    }
    /* A callee that failed without saying why is described by its code. The reason is copied,
     * because the text is both source and destination. */
    char reason[sizeof err->text];
    const bool said = err->code != STATUS_OK && err->text[0] != '\0';
    snprintf(reason, sizeof reason, "%s", said ? err->text : status_text(code));
    /* The first code stays: context says where it happened, not that something else happened. */
    if (err->code == STATUS_OK) {
        err->code = code;
    }

    va_list args;
    va_start(args, format);
    set_text(err, format, args);
    va_end(args);
    add_reason(err, reason);
    return err->code;
}

/* The one place where the system's numbers become ours. Numbers that ask the same of a caller share
 * a code. */
static status from_errno(int number)
{
    switch (number) {
    case 0:
        return STATUS_OK;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    case EINVAL:
    case ENAMETOOLONG:
        return STATUS_INVALID;
    case EAGAIN:
    case EBUSY:
        return STATUS_RETRY;
    /* No number for one more file: of this process, or of the machine. */
    case EMFILE:
    case ENFILE:
        return STATUS_LIMIT;
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE:
        return STATUS_EXISTS;
    case ETIMEDOUT:
        return STATUS_TIMEOUT;
    /* The other side is gone. */
    case ECANCELED:
    case EPIPE:
    case ECONNRESET:
        return STATUS_CLOSED;
    /* The other side is not there yet, or cannot be reached. */
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
        return STATUS_UNAVAILABLE;
    /* A right is missing. */
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_DENIED;
    /* No space: of the disk, of the user, or of one file. */
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* ulimit -f, or the file system's own limit */
        return STATUS_FULL;
    case ENOSYS:
    case EOPNOTSUPP:
        return STATUS_UNIMPLEMENTED;
    default:
        return STATUS_IO;
    }
}

status err_errno(struct err *err, int number, const char *format, ...)
{
    /* Called without an error: a bug, but not one to end a process for. */
    const status code = number == 0 ? STATUS_INTERNAL : from_errno(number);
    if (err == NULL) {
        return code;
    }
    va_list args;
    va_start(args, format);
    set_text(err, format, args);
    va_end(args);

    /* The GNU variant may return a text of its own instead of using the buffer. */
    char buffer[128];
    add_reason(err, strerror_r(number, buffer, sizeof buffer));
    err->code = code;
    return code;
}
