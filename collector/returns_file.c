/* At each start the file is brought in line with the journal: lines that cannot be read, and lines
 * of episodes that the journal does not have, are removed. Then lines are only appended.
 *
 * A line is written before its episode, and without a sync: a power cut may cost the last lines.
 * That is accepted, since the file is for plots and tables, and the logs have the episodes. One
 * thread. */
#include "collector/returns_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/line_file.h"
#include "common/base/memory.h"
#include "common/rollout/rollout.h"

#define FIXED_COLUMNS 7u /* before the returns: episode .. steps */
/* A longer file is refused: it is read into memory as a whole. */
#define RETURNS_FILE_MAX (1u << 30)
#define LINE_MAX_SIZE    (512 + SIGNATURE_TASKS_MAX * (SIGNATURE_NAME_SIZE + 16))

/* The open file, and what its columns come from. */
struct returns_file {
    struct line_file lines;
    const struct environment_description *environment;
};

static bool has_success(const struct environment_description *environment)
{
    return environment->success_steps > 0;
}

/* The first line: fixed columns, then one return per reward, and success where it is defined. */
static int format_header(char *line, const struct environment_description *environment)
{
    const struct signature *signature = &environment->signature;
    int n = snprintf(line, LINE_MAX_SIZE, "episode,wall_s,version,learner_step,acting,task,steps");
    for (uint32_t k = 0; k < signature->K; k++) {
        n += snprintf(line + n, LINE_MAX_SIZE - (size_t)n, ",return_%s", signature->rewards[k]);
    }
    n += snprintf(line + n, LINE_MAX_SIZE - (size_t)n, "%s\n",
                  has_success(environment) ? ",success" : "");
    return n;
}

/* Is it the line of an episode up to `last`? Half a line has too few columns. */
static bool keep_line(const char *line, size_t length, uint32_t n_columns, uint64_t last)
{
    char *comma;
    uint64_t episode = strtoull(line, &comma, 10); /* ends at the newline, if not before */
    if (comma == line || *comma != ',' || episode > last) {
        return false;
    }
    /* A line has one comma less than columns. */
    uint32_t n = 1;
    for (size_t i = 0; i < length; i++) {
        n += line[i] == ',';
    }
    return n == n_columns;
}

/* Moves the lines to keep to the front of `text`, which ends with a 0; returns their size. */
static size_t keep_lines(char *text, size_t header_size, uint32_t n_columns, uint64_t last)
{
    size_t kept = header_size;
    const char *line = text + header_size;
    const char *end;
    while ((end = strchr(line, '\n')) != NULL) {
        /* The newline belongs to the line. Text behind the last newline is half a line, and is
         * dropped. */
        size_t length = (size_t)(end - line) + 1;
        if (keep_line(line, length, n_columns, last)) {
            memmove(text + kept, line, length);
            kept += length;
        }
        line = end + 1;
    }
    return kept;
}

/* Leaves in the file the header and the lines to keep. An absent file counts as empty. */
static status clean_file(const char *path, const struct environment_description *environment,
                         uint64_t last, struct err *err)
{
    char header[LINE_MAX_SIZE];
    size_t header_size = (size_t)format_header(header, environment);
    uint32_t n_columns = FIXED_COLUMNS + environment->signature.K + has_success(environment);
    void *text = NULL;
    size_t size = 0, kept = 0;
    status s = file_read(path, RETURNS_FILE_MAX, &text, &size, err);
    if (s != STATUS_OK && s != STATUS_NOT_FOUND) {
        return s;
    }
    /* A file shorter than its header was cut off by a crash, and is written anew. */
    if (s == STATUS_OK && size >= header_size) {
        /* Another header: the file is of another environment, or of something else, and is not
         * touched. */
        if (memcmp(text, header, header_size) != 0) {
            mem_free(text);
            return err_set(err, STATUS_INVALID, "%s: expected the columns %.*s", path,
                           (int)header_size - 1, header);
        }
        kept = keep_lines(text, header_size, n_columns, last);
    }
    /* Nothing to keep: a new file, or a header that was not written completely. */
    const struct file_part part =
        kept > 0 ? (struct file_part){text, kept} : (struct file_part){header, header_size};
    /* A file that needs no change is not written. */
    s = kept > 0 && kept == size ? STATUS_OK : file_replace(path, &part, 1, err);
    mem_free(text);
    return s;
}

status returns_file_open(struct returns_file **file, const char *path,
                         const struct environment_description *environment, uint64_t last,
                         struct err *err)
{
    struct returns_file *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    opened->environment = environment; /* that of the worker pool */
    /* Cleaned first, and then opened for appending. */
    status s = clean_file(path, environment, last, err);
    s = s != STATUS_OK ? s : line_file_open(&opened->lines, path, err);
    if (s != STATUS_OK) {
        mem_free(opened);
        return s;
    }
    *file = opened;
    return STATUS_OK;
}

status returns_file_append(struct returns_file *file, const struct finished_episode *finished,
                           double wall_s, struct err *err)
{
    char line[LINE_MAX_SIZE];
    const struct signature *signature = &file->environment->signature;
    /* Nine digits give a float back exactly. */
    int n = snprintf(line, sizeof line, "%" PRIu64 ",%.3f,%" PRIu64 ",%" PRIu64 ",%s,%s,%u",
                     finished->sequence, wall_s, finished->version, finished->learner_step,
                     acting_text(finished->acting), signature->rewards[finished->task],
                     finished->episode->T);
    /* One return per reward, whichever of them the episode pursued. */
    for (uint32_t k = 0; k < signature->K; k++) {
        n += snprintf(line + n, sizeof line - (size_t)n, ",%.9g",
                      episode_return(finished->episode, signature, k));
    }
    if (has_success(file->environment)) {
        n += snprintf(line + n, sizeof line - (size_t)n, ",%d",
                      rollout_success(file->environment, finished->episode, finished->task));
    }
    return line_file_append(&file->lines, line, (size_t)n, err);
}

void returns_file_close(struct returns_file *file)
{
    if (file != NULL) {
        line_file_close(&file->lines);
        mem_free(file);
    }
}
