/* Lines appended whole, and read from the end. See line_file.h.
 *
 * Reading backwards keeps a window of the file: the bytes from the beginning of the last block read
 * to the end of the line that comes next. Lines are taken off its end; when it holds no whole line,
 * the block before it is put in front. So memory is bounded by the longest line, not by the file.
 */
#include "common/base/line_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define BLOCK_SIZE ((size_t)64 << 10)

/* ---- Appending ---- */

status line_file_open(struct line_file *file, const char *path, struct err *err)
{
    file->torn = false;
    file->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
    return file->fd >= 0 ? STATUS_OK : err_errno(err, errno, "%s", path);
}

status line_file_append(struct line_file *file, const char *bytes, size_t size, struct err *err)
{
    /* The size to which the file is cut back when the line cannot be written. */
    struct stat before;
    if (fstat(file->fd, &before) != 0) {
        return err_errno(err, errno, "stat");
    }
    /* One write a line: readers that look meanwhile see all of it or nothing. */
    const size_t lead = file->torn ? 1 : 0;
    char *line = mem_new(lead + size + 1);
    if (line == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "a line of %zu bytes", size);
    }
    /* After a torn line a newline comes first, so that the pieces do not become one line. Otherwise
     * this byte is overwritten. */
    line[0] = '\n';
    memcpy(line + lead, bytes, size);
    line[lead + size] = '\n';
    const status s = file_write_all(file->fd, line, lead + size + 1, err);
    mem_free(line);
    if (s == STATUS_OK) {
        file->torn = false;
    } else if (ftruncate(file->fd, before.st_size) != 0) {
        /* What is left of the line must not become the beginning of the next one. */
        file->torn = true;
    }
    return s;
}

void line_file_close(struct line_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
        file->fd = -1;
    }
}

/* ---- Reading from the end ---- */

/* What is held of the file while it is read backwards. */
struct window {
    int fd;
    char *bytes;
    size_t room;
    off_t at;     /* offset in the file of bytes[0] */
    size_t n;     /* bytes held */
    bool skips;   /* the line at the end is too long; its end was dropped */
    bool any_end; /* a newline was found: what comes before it are whole lines */
};

/* Puts the block of the file before `at` in front. After a failure the window is not to be used any
 * more. */
static status grow(struct window *window, struct err *err)
{
    const size_t more = window->at < (off_t)BLOCK_SIZE ? (size_t)window->at : BLOCK_SIZE;
    /* Twice what is needed, so that a long line does not cost a copy for each block. */
    if (window->room < window->n + more) {
        const size_t room = 2 * (window->n + more);
        char *bytes = mem_resize(window->bytes, room, 1);
        if (bytes == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "a line of %zu bytes", window->n);
        }
        window->bytes = bytes;
        window->room = room;
    }
    /* What is held moves up, and the block is read in front of it. */
    memmove(window->bytes + more, window->bytes, window->n);
    const status s = file_read_at(window->fd, window->bytes, more, window->at - (off_t)more, err);
    if (s == STATUS_OK) {
        window->at -= (off_t)more;
        window->n += more;
    }
    return s;
}

/* Takes the line at the end off the window. False: its beginning is not in the window yet. A line
 * that is longer than allowed has *line NULL and *size 0. */
static bool take_line(struct window *window, const char **line, size_t *size, off_t *offset)
{
    const char *before = memrchr(window->bytes, '\n', window->n);
    if (before == NULL && window->at > 0) {
        return false;
    }
    /* The first line of the file has no newline before it. */
    const size_t begin = before != NULL ? (size_t)(before - window->bytes) + 1 : 0;
    *line = window->skips ? NULL : window->bytes + begin;
    *size = window->skips ? 0 : window->n - begin;
    *offset = window->at + (off_t)begin;
    window->n = begin > 0 ? begin - 1 : 0; /* without the newline before it */
    window->skips = false;
    return true;
}

/* The last newline of the file; *whole <- the offset after it, 0 where there is none. */
static status find_end(struct window *window, off_t *whole, struct err *err)
{
    status s = STATUS_OK;
    *whole = 0;
    while (s == STATUS_OK && window->at > 0) {
        window->n = 0; /* what follows the last newline is of no interest */
        s = grow(window, err);
        const char *newline = s == STATUS_OK ? memrchr(window->bytes, '\n', window->n) : NULL;
        if (newline != NULL) {
            /* Bytes after the last newline are a line that is being written, or was torn: they are
             * not shown. */
            window->n = (size_t)(newline - window->bytes);
            window->any_end = true;
            *whole = window->at + (off_t)window->n + 1;
            break;
        }
    }
    return s;
}

/* Shows each whole line, the last one first, until `visit` has enough or the file's beginning is
 * reached. */
static status visit_all(struct window *window, line_file_visit *visit, void *arg, struct err *err)
{
    /* A file without any newline has no whole line. */
    bool done = !window->any_end;
    while (!done) {
        const char *line = NULL;
        size_t size = 0;
        off_t offset = 0;
        if (take_line(window, &line, &size, &offset)) {
            done = !visit(arg, line, size, offset) || offset == 0;
            continue;
        }
        /* A line that is too long: drop what is held of it, and look only for its beginning. */
        if (window->n > LINE_FILE_LINE_MAX) {
            window->skips = true;
            window->n = 0;
        }
        const status s = grow(window, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

status line_file_backwards(const char *path, line_file_visit *visit, void *arg, off_t *whole,
                           struct err *err)
{
    struct window window = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    struct stat stat;
    off_t end = 0;
    if (window.fd < 0 || fstat(window.fd, &stat) != 0) {
        const status s = err_errno(err, errno, "%s", path);
        if (window.fd >= 0) {
            close(window.fd);
        }
        return s;
    }
    /* The window is empty and lies at the end of the file. */
    window.at = stat.st_size;
    status s = find_end(&window, &end, err);
    s = s == STATUS_OK ? visit_all(&window, visit, arg, err) : err_context(err, s, "%s", path);
    if (s == STATUS_OK && whole != NULL) {
        *whole = end;
    }
    mem_free(window.bytes);
    close(window.fd);
    return s;
}
