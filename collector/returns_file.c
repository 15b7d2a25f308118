/* Reading back is a search for the first line that should not be there; everything from it on is
 * cut off. */
#include "collector/returns_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define RETURNS_FILE_MAX (1u << 30)
#define LINE_MAX_SIZE    (512 + SIGNATURE_TASKS_MAX * (SIGNATURE_NAME_SIZE + 16))

struct returns_file {
    int fd;
    const struct signature *signature;
};

static int format_header(char *line, const struct signature *signature)
{
    int n = snprintf(line, LINE_MAX_SIZE, "episode,wall_s,version,learner_step,acting,task,steps");
    for (uint32_t k = 0; k < signature->K; k++) {
        n += snprintf(line + n, LINE_MAX_SIZE - (size_t)n, ",return_%s", signature->rewards[k]);
    }
    n += snprintf(line + n, LINE_MAX_SIZE - (size_t)n, "\n");
    return n;
}

/* Bytes of `text` up to and without the first line that is torn or of an episode after `last`. */
static size_t good_part(const char *text, size_t header_size, uint64_t last)
{
    size_t good = header_size;
    for (;;) {
        const char *line = text + good;
        const char *end = strchr(line, '\n');
        char *comma;
        if (end == NULL) {
            return good;
        }
        uint64_t episode = strtoull(line, &comma, 10);
        if (comma == line || *comma != ',' || episode > last) {
            return good;
        }
        good = (size_t)(end - text) + 1;
    }
}

static status start_or_go_on(struct returns_file *file, const char *path, uint64_t last,
                             struct err *err)
{
    char header[LINE_MAX_SIZE];
    size_t header_size = (size_t)format_header(header, file->signature);
    void *text;
    size_t size;
    status s = file_read(path, RETURNS_FILE_MAX, &text, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    size_t good = 0;
    if (size >= header_size) {
        if (memcmp(text, header, header_size) != 0) {
            s = err_set(err, STATUS_INVALID, "%s: expected the columns %.*s", path,
                        (int)header_size - 1, header);
        } else {
            good = good_part(text, header_size, last);
        }
    }
    mem_free(text);
    if (s == STATUS_OK && good < size && ftruncate(file->fd, (off_t)good) != 0) {
        s = err_errno(err, errno, "truncate %s", path);
    }
    if (s == STATUS_OK && good == 0) {
        s = file_write_all(file->fd, header, header_size, err);
    }
    return s;
}

status returns_file_open(struct returns_file **file, const char *path,
                         const struct signature *signature, uint64_t last, struct err *err)
{
    struct returns_file *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    opened->signature = signature;
    opened->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (opened->fd < 0) {
        mem_free(opened);
        return err_errno(err, errno, "open %s", path);
    }
    status s = start_or_go_on(opened, path, last, err);
    if (s != STATUS_OK) {
        returns_file_close(opened);
        return s;
    }
    *file = opened;
    return STATUS_OK;
}

status returns_file_append(struct returns_file *file, const struct finished_episode *finished,
                           double wall_s, struct err *err)
{
    char line[LINE_MAX_SIZE];
    const struct signature *signature = file->signature;
    int n = snprintf(line, sizeof line, "%" PRIu64 ",%.3f,%" PRIu64 ",%" PRIu64 ",%s,%s,%u",
                     finished->sequence, wall_s, finished->version, finished->learner_step,
                     finished->random ? "random" : "policy", signature->rewards[finished->task],
                     finished->episode->T);
    for (uint32_t k = 0; k < signature->K; k++) {
        n += snprintf(line + n, sizeof line - (size_t)n, ",%.9g",
                      episode_return(finished->episode, signature, k));
    }
    n += snprintf(line + n, sizeof line - (size_t)n, "\n");
    return file_write_all(file->fd, line, (size_t)n, err);
}

void returns_file_close(struct returns_file *file)
{
    if (file != NULL) {
        close(file->fd);
        mem_free(file);
    }
}
