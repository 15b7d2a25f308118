/* Files that grow by lines (JSON lines: reports, evaluations, returns).
 *
 * A line is in the file whole or not at all, also when the disk is full: what a failed write left
 * of it is removed again. A power cut or a full disk in an older version may still leave a line
 * that cannot be read; readers pass over it. Long files are read from their end. */
#ifndef HINDCAST_BASE_LINE_FILE_H
#define HINDCAST_BASE_LINE_FILE_H

#include <sys/types.h>

#include "common/base/status.h"

#define LINE_FILE_LINE_MAX (16u << 20) /* longer lines are not shown to readers */

struct line_file {
    int fd;
    bool torn; /* a part of a line could not be removed: the next line begins with a newline */
};

/* Opens for appending, or makes the file. Symbolic links are refused. One writer at a time. */
status line_file_open(struct line_file *file, const char *path, struct err *err) MUST_CHECK;
/* Appends bytes(size), which contain no newline, and a newline. After an error the file is what it
 * was. FULL, IO. */
status line_file_append(struct line_file *file, const char *bytes, size_t size,
                        struct err *err) MUST_CHECK;
void line_file_close(struct line_file *file); /* once, or on a zeroed struct with fd -1 */

/* Shows one line: bytes(size), without its newline and not terminated, which begins at `offset` of
 * the file. NULL: a line that is longer than LINE_FILE_LINE_MAX. False ends the reading. */
typedef bool line_file_visit(void *arg, const char *line, size_t size, off_t offset);

/* Visits the whole lines of a file from the last to the first. What follows the last newline is not
 * a line. *whole (may be NULL) <- where the last line ends. NOT_FOUND, NO_MEMORY, IO. */
status line_file_backwards(const char *path, line_file_visit *visit, void *arg, off_t *whole,
                           struct err *err) MUST_CHECK;

#endif
