/* Status codes and readable errors.
 *
 * Three kinds of trouble are kept apart. What can be expected (full, closed, corrupt, peer gone) is
 * a `status` that the caller must look at. What a person will read is a `struct err` that gains
 * context on its way up: "restore run-7: read header: bad checksum at byte 4096". What only a bug
 * can cause is ASSERT. Data from wire, disk, configuration or simulator is never asserted: it is
 * checked, refused. */
#ifndef HINDCAST_BASE_STATUS_H
#define HINDCAST_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* name, number, text. The numbers are ours; common/rpc/rpc.c maps them to gRPC's codes and back.
 *
 * QUEUE_FULL: a bounded queue, buffer or window of this process has no place left; the caller waits
 * or drops. RETRY: the other side cannot do it at the moment; the same call may succeed later.
 * SUPERSEDED: a newer stream or process took over. GROUP_BROKEN: peers that act together have to
 * form their group again. PENDING: marks a result that is still to come. TOO_LONG: the input
 * exceeds a fixed maximum, and trying again is of no use. LIMIT: file descriptors, reader slots and
 * the like are used up. */
#define STATUS_MAP(X)                                                                              \
    X(OK, 0, "ok")                                                                                 \
    X(NO_MEMORY, -1, "out of memory")                                                              \
    X(INVALID, -2, "invalid argument or message")                                                  \
    X(CORRUPT, -3, "stored data failed its check")                                                 \
    X(QUEUE_FULL, -4, "the queue is full")                                                         \
    X(NOT_FOUND, -5, "not found")                                                                  \
    X(EXISTS, -6, "already there")                                                                 \
    X(MISMATCH, -7, "the two sides do not agree")                                                  \
    X(TIMEOUT, -8, "deadline passed")                                                              \
    X(CLOSED, -9, "closed or cancelled")                                                           \
    X(UNAVAILABLE, -10, "peer not reachable")                                                      \
    X(DENIED, -11, "not permitted")                                                                \
    X(FULL, -12, "no space left")                                                                  \
    X(IO, -13, "input or output failed")                                                           \
    X(UNIMPLEMENTED, -14, "not implemented by this peer")                                          \
    X(INTERNAL, -15, "internal error")                                                             \
    X(RETRY, -16, "not possible now, try again")                                                   \
    X(SUPERSEDED, -17, "replaced by a newer one")                                                  \
    X(GROUP_BROKEN, -18, "the group of peers broke up")                                            \
    X(PENDING, -19, "not done yet")                                                                \
    X(TOO_LONG, -20, "longer than allowed")                                                        \
    X(LIMIT, -21, "a limit of the process or the system is reached")

#define STATUS_ENUM(name, number, text) STATUS_##name = (number),
enum status_code { STATUS_MAP(STATUS_ENUM) };
#undef STATUS_ENUM

#define MUST_CHECK                     __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_i, first_i) __attribute__((format(printf, format_i, first_i)))

typedef enum status_code status;

/* Why something failed, for a person. `text` is always terminated, one line of UTF-8 without
 * control characters (bytes of a quoted name that are neither become '?' and spaces); longer
 * reasons are cut at the end. */
struct err {
    status code;
    char text[1024];
};

/* "ok", "out of memory", ...; "unknown status" for a number outside the list. Never NULL. */
const char *status_text(status code);

/* The exit status of a process that ends because of `code`: 0 for OK; 2 where starting the process
 * again cannot help, since its configuration or data must change first; 1 for others. DENIED is
 * among the others: a token may have been replaced. `hindcast up` does not start a process again
 * that left with 2. */
int status_exit_code(status code);

/* Sets `err` (which may be NULL) to the formatted text and returns `code`:
 *     return err_set(err, STATUS_INVALID, "width %d: expected 1..4096", width); */
status err_set(struct err *err, status code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "formatted text: " in front of what `err` says; keeps its code, returns it. `err` may be
 * NULL, then `code` is returned: return err_context(err, s, "restore %s", name); */
status err_context(struct err *err, status code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Translates errno `number`: "text: No such file or directory". Returns the status. */
status err_errno(struct err *err, int number, const char *format, ...) PRINTF_LIKE(3, 4);

/* A programmer's error: logs the condition and its place, prints a backtrace, aborts. On in release
 * too. */
#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            assert_failed(#condition, __FILE__, __LINE__);                                         \
        }                                                                                          \
    } while (0)

/* A place that cannot be reached; `what` is a literal that says what would have to hold:
 *     UNREACHABLE("shard within the list"); */
#define UNREACHABLE(what) assert_failed("unreachable: " what, __FILE__, __LINE__)

/* Slow checks of invariants: on in debug and test builds (HINDCAST_AUDIT). */
#ifdef HINDCAST_AUDIT
#define AUDIT(condition) ASSERT(condition)
#else
#define AUDIT(condition) ((void)0)
#endif

void assert_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

#endif
